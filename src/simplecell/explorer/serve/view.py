"""One run as the pages see it: its files, read when they are asked for."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import RunError
from simplecell.explorer.make.atlas import damaged, folder_of
from simplecell.explorer.make.curves import training
from simplecell.explorer.serve.messages import Refused
from simplecell.explorer.serve.notes import Notes
from simplecell.run.directory import Run, reported_figures
from simplecell.run.info import Info
from simplecell.run.recipe import Recipe
from simplecell.run.storage import misfit, parse_json, read_json

FORMAT = 1
"""Of an atlas."""
MANIFEST = {
    "format": int,
    "key": str,
    "look": str,
    "n_latents": int,
    "activation": str,
    "sprites": (None, {"sheets": [str]}),
    "photos": (None, [{"file": str}]),
}
"""What is needed of atlas.json, as `storage.misfit` reads it."""
FIGURES = (
    *("n_inputs", "n_latents", "activation", "look"),
    *("fvu", "l0", "mean_activation", "samples"),
)
"""Of a run in the list of runs."""
PLAIN_FILES = ("columns.bin", "samples.bin", "weights.bin")
_PICTURE = re.compile(r"sprites-[0-9]{1,6}\.png|photos/[0-9]{1,6}\.jpg", re.ASCII)
_Value = TypeVar("_Value")
Stamp = tuple[int, int, int]


class RunView:
    """One run under the `name` it has in addresses; its files are read when they changed."""

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run
        self.notes = Notes(run.path / "notes.json")
        self._read: dict[str, tuple[Stamp, Any]] = {}

    @property
    def atlas(self) -> Path:
        """The folder of its atlas, which may be made while one looks."""
        return folder_of(self.run)

    def manifest(self) -> dict[str, Any]:
        """atlas.json.

        Raises:
            Refused: 404, when there is no atlas yet.
            RunError: when it is damaged, or of a newer format.
        """
        return self._file("atlas.json", _checked_manifest)

    def key(self) -> str:
        """Of the atlas, which changes with the weights and the samples."""
        key: str = self.manifest()["key"]
        return key

    def row(self) -> dict[str, Any]:
        """The run in the list of runs; figures are None where they are not known."""
        row: dict[str, Any] = {"name": self.name, "title": self.run.path.name}
        unknown = dict.fromkeys(FIGURES)
        try:
            info, model = self.info(), self._recipe().model
            atlas = self._manifest_or_nothing()
        except RunError:
            return {**row, **unknown, "status": "damaged"}
        sizes, kinds = model.n_latents, model.activation
        told: dict[str, Any] = {
            "n_inputs": math.prod(info["data"]["shape"]),
            "n_latents": sizes[-1] if isinstance(sizes, list) else sizes,
            "activation": kinds[-1] if isinstance(kinds, list) else kinds,
            **{key: atlas[key] for key in ("n_latents", "activation", "look") if key in atlas},
        }
        figures = info["figures"]
        mean = figures["mean_activation"]["mean"] if figures else None
        told |= {"mean_activation": mean, **reported_figures(info)}
        return {**row, **unknown, **told, "status": info["status"]}

    def info(self) -> Info:
        """run.json."""
        return self._remembered("run.json", self.run.path / "run.json", self.run.info)

    def overview(self) -> dict[str, Any]:
        """atlas.json with the notes; `notes_error` says why there are none to be had."""
        manifest = {**self.manifest(), "name": self.name, "title": self.run.path.name}
        try:
            notes, wrong = self.notes.read(manifest["key"]), None
        except RunError as error:
            notes, wrong = {}, self.plain(str(error))
        writable = wrong is None and os.access(self.run.path, os.W_OK)
        return {**manifest, "notes": notes, "writable": writable, "notes_error": wrong}

    def number(self, text: str) -> int:
        """The latent that an address names.

        Raises:
            Refused: 404, when there is none.
        """
        if not re.fullmatch("0|[1-9][0-9]{0,8}", text, re.ASCII):
            raise Refused(404, "this is no number of a latent")
        n_latents = self._manifest_or_nothing().get("n_latents", 10**9)
        if int(text) >= n_latents:
            raise Refused(
                404, f"latent {text} does not exist: this run has {n_latents}, counted from 0"
            )
        return int(text)

    def latent(self, latent: int) -> dict[str, Any]:
        """The line of details.jsonl that is about one latent, and its note."""
        try:
            note = self.notes.read(self.key()).get(str(latent))
        except RunError:  # which the overview tells
            note = None
        return {**self._line(latent), "note": note}

    def playground(self) -> dict[str, Any]:
        """playground.json, with samples to play with."""
        samples = self.data().get("samples", [])
        return {**self._file("playground.json", read_json), "samples": samples}

    def data(self) -> dict[str, Any]:
        """data.json."""
        return self._file("data.json", read_json)

    def training(self) -> dict[str, Any]:
        """The training, which may go on."""
        log = self.run.path / "log.jsonl"
        records = self._remembered("log.jsonl", log, self.run.records)
        return training(self.run, self.info(), self._recipe(), records)

    def files(self) -> set[str]:
        """Names of the atlas's files that may be asked for: a fixed list, no pattern of paths."""
        manifest = self.manifest()
        pictures = [*((manifest.get("sprites") or {}).get("sheets", []))]
        pictures += [photo["file"] for photo in manifest.get("photos") or []]
        return {*PLAIN_FILES, *filter(_PICTURE.fullmatch, pictures)}

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
        return self._remembered("recipe.toml", self.run.path / "recipe.toml", self.run.recipe)

    def _manifest_or_nothing(self) -> dict[str, Any]:
        try:
            return self.manifest()
        except Refused:  # no atlas yet
            return {}

    def _file(self, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        path = self.atlas / name
        if not (self.atlas / "atlas.json").is_file():
            raise Refused(
                404,
                f"'{self.name}' has no atlas yet, so that only its training can be shown; "
                "start explore again when it is trained",
            )
        return self._remembered(name, path, lambda: read(path))

    def _remembered(self, name: str, path: Path, read: Callable[[], _Value]) -> _Value:
        stamp = stamp_of(path)
        known = self._read.get(name)
        if known is None or stamp is None or known[0] != stamp:
            known = (stamp or (0, 0, 0), read())
            self._read[name] = known
        value: _Value = known[1]
        return value

    def _line(self, latent: int) -> dict[str, Any]:
        path = self.atlas / "details.jsonl"
        starts = self._remembered(path.name, path, lambda: _line_starts(path))
        try:
            with open(path, "rb") as file:
                file.seek(int(starts[latent]))
                line = parse_json(file.readline())
            if line["latent"] != latent:
                raise ValueError(f"line {latent} is about another latent")
        except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise damaged(path, error) from error
        return {**line}


def stamp_of(path: Path) -> Stamp | None:
    """What changes when a file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _checked_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    if type(manifest.get("format")) is int and manifest["format"] > FORMAT:
        raise RunError(
            f"'{path}' was written in format {manifest['format']}, and this simplecell reads up "
            f"to {FORMAT}; upgrade simplecell"
        )
    wrong = misfit(manifest, MANIFEST, "it")
    if wrong:
        raise damaged(path, wrong)
    return manifest


def _line_starts(path: Path) -> NDArray[np.int64]:
    """Where each line of a file begins, in bytes."""
    ends = [np.zeros(1, dtype=np.int64)]
    at = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                found = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
                ends.append(found + at + 1)
                at += len(block)
    except OSError as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error
    return np.concatenate(ends)[:-1]
