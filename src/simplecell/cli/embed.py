"""`train --embed`: texts made rows by a language model, inside of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import read
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.harvesting.writing import Harvested

EMBEDDED = "embedded"
"""The folder of a run that holds what its texts became."""
Embed = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="DATA are texts: a model's folder, or a package with one."),
]
EmbedLayer = Annotated[
    str | None, typer.Option("--layer", help="Of --embed: its tokens there, not whole texts.")
]


def embedded(data: str, model: str, layer: str | None, out: Path, restart: bool) -> str:
    """The folder in a run where the texts of `data` are rows, written or gone on with.

    With `restart` rows of other texts are replaced; those of the same stay.

    Raises DataError and UsageError as `harvest_texts`.
    """
    from simplecell.harvesting.texts import harvest_texts
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    Run(out).refuse_strangers()
    positions = "auto" if layer is None else "words"

    def written(anew: bool) -> Harvested:
        place = out / EMBEDDED
        return harvest_texts(path_of(data), model, place, layer, positions=positions, restart=anew)

    try:
        done = written(False)
    except UsageError:
        if not restart:
            raise
        done = written(True)
    say(*done.notes, sentence(done))
    return str(out / EMBEDDED)


def path_of(data: str) -> str:
    """Where texts are. Raises UsageError for standard input."""
    if data == "-":
        raise UsageError("texts are read from a file or a folder, not from standard input")
    return str(read(data))


def sentence(done: Harvested) -> str:
    """What was written."""
    lines = [
        f"{done.n_rows[layer]} rows of {done.n_inputs[layer]} inputs of {done.n_samples} texts in "
        f"{folder}"
        for layer, folder in done.folders.items()
    ]
    return "\n".join(lines)
