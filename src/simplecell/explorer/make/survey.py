"""One pass over the samples of a run: what every latent does there, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from simplecell.data import Source
from simplecell.explorer.make.samples import Labels, evenly
from simplecell.model.activation import Activation
from simplecell.model.measures import fvu
from simplecell.run.evaluate import Activity, Deviation
from simplecell.run.trained import Trained, refuse_overflow
from simplecell.training.prepared import to_model

TOP, SPREAD, DRAWN = 12, 8, 64
BINS = 32
NUMBERS = 2**22
"""Codes at once, *count*."""
KEPT_SAMPLES, KEPT_NUMBERS = 20_000, 2**24
"""Samples whose codes are kept for correlations between latents, and codes at most."""
PARTNERS = 8
STILL = 1e-6
"""Deviation below this share of the mean is rounding of float32 codes."""
Kept: TypeAlias = "NDArray[np.floating] | sparse.sparray"
"""Codes of some samples."""


class Extremes:
    """The `most` best-scored samples of each of M latents, with their codes and row numbers."""

    def __init__(self, n_latents: int, most: int) -> None:
        self.scores = torch.full((n_latents, most), -torch.inf)
        self.values = torch.zeros(n_latents, most)
        self.rows = torch.full((n_latents, most), -1, dtype=torch.int64)

    def add(self, scores: Tensor, values: Tensor, rows: Tensor) -> None:
        """Take in scores and values [M, B] of the samples `rows` [B]; −inf is never taken."""
        most = self.scores.shape[1]
        found, places = scores.topk(min(most, scores.shape[1]), dim=1)
        mine = torch.cat([self.values, values.gather(1, places)], dim=1)
        theirs = torch.cat([self.rows, rows[places]], dim=1)
        self.scores, chosen = torch.cat([self.scores, found], dim=1).topk(most, dim=1)
        self.values, self.rows = mine.gather(1, chosen), theirs.gather(1, chosen)

    def of(self, latent: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(codes, rows) of one latent, best first; fewer where fewer were given."""
        there = self.scores[latent] > -torch.inf
        return self.values[latent][there].numpy(), self.rows[latent][there].numpy()


