"""A run as files that a page can show: `RUN/atlas/`, made in one pass and used again.

It holds pictures, binary columns and JSON. Where the run cannot be written, it lies in the user's
cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.errors import RunError, UsageError, WriteError
from simplecell.explorer.make.columns import Words, columns_of
from simplecell.explorer.make.contents import Context, Details, Example, Manifest, Photo, Sample
from simplecell.explorer.make.crops import crops_as_tiles
from simplecell.explorer.make.data_page import data_page
from simplecell.explorer.make.digits import Values, need_double
from simplecell.explorer.make.histograms import BINS
from simplecell.explorer.make.map import Map
from simplecell.explorer.make.playground import has_exact, write_play
from simplecell.explorer.make.samples import Labels, Samples, by_value, evenly, find_labels
from simplecell.explorer.make.sprites import save_sheets, weights_as_tiles
from simplecell.explorer.make.survey import SPREAD, Survey
from simplecell.explorer.make.targets import Targets
from simplecell.model.matching import nearest_within
from simplecell.run.directory import Run, finite
from simplecell.run.encoding import alpha_on
from simplecell.run.recipe import Recipe
from simplecell.run.storage import Lock, is_temporary, read_json, writing
from simplecell.run.trained import Trained
from simplecell.viz.portrait import only_standardised

FOLDER = "atlas"
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a system says where writing is not allowed; a full disk is another matter."""
FORMAT = 1
EDITION = 7
"""Of what stands in the files, where their format stays: an atlas of another is made again."""
MOST_HASHED = 200_000
"""Records about samples that the key is made of."""
Chosen = tuple[float, int, float | None]
"""Of an example: its code, its row, and its quantile where it is one of many."""


def folder_of(run: Run) -> Path:
    """The folder that an atlas is read from."""
    kept = _cached(run)
    if kept is not None and (kept / FOLDER / "atlas.json").is_file():
        return kept / FOLDER
    return run.path / FOLDER


