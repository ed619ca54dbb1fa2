"""The verb that writes a language model's activations: harvest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import DataPath, Json, app, print_result
from simplecell.cli.embed import path_of, sentence

if TYPE_CHECKING:
    from simplecell.harvesting.writing import Harvested

Model = Annotated[
    str, typer.Option("--model", help="A model's folder, or an installed package with one.")
]
Layer = Annotated[
    list[str] | None,
    typer.Option("--layer", help="A layer or a glob, a row a token; default: a row a text."),
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
        path_of(data),
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
    print_result("harvest", _told(done), as_json, sentence(done))
    say(f"next: simplecell train {next(iter(done.folders.values()))} --out RUN")


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
