"""A folder written beside its place and put there whole; what killed processes left is removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from simplecell.errors import RunError, UsageError
from simplecell.storage import read_json, writing

MARK = "simplecell-export.json"
"""The file by which we know an export of ours; it lists all others."""
FORMAT = 1


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write an export in, which takes the place of `folder` when the block ends well.

    Raises:
        UsageError: for a folder that holds anything but an export of ours.
        WriteError: when it cannot be written.
    """
    with writing(folder):
        _check_place(folder)
        _sweep(folder, "tmp")
        # Beside the folder, so that a rename puts it there.
        name = f"{_stem(folder)}{os.getpid()}-{secrets.token_hex(4)}.tmp"
        fresh = folder.parent / name
        try:
            fresh.mkdir(parents=True)
            _write_mark(fresh, [])
            yield fresh
            _write_mark(fresh, sorted(_files(fresh) - {MARK}))
            _swap(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _sweep(folder, "old")


def _write_mark(folder: Path, names: list[str]) -> None:
    text = json.dumps({"format": FORMAT, "files": names}, indent=2)
    (folder / MARK).write_text(text, encoding="utf-8")


def _files(folder: Path) -> set[str]:
    """Whatever is in a folder that is no folder with something in it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    }


def _check_place(folder: Path) -> None:
    """UsageError unless the folder is new, empty, or an export of ours and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is a file, and an export is a folder; choose another name")
    ours: set[str] = set()
    with contextlib.suppress(RunError, TypeError):
        ours = {MARK, *read_json(folder / MARK).get("files", [])}
    if strange := sorted(_files(folder) - ours):
        raise UsageError(
            f"'{folder}' holds files that are no export of ours, such as '{strange[0]}'; choose a "
            "new or an empty folder"
        )


def _swap(fresh: Path, folder: Path) -> None:
    """Put the new folder in the place of the old one."""
    if not folder.exists():
        os.replace(fresh, folder)
        return
    old = fresh.with_suffix(".old")
    os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except OSError:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _stem(folder: Path) -> str:
    """How names begin that stand for this place, on this machine: its numbers of processes."""
    place = hashlib.sha256(f"{platform.node()}\n{folder.name}".encode(errors="replace"))
    return f".simplecell-{place.hexdigest()[:12]}-"


def _sweep(folder: Path, suffix: str) -> None:
    """Remove what processes that are gone left of their exports to this place."""
    form = re.compile(rf"{re.escape(_stem(folder))}([0-9]{{1,9}})-[0-9a-f]{{8}}\.{suffix}")
    with contextlib.suppress(OSError):
        for path in list(folder.parent.iterdir()):
            found = form.fullmatch(path.name)
            if found and not _lives(int(found[1])) and _is_ours(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    """Whether a folder carries our mark; a process may have been killed before it wrote one."""
    if path.is_symlink() or not path.is_dir():
        return False
    with contextlib.suppress(RunError):
        return "format" in read_json(path / MARK)
    return not any(path.iterdir())


def _lives(process: int) -> bool:
    """Whether there is a process of that number."""
    if os.name == "nt":  # there the question itself would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
