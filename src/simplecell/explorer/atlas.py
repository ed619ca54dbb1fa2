"""A run as files that a page can show: `RUN/atlas/`, made in one pass and used again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from simplecell.data import Source
from simplecell.errors import RunError
from simplecell.explorer.maker import EDITION, FORMAT, Maker
from simplecell.explorer.place import FOLDER, forget_cached, home_of
from simplecell.run import Run
from simplecell.storage import Lock, is_temporary, read_json, writing
from simplecell.trained import Trained

MOST_HASHED = 200_000
"""Records about samples that the key is made of."""


def key_of(run: Run, source: Source) -> str:
    """SHA-256 of everything an atlas is made of."""
    digest = hashlib.sha256(f"{FORMAT} {source.fingerprint()}".encode())
    for name in ("model.safetensors", "preprocess.safetensors", "recipe.toml"):
        digest.update((run.path / name).read_bytes())
    n = source.n_samples
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_HASHED)).astype(np.int64))
    for part in np.array_split(rows, -(-len(rows) // 10_000)):
        digest.update(json.dumps(source.about(part), default=str).encode())
    return digest.hexdigest()


def is_built(folder: Path, key: str) -> bool:
    """Whether this very atlas is in a folder already, whole."""
    try:
        manifest = read_json(folder / "atlas.json")
        sizes = {name: (folder / name).stat().st_size for name in manifest.get("sizes", {})}
    except (RunError, OSError, AttributeError, TypeError, ValueError):
        return False
    told = manifest.get("key"), manifest.get("edition")
    return told == (key, EDITION) and bool(sizes) and sizes == manifest["sizes"]


def build_atlas(run: Run, trained: Trained, source: Source) -> Iterator[float]:
    """Write the atlas of a run; the share that is done, again and again.

    An atlas of the same weights and samples is left as it is; one that another process builds is
    waited for. That of a run which cannot be written goes to the user's cache. Memory stays
    bounded: it grows with the latents, and by four bytes with each sample.

    Raises:
        DataError: for samples that cannot be read.
        WriteError: when it cannot be written; an earlier atlas then stays.
    """
    key = key_of(run, source)
    home = run.path if is_built(run.path / FOLDER, key) else home_of(run)
    if not is_built(home / FOLDER, key):
        lock = yield from _alone(home)
        try:
            if not is_built(home / FOLDER, key):
                yield from _build(home, trained, source, key)
        finally:
            lock.release()
    if home == run.path:
        forget_cached(run)
    yield 1.0


def _alone(home: Path) -> Generator[float, None, Lock]:
    """The right to build here, as soon as nobody else does."""
    while True:
        with contextlib.suppress(BlockingIOError):
            return Lock(home / ".atlas.lock")
        yield 0.0
        time.sleep(0.2)


def _build(home: Path, trained: Trained, source: Source, key: str) -> Iterator[float]:
    folder = home / f".{secrets.token_hex(8)}.tmp"
    for path in home.glob(".*.tmp"):  # of a process that was killed while it built
        if path.is_dir() and is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)
    with writing(folder):
        try:
            (folder / "photos").mkdir(parents=True)
            yield from Maker(trained, source, key, folder).make()
            _replace(folder, home / FOLDER)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _replace(new: Path, place: Path) -> None:
    if place.exists():
        old = place.with_name(f".{secrets.token_hex(8)}.tmp")
        os.replace(place, old)
        os.replace(new, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(new, place)
