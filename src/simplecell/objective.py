"""What training minimises: a weighted sum of terms, each called with one `Look`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from simplecell.errors import UsageError, unknown
from simplecell.measures import (
    LogMean,
    average_activation,
    cross_entropy,
    kl_gaussian,
    kl_sparsity,
    softmax_entropy,
    squared_error,
    squared_weights,
)
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


@dataclass(frozen=True)
class Reconstruction(Term):
    """Mean over samples of the squared error, summed over inputs.

    Source: UFLDL, with weight ½. Exact.
    """

    weight: float = 0.5
    kind = "reconstruction"

    def __call__(self, look: Look) -> Tensor:
        return look.share * squared_error(look.output.recon, look.target)


@dataclass(frozen=True)
class Decay(Term):
    """Sum of squares of the model's matrices, biases left alone; a tied matrix counts once.

    Source: UFLDL, with weight λ/2. Exact.
    """

    weight: float = 5e-5
    kind = "decay"
    of_weights = True

    def __call__(self, look: Look) -> Tensor:
        return squared_weights(*look.model.matrices())


@dataclass(frozen=True)
class KL(Term):
    """KL divergence of the wanted average activation from each latent's, summed over latents.

    `target` is ρ. When B are only some of the samples (`look.average` given), the value is that
    of all of them and the gradient that of the linear surrogate
    `⟨∂KL/∂ρ̂, Σ code⟩/m`: summed over chunks it equals the gradient in memory.

    Source: UFLDL, with weight β. Exact (a mini-batch mean would be a biased stand-in).
    """

    weight: float = 3.0
    target: float = 0.01
    kind = "kl"
    of_mean = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < 1:
            raise UsageError(
                f"kl: target is {self.target}; the average activation must lie between 0 and 1 "
                "(both excluded), for instance 0.05"
            )

    def __call__(self, look: Look) -> Tensor:
        gain = look.model.activation.gain
        assert gain is not None, "Objective.check was not called"
        if look.average is None:
            return kl_sparsity(self.target, average_activation(look.output.pre, gain)).sum()
        scaled, average = gain * look.output.pre, look.average
        on = (logsigmoid(scaled) - average.log_mean).exp().mean(0)
        off = (logsigmoid(-scaled) - average.log_complement).exp().mean(0)
        surrogate = -look.share * (self.target * on + (1 - self.target) * off).sum()
        return kl_sparsity(self.target, average).sum() + (surrogate - surrogate.detach())

    def check(self, model: Model) -> None:
        if model.activation.gain is None:
            raise UsageError(
                f"KL sparsity needs codes of a bounded range, but '{model.activation.kind}' codes "
                "are unbounded; use activation='sigmoid' or 'tanh', or leave the kl term out"
            )


@dataclass(frozen=True)
class CrossEntropy(Term):
    """Bernoulli cross-entropy of the reconstruction, summed over inputs, *nats*.

    For targets in [0, 1] and a sigmoid output. Source: Hinton & Salakhutdinov 2006. Exact.
    """

    weight: float = 1.0
    kind = "cross_entropy"

    def __call__(self, look: Look) -> Tensor:
        return look.share * cross_entropy(look.output.raw, look.target)

    def check(self, model: Model) -> None:
        _needs_output(self, model, "sigmoid")


@dataclass(frozen=True)
class Softmax(Term):
    """Cross-entropy of the class probabilities, the target one-hot, *nats*.

    Source: UFLDL, Softmax regression. Exact.
    """

    weight: float = 1.0
    kind = "softmax"

    def __call__(self, look: Look) -> Tensor:
        return look.share * softmax_entropy(look.output.raw, look.target)

    def check(self, model: Model) -> None:
        _needs_output(self, model, "softmax")


@dataclass(frozen=True)
class GaussianKL(Term):
    """KL divergence of each sample's code distribution from N(0, I), summed over latents, *nats*.

    With `CrossEntropy`, or `Reconstruction(½)`, the negative of the ELBO (for the latter up to a
    constant: unit variance). Source: Kingma & Welling 2013, appendix B. Exact.
    """

    weight: float = 1.0
    kind = "gaussian_kl"

    def __call__(self, look: Look) -> Tensor:
        mean, log_variance = look.output.pre.chunk(2, dim=1)
        return look.share * kl_gaussian(mean, log_variance)

    def check(self, model: Model) -> None:
        if model.activation.kind != "gaussian":
            raise UsageError(
                f"gaussian_kl needs codes that are drawn from a Gaussian, but these are "
                f"'{model.activation.kind}' codes; use activation 'gaussian', or leave the term out"
            )


def _needs_output(term: Term, model: Model, output: str) -> None:
    if model.output != output:
        raise UsageError(
            f"{term.kind} needs the output '{output}', but this model's is '{model.output}'"
        )


TERMS: dict[str, type[Term]] = {
    "reconstruction": Reconstruction,
    "cross_entropy": CrossEntropy,
    "softmax": Softmax,
    "kl": KL,
    "gaussian_kl": GaussianKL,
    "decay": Decay,
}


class Objective:
    """A weighted sum of terms; terms of weight 0 are left out.

    >>> Objective.classic(weight_decay=1e-4, sparsity_weight=3.0, target=0.01).table()["kl"]
    {'weight': 3.0, 'target': 0.01}
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]]) -> None:
        for kind, values in terms.items():
            if kind not in TERMS:
                raise unknown("term", kind, TERMS)
            fields = {field.name for field in dataclasses.fields(TERMS[kind])}
            for name in values:
                if name not in fields:
                    raise unknown(f"key of term '{kind}'", name, fields)
        self.terms = tuple(TERMS[kind](**values) for kind, values in terms.items())
        self.active = tuple(term for term in self.terms if term.weight)
        if not self.active:
            raise UsageError("an objective needs at least one term with a weight above 0")

    @classmethod
    def classic(cls, *, weight_decay: float, sparsity_weight: float, target: float) -> Objective:
        """The notes' objective by the notes' letters: λ, β, ρ."""
        terms: dict[str, dict[str, float]] = {"reconstruction": {"weight": 0.5}}
        if sparsity_weight:
            terms["kl"] = {"weight": sparsity_weight, "target": target}
        terms["decay"] = {"weight": weight_decay / 2}
        return cls(terms)

    def table(self) -> dict[str, dict[str, Any]]:
        """The terms as a recipe writes them."""
        return {term.kind: dataclasses.asdict(term) for term in self.terms}

    def find(self, kind: str) -> Term | None:
        """The active term of that kind, or None."""
        return next((term for term in self.active if term.kind == kind), None)

    @property
    def target(self) -> float | None:
        """The wanted average activation, or None."""
        term = self.find("kl")
        return term.target if isinstance(term, KL) else None

    @property
    def of_mean(self) -> bool:
        """Whether a term depends on the mean code over all samples."""
        return any(term.of_mean for term in self.active)

    def check(self, model: Model) -> None:
        """Raise UsageError where a term has no meaning for that model."""
        for term in self.active:
            term.check(model)

    def cost(self, terms: Mapping[str, Any]) -> Any:
        """The weighted sum of unweighted values."""
        return sum(term.weight * terms[term.kind] for term in self.active)

    def __call__(self, look: Look) -> dict[str, Tensor]:
        """The unweighted value of every active term."""
        return {term.kind: term(look) for term in self.active}


def value(objective: Objective, model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The cost over the samples x [B, D], all at once; differentiable. The tests' oracle."""
    objective.check(model)
    look = Look(x, target, model(x, training=True), model)
    return torch.as_tensor(objective.cost(objective(look)))
