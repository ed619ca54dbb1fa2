"""The largest few of many numbers, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest(values: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    """Places of the `most` largest of each row of [n, m], falling, [n, most]; the first of equals.

    `np.argsort(-values, axis=1, kind="stable")[:, :most]`, without sorting all of them.
    """
    width = values.shape[1]
    if width <= 4 * most:
        return np.argsort(-values, axis=1, kind="stable")[:, :most]
    least = np.partition(values, width - most, axis=1)[:, width - most, None]
    if np.isnan(least).any():  # numbers that are none come last, and partition has them first
        return largest(np.where(np.isnan(values), -np.inf, values), most)
    among = values >= least
    tied = np.count_nonzero(among, axis=1) > most
    if tied.any():
        among[tied] = _first(values[tied], least[tied], most)
    places = among.nonzero()[1].reshape(len(values), most)
    order = np.argsort(-np.take_along_axis(values, places, 1), axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)


def _first(
    values: NDArray[np.floating], least: NDArray[np.floating], most: int
) -> NDArray[np.bool_]:
    """What is above the least wanted, and of those equal to it as many as are still missing."""
    above, equal = values > least, values == least
    missing = most - np.count_nonzero(above, axis=1)[:, None]
    return above | (equal & (equal.cumsum(axis=1) <= missing))
