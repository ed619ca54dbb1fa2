"""What a code costs: L1, and the notes' smoothed and topographic forms of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.sparse_coding.settings import real, switch, whole


def torus(n_latents: int, neighbourhood: int = 3) -> Tensor:
    """V [M, M], 0 or 1: V[g, j] says that latent j is in the neighbourhood of latent g.

    Latents stand row by row on a square whose edges are joined; a neighbourhood is a square of
    `neighbourhood` latents a side around its latent.

    Raises: UsageError when n_latents is no square or the neighbourhood does not fit on it.

    >>> torus(16, 3)[0].nonzero()[:, 0].tolist()
    [0, 1, 3, 4, 5, 7, 12, 13, 15]
    """
    whole("n_latents", n_latents)
    side = math.isqrt(n_latents)
    if side * side != n_latents:
        raise UsageError(f"a torus needs a square number of latents; n_latents is {n_latents}")
    whole("neighbourhood", neighbourhood)
    if neighbourhood > side:
        raise UsageError(f"neighbourhood is {neighbourhood}; from 1 to {side} fit on this torus")
    place = torch.arange(side)
    near = (place[None] - place[:, None] + neighbourhood // 2) % side < neighbourhood
    return torch.kron(near.double(), near.double())


@dataclass(frozen=True)
class L1:
    """`α Σ_j |s_j|`; `positive` allows no code below 0. Source: Tibshirani 1996. Exact."""

    alpha: float
    positive: bool = False

    def __post_init__(self) -> None:
        real("alpha", self.alpha)
        switch("positive", self.positive)

    def value(self, codes: Tensor) -> Tensor:
        """Of each sample, [B]."""
        return self.alpha * codes.abs().sum(1)

    def shrink(self, at: Tensor, moved: Tensor, curvature: float) -> Tensor:
        """The minimiser of `L/2 ‖s − moved‖² + α Σ|s|`: soft thresholding; `at` plays no part."""
        threshold = self.alpha / curvature
        if self.positive:
            return (moved - threshold).clamp_min_(0)
        return moved - moved.clamp(-threshold, threshold)

    def start(self, pull: Tensor, curvature: float) -> Tensor:
        """Where the search begins: at 0."""
        return torch.zeros_like(pull)

    def excess(self, codes: Tensor, x: Tensor, residual: Tensor, correlation: Tensor) -> Tensor:
        """Duality gap over `½‖x‖²`, [B]: an upper bound of how far above the optimum each is.

        The dual point is the residual, scaled until no atom correlates with it by more than α.
        """
        size = correlation if self.positive else correlation.abs()
        scale = (self.alpha / size.amax(1).clamp_min(1e-30)).clamp(0, 1)
        dual = (x * residual).sum(1) * scale - residual.square().sum(1) * scale.square() / 2
        gap = residual.square().sum(1) / 2 + self.value(codes) - dual
        return gap / (x.square().sum(1) / 2).clamp_min(1e-30)


@dataclass(frozen=True)
class Smooth:
    """`α Σ_g √((V s²)_g + ε)`: smoothed L1 without groups V, topographic with those of a `torus`.

    Source: UFLDL, Sparse coding. Exact (its `Vssᵀ` is a slip for V(s∘s)).
    """

    alpha: float
    epsilon: float = 1e-5
    groups: Tensor | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        real("alpha", self.alpha)
        real("epsilon", self.epsilon, above=0)
        switch("positive", self.positive)

    def to(self, like: Tensor) -> Smooth:
        """The same with its groups in the precision and on the device of `like`."""
        groups = None if self.groups is None else self.groups.to(like)
        return Smooth(self.alpha, self.epsilon, groups, self.positive)

    def norms(self, codes: Tensor) -> Tensor:
        """`√(V s² + ε)`, [B, number of groups]."""
        squares = codes.square()
        summed = squares if self.groups is None else squares @ self.groups.to(codes).T
        return (summed + self.epsilon).sqrt_()

    def value(self, codes: Tensor) -> Tensor:
        """Of each sample, [B]."""
        return self.alpha * self.norms(codes).sum(1)

    def weights(self, codes: Tensor) -> Tensor:
        """w [B, M] with gradient `w ∘ s`: `α Vᵀ (V s² + ε)^−½`."""
        inverse = self.norms(codes).reciprocal_()
        return self.alpha * (inverse if self.groups is None else inverse @ self.groups.to(codes))

    def gradient(self, codes: Tensor) -> Tensor:
        """∂value/∂codes, [B, M]."""
        return self.weights(codes) * codes

    def shrink(self, at: Tensor, moved: Tensor, curvature: float) -> Tensor:
        """The minimiser of `L/2 ‖s − moved‖² + ½ Σ w(at) s²`, which lies above the penalty.

        A root lies below its tangent, so the penalty lies below this parabola and touches it at
        `at`: the step never rises, and unlike a gradient step it needs no 1/√ε in the step size.
        """
        shrunk = moved / (1 + self.weights(at) / curvature)
        return shrunk.clamp_min_(0) if self.positive else shrunk

    def start(self, pull: Tensor, curvature: float) -> Tensor:
        """`A x / ‖A‖₂²`, away from 0, where the parabolas are steepest."""
        start = pull / curvature
        return start.clamp_min_(0) if self.positive else start

    def excess(self, codes: Tensor, x: Tensor, residual: Tensor, correlation: Tensor) -> Tensor:
        """Largest entry of the gradient over α, [B]: 1 is what the penalty pulls a code with."""
        slope = self.gradient(codes) - correlation
        if self.positive:
            slope = torch.where(codes > 0, slope, slope.clamp_max(0))
        return slope.abs().amax(1) / max(self.alpha, 1e-30)


Penalty = L1 | Smooth
