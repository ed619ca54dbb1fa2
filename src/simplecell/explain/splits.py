"""Which samples are looked at and which judge: folds that keep groups whole and classes alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from simplecell.explain.target import Target

Places = NDArray[np.int64]

FOLDS, PARTS = 5, 3
"""Folds of a cross-validation; the parts that samples are cut into, of which one is held out."""


class Split(NamedTuple):
    """Row numbers, ascending: those that are looked at, and those that judge what was found."""

    seen: Places
    held_out: Places


def folds(target: Target, groups: Places | None, n_folds: int, seed: int) -> Iterator[Split]:
    """`n_folds` splits in which each sample is held out once; a function of the seed.

    Samples of one group [n] are on one side; classes are as frequent on both.
    """
    told = {"n_splits": n_folds, "shuffle": True, "random_state": seed}
    if target.is_number or not _many_enough(target, n_folds):
        cut = KFold(**told) if groups is None else GroupKFold(**told)
    else:
        cut = StratifiedKFold(**told) if groups is None else StratifiedGroupKFold(**told)
    rows = np.zeros((len(target.values), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer samples than folds
        for seen, held_out in cut.split(rows, target.values, groups):
            yield Split(seen.astype(np.int64), held_out.astype(np.int64))


def _many_enough(target: Target, n_folds: int) -> bool:
    """Whether some class has a sample a fold, without which none can be dealt evenly."""
    return bool(np.unique(target.values, return_counts=True)[1].max() >= n_folds)


def hold_out(target: Target, groups: Places | None, seed: int) -> Split:
    """Two thirds of the samples, and one third that is held out."""
    return next(folds(target, groups, PARTS, seed))
