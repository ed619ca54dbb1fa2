"""One pass over a source: how well a model reconstructs it, and what each latent does there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.distributed import ALONE, Alone
from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes
from simplecell.model.measures import DENSITY_EDGES, coherence, density_histogram, explained, fvu
from simplecell.model.passes import Passes
from simplecell.preprocess.chain import Preprocess
from simplecell.run.info import Spread
from simplecell.run.trained import refuse_overflow
from simplecell.training.prepared import Prepared

_KEPT = 2**24
"""Of inputs of samples that are kept to the end."""
_ROUNDING = 1e-6
"""Of an fvu, where the mean itself is what a model gives."""
LOOKED_AT = 8192
"""Samples whose own figures are kept: enough for a median, and for the share of a hundredth."""


class Largest(NamedTuple):
    """The largest hundredth of inputs or rows, one at least, and what they own of the variance."""

    number: int
    share: float
    """Of the whole variance, *fraction 0–1*."""
    first: int
    """The largest of all, counted from 0."""


def largest(variance: NDArray[np.float64]) -> Largest:
    """Who owns most of the variance, given what each has of it, [n]."""
    number, whole = max(1, len(variance) // 100), float(variance.sum())
    top = np.sort(variance)[-number:].sum()
    return Largest(number, float(top / whole) if whole else 0.0, int(variance.argmax()))


@dataclass(frozen=True)
class Rows:
    """Samples evenly spread over all, `LOOKED_AT` at most: what each has of variance and error."""

    places: NDArray[np.int64]
    """Which samples they are, [n]."""
    variance: NDArray[np.float64]
    """`‖x − mean x‖²` of each, the mean that of all samples, [n]."""
    unexplained: NDArray[np.float64]
    """`‖x − recon‖²` of each, [n]."""

    @property
    def median(self) -> float:
        """The median over these samples of the fraction of its variance that is unexplained."""
        vary = self.variance > 0
        ratios = self.unexplained[vary] / self.variance[vary]
        return float(np.median(ratios)) if len(ratios) else 0.0


@dataclass(frozen=True)
class Figures:
    """What a pass found; errors, variance and codes are of the samples as the model sees them.

    What counts active latents (density, l0, dead) is None for codes that are never 0: sigmoid,
    tanh, identity, gaussian.
    """

    n_samples: int
    variance: NDArray[np.float64]
    """`Σ (x − mean x)²` over samples, of each input, [D]; x a transcoder's targets."""
    unexplained: NDArray[np.float64]
    """`Σ (x − recon)²` over samples, of each input, [D]."""
    rows: Rows
    """The same over inputs, of some samples."""
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
    """The dictionary at the time of the pass, prepared inputs, [M, D]; where latents are dealt to
    processes, one's own of it."""
    squares: float = 0.0
    """`Σ x²` over samples and inputs."""
    mean: Tensor | None = None
    """Of each input, float64 [D]."""

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained: `Σ‖x − recon‖² / Σ‖x − mean x‖²`."""
        return fvu(float(self.unexplained.sum()), float(self.variance.sum()))

    @property
    def score(self) -> float:
        """1 − fvu where the samples vary; where they do not, 1 if they are reproduced exactly, up
        to rounding, else 0."""
        numbers = self.n_samples * len(self.variance)
        sums = float(self.unexplained.sum()), float(self.variance.sum())
        return explained(*sums, self.squares, numbers)

    @property
    def fvu_standardized(self) -> float:
        """The same of inputs that weigh alike, each divided by its standard deviation: the mean fvu
        of those that vary, each 1 at most. A few inputs of large variance decide about `fvu`, but
        not about it; nor does one that varies in a single row, whose own fvu may be any number."""
        own = self._of_inputs
        return float(np.minimum(own, 1.0).mean()) if len(own) else self.fvu

    @property
    def worse_than_mean(self) -> int:
        """Inputs whose own fvu is above 1, *count*: their mean would reproduce them better."""
        return int((self._of_inputs > 1 + _ROUNDING).sum())

    @property
    def _of_inputs(self) -> NDArray[np.float64]:
        """The fvu of each input that varies."""
        vary = self.variance > 0
        return self.unexplained[vary] / self.variance[vary]

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
            "fvu_standardized": self.fvu_standardized,
            "inputs_worse_than_mean": self.worse_than_mean,
            "fvu_median": self.rows.median,
            "largest_inputs": largest(self.variance)._asdict(),
            "largest_rows": largest(self.rows.variance)._asdict(),
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
    """`Σ (x − mean x)²` of each input over batches, each measured from its own mean and merged.

    Source: Chan, Golub & LeVeque 1983. Exact.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor
        self.of_inputs: Tensor

    @property
    def sum(self) -> float:
        """Over all inputs."""
        return float(self.of_inputs.sum())

    @property
    def squares(self) -> float:
        """`Σ x²` over all inputs."""
        return self.sum + self.count * float(self.mean.square().sum())

    def add(self, x: Tensor) -> None:
        """Take in x [B, D]."""
        x = x.double()
        mean = x.mean(0)
        squares = (x - mean).square().sum(0)
        if not self.count:
            self.count, self.mean, self.of_inputs = len(x), mean, squares
        else:
            self._merge(len(x), mean, squares)

    def share(self, ranks: Alone) -> None:
        """Take in what other processes have."""
        counts = ranks.gathered(torch.tensor([self.count])).tolist()
        means, squares = ranks.gathered(self.mean[None]), ranks.gathered(self.of_inputs[None])
        self.count, self.mean, self.of_inputs = counts[0], means[0], squares[0]
        for count, mean, of_inputs in zip(counts[1:], means[1:], squares[1:], strict=True):
            self._merge(count, mean, of_inputs)

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        apart, total = mean - self.mean, self.count + count
        self.of_inputs += squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total


