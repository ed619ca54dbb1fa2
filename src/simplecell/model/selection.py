"""Which entries of `pre` [B, M] are kept: found without a pass more than is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.distributed import ALONE, Alone
from simplecell.model import native
from simplecell.model.places import Places

CROSSOVER = 0.1
"""Density up to which a step goes over entries, which costs less: benchmarks/crossover.py."""
_LOOKS = 64
"""Samples of a batch that tell its density."""
_WIDE = 8
"""How many times the wanted entries a guess may let through."""


def above(pre: Tensor, threshold: Tensor) -> Places | None:
    """Where pre [B, M] is above a threshold, one or [M]; None where too many are.

    A GPU would have to tell the host how many there are, and wait: there it is None.
    """
    if pre.device.type != "cpu":
        return None
    looks = pre[:: max(1, len(pre) // _LOOKS)]
    if int(torch.count_nonzero(looks > threshold)) > CROSSOVER * looks.numel():
        return None
    return _above(pre, threshold)


def top(pre: Tensor, k: int, *, ordered: bool = False, ranks: Alone = ALONE) -> Places | None:
    """Where the k largest of each sample of pre [B, M] are; None where k are too many.

    `ordered`: latents ascend within a sample, as in files. Of latents that processes hold these
    are one's own among the k largest of all.
    """
    if k > CROSSOVER * ranks.all_latents(pre.shape[1]):
        return None
    kept = min(k, pre.shape[1])
    if compiled := native.library(pre):
        latents, ordered = compiled.top(pre, kept), True
    else:
        latents = pre.topk(kept, dim=1, sorted=False).indices
        if ordered:
            latents = latents.sort(dim=1).values
    places = Places.of_rows(latents, pre.shape[1], ascending=ordered)
    if ranks.holders == 1:
        return places
    return places.kept(ranks.leading(pre.gather(1, latents), k)[0].reshape(-1))


def leading(pre: Tensor, k: int, ranks: Alone) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [B, c] that are among the k largest of a sample, or 0 in the values [B, c]; the
    k-th largest of each sample [B, 1]. Of pre [B, M] of one's own latents."""
    values, latents = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
    if ranks.holders == 1:
        return latents, values, values.detach().amin(1, keepdim=True)
    mine, least = ranks.leading(values.detach(), k)
    return latents, values * mine, least


def strongest(pre: Tensor, k: int, ranks: Alone, *, signed: bool) -> Tensor:
    """The dense code [B, M] of the k largest of each sample that are positive; `signed`: of size.

    Of pre [B, M] of one's own latents.
    """
    latents, values, _ = leading(pre.abs() if signed else pre, k, ranks)
    values = values * pre.gather(1, latents).detach().sign() if signed else values.relu()
    return torch.zeros_like(pre).scatter(1, latents, values)


def largest(pre: Tensor, k: float, guess: Tensor, ranks: Alone) -> Places | None:
    """Where the k·B largest of all of a batch are, those equal to the last as well, if positive.

    pre [B, M] is one process's part of the batch, or of the latents. `guess` is a threshold that
    lets about so many through: where it does the rest need not be looked at again. What is found
    does not depend on it. None where they are too many.
    """
    n_samples = ranks.count(len(pre))
    n_latents = ranks.all_latents(pre.shape[1])
    count = _wanted(k, n_samples, n_latents)
    if count > CROSSOVER * n_samples * n_latents:
        return None
    found = _likely(pre, count, guess, ranks)
    values = pre.view(-1)[found.flat()]
    rivals = ranks.rivals(values, count)
    if len(rivals) <= count:
        return found
    return found.kept(values >= rivals.kthvalue(len(rivals) - count + 1).values)


def _likely(pre: Tensor, count: int, guess: Tensor, ranks: Alone) -> Places:
    """At least those of the `count` largest of a batch that are in pre [B, M], where positive."""
    if pre.device.type != "cpu":  # equal ones are cut off there: no count of them without waiting
        among = pre.view(-1).topk(min(count, pre.numel()), sorted=False).indices.sort().values
        return Places.of_flat(among, *pre.shape)
    found = _above(pre, guess) if float(guess) > 0 else None
    enough = count <= ranks.entries(0 if found is None else len(found))
    if found is None or not enough or len(found) > _WIDE * count:
        found = _above(pre, _below_kth(pre, min(count, pre.numel())))
    return found


def least_kept(code: Tensor, k: float, ranks: Alone) -> Tensor:
    """The k·B-th largest of all codes of a batch, of which `code` [B, M] is one process's part."""
    count = _wanted(k, ranks.count(len(code)), ranks.all_latents(code.shape[1]))
    rivals = ranks.rivals(code.reshape(-1), count)
    return rivals.kthvalue(len(rivals) - count + 1).values


def _wanted(k: float, n_samples: int, n_latents: int) -> int:
    return max(1, min(round(k * n_samples), n_samples * n_latents))


def _above(pre: Tensor, threshold: Tensor) -> Places:
    numbers = threshold.to(pre.dtype).reshape(-1).contiguous()
    if compiled := native.library(pre, numbers):
        found = compiled.above(pre, numbers, pre.shape[1] // 2)
        if found is not None:
            return Places(*found, pre.shape[1])
    return Places.of_flat((pre > numbers).view(-1).nonzero()[:, 0], *pre.shape)


def _below_kth(pre: Tensor, count: int) -> Tensor:
    """The next number below the count-th largest of all of pre [B, M], if that is positive, else 0.

    Looked for among the largest of each sample: enough of them when none of those left out, all
    smaller than their sample's last, can be among the wanted ones.
    """
    kept = min(pre.shape[1], 2 * -(-count // len(pre)))
    while True:
        values = pre.topk(kept, dim=1, sorted=True).values
        flat = values.reshape(-1)
        least = flat.kthvalue(flat.numel() - count + 1).values.clamp_min(0)
        if kept == pre.shape[1] or not bool((values[:, -1] > least).any()):
            return torch.nextafter(least, least.new_zeros(()))
        kept = min(pre.shape[1], 2 * kept)
