"""pre → code. A new activation is one class and one row of `ACTIVATIONS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from simplecell.codes import Codes
from simplecell.errors import unknown


class Activation(nn.Module):
    """`code = f(pre)`, pre [B, M]. Pure: `forward` changes nothing."""

    kind: ClassVar[str]
    gain: ClassVar[float | None] = None
    """For bounded codes: the code mapped to [0, 1] is `sigmoid(gain · pre)`; None if unbounded."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The code's range, or None."""

    def forward(self, pre: Tensor, *, training: bool = False) -> Codes:
        """The code of `pre`; `training` matters where training and use differ."""
        raise NotImplementedError

    def observe(self, codes: Codes) -> None:
        """Called by the trainer after a step: the only writer of an activation's own state."""


class Identity(Activation):
    """`f(z) = z`: linear codes, whose optimum spans PCA's subspace."""

    kind = "identity"

    def forward(self, pre: Tensor, *, training: bool = False) -> Codes:
        return Codes(pre)


class Sigmoid(Activation):
    """`f(z) = 1/(1 + e^−z)`. Source: UFLDL, Neural networks. Exact."""

    kind, gain, bounds = "sigmoid", 1.0, (0.0, 1.0)

    def forward(self, pre: Tensor, *, training: bool = False) -> Codes:
        return Codes(torch.sigmoid(pre))


class Tanh(Activation):
    """`f(z) = tanh z`, inactive at −1. Source: UFLDL, Neural networks. Exact."""

    kind, gain, bounds = "tanh", 2.0, (-1.0, 1.0)

    def forward(self, pre: Tensor, *, training: bool = False) -> Codes:
        return Codes(torch.tanh(pre))


class ReLU(Activation):
    """`f(z) = max(0, z)`: unbounded, so no KL sparsity."""

    kind = "relu"

    def forward(self, pre: Tensor, *, training: bool = False) -> Codes:
        return Codes(torch.relu(pre))


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
}

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda pre: pre,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

OUTPUT_BOUNDS: dict[str, tuple[float, float] | None] = {
    "linear": None,
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}


def activation(kind: str) -> Activation:
    """The activation of that name.

    Raises:
        UsageError: for an unknown name.
    """
    if kind not in ACTIVATIONS:
        raise unknown("activation", kind, ACTIVATIONS)
    return ACTIVATIONS[kind]()
