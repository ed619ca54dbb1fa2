"""One run as the pages see it for one request: its atlas is looked for once."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import RunError
from simplecell.explorer.make import kept_codes
from simplecell.explorer.make.atlas import FORMAT, damaged, folder_of
from simplecell.explorer.make.contents import (
    DataPage,
    Details,
    Manifest,
    MapPage,
    PlaygroundPage,
)
from simplecell.explorer.make.curves import training
from simplecell.explorer.serve.messages import Refused
from simplecell.explorer.serve.remembered import Remembered, stamp_of
from simplecell.run.directory import Run, reported_figures, reported_pca
from simplecell.run.info import Info
from simplecell.run.notes import FILE, Name, Note, Notes, weights_of
from simplecell.run.recipe import Recipe
from simplecell.run.storage import misfit, parse_json, read_json

MANIFEST = {
    "format": int,
    "key": str,
    "look": str,
    "n_latents": int,
    "activation": str,
    "sprites": (None, {"sheets": [str]}),
    "photos": (None, [{"file": str}]),
    "map": (
        None,
        {
            "n_points": int,
            "rows": (None, str),
            "layouts": [{"file": str}],
            "latents": {"file": str},
            "fields": [{"file": str}],
        },
    ),
}
"""What is needed of atlas.json, as `storage.misfit` reads it."""
FIGURES = (
    *("n_inputs", "n_latents", "activation", "look"),
    *("fvu", "l0", "mean_activation", "samples", "pca"),
)
"""Of a run in the list of runs."""
PLAIN_FILES = ("columns.bin", "samples.bin", "targets.bin", "weights.bin")
_MAP = re.compile(r"map-[a-z0-9-]{1,24}\.bin", re.ASCII)
_PICTURE = re.compile(r"sprites-[0-9]{1,6}\.png|photos/[0-9]{1,6}\.jpg", re.ASCII)
MOST_FILES = 16
"""Of a run that are remembered: all there are."""
_Value = TypeVar("_Value")


class KnownRun:
    """A run under the `name` it has in addresses, and what requests before learned of its files."""

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run
        self.notes = Notes(run.path / FILE)
        self.files = Remembered(MOST_FILES)


class RunView:
    """A run as it stands when it is asked for; of its files those are read that have changed.

    Where its atlas lies, and what that holds, is asked once: make another view to look again.
    """

    def __init__(self, known: KnownRun) -> None:
        self.name, self.run, self._known = known.name, known.run, known

    @cached_property
    def atlas(self) -> Path:
        """The folder of its atlas, which may be made while one looks."""
        return folder_of(self.run)

    @cached_property
    def has_atlas(self) -> bool:
        """Whether the atlas is made."""
        return (self.atlas / "atlas.json").is_file()

    @cached_property
    def manifest(self) -> Manifest:
        """atlas.json.

        Raises:
            Refused: 404, when there is no atlas yet.
            RunError: when it is damaged, or of a newer format.
        """
        return self._file("atlas.json", _checked_manifest)

    @property
    def key(self) -> str:
        """Of the atlas, which changes with the weights and the samples."""
        return self.manifest["key"]

    def row(self) -> dict[str, object]:
        """The run in the list of runs; figures are None where they are not known."""
        row = {"name": self.name, "title": self.run.path.name, **dict.fromkeys(FIGURES)}
        try:
            info, model = self.info(), self._recipe().model
            atlas = self.manifest if self.has_atlas else None
        except RunError:
            return {**row, "status": "damaged"}
        sizes, kinds = model.n_latents, model.activation
        told: dict[str, object] = {
            "n_inputs": math.prod(info["data"]["shape"]),
            "n_latents": sizes[-1] if isinstance(sizes, list) else sizes,
            "activation": kinds[-1] if isinstance(kinds, list) else kinds,
        }
        if atlas is not None:
            told |= {key: atlas[key] for key in ("n_latents", "activation", "look")}
        figures = info["figures"]
        mean = figures["mean_activation"]["mean"] if figures else None
        told |= {"mean_activation": mean, **reported_figures(info), "pca": reported_pca(info)}
        return {**row, **told, "status": info["status"]}

    def info(self) -> Info:
        """run.json."""
        return self._remembered(self.run.path / "run.json", self.run.info)

    def overview(self) -> dict[str, object]:
        """atlas.json with notes and names; `notes_error` says why there are none to be had."""
        manifest = self.manifest
        (notes, names), wrong = self._notes
        return {
            **manifest,
            "name": self.name,
            "title": self.run.path.name,
            "notes": notes,
            "names": names,
            "writable": wrong is None and os.access(self.run.path, os.W_OK),
            "notes_error": wrong,
        }

    @cached_property
    def _notes(self) -> tuple[tuple[dict[str, Note], dict[str, Name]], str | None]:
        """Notes and names by latent, and what is wrong with their file."""
        kept = self._known.notes
        try:
            names = kept.names("") and kept.names(self._weights())
            return (kept.read(self.key), names), None
        except RunError as error:
            return ({}, {}), self.plain(str(error))

    def _weights(self) -> str:
        """By which names know theirs."""
        path = self.run.path
        return self._remembered(path / "model.safetensors", lambda: weights_of(path))

    @property
    def names(self) -> dict[int, str]:
        """The names in use, by latent."""
        found = self._notes[0][1]
        return {int(latent): one["name"] for latent, one in found.items() if not one["stale"]}

    def write_name(self, latent: int, name: str) -> Name | None:
        """Name a latent, "" for no name; as `Notes.rename`."""
        known = self._known.notes.rename({latent: name}, self._weights())
        return {"name": known[latent], "stale": False} if latent in known else None

    def write_note(self, latent: int, text: str) -> Note | None:
        """See `Notes.write`."""
        return self._known.notes.write(latent, text, self.key)

    def number(self, text: str) -> int:
        """The latent that an address names.

        Raises:
            Refused: 404, when there is none.
        """
        if not re.fullmatch("0|[1-9][0-9]{0,8}", text, re.ASCII):
            raise Refused(404, "this is no number of a latent")
        n_latents = self.manifest["n_latents"] if self.has_atlas else 10**9
        if int(text) >= n_latents:
            raise Refused(
                404, f"latent {text} does not exist: this run has {n_latents}, counted from 0"
            )
        return int(text)

    def latent(self, latent: int) -> dict[str, object]:
        """What is known of one latent, its note and its name."""
        notes, names = self._notes[0]
        told = {"note": notes.get(str(latent)), "name": names.get(str(latent))}
        return {**self.details(latent), **told}

    def details(self, latent: int) -> Details:
        """The line of details.jsonl that is about one latent.

        Raises:
            RunError: when it is damaged.
        """
        path = self.atlas / "details.jsonl"
        starts = self._remembered(path, lambda: _line_starts(path))
        try:
            with open(path, "rb") as file:
                file.seek(starts[latent])
                line: Details = parse_json(file.readline())
            if line["latent"] != latent:
                raise ValueError(f"line {latent} is about another latent")
        except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise damaged(path, error) from error
        return line

    def playground(self) -> PlaygroundPage:
        """playground.json, with samples to play with."""
        samples = self.data().get("samples", [])
        table = {**self._file("playground.json", read_json), "samples": samples}
        return cast(PlaygroundPage, table)

    def data(self) -> DataPage:
        """data.json."""
        return cast(DataPage, self._file("data.json", read_json))

    def training(self) -> dict[str, object]:
        """The training, which may go on."""
        records = self._remembered(self.run.path / "log.jsonl", self.run.records)
        return training(self.run, self.info(), self._recipe(), records)

    def files(self) -> set[str]:
        """Names of the atlas's files that may be asked for: a fixed list, no pattern of paths."""
        manifest = self.manifest
        sprites = manifest.get("sprites")
        pictures = [*sprites["sheets"]] if sprites else []
        pictures += [photo["file"] for photo in manifest.get("photos") or []]
        return {*PLAIN_FILES, *self.map_files(), *filter(_PICTURE.fullmatch, pictures)}

    def map_files(self) -> list[str]:
        """Names of the files of the map; none where an atlas has no map."""
        told = self.manifest.get("map")
        if told is None:
            return []
        parts = [*told["layouts"], told["latents"], *told["fields"]]
        names = [told["rows"] or "", *(part["file"] for part in parts)]
        return sorted(filter(_MAP.fullmatch, names))

    @property
    def map(self) -> MapPage:
        """The map's part of atlas.json.

        Raises:
            Refused: 404, when there is none.
        """
        told = self.manifest.get("map")
        if told is None:
            raise Refused(404, "the atlas of this run has no map; start explore again")
        return told

    def map_rows(self) -> NDArray[np.int64]:
        """The number of each point's row, [P].

        Raises:
            RunError: when their file is damaged.
        """
        name, n = self.map["rows"], self.map["n_points"]
        if name is None:
            return np.arange(n)
        rows = np.frombuffer(self.file(name), dtype="<u4").astype(np.int64)
        if len(rows) != n:
            raise damaged(self.atlas / name, f"{len(rows)} rows of {n} points")
        return rows

    @property
    def codes_file(self) -> Path:
        """Where the codes that are at hand lie; no address gives this file."""
        return self.atlas / kept_codes.FILE

    def file(self, name: str) -> bytes:
        """The bytes of one of `files`.

        Raises:
            Refused: 404, when it is none of them, or leads out of the atlas.
        """
        if name not in self.files():
            raise Refused(404, "the atlas of this run has no such file")
        path, folder = (self.atlas / name).resolve(), self.atlas.resolve()
        if not (path.is_relative_to(folder) and path.is_file()):
            raise Refused(404, "the atlas of this run has no such file")
        return path.read_bytes()

    def plain(self, sentence: str) -> str:
        """A sentence without the place of the run: pages tell nothing of the machine."""
        for place in (str(self.atlas.parent), str(self.run.path)):
            for spelling in (repr(place)[1:-1], place):
                sentence = sentence.replace(spelling, self.name) if len(place) > 1 else sentence
        return sentence

    def _recipe(self) -> Recipe:
        return self._remembered(self.run.path / "recipe.toml", self.run.recipe)

    def _file(self, name: str, read: Callable[[Path], _Value]) -> _Value:
        if not self.has_atlas:
            raise Refused(
                404,
                f"'{self.name}' has no atlas yet, so that only its training can be shown; "
                "start explore again when it is trained",
            )
        path = self.atlas / name
        return self._remembered(path, lambda: read(path))

    def _remembered(self, path: Path, read: Callable[[], _Value]) -> _Value:
        return self._known.files.get(path.name, stamp_of(path), read)


def _checked_manifest(path: Path) -> Manifest:
    manifest = read_json(path)
    if type(manifest.get("format")) is int and manifest["format"] > FORMAT:
        raise RunError(
            f"'{path}' was written in format {manifest['format']}, and this simplecell reads up "
            f"to {FORMAT}; upgrade simplecell"
        )
    wrong = misfit(manifest, MANIFEST, "it")
    if wrong:
        raise damaged(path, wrong)
    return cast(Manifest, manifest)


def _line_starts(path: Path) -> list[int]:
    """Where each whole line of a file begins, in bytes."""
    try:
        with open(path, "rb") as file:
            lengths = [len(line) for line in file if line.endswith(b"\n")]
    except OSError as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error
    return list(itertools.accumulate(lengths, initial=0))[:-1]
