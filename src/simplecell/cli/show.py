"""Verbs that show a run: show, explore, report."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import Meta, OtherData, RunPath, app, print_result, read
from simplecell.errors import UsageError


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
    from simplecell.run.build import training_data
    from simplecell.run.directory import Run
    from simplecell.viz.portrait import draw

    picture = draw(Run(run), what, out, training_data, layer)
    print_result("show", {}, False, str(picture))


@app.command()
def explore(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, or folders of them.")],
    data: OtherData = None,
    meta: Meta = None,
    export: Annotated[
        Path | None, typer.Option(help="Write a site into this folder that needs no server.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of the map: pca; umap or tsne too, which take their time.")
    ] = "pca",
    group: Annotated[
        str | None,
        typer.Option(help="Of effects: a record; samples that share it are never parted."),
    ] = None,
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = (
        False
    ),
    embed: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Python of yours, from texts to rows: type a text to play.",
        ),
    ] = None,
) -> None:
    """Open runs in the browser: every latent, what excites it, and a playground."""
    from simplecell.explorer.make.neighbours import check_layout
    from simplecell.explorer.serve.embed import load_embedder
    from simplecell.explorer.serve.library import open_library

    check_layout(layout)
    refuse_data(runs)
    embedder = None
    if embed is not None:  # found before anything that takes long begins
        if export is not None:
            raise UsageError(
                "--embed needs the running server, and what --export writes has none; leave one "
                "of the two away"
            )
        embedder = load_embedder(embed)
    library = open_library(runs, None if data is None else read(data), meta, layout, group)
    if export is not None:
        from simplecell.explorer.export import export as write_site

        print_result("explore", {}, False, str(write_site(library, export)))
        return
    from simplecell.explorer.serve.library import keep_fresh
    from simplecell.explorer.serve.server import serve

    keep_fresh(library, None if data is None else read(data), meta, layout, group)
    ready = partial(tell_address, browser=not no_browser)
    serve(library, port=port, embedder=embedder, ready=ready)
    if embedder is not None and embedder.at_work:
        leave()


def refuse_data(runs: list[Path]) -> None:
    """Raise UsageError where data stand behind a run, as other verbs take them."""
    from simplecell.data.shards import is_pattern
    from simplecell.run.directory import Run

    first, *others = runs
    for path in others:
        held = [path, *path.iterdir()] if path.is_dir() else [path]
        there = path.exists() or str(path) == "-" or is_pattern(str(path))
        if there and not any(Run(one).exists for one in held) and first.is_dir():
            raise UsageError(
                f"'{path}' is no run; other data are given by an option: "
                f"simplecell explore {first} --data {path}"
            )


def leave() -> None:
    """End with code 0 at once: Python itself would wait for threads that hang in the function."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, gone or closed
            stream.flush()  # type: ignore[union-attr]
    os._exit(0)


def tell_address(url: str, browser: bool) -> None:
    """Print where the pages are, and open them."""
    from simplecell.run.progress import say

    print_result("explore", {}, False, url)
    say("the page is for this machine alone; Ctrl-C ends it")
    if browser:
        import webbrowser

        webbrowser.open(url)


@app.command()
def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="HTML file; default RUN/report.html.")] = None,
    data: OtherData = None,
    meta: Meta = None,
) -> None:
    """One printable HTML file about a run: its latents, figures, worst samples, recipe."""
    from simplecell.explorer.report import report as page
    from simplecell.explorer.serve.library import make_atlas, the_run
    from simplecell.run.storage import check_place, write_whole

    chosen = the_run([run])
    out = out or chosen.path / "report.html"
    check_place(out)  # the atlas takes its time
    make_atlas(chosen, None if data is None else read(data), meta)
    write_whole(out, page(chosen).encode("utf-8", "replace"))
    print_result("report", {}, False, str(out))
