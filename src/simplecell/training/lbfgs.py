"""L-BFGS: one accepted iteration a step, no evaluation repeated between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model import native
from simplecell.training.gradients import Evaluation
from simplecell.training.state import State, largest, shape_of, stacked, taken, taken_rows

HISTORY = 20
"""Pairs that are kept, *count*; each is two vectors as long as the weights."""

_IN_CACHE = 2**15
"""Numbers of a vector up to which the calls of the recursion take longer than its work."""


class Pair(NamedTuple):
    """One step of the parameters, the change of the gradient over it, and their product."""

    step: Tensor
    change: Tensor
    curvature: float


@dataclass
class Trial:
    """One point on the search line: step length, cost, slope along the direction.

    Its gradient is the trainer's own until the next evaluation, unless `kept`: each copy is as
    large as the weights.
    """

    length: float
    cost: float
    slope: float
    grad: Tensor
    evaluation: Evaluation

    def kept(self, place: Tensor) -> Trial:
        """The same with a gradient of its own, which is written to `place`."""
        return dataclasses.replace(self, grad=place.copy_(self.grad))


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
        history: int = HISTORY,
        tolerance: float = 1e-9,
    ) -> None:
        if history < 1:
            raise UsageError(f"history is {history}; L-BFGS must keep at least one pair")
        self.flat, self.grad, self.evaluate = flat, grad, evaluate
        self.history, self.tolerance = history, tolerance
        self.pairs: list[Pair] = []
        self._free: list[Tensor] = []
        """Vectors [n] to use again: given back to the system, they leave holes in its memory."""
        self.stalled, self.n_evaluations = 0, 0
        self.converged = False
        self.point: Trial | None = None

    def _room(self) -> Tensor:
        """A vector [n] to write into."""
        return self._free.pop() if self._free else torch.empty_like(self.flat)

    def _forget(self) -> None:
        """No pairs any longer."""
        for pair in self.pairs:
            self._free += [pair.step, pair.change]
        self.pairs.clear()

    def advance(self) -> Evaluation:
        """One accepted iteration; the evaluation at the new parameters."""
        start = self.point = self.point or self._begun()
        if self.converged:
            return start.evaluation
        direction = self._direction(start.grad)
        slope = float(direction @ start.grad)
        if slope >= 0:  # rounding spoilt the curvature pairs: begin again from steepest descent
            self._forget()
            torch.neg(start.grad, out=direction)
            slope = -float(start.grad @ start.grad)
        first = 1.0 if self.pairs else min(1.0, 1 / max(float(start.grad.abs().sum()), 1e-30))
        origin = self._room().copy_(self.flat)
        found = self._search(origin, direction, start, slope, first)
        self._free.append(origin)
        if found is None:
            self.flat.copy_(origin)
            self.converged = not self.pairs
            self._forget()
            self._free.append(direction)
            return start.evaluation
        torch.add(origin, direction, alpha=found.length, out=self.flat)
        # What nobody needs any longer becomes the pair: nothing of its size is allocated.
        step = direction.mul_(found.length)
        self._remember(step, torch.sub(found.grad, start.grad, out=start.grad))
        self._judge(start.cost, found)
        self.point = found
        return found.evaluation

    def _begun(self) -> Trial:
        """The present point, at the first step and at the first after `load_state_dict`."""
        counted = self.n_evaluations
        point = self._evaluate(0.0, None).kept(self._room())
        self.n_evaluations = counted or self.n_evaluations  # before it was cut off, it was counted
        return point

    def _evaluate(self, length: float, direction: Tensor | None) -> Trial:
        evaluation = self.evaluate()
        self.n_evaluations += 1
        slope = 0.0 if direction is None else float(direction @ self.grad)
        return Trial(length, float(evaluation.cost), slope, self.grad, evaluation)

    def _direction(self, grad: Tensor) -> Tensor:
        """Two-loop recursion: the approximate Newton direction."""
        direction = torch.neg(grad, out=self._room())
        if not self.pairs:
            return direction
        compiled = native.library(direction) if len(direction) <= _IN_CACHE else None
        if compiled is not None:
            steps, changes, curvatures = zip(*self.pairs, strict=True)
            return compiled.direct(steps, changes, curvatures, direction)
        alphas = []
        for pair in reversed(self.pairs):
            alpha = torch.dot(pair.step, direction).item() / pair.curvature
            direction.add_(pair.change, alpha=-alpha)
            alphas.append(alpha)
        newest = self.pairs[-1]
        direction.mul_(newest.curvature / float(newest.change @ newest.change))
        for pair, alpha in zip(self.pairs, reversed(alphas), strict=True):
            beta = torch.dot(pair.change, direction).item() / pair.curvature
            direction.add_(pair.step, alpha=alpha - beta)
        return direction

    def _remember(self, step: Tensor, change: Tensor) -> None:
        pair = Pair(step, change, float(step @ change))
        if not pair.curvature > 1e-10 * float(change @ change):
            self._free += [step, change]
            return
        if len(self.pairs) == self.history:
            oldest = self.pairs.pop(0)
            self._free += [oldest.step, oldest.change]
        self.pairs.append(pair)

    def _judge(self, before: float, found: Trial) -> None:
        fell = before - found.cost
        self.stalled = self.stalled + 1 if fell <= self.tolerance * abs(before) else 0
        flat_enough = largest(found.grad) <= self.tolerance
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
                return trial.kept(self._room() if low.grad is start.grad else low.grad)
            else:
                ahead = math.inf if high is None else high.length - low.length
                if trial.slope * ahead >= 0:
                    high = dataclasses.replace(low, grad=self.grad)
                low = trial.kept(self._room() if low.grad is start.grad else low.grad)
            length = _next_length(low, high)
            tiniest = torch.finfo(self.flat.dtype).eps * largest(origin)
            if high and abs(high.length - low.length) * largest(direction) <= tiniest:
                break
        if low.length > 0 and low.cost < start.cost:
            return low
        if low.grad is not start.grad:
            self._free.append(low.grad)
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, parameters and their gradient apart."""
        return {name: stacked(part) for name, part in self.live_state().items()}

    def live_state(self) -> dict[str, Tensor | list[Tensor]]:
        """The same without a copy: the history as lists of rows, which the next step replaces."""
        counts = [self.stalled, self.n_evaluations, int(self.converged)]
        none = self.flat.new_empty(0, len(self.flat))
        return {
            "steps": [pair.step for pair in self.pairs] or none,
            "changes": [pair.change for pair in self.pairs] or none,
            "curvatures": torch.tensor([p.curvature for p in self.pairs], dtype=torch.float64),
            "counts": torch.tensor(counts, dtype=torch.int64),
        }

    def load_state_dict(self, state: State, prefix: str = "") -> None:
        """Take up where `state_dict` left; names begin with the prefix.

        Raises:
            DataError: for a tensor that is missing or of another form.
        """
        self.point = None
        self._forget()
        counts = taken(state, f"{prefix}counts", (3,), torch.int64)
        self.stalled, self.n_evaluations, converged = counts.tolist()
        self.converged = bool(converged)
        n_pairs = self._n_pairs(state, prefix)
        curvatures = taken(state, f"{prefix}curvatures", (n_pairs,), torch.float64).tolist()
        steps, changes = (
            taken_rows(state, prefix + part, n_pairs, self.flat) for part in ("steps", "changes")
        )
        pairs = zip(steps, changes, curvatures, strict=True)
        here = self.flat.device
        self.pairs = [Pair(one.to(here), other.to(here), c) for one, other, c in pairs]

    def _n_pairs(self, state: State, prefix: str) -> int:
        """Pairs in a state: what two of their three parts say, so that the third is the odd one."""
        names = (f"{prefix}{part}" for part in ("steps", "changes", "curvatures"))
        lengths = sorted((*shape_of(state, name), 0)[0] for name in names if name in state)
        return min(lengths[len(lengths) // 2] if lengths else 0, self.history)


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
