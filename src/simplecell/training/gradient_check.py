"""Is a gradient the gradient? Central differences beside what a function claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.autoencoder import Model
from simplecell.training.gradients import Gradient, Whole
from simplecell.training.objective import Objective
from simplecell.training.weights import flatten


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
