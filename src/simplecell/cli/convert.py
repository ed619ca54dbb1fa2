"""The verb that takes a run to another system: convert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import RunPath, app
from simplecell.errors import UsageError, choice

if TYPE_CHECKING:
    from simplecell.run.trained import Trained


def _onnx(trained: Trained, path: Path, part: str | None) -> list[str]:
    from simplecell.interop.onnx import write

    return write(trained, path, part=part or "both")


WRITERS: dict[str, Callable[[Trained, Path, str | None], list[str]]] = {"onnx": _onnx}
"""What `--to` may say: each writes a model to a path, and says what it did."""


@app.command()
def convert(
    run: RunPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="What to write.")],
    to: Annotated[str, typer.Option("--to", help=f"A format: {', '.join(WRITERS)}.")],
    part: Annotated[
        str | None, typer.Option(help="Of onnx: encoder, decoder or both (the default).")
    ] = None,
) -> None:
    """Write a trained model as another system's file, checked by numbers."""
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    choice("format", to, WRITERS)
    if part is not None and to != "onnx":
        raise UsageError(f"--part is for onnx, and not for {to}; leave it out")
    say(*WRITERS[to](Run(run).load(), out, part))
