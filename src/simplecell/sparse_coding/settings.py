"""What a setting must be: one sentence for what came, and for what is needed."""

from __future__ import annotations

import numbers
import reprlib
from typing import Any

import numpy as np

from simplecell.errors import UsageError

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
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{name} is {reprlib.repr(value)}; True or False is needed")
