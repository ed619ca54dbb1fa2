"""The verb that writes the activations of a model of texts or pictures: harvest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simplecell.cli.application import DataPath, Json, app, print_result
from simplecell.cli.embed import path_of, sentence
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.harvesting.writing import Harvested

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model's folder, a package with one, or of timm or torchvision NAME=WEIGHTS.",
    ),
]
Layer = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", help="A layer or a glob, a row a token or patch; default: a row a sample."
    ),
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
        str,
        typer.Option(
            help="auto, all, not_padding, not_first, last, mean; words of texts, class of patches."
        ),
    ] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16, float32 or float64; default the model's.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Samples of a shard; default 17 million numbers.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace shards in --out.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a vision model's weights from their hub.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what a model makes of texts or pictures as shards. Said again, it goes on.

    From Python, simplecell.harvest does it for any torch module.
    """
    from simplecell.harvesting.texts import harvest_texts
    from simplecell.harvesting.vision import harvest_pictures, hold_pictures
    from simplecell.run.progress import say

    layers = None if not layer else layer[0] if len(layer) == 1 else layer
    place = path_of(data)
    told: dict[str, Any] = {"rows": rows, "dtype": dtype, "restart": restart}
    told["positions"] = positions
    if hold_pictures(Path(place)):
        if text is not None:
            raise UsageError("--text names a field of texts, but these are pictures")
        done = harvest_pictures(place, model, out, layers, download=download, **told)
    else:
        if download:
            raise UsageError("--download is for vision models; a model of texts is a folder here")
        done = harvest_texts(place, model, out, layers, text=text, **told)
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
