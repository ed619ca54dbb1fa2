"""The verb that takes a model from one format to another: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import Json, app, print_result, read
from simplecell.interop.formats import written


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A run, or a model of another library.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DST", help="Where it is written.")],
    to: Annotated[str, typer.Option("--to", help=f"{', '.join(written())}.")] = "simplecell",
    check: Annotated[
        str | None, typer.Option(metavar="DATA", help="Samples to compare both models on, too.")
    ] = None,
    k: Annotated[
        float | None, typer.Option("--k", help="Active latents a sample, if SRC does not say.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="Of onnx: encoder, decoder or both, the default.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="What else SRC does not say; repeatable."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace a model at DST.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model in another format, and show by numbers that it is the same."""
    import time

    from simplecell.interop.conversion import convert as converted
    from simplecell.run.progress import say

    started = time.perf_counter()
    given = said(settings or [])
    given |= {name: value for name, value in (("k", k), ("part", part)) if value is not None}
    data = None if check is None else read(check)
    found = converted(source, out, to, given=given, check=data, restart=restart)
    result = {**found.table(), "to": to, "seconds": round(time.perf_counter() - started, 3)}
    say(*found.told)
    print_result("convert", result, as_json, str(found))


def said(settings: list[str]) -> dict[str, object]:
    """Names and values of `NAME=VALUE`, values as TOML writes them, or words."""
    import tomllib

    from simplecell.errors import UsageError

    given: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"setting '{setting}' is not of the form name=value, such as scale=0.5"
            )
        try:
            given[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            given[name.strip()] = text.strip()
    return given
