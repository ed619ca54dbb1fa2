"""The application that verbs register with: shared arguments, and how results are printed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from simplecell.errors import DataError, LostError, UsageError, WriteError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


Out = Annotated[Path, typer.Option("--out", help="Run directory; nothing is written outside it.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
DataPath = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, a folder, a quoted pattern, or -.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
NoDoctor = Annotated[
    bool, typer.Option("--no-doctor", help="No warnings of what looks wrong, and no cures.")
]
Meta = Annotated[
    Path | None, typer.Option("--meta", help="csv, jsonl or npz with one record a sample.")
]
OtherData = Annotated[str | None, typer.Option("--data", help="Other samples than the run's own.")]
Codes = Annotated[
    str, typer.Option("--codes", help="encoder, or exact: the best on the dictionary, slower.")
]
Alpha = Annotated[
    float | None, typer.Option(help="Of exact codes: what a unit of code costs; default: chosen.")
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="Share the work among N on this machine.")
]
CodesOut = Annotated[
    str, typer.Option("--out", help="F.npy, F.npz, F.csv, F.parquet or - (npy; lines for lines).")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change a recipe key; repeatable."),
]


def read(data: str) -> str | NDArray[np.generic]:
    """The data argument: a path, or what standard input holds for '-'."""
    from simplecell.data.files import read_bytes_array
    from simplecell.data.shards import is_pattern

    if data == "-":
        return read_bytes_array(standard_input())
    if not data:
        raise DataError("the path of the data is empty; give a file, a folder of pictures, or -")
    if is_pattern(data):
        return data
    try:
        os.stat(data)
    except OSError as error:
        raise DataError(f"'{data}' cannot be read: {error.strerror}") from error
    return data


def apart(out: str | Path, *read: str | Path | None) -> None:
    """Refuse to write into a file that is read: what lies there would be lost.

    Raises:
        UsageError: where `out` is one of these files, by whatever name.
    """
    if any(_same_file(path, out) for path in read if path is not None):
        raise UsageError(
            f"'{out}' is read, and what is written there would replace it; choose another place"
        )


def _same_file(one: str | Path, other: str | Path) -> bool:
    """Whether both are one file, which is there; a device is none."""
    try:
        return Path(one).is_file() and Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def standard_input() -> IO[bytes]:
    """Standard input, as bytes. Raises DataError where it is closed."""
    if sys.stdin is None:
        raise DataError("standard input is closed; pipe a .npy file into it")
    return sys.stdin.buffer


def print_result(command: str, result: Mapping[str, object], as_json: bool, text: str) -> None:
    """The result alone on standard output."""
    from simplecell.data.unseen import seen, seen_in_json

    if as_json:
        table = {"schema": 1, "command": command, **result}
        text = seen_in_json(json.dumps(table, ensure_ascii=False, allow_nan=False))
    text = seen(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with standard_output():
        # Not every terminal has a dash, and not every file name is text.
        print(text.encode(encoding, "backslashreplace").decode(encoding))


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Flush at the end; a full disk behind it is an error, a reader that left is none."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    except (WriteError, LostError):
        raise
    except OSError as error:
        forget_output()
        raise WriteError(f"could not write standard output: {error.strerror}") from error


def forget_output() -> None:
    """What standard output still holds goes nowhere, so that the exit does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        place = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)
