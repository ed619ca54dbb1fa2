"""Value and gradient of an objective over all samples, exact over chunks; and their check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell import kernels
from simplecell.errors import UsageError
from simplecell.measures import (
    LogMean,
    average_activation,
    kl_sparsity,
    merge_means,
    squared_weights,
)
from simplecell.model import Autoencoder, Model
from simplecell.objective import KL, Look, Objective
from simplecell.optim import flatten


class Chunks(Protocol):
    """All samples as the model sees them, in pieces (x, target) that fit in memory."""

    n_samples: int

    def __len__(self) -> int:
        """Number of pieces."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Evaluation(NamedTuple):
    """The cost, its unweighted terms, and the mean code of each latent [M].

    Bounded codes are mapped to [0, 1], so that the mean compares with the target ρ.
    """

    cost: Tensor
    terms: dict[str, Tensor]
    mean_activation: Tensor


@torch.no_grad()
def average_over(model: Model, chunks: Chunks) -> LogMean:
    """ρ̂ of every latent over all samples: the first of the two passes of the exact method.

    Source: UFLDL, Autoencoders and sparsity ("scan twice"). Exact.
    """
    gain = model.activation.gain
    assert gain is not None, "Objective.check was not called"
    average, seen = None, 0
    for x, _ in chunks:
        part = average_activation(model.encode(x)[0], gain)
        seen += len(x)
        average = part if average is None else merge_means(average, part, len(x) / seen)
    assert average is not None, "no samples"
    return average


def fused(model: Model, objective: Objective) -> kernels.Classic | None:
    """The kernel for this model and objective, or None: autograd must do."""
    if not isinstance(model, Autoencoder):
        return None
    kinds = {term.kind for term in objective.active}
    output, activation = model.output, model.activation
    if (
        not kinds <= {"reconstruction", "kl", "decay"}
        or activation.kind not in kernels.FORWARD
        or output not in kernels.FORWARD
        or model.pre_bias
        or model.centred
    ):
        return None
    low, high = activation.bounds or (0.0, 1.0)
    reconstruction, kl = objective.find("reconstruction"), objective.find("kl")
    return kernels.Classic(
        encoder=model.encoder,
        decoder=model.decoder,
        bias=model.bias,
        offset=model.offset,
        activation=activation.kind,
        output=output,
        reconstruction=reconstruction.weight if reconstruction else 0.0,
        kl=kl.weight if kl else 0.0,
        target=kl.target if isinstance(kl, KL) else 0.5,
        gain=activation.gain or 1.0,
        low=low,
        width=high - low,
    )


class Gradient:
    """Calling it evaluates the objective over chunks and fills the parameters' `.grad`.

    Args:
        fast: use the fused kernel where there is one; otherwise autograd, to which it is equal.

    Raises:
        UsageError: when a term has no meaning for the model.
    """

    def __init__(self, model: Model, objective: Objective, *, fast: bool = True) -> None:
        objective.check(model)
        self.model, self.objective = model, objective
        self.kernel = fused(model, objective) if fast else None

    def __call__(
        self,
        chunks: Chunks,
        average: LogMean | None = None,
        generator: torch.Generator | None = None,
    ) -> Evaluation:
        """Cost and gradient; `average` replaces the samples' own ρ̂ (a running one).

        The generator is for activations that draw noise.
        """
        if average is None and self.objective.of_mean and len(chunks) > 1:
            average = average_over(self.model, chunks)
        if self.kernel is None:
            return self._by_autograd(chunks, average, generator)
        return self._by_kernel(self.kernel, chunks, average)

    def _by_kernel(
        self, kernel: kernels.Classic, chunks: Chunks, average: LogMean | None
    ) -> Evaluation:
        decay = self.objective.find("decay")
        kernel.begin(decay.weight if decay else 0.0)
        squared: Tensor | float = 0.0
        code_sum: Tensor | float = 0.0
        for x, target in chunks:
            error, codes, average = kernel.add(x, target, chunks.n_samples, average)
            squared, code_sum = squared + error, code_sum + codes
        terms = {
            term.kind: torch.as_tensor(squared) / chunks.n_samples
            if term.kind == "reconstruction"
            else self._of_parameters(term.kind, average)
            for term in self.objective.active
        }
        mean = (torch.as_tensor(code_sum) / chunks.n_samples - kernel.low) / kernel.width
        return Evaluation(self.objective.cost(terms), terms, mean)

    @torch.no_grad()
    def _of_parameters(self, kind: str, average: LogMean | None) -> Tensor:
        """Terms that need no samples: decay, and KL once ρ̂ is known."""
        if kind == "decay":
            return squared_weights(*self.model.matrices()).double()
        kl = self.objective.find("kl")
        assert isinstance(kl, KL)
        assert average is not None
        return kl_sparsity(kl.target, average).sum().double()

    @torch.no_grad()
    def value(self, chunks: Chunks) -> Evaluation:
        """The cost without its gradient, for held-out samples."""
        average = None
        if self.objective.of_mean and len(chunks) > 1:
            average = average_over(self.model, chunks)
        return self._plain(chunks, average, backward=False)

    def _by_autograd(
        self, chunks: Chunks, average: LogMean | None, generator: torch.Generator | None
    ) -> Evaluation:
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.zero_()
        return self._plain(chunks, average, backward=True, generator=generator)

    def _plain(
        self,
        chunks: Chunks,
        average: LogMean | None,
        *,
        backward: bool,
        generator: torch.Generator | None = None,
    ) -> Evaluation:
        totals: dict[str, Tensor] = {}
        codes: Tensor | float = 0.0
        for x, target in chunks:
            output = self.model(x, training=backward, generator=generator)
            share = len(x) / chunks.n_samples
            look = Look(x, target, output, self.model, average, share)
            loss: Tensor | float = 0.0
            for term in self.objective.active:
                once = term.of_weights or term.of_mean
                if term.of_weights and term.kind in totals:
                    continue
                value = term(look)
                loss = loss + term.weight * value
                before = 0.0 if once else totals.get(term.kind, 0.0)
                totals[term.kind] = before + value.detach().double()
            if backward:
                torch.as_tensor(loss).backward()
            codes = codes + _mapped(self.model, output.code.dense.detach()).sum(0)
        mean = torch.as_tensor(codes) / chunks.n_samples
        return Evaluation(self.objective.cost(totals), totals, mean)


