"""The runs that are shown, by the names they have in addresses; atlases are made where missing."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from simplecell.errors import RunError, SimplecellError, UsageError
from simplecell.explorer.make.atlas import build_atlas, damaged, folder_of
from simplecell.explorer.make.contents import Sample
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.serve.compared import compare
from simplecell.explorer.serve.contrasted import contrasted
from simplecell.explorer.serve.messages import Refused
from simplecell.explorer.serve.remembered import Remembered, Stamp, stamp_of
from simplecell.explorer.serve.replay import replay
from simplecell.explorer.serve.sampled import SampleReader
from simplecell.explorer.serve.view import KnownRun, RunView
from simplecell.model.autoencoder import Model
from simplecell.model.measures import cosines
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.progress import follow_share, say
from simplecell.run.trained import Trained

TAKEN = ("static", "favicon.ico")
"""Names that stand for something else in an address."""
MOST_LOADED = 4
"""Runs whose weights are kept in memory."""
MOST_COMPARED = 32
"""Pairs of runs whose comparison is."""
MOST_READ = 2
"""Runs whose codes and data are at hand: at most 134 MB of codes each."""
SECONDS = 3.0
"""Between looks at a training that goes on."""


@dataclass(frozen=True)
class Loaded:
    """A run's weights, and what is made of them."""

    trained: Trained
    stamp: Stamp
    """Changes with the weights."""

    @property
    def width(self) -> int:
        """Inputs of an atom, *count*."""
        return self.trained.recon_preprocess.n_inputs

    @property
    def signed(self) -> bool:
        """Whether an atom and its opposite say different things."""
        return self.trained.model.activation.one_sided

    @cached_property
    def atoms(self) -> Tensor:
        """[M, D], in input units."""
        return self.trained.atoms()

    @cached_property
    def single(self) -> Model:
        """The model in float32."""
        return self.trained.model_in(torch.float32)


