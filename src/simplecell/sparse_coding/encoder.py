"""The code step: many samples at once, each to its own accuracy, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.errors import DataError, DivergedError
from simplecell.sparse_coding.penalties import Penalty, Smooth
from simplecell.sparse_coding.settings import real, whole

EVERY = 10  # iterations between looks at which samples are done: a look waits for the GPU

Projection = Callable[[Tensor, Tensor], Tensor]
"""(differences [b, D], their row numbers [b]) → the part of them that was observed [b, D]: an
orthogonal projection of each row, such as a mask."""


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
    max_iter: int = 1000,
    tol: float = 1e-5,
) -> Encoded:
    """The codes that minimise `½‖P(x − s A)‖² + α S(s)`, each sample by itself.

    An accelerated gradient step of length 1/L, L = ‖A‖₂² exactly, then the penalty's own shrink;
    a sample's momentum starts afresh when it points uphill, and a sample whose excess is at most
    `tol` leaves the batch. Any device; float32 or float64, that of x.

    Args:
        project: P, what of a difference was observed; everything unless given.

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
    search = _Search(x, dictionary, penalty, project)
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
        self, x: Tensor, dictionary: Tensor, penalty: Penalty, project: Projection | None
    ) -> None:
        self.dictionary, self.penalty, self.project = dictionary, penalty, project
        self.curvature = spectral_square(dictionary)
        self.rows = torch.arange(len(x), device=x.device)
        self.x = x if project is None else project(x, self.rows)
        self.pull = self.x @ dictionary.T
        # A @ Aᵀ once is cheaper than A and Aᵀ in turn, unless latents far outnumber inputs.
        narrow = len(dictionary) <= 2 * dictionary.shape[1]
        self.gram = dictionary @ dictionary.T if project is None and narrow else None
        self.now = self.ahead = penalty.start(self.pull, self.curvature)
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
