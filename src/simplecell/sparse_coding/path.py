"""The path of a training from random atoms: a penalty that falls, a memory that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from simplecell.errors import UsageError, real, whole

_FEW, _DOWN, _SETTLED = 0.4, 0.75, 0.8
"""Shares of the path: until when codes are few and memory short, when α has arrived, and when
memory is whole and no latent begins anew."""
_HALFWAY = 0.5
"""What α has done of its fall in the first part, on a logarithmic scale."""
_SHORT, _SHORTER = 2, 1
"""Samples per latent that count: at the end of the first part, and at the start."""
_RENEWALS = 6


@dataclass(frozen=True)
class Path:
    """α falls from `start` while steps 1 … `steps` are done; latents begin anew on the way.

    From random atoms a strong penalty finds the few that each sample is nearest to, and its
    solutions have fewer valleys; a weak one, later, sees what is faint. Codes of random atoms are
    soon out of date, so that few samples count at first. The schedule is ours; of paths of α see
    Friedman, Hastie & Tibshirani 2010.
    """

    start: float
    steps: int

    def __post_init__(self) -> None:
        real("alpha_start", self.start, above=0)
        whole("max_iter", self.steps)

    def alpha(self, end: float, step: int) -> float:
        """α of step 0, 1, …, in geometric progression to `end`.

        Raises:
            UsageError: unless 0 < end ≤ start.
        """
        if not 0 < end <= self.start:
            raise UsageError(
                f"alpha_start is {self.start:g} and alpha {end:g}; alpha falls from alpha_start, "
                "so that it must be above 0 and at most alpha_start"
            )
        done = _between(step / self.steps, (0, _FEW, _DOWN), (0, _HALFWAY, 1))
        return self.start * (end / self.start) ** done

    def memory(self, most: float, step: int) -> float:
        """Samples per latent that count in step 0, 1, …, at most `most`."""
        heights = [math.log(n) for n in (_SHORTER, _SHORT, most)]
        return math.exp(_between(step / self.steps, (0, _FEW, _SETTLED), heights))

    def renews(self, step: int) -> bool:
        """Whether latents begin anew before step 1, 2, …."""
        parts = [_RENEWALS * at / (_SETTLED * self.steps) for at in (step - 1, step)]
        return step > 0 and int(parts[0]) < int(parts[1]) <= _RENEWALS


def _between(at: float, places: tuple[float, ...], heights: Sequence[float]) -> float:
    """Straight lines from height to height, level before the first place and after the last."""
    for (a, b), (low, high) in zip(pairwise(places), pairwise(heights), strict=True):
        if at < b:
            return low + (high - low) * max(0.0, at - a) / (b - a)
    return heights[-1]
