"""Sparse codes latent by latent: ranks among all samples, zeros among them, without a dense array.

A latent's zeros tie: they share one rank, which is taken away from all. What is left is as sparse
as the codes, and correlations and sums of ranks do not mind a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Ranks 1 … n of the samples of each of M latents, ties by their mean.

    Its E entries are in the order of their values, latent after latent.
    """

    n_samples: int
    starts: Places
    """[M + 1], where a latent's entries begin."""
    rows: Places
    """[E], the sample of each entry."""
    latents: Places
    """[E], its latent."""
    ties: Places
    """[E], the number of its run of equal values."""
    above: NDArray[np.bool_]
    """[E], whether its value is above 0, and the latent's zeros lie below it."""

    @classmethod
    def of(cls, codes: csc_array) -> Ranks:
        """The ranks of codes [n, M], CSC without entries that are 0."""
        n, m = codes.shape
        latents = np.repeat(np.arange(m), np.diff(codes.indptr))
        order = np.lexsort((codes.data, latents))
        values, rows = codes.data[order], codes.indices[order].astype(np.int64)
        new = np.ones(len(values), dtype=bool)
        new[1:] = (values[1:] != values[:-1]) | (latents[1:] != latents[:-1])
        ties = np.cumsum(new) - 1
        return cls(n, codes.indptr.astype(np.int64), rows, latents, ties, values > 0)

    @property
    def n_latents(self) -> int:
        """M."""
        return len(self.starts) - 1

    @cached_property
    def active(self) -> Places:
        """Samples for which each latent is not 0, *count*, [M]."""
        return np.diff(self.starts)

    @cached_property
    def zeros(self) -> Places:
        """Samples for which it is 0, *count*, [M]."""
        return self.n_samples - self.active

    @cached_property
    def below(self) -> Places:
        """Samples for which it is negative, *count*, [M]."""
        return np.bincount(self.latents[~self.above], minlength=self.n_latents)

    @cached_property
    def _sizes(self) -> Places:
        """Entries of each run of equal values."""
        return np.bincount(self.ties)

    @cached_property
    def entries(self) -> Floats:
        """The rank of each entry, [E]."""
        first = np.flatnonzero(np.diff(self.ties, prepend=-1))
        rank = first - self.starts[self.latents[first]] + (self._sizes + 1) / 2
        return rank[self.ties] + self.above * self.zeros[self.latents]

    @cached_property
    def of_zeros(self) -> Floats:
        """The rank that the zeros of each latent share, [M]."""
        return self.below + (self.zeros + 1) / 2

    @cached_property
    def shifted(self) -> csc_array:
        """Rank less the rank of zeros, [n, M]."""
        values = self.entries - self.of_zeros[self.latents]
        shape = (self.n_samples, self.n_latents)
        found = csc_array((values, self.rows.astype(np.int32), self.starts), shape=shape)
        found.has_sorted_indices = False
        return found

    @cached_property
    def tied(self) -> Floats:
        """`Σ t³ − t` over runs of t equal values, the zeros' among them, [M]."""
        size = self._sizes.astype(np.float64)
        first = np.flatnonzero(np.diff(self.ties, prepend=-1))
        own = np.bincount(self.latents[first], size**3 - size, minlength=self.n_latents)
        zeros = self.zeros.astype(np.float64)
        return own + zeros**3 - zeros

    def sums(self, of_entries: Floats) -> Floats:
        """The sum of a number of each entry [E] over the entries of each latent, [M]."""
        counted = np.bincount(self.latents, of_entries, minlength=self.n_latents)
        return counted.astype(np.float64)  # no entries at all give whole numbers

    def counted_below(self, chosen: Floats) -> tuple[Floats, Floats]:
        """How many chosen samples lie below each entry [E], and below the zeros of a latent [M].

        `chosen` [n] is 1 for these and 0 for others; equal ones count half.
        """
        taken = chosen[self.rows]
        of_run = np.bincount(self.ties, taken)
        until = np.cumsum(taken)
        before = np.concatenate([[0.0], until])[self.starts[:-1]]
        last = np.flatnonzero(np.diff(self.ties, append=len(self._sizes)))
        here = (until[last] - of_run / 2)[self.ties] - before[self.latents]
        zeros = chosen.sum() - self.sums(taken)
        negative = self.sums(taken * ~self.above)
        return here + self.above * zeros[self.latents], negative + zeros / 2

    def top(self, latent: int, most: int) -> Places:
        """The samples with the largest codes of a latent, the largest first, at most so many."""
        first, last = self.starts[latent], self.starts[latent + 1]
        return self.rows[max(first, last - most) : last][::-1]
