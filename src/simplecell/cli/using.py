"""Verbs that put a run to use: encode, decode."""

from __future__ import annotations

from typing import Annotated

import typer

from simplecell.cli.application import app
from simplecell.cli.arguments import DataPath, RunPath, read
from simplecell.cli.printing import standard_output


@app.command()
def encode(
    run: RunPath,
    data: DataPath,
    out: Annotated[str, typer.Option("--out", help="F.npy, F.npz, F.csv or - (npy).")],
) -> None:
    """Hand on the codes of DATA: one row a sample, one column a latent."""
    from simplecell.exchange import encode_file
    from simplecell.progress import say
    from simplecell.run import Run

    with standard_output():
        say(*encode_file(Run(run).load(), read(data), out))


@app.command()
def decode(
    run: RunPath,
    codes: Annotated[str, typer.Argument(metavar="CODES", help="A file of codes, or -.")],
    out: Annotated[str, typer.Option("--out", help="F.npy, F.npz, F.csv or - (npy).")],
) -> None:
    """Turn codes back into samples, in the units of the data."""
    from simplecell.exchange import decode_file
    from simplecell.progress import say
    from simplecell.run import Run

    with standard_output():
        say(*decode_file(Run(run).load(), read(codes), out))