class Library:
    """Every run that is shown; made by `open`."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._known: dict[str, KnownRun] = {}
        for run in runs:
            name = unique(slug(run.path.name), [*self._known, *TAKEN])
            self._known[name] = KnownRun(name, run)
        self._loaded = Remembered(MOST_LOADED)
        self._codes = Remembered(MOST_READ)
        self._readers = Remembered(MOST_READ)
        self.data: object = None
        self.meta: str | Path | None = None
        """Other samples than a run's own, and records about them, where one run is shown."""
        self._compared = Remembered(MOST_COMPARED)

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

    def __iter__(self) -> Iterator[RunView]:
        return map(RunView, self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def find(self, name: str) -> RunView:
        """The run of that name, as it stands now.

        Raises:
            Refused: 404, when there is none.
        """
        if name not in self._known:
            raise Refused(404, "no such run is shown here; see the list of runs")
        return RunView(self._known[name])

    def rows(self) -> dict[str, object]:
        """Every run, for the list."""
        return {"runs": [shown.row() for shown in self]}

    def compare(self, first: RunView, second: RunView) -> dict[str, object]:
        """What the atoms of two runs share; found once for the same weights.

        Raises:
            Refused: 400, for runs over other inputs.
        """
        one, other = self._load(first), self._load(second)
        if one.width != other.width:
            raise Refused(
                400,
                f"'{first.name}' has {one.width} inputs per sample and '{second.name}' "
                f"{other.width}; atoms are compared input by input, so choose two runs over the "
                "same inputs",
            )
        found = self._compared.get(
            (first.name, second.name),
            (one.stamp, other.stamp),
            lambda: compare(one.atoms, other.atoms, signed=one.signed and other.signed),
        )
        return {"runs": [first.row(), second.row()], **found}

    def similar(self, shown: RunView, latent: int) -> dict[str, object]:
        """The cosine of one atom with every atom of its run, float32."""
        atoms = self._load(shown).atoms
        if latent >= len(atoms):
            raise Refused(404, f"latent {latent} does not exist: this run has {len(atoms)}")
        found = cosines(atoms[latent : latent + 1], atoms)[0].numpy().astype("<f4")
        return {"cosines": base64.b64encode(found.tobytes()).decode("ascii")}

    def play(self, shown: RunView, question: Mapping[str, object]) -> dict[str, object]:
        """Samples through the run; see `replay`."""
        loaded = self._load(shown)
        return replay(loaded.trained, loaded.single, question)

    def contrast(self, shown: RunView, question: Mapping[str, object]) -> dict[str, object]:
        """What sets points of the map apart; see `contrasted`."""
        n_points, sparse = shown.map["n_points"], bool(shown.manifest.get("sparse"))
        return contrasted(self.kept(shown), n_points, sparse, question)

    def code(self, shown: RunView, latent: int) -> bytes:
        """The code of a latent at each point of the map, float32, NaN where it is not at hand."""
        return self.kept(shown).column(latent, shown.map["n_points"]).tobytes()

    def sample(self, shown: RunView, text: str) -> Sample:
        """The sample at a point of the map, by the point's number.

        Raises:
            Refused: 404, when there is none, or it cannot be read.
        """
        rows = shown.map_rows()
        if not re.fullmatch("0|[1-9][0-9]{0,8}", text, re.ASCII) or int(text) >= len(rows):
            raise Refused(404, f"the map has no such point: it has {len(rows)}, counted from 0")
        trained = self._load(shown).trained
        reader = self._readers.get(
            shown.name, shown.key, lambda: SampleReader(trained, self.data, self.meta)
        )
        return reader.sample(int(rows[int(text)]), shown.manifest.get("photos") or [])

    def kept(self, shown: RunView) -> KeptCodes:
        """The codes of points of a run's map that are at hand.

        Raises:
            RunError: when their file is missing, damaged or about another map.
        """
        path, n_points = shown.codes_file, shown.map["n_points"]
        found = self._codes.get(shown.name, stamp_of(path), lambda: KeptCodes.read(path))
        if found.codes.shape[1] != shown.manifest["n_latents"] or found.points[-1] >= n_points:
            raise damaged(path, "it is about another map")
        return found

    def width(self, shown: RunView) -> int:
        """Columns of the samples that a run reads, *count*."""
        return self._load(shown).trained.preprocess.n_inputs

    def _load(self, shown: RunView) -> Loaded:
        stamp = stamp_of(shown.run.path / "model.safetensors")
        if stamp is None:
            raise Refused(404, f"'{shown.name}' has no weights yet; train it further")
        return self._loaded.get(shown.name, stamp, lambda: Loaded(shown.run.load(), stamp))


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


def open_library(
    paths: Sequence[Path],
    data: object = None,
    meta: str | Path | None = None,
    layout: str = "pca",
    group: str | None = None,
) -> Library:
    """The runs at `paths` (run directories, or folders of them), each with its atlas.

    `data` and `meta` are for one run alone: other samples than its own, and records about them.
    `layout` is that of the maps, `group` that of the targets, see `build_atlas`.
    A run that has no weights yet is shown by its training only.

    Raises:
        RunError: for a path that is no run.
        UsageError: for data or meta with several runs, a layout that cannot be made, and a group
            that no record tells.
        DataError: for samples that are gone, changed or of another width.
        WriteError: when an atlas cannot be written.
    """
    library = Library.open(paths)
    if len(library) > 1 and (data is not None or meta is not None):
        raise UsageError(
            f"--data and --meta are about one run, but {len(library)} came; name one run"
        )
    library.data, library.meta = data, meta
    for shown in library:
        make_atlas(shown.run, data, meta, layout, group)
    return library


def keep_fresh(
    library: Library,
    data: object = None,
    meta: str | Path | None = None,
    layout: str = "pca",
    group: str | None = None,
) -> None:
    """Watch runs that are still trained, from a thread, and make their atlas anew at the end."""
    waiting = [shown.run for shown in library if shown.info()["status"] == "running"]

    def watch() -> None:
        while waiting:
            time.sleep(SECONDS)
            for run in list(waiting):
                with contextlib.suppress(SimplecellError):  # it may be written at this moment
                    if run.info()["status"] != "running":
                        make_atlas(run, data, meta, layout, group)
                        waiting.remove(run)

    threading.Thread(target=watch, daemon=True).start()


def make_atlas(
    run: Run,
    data: object = None,
    meta: str | Path | None = None,
    layout: str = "pca",
    group: str | None = None,
) -> None:
    """Build a run's atlas with progress, unless it is there already."""
    if not (run.path / "model.safetensors").exists():
        say(f"{run.path.name} has no weights yet: only its training is shown")
        return
    trained = run.load()
    source = all_data(trained, data, meta)
    follow_share(f"looking at {run.path.name}", build_atlas(run, trained, source, layout, group))
    place = folder_of(run)
    if place.parent != run.path:
        say(f"{run.path.name} cannot be written: its atlas is in '{place}', and no note is kept")


def the_run(paths: Sequence[Path]) -> Run:
    """The only run among `paths`.

    Raises:
        RunError: for a path that is no run, or several runs.
    """
    runs = [shown.run for shown in Library.open(paths)]
    if len(runs) != 1:
        raise RunError(f"one run is needed here, but {len(runs)} came; name one of them")
    return runs[0]
