"""The best-scored samples of every latent, found in one pass over entries."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WAITING = 2**20
"""Entries that are held before they are sorted among the best, *count*."""


class _Entries(NamedTuple):
    """Some samples of some latents, [n] each."""

    scores: Tensor
    values: Tensor
    latents: Tensor
    rows: Tensor

    def at(self, places: Tensor) -> _Entries:
        return _Entries(*(part[places] for part in self))


class Extremes:
    """The `most` best-scored samples of each of M latents, with their codes and row numbers.

    Of equal scores the ones given first.
    """

    def __init__(self, n_latents: int, most: int) -> None:
        self.n_latents, self.most = n_latents, most
        self._floor = torch.full((n_latents,), -torch.inf)
        """What a score must exceed to be among the best, [M]."""
        whole = torch.zeros(0, dtype=torch.int64)
        self._best = _Entries(torch.zeros(0), torch.zeros(0), whole, whole)
        self._waiting: list[_Entries] = []

    def add(self, scores: Tensor, values: Tensor, latents: Tensor, rows: Tensor) -> None:
        """Take in entries, [n] each: float32 scores and codes, whose latents, of which samples."""
        better = (scores > self._floor[latents]).nonzero()[:, 0]
        self._waiting.append(_Entries(scores, values, latents, rows).at(better))
        self.__dict__.pop("_found", None)
        waiting = sum(len(part.rows) for part in self._waiting)
        if waiting > max(_WAITING, len(self._best.rows)):  # a sort is then paid for by its entries
            self._settle()

    def add_all(self, values: Tensor, rows: Tensor, keys: Tensor | None = None) -> None:
        """Take in codes [B, M] of the samples `rows` [B], scored by themselves or by keys [B]."""
        most = min(self.most, len(rows))
        if keys is None:
            codes, places = values.T.contiguous().topk(most, dim=1)
            scores = codes
        else:
            places = keys.topk(most).indices
            codes = values[places].T.contiguous()
            scores = keys[places].expand_as(codes)
        latents = torch.arange(self.n_latents)[:, None].expand_as(codes)
        own = rows[places].expand_as(codes)
        self.add(*(part.reshape(-1) for part in (scores, codes, latents, own)))

    def _settle(self) -> None:
        whole = _Entries(*map(torch.cat, zip(self._best, *self._waiting, strict=True)))
        whole = whole.at(_falling(whole.scores, whole.latents).argsort(stable=True))
        starts = torch.searchsorted(whole.latents, torch.arange(self.n_latents + 1))
        rank = torch.arange(len(whole.rows)) - starts[whole.latents]
        last = whole.at(rank == self.most - 1)
        self._floor[last.latents] = last.scores
        self._best, self._waiting = whole.at(rank < self.most), []

    @cached_property
    def _found(self) -> tuple[NDArray[np.float32], NDArray[np.int64], list[int]]:
        self._settle()
        starts = torch.searchsorted(self._best.latents, torch.arange(self.n_latents + 1))
        return self._best.values.numpy(), self._best.rows.numpy(), starts.tolist()

    def of(self, latent: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(codes, rows) of one latent, best first; fewer where fewer were given."""
        values, rows, starts = self._found
        mine = slice(starts[latent], starts[latent + 1])
        return values[mine], rows[mine]


def _falling(scores: Tensor, latents: Tensor) -> Tensor:
    """Numbers that rise with the latent, and within one fall with the score, [n] int64.

    The bits of a float rise with it, those of negative ones once they are turned round: one sort
    of whole numbers takes the place of two.
    """
    bits = scores.contiguous().view(torch.int32).long()
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (latents << 32) + (0x7FFFFFFF - bits)
