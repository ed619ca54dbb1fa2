"""The result alone on standard output; all else goes to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from simplecell.errors import WriteError


def print_result(command: str, result: dict[str, Any], as_json: bool, text: str) -> None:
    """The result alone on standard output."""
    if as_json:
        table = {"schema": 1, "command": command, **result}
        text = json.dumps(table, ensure_ascii=False, allow_nan=False)
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
    except WriteError:
        raise
    except OSError as error:
        forget_output()
        raise WriteError(f"could not write standard output: {error.strerror}") from error


def forget_output() -> None:
    """What standard output still holds goes nowhere, so that the exit does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        place = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)
