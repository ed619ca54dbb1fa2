"""Whether cells × genes hold raw counts, which a model would learn the depth of sequencing from."""

from __future__ import annotations

from typing import Any

import numpy as np

from simplecell.data.rows import Array

MOST_CELLS = 1000
"""That are looked at, evenly spread, *count*."""
APART = 2.0
"""Largest over least total of a cell from which totals differ a lot, *ours*."""


def raw_counts(data: Any, name: str) -> list[str]:
    """A note where cells [n, genes], dense or SciPy sparse, hold raw counts; else none.

    Whole numbers, none negative, some above 1 (0 and 1 alone say what is there), and totals that
    differ: counts that were scaled to one total are no longer whole.
    """
    if len(data.shape) != 2:
        return []
    rows = np.unique(np.linspace(0, data.shape[0] - 1, min(data.shape[0], MOST_CELLS)).astype(int))
    part = data[rows]
    values = part.data if hasattr(part, "tocsr") else np.asarray(part)
    if values.dtype.kind not in "biuf" or not _counted(values):
        return []
    totals = np.asarray(part.sum(axis=1, dtype=np.float64)).ravel()
    totals = totals[totals > 0]
    least, largest = totals.min(), totals.max()
    if largest < APART * least:
        return []
    return [
        f"{name} holds raw counts ({least:.6g} to {largest:.6g} a cell), and nothing here divides "
        "by a cell's total or takes logarithms: do it first, by sc.pp.normalize_total(data) and "
        "sc.pp.log1p(data) in scanpy, or by np.log1p(1e4 * x / x.sum(1, keepdims=True))"
    ]


def _counted(values: Array) -> bool:
    if not values.size or values.min() < 0 or values.max() <= 1:
        return False
    return bool((values == np.floor(values)).all())
