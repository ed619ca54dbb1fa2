"""Verbs that put a run to use: encode, decode."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simplecell.cli.application import (
    Alpha,
    Codes,
    CodesOut,
    DataPath,
    Processes,
    RunPath,
    apart,
    app,
    read,
    standard_input,
    standard_output,
)
from simplecell.cli.processes import refuse_pipes, together
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.data import Source
    from simplecell.run.trained import Trained


@app.command()
def encode(
    context: typer.Context,
    run: RunPath,
    data: DataPath,
    out: CodesOut,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Active latents alone: CSR in .npz, lists in .parquet.")
    ] = False,
    codes: Codes = "encoder",
    alpha: Alpha = None,
    processes: Processes = None,
) -> None:
    """Hand on the codes of DATA: one row a sample, one column a latent, with the rows' names.

    With DATA and --out both - rows come as .npy, JSON lines or csv, and codes go out in the same
    form, batch after batch.
    """
    from simplecell.cli.code_files import encode_file
    from simplecell.cli.streams import encode_stream
    from simplecell.run.directory import Run
    from simplecell.run.exact import in_use
    from simplecell.run.progress import say

    apart(out, data)
    with together(context, processes) as ranks, standard_output():
        refuse_pipes(ranks, data)
        loaded, streamed = Run(run).load(), data == out == "-"
        given = None if streamed else read(data)
        trained, said = in_use(loaded, codes, alpha, lambda: _rows(loaded, given))
        say(*(said if ranks.leads else []))
        if given is None:
            say(*encode_stream(trained, standard_input(), sys.stdout.buffer, sparse))
        else:
            say(*encode_file(trained, given, out, sparse, ranks))


def _rows(trained: Trained, given: Any) -> Source:
    """Rows that an α can be chosen by."""
    from simplecell.run.build import new_data

    if given is None:
        raise UsageError(
            "rows that come one after the other cannot choose alpha for exact codes; say --alpha"
        )
    return new_data(trained, given)


@app.command()
def decode(
    run: RunPath,
    codes: Annotated[str, typer.Argument(metavar="CODES", help="A file of codes, or -.")],
    out: CodesOut,
) -> None:
    """Turn codes back into samples, in the units of the data.

    With CODES and --out both - codes come as .npy, JSON lines or csv, as encode gives them, and
    samples go out in the same form, batch after batch.
    """
    from simplecell.cli.code_files import decode_file
    from simplecell.cli.decoding import decode_stream
    from simplecell.run.directory import Run
    from simplecell.run.progress import say

    apart(out, codes)
    with standard_output():
        trained = Run(run).load()
        if codes == out == "-":
            say(*decode_stream(trained, standard_input(), sys.stdout.buffer))
        else:
            say(*decode_file(trained, read(codes), out))
