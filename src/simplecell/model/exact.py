"""Exact codes: what a trained dictionary can say of a sample, found by optimisation.

    which:     min over code ≥ 0 of  ½ ‖x − offset − Σ_i code_i atom_i‖² + α Σ_i code_i ‖atom_i‖
    how much:  the same over those that are active there, with α = 0

of signed codes over all codes, with |code_i| in the penalty.

An encoder guesses both in one product, and wastes part of what the dictionary has learned. The
second step undoes that α makes every code smaller: at the same number of active latents the error
is a half to a quarter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from simplecell.errors import UsageError, real
from simplecell.model.autoencoder import Autoencoder, Layer, Model
from simplecell.model.code_step import L1, encode
from simplecell.model.codes import Codes

SUITED = (
    "one layer with sparse codes (ReLU, topk, abstopk, batchtopk, jumprelu, gated) and a linear "
    "output that reconstructs its own inputs"
)
TOLERANCE = 1e-5
"""Of the duality gap, as a share of ½‖x‖²: at ten times this a latent of 0 is taken for one that is
active in one sample of sixty, and least squares then makes it large."""
_ITERATIONS = 2000
_CONJUGATE, _FLAT = 200, 1e-10
"""Steps at most, and a squared gradient, as a share of ‖x‖², that is small enough."""
_ROUNDS, _ROUGHLY = 16, 1e-4
"""Halvings of what α may be, and the gap while it is looked for."""
_NEAR = 0.02
"""How near to the wanted l0 is near enough, relative."""


class Exact(Model):
    """An autoencoder whose codes are exact on its dictionary; all else is its own.

    Non-negative lasso by FISTA to a duality gap of 1e-5 of ½‖x‖², begun at the encoder's code;
    then least squares over its active latents by conjugate gradients. Source: Tibshirani 1996;
    Meinshausen 2007, the relaxed lasso with φ = 0. Differs: a latent that least squares would make
    negative leaves, and does not return, unless codes are signed.

    Args:
        inner: what was trained: one layer, sparse codes, a linear output.
        alpha: α, in units of the prepared inputs: a latent is active where its unit atom
            correlates with what is left by more.
        tolerance, max_iter: of the lasso, where less than all that is worth while will do.

    Raises:
        UsageError: for another kind of model, or α that is no number above 0.
    """

    def __init__(
        self,
        inner: Model,
        alpha: float,
        *,
        tolerance: float = TOLERANCE,
        max_iter: int = _ITERATIONS,
    ) -> None:
        super().__init__()
        real("alpha", alpha, above=0)
        self.tolerance, self.max_iter = tolerance, max_iter
        self.inner, self.alpha = suited(inner), float(alpha)
        self.activation, self.output = inner.activation, inner.output

    @property
    def n_inputs(self) -> int:
        return self.inner.n_inputs

    @property
    def n_latents(self) -> int:
        return self.inner.n_latents

    @property
    def layers(self) -> Sequence[Layer]:
        return self.inner.layers

    @torch.no_grad()
    def encode(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        """(pre, code) of x [B, D]: what stands before the encoder's activation, and exact codes."""
        pre, guess = self.inner.encode(x)
        return pre, Codes(self._best(x, guess.dense))

    def _best(self, x: Tensor, guess: Tensor) -> Tensor:
        atoms, lengths = _unit(self.inner)
        x = x - self.inner.offset.detach()
        one_sided = self.activation.one_sided
        found = encode(
            *(x, atoms, L1(self.alpha, positive=one_sided)),
            start=guess * lengths,
            max_iter=self.max_iter,
            tol=self.tolerance,
        )
        code = refitted(x, atoms, found.codes, positive=one_sided)
        return torch.where(lengths > 0, code / lengths, 0)

    def decode_raw(self, code: Codes) -> Tensor:
        return self.inner.decode_raw(code)

    def directions(self) -> Tensor:
        return self.inner.directions()

    def atoms(self) -> Tensor:
        return self.inner.atoms()

    def weights(self) -> dict[str, Tensor]:
        return self.inner.weights()


def refitted(x: Tensor, atoms: Tensor, code: Tensor, *, positive: bool = True) -> Tensor:
    """The code of least squared error over the latents that are active in `code`, [B, M].

    x [B, D], atoms [M, D]. Conjugate gradients on each sample's own active latents; those that come
    out negative, where codes must be `positive`, are made inactive, and the rest found anew, until
    none does.
    """
    active = code != 0
    while True:
        code = _least_squares(x, atoms, code, active)
        below = code < 0
        if not positive or not bool(below.any()):
            return code
        active, code = active & ~below, code.clamp_min(0)


def _least_squares(x: Tensor, atoms: Tensor, code: Tensor, active: Tensor) -> Tensor:
    residual = (x - code @ atoms) @ atoms.T * active
    step, size = residual, residual.square().sum(1, keepdim=True)
    enough = _FLAT * x.square().sum(1, keepdim=True)
    for _ in range(_CONJUGATE):
        if bool((size <= enough).all()):
            break
        bent = (step @ atoms) @ atoms.T * active
        # A sample that has arrived stays where it is: 0 over 0 otherwise.
        length = torch.where(size > enough, size / (step * bent).sum(1, keepdim=True), 0)
        code, residual = code + length * step, residual - length * bent
        before, size = size, residual.square().sum(1, keepdim=True)
        step = residual + torch.where(before > 0, size / before, 0) * step
    return code


def suited(model: Model) -> Autoencoder:
    """The model, if codes of it can be exact. Raises UsageError for others."""
    if (
        not isinstance(model, Autoencoder)
        or not model.activation.sparse
        or model.output != "linear"
        or model.n_outputs is not None
    ):
        raise UsageError(f"exact codes are for {SUITED}; take codes of the encoder")
    return model


def _unit(model: Autoencoder) -> tuple[Tensor, Tensor]:
    """Atoms of length 1 [M, D], and how long they are [M]; those of length 0 stay."""
    atoms = model.decoder.detach()
    lengths = atoms.norm(dim=1)
    return atoms / lengths.where(lengths > 0, 1)[:, None], lengths


@torch.no_grad()
def alpha_for(
    model: Model, x: Tensor, wanted: float, *, near: float = _NEAR, max_iter: int = _ITERATIONS
) -> float:
    """The α at which exact codes of x [B, D] have `wanted` active latents each, mean.

    By bisection of its logarithm, to `near` of `wanted`, or as near as α comes, of the lasso's
    codes.

    Raises:
        UsageError: for a model that has no exact codes, and samples that are all at the offset.
    """
    inner = suited(model)
    real("the number of active latents", wanted, above=0)
    atoms, _ = _unit(inner)
    x = x - inner.offset
    one_sided = inner.activation.one_sided
    pull = x @ atoms.T
    most = float((pull if one_sided else pull.abs()).amax())
    if not most > 0:
        raise UsageError("no atom points to any of these samples, so that all codes are 0")
    high, low = math.log(most), math.log(most) - math.log(1e6)
    middle, code = (high + low) / 2, None
    for _ in range(_ROUNDS):
        middle = (high + low) / 2
        penalty = L1(math.exp(middle), positive=one_sided)
        code = encode(x, atoms, penalty, start=code, max_iter=max_iter, tol=_ROUGHLY).codes
        l0 = float((code != 0).sum(1).double().mean())
        if abs(l0 - wanted) <= near * wanted:
            break
        low, high = (middle, high) if l0 > wanted else (low, middle)
    return math.exp(middle)
