"""What can go wrong, and the exit code that the command line gives it.

Every message says what came, what was needed, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SimplecellError(Exception):
    """Any error that simplecell raises on purpose; `exit_code` is the command line's."""

    exit_code = 1


class UsageError(SimplecellError, ValueError):
    """A parameter, a recipe key or a name that does not exist or does not fit (exit code 2)."""

    exit_code = 2


class DataError(SimplecellError, ValueError):
    """Data missing, empty, broken, not finite or of the wrong width (exit code 3)."""

    exit_code = 3


class RunError(SimplecellError, ValueError):
    """A run directory that is damaged, unsafe or of a newer format (exit code 4)."""

    exit_code = 4


class DivergedError(SimplecellError, ArithmeticError):
    """Training left the finite numbers; the last good state is kept (exit code 5)."""

    exit_code = 5


class WriteError(SimplecellError, OSError):
    """A file could not be written: disk full, no permission (exit code 6)."""

    exit_code = 6


def unknown(what: str, name: object, known: Iterable[str]) -> UsageError:
    """An error that names the nearest known name.

    >>> str(unknown("activation", "sigmiod", ["sigmoid", "tanh"]))
    "unknown activation 'sigmiod'; did you mean 'sigmoid'? (known: sigmoid, tanh)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ";"
    return UsageError(f"unknown {what} '{name}'{guess} (known: {', '.join(names)})")
