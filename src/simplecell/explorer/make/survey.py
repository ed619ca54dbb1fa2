"""One pass over the samples of a run: what every latent does there, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from simplecell.data import Source
from simplecell.explorer.make.extremes import Extremes
from simplecell.explorer.make.histograms import Histograms, largest_of
from simplecell.explorer.make.samples import Labels, evenly
from simplecell.explorer.make.together import Kept, partners
from simplecell.model.codes import Codes, Rows, SparseCodes
from simplecell.model.measures import fvu
from simplecell.model.passes import Passes
from simplecell.run.evaluate import Activity, Deviation
from simplecell.run.trained import Trained, refuse_overflow
from simplecell.training.prepared import to_model

TOP, SPREAD, DRAWN = 12, 8, 64
KEPT_SAMPLES, KEPT_NUMBERS = 20_000, 2**24
"""Samples whose codes are kept for correlations between latents, and codes at most."""

Watcher = Callable[[Tensor, Codes, NDArray[np.int64]], None]
"""Is given each batch of a pass: prepared samples [B, D], their codes, their row numbers."""


class Survey:
    """What a pass found; `run` makes it, and says after each batch how many samples are done.

    The codes of the samples `wanted`, rising, are kept: `codes` are parts [b, M] of them, in order.
    """

    def __init__(
        self,
        trained: Trained,
        source: Source,
        labels: Labels,
        wanted: NDArray[np.int64] | None = None,
    ) -> None:
        self.trained, self.source, self.labels = trained, source, labels
        m = trained.model.n_latents
        self.activity = Activity(trained.model.activation, m)
        self.deviation = Deviation()
        self.histograms = Histograms(trained.model.activation, m)
        self.top, self.bottom, self.drawn = Extremes(m, TOP), Extremes(m, TOP), Extremes(m, DRAWN)
        self.sum, self.squares = torch.zeros(2, m, dtype=torch.float64)
        self.max = torch.full((m,), -torch.inf)
        """The largest code of each latent; of sparse codes in size."""
        self.within = torch.zeros(m, len(labels.values), dtype=torch.float64)
        """Sum of each latent's code over the samples of each label, [M, L]."""
        self.errors = np.zeros(source.n_samples, dtype=np.float32)
        some = evenly(source.n_samples, min(KEPT_SAMPLES, max(1000, KEPT_NUMBERS // m)))
        self._kept: list[Kept] = []
        self.codes: list[Kept] = []
        self._keeping = [(some, self._kept), (some[:0] if wanted is None else wanted, self.codes)]
        self._generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def run(self, *others: Watcher) -> Iterator[int]:
        """Samples done, after each batch, which `others` are given too."""
        model, preprocess = self.trained.model, self.trained.preprocess
        passes = Passes(model)
        for raw, rows in self.source.batches(passes.n_rows):
            x = to_model(raw, preprocess, model.like)
            output = passes.forward(x)
            refuse_overflow(model, int(rows[0]), output.pre, output.recon)
            if self.trained.target_preprocess is None:
                self.errors[rows] = (output.recon - x).square().sum(1).cpu().numpy()
            self.deviation.add(x)
            self.activity.add(output.code)
            self._latents(output.code, np.asarray(rows))
            for watch in others:
                watch(x, output.code, np.asarray(rows))
            yield int(rows[-1]) + 1

    def _latents(self, code: Codes, rows: NDArray[np.int64]) -> None:
        members = self.labels.members(rows).double()
        keys = torch.rand(len(rows), generator=self._generator)
        places = torch.as_tensor(rows)
        if self.histograms.sparse:
            found = Rows(*(part.cpu() for part in code.rows()))
            self._active(found, members, keys, places)
        else:
            self._whole(code.dense.float().cpu(), members, keys, places)

    def _keep(self, codes: Kept, first: int) -> None:
        """Keep those that are wanted of the codes [B, M] of the samples from `first` on."""
        for wanted, kept in self._keeping:
            # A pass goes through all samples in order.
            here = slice(*np.searchsorted(wanted, (first, first + codes.shape[0])))
            if here.start < here.stop:
                kept.append(codes[wanted[here] - first])

    def _active(self, found: Rows, members: Tensor, keys: Tensor, rows: Tensor) -> None:
        """Codes with exact zeros, by their entries alone."""
        m, latents, values = len(self.max), found.indices, found.values.float()
        entries = SparseCodes.of_rows(Rows(values, latents, found.offsets), m).places
        self.histograms.add(values, latents)
        self.max = torch.maximum(self.max, largest_of(values.abs(), latents, m))
        exact = values.double()
        self.sum += entries.sums(exact)
        self.squares += entries.sums(exact.square())
        if members.shape[1]:
            entries.spread(exact, members, self.within, add=True)
        csr = sparse.csr_array(
            (values.numpy(), latents.numpy(), found.offsets.numpy()), shape=(len(rows), m)
        )
        self._keep(csr, int(rows[0]))
        places = rows[entries.samples]
        if self.trained.model.activation.signed:
            for ends, sign in ((self.top, 1), (self.bottom, -1)):
                mine = values * sign > 0
                ends.add(sign * values[mine], values[mine], latents[mine], places[mine])
        else:
            self.top.add(values, values, latents, places)
        self.drawn.add(keys[entries.samples], values, latents, places)

    def _whole(self, code: Tensor, members: Tensor, keys: Tensor, rows: Tensor) -> None:
        """Codes that are never 0, [B, M]."""
        self.histograms.add(code.reshape(-1), torch.arange(code.shape[1]).repeat(len(code)))
        self.max = torch.maximum(self.max, code.amax(0))
        exact = code.double()
        self.sum += exact.sum(0)
        self.squares += exact.square().sum(0)
        self.within += exact.T @ members
        self._keep(code.numpy(), int(rows[0]))
        self.top.add_all(code, rows)
        self.drawn.add_all(code, rows, keys)

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
        n, within = self.source.n_samples, self.within.T
        counts = torch.as_tensor(self.labels.counts, dtype=torch.float64)[:, None]
        share = counts / n
        apart = within / n - self.sum / n * share
        deviation = (self.squares / n - (self.sum / n).square()).clamp_min(0).sqrt()
        spread = deviation * (share * (1 - share)).sqrt()
        related = torch.where(spread > 0, apart / spread, 0.0)
        return (within / counts.clamp_min(1)).numpy(), related.numpy(), counts[:, 0].numpy()

    def together(self) -> Iterator[list[tuple[int, float]]]:
        """Latent after latent: those whose codes correlate most with its own, at most 8.

        Over evenly spread samples, as many as memory allows (20,000 at most).
        """
        return partners(self._kept)
