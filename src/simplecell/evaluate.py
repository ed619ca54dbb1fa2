"""One pass over a source: how well a model reconstructs it, and what each latent does there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.feed import to_model
from simplecell.measures import fvu
from simplecell.model import Model
from simplecell.preprocess import Preprocess

ROWS = 8192


@dataclass(frozen=True)
class Figures:
    """What a pass found; errors and variance are of the samples as the model sees them."""

    n_samples: int
    fvu: float
    """Fraction of variance unexplained: `Σ‖x − recon‖² / Σ‖x − mean x‖²`."""
    mean_activation: NDArray[np.float64]
    """Mean code of each latent, [M]; bounded codes mapped to [0, 1]."""
    density: NDArray[np.float64]
    """Fraction of the samples for which each latent is active, [M]. A bounded code is active
    above the middle of its range (a sigmoid is never 0), any other when it is not 0."""
    l0: float
    """Active latents per sample, *count*, mean over samples."""

    @property
    def dead(self) -> float:
        """Fraction of the latents that are active for no sample."""
        return float((self.density == 0).mean())

    def table(self) -> dict[str, Any]:
        """The figures as `simplecell evaluate --json` prints them."""
        return {
            "n_samples": self.n_samples,
            "fvu": self.fvu,
            "l0": self.l0,
            "dead": self.dead,
            "density": spread(self.density),
            "mean_activation": spread(self.mean_activation),
        }


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Least, mean and largest value."""
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


class Deviation:
    """`Σ‖x − mean x‖²` over batches, each measured from its own mean and merged.

    Source: Chan, Golub & LeVeque 1983. Exact.
    """

    def __init__(self) -> None:
        self.count, self.sum = 0, 0.0
        self.mean: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Take in x [B, D]."""
        x = x.double()
        mean = x.mean(0)
        self.sum += float((x - mean).square().sum())
        if self.mean is None:
            self.mean = mean
        else:
            apart = float((mean - self.mean).square().sum())
            total = self.count + len(x)
            self.sum += apart * self.count * len(x) / total
            self.mean = self.mean + (mean - self.mean) * (len(x) / total)
        self.count += len(x)


@torch.no_grad()
def evaluate(model: Model, preprocess: Preprocess, source: Source) -> Figures:
    """Figures of a model on a source, in one pass and bounded memory."""
    low, high = model.activation.bounds or (0.0, 1.0)
    middle = None if model.activation.bounds is None else (low + high) / 2
    deviation, errors = Deviation(), 0.0
    codes = torch.zeros(model.n_latents, dtype=torch.float64)
    active = torch.zeros(model.n_latents, dtype=torch.float64)
    for raw, _ in source.batches(ROWS):
        x = to_model(raw, preprocess, model.like)
        output = model(x)
        code = output.code.dense
        errors += float((output.recon - x).double().square().sum())
        deviation.add(x)
        codes += ((code - low) / (high - low)).sum(0, dtype=torch.float64).cpu()
        on = code != 0 if middle is None else code > middle
        active += on.sum(0).double().cpu()
    n = max(1, deviation.count)
    return Figures(
        n_samples=deviation.count,
        fvu=fvu(errors, deviation.sum),
        mean_activation=(codes / n).numpy(),
        density=(active / n).numpy(),
        l0=float(active.sum()) / n,
    )
