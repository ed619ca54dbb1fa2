"""The dictionary step of alternation: each atom in turn takes its best place for given codes."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

FEW, ALL = 0.4, 0.8
"""Shares of an alternation from poor atoms: until when memory is short, and when it is whole."""
MEMORY = 10
"""Samples per latent that count: more are stale, fewer leave atoms to chance."""


def memory(progress: float, most: float = MEMORY) -> float:
    """Samples per latent that count at progress 0 … 1: from 1 over 2 to `most`.

    Codes of poor atoms are soon out of date; steps on few of them, often, find the way sooner.
    """
    return math.exp(between(progress, (0, FEW, ALL), (0.0, math.log(2), math.log(most))))


def between(at: float, places: tuple[float, ...], heights: tuple[float, ...]) -> float:
    """Straight lines from height to height, level before the first place and after the last.

    >>> between(0.5, (0, 1, 3), (10.0, 20.0, 0.0))
    15.0
    """
    for (a, b), (low, high) in zip(pairwise(places), pairwise(heights), strict=True):
        if at < b:
            return low + (high - low) * max(0.0, at - a) / (b - a)
    return heights[-1]


def improve_atoms(gram: Tensor, pull: Tensor, dictionary: Tensor, sweeps: int = 1) -> Tensor:
    """Lower `½⟨A, gram A⟩ − ⟨A, pull⟩` over atoms in the unit ball, one atom at a time, [M, D].

    With gram `sᵀs` [M, M] and pull `sᵀx` [M, D] that is the residual; each atom's own minimum is
    exact. Latents without activity keep their atoms. Source: Mairal et al. 2009, algorithm 2.
    Exact.
    """
    atoms = dictionary.clone()
    active = (gram.diagonal() > 1e-12 * gram.diagonal().amax()).nonzero()[:, 0].tolist()
    for _ in range(sweeps):
        for j in active:
            atom = atoms[j] + (pull[j] - gram[j] @ atoms) / gram[j, j]
            atoms[j] = atom / atom.norm().clamp_min(1.0)
    return atoms
