"""How often a latent's code has which size."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.model.activation import Activation

BINS = 32


class Histograms:
    """Linear histograms of each latent's code, up to a power of two that doubles when need be.

    Of codes with exact zeros only the active ones count. `low` and `high` are the ends, [M]; where
    codes have signs they lie around 0.
    """

    def __init__(self, activation: Activation, n_latents: int) -> None:
        self.sparse, self.one_sided = activation.sparse, activation.one_sided
        self.bounds = activation.bounds
        self.counts = torch.zeros(n_latents, BINS, dtype=torch.int64)
        low, high = self.bounds or (0.0, 0.0)
        self.low, self.high = torch.full((n_latents,), low), torch.full((n_latents,), high)

    def add(self, values: Tensor, latents: Tensor) -> None:
        """Take in codes [n], float32, and whose they are [n]."""
        if self.bounds is None:
            self._widen(largest_of(values.abs(), latents, len(self.high)))
        width = (self.high - self.low).clamp_min(torch.finfo(torch.float32).tiny)
        place = ((values - self.low[latents]) / width[latents] * BINS).long().clamp(0, BINS - 1)
        found = torch.bincount(latents * BINS + place, minlength=self.counts.numel())
        self.counts += found.view_as(self.counts)

    def _widen(self, largest: Tensor) -> None:
        # Powers of two, so that the ends do not depend on which samples came first.
        first = torch.where(largest > 0, largest.log2().ceil().exp2(), 0.0)
        self.high = torch.where(self.high > 0, self.high, first)
        while bool((beyond := largest > self.high).any()):
            pairs = self.counts[beyond].view(-1, BINS // 2, 2).sum(2)
            start = 0 if self.one_sided else BINS // 4
            wider = torch.zeros(len(pairs), BINS, dtype=torch.int64)
            wider[:, start : start + BINS // 2] = pairs
            self.counts[beyond] = wider
            self.high[beyond] *= 2
        if not self.one_sided:
            self.low = -self.high


def largest_of(values: Tensor, latents: Tensor, n_latents: int) -> Tensor:
    """The largest of the values [n] of each latent, 0 at least, [M]."""
    return values.new_zeros(n_latents).scatter_reduce_(0, latents, values, "amax")