class _Sample:
    """Some of the rows of a pass, kept until the mean of all is known."""

    def __init__(self, n_samples: int, width: int, first: int = 0) -> None:
        kept = max(1, min(n_samples, LOOKED_AT, _KEPT // width))
        self.places = np.unique(np.linspace(0, n_samples - 1, kept).astype(np.int64))
        self._seen = first
        self._kept: list[Tensor] = []
        self._errors: list[Tensor] = []

    def add(self, x: Tensor, error: Tensor) -> None:
        """Take in the next rows x [B, D], and what each leaves unexplained, [B]."""
        first, last = np.searchsorted(self.places, (self._seen, self._seen + len(x)))
        mine = torch.from_numpy(self.places[first:last] - self._seen).to(x.device)
        self._kept.append(x[mine].cpu())
        self._errors.append(error[mine].double().cpu())
        self._seen += len(x)

    def share(self, ranks: Alone) -> None:
        """Take in what other processes kept."""
        self._kept = [ranks.gathered(torch.cat(self._kept))]
        self._errors = [ranks.gathered(torch.cat(self._errors))]

    def rows(self, mean: Tensor) -> Rows:
        """What they are, measured from the mean of all, [D]."""
        own = [(x.double() - mean.cpu()).square().sum(1) for x in self._kept]
        return Rows(self.places, torch.cat(own).numpy(), torch.cat(self._errors).numpy())


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

    def share(self, ranks: Alone) -> None:
        """Take in what other processes counted, of other samples or of other latents."""
        holders = self.activation.ranks
        self.count = ranks.count(self.count)
        l1 = torch.tensor(self.l1, dtype=torch.float64)
        self.l1 = float(holders.total(ranks.sum(l1)))
        self.sum = holders.latents(ranks.sum(self.sum))
        self.active = holders.latents(ranks.sum(self.active))

    def means(self) -> tuple[Any, ...]:
        """(mean activation [M], density [M], l0, code l1); what has no meaning is None."""
        n = max(1, self.count)
        mean = (self.sum / n).numpy()
        if not self.counts_active:
            return mean, None, None, None
        return mean, (self.active.double() / n).numpy(), int(self.active.sum()) / n, self.l1 / n


def evaluate(model: Model, preprocess: Preprocess, source: Source, ranks: Alone = ALONE) -> Figures:
    """Figures of a model on a source, in one pass and bounded memory.

    They do not depend on how many rows are taken at once, nor on how many processes share them, up
    to rounding. Where samples come with
    targets, which are prepared already, fvu is theirs.

    Raises:
        UsageError: for a transcoder without targets.
        DataError: for samples so large that codes or reconstructions are not finite.
    """
    return judge(model, Prepared(source, preprocess, model, keep=False, ranks=ranks))


@torch.no_grad()
def judge(model: Model, samples: Prepared) -> Figures:
    """`evaluate` on samples that have been prepared. Raises as that does."""
    if samples.targets is None and model.n_outputs is not None:
        raise UsageError(
            "a transcoder reconstructs something else than its inputs, so nothing can be measured "
            "on these alone; give the targets of the same samples as well"
        )
    deviation, unexplained = Deviation(), torch.zeros((), dtype=torch.float64)
    activity = Activity(model.activation, model.n_latents)
    ranks, width = samples.ranks, model.n_outputs or model.n_inputs
    first = ranks.part(samples.n_samples).start
    sample = _Sample(samples.n_samples, width, first)
    passes = Passes(model)
    for x, target in samples.in_rows(passes.n_rows):
        output = passes.forward(x)
        squares = (output.recon - target).double().square()
        refuse_overflow(model, first + deviation.count, output.pre, squares)
        unexplained = unexplained.to(squares.device) + squares.sum(0)
        deviation.add(target)
        sample.add(target, squares.sum(1))
        activity.add(output.code)
    deviation.share(ranks)
    activity.share(ranks)
    sample.share(ranks)
    unexplained = ranks.sum(unexplained)
    mean, density, l0, code_l1 = activity.means()
    if not model.activation.sparse:
        density = l0 = None
    return Figures(
        n_samples=deviation.count,
        variance=deviation.of_inputs.cpu().numpy(),
        unexplained=unexplained.cpu().numpy(),
        rows=sample.rows(deviation.mean),
        mean_activation=mean,
        density=density,
        l0=l0,
        code_l1=code_l1,
        atoms=model.atoms().clone(),
        mean=deviation.mean.cpu(),
        squares=deviation.squares,
    )
