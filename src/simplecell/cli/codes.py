"""Verbs that put a run to use: encode, decode."""

from __future__ import annotations

from typing import Annotated

import typer

from simplecell.cli.application import CodesOut, DataPath, RunPath, app, read, standard_output


@app.command()
def encode(
    run: RunPath,
    data: DataPath,
    out: CodesOut,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Active latents alone: CSR in .npz, lists in .parquet.")
    ] = False,
) -> None:
    """Hand on the codes of DATA: one row a sample, one column a latent, with the rows' names."""
    from simplecell.cli.code_files import encode_file
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    with standard_output():
        say(*encode_file(Run(run).load(), read(data), out, sparse))


@app.command()
def decode(
    run: RunPath,
    codes: Annotated[str, typer.Argument(metavar="CODES", help="A file of codes, or -.")],
    out: CodesOut,
) -> None:
    """Turn codes back into samples, in the units of the data."""
    from simplecell.cli.code_files import decode_file
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    with standard_output():
        say(*decode_file(Run(run).load(), read(codes), out))
