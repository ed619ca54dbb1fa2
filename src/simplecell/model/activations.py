"""pre → code. A new activation is one class and one row of `ACTIVATIONS`.

Its settings are the keywords of its constructor: names, types and defaults are read there, and each
is a key of a recipe's [model]. The explorer's page computes it if it says how (`page`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import choice
from simplecell.model.activation import Activation
from simplecell.model.codes import Codes
from simplecell.model.places import Places
from simplecell.model.selection import above
from simplecell.model.selective import AbsTopK, BatchTopK, Gated, JumpReLU, TopK


class Identity(Activation):
    """`f(z) = z`: linear codes, whose optimum spans PCA's subspace."""

    kind, output, page = "identity", "linear", ("identity",)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return pre


class Sigmoid(Activation):
    """`f(z) = 1/(1 + e^−z)`. Source: UFLDL, Neural networks. Exact."""

    kind, output, page = "sigmoid", "sigmoid", ("sigmoid",)
    gain, bounds = 1.0, (0.0, 1.0)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return torch.sigmoid(pre)


class Tanh(Activation):
    """`f(z) = tanh z`, inactive at −1. Source: UFLDL, Neural networks. Exact."""

    kind, output, page = "tanh", "tanh", ("tanh",)
    gain, bounds = 2.0, (-1.0, 1.0)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return torch.tanh(pre)


class ReLU(Activation):
    """`f(z) = max(0, z)`: unbounded, so no KL sparsity."""

    kind, output, sparse, page = "relu", "relu", True, ("relu",)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return torch.relu(pre)

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        return above(pre, pre.new_zeros(1))


class Gaussian(Activation):
    """`code = μ + σ ∘ ε`, ε ~ N(0, I) while training; μ itself in use. `pre` is (μ, log σ²).

    The noise comes from the generator that the caller gives, so that a step can be repeated.
    Source: Kingma & Welling 2013, section 2.4 (reparameterisation). Exact.
    """

    kind, output, pre_per_latent = "gaussian", "linear", 2
    page = ("identity",)  # of the mean, which is what is used

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        mean, log_variance = pre.chunk(2, dim=1)
        if not training:
            return Codes(mean)
        how: dict[str, Any] = {"generator": generator, "dtype": pre.dtype, "device": pre.device}
        noise = self.ranks.drawn(mean, lambda shape: torch.randn(shape, **how))
        return Codes(mean + (log_variance / 2).exp() * noise)


_ALL: tuple[type[Activation], ...] = (
    *(Identity, Sigmoid, Tanh, ReLU, Gaussian),
    *(TopK, AbsTopK, BatchTopK, JumpReLU, Gated),
)
ACTIVATIONS = {one.kind: one for one in _ALL}

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


def _declared(kind: str) -> dict[str, inspect.Parameter]:
    choice("activation", kind, ACTIVATIONS)
    given = inspect.signature(ACTIVATIONS[kind], eval_str=True).parameters
    return {name: given[name] for name in given if name not in ("n_latents", "dtype")}


def settings_of(kind: str) -> tuple[str, ...]:
    """The names of an activation's own settings, such as ("k",).

    Raises:
        UsageError: for an unknown activation.
    """
    return tuple(_declared(kind))


def recipe_settings() -> dict[str, type | UnionType]:
    """The keys of [model] that are settings of some activation, and their types."""
    types: dict[str, type | UnionType] = {}
    for kind, made in ACTIVATIONS.items():
        for name, given in _declared(kind).items():
            if name != made.counts:
                types[name] = types.get(name, given.annotation) | given.annotation
    return types


def stated_settings() -> dict[str, object]:
    """The settings that every recipe states, with their defaults."""
    return {
        name: _declared(kind)[name].default
        for kind, made in ACTIVATIONS.items()
        for name in made.stated
    }


def activation(
    kind: str, n_latents: int = 1, *, dtype: torch.dtype = torch.float32, **settings: object
) -> Activation:
    """The activation of that name for M latents.

    Raises:
        UsageError: for an unknown name, or a setting that it does not have.
    """
    known = settings_of(kind)
    for name in settings:
        choice(f"setting of '{kind}' codes", name, known)
    made: Callable[..., Activation] = ACTIVATIONS[kind]
    return made(n_latents, dtype=dtype, **settings)
