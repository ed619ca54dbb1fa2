"""Sizes of memory in words: "1GB" to bytes, and bytes to "1 GB"."""

from __future__ import annotations

import re

from simplecell.errors import UsageError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def bytes_of(size: str) -> int:
    """Bytes that a size such as "1GB", "500 MB" or "1.5GiB" stands for.

    Raises UsageError for anything else.

    >>> bytes_of("1GB"), bytes_of("1.5 GiB")
    (1000000000, 1610612736)
    """
    told = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", size, re.IGNORECASE)
    unit = _UNITS.get(told[2].upper()) if told else None
    if told is None or unit is None or not float(told[1]):
        raise UsageError(
            f"the memory is {size!r}; a size such as 1GB, 500MB or 2GiB is needed (train.memory)"
        )
    return int(float(told[1]) * unit)


def in_words(size: float) -> str:
    """A number of bytes as a person reads it."""
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
