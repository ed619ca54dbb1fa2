"""`train --embed`: texts or pictures made rows by a model, inside of the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import read
from simplecell.errors import DataError, UsageError

if TYPE_CHECKING:
    from simplecell.harvesting.writing import Harvested

EMBEDDED = "embedded"
"""The folder of a run that holds what its texts or pictures became."""
Embed = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Rows are what this model makes of texts or pictures."),
]
EmbedLayer = Annotated[
    str | None, typer.Option("--layer", help="Of --embed: its tokens or patches there.")
]


def embedded(data: str, model: str, layer: str | None, out: Path, restart: bool) -> str:
    """The folder in a run where the texts or pictures of `data` are rows, written or gone on with.

    With `restart` rows of others are replaced; those of the same stay.

    Raises DataError and UsageError as `harvest_texts` and `harvest_pictures`.
    """
    from simplecell.harvesting.texts import harvest_texts
    from simplecell.harvesting.vision import harvest_pictures, hold_pictures
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    Run(out).refuse_strangers()
    source = path_of(data)
    pictures = hold_pictures(Path(source))
    positions = "auto" if layer is None or pictures else "words"
    write = harvest_pictures if pictures else harvest_texts

    def written(anew: bool) -> Harvested:
        return write(source, model, out / EMBEDDED, layer, positions=positions, restart=anew)

    try:
        done = written(False)
    except (UsageError, DataError):
        if not restart:
            raise
        _clear(out / EMBEDDED)
        done = written(True)
    say(*done.notes, sentence(done))
    return str(out / EMBEDDED)


def _clear(place: Path) -> None:
    """Remove shards whose index cannot be read, so that none knows which files are theirs."""
    from simplecell.data.shard_index import read_index

    try:
        read_index(place)
    except DataError:
        shutil.rmtree(place)


def path_of(data: str) -> str:
    """Where texts or pictures are. Raises UsageError for standard input."""
    if data == "-":
        raise UsageError(
            "texts and pictures are read from a file or a folder, not from standard input"
        )
    return str(read(data))


def sentence(done: Harvested) -> str:
    """What was written."""
    lines = [
        f"{done.n_rows[layer]} rows of {done.n_inputs[layer]} inputs of {done.n_samples} "
        f"{done.what} in {folder}"
        for layer, folder in done.folders.items()
    ]
    return "\n".join(lines)
