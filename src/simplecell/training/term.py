"""What a term of an objective is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simplecell.distributed import ALONE, Alone
from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.activations import ACTIVATIONS
from simplecell.model.autoencoder import Autoencoder, Model, Output
from simplecell.model.measures import LogMean


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a trainer knows at one step, beside the samples: a new need is a new field, here."""

    average: LogMean | None = None
    """The average activation over all samples when B are only some of them; None: B are all."""
    dead: Tensor | None = None
    """Latents that have been silent for long, bool [M]; None outside training."""
    l0: Tensor | None = None
    """Active latents a sample, mean over all samples when B are only some of them."""
    variance: Tensor | None = None
    """Of the targets, mean over all samples of `‖target − mean‖²` when B are only some of them."""
    push: float | Tensor = 0.0
    """What the controller of l0 adds to its relative excess, to leave none in the end."""
    ease: float = 1.0
    """What the controller multiplies the wanted l0 by: more than 1 at the beginning."""
    factors: Mapping[str, float | Tensor] = field(default_factory=dict)
    """On the weights of single terms."""
    generator: torch.Generator | None = None
    """For activations that draw noise."""
    ranks: Alone = ALONE
    """The processes that hold the other parts of a batch of which B are one's own."""


@dataclass(frozen=True)
class Look(Moment):
    """Everything a term may look at: B samples, what the model made of them, and the moment."""

    x: Tensor
    """[B, D], as the model sees it."""
    target: Tensor
    """[B, D]: what the reconstruction is compared with; of a classifier [B, K], one-hot."""
    output: Output
    model: Model
    share: float = 1.0
    """B over the number of samples that the cost is a mean over."""

    def pre_of(self, latents: Tensor) -> Tensor:
        """What stands before the activation of some latents, a bool [M]: [B, m]."""
        if self.output.by is None:
            return self.output.pre[:, latents]
        return self.output.by.columns(latents.nonzero()[:, 0])

    def atoms_of(self, latents: Tensor) -> Tensor:
        """The atoms of some latents, a bool [M]: [m, D_out]."""
        if self.output.by is None:
            return self._decoder[latents]
        return self.output.by.atoms(latents.nonzero()[:, 0])

    def atom_lengths(self) -> Tensor:
        """The length of each atom, [M]."""
        return self._decoder.norm(dim=1) if self.output.by is None else self.output.by.lengths()

    @property
    def _decoder(self) -> Tensor:
        assert isinstance(self.model, Autoencoder), "Objective.check was not called"
        return self.model.decoder


class Need(NamedTuple):
    """Codes that a term has a meaning for, in words and as a question."""

    words: str
    has: Callable[[Activation | type[Activation]], bool]


SPARSE = Need("that are 0 where a latent is not active", lambda one: one.sparse)


@dataclass(frozen=True)
class Term:
    """A part of the objective: `weight` times the unweighted value that the call returns."""

    weight: float
    kind: ClassVar[str]
    of_weights: ClassVar[bool] = False
    """Depends on the parameters alone: counted once, not once a chunk."""
    of_mean: ClassVar[bool] = False
    """Depends on the mean code over *all* samples, so chunks need it beforehand."""
    alone: ClassVar[bool] = False
    """Is for one layer."""
    output: ClassVar[str | None] = None
    """The output that it is for, where it is for one only."""
    codes: ClassVar[Need | None] = None
    """The codes that it is for; None: any."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise UsageError(f"{self.kind}: weight is {self.weight}; it must be 0 or more")

    def __call__(self, look: Look) -> Tensor:
        raise NotImplementedError

    def check(self, model: Model) -> None:
        """Raise UsageError where the term has no meaning for that model."""
        if self.alone:
            single(self, model)
        if self.output not in (None, model.output):
            raise UsageError(
                f"{self.kind} needs the output '{self.output}', but this model's is "
                f"'{model.output}'"
            )
        if self.codes is not None and not self.codes.has(model.activation):
            *others, last = [repr(kind) for kind, one in ACTIVATIONS.items() if self.codes.has(one)]
            use = f"{', '.join(others)} or {last}" if others else last
            raise UsageError(
                f"{self.kind} needs codes {self.codes.words}, but these are "
                f"'{model.activation.kind}' codes; use activation={use}, or leave the term out"
            )


def single(term: Term, model: Model) -> Autoencoder:
    """The model, of one layer. Raises UsageError for a deep network."""
    if not isinstance(model, Autoencoder):
        raise UsageError(f"{term.kind} is for an autoencoder of one layer, not for a deep network")
    return model
