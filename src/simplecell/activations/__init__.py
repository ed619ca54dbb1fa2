"""pre → code. A new activation is one class and one row of `ACTIVATIONS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simplecell.activations.hard import BatchTopK, Gated, JumpReLU, TopK
from simplecell.activations.kind import Activation
from simplecell.activations.smooth import Gaussian, Identity, ReLU, Sigmoid, Tanh
from simplecell.errors import unknown

__all__ = [
    "ACTIVATIONS",
    "OUTPUTS",
    "OUTPUT_BOUNDS",
    "Activation",
    "BatchTopK",
    "Gated",
    "Gaussian",
    "Identity",
    "JumpReLU",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "TopK",
    "activation",
    "settings_of",
]

ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "gaussian": Gaussian,
    "topk": TopK,
    "batchtopk": BatchTopK,
    "jumprelu": JumpReLU,
    "gated": Gated,
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


def settings_of(kind: str) -> tuple[str, ...]:
    """The names of an activation's own settings, such as ("k",).

    Raises:
        UsageError: for an unknown activation.
    """
    if kind not in ACTIVATIONS:
        raise unknown("activation", kind, ACTIVATIONS)
    given = inspect.signature(ACTIVATIONS[kind]).parameters
    return tuple(name for name in given if name not in ("n_latents", "dtype"))


def activation(
    kind: str, n_latents: int = 1, *, dtype: torch.dtype = torch.float32, **settings: Any
) -> Activation:
    """The activation of that name for M latents.

    Raises:
        UsageError: for an unknown name, or a setting that it does not have.
    """
    known = settings_of(kind)
    for name in settings:
        if name not in known:
            raise unknown(f"setting of '{kind}' codes", name, known)
    return ACTIVATIONS[kind](n_latents, dtype=dtype, **settings)
