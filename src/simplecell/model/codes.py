"""What an activation gives: the code of a batch of samples, dense or sparse."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.errors import DataError
from simplecell.model.entries import Ledger, decoded
from simplecell.model.places import Places


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

    @property
    def n_samples(self) -> int:
        """B."""
        return len(self.dense)

    @property
    def n_latents(self) -> int:
        """M."""
        return self.dense.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the values."""
        return self.dense.dtype

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
        # A product is exact up to 2^24 samples, and six times as fast as counting along columns.
        active = (self.dense != 0).to(self.dense.dtype)
        return (active.new_ones(len(active)) @ active).long()

    def abs_sum(self, weights: Tensor | None = None) -> Tensor:
        """Sum of |code| of each sample, each latent times its weight if given [M]: [B]."""
        return self.dense.abs().sum(1) if weights is None else self.dense.abs() @ weights

    def sums(self) -> Tensor:
        """Sum of the code of each sample, [B]."""
        return self.dense.sum(1)

    def decode(self, dictionary: Tensor) -> Tensor:
        """`code @ dictionary`, [B, D_out], for a dictionary [M, D_out]."""
        return self.dense @ dictionary

    def decode_parts(self, dictionary: Tensor, widths: Sequence[int]) -> Tensor:
        """What each part of the latents adds to that, [B, parts, D_out].

        The parts end at these widths, ascending, of which the last is M.
        """
        edges = itertools.pairwise([0, *widths])
        parts = [self.dense[:, first:last] @ dictionary[first:last] for first, last in edges]
        return torch.stack(parts, dim=1)

    def smallest(self) -> Tensor:
        """The smallest value above 0, 0-d; infinite where there is none."""
        return torch.where(self.dense > 0, self.dense, torch.inf).min()

    def elementwise(
        self, function: Callable[..., Tensor], pre: Tensor, *of_latents: Tensor
    ) -> Codes:
        """`function(pre, *of_latents)`, which is 0 where these codes have no place.

        `pre` [B, M] is what they were made from; the others are numbers of each latent, [M].
        """
        return Codes(function(pre, *of_latents))

    def part(self, first: int, last: int) -> Codes:
        """The code of the latents first … last − 1."""
        return Codes(self.dense[:, first:last])

    def fill(self, out: Tensor) -> None:
        """Write the code into `out` [B, M], which holds zeros."""
        out.copy_(self.dense)

    def read(self, samples: Tensor, latents: Tensor) -> Tensor:
        """The code of some latents [n] for some samples [n], [n]."""
        return self.dense[samples, latents]

    def rows(self) -> Rows:
        """The non-zero values, sample by sample."""
        sample, latent = self.dense.nonzero(as_tuple=True)
        places = Places.of_pairs(sample, latent, *self.dense.shape)
        return Rows(self.dense[sample, latent], latent, places.offsets)


