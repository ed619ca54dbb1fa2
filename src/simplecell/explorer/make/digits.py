"""How finely a column's numbers must be kept and written for its samples to stay apart.

A clock in seconds since 1970 has values near 1.7e9 that differ by seconds: six digits, and the 32
bits of most files, make them all one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]

USUAL, OF_SPREAD = 4, 3
"""Digits that pages write, and of these how many tell a column's spread."""
NEGLIGIBLE = 1e-6
"""Of a column's standard deviation: what rounding may take from a value."""


def orders(values: Values) -> NDArray[np.int64]:
    """Powers of ten between the largest value of each column [n, D] and its deviation, [D].

    At least 0; of a column that never changes as many as its numbers hold.
    """
    _, share = _spread(values)
    return np.ceil(-np.log10(np.maximum(share, _kind(values).eps))).astype(np.int64)


def written(values: Values, names: list[str]) -> dict[str, int]:
    """Significant digits of the columns [n, D] that need more than the usual on a page."""
    digits = np.minimum(OF_SPREAD + orders(values), _kind(values).precision)
    return {name: n for name, n in zip(names, digits.tolist(), strict=True) if n > USUAL}


def need_double(values: Values) -> bool:
    """Whether 32 bits take more than a millionth of its column's deviation from a value [n, D]."""
    largest, share = _spread(values)
    with np.errstate(over="ignore"):
        lost = np.abs(values - values.astype(np.float32).astype(np.float64))
    return bool((lost > NEGLIGIBLE * largest * share).any())


def _spread(values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each column the largest size, and the standard deviation as its share (1 of only zeros).

    Squares of the values themselves may be beyond any number.
    """
    largest = np.abs(values).max(0).astype(np.float64)
    share = (values / np.where(largest > 0, largest, 1)).std(0)
    return largest, np.where(largest > 0, share, 1.0)


def _kind(values: Values) -> np.finfo:
    """Of the precision that the numbers came in."""
    return np.finfo(values.dtype if values.dtype.kind == "f" else np.float64)
