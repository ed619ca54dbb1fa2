"""The verb that writes a language model's activations: harvest; and `train --embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import DataPath, Json, app, print_result, read
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.harvesting.writing import Harvested

EMBEDDED = "embedded"
"""The folder of a run that holds what its texts became."""
Model = Annotated[
    str, typer.Option("--model", help="A model's folder, or an installed package with one.")
]
Layer = Annotated[
    list[str] | None,
    typer.Option("--layer", help="A layer or a glob, a row a token; default: a row a text."),
]
Embed = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="DATA are texts: a model's folder, or a package with one."),
]
EmbedLayer = Annotated[
    str | None, typer.Option("--layer", help="Of --embed: its tokens there, not whole texts.")
]


@app.command()
def harvest(
    data: DataPath,
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder of the shards.")],
    layer: Layer = None,
    text: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The text's field, or several: title,body.")
    ] = None,
    positions: Annotated[
        str, typer.Option(help="auto, all, not_padding, not_first, words, last or mean.")
    ] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16, float32 or float64; default the model's.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Samples of a shard; default 17 million numbers.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace shards in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Write what a language model makes of texts as shards. Said again, it goes on.

    From Python, simplecell.harvest does it for any torch module.
    """
    from simplecell.harvesting.texts import harvest_texts
    from simplecell.run.progress import say

    layers = None if not layer else layer[0] if len(layer) == 1 else layer
    done = harvest_texts(
        _path(data),
        model,
        out,
        layers,
        text=text,
        positions=positions,
        rows=rows,
        dtype=dtype,
        restart=restart,
    )
    say(*done.notes)
    print_result("harvest", _told(done), as_json, _sentence(done))
    say(f"next: simplecell train {next(iter(done.folders.values()))} --out RUN")


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
        return harvest_texts(_path(data), model, place, layer, positions=positions, restart=anew)

    try:
        done = written(False)
    except UsageError:
        if not restart:
            raise
        done = written(True)
    say(*done.notes, _sentence(done))
    return str(out / EMBEDDED)


def _path(data: str) -> str:
    if data == "-":
        raise UsageError("texts are read from a file or a folder, not from standard input")
    return str(read(data))


def _told(done: Harvested) -> dict[str, object]:
    return {
        "layers": [
            {"layer": layer, "out": str(folder)}
            | {"n_rows": done.n_rows[layer], "n_inputs": done.n_inputs[layer]}
            for layer, folder in done.folders.items()
        ],
        "n_samples": done.n_samples,
        "n_padding": done.n_padding,
        "written": done.written,
        "notes": done.notes,
    }


def _sentence(done: Harvested) -> str:
    lines = [
        f"{done.n_rows[layer]} rows of {done.n_inputs[layer]} inputs of {done.n_samples} texts in "
        f"{folder}"
        for layer, folder in done.folders.items()
    ]
    return "\n".join(lines)
