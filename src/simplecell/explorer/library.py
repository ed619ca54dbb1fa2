"""The runs that are shown, by the names they have in addresses, and what needs their weights."""

from __future__ import annotations

import base64
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import RunError
from simplecell.explorer.compared import Compared, Side
from simplecell.explorer.messages import Refused
from simplecell.explorer.replay import replay
from simplecell.explorer.shown import Shown, Stamp, stamp_of
from simplecell.measures import cosines
from simplecell.model import Model
from simplecell.run import Run
from simplecell.trained import Trained

TAKEN = ("static", "favicon.ico")
"""Names that stand for something else in an address."""
MOST_LOADED = 4
"""Runs whose weights are kept in memory."""


@dataclass(frozen=True)
class Loaded:
    """A run's weights, and what is made of them."""

    trained: Trained
    stamp: Stamp

    @cached_property
    def atoms(self) -> Tensor:
        """[M, D], in input units."""
        return self.trained.atoms()

    @cached_property
    def single(self) -> Model:
        """The model in float32."""
        return self.trained.model_in(torch.float32)

    def side(self, name: str) -> Side:
        """The run in a comparison."""
        trained = self.trained
        width, signed = trained.recon_preprocess.n_inputs, trained.model.activation.sparse
        return Side(name, self.stamp, width, signed, lambda: self.atoms)


class Library:
    """Every run that is shown; made by `open`."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._shown: dict[str, Shown] = {}
        for run in runs:
            name = unique(slug(run.path.name), [*self._shown, *TAKEN])
            self._shown[name] = Shown(name, run)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._alone = threading.Lock()
        self._compared = Compared()

    @classmethod
    def open(cls, paths: Iterable[str | Path]) -> Library:
        """The runs at `paths`, each a run directory or a folder of them (a sweep).

        Raises:
            RunError: for a path that is neither, or a run that cannot be read.
        """
        found: dict[Path, Run] = {}
        for path in map(Path, paths):
            for run in _runs_at(path):
                found.setdefault(run.path, run)
        if not found:
            raise RunError("there is no run to show; name at least one run directory")
        return cls(found.values())

    def __iter__(self) -> Iterator[Shown]:
        return iter(self._shown.values())

    def __len__(self) -> int:
        return len(self._shown)

    def find(self, name: str) -> Shown:
        """The run of that name.

        Raises:
            Refused: 404, when there is none.
        """
        if name not in self._shown:
            raise Refused(404, "no such run is shown here; see the list of runs")
        return self._shown[name]

    def rows(self) -> dict[str, Any]:
        """Every run, for the list."""
        return {"runs": [shown.row() for shown in self]}

    def compare(self, first: Shown, second: Shown) -> dict[str, Any]:
        """What the atoms of two runs share; found once for the same weights."""
        sides = [self._load(shown).side(shown.name) for shown in (first, second)]
        return {"runs": [first.row(), second.row()], **self._compared.of(*sides)}

    def similar(self, shown: Shown, latent: int) -> dict[str, Any]:
        """The cosine of one atom with every atom of its run, float32."""
        atoms = self._load(shown).atoms
        if latent >= len(atoms):
            raise Refused(404, f"latent {latent} does not exist: this run has {len(atoms)}")
        found = cosines(atoms[latent : latent + 1], atoms)[0].numpy().astype("<f4")
        return {"cosines": base64.b64encode(found.tobytes()).decode("ascii")}

    def play(self, shown: Shown, question: dict[str, Any]) -> dict[str, Any]:
        """Samples through the run; see `replay`."""
        loaded = self._load(shown)
        return replay(loaded.trained, loaded.single, question)

    def width(self, shown: Shown) -> int:
        """Columns of the samples that a run reads, *count*."""
        return self._load(shown).trained.preprocess.n_inputs

    def _load(self, shown: Shown) -> Loaded:
        stamp = stamp_of(shown.run.path / "model.safetensors")
        if stamp is None:
            raise Refused(404, f"'{shown.name}' has no weights yet; train it further")
        with self._alone:
            known = self._loaded.pop(shown.name, None)
            if known is None or known.stamp != stamp:
                known = Loaded(shown.run.load(), stamp)
            self._loaded[shown.name] = known
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
        return known


def slug(name: str) -> str:
    """A name as an address takes it."""
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower()).lstrip(".-") or "run"


def unique(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where it is taken."""
    others = set(taken)
    number, found = 1, name
    while found in others:
        number += 1
        found = f"{name}-{number}"
    return found


def _runs_at(path: Path) -> list[Run]:
    if not Run(path).exists and path.is_dir():
        children = [Run(child) for child in sorted(path.resolve().iterdir())]
        runs = [run for run in children if run.exists]
        if runs:
            return runs
    Run(path).info()
    return [Run(path.resolve())]
