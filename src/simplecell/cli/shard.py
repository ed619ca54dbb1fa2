"""The verb that writes data as shards: shard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import DataPath, Json, Meta, Settings, app, print_result, read


@app.command()
def shard(
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="Folder of the shards.")],
    rows: Annotated[
        int | None, typer.Option(help="Samples of a shard; default 67 million numbers.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16, float32 or float64; default as the data.")
    ] = None,
    settings: Settings = None,
    meta: Meta = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace shards in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Write the samples of DATA as files that can be mapped. Said again, it goes on."""
    from simplecell.data.shard_writer import shard_source
    from simplecell.run.progress import say, say_skipped
    from simplecell.run.recipe import Recipe

    source = Recipe().changed(settings or []).source(read(data), meta=meta and str(meta))
    say(*source.notes)
    say_skipped(source.skipped)
    index, before = shard_source(source, out, rows=rows, dtype=dtype, restart=restart)
    n_samples = sum(shard["n_samples"] for shard in index["shards"])
    result = {
        "out": str(out),
        "n_samples": n_samples,
        "n_inputs": index["n_inputs"],
        "dtype": index["dtype"],
        "n_shards": len(index["shards"]),
        "written": n_samples - before,
    }
    text = (
        f"{n_samples} samples of {index['n_inputs']} inputs, {index['dtype']}, in "
        f"{len(index['shards'])} shards"
    )
    print_result("shard", result, as_json, text)
    say(f"next: simplecell train {out} --out RUN")
