"""The headline results of the field by one command, each beside the published figure.

A result is one function that takes a `Bench` and gives an `Outcome`; `RESULTS` names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from simplecell.errors import DataError, RunError, WriteError, unknown
from simplecell.reproduce import (
    classifiers,
    compositional,
    convolution,
    digits,
    generative,
    ksvd,
    photographs,
    recovery,
    sparse,
)
from simplecell.reproduce.bench import Bench, Clock
from simplecell.reproduce.outcome import MADE, Outcome, markdown
from simplecell.run.directory import about_software
from simplecell.run.progress import say
from simplecell.run.storage import read_json, write_json, write_whole, writing

__all__ = ["RESULTS", "Bench", "Outcome", "Result", "reproduce"]


@dataclass(frozen=True)
class Result:
    """A headline result: how to measure it, and the data sets that it needs."""

    measure: Callable[[Bench], Outcome]
    needs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The first line of the function's docstring."""
        return (self.measure.__doc__ or "").strip().splitlines()[0].removesuffix(".")


RESULTS: dict[str, Result] = {
    "edges": Result(photographs.edge_detectors, ("images",)),
    "strokes": Result(digits.strokes, ("mnist",)),
    "whitening": Result(photographs.whitening, ("raw images",)),
    "softmax": Result(digits.softmax, ("mnist",)),
    "templates": Result(classifiers.templates, ("cifar-10",)),
    "self-taught": Result(digits.self_taught, ("mnist",)),
    "stacked": Result(digits.stacked, ("mnist",)),
    "color": Result(photographs.color, ("stl patches",)),
    "convolution": Result(convolution.convolution, ("cifar-10",)),
    "connectivity": Result(convolution.connectivity, ("cifar-10",)),
    "sparse-coding": Result(sparse.sparse_coding, ("images",)),
    "topographic": Result(sparse.topographic, ("images",)),
    "restoration": Result(sparse.restoration),
    "deep": Result(generative.deep, ("mnist",)),
    "code-plot": Result(generative.code_plot, ("mnist",)),
    "variational": Result(generative.variational, ("mnist",)),
    "denoising": Result(generative.denoising, ("mnist",)),
    "planted": Result(recovery.planted),
    "compositional": Result(compositional.compositional),
    "ksvd": Result(ksvd.ksvd),
}


def reproduce(
    names: Sequence[str], out: Path, *, data: Path | None = None, quick: bool = False
) -> Iterator[Outcome]:
    """Measure the named results, or all whose data are there; one outcome at a time.

    Each is written to `out` as soon as it is done, with its pictures, and `out/README.md` becomes
    the table of everything that lies there.

    Raises:
        UsageError: for a name that is no result.
        DataError: when a named result lacks its data, or no result has any.
        WriteError: when `out` cannot be written, or holds a README.md that is not ours.
    """
    for name in names:
        if name not in RESULTS:
            raise unknown("result", name, RESULTS)
    if data is not None and not data.is_dir():
        raise DataError(f"'{data}' is not a folder; --data is the folder of the data sets")
    bench, lacking = Bench(out, data, quick), {}
    for name in names or RESULTS:
        found = [bench.missing(need) for need in RESULTS[name].needs if not quick]
        if missing := [sentence for sentence in found if sentence]:
            lacking[name] = missing[0]
    chosen = [name for name in names or RESULTS if name not in lacking]
    if lacking and (names or not chosen):
        homes = "\n".join(dict.fromkeys(lacking.values()))
        raise DataError(
            f"{', '.join(lacking)} cannot be measured without their data: give the folder as "
            f"--data, or --quick for small stand-ins\n{homes}"
        )
    _refuse_strangers(out)
    for sentence in dict.fromkeys(lacking.values()):
        left = ", ".join(name for name, missing in lacking.items() if missing == sentence)
        say(f"left out: {left} (--quick has small stand-ins) for want of {sentence}")
    for name in chosen:
        yield _measured(name, bench)


def _measured(name: str, bench: Bench) -> Outcome:
    result, clock = RESULTS[name], Clock()
    say(f"{name}: {result.title}")
    software = about_software(torch.get_num_threads(), "cpu")
    found = result.measure(bench)
    outcome = replace(
        found.alone() if bench.quick else found,
        name=name,
        title=result.title,
        quick=bench.quick,
        seconds=round(clock.seconds, 1),
        machine={key: software[key] for key in ("torch", "threads", "cpu")},
    )
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(bench.out / f"{name}.json", outcome.table())
    write_whole(bench.out / "README.md", page(bench.out).encode())
    return outcome


def _refuse_strangers(out: Path) -> None:
    """Before hours of measuring: can the page be written, and would it replace someone's own?"""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        readme = out / "README.md"
        if readme.exists() and MADE not in readme.read_text(encoding="utf-8", errors="replace"):
            raise WriteError(
                f"'{readme}' was not made by simplecell reproduce and would be replaced; choose "
                "another --out"
            )
    page(out)


def page(folder: Path) -> str:
    """The page of all results whose outcomes lie in the folder, in the order of `RESULTS`."""
    files = [folder / f"{name}.json" for name in RESULTS]
    return markdown(_read(file) for file in files if file.is_file())


def _read(file: Path) -> Outcome:
    try:
        outcome = Outcome.from_table(read_json(file))
        outcome.text()
    except (RunError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"'{file}' is no result of simplecell reproduce; remove it") from error
    return outcome
