"""What an activation is: pre → code, and what else a trainer or a term may ask of it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from simplecell.codes import Codes


class Activation(nn.Module):
    """`code = f(pre)`, pre [B, M · pre_per_latent]. Pure: `forward` changes nothing.

    `n_latents` is M; only activations with parameters of their own look at it.
    """

    kind: ClassVar[str]
    gain: ClassVar[float | None] = None
    """For bounded codes: the code mapped to [0, 1] is `sigmoid(gain · pre)`; None if unbounded."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The code's range, or None."""
    pre_per_latent: ClassVar[int] = 1
    """Numbers that a latent needs before the activation: rows of the encoder."""
    output: ClassVar[str | None] = None
    """The output of a layer that reconstructs these codes, or None: their range has none."""
    sparse: ClassVar[bool] = False
    """Whether codes are exactly 0 where a latent is not active, and never below."""
    smooth: ClassVar[bool] = True
    """Whether the code has a gradient everywhere that matters: L-BFGS needs it."""
    owns_bias: ClassVar[bool] = False
    """Whether biases are the activation's own, and the layer has none."""

    def __init__(self, n_latents: int = 1, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        """The code of `pre`; `training` and `generator` matter where training and use differ."""
        raise NotImplementedError

    def observe(self, codes: Codes) -> None:
        """Called by the trainer after a step: the only writer of an activation's own state."""

    def settle(self, pre: Tensor, wanted: float | None = None) -> None:
        """Take `pre` [B, M] of samples not trained on as what codes in use will see; at the end.

        `wanted` is how many latents are to be active of each, if anybody said so.
        """

    def set_scale(self, scale: float) -> None:
        """Take the root mean square of the inputs as the unit of what is relative to it."""

    def soft(self, pre: Tensor, code: Codes) -> Codes:
        """The code that an L1 penalty acts on."""
        return code

    def lack(self, pre: Tensor) -> Tensor:
        """What each latent of each sample lacks to be active, [B, M], 0 where it is.

        Of sparse codes alone. Thresholds are held fixed: the gradient is that of `pre`, and of a
        bias that is the activation's own.
        """
        return (-pre).relu()

    def count(self, pre: Tensor, code: Codes) -> Tensor:
        """Active latents of each sample, *count*, [B], differentiable where that is defined."""
        return code.l0().to(pre.dtype)

    def weights(self) -> dict[str, Tensor]:
        """The activation's own parameters and state, by the names that files use."""
        return dict(self.state_dict(keep_vars=True))
