"""Where a code is not 0, and the sums over these entries that replace products of matrices.

With n entries of B samples over M latents, each sum costs `n · D` multiplications where the dense
product costs `B · M · D`: at 32 active latents of 12,288 a 384th. On the CPU the compiled library
makes them where there is one (`native`); else they are products with a compressed sparse matrix
where torch has MKL, and bags of embeddings elsewhere, as on a GPU. All are sums in a fixed order:
the same bits every time.
"""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from simplecell.model import native


class Places:
    """Pairs (sample, latent) of B samples and M latents, sample after sample.

    Args:
        samples: [n] int64, ascending.
        latents: [n] int64.
        offsets: [B + 1] int64: sample i has the entries `offsets[i]` to `offsets[i + 1]`.
        n_latents: M.
        ascending: whether the latents of each sample are known to ascend.
    """

    def __init__(
        self,
        samples: Tensor,
        latents: Tensor,
        offsets: Tensor,
        n_latents: int,
        *,
        ascending: bool = True,
    ) -> None:
        self.samples, self.latents, self.offsets = samples, latents, offsets
        self.n_latents, self.ascending = n_latents, ascending

    @classmethod
    def of_rows(cls, latents: Tensor, n_latents: int, *, ascending: bool = True) -> Places:
        """As many of each sample: latents is [B, k]."""
        n_samples, k = latents.shape
        every = torch.arange(n_samples + 1, device=latents.device)
        samples = every[:-1, None].expand(n_samples, k).reshape(-1)
        flat = latents.reshape(-1)
        return cls(samples, flat, every * k, n_latents, ascending=ascending)

    @classmethod
    def of_flat(cls, flat: Tensor, n_samples: int, n_latents: int) -> Places:
        """From `sample · M + latent`, ascending, [n]."""
        samples = torch.div(flat, n_latents, rounding_mode="floor")
        return cls.of_pairs(samples, flat - samples * n_latents, n_samples, n_latents)

    @classmethod
    def of_pairs(cls, samples: Tensor, latents: Tensor, n_samples: int, n_latents: int) -> Places:
        """From samples [n], ascending, and latents [n]."""
        return cls(samples, latents, _starts(samples, n_samples), n_latents)

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def n_samples(self) -> int:
        """B."""
        return len(self.offsets) - 1

    @cached_property
    def by_latent(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latent after latent: (entries in this order [n], their samples [n], starts [M + 1])."""
        compiled = native.library()
        if compiled and self.latents.device.type == "cpu":
            return compiled.by_latent(self.samples, self.latents, self.n_latents)
        latents, order = self.latents.sort(stable=True)
        return order, self.samples[order], _starts(latents, self.n_latents)

    def flat(self) -> Tensor:
        """`sample · M + latent`, [n]."""
        return self.samples * self.n_latents + self.latents

    def kept(self, keep: Tensor) -> Places:
        """Those for which bool [n] is true."""
        samples, latents = self.samples[keep], self.latents[keep]
        offsets = _starts(samples, self.n_samples)
        return Places(samples, latents, offsets, self.n_latents, ascending=self.ascending)

    def decode(self, values: Tensor, dictionary: Tensor) -> Tensor:
        """`code @ dictionary`, [B, D], for the code that has these values here; [M, D]."""
        compiled = native.library(values, dictionary)
        if compiled and not torch.is_grad_enabled():
            out = dictionary.new_empty(self.n_samples, dictionary.shape[1])
            return compiled.bags(self.offsets, self.latents, values, dictionary, out)
        return bags(values, self.latents, self.offsets, dictionary)

    def dots(self, rows: Tensor, dictionary: Tensor) -> Tensor:
        """`⟨rows_sample, dictionary_latent⟩` of every entry, [n], for [B, D] and [M, D]."""
        order, samples, starts = self.by_latent
        if not len(self):
            return rows.new_zeros(0)
        if compiled := native.library(rows, dictionary):
            return compiled.dots(starts, samples, order, rows, dictionary)
        if not _has_csr(rows):
            return torch.ops.aten._embedding_bag_per_sample_weights_backward(
                rows, dictionary, self.latents, self.offsets, self.samples, 0, -1
            )
        # Latent after latent, an atom stays in the cache and the samples are few: half the time.
        blank = _csr(starts, samples, rows.new_zeros(len(self)), len(rows))
        found = torch.sparse.sampled_addmm(blank, dictionary, rows.T, beta=0.0).values()
        return torch.empty_like(found).index_copy_(0, order, found)

    def spread(self, values: Tensor, rows: Tensor, out: Tensor, *, add: bool = False) -> None:
        """`codeᵀ @ rows` into (or added to) `out` [M, D]: the gradient of a matrix of latents."""
        order, samples, starts = self.by_latent
        if compiled := native.library(values, rows, out):
            compiled.bags(starts, samples, values, rows, out, order=order, add=add)
        elif not len(self):
            out.mul_(float(add))
        elif _has_csr(rows):
            matrix = _csr(starts, samples, values[order], len(rows))
            torch.addmm(out, matrix, rows, beta=float(add), out=out)
        else:
            found = bags(values[order], samples, starts, rows)
            out.add_(found) if add else out.copy_(found)

    def sums(self, values: Tensor) -> Tensor:
        """The sum of the values [n] of each latent, [M]."""
        if values.device.type == "cpu":
            return values.new_zeros(self.n_latents).index_add(0, self.latents, values)
        order, _, starts = self.by_latent
        return _summed(values[order], starts)

    def sums_of_samples(self, values: Tensor) -> Tensor:
        """The sum of the values [n] of each sample, [B]."""
        if values.device.type == "cpu":
            return values.new_zeros(self.n_samples).index_add(0, self.samples, values)
        return _summed(values, self.offsets)


def _summed(values: Tensor, offsets: Tensor) -> Tensor:
    """Sums over runs of values. A GPU adds to an index in any order, and so in any bits."""
    return torch.segment_reduce(values, "sum", offsets=offsets, initial=0, unsafe=True)


def bags(weights: Tensor, places: Tensor, offsets: Tensor, table: Tensor) -> Tensor:
    """`Σ weight · table[place]` over each bag of places, [bags, D]."""
    if not len(places):  # embedding_bag refuses to be given no index at all
        return table.new_zeros(len(offsets) - 1, table.shape[1])
    return embedding_bag(
        places,
        table,
        offsets,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def _starts(ascending: Tensor, n: int) -> Tensor:
    """Where each of 0 … n − 1 begins in ascending numbers, and where they end, [n + 1].

    Not by counting them, which makes a GPU wait for how many numbers there are.
    """
    return torch.searchsorted(ascending, torch.arange(n + 1, device=ascending.device))


def _has_csr(like: Tensor) -> bool:
    return like.device.type == "cpu" and torch.backends.mkl.is_available()


def _csr(offsets: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    """A compressed sparse matrix [rows, width]; unchecked, since ours are right by construction."""
    with warnings.catch_warnings():  # torch calls the layout a beta, and unchecked, once each
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly")
        return torch.sparse_csr_tensor(
            offsets, columns, values, (len(offsets) - 1, width), check_invariants=False
        )
