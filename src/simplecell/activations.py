"""pre → code. A new activation is one class and one row of `ACTIVATIONS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from simplecell.codes import Codes
from simplecell.errors import unknown


class Activation(nn.Module):
    """`code = f(pre)`, pre [B, M · pre_per_latent]. Pure: `forward` changes nothing."""

    kind: ClassVar[str]
    gain: ClassVar[float | None] = None
    """For bounded codes: the code mapped to [0, 1] is `sigmoid(gain · pre)`; None if unbounded."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The code's range, or None."""
    pre_per_latent: ClassVar[int] = 1
    """Numbers that a latent needs before the activation: rows of the encoder."""
    output: ClassVar[str | None] = None
    """The output of a layer that reconstructs these codes, or None: their range has none."""

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        """The code of `pre`; `training` and `generator` matter where training and use differ."""
        raise NotImplementedError

    def observe(self, codes: Codes) -> None:
        """Called by the trainer after a step: the only writer of an activation's own state."""


class Identity(Activation):
    """`f(z) = z`: linear codes, whose optimum spans PCA's subspace."""

    kind, output = "identity", "linear"

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        return Codes(pre)


class Sigmoid(Activation):
    """`f(z) = 1/(1 + e^−z)`. Source: UFLDL, Neural networks. Exact."""

    kind, output, gain, bounds = "sigmoid", "sigmoid", 1.0, (0.0, 1.0)

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        return Codes(torch.sigmoid(pre))


class Tanh(Activation):
    """`f(z) = tanh z`, inactive at −1. Source: UFLDL, Neural networks. Exact."""

    kind, output, gain, bounds = "tanh", "tanh", 2.0, (-1.0, 1.0)

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        return Codes(torch.tanh(pre))


class ReLU(Activation):
    """`f(z) = max(0, z)`: unbounded, so no KL sparsity."""

    kind, output = "relu", "relu"

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        return Codes(torch.relu(pre))


class Gaussian(Activation):
    """`code = μ + σ ∘ ε`, ε ~ N(0, I) while training; μ itself in use. `pre` is (μ, log σ²).

    The noise comes from the generator that the caller gives, so that a step can be repeated.
    Source: Kingma & Welling 2013, section 2.4 (reparameterisation). Exact.
    """

    kind, output, pre_per_latent = "gaussian", "linear", 2

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        mean, log_variance = pre.chunk(2, dim=1)
        if not training:
            return Codes(mean)
        noise = torch.randn(mean.shape, generator=generator, dtype=pre.dtype, device=pre.device)
        return Codes(mean + (log_variance / 2).exp() * noise)


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "gaussian": Gaussian,
}

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda pre: pre,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}

OUTPUT_BOUNDS: dict[str, tuple[float, float] | None] = {
    "linear": None,
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": None,
}


def activation(kind: str) -> Activation:
    """The activation of that name.

    Raises:
        UsageError: for an unknown name.
    """
    if kind not in ACTIVATIONS:
        raise unknown("activation", kind, ACTIVATIONS)
    return ACTIVATIONS[kind]()
