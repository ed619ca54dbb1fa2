"""The verb that answers: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import DataPath, Json, Meta, RunPath, app, print_result, read


@app.command()
def explain(
    run: RunPath,
    data: DataPath,
    target: Annotated[
        str, typer.Option(help="A record of DATA: a column that is no input, or label.")
    ],
    group: Annotated[
        str | None, typer.Option(help="A record: samples that share it are never parted.")
    ] = None,
    kind: Annotated[str, typer.Option("--as", help="auto, number or classes.")] = "auto",
    meta: Meta = None,
    out: Annotated[Path | None, typer.Option(help="F.csv, F.json or F.html, all latents.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is held out.")] = 0,
    as_json: Json = False,
) -> None:
    """Which latents go with a target, whether that holds on held-out samples, or nothing does."""
    import time

    from simplecell.explain.asked import of_target
    from simplecell.explain.explanation import form_of
    from simplecell.run.build import new_data
    from simplecell.run.directory import Run
    from simplecell.run.progress import say, say_skipped
    from simplecell.run.storage import check_place

    started = time.perf_counter()
    if out is not None:
        form_of(out)  # before anything that takes long
        check_place(out)
    trained = Run(run).load()
    source = new_data(trained, read(data), meta)
    say(*source.notes)
    say_skipped(source.skipped)
    answer = of_target(trained, source, target, group=group, kind=kind, seed=seed)
    if out is not None:
        answer.write(out)
    result = {"run": str(run), **answer.table(), "out": None if out is None else str(out)}
    result["seconds"] = round(time.perf_counter() - started, 3)
    print_result("explain", result, as_json, str(answer))
    say(*answer.notes)
