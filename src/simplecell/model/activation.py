"""What every activation is: pre → code, and where codes may differ from 0."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from simplecell.distributed import ALONE, Alone
from simplecell.model.codes import Codes, SparseCodes
from simplecell.model.entries import Ledger
from simplecell.model.places import Places


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
    """Whether codes are exactly 0 where a latent is not active, and below only where `signed`."""
    signed: ClassVar[bool] = False
    """Of sparse codes, whether they may be below 0 too: an atom then stands for its opposite."""
    smooth: ClassVar[bool] = True
    """Whether the code has a gradient everywhere that matters: L-BFGS needs it."""
    owns_bias: ClassVar[bool] = False
    """Whether biases are the activation's own, and the layer has none."""
    counts: ClassVar[str | None] = None
    """The setting that says how many latents are active of a sample: `target_l0` of a recipe."""
    stated: ClassVar[tuple[str, ...]] = ()
    """Settings that every recipe states, whatever its codes; others are stated where told."""
    page: ClassVar[tuple[str, ...] | None] = None
    """Its function in the explorer's page, and the attributes that this is given; None: it has
    none."""
    ranks: Alone = ALONE
    """The processes that share a batch in training; a trainer says who they are."""

    def __init__(self, n_latents: int = 1, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        """The code of `pre`; `training` and `generator` matter where training and use differ.

        In use it is sparse where few latents are active, by what `places` finds; in training dense,
        since latents that are not active may have a say there.
        """
        if not training:
            pre = pre.contiguous()
            places = self.places(pre, training=False)
            if places is not None:
                return self.at(pre.view(-1)[places.flat()], places)
        return Codes(self.code(pre))

    def code(self, pre: Tensor) -> Tensor:
        """The dense code of `pre` in use, [B, M]."""
        return self.value(pre, *self.of_latents())

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        """The code of single values: `pre` [B, M] and numbers of each latent [M], or [n] all."""
        raise NotImplementedError

    def of_latents(self) -> tuple[Tensor, ...]:
        """The numbers of each latent, [M] each, that `value` takes."""
        return ()

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        """Where codes of `pre` [B, M] may differ from 0; None where the dense code costs less.

        There the code is `value`, and nowhere else has a gradient anything to say.
        """
        return None

    def at(self, pre: Tensor, places: Places, ledger: Ledger | None = None) -> SparseCodes:
        """The code at places, of what stands there before the activation, [n]."""
        own = (numbers.index_select(0, places.latents) for numbers in self.of_latents())
        return SparseCodes(self.value(pre, *own), places, pre, ledger)

    def observe(self, codes: Codes) -> None:
        """Called by the trainer after a step: the only writer of an activation's own state."""

    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Take `pre` [B, M] of samples not trained on as what codes in use will see; at the end.

        `wanted` is how many latents are to be active of each, if anybody said so.
        """

    @property
    def calibrates(self) -> bool:
        """Whether samples not trained on have a say in its thresholds."""
        return type(self).calibrate is not Activation.calibrate

    def set_scale(self, scale: float) -> None:
        """Take the root mean square of the inputs as the unit of what is relative to it."""

    @property
    def one_sided(self) -> bool:
        """Whether an atom and its opposite say different things."""
        return self.sparse and not self.signed

    def strength(self, pre: Tensor) -> Tensor:
        """What latents are ranked and judged by, of `pre` in any shape: its size, if `signed`."""
        return pre.abs() if self.signed else pre

    def soft(self, pre: Tensor, code: Codes) -> Codes:
        """The code that an L1 penalty acts on."""
        return code

    def threshold_of(self, pre: Tensor) -> Tensor:
        """What the `strength` of pre [B, M] must exceed for a latent to be active.

        [1], [M] or [B, 1].
        Of sparse codes alone. Held fixed: its gradient is that of a bias that is the activation's
        own, and no other.
        """
        return pre.new_zeros(1)

    def count(self, pre: Tensor, code: Codes) -> Tensor:
        """Active latents of each sample, *count*, [B], differentiable where that is defined."""
        return code.l0().to(pre.dtype)

    def weights(self) -> dict[str, Tensor]:
        """The activation's own parameters and state, by the names that files use."""
        return dict(self.state_dict(keep_vars=True))
