"""What a caller may catch, and the checks of parameters that raise it."""

from __future__ import annotations

import difflib
import numbers
import reprlib
from collections.abc import Collection, Iterable
from typing import Any


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


class LostError(SimplecellError, ConnectionError):
    """Another process of the same job is gone (exit code 1); the last checkpoint is kept."""


def unknown(what: str, name: object, known: Iterable[str]) -> UsageError:
    """An error that names the nearest known name.

    >>> str(unknown("activation", "sigmiod", ["sigmoid", "tanh"]))
    "unknown activation 'sigmiod'; did you mean 'sigmoid'? (known: sigmoid, tanh)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ";"
    return UsageError(f"unknown {what} '{name}'{guess} (known: {', '.join(names)})")


def choice(what: str, name: Any, known: Collection[str]) -> None:
    """Raises UsageError, which names the nearest known name, unless the name is known."""
    if name not in known:
        raise unknown(what, name, known)


MOST = 2**31 - 1  # where recipes end too
LARGE = 1e15  # sums of squares of smaller numbers fit into float32


def whole(name: str, value: Any, least: int = 1, most: float = MOST) -> None:
    """Raises UsageError unless the value is a whole number of that range."""
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not fits or not least <= int(value) <= most:
        limit = f"at most {most}" if fits and value > most else f"at least {least}"
        raise UsageError(f"{name} is {reprlib.repr(value)}; a whole number of {limit} is needed")


def real(name: str, value: Any, *, above: float | None = None, below: float = LARGE) -> None:
    """Raises UsageError unless the value is at least 0 (or above `above`) and below `below`."""
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not fits or not (value >= 0 if above is None else value > above) or not value < below:
        least = "of at least 0" if above is None else f"above {above:g}"
        limit = f" and below {below:g}" if below < LARGE or (fits and value >= below) else ""
        raise UsageError(f"{name} is {reprlib.repr(value)}; a number {least}{limit} is needed")


def switch(name: str, value: Any) -> None:
    """Raises UsageError unless the value is True or False."""
    if isinstance(value, bool):
        return
    import numpy as np  # only for other values: `simplecell --help` waits for nothing heavy

    if not isinstance(value, np.bool_):
        raise UsageError(f"{name} is {reprlib.repr(value)}; True or False is needed")
