"""Whether two models are the same, by numbers: codes, reconstructions, which latents are active."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.interop.foreign import Evaluate
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.run.trained import Trained

LIMIT = 1e-5
"""Largest relative difference of a conversion that is believed."""
APART = 1e-5
"""Largest share of active latents that may be active in one of the two alone: a value that meets
its threshold to the last digit."""
ROWS, NUMBERS = 1024, 2**24
"""Random samples looked at: so many, or fewer where their codes would be more numbers than that."""
MOST_DOUBLE = 2**28
"""Weights of a model that are compared in float64, 2 GB a copy; of more, in float32."""
SPREAD = 10
"""The random samples' lengths span as many doublings."""


class Differences(NamedTuple):
    """How far two models are from one another on the same samples."""

    codes: float
    """`max |a − b| / max |b|`, over latents active in both."""
    recon: float
    """The same of reconstructions, over samples whose active latents are the same."""
    apart: int
    """Latents active in one alone, *count* over all samples."""
    active: int
    """Active latents, *count* over all samples."""
    n_samples: int

    @property
    def small(self) -> bool:
        """Whether the two are the same but for rounding."""
        return max(self.codes, self.recon) <= LIMIT and self.apart <= APART * self.active

    def table(self) -> dict[str, float]:
        """The figures by name, as JSON."""
        return self._asdict()

    def __str__(self) -> str:
        lone = f", {self.apart} active in one alone" if self.apart else ""
        return (
            f"codes {self.codes:.1e}, reconstructions {self.recon:.1e} "
            f"({self.n_samples} samples, {self.active} active latents{lone})"
        )


@torch.no_grad()
def differences(first: Evaluate, second: Evaluate, x: Tensor) -> Differences:
    """Of two models on samples x [B, D], relative to the largest number of the second."""
    (codes, recon), (others, wanted) = first(x), second(x)
    apart = (codes != 0) != (others != 0)
    same = ~apart.any(dim=1)
    return Differences(
        codes=_relative((codes - others).masked_fill(apart, 0), others),
        recon=_relative((recon - wanted)[same], wanted),
        apart=int(apart.sum()),
        active=int((others != 0).sum()),
        n_samples=len(x),
    )


def _relative(difference: Tensor, size: Tensor) -> float:
    largest = float(size.abs().max()) if size.numel() else 0.0
    found = float(difference.abs().max()) if difference.numel() else 0.0
    return found / largest if largest else found


def ours(trained: Trained) -> Evaluate:
    """A trained model as what is compared, its preparation included."""
    models: dict[torch.dtype, Model] = {}

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        if x.dtype not in models:
            models[x.dtype] = trained.model_in(x.dtype)
        model, prepared = models[x.dtype], trained.preprocess.apply(x)
        _, codes = model.encode(prepared.x)
        recon = model.decode(codes)
        own = trained.target_preprocess is None
        carried = prepared.carried if own else None
        return codes.dense, trained.recon_preprocess.invert(recon, carried)

    return run


def precision_of(trained: Trained) -> torch.dtype:
    """In what the comparison is made: float64, unless the copies would take too much memory."""
    numbers = sum(weights.numel() for weights in trained.model.weights().values())
    return torch.float64 if numbers <= MOST_DOUBLE else torch.float32


def random_samples(trained: Trained, seed: int = 0) -> Tensor:
    """Samples [B, D] about what the model subtracts, of lengths that activate few and many latents.

    The middle length is that at which products are as large as biases and thresholds. They are in
    the precision that the comparison is made in.
    """
    model, n_inputs = trained.model, trained.preprocess.n_inputs
    n_samples = max(64, min(ROWS, NUMBERS // model.n_latents))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples, n_inputs, generator=generator, dtype=torch.float64)
    doublings = torch.linspace(-SPREAD / 2, SPREAD / 2, n_samples, dtype=torch.float64)
    x = x * 2 ** doublings[:, None]
    if isinstance(model, Autoencoder):
        own = [t.detach().double().abs().mean() for n, t in model.weights().items() if n in _SHIFTS]
        size = float(torch.stack(own).sum()) if own else 0.0
        rows = float(trained.latents().norm(dim=1).square().mean().sqrt())
        x = x * ((size or 1.0) / (rows or 1.0))
    if trained.target_preprocess is None:
        zero = torch.zeros(1, model.n_outputs or model.n_inputs, dtype=torch.float64)
        middle = (
            model.offset.detach().cpu().double()[None] if isinstance(model, Autoencoder) else zero
        )
        x = x + trained.preprocess.invert(middle)
    return x.to(precision_of(trained))


_SHIFTS = ("bias", "threshold", "gate_bias", "magnitude_bias")
