"""Which latents are active together: correlations between their codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from simplecell.explorer.make.ranking import largest

PARTNERS = 8
STILL = 1e-6
"""Deviation below this share of the mean is rounding of float32 codes."""
_BLOCK = 256
Kept: TypeAlias = "NDArray[np.floating] | sparse.sparray"
"""Codes of some samples [n, M]."""


def partners(kept: list[Kept]) -> Iterator[list[tuple[int, float]]]:
    """Latent after latent, those whose codes correlate most with its own, at most 8: (latent, r).

    Pearson's r over the samples in `kept`.
    """
    codes, mean, deviation = _measured(kept)
    n, m = codes.shape
    mine = codes.T if isinstance(codes, np.ndarray) else codes.T.tocsr()
    unit = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    for first in range(0, m, _BLOCK):
        block = slice(first, min(m, first + _BLOCK))
        r = mine[block] @ codes
        r = r if isinstance(r, np.ndarray) else r.toarray()
        r /= n
        r -= mean[block, None] * mean
        r *= unit[block, None]
        r *= unit
        r[np.arange(len(r)), np.arange(first, block.stop)] = -np.inf
        best = largest(r, min(PARTNERS, m))
        values = np.take_along_axis(r, best, 1)
        for latents, own in zip(best.tolist(), values.tolist(), strict=True):
            yield [(j, value) for j, value in zip(latents, own, strict=True) if value > 0]


def _measured(kept: list[Kept]) -> tuple[Kept, NDArray[np.float64], NDArray[np.float64]]:
    """(codes [n, M], mean and deviation of each); dense codes are centred, their mean is 0."""
    if isinstance(kept[0], np.ndarray):
        # Centred first: where codes hardly move, a difference of products is all rounding.
        whole = np.concatenate(kept).astype(np.float64)
        mean = whole.mean(0)
        whole -= mean
        deviation = np.sqrt(np.square(whole).mean(0))
        deviation[deviation < STILL * np.abs(mean)] = 0
        return whole, np.zeros_like(mean), deviation
    codes = sparse.vstack(kept).tocsr().astype(np.float64)
    mean = np.asarray(codes.mean(axis=0)).reshape(-1)
    squares = np.asarray(codes.multiply(codes).mean(axis=0)).reshape(-1)
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    deviation[deviation < STILL * mean] = 0
    return codes, mean, deviation
