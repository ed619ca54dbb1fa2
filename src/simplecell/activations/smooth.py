"""Activations with a gradient everywhere: the classic ones, and the Gaussian of a VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.activations.kind import Activation
from simplecell.codes import Codes


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

    kind, output, sparse = "relu", "relu", True

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
