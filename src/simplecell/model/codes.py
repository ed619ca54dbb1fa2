"""What an activation gives: the code of a batch of samples, dense or sparse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Rows(NamedTuple):
    """Compressed sparse rows: sample i holds `values[offsets[i]:offsets[i + 1]]` at `indices`."""

    values: Tensor
    """[n], never 0, sample after sample."""
    indices: Tensor
    """[n] int64: the latent of each value, ascending within a sample."""
    offsets: Tensor
    """[B + 1] int64."""


@dataclass(frozen=True)
class Codes:
    """The code of B samples over M latents.

    Terms, measures and decoders use only the methods below, so that a sparse layout
    (`SparseCodes`) stands beside this dense one without anything else knowing.
    """

    dense: Tensor
    """[B, M]."""

    def detach(self) -> Codes:
        """The same values without history."""
        return Codes(self.dense.detach())

    def mean(self) -> Tensor:
        """Mean code of each latent over the samples, [M]."""
        return self.dense.mean(0)

    def l0(self) -> Tensor:
        """Active (non-zero) latents of each sample, *count*, [B].

        A sigmoid code is never zero: this is of use for codes with exact zeros only.
        """
        return torch.count_nonzero(self.dense, dim=1)

    def active(self) -> Tensor:
        """Samples for which each latent is active (non-zero), *count*, [M]."""
        return torch.count_nonzero(self.dense, dim=0)

    def abs_sum(self, weights: Tensor | None = None) -> Tensor:
        """Sum of |code| of each sample, each latent times its weight if given [M]: [B]."""
        return self.dense.abs().sum(1) if weights is None else self.dense.abs() @ weights

    def decode(self, dictionary: Tensor) -> Tensor:
        """`code @ dictionary`, [B, D_out], for a dictionary [M, D_out]."""
        return self.dense @ dictionary

    def part(self, first: int, last: int) -> Codes:
        """The code of the latents first … last − 1."""
        return Codes(self.dense[:, first:last])

    def rows(self) -> Rows:
        """The non-zero values, sample by sample."""
        sample, latent = self.dense.nonzero(as_tuple=True)
        counts = torch.bincount(sample, minlength=len(self.dense))
        return Rows(self.dense[sample, latent], latent, _offsets(counts))


class SparseCodes(Codes):
    """The same code by its non-zero values alone; the dense form is made only when asked for."""

    def __init__(self, rows: Rows, n_latents: int) -> None:
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "n_latents", n_latents)

    _rows: Rows
    n_latents: int

    @cached_property
    def dense(self) -> Tensor:
        flat = self._rows.values.new_zeros(self._n_samples() * self.n_latents)
        places = self._samples() * self.n_latents + self._rows.indices
        return flat.index_put((places,), self._rows.values).view(self._n_samples(), self.n_latents)

    def detach(self) -> Codes:
        return SparseCodes(self._rows._replace(values=self._rows.values.detach()), self.n_latents)

    def mean(self) -> Tensor:
        total = self._rows.values.new_zeros(self.n_latents)
        return total.index_add(0, self._rows.indices, self._rows.values) / self._n_samples()

    def l0(self) -> Tensor:
        return self._rows.offsets.diff()

    def active(self) -> Tensor:
        return torch.bincount(self._rows.indices, minlength=self.n_latents)

    def abs_sum(self, weights: Tensor | None = None) -> Tensor:
        sizes = self._rows.values.abs()
        if weights is not None:
            sizes = sizes * weights[self._rows.indices]
        return sizes.new_zeros(self._n_samples()).index_add(0, self._samples(), sizes)

    def decode(self, dictionary: Tensor) -> Tensor:
        values, indices, offsets = self._rows
        if not len(indices):  # embedding_bag refuses to be given no index at all
            return dictionary.new_zeros(self._n_samples(), dictionary.shape[1])
        return embedding_bag(
            indices,
            dictionary,
            offsets,
            mode="sum",
            per_sample_weights=values,
            include_last_offset=True,
        )

    def part(self, first: int, last: int) -> Codes:
        kept = (self._rows.indices >= first) & (self._rows.indices < last)
        counts = torch.bincount(self._samples()[kept], minlength=self._n_samples())
        rows = Rows(self._rows.values[kept], self._rows.indices[kept] - first, _offsets(counts))
        return SparseCodes(rows, last - first)

    def rows(self) -> Rows:
        return self._rows

    def _n_samples(self) -> int:
        return len(self._rows.offsets) - 1

    def _samples(self) -> Tensor:
        """The sample of each value, [n]."""
        counts = self._rows.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
