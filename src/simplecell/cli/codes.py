"""Verbs that put a run to use: encode, decode."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from simplecell.cli.application import (
    CodesOut,
    DataPath,
    Processes,
    RunPath,
    app,
    read,
    standard_input,
    standard_output,
)
from simplecell.cli.processes import refuse_pipes, together


@app.command()
def encode(
    context: typer.Context,
    run: RunPath,
    data: DataPath,
    out: CodesOut,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Active latents alone: CSR in .npz, lists in .parquet.")
    ] = False,
    processes: Processes = None,
) -> None:
    """Hand on the codes of DATA: one row a sample, one column a latent, with the rows' names.

    With DATA and --out both - rows come as .npy, JSON lines or csv, and codes go out in the same
    form, batch after batch.
    """
    from simplecell.cli.code_files import encode_file
    from simplecell.cli.streams import encode_stream
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    with together(context, processes) as ranks, standard_output():
        refuse_pipes(ranks, data)
        trained = Run(run).load()
        if data == out == "-":
            say(*encode_stream(trained, standard_input(), sys.stdout.buffer, sparse))
        else:
            say(*encode_file(trained, read(data), out, sparse, ranks))


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
