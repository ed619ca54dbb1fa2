"""The code step: many samples at once, each to its own accuracy; and what a code costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.errors import DataError, DivergedError, UsageError, real, switch, whole

EVERY = 10  # iterations between looks at which samples are done: a look waits for the GPU
Projection = Callable[[Tensor, Tensor], Tensor]
"""(differences [b, D], their row numbers [b]) → the part of them that was observed [b, D]: an
orthogonal projection of each row, such as a mask."""


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


class Encoded(NamedTuple):
    """Codes [B, M], how far from optimal each sample's is [B] (`Penalty.excess`), iterations."""

    codes: Tensor
    excess: Tensor
    n_iter: int


@torch.no_grad()
def encode(
    x: Tensor,
    dictionary: Tensor,
    penalty: Penalty,
    *,
    project: Projection | None = None,
    start: Tensor | None = None,
    max_iter: int = 1000,
    tol: float = 1e-5,
) -> Encoded:
    """The codes that minimise `½‖P(x − s A)‖² + α S(s)`, each sample by itself.

    An accelerated gradient step of length 1/L, L = ‖A‖₂² exactly, then the penalty's own shrink;
    a sample's momentum starts afresh when it points uphill, and a sample whose excess is at most
    `tol` leaves the batch. Any device; float32 or float64, that of x.

    Args:
        project: P, what of a difference was observed; everything unless given.
        start: codes [B, M] to begin from, where some are known that are near.

    Source: Beck & Teboulle 2009, FISTA; O'Donoghue & Candès 2015, gradient restart. Exact for L1;
    differs for Smooth: a majorising parabola in place of the proximal map.

    >>> from simplecell.sparse_coding import L1
    >>> encode(torch.tensor([[3.0, 0.5]]), torch.eye(2), L1(1.0)).codes.tolist()
    [[2.0, 0.0]]
    """
    whole("max_iter", max_iter, most=math.inf)
    real("tol", tol)
    _check(x, dictionary)
    dictionary = dictionary.to(x)
    penalty = penalty.to(x) if isinstance(penalty, Smooth) else penalty
    search = _Search(x, dictionary, penalty, project, start)
    # Below this the excess is rounding: float32 has 24 bits.
    tol = max(tol, 16 * torch.finfo(x.dtype).eps)
    done = 0
    while done < max_iter and len(search.rows):
        steps = min(EVERY, max_iter - done)
        for _ in range(steps):
            search.step()
        done += steps
        search.retire(tol)
    search.retire(math.inf)
    return Encoded(search.codes, search.excess, done)


class _Search:
    """The samples still moving: their codes, where momentum carries them, and its size."""

    def __init__(
        self,
        x: Tensor,
        dictionary: Tensor,
        penalty: Penalty,
        project: Projection | None,
        start: Tensor | None,
    ) -> None:
        self.dictionary, self.penalty, self.project = dictionary, penalty, project
        self.curvature = spectral_square(dictionary)
        self.rows = torch.arange(len(x), device=x.device)
        self.x = x if project is None else project(x, self.rows)
        self.pull = self.x @ dictionary.T
        # A @ Aᵀ once is cheaper than A and Aᵀ in turn, unless latents far outnumber inputs.
        narrow = len(dictionary) <= 2 * dictionary.shape[1]
        self.gram = dictionary @ dictionary.T if project is None and narrow else None
        begun = penalty.start(self.pull, self.curvature) if start is None else start.to(x)
        self.now = self.ahead = begun
        self.momentum = x.new_ones(len(x), 1)
        self.codes, self.excess = torch.zeros_like(self.pull), x.new_zeros(len(x))

    def residual(self, codes: Tensor) -> Tensor:
        difference = self.x - codes @ self.dictionary
        return difference if self.project is None else self.project(difference, self.rows)

    def correlation(self, codes: Tensor) -> Tensor:
        """Minus the gradient of the squared residual, [b, M]."""
        if self.gram is not None:
            return torch.addmm(self.pull, codes, self.gram, alpha=-1)
        return self.residual(codes) @ self.dictionary.T

    def step(self) -> None:
        moved = torch.add(self.ahead, self.correlation(self.ahead), alpha=1 / self.curvature)
        new = self.penalty.shrink(self.ahead, moved, self.curvature)
        change = new - self.now
        uphill = torch.linalg.vecdot(self.ahead - new, change)[:, None] > 0
        before = self.momentum.masked_fill_(uphill, 1.0)
        self.momentum = (1 + (1 + 4 * before.square()).sqrt_()) / 2
        self.ahead = torch.addcmul(new, (before - 1) / self.momentum, change)
        self.now = new

    def retire(self, tol: float) -> None:
        """Write down the samples whose excess is at most `tol`, and go on with the others."""
        residual = self.residual(self.now)
        correlation = residual @ self.dictionary.T
        excess = self.penalty.excess(self.now, self.x, residual, correlation)
        leaving = ~(excess > tol)  # what is not a number leaves too, and is seen by the caller
        if not bool(leaving.any()):
            return
        gone, stay = leaving.nonzero()[:, 0], (~leaving).nonzero()[:, 0]
        self.codes[self.rows[gone]], self.excess[self.rows[gone]] = self.now[gone], excess[gone]
        for name in ("rows", "x", "pull", "now", "ahead", "momentum"):
            setattr(self, name, getattr(self, name)[stay])


def spectral_square(dictionary: Tensor) -> float:
    """‖A‖₂², the largest eigenvalue of A Aᵀ (or of AᵀA where that is smaller), in float64."""
    a = dictionary.double()
    gram = a @ a.T if len(a) <= a.shape[1] else a.T @ a
    if not torch.isfinite(gram).all():
        raise DivergedError("the dictionary has atoms that are not finite; raise gamma or alpha")
    # Rounding up by a few float32 units keeps 1/L on the safe side in every precision.
    return max(float(torch.linalg.eigvalsh(gram)[-1]) * (1 + 1e-6), 1e-12)


def _check(x: Tensor, dictionary: Tensor) -> None:
    if x.ndim != 2 or dictionary.ndim != 2 or x.shape[1] != dictionary.shape[1]:
        raise DataError(
            f"x has shape {tuple(x.shape)} and the dictionary {tuple(dictionary.shape)}; samples "
            "[B, D] and atoms [M, D] of one width are needed"
        )
    if not dictionary.numel():
        raise DataError(
            f"the dictionary has shape {tuple(dictionary.shape)}; at least one atom of at least "
            "one input is needed"
        )
    if not x.is_floating_point():
        raise DataError(f"x holds {x.dtype}; float32 or float64 is needed, as of x.float()")
    if not torch.isfinite(x).all():
        precision = str(x.dtype).removeprefix("torch.")
        raise DataError(
            f"x has values that are not finite in {precision}: remove or fill those that are "
            "missing, and scale the data if they are too large for it"
        )