class SparseCodes(Codes):
    """The same code by its entries alone; the dense form is made only when asked for.

    Args:
        values: [n], with history if they have one; some may be 0.
        places: where they stand.
        pre: [n], what they were made from, where that is known.
        ledger: takes down the gradient of dictionaries; None leaves it to autograd.
    """

    def __init__(
        self,
        values: Tensor,
        places: Places,
        pre: Tensor | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        for name, value in {
            "values": values,
            "places": places,
            "pre": pre,
            "ledger": ledger,
        }.items():
            object.__setattr__(self, name, value)

    values: Tensor
    places: Places
    pre: Tensor | None
    ledger: Ledger | None

    @classmethod
    def of_rows(cls, rows: Rows, n_latents: int) -> SparseCodes:
        """From compressed sparse rows of codes over M latents.

        Raises:
            DataError: if they are none: others' files end here.
        """
        _check(rows, n_latents)
        counts = rows.offsets.diff()
        samples = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        places = Places(samples, rows.indices, rows.offsets, n_latents)
        places.ascending = bool((places.flat().diff() > 0).all())
        return cls(rows.values, places)

    @property
    def n_samples(self) -> int:
        return self.places.n_samples

    @property
    def n_latents(self) -> int:
        return self.places.n_latents

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @cached_property
    def dense(self) -> Tensor:
        places = self.places
        flat = self.values.new_zeros(places.n_samples * places.n_latents)
        return flat.index_put((places.flat(),), self.values).view(
            places.n_samples, places.n_latents
        )

    def detach(self) -> Codes:
        return SparseCodes(self.values.detach(), self.places)

    def mean(self) -> Tensor:
        return self.places.sums(self.values) / self.places.n_samples

    def l0(self) -> Tensor:
        return self._counts(self.places.samples, self.places.n_samples)

    def active(self) -> Tensor:
        return self._counts(self.places.latents, self.n_latents)

    def _counts(self, places: Tensor, size: int) -> Tensor:
        ones = (self.values != 0).long()  # whole numbers add up alike in any order
        return ones.new_zeros(size).index_add_(0, places, ones)

    def abs_sum(self, weights: Tensor | None = None) -> Tensor:
        sizes = self.values.abs()
        if weights is not None:
            sizes = sizes * weights.index_select(0, self.places.latents)
        return self.places.sums_of_samples(sizes)

    def sums(self) -> Tensor:
        return self.places.sums_of_samples(self.values)

    def decode(self, dictionary: Tensor) -> Tensor:
        return decoded(self.values, dictionary, self.places, self.ledger)

    def decode_parts(self, dictionary: Tensor, widths: Sequence[int]) -> Tensor:
        # Latents ascending, the entries of a part of a sample follow one another: one sum does all.
        latents, values = _ascending(self.places, self.values)
        part = torch.zeros_like(latents)
        for width in widths[:-1]:  # numbers, not a tensor: that would have to be sent to a GPU
            part += latents >= width
        runs = self.places.samples * len(widths) + part
        parts = Places.of_pairs(runs, latents, self.places.n_samples * len(widths), self.n_latents)
        found = decoded(values, dictionary, parts, self.ledger)
        return found.view(self.places.n_samples, len(widths), dictionary.shape[1])

    def smallest(self) -> Tensor:
        values = torch.cat([self.values, self.values.new_full((1,), torch.inf)])
        return torch.where(values > 0, values, torch.inf).min()

    def elementwise(
        self, function: Callable[..., Tensor], pre: Tensor, *of_latents: Tensor
    ) -> Codes:
        places = self.places
        here = self.pre if self.pre is not None else pre[places.samples, places.latents]
        own = (numbers.index_select(0, places.latents) for numbers in of_latents)
        return SparseCodes(function(here, *own), places, self.pre, self.ledger)

    def part(self, first: int, last: int) -> Codes:
        keep, places = self._within(first, last), self.places
        within = Places.of_pairs(
            places.samples[keep], places.latents[keep] - first, places.n_samples, last - first
        )
        return SparseCodes(self.values[keep], within)

    def fill(self, out: Tensor) -> None:
        out.put_(self.places.flat().to(out.device), self.values.to(out))

    def read(self, samples: Tensor, latents: Tensor) -> Tensor:
        wanted = samples * self.n_latents + latents
        if not len(self.values):
            return self.values.new_zeros(len(wanted))
        flat, order = self.places.flat().sort()
        near = torch.searchsorted(flat, wanted).clamp_max(len(flat) - 1)
        return torch.where(flat[near] == wanted, self.values[order[near]], 0)

    def _within(self, first: int, last: int) -> Tensor:
        return (self.places.latents >= first) & (self.places.latents < last)

    def rows(self) -> Rows:
        keep = self.values != 0
        places, values = self.places, self.values
        if not bool(keep.all()):
            places, values = places.kept(keep), values[keep]
        latents, values = _ascending(places, values)
        return Rows(values, latents, places.offsets)


def _check(rows: Rows, n_latents: int) -> None:
    values, latents, offsets = rows
    whole = len(offsets) > 0 and int(offsets[0]) == 0 and int(offsets[-1]) == len(latents)
    inside = not len(latents) or 0 <= int(latents.min()) <= int(latents.max()) < n_latents
    if not (whole and inside and len(values) == len(latents) and bool((offsets.diff() >= 0).all())):
        raise DataError(
            f"these are no compressed sparse rows over {n_latents} latents: a value, and a latent "
            f"from 0 to {n_latents - 1}, are needed for each entry, and ascending row offsets"
        )


def _ascending(places: Places, values: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and values, the former ascending within each sample."""
    if places.ascending:
        return places.latents, values
    order = places.flat().argsort()
    return places.latents[order], values[order]
