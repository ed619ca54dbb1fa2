"""The application that verbs register with."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="simplecell",
    help="Learn, see and use sparse features of unlabelled data.",
    epilog="Start with: simplecell demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    """The version alone, before any command is asked for."""
    if wanted:
        from importlib import metadata

        print(metadata.version("simplecell"))
        raise typer.Exit


@app.callback()
def options(
    trace: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version),
    ] = False,
) -> None:
    """Learn, see and use sparse features of unlabelled data."""
