"""How normal a sample is: by its error, and by how far its code lies from those of the training.

    e      ln ‖x − recon‖², x prepared
    d      ln Σ_i (code_i − mean_i)² / (variance_i + v), v the mean of all variances
    score  −max((e − mean e)/deviation e, (d − mean d)/deviation d)

Means, variances and deviations are those of (at most 8,192 of) the training samples. The odder of
the two decides: what no atom explains has a large error, what is far away along the atoms a small
one. Source: Jackson & Mudholkar 1979, who hold the residual of components and Hotelling's T² each
against a limit. Differs: of any code, whose latents are taken for independent and whose rare ones
are damped by v; standard scores of logarithms in the place of limits. The likelihood of the pattern
of active latents, as if these fired independently, was tried in the place of d: docs/outliers.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import DataError, RunError
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes, Rows, SparseCodes
from simplecell.model.measures import EXACT
from simplecell.model.passes import Passes
from simplecell.preprocess.chain import Preprocess
from simplecell.run.build import training_data
from simplecell.run.trained import Trained, refuse_overflow
from simplecell.training.prepared import Prepared

LOOKED_AT = 8192
"""Samples that say what is normal."""
_KEPT = 2**22
"""Numbers of codes without zeros that are kept to the end of the look at them."""
_TINY = torch.finfo(torch.float64).tiny


class Judged(NamedTuple):
    """Samples of a batch, as a model makes them: what a score is made of."""

    size: Tensor
    """`‖x‖²` of each, prepared, [B]."""
    error: Tensor
    """`‖x − recon‖²` of each, [B]."""
    code: Codes


@dataclass(frozen=True)
class Normality:
    """What is normal, learned by `learn`; `score` tells how normal new samples are."""

    mean: Tensor
    """Mean code of each latent, float64 [M]."""
    spread: Tensor
    """`variance_i + v` of each latent's code, float64 [M]."""
    errors: Tensor
    """The least squared error that is told from 0, then mean and deviation of e, float64 [3]."""
    distances: Tensor
    """The same of d, float64 [3]."""

    def score(self, samples: Judged) -> Tensor:
        """How normal each sample is, float64 [B]: higher is more normal, *no unit*."""
        parts = (samples.error, self.errors), (self.distance(samples.code), self.distances)
        return -torch.maximum(*(_standard(values, told) for values, told in parts))

    def distance(self, code: Codes) -> Tensor:
        """`Σ_i (code_i − mean_i)² / (variance_i + v)` of each sample, float64 [B].

        From the entries that are not 0: all others are as far as a code of 0 is.
        """
        rows = _kept(code)
        values, latents = rows.values.double(), rows.indices
        more = values * (values - 2 * self.mean[latents]) / self.spread[latents]
        counts = rows.offsets.diff()
        places = torch.repeat_interleave(torch.arange(len(counts)), counts)
        start = (self.mean.square() / self.spread).sum().expand(len(counts)).clone()
        return start.index_add_(0, places, more).clamp_min(0)

    def tensors(self) -> dict[str, Tensor]:
        """As a run keeps it."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], n_latents: int) -> Normality:
        """Of what `tensors` gave. Raises RunError for what does not fit the model."""
        form = {"mean": n_latents, "spread": n_latents, "errors": 3, "distances": 3}
        for name, length in form.items():
            found = tensors.get(name)
            if found is None or found.shape != (length,) or found.dtype != torch.float64:
                raise RunError(f"normal.safetensors is damaged: '{name}' is not {length} numbers")
        return cls(**{name: tensors[name] for name in form})


@torch.no_grad()
def learn(batches: Iterable[Judged]) -> Normality:
    """What is normal, from samples that are."""
    sizes, errors, codes, n_latents = [], [], [], 0
    for size, error, code in batches:
        sizes.append(size.double().cpu())
        errors.append(error.double().cpu())
        n_latents = code.n_latents
        codes.append(SparseCodes.of_rows(_kept(code), n_latents))
    error = torch.cat(errors)
    mean, variance = _moments(codes, len(error), n_latents)
    spread = variance + (float(variance.mean()) or 1.0)  # of codes that never vary: any unit
    floor = max(EXACT * float(torch.cat(sizes).mean()), _TINY)
    nothing = torch.zeros(3, dtype=torch.float64)
    found = Normality(mean, spread, nothing, nothing)
    distance = torch.cat([found.distance(code) for code in codes])
    floors = floor, max(EXACT * float(distance.mean()), _TINY)
    pairs = zip((error, distance), floors, strict=True)
    return Normality(mean, spread, *(_told(values, floor) for values, floor in pairs))


def _moments(codes: Iterable[Codes], n: int, n_latents: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each latent's code over n samples, float64 [M]."""
    sums = torch.zeros(2, n_latents, dtype=torch.float64)
    for code in codes:
        rows = code.rows()
        values = rows.values.double()
        sums.index_add_(1, rows.indices, torch.stack([values, values.square()]))
    mean, square = sums / n
    return mean, (square - mean.square()).clamp_min(0)


def _told(values: Tensor, floor: float) -> Tensor:
    """The floor, and mean and deviation of the logarithms; 1 for values that are all the same."""
    logs = values.clamp_min(floor).log()
    deviation = float(logs.std(correction=0)) or 1.0
    return torch.tensor([floor, float(logs.mean()), deviation], dtype=torch.float64)


def _standard(values: Tensor, told: Tensor) -> Tensor:
    """The standard score of each value's logarithm."""
    floor, mean, deviation = told
    return (values.double().cpu().clamp_min(floor).log() - mean) / deviation


def _kept(code: Codes) -> Rows:
    """The entries of a code, which outlive the next batch."""
    return Rows(*(part.cpu().clone() for part in code.rows()))


@torch.no_grad()
def judged(model: Model, samples: Prepared) -> Iterator[tuple[Tensor, Judged]]:
    """What is to be reconstructed, [B, D'], and how a model does it, batch after batch, in order.

    The code is good until the next batch.

    Raises:
        DataError: for a sample so large that what the model makes of it is not finite.
    """
    passes, first = Passes(model), 0
    for x, target in samples.in_rows(passes.n_rows):
        output = passes.forward(x)
        error = (output.recon - target).double().square().sum(1)
        refuse_overflow(model, first, output.pre, error)
        first += len(x)
        yield target, Judged(target.double().square().sum(1), error, output.code)


def normality(model: Model, preprocess: Preprocess, source: Source) -> Normality | None:
    """What is normal of samples like those of a source; None for a transcoder."""
    if model.n_outputs is not None:
        return None
    most = LOOKED_AT
    if not model.activation.sparse:
        most = max(1, min(LOOKED_AT, _KEPT // model.n_latents))
    samples = Prepared(sampled(source, most), preprocess, model, keep=False)
    return learn(one for _, one in judged(model, samples))


def known(trained: Trained) -> tuple[Normality | None, list[str]]:
    """What is normal of a run's samples, from its directory, else from its data once more.

    And a sentence where it is not what the run has.
    """
    if trained.normal is not None or trained.target_preprocess is not None:
        return trained.normal, []
    try:
        source = training_data(trained)
    except DataError as error:
        return None, [f"no scores: what is normal was not kept with this run, and {error}"]
    found = normality(trained.model, trained.preprocess, source)
    return found, ["what is normal was not kept with this run: found anew from its own data"]
