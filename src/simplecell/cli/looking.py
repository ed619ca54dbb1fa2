"""Verbs that show a run: show, explore, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import app
from simplecell.cli.arguments import RunPath, read
from simplecell.cli.printing import print_result


@app.command()
def show(
    run: RunPath,
    what: Annotated[
        str, typer.Option(help="latents, atoms, reconstructions, preparation or curve.")
    ] = "latents",
    out: Annotated[
        Path | None, typer.Option(help="Picture file; default RUN/features.png and the like.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Of latents: a deep network's layer, from 1.")
    ] = None,
) -> None:
    """Draw a run: what excites each latent, its atoms, reconstructions, the training curve."""
    from simplecell.build import training_data
    from simplecell.errors import unknown
    from simplecell.run import Run
    from simplecell.viz.portrait import FILES, draw

    if what not in FILES:
        raise unknown("picture", what, FILES)
    picture = draw(Run(run), what, out or run / FILES[what], training_data, layer)
    print_result("show", {}, False, str(picture))


@app.command()
def explore(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, or folders of them.")],
    data: Annotated[str | None, typer.Option(help="Other samples than the run's own.")] = None,
    meta: Annotated[
        Path | None, typer.Option(help="csv, jsonl or npz with one record a sample.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write a site into this folder that needs no server.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = (
        False
    ),
) -> None:
    """Open runs in the browser: every latent, what excites it, and a playground."""
    from simplecell.explorer.opening import open_library
    from simplecell.progress import say

    library = open_library(runs, None if data is None else read(data), meta)
    if export is not None:
        from simplecell.explorer.export import export as write_site

        print_result("explore", {}, False, str(write_site(library, export)))
        return
    from simplecell.explorer.opening import keep_fresh
    from simplecell.explorer.server import serve

    keep_fresh(library, None if data is None else read(data), meta)

    def ready(url: str) -> None:
        print_result("explore", {}, False, url)
        say("the page is for this machine alone; Ctrl-C ends it")
        if not no_browser:
            import webbrowser

            webbrowser.open(url)

    serve(library, port=port, ready=ready)


@app.command()
def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="HTML file; default RUN/report.html.")] = None,
    data: Annotated[str | None, typer.Option(help="Other samples than the run's own.")] = None,
    meta: Annotated[
        Path | None, typer.Option(help="csv, jsonl or npz with one record a sample.")
    ] = None,
) -> None:
    """One printable HTML file about a run: its latents, figures, worst samples, recipe."""
    from simplecell.explorer.opening import make_atlas, the_run
    from simplecell.explorer.report import report as page
    from simplecell.storage import write_whole

    chosen = the_run([run])
    make_atlas(chosen, None if data is None else read(data), meta)
    out = out or chosen.path / "report.html"
    write_whole(out, page(chosen).encode("utf-8", "replace"))
    print_result("report", {}, False, str(out))
