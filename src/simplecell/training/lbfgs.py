"""L-BFGS: one accepted iteration a step, no evaluation repeated between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.training.gradients import Evaluation


class Pair(NamedTuple):
    """One step of the parameters, the change of the gradient over it, and their product."""

    step: Tensor
    change: Tensor
    curvature: float


@dataclass
class Trial:
    """One point on the search line: step length, cost, slope along the direction."""

    length: float
    cost: float
    slope: float
    grad: Tensor
    evaluation: Evaluation


class LBFGS:
    """Limited-memory BFGS with a strong-Wolfe line search; one `advance` is one accepted iteration.

    Args:
        flat: the parameters, [n], changed in place.
        grad: their gradient, [n], filled by `evaluate`.
        evaluate: cost at the present parameters, and their gradient into `grad`.
        history: pairs kept.
        tolerance: converged when the cost fell by less than this fraction of itself in each of
            three iterations, or the largest gradient entry is below it.

    No evaluation is repeated between steps, and all state is tensors: resuming is bit-exact.
    Source: Nocedal & Wright 2006, algorithms 3.5, 3.6 and 7.4. Exact, save a slack of a few
    roundings of the cost in the sufficient-decrease test (needed in float32).
    """

    sufficient, curvature, patience, max_trials = 1e-4, 0.9, 3, 25

    def __init__(
        self,
        flat: Tensor,
        grad: Tensor,
        evaluate: Callable[[], Evaluation],
        *,
        history: int = 20,
        tolerance: float = 1e-9,
    ) -> None:
        if history < 1:
            raise UsageError(f"history is {history}; L-BFGS must keep at least one pair")
        self.flat, self.grad, self.evaluate = flat, grad, evaluate
        self.history, self.tolerance = history, tolerance
        self.pairs: list[Pair] = []
        self.stalled, self.n_evaluations = 0, 0
        self.converged = False
        self.point: Trial | None = None

    def advance(self) -> Evaluation:
        """One accepted iteration; the evaluation at the new parameters."""
        if self.point is None:  # the first step, or the first after `load_state_dict`
            self.point = self._evaluate(0.0, None)
        if self.converged:
            return self.point.evaluation
        start = self.point
        direction = self._direction(start.grad)
        slope = float(direction @ start.grad)
        if slope >= 0:  # rounding spoilt the curvature pairs: begin again from steepest descent
            self.pairs.clear()
            direction, slope = -start.grad, -float(start.grad @ start.grad)
        first = 1.0 if self.pairs else min(1.0, 1 / max(float(start.grad.abs().sum()), 1e-30))
        origin = self.flat.clone()
        found = self._search(origin, direction, start, slope, first)
        if found is None:
            self.flat.copy_(origin)
            self.converged = not self.pairs
            self.pairs.clear()
            return start.evaluation
        torch.add(origin, direction, alpha=found.length, out=self.flat)
        self._remember(direction * found.length, found.grad - start.grad)
        self._judge(start.cost, found)
        self.point = found
        return found.evaluation

    def _evaluate(self, length: float, direction: Tensor | None) -> Trial:
        evaluation = self.evaluate()
        self.n_evaluations += 1
        slope = 0.0 if direction is None else float(direction @ self.grad)
        return Trial(length, float(evaluation.cost), slope, self.grad.clone(), evaluation)

    def _direction(self, grad: Tensor) -> Tensor:
        """Two-loop recursion: the approximate Newton direction."""
        direction = -grad
        alphas = []
        for pair in reversed(self.pairs):
            alpha = torch.dot(pair.step, direction).item() / pair.curvature
            direction.add_(pair.change, alpha=-alpha)
            alphas.append(alpha)
        if self.pairs:
            newest = self.pairs[-1]
            direction.mul_(newest.curvature / float(newest.change @ newest.change))
        for pair, alpha in zip(self.pairs, reversed(alphas), strict=True):
            beta = torch.dot(pair.change, direction).item() / pair.curvature
            direction.add_(pair.step, alpha=alpha - beta)
        return direction

    def _remember(self, step: Tensor, change: Tensor) -> None:
        pair = Pair(step, change, float(step @ change))
        if not pair.curvature > 1e-10 * float(change @ change):
            return
        if len(self.pairs) == self.history:
            self.pairs.pop(0)
        self.pairs.append(pair)

    def _judge(self, before: float, found: Trial) -> None:
        fell = before - found.cost
        self.stalled = self.stalled + 1 if fell <= self.tolerance * abs(before) else 0
        flat_enough = float(found.grad.abs().max()) <= self.tolerance
        self.converged = flat_enough or self.stalled >= self.patience

    def _search(
        self, origin: Tensor, direction: Tensor, start: Trial, slope: float, first: float
    ) -> Trial | None:
        """A step length that satisfies the strong Wolfe conditions, or the best decrease found."""
        slack = 4 * torch.finfo(self.flat.dtype).eps * abs(start.cost)
        low = Trial(0.0, start.cost, slope, start.grad, start.evaluation)
        high: Trial | None = None
        length = first
        for _ in range(self.max_trials):
            torch.add(origin, direction, alpha=length, out=self.flat)
            trial = self._evaluate(length, direction)
            enough = trial.cost <= start.cost + self.sufficient * length * slope + slack
            if not math.isfinite(trial.cost) or not enough or trial.cost > low.cost + slack:
                high = trial
            elif abs(trial.slope) <= -self.curvature * slope:
                return trial
            else:
                ahead = math.inf if high is None else high.length - low.length
                if trial.slope * ahead >= 0:
                    high = low
                low = trial
            length = _next_length(low, high)
            if high is not None and abs(high.length - low.length) * float(
                direction.abs().max()
            ) <= torch.finfo(self.flat.dtype).eps * float(origin.abs().max()):
                break
        return low if low.length > 0 and low.cost < start.cost else None

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, parameters and their gradient apart."""
        counts = [self.stalled, self.n_evaluations, int(self.converged)]
        rows = self.flat.new_empty(2, len(self.pairs), len(self.flat))
        for i, pair in enumerate(self.pairs):
            rows[0, i], rows[1, i] = pair.step, pair.change
        return {
            "steps": rows[0].clone(),
            "changes": rows[1].clone(),
            "curvatures": torch.tensor([p.curvature for p in self.pairs], dtype=torch.float64),
            "counts": torch.tensor(counts, dtype=torch.int64),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up where `state_dict` left."""
        self.point = None
        self.stalled, self.n_evaluations, converged = state["counts"].tolist()
        self.converged = bool(converged)
        steps, changes = (state[name].to(self.flat).unbind() for name in ("steps", "changes"))
        curvatures = state["curvatures"].tolist()
        self.pairs = [Pair(*pair) for pair in zip(steps, changes, curvatures, strict=True)]


def _next_length(low: Trial, high: Trial | None) -> float:
    """Cubic interpolation inside the bracket, kept off its ends; before one is found, 4 times."""
    if high is None:
        return 4 * low.length if low.length else 1.0
    if not math.isfinite(high.cost):
        return low.length + 0.1 * (high.length - low.length)
    left, right = (low, high) if low.length < high.length else (high, low)
    gap = right.length - left.length
    d1 = left.slope + right.slope - 3 * (left.cost - right.cost) / (left.length - right.length)
    square = d1 * d1 - left.slope * right.slope
    middle = (left.length + right.length) / 2
    if square >= 0:
        d2 = math.sqrt(square)
        bottom = right.slope - left.slope + 2 * d2
        if bottom:
            middle = right.length - gap * ((right.slope + d2 - d1) / bottom)
    return min(max(middle, left.length + 0.1 * gap), right.length - 0.1 * gap)
