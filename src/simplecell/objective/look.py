"""What a term is, and the one thing it is called with: a `Look` at everything there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from simplecell.errors import UsageError
from simplecell.measures import LogMean
from simplecell.model import Model, Output


@dataclass(frozen=True)
class Look:
    """Everything a term may look at; a new need is a new field."""

    x: Tensor
    """[B, D], as the model sees it."""
    target: Tensor
    """[B, D]: what the reconstruction is compared with; of a classifier [B, K], one-hot."""
    output: Output
    model: Model
    average: LogMean | None = None
    """The average activation over all samples when B are only some of them; None: B are all."""
    share: float = 1.0
    """B over the number of samples that the cost is a mean over."""
    dead: Tensor | None = None
    """Latents that have been silent for long, bool [M]; None outside training."""
    l0: Tensor | None = None
    """Active latents a sample, mean over all samples when B are only some of them."""
    push: float = 0.0
    """What the controller of l0 adds to its relative excess, to leave none in the end."""
    ease: float = 1.0
    """What the controller multiplies the wanted l0 by: more than 1 at the beginning."""


@dataclass(frozen=True)
class Term:
    """A part of the objective: `weight` times the unweighted value that the call returns."""

    weight: float
    kind: ClassVar[str]
    of_weights: ClassVar[bool] = False
    """Depends on the parameters alone: counted once, not once a chunk."""
    of_mean: ClassVar[bool] = False
    """Depends on the mean code over *all* samples, so chunks need it beforehand."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise UsageError(f"{self.kind}: weight is {self.weight}; it must be 0 or more")

    def __call__(self, look: Look) -> Tensor:
        raise NotImplementedError

    def check(self, model: Model) -> None:
        """Raise UsageError where the term has no meaning for that model."""