def home_of(run: Run) -> Path:
    """The folder to make an atlas in: the run itself, or one of its own in the user's cache.

    Raises:
        WriteError: when neither can be written.
    """
    try:
        # Asked by writing: permissions alone know nothing of a read-only disk or of Windows.
        with tempfile.TemporaryFile(dir=run.path):
            return run.path
    except OSError as error:
        home = _cached(run)
        if error.errno not in FORBIDDEN or home is None:
            raise WriteError(
                f"could not write '{run.path}': {error.strerror or error}; "
                "look at the place, its permissions and the free space"
            ) from error
    with writing(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def damaged(path: Path, reason: object) -> RunError:
    """What is said of a file of an atlas that cannot be used."""
    return RunError(f"'{path}' is damaged: {reason}; remove the atlas, and it is made again")


def forget_cached(run: Run) -> None:
    """Remove the atlas in the cache of a run that has the right one itself."""
    home = _cached(run)
    if home is not None and home.is_dir():
        shutil.rmtree(home, ignore_errors=True)


def _cached(run: Run) -> Path | None:
    """The run's folder in the user's cache; None for a user without a home."""
    try:
        name = hashlib.sha256(os.fsencode(run.path.resolve())).hexdigest()[:32]
        return _cache() / "simplecell" / "atlas" / name
    except (OSError, RuntimeError):
        return None


def _cache() -> Path:
    """The folder for what programs can make again, by the custom of each system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        given = os.environ.get("LOCALAPPDATA", "")
        return Path(given) if given else Path.home() / "AppData" / "Local"
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is no valid one, says the XDG Base Directory Specification.
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


class AtlasWriter:
    """Writes one atlas into a folder."""

    def __init__(
        self,
        trained: Trained,
        source: Source,
        key: str,
        folder: Path,
        layout: str = "pca",
        group: str | None = None,
    ) -> None:
        self.trained, self.source = trained, source
        self.key, self.folder = key, folder
        self.samples = Samples(trained, source)
        picture = self.samples.drawn_as == "picture"
        self.shape = source.shape if picture else (source.n_inputs,)
        self.labels: Labels = find_labels(source)
        self.targets = Targets(trained.model, source, group)
        self.survey = Survey(trained, source, self.labels, self.targets.rows)
        self.map = Map(trained, source, layout)

    def make(self) -> Iterator[float]:
        """The share that is done: the pass is four fifths of it."""
        for done in self.survey.run(self.map.add):
            yield 0.8 * done / self.source.n_samples
        self._weights()
        yield 0.82
        tags = yield from self._details()
        self.told = None
        for told in self.targets.write(self.survey.codes, self.folder):
            self.told = told
            yield 0.95
        kept = self._data()
        yield 0.97
        write_play(self.trained, self.folder, float(kept.min()), float(kept.max()), self._alpha())
        self._manifest(tags, self.samples.save_photos(self.folder), need_double(kept))

    def _weights(self) -> None:
        """What each latent likes, in the units that are drawn."""
        trained, shape = self.trained, self.shape
        directions = trained.latents()
        if only_standardised(trained, shape):
            directions = trained.model.directions().double().cpu()
        self.directions: NDArray[np.float64] = directions.numpy()
        tiles = None
        if self.samples.pictures is not None and self.samples.drawn_as == "row":
            strongest = [self.survey.top.of(i)[1].tolist() for i in range(trained.model.n_latents)]
            tiles = crops_as_tiles(self.source, self.samples.pictures, strongest)
        elif self.samples.drawn_as in ("picture", "row"):
            tiles = weights_as_tiles(self.directions, shape)
        self.sprites = None if tiles is None else save_sheets(tiles, self.folder)

    def _details(self) -> Generator[float, None, list[str]]:
        """details.jsonl; returns the few words that stand for each latent."""
        m = self.trained.model.n_latents
        chosen = [self._examples(latent) for latent in range(m)]
        pairs = [(i, row) for i, both in enumerate(chosen) for _, row, _ in itertools.chain(*both)]
        records = self.samples.records({row for _, row in pairs})
        contexts = self.samples.contexts(pairs) if self.samples.drawn_as == "tokens" else {}
        yield 0.88
        tells = not self.targets.is_number(self.labels.name)
        words = Words(self.labels, self.survey, self.directions, self.samples, tells=tells)
        together = list(self.survey.together())
        near = nearest_within(self.trained.model.atoms().cpu(), 8)
        # A sample is an example of several latents, and writing its numbers takes most of the time.
        texts = {} if contexts else {row: _json(record) for row, record in records.items()}
        with open(self.folder / "details.jsonl", "w", encoding="utf-8") as file:
            tags = []
            for i in range(m):
                top, bottom, spread = (
                    [_example(records, contexts, i, *one) for one in part] for part in chosen[i]
                )
                line: Details = {
                    "latent": i,
                    "top": top,
                    "spread": spread,
                    "nearest": [{"latent": j, "cosine": round(c, 4)} for j, c in near[i]],
                    "together": [{"latent": j, "correlation": round(r, 4)} for j, r in together[i]],
                    "labels": words.labels(i),
                    "inputs": words.inputs(i),
                    "curve": words.curve(i),
                }
                if bottom:
                    line["bottom"] = bottom
                tags.append(words.tag(i, line))
                file.write(_written(line, texts) + "\n")
        yield 0.95
        return tags

    def _examples(self, latent: int) -> tuple[list[Chosen], list[Chosen], list[Chosen]]:
        """The strongest examples of a latent, either way, and others evenly over its strength.

        Over ranks nearly all would be of codes next to 0, which most samples have.
        """
        top, bottom = (_chosen(*ends.of(latent)) for ends in (self.survey.top, self.survey.bottom))
        values, rows = self.survey.drawn.of(latent)
        order = np.argsort(values, kind="stable")
        places = by_value(values[order], SPREAD)
        share, chosen = places / max(1, len(order) - 1), order[places]
        spread: list[Chosen] = [
            (value, row, round(q, 3))
            for value, row, q in zip(
                values[chosen].tolist(), rows[chosen].tolist(), share.tolist(), strict=True
            )
        ]
        return top, bottom, spread

    def _data(self) -> Values:
        """data.json and samples.bin; the raw values there."""
        table, kept = data_page(self.trained, self.source, self.samples, self.survey)
        _write_json(self.folder / "data.json", table)
        # NumPy's own `tofile` says of a full disk how many numbers it wrote, and not why.
        kind = "<f8" if need_double(kept) else "<f4"
        (self.folder / "samples.bin").write_bytes(kept.astype(kind).tobytes())
        return kept

    def _alpha(self) -> float | None:
        """α of exact codes in the playground: the run's own, or what l0 of the encoder leads to."""
        trained = self.trained
        if not has_exact(trained.model):
            return None
        if (own := trained.info.get("exact_alpha")) is not None:
            return float(own)
        with contextlib.suppress(UsageError):  # no atom points to any sample
            return alpha_on(self.source, trained.model, trained.preprocess)
        return None

    def _manifest(self, tags: list[str], photos: list[Photo], double: bool) -> None:
        survey, trained = self.survey, self.trained
        columns = columns_of(trained, survey, self.directions, self.shape)
        measured = trained.target_preprocess is None
        with open(self.folder / "columns.bin", "wb") as file:
            for values in columns.values():
                file.write(np.asarray(values, dtype="<f4").tobytes())
            file.write(survey.histograms.counts.numpy().astype("<f4").tobytes())
        info, activation = trained.info, trained.model.activation
        density = columns.get("density")
        final = info["figures"]
        figures: dict[str, object] = {**final} if final else {}
        _, _, l0, _ = survey.activity.means()
        figures |= {"fvu": survey.fvu, "l0": l0, "n_samples": self.source.n_samples}
        figures["dead"] = None  # a sigmoid is never quite silent
        if density is not None and activation.sparse:
            figures["dead"] = float((density == 0).mean())
        elif density is not None:
            figures["silent"] = float((density == 0).mean())
        manifest: Manifest = {
            "format": FORMAT,
            "edition": EDITION,
            "key": self.key,
            "look": self.samples.drawn_as,
            "shape": [int(side) for side in self.shape],
            "n_inputs": self.source.n_inputs,
            "n_latents": trained.model.n_latents,
            "n_samples": self.source.n_samples,
            "input_names": self.source.input_names,
            "activation": activation.kind,
            "sparse": activation.sparse,
            "signed": activation.signed,
            "bounds": activation.bounds,
            "transcoder": not measured,
            "recipe": _without_folders(trained.recipe).text(),
            "figures": {name: _finite(value) for name, value in figures.items()},
            "findings": (final and final.get("findings")) or [],
            "status": info["status"],
            "n_iter": info["n_iter"],
            "columns": list(columns),
            "histogram": {"bins": BINS},
            "sample_bits": 64 if double else 32,
            "digits": {} if self.samples.drawn_as == "picture" else self.samples.digits,
            "tags": tags,
            "sprites": self.sprites,
            "labels": self.labels.table(),
            "targets": self.told,
            "group": self.targets.group,
            "photos": photos,
            "map": self.map.write(self.folder, survey.errors if measured else None),
            "sizes": {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            },
        }
        _write_json(self.folder / "atlas.json", manifest)


def _chosen(values: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Chosen]:
    return [(value, row, None) for value, row in zip(values.tolist(), rows.tolist(), strict=True)]


def _example(
    records: dict[int, Sample],
    contexts: dict[tuple[int, int], Context],
    latent: int,
    value: float,
    row: int,
    quantile: float | None,
) -> Example:
    context = contexts.get((latent, row))
    sample = records[row] if context is None else {**records[row], **context}
    example: Example = {"value": float(f"{value:.5g}"), "sample": sample}
    return example if quantile is None else {**example, "quantile": quantile}


def _written(line: Details, texts: Mapping[int, str]) -> str:
    """A line of details as JSON; `texts` are samples, by row, that have been written before."""
    top, spread = (
        ", ".join(_written_example(example, texts) for example in part)
        for part in (line["top"], line["spread"])
    )
    rest = {name: value for name, value in line.items() if name not in ("latent", "top", "spread")}
    start = f'{{"latent": {line["latent"]}, "top": [{top}], "spread": [{spread}], '
    return start + _json(rest)[1:]


def _written_example(example: Example, texts: Mapping[int, str]) -> str:
    sample = texts.get(example["sample"]["row"]) or _json(example["sample"])
    more = f', "quantile": {example["quantile"]!r}' if "quantile" in example else ""
    return f'{{"value": {example["value"]!r}, "sample": {sample}{more}}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def _without_folders(recipe: Recipe) -> Recipe:
    """The recipe with the names of files alone: pages and sites are shown to others."""
    data = recipe.data
    meta, targets = (path and Path(path).name for path in (data.meta, data.targets))
    return dataclasses.replace(recipe, data=dataclasses.replace(data, meta=meta, targets=targets))


def _finite(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return finite(value) if isinstance(value, float) else value


def _write_json(path: Path, table: object) -> None:
    path.write_text(json.dumps(table, allow_nan=False), encoding="utf-8")


def key_of(run: Run, source: Source) -> str:
    """SHA-256 of everything an atlas is made of."""
    digest = hashlib.sha256(f"{FORMAT} {source.fingerprint()}".encode())
    for name in ("model.safetensors", "preprocess.safetensors", "recipe.toml"):
        digest.update((run.path / name).read_bytes())
    rows = evenly(source.n_samples, MOST_HASHED)
    for part in np.array_split(rows, -(-len(rows) // 10_000)):
        digest.update(json.dumps(source.about(part), default=str).encode())
    return digest.hexdigest()


def is_built(folder: Path, key: str, layout: str = "pca", group: str | None = None) -> bool:
    """Whether this very atlas is in a folder already, whole, with that layout of its map.

    And with that group of its targets, where one is asked for.
    """
    try:
        manifest = read_json(folder / "atlas.json")
        files = filter(lambda name: (folder / name).is_file(), manifest.get("sizes", {}))
        sizes = {name: (folder / name).stat().st_size for name in files}
        laid = layout == "pca" or layout in {one["name"] for one in manifest["map"]["layouts"]}
    except (RunError, OSError, AttributeError, LookupError, TypeError, ValueError):
        return False
    told = manifest.get("key"), manifest.get("edition")
    laid = laid and group in (None, manifest.get("group"))
    return told == (key, EDITION) and laid and bool(sizes) and sizes == manifest["sizes"]


def build_atlas(
    run: Run,
    trained: Trained,
    source: Source,
    layout: str = "pca",
    group: str | None = None,
) -> Iterator[float]:
    """Write the atlas of a run; the share that is done, again and again.

    `layout` is "pca", or "umap" or "tsne" for one more layout of its map; `group` a record: samples
    that share it are never parted where latents are held against targets. An atlas with a group
    serves where none is asked for.

    An atlas of the same weights and samples is left as it is; one that another process builds is
    waited for. That of a run which cannot be written goes to the user's cache. Memory stays
    bounded: it grows with the latents, and by four bytes with each sample.

    Raises:
        UsageError: for a group that no record tells.
        DataError: for samples that cannot be read, or groups that cannot be held apart.
        WriteError: when it cannot be written; an earlier atlas then stays.
    """
    run.refuse_oddities((FOLDER, ".atlas.lock"))
    key = key_of(run, source)
    asked = layout, group
    home = run.path if is_built(run.path / FOLDER, key, *asked) else home_of(run)
    if not is_built(home / FOLDER, key, *asked):
        lock = yield from _alone(home)
        try:
            if not is_built(home / FOLDER, key, *asked):
                yield from _build(home, trained, source, key, *asked)
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


def _build(
    home: Path, trained: Trained, source: Source, key: str, layout: str, group: str | None
) -> Iterator[float]:
    folder = home / f".{secrets.token_hex(8)}.tmp"
    for path in home.glob(".*.tmp"):  # of a process that was killed while it built
        if path.is_dir() and is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)
    with writing(home / FOLDER):  # by the name that people know, not by that of the half-made one
        try:
            (folder / "photos").mkdir(parents=True)
            yield from AtlasWriter(trained, source, key, folder, layout, group).make()
            _replace(folder, home / FOLDER)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _replace(new: Path, place: Path) -> None:
    old = place.with_name(f".{secrets.token_hex(8)}.tmp")
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)
