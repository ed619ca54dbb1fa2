"""Which entries of `pre` [B, M] are kept: found without a pass more than is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.model.places import Places

CROSSOVER = 0.1
"""Density up to which a step over entries costs less than dense products: benchmarks/steps.py."""
_LOOKS = 64
"""Samples of a batch that tell its density."""
_WIDE = 8
"""How many times the wanted entries a guess may let through."""


def above(pre: Tensor, threshold: Tensor | float) -> Places | None:
    """Where pre [B, M] is above a threshold, one or [M]; None where too many are.

    A GPU would have to tell the host how many there are, and wait: there it is None.
    """
    if pre.device.type != "cpu":
        return None
    looks = pre[:: max(1, len(pre) // _LOOKS)]
    if int(torch.count_nonzero(looks > threshold)) > CROSSOVER * looks.numel():
        return None
    flat = (pre > threshold).reshape(-1).nonzero()[:, 0]
    return Places.of_flat(flat, *pre.shape)


def largest(pre: Tensor, count: int, guess: Tensor) -> Places | None:
    """The `count` largest of all of pre [B, M], those equal to the last as well, if positive.

    `guess` is a threshold that lets about so many through: where it does the rest need not be
    looked at again. What is found does not depend on it. None where they are too many.
    """
    if count > CROSSOVER * pre.numel():
        return None
    flat = pre.view(-1)
    if pre.device.type != "cpu":  # equal ones are cut off there: no count of them without waiting
        return Places.of_flat(flat.topk(count, sorted=False).indices.sort().values, *pre.shape)
    among = _within(flat, count, float(guess))
    if among is None:
        least = _kth(pre, count)
        among = (pre >= least if least > 0 else pre > 0).view(-1).nonzero()[:, 0]
    if len(among) > count:
        values = flat[among]
        among = among[values >= values.kthvalue(len(values) - count + 1).values]
    return Places.of_flat(among, *pre.shape)


def _within(flat: Tensor, count: int, guess: float) -> Tensor | None:
    """Where values are above the guess, if these are enough and not far too many."""
    if guess <= 0:
        return None
    found = (flat > guess).nonzero()[:, 0]
    return found if count <= len(found) <= _WIDE * count else None


def _kth(pre: Tensor, count: int) -> float:
    """The count-th largest of all of pre [B, M], 0 if that is not positive.

    Looked for among the largest of each sample: enough of them when none of those left out, all
    smaller than their sample's last, can be among the wanted ones.
    """
    kept = min(pre.shape[1], 2 * -(-count // len(pre)))
    while True:
        values = pre.topk(kept, dim=1, sorted=True).values
        flat = values.reshape(-1)
        least = float(flat.kthvalue(flat.numel() - count + 1).values)
        if kept == pre.shape[1] or not bool((values[:, -1] > max(least, 0.0)).any()):
            return max(least, 0.0)
        kept = min(pre.shape[1], 2 * kept)
