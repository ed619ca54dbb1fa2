"""The terms of the notes and their neighbours: reconstruction, decay, KL, cross-entropies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from simplecell.errors import UsageError
from simplecell.model.measures import (
    average_activation,
    cross_entropy,
    kl_gaussian,
    kl_sparsity,
    softmax_entropy,
    squared_error,
    squared_weights,
)
from simplecell.training.term import Look, Need, Term


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
    codes = Need("of a bounded range", lambda one: one.gain is not None)

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


@dataclass(frozen=True)
class CrossEntropy(Term):
    """Bernoulli cross-entropy of the reconstruction, summed over inputs, *nats*.

    For targets in [0, 1] and a sigmoid output. Source: Hinton & Salakhutdinov 2006. Exact.
    """

    weight: float = 1.0
    kind = "cross_entropy"
    output = "sigmoid"

    def __call__(self, look: Look) -> Tensor:
        return look.share * cross_entropy(look.output.raw, look.target)


@dataclass(frozen=True)
class Softmax(Term):
    """Cross-entropy of the class probabilities, the target one-hot, *nats*.

    Source: UFLDL, Softmax regression. Exact.
    """

    weight: float = 1.0
    kind = "softmax"
    output = "softmax"

    def __call__(self, look: Look) -> Tensor:
        return look.share * softmax_entropy(look.output.raw, look.target)


@dataclass(frozen=True)
class GaussianKL(Term):
    """KL divergence of each sample's code distribution from N(0, I), summed over latents, *nats*.

    With `CrossEntropy`, or `Reconstruction(½)`, the negative of the ELBO (for the latter up to a
    constant: unit variance). Source: Kingma & Welling 2013, appendix B. Exact.
    """

    weight: float = 1.0
    kind = "gaussian_kl"
    codes = Need("that are drawn from a Gaussian", lambda one: one.kind == "gaussian")

    def __call__(self, look: Look) -> Tensor:
        mean, log_variance = look.output.pre.chunk(2, dim=1)
        return look.share * kl_gaussian(mean, log_variance)
