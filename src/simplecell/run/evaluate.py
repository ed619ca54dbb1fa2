"""One pass over a source: how well a model reconstructs it, and what each latent does there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.errors import UsageError
from simplecell.model.activations import Activation
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes
from simplecell.model.measures import DENSITY_EDGES, coherence, density_histogram, fvu
from simplecell.preprocess.chain import Preprocess
from simplecell.run.info import Spread
from simplecell.training.prepared import Prepared

ROWS = 8192
NUMBERS = 2**26
"""Of inputs or of codes at once: wide samples come in fewer rows."""


@dataclass(frozen=True)
class Figures:
    """What a pass found; errors, variance and codes are of the samples as the model sees them.

    A code is active where it is not 0; a bounded one, which never is, above the middle of its
    range. Codes that are neither (identity, gaussian) are active everywhere: what counts active
    latents is None for them.
    """

    n_samples: int
    fvu: float
    """Fraction of variance unexplained: `Σ‖x − recon‖² / Σ‖x − mean x‖²`, x a transcoder's
    targets."""
    mean_activation: NDArray[np.float64]
    """Mean code of each latent, [M]; bounded codes mapped to [0, 1]."""
    density: NDArray[np.float64] | None
    """Fraction of the samples for which each latent is active, [M]."""
    l0: float | None
    """Active latents per sample, *count*, mean over samples."""
    code_l1: float | None
    """`Σ_i |code_i|` of a sample, mean over samples; *unit of the prepared inputs* where atoms
    have length 1."""
    atoms: Tensor
    """The dictionary at the time of the pass, prepared inputs, [M, D]."""

    @property
    def dead(self) -> float | None:
        """Fraction of the latents that are active for no sample."""
        return None if self.density is None else float((self.density == 0).mean())

    @cached_property
    def coherence(self) -> NDArray[np.float64]:
        """Largest |cosine| of each atom with another, [M], of prepared inputs.

        Made when first asked for: it costs M² D operations.
        """
        return coherence(self.atoms).double().cpu().numpy()

    def histogram(self) -> list[dict[str, float]] | None:
        """Latents by density: from (included), to (not included, save 1), and how many."""
        if self.density is None:
            return None
        edges = (0.0, 0.0, *DENSITY_EDGES, 1.0)
        counts = density_histogram(self.density)
        return [
            {"from": edges[i], "to": edges[i + 1], "latents": int(count)}
            for i, count in enumerate(counts)
        ]

    def table(self) -> dict[str, object]:
        """The figures as `simplecell evaluate --json` prints them."""
        return {
            "n_samples": self.n_samples,
            "fvu": self.fvu,
            "l0": self.l0,
            "dead": self.dead,
            "code_l1": self.code_l1,
            "coherence": spread(self.coherence),
            "density": None if self.density is None else spread(self.density),
            "histogram": self.histogram(),
            "mean_activation": spread(self.mean_activation),
        }


def spread(values: NDArray[np.float64]) -> Spread:
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


class Activity:
    """What each of M latents did over batches of codes, summed in float64."""

    def __init__(self, activation: Activation, n_latents: int) -> None:
        self.activation, self.count, self.l1 = activation, 0, 0.0
        self.low, self.high = activation.bounds or (0.0, 1.0)
        self.counts_active = activation.sparse or activation.bounds is not None
        self.sum = torch.zeros(n_latents, dtype=torch.float64)
        self.active = torch.zeros(n_latents, dtype=torch.int64)

    def add(self, code: Codes) -> None:
        """Take in codes [B, M]."""
        sizes = code.abs_sum()
        self.count += len(sizes)
        self.l1 += float(sizes.double().sum())
        mapped = (code.mean().double() - self.low) / (self.high - self.low)
        self.sum += mapped.cpu() * len(sizes)
        if self.activation.sparse:
            self.active += code.active().cpu()
        elif self.counts_active:
            self.active += (code.dense > (self.low + self.high) / 2).sum(0).cpu()

    def means(self) -> tuple[Any, ...]:
        """(mean activation [M], density [M], l0, code l1); what has no meaning is None."""
        n = max(1, self.count)
        mean = (self.sum / n).numpy()
        if not self.counts_active:
            return mean, None, None, None
        return mean, (self.active.double() / n).numpy(), int(self.active.sum()) / n, self.l1 / n


def evaluate(model: Model, preprocess: Preprocess, source: Source) -> Figures:
    """Figures of a model on a source, in one pass and bounded memory.

    They do not depend on how many rows are taken at once, up to rounding. Where samples come with
    targets, which are prepared already, fvu is theirs.

    Raises:
        UsageError: for a transcoder without targets.
    """
    return judge(model, Prepared(source, preprocess, model, keep=False))


@torch.no_grad()
def judge(model: Model, samples: Prepared) -> Figures:
    """`evaluate` on samples that have been prepared. Raises as that does."""
    if samples.targets is None and model.n_outputs is not None:
        raise UsageError(
            "a transcoder reconstructs something else than its inputs, so nothing can be measured "
            "on these alone; give the targets of the same samples as well"
        )
    deviation, errors = Deviation(), 0.0
    activity = Activity(model.activation, model.n_latents)
    rows = min(ROWS, max(1, NUMBERS // max(model.n_latents, model.n_inputs)))
    for x, target in samples.in_rows(rows):
        output = model(x)
        errors += float((output.recon - target).double().square().sum())
        deviation.add(target)
        activity.add(output.code)
    mean, density, l0, code_l1 = activity.means()
    return Figures(
        n_samples=deviation.count,
        fvu=fvu(errors, deviation.sum),
        mean_activation=mean,
        density=density,
        l0=l0,
        code_l1=code_l1,
        atoms=model.atoms().clone(),
    )
