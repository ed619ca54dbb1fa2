"""A model from one format into another, and the proof by numbers that it is the same model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.errors import RunError, UsageError
from simplecell.interop import formats
from simplecell.interop.adopted import adopted
from simplecell.interop.foreign import Evaluate, Foreign, Given
from simplecell.interop.formats import Format
from simplecell.interop.onnx import Agreement
from simplecell.interop.verify import Differences, differences, ours, random_samples
from simplecell.run.build import new_data
from simplecell.run.directory import Run
from simplecell.run.storage import writing
from simplecell.run.trained import Trained

Proof = Differences | Agreement
MOST_CHECKED = 8192
"""Given samples that are compared, evenly spread over all."""


@dataclass(frozen=True)
class Origin:
    """What is converted: a run of ours, or another library's model taken over."""

    trained: Trained
    foreign: Foreign | None

    @property
    def words(self) -> str:
        """What it is, in words."""
        if self.foreign is not None:
            return f"{self.foreign.kind}, {self.foreign.sizes}"
        model = self.trained.model
        return (
            f"simplecell {model.activation.kind}, {self.trained.preprocess.n_inputs} inputs, "
            f"{model.n_latents} latents"
        )


@dataclass(frozen=True)
class Conversion:
    """What was written, and how far it is from what was read."""

    origin: str
    out: Path
    told: list[str]
    lost: list[str]
    compared: dict[str, Proof]
    """By what was compared, in words."""

    def table(self) -> dict[str, object]:
        """As JSON."""
        return {
            "from": self.origin,
            "out": str(self.out),
            "compared": [{"what": w, **found.table()} for w, found in self.compared.items()],
            "notes": self.told,
            "not_carried_over": self.lost,
        }

    def __str__(self) -> str:
        lines = [f"from          {self.origin}", f"out           {self.out}"]
        lines += [f"{name:<13} {found}" for name, found in self.compared.items()]
        lines += [f"not carried   {line}" for line in self.lost] or ["not carried   nothing"]
        return "\n".join(lines)


def opened(
    path: str | Path, given: Mapping[str, object] | None = None, more: tuple[str, ...] = ()
) -> Origin:
    """A run, or another library's model, at a path. Raises as `formats.read` and `Run.load`."""
    run = Run(path)
    if os.path.lexists(run.path / "run.json"):
        if left := [name for name in given or {} if name not in more]:
            raise UsageError(f"'{path}' is a run, which says all of itself; leave {left[0]} out")
        return Origin(run.load(), None)
    foreign = formats.read(path, given, more)
    return Origin(adopted(foreign, path), foreign)


def convert(
    source: str | Path,
    out: str | Path,
    to: str = "simplecell",
    *,
    given: Mapping[str, object] | None = None,
    check: object = None,
    restart: bool = False,
) -> Conversion:
    """Write the model at `source` in the format `to`, and compare what was written with it.

    `given` says what files do not (`foreign.GIVEN`, and a format's own keys), `check` are samples
    to compare on besides random ones.

    Raises:
        RunError: for what cannot be read or held, and where the two are not the same model.
        UsageError: for a format or a setting that does not exist, or does not fit.
        WriteError: when it cannot be written.
    """
    row, out, given = formats.row_of(to), Path(out), given or {}
    origin = opened(source, given, row.keys)
    if origin.foreign is None and to == "simplecell":
        raise UsageError(f"'{source}' is a run already; name another format with --to")
    trained = origin.trained
    samples = {"random": random_samples(trained)}
    if check is not None:
        samples["given"] = _given_samples(new_data(trained, check)).to(samples["random"])
    compared: dict[str, Proof] = {}
    if origin.foreign is not None:
        compared = _compared("read", ours(trained), origin.foreign.evaluate, samples)
    _make_room(row, out, restart)
    for_writer = Given({name: given[name] for name in row.keys if name in given})
    lost = row.module.write(trained, out, for_writer)
    try:
        compared |= _checked(row, out, trained, samples)
    except RunError:
        _remove(row, out)
        raise
    if not compared:
        lost = [*lost, f"the proof: {row.module.UNCHECKED}"]
    converted = trained.info.get("converted")
    told = list(converted["told"]) if converted else []
    lost = [*([] if origin.foreign is None else origin.foreign.lost), *lost]
    return Conversion(origin.words, out, told, lost, compared)


def _given_samples(source: Source) -> Tensor:
    """Evenly spread samples."""
    rows = torch.linspace(0, source.n_samples - 1, min(source.n_samples, MOST_CHECKED)).long()
    x = torch.from_numpy(source.read(rows.numpy()).copy())
    return x.reshape(len(x), -1)


def _compared(
    step: str, first: Evaluate, second: Evaluate, samples: Mapping[str, Tensor]
) -> dict[str, Proof]:
    """The differences on each kind of samples. Raises RunError where they are no rounding."""
    found: dict[str, Proof] = {}
    for name, x in samples.items():
        one = differences(first, second, x)
        if not one.small:
            raise RunError(
                f"the model as {step} is not the same: on {name} samples {one}; nothing was kept"
            )
        found[f"{step}, {name}"] = one
    return found


def _checked(
    row: Format, out: Path, trained: Trained, samples: Mapping[str, Tensor]
) -> Mapping[str, Proof]:
    """What was written against what it was written from."""
    if not row.own_check:
        return _compared("written", formats.evaluator(row, out), ours(trained), samples)
    found = {
        f"written, {name}": row.module.compared(out, trained, x) for name, x in samples.items()
    }
    return {name: one for name, one in found.items() if one is not None}


def _make_room(row: Format, out: Path, restart: bool) -> None:
    """Raise RunError if something lies there already; with `restart` only if it is none of ours."""
    if not os.path.lexists(out):
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        return
    if row.one_file:
        if out.is_dir() or not restart:
            raise RunError(f"'{out}' exists; choose another place, or replace it with --restart")
        return
    found = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if not found:
        return
    known = Run(out).exists if row.name == "simplecell" else found <= set(row.names)
    if not (restart and known):
        say = "or replace it with --restart" if known else "since it holds other files"
        raise RunError(f"'{out}' exists; choose another place, {say}")


def _remove(row: Format, out: Path) -> None:
    """Remove what was written, which is not to be trusted, and nothing else."""
    if row.name == "simplecell":
        Run(out).remove()
        return
    with contextlib.suppress(OSError):
        for path in [out] if row.one_file else [out / name for name in row.names]:
            path.unlink(missing_ok=True)
        if not row.one_file:
            out.rmdir()
