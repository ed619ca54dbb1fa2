"""Which entries of `pre` [B, M] are kept: found without a pass more than is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.distributed import Alone
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
    flat = (pre > threshold).view(-1).nonzero()[:, 0]
    return Places.of_flat(flat, *pre.shape)


def largest(pre: Tensor, k: float, guess: Tensor, ranks: Alone) -> Places | None:
    """Where the k·B largest of all of a batch are, those equal to the last as well, if positive.

    pre [B, M] is one process's part of the batch. `guess` is a threshold that lets about so many
    through: where it does the rest need not be looked at again. What is found does not depend on
    it. None where they are too many.
    """
    n_samples = ranks.count(len(pre))
    count = _wanted(k, n_samples, pre.shape[1])
    if count > CROSSOVER * n_samples * pre.shape[1]:
        return None
    flat = pre.view(-1)
    among = _likely(pre, count, guess, ranks)
    values = flat[among]
    rivals = ranks.rivals(values, count)
    if len(rivals) > count:
        among = among[values >= rivals.kthvalue(len(rivals) - count + 1).values]
    return Places.of_flat(among, *pre.shape)


def _likely(pre: Tensor, count: int, guess: Tensor, ranks: Alone) -> Tensor:
    """Places of pre [B, M], ascending, with at least those of the `count` largest of a batch."""
    flat = pre.view(-1)
    if pre.device.type != "cpu":  # equal ones are cut off there: no count of them without waiting
        return flat.topk(min(count, len(flat)), sorted=False).indices.sort().values
    among = _within(flat, count, float(guess), ranks)
    if among is not None:
        return among
    least = _kth(pre, min(count, len(flat)))
    return (pre >= least if least > 0 else pre > 0).view(-1).nonzero()[:, 0]


def least_kept(code: Tensor, k: float, ranks: Alone) -> Tensor:
    """The k·B-th largest of all codes of a batch, of which `code` [B, M] is one process's part."""
    count = _wanted(k, ranks.count(len(code)), code.shape[1])
    rivals = ranks.rivals(code.reshape(-1), count)
    return rivals.kthvalue(len(rivals) - count + 1).values


def _wanted(k: float, n_samples: int, n_latents: int) -> int:
    return max(1, min(round(k * n_samples), n_samples * n_latents))


def _within(flat: Tensor, count: int, guess: float, ranks: Alone) -> Tensor | None:
    """Where values are above the guess, if these are enough in all and not far too many here."""
    found = (flat > guess).nonzero()[:, 0] if guess > 0 else flat.new_zeros(0, dtype=torch.int64)
    enough = count <= ranks.count(len(found))
    return found if enough and len(found) <= _WIDE * count else None


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
