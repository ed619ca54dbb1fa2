"""What patches are like, and how each kind of knowledge rebuilds one seen in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from simplecell.sparse_coding import L1, encode
from simplecell.sparse_coding.settings import real


class Prior(Protocol):
    """What patches are like: rebuilds those that were seen in part."""

    @property
    def n_inputs(self) -> int:
        """D, numbers in a patch (count)."""
        ...

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """Patches [B, D] from x, of which the pixels `observed` [B, D] (0 or 1; None: all) count.

        noise is the standard deviation of what was added to each observed pixel.
        """
        ...


class Seen:
    """Projection of differences on the observed pixels and, there, on those of mean 0.

    With it an encoder fits only what was seen, and each patch's own mean is free.
    """

    def __init__(self, observed: Tensor) -> None:
        self.observed = observed
        self.count = observed.sum(1, keepdim=True).clamp_min(1)

    def mean(self, x: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Mean over the observed pixels, [b, 1]."""
        return (x * self.observed[rows]).sum(1, keepdim=True) / self.count[rows]

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        return (x - self.mean(x, rows)) * self.observed[rows]


@dataclass(frozen=True)
class SparsePrior:
    """A patch is its mean c plus a few atoms: `min ½‖x − c − s A‖² + α Σ|s|` over observed pixels.

    L1 codes choose the atoms but are too small: `s A` is then lengthened to where it fits best
    (at most 3 times, for what is left of a patch of noise is noise).

    Args:
        dictionary: A [M, D], atoms in the unit ball, of patches without their mean.
        strength: α in units of the noise's standard deviation.
        max_iter, tol: of `encode`.
    """

    dictionary: Tensor
    strength: float = 2.5
    max_iter: int = 100
    tol: float = 1e-3

    def __post_init__(self) -> None:
        real("strength", self.strength)

    @property
    def n_inputs(self) -> int:
        return self.dictionary.shape[1]

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """The codes' patches, lengthened, and the mean that fits best beside them."""
        atoms, penalty = self.dictionary.to(x), L1(self.strength * noise)
        how: dict[str, Any] = {"max_iter": self.max_iter, "tol": self.tol}
        if observed is None:  # the mean is free for whole patches when no atom has one
            atoms = atoms - atoms.mean(1, keepdim=True)
            mean = x.mean(1, keepdim=True)
            rebuilt = encode(x - mean, atoms, penalty, **how).codes @ atoms
            return rebuilt * _lengthening(x - mean, rebuilt) + mean
        seen = Seen(observed)
        rebuilt = encode(x, atoms, penalty, project=seen, **how).codes @ atoms
        everyone = torch.arange(len(x), device=x.device)
        rebuilt = rebuilt * _lengthening(seen(x, everyone), seen(rebuilt, everyone))
        return rebuilt + seen.mean(x - rebuilt)


def _lengthening(x: Tensor, rebuilt: Tensor) -> Tensor:
    """`⟨x, r⟩ / ‖r‖²` in 1 … 3, [B, 1]: never below 1 at the optimum of L1 codes."""
    square = rebuilt.square().sum(1, keepdim=True).clamp_min(1e-12)
    return ((x * rebuilt).sum(1, keepdim=True) / square).clamp(1, 3)


@dataclass(frozen=True)
class GaussianPrior:
    """A patch is `mean + c W`, c_k ~ N(0, λ_k): PCA, whose codes given the observed pixels o are
    `(W_o W_oᵀ + σ² diag(1/λ))⁻¹ W_o (x − mean)_o`, ridge regression.

    Args:
        mean: [D].
        components: W [K, D], orthonormal rows.
        variances: λ [K], input unit squared.

    Source: Tipping & Bishop 1999, probabilistic PCA. Exact for the posterior mean; λ and W are
    PCA's own.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, x: Tensor, n_components: int | None = None, noise: float = 0.0) -> GaussianPrior:
        """The first components of patches x [B, D]; σ² is taken off the variances of noisy ones."""
        mean = x.mean(0)
        centered = (x - mean).double()
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
        keep = slice(0, n_components)
        variances = (values.flip(0)[keep] - noise**2).clamp_min(1e-12)
        return cls(mean, vectors.T.flip(0)[keep].to(x), variances.to(x))

    @property
    def n_inputs(self) -> int:
        return self.components.shape[1]

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """The posterior mean of each patch."""
        mean, w, variances = (t.to(x) for t in (self.mean, self.components, self.variances))
        ridge = noise**2 / variances
        if observed is None:
            return (x - mean) @ w.T / (1 + ridge) @ w + mean
        masked = observed[:, None, :] * w
        gram = masked @ w.T
        gram.diagonal(dim1=1, dim2=2).add_(ridge)
        pull = (masked @ (x - mean)[:, :, None])[..., 0]
        codes = torch.linalg.solve(gram, pull)
        return codes @ w + mean
