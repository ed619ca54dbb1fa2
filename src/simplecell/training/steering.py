"""What moves while training goes on, so that as many latents are active as were asked for.

The learning rate and penalties follow schedules; a controller holds l0 during training, and at the
end held-out samples have the last word on it (`calibrate`). A dictionary fits the samples it
learned from better than others, and in small data new samples excite more latents: on 16,000
embeddings a twelfth more. What is promised (`target_l0`) is promised of new samples. Source: ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.autoencoder import Model
from simplecell.model.passes import Passes
from simplecell.training.prepared import Prepared
from simplecell.training.term import Moment

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: min(1.0, 5 * (1 - progress)),
    "trapezoid": lambda progress: min(1.0, 100 * progress + 0.01, 5 * (1 - progress)),
}
"""Fraction of the training done → factor on the learning rate; linear falls over the last fifth,
trapezoid rises over the first hundredth as well."""

WARM_UP = 0.05


class Controller:
    """Brings the active latents of a sample to `target` by the end, whatever the codes are.

    For ReLU and gated codes it moves the coefficient of the L1 term: its logarithm follows the
    logarithmic excess of l0 by a proportional and an integral part. For JumpReLU codes it moves
    the `push` of the l0 term, the integral of its relative excess (method of multipliers; Hestenes
    1969). What is wanted falls from `eased` times the target to the target itself over the first
    part of the training. `observe_new` makes it the l0 of samples not trained on.
    Source: ours, from textbook control.

    Args:
        target: l0 wanted, *count*.
        moves: "l1" or "l0", the term.
    """

    proportional, integral, memory = 0.5, 0.01, 0.1
    most = 1.0
    """Largest excess that is looked at, in logarithms: overshoot costs more than patience."""
    near = 0.3
    """Excess below which the push learns: far from the target the square alone is enough."""
    eased, easing = 4.0, 0.4
    furthest = 0.5
    """Of the l0 of new samples beyond that of training, in logarithms."""

    def __init__(self, target: float, moves: str, like: Tensor) -> None:
        if not 0 < target < float("inf"):
            raise UsageError(
                f"target_l0 is {target:g}; the number of active latents a sample must be above 0"
            )
        self.target, self.moves = target, moves
        self.state = torch.zeros(4, dtype=torch.float64, device=like.device)
        """Smoothed excess, sum of it, whether anything was seen; by how much the l0 of new samples
        is beyond that of training, a logarithm."""

    def ease(self, progress: float) -> float:
        """What the target is multiplied by at this fraction of the training."""
        return float(self.eased ** max(0.0, 1 - progress / self.easing))

    @torch.no_grad()
    def observe(self, l0: Tensor, progress: float) -> None:
        """Take in the l0 of a step."""
        ratio = l0.double() / (self.target * self.ease(progress))
        smooth, total, seen, beyond = self.state.unbind()
        excess = (ratio.clamp_min(1e-6).log() + beyond).clamp(-self.most, self.most)
        smooth = smooth + torch.where(seen > 0, self.memory, 1.0) * (excess - smooth)
        learned = self.integral * smooth
        if self.moves == "l0":
            learned = torch.where(smooth.abs() < self.near, learned, 0.0)
        self.state = torch.stack([smooth, total + learned, torch.ones_like(seen), beyond])

    @torch.no_grad()
    def observe_new(self, l0: float, progress: float) -> None:
        """Take in the l0 of samples that were not trained on."""
        smooth, _, seen, beyond = self.state.tolist()
        if not seen or l0 <= 0 or abs(smooth) >= self.near:
            return
        trained = math.log(self.target * self.ease(progress)) + smooth - beyond
        found = max(-self.furthest, min(self.furthest, math.log(l0) - trained))
        self.state[3] = 0.5 * (beyond + found)

    @property
    def factors(self) -> dict[str, Tensor]:
        """On the weight of the L1 term, if that is what it moves."""
        if self.moves != "l1":
            return {}
        return {"l1": (self.state[1] + self.proportional * self.state[0]).exp()}

    def moment(self, progress: float) -> Moment:
        """What terms are told of it at this fraction of the training."""
        if self.moves == "l1":
            return Moment(factors=self.factors)
        return Moment(push=self.state[1], ease=self.ease(progress))


def warm_up(progress: float) -> Moment:
    """Where nothing is steered: the L1 term grows to its weight over the first twentieth."""
    return Moment(factors={"l1": min(1.0, (progress + 0.001) / WARM_UP)})


NUMBERS = 2**24
"""Values before the activation that are looked at, at most, *count*."""


@torch.no_grad()
def l0_of(model: Model, held: Prepared) -> tuple[float, float]:
    """Active latents a sample in use, *count*: mean over the held-out samples, standard error."""
    passes = Passes(model)
    parts = (part for x, _ in held for part in x.split(passes.n_rows))
    counts = torch.cat([passes.encode(part)[1].l0().double() for part in parts])
    counts = model.ranks.total(counts)
    return float(counts.mean()), float(counts.std(correction=0)) / math.sqrt(len(counts))


@torch.no_grad()
def calibrate(model: Model, held: Prepared, wanted: float | None = None) -> None:
    """Let the activation set its thresholds by held-out samples, to `wanted` active latents."""
    most = max(1, NUMBERS // model.ranks.all_latents(model.n_latents))
    rows, count = [], 0
    for x, _ in held:
        rows.append(model.encode(x[: most - count])[0])
        count += len(rows[-1])
        if count >= most:
            break
    model.activation.calibrate(torch.cat(rows), wanted)
