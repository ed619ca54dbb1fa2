"""What several verbs take, said once; and what lies behind the data argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from simplecell.errors import DataError

Out = Annotated[Path, typer.Option("--out", help="Run directory; nothing is written outside it.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
DataPath = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, a folder of pictures, or -.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
NoDoctor = Annotated[
    bool, typer.Option("--no-doctor", help="No warnings of what looks wrong, and no cures.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change a recipe key; repeatable."),
]


def read(data: str) -> Any:
    """The data argument: a path, or what standard input holds for '-'."""
    if data == "-":
        from simplecell.data.files import read_bytes_array

        if sys.stdin is None:
            raise DataError("standard input is closed; pipe a .npy file into it")
        return read_bytes_array(sys.stdin.buffer)
    if not data:
        raise DataError("the path of the data is empty; give a file, a folder of pictures, or -")
    try:
        os.stat(data)
    except OSError as error:
        raise DataError(f"'{data}' cannot be read: {error.strerror}") from error
    return data