def _mapped(model: Model, code: Tensor) -> Tensor:
    low, high = model.activation.bounds or (0.0, 1.0)
    return (code - low) / (high - low)


class Whole:
    """All samples in memory as one chunk; the target is x itself unless given."""

    def __init__(self, x: Tensor, target: Tensor | None = None) -> None:
        self.x, self.target, self.n_samples = x, x if target is None else target, len(x)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.x, self.target


class GradientCheck(NamedTuple):
    """Analytic against numerical gradient."""

    difference: float
    """`‖numerical − analytic‖ / ‖numerical + analytic‖`: below 1e-9 in the notes' exercises."""
    analytic: NDArray[np.float64]
    numerical: NDArray[np.float64]


CostFunction = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


def check_gradient(
    function: CostFunction, at: Sequence[float] | NDArray[np.float64], *, epsilon: float = 1e-3
) -> GradientCheck:
    """Compare the gradient that `function` claims with central differences.

    `g_i ≈ (8 (J₊₁ − J₋₁) − (J₊₂ − J₋₂)) / 12ε` with `J_k = J(θ + kε e_i)`. Costs four evaluations
    per parameter: use a small model. Source: UFLDL, Gradient checking. Differs: of fourth order
    in ε, since the notes' own differences (of second order, ε = 1e-4) err by about the 1e-9 that
    they are to show.

    Args:
        function: θ [n] → (cost, gradient [n]).
        at: the point θ.

    >>> h = lambda x: (x[0] ** 2 + 3 * x[0] * x[1], np.array([2 * x[0] + 3 * x[1], 3 * x[0]]))
    >>> check_gradient(h, [4.0, 10.0]).analytic
    array([38., 12.])
    """
    point = np.array(at, dtype=float)
    analytic = np.asarray(function(point.copy())[1], dtype=float)
    if analytic.shape != point.shape:
        raise UsageError(
            f"the gradient has shape {analytic.shape}, but the point has {point.shape}; "
            "function must return (cost, gradient) with one entry per parameter"
        )
    numerical = np.empty_like(point)
    for i in range(point.size):

        def along(k: int, i: int = i) -> float:
            moved = point.copy()
            moved.flat[i] += k * epsilon
            return function(moved)[0]

        numerical.flat[i] = (8 * (along(1) - along(-1)) - (along(2) - along(-2))) / (12 * epsilon)
    scale = float(np.linalg.norm(numerical + analytic)) or 1.0
    return GradientCheck(float(np.linalg.norm(numerical - analytic)) / scale, analytic, numerical)


def cost_function(
    model: Model, objective: Objective, x: Tensor, *, fast: bool = True
) -> tuple[CostFunction, NDArray[np.float64]]:
    """The objective over x [B, D] as a function of all parameters, and their present values.

    The order is that of `model.parameters()`. For `check_gradient`, which needs float64.
    """
    flat, grad = flatten(model)
    gradient, chunks = Gradient(model, objective, fast=fast), Whole(x)

    def function(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        flat.copy_(torch.from_numpy(theta))
        evaluation = gradient(chunks)
        return float(evaluation.cost), grad.double().numpy().copy()

    return function, flat.double().numpy().copy()