class Histograms:
    """Linear histograms of each latent's code, up to a power of two that doubles when need be.

    Of codes with exact zeros only the active ones count. `low` and `high` are the ends, [M].
    """

    def __init__(self, activation: Activation, n_latents: int) -> None:
        self.sparse, self.bounds = activation.sparse, activation.bounds
        self.counts = torch.zeros(n_latents, BINS, dtype=torch.int64)
        low, high = self.bounds or (0.0, 0.0)
        self.low, self.high = torch.full((n_latents,), low), torch.full((n_latents,), high)

    def add(self, code: Tensor) -> None:
        """Take in codes [B, M]."""
        if self.bounds is None:
            self._widen(code.abs().amax(0))
        width = (self.high - self.low).clamp_min(torch.finfo(torch.float32).tiny)
        if self.sparse:
            sample, latent = code.nonzero(as_tuple=True)
            values = code[sample, latent]
        else:
            values = code.reshape(-1)
            latent = torch.arange(code.shape[1]).repeat(len(code))
        place = ((values - self.low[latent]) / width[latent] * BINS).long().clamp(0, BINS - 1)
        found = torch.bincount(latent * BINS + place, minlength=self.counts.numel())
        self.counts += found.view_as(self.counts)

    def _widen(self, largest: Tensor) -> None:
        # Powers of two, so that the ends do not depend on which samples came first.
        first = torch.where(largest > 0, largest.log2().ceil().exp2(), 0.0)
        self.high = torch.where(self.high > 0, self.high, first)
        while bool((beyond := largest > self.high).any()):
            pairs = self.counts[beyond].view(-1, BINS // 2, 2).sum(2)
            start = 0 if self.sparse else BINS // 4  # around 0 where codes have signs
            wider = torch.zeros(len(pairs), BINS, dtype=torch.int64)
            wider[:, start : start + BINS // 2] = pairs
            self.counts[beyond] = wider
            self.high[beyond] *= 2
        if not self.sparse:
            self.low = -self.high


class Survey:
    """What a pass found; `run` makes it, and says after each batch how many samples are done."""

    def __init__(self, trained: Trained, source: Source, labels: Labels) -> None:
        self.trained, self.source, self.labels = trained, source, labels
        m = trained.model.n_latents
        self.activity = Activity(trained.model.activation, m)
        self.deviation = Deviation()
        self.histograms = Histograms(trained.model.activation, m)
        self.top, self.drawn = Extremes(m, TOP), Extremes(m, DRAWN)
        self.sum, self.squares = torch.zeros(2, m, dtype=torch.float64)
        self.max = torch.full((m,), -torch.inf)
        self.within = torch.zeros(len(labels.values), m, dtype=torch.float64)
        self.errors = np.zeros(source.n_samples, dtype=np.float32)
        kept = min(KEPT_SAMPLES, max(1000, KEPT_NUMBERS // m))
        self._keep = evenly(source.n_samples, kept)
        self._kept: list[Kept] = []
        self._generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def run(self) -> Iterator[int]:
        """Samples done, after each batch."""
        model, preprocess = self.trained.model, self.trained.preprocess
        size = max(1, NUMBERS // max(model.n_latents, model.n_inputs))
        for raw, rows in self.source.batches(size):
            x = to_model(raw, preprocess, model.like)
            output = model(x)
            refuse_overflow(model, int(rows[0]), output.pre, output.recon)
            if self.trained.target_preprocess is None:
                self.errors[rows] = (output.recon - x).square().sum(1).cpu().numpy()
            self.deviation.add(x)
            self.activity.add(output.code)
            self._latents(output.code.dense.float().cpu(), np.asarray(rows))
            yield int(rows[-1]) + 1

    def _latents(self, code: Tensor, rows: NDArray[np.int64]) -> None:
        places = torch.as_tensor(rows)
        self.histograms.add(code)
        self.max = torch.maximum(self.max, code.amax(0))
        self.sum += code.double().sum(0)
        self.squares += code.double().square().sum(0)
        self.within += self.labels.members(rows).double().T @ code.double()
        kept = np.isin(rows, self._keep, assume_unique=True)
        if kept.any():
            some = code[torch.as_tensor(kept)].numpy()
            self._kept.append(sparse.csr_array(some) if self.histograms.sparse else some)
        mine = code.T.contiguous()
        active = mine > 0 if self.trained.model.activation.sparse else torch.ones_like(mine) > 0
        nothing = mine.new_tensor(-torch.inf)
        self.top.add(torch.where(active, mine, nothing), mine, places)
        keys = torch.rand(len(rows), generator=self._generator)
        self.drawn.add(torch.where(active, keys, nothing), mine, places)

    @property
    def fvu(self) -> float | None:
        """Of these samples; None for a transcoder."""
        if self.trained.target_preprocess is not None:
            return None
        return fvu(float(self.errors.sum(dtype=np.float64)), self.deviation.sum)

    def of_labels(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Per label and latent, [L, M]: mean code within it, and the correlation; counts [L].

        `r = (mean(c · 1[label]) − mean(c) p) / (std(c) √(p (1 − p)))`, p the label's share.
        Source: Pearson 1895, for an indicator. Exact.
        """
        n = self.source.n_samples
        counts = torch.as_tensor(self.labels.counts, dtype=torch.float64)[:, None]
        share = counts / n
        apart = self.within / n - self.sum / n * share
        deviation = (self.squares / n - (self.sum / n).square()).clamp_min(0).sqrt()
        spread = deviation * (share * (1 - share)).sqrt()
        related = torch.where(spread > 0, apart / spread, 0.0)
        return (self.within / counts.clamp_min(1)).numpy(), related.numpy(), counts[:, 0].numpy()

    def together(self) -> Iterator[tuple[int, list[tuple[int, float]]]]:
        """Latent after latent: those whose codes correlate most with its own, at most 8.

        Pearson's r over evenly spread samples, as many as memory allows (20,000 at most).
        """
        codes, mean, deviation = self._kept_codes()
        n, m = codes.shape
        for first in range(0, m, 256):
            block = slice(first, min(m, first + 256))
            joint = codes[:, block].T @ codes
            joint = joint if isinstance(joint, np.ndarray) else joint.toarray()
            joint = joint / n - np.outer(mean[block], mean)
            scale = np.outer(deviation[block], deviation)
            r = np.divide(joint, scale, out=np.zeros_like(joint), where=scale > 0)
            r[np.arange(r.shape[0]), np.arange(first, block.stop)] = -np.inf
            for i, row in enumerate(r):
                best = np.argsort(-row, kind="stable")[:PARTNERS].tolist()
                yield first + i, [(j, float(row[j])) for j in best if row[j] > 0]

    def _kept_codes(self) -> tuple[Kept, NDArray[np.float64], NDArray[np.float64]]:
        """(codes [n, M], mean and deviation of each); dense codes are centred, their mean is 0."""
        if not self.histograms.sparse:
            # Centred first: where codes hardly move, a difference of products is all rounding.
            whole = np.concatenate(self._kept).astype(np.float64)
            mean = whole.mean(0)
            whole -= mean
            deviation = np.sqrt(np.square(whole).mean(0))
            deviation[deviation < STILL * np.abs(mean)] = 0
            return whole, np.zeros_like(mean), deviation
        codes = sparse.vstack(self._kept).tocsc().astype(np.float64)
        mean = np.asarray(codes.mean(axis=0)).reshape(-1)
        squares = np.asarray(codes.multiply(codes).mean(axis=0)).reshape(-1)
        deviation = np.sqrt(np.maximum(squares - mean**2, 0))
        deviation[deviation < STILL * mean] = 0
        return codes, mean, deviation
