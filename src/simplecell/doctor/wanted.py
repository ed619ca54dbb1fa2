"""What was asked of a training and was not reached: an l0, a mean activation."""

from __future__ import annotations

import math

from simplecell.doctor.case import Case
from simplecell.doctor.finding import Finding, requested, setting
from simplecell.evaluate import Figures
from simplecell.session import Session

MISSED = 0.05
"""Distance of l0 from its target, relative: what target_l0 promises."""
RAN_AWAY, L1_WEIGHT = 100.0, 1.0
"""Factor on the l1 weight, either way, with the target still not reached; and the weight of all
named recipes, from which the coefficient of prepared data is never that far."""
LONGER, FAR = 4, 6
"""Lengths of the training that brought l0 to its target in one go on planted data; and of what a
mean activation lacks at its last pace, for it slows down."""
HALF = 0.5
"""Share of the latents that are active where nothing holds them down: half of them, by symmetry."""
KL = 2.0
"""Factor between mean activation and its target: reconstruction always pulls a little."""
KL_WEIGHT = 1.0
"""Weight of the kl term that has held the target in all of the named recipes."""
MOVING = 0.05
"""Share of itself by which a mean activation still fell in the last quarter: it is on its way."""


def weight(case: Case) -> list[Finding]:
    """An l1 weight of the user's own that switches everything off, or nothing."""
    if case.session.recipe.target_l0 or "l1" not in case.terms:
        return []
    if 1 <= case.l0 <= HALF * len(case.density):
        return []
    what = "switches nearly all latents off" if case.l0 < 1 else "leaves most latents on"
    words = (
        f"l0 is {case.l0:.3g}: an l1 weight of {case.terms['l1']['weight']:g} {what}; say how many "
        f"may be active, and the weight follows: {setting('model.target_l0', 'auto')} "
        f"{setting('objective.l1.weight', L1_WEIGHT)}"
    )
    return [Finding("saturated", words)]


def target(case: Case) -> list[Finding]:
    """An l0 that is not what was asked for."""
    trainer, wanted, l0 = case.session.trainer, case.session.recipe.target_l0, case.l0
    if not wanted or abs(l0 - wanted) <= MISSED * wanted + 2 * case.error:
        return []
    state, coefficient = _coefficient(case)
    beyond = trainer.model.activation.kind == "topk" or wanted > HALF * len(case.density)
    if case.blame:
        cure = case.blame
    elif 1 <= l0 < wanted and beyond:
        cure = f"out of reach, so ask for less: {setting('model.target_l0', int(l0))}"
    else:
        cure = coefficient or f"train for longer: {_longer(case.session)}"
    return [Finding("saturated", f"l0 is {l0:.3g}, but target_l0 is {wanted:g}{state}; {cure}")]


def _coefficient(case: Case) -> tuple[str, str]:
    """Where the controller has brought its coefficient, and the cure if that is out of bounds."""
    controller = case.session.trainer.controller
    if controller is None:
        return "", ""
    if "l1" not in controller.factors:
        return f" (the push of the l0 term stands at {float(controller.push):.3g})", ""
    factor, weight = float(controller.factors["l1"]), float(case.terms["l1"]["weight"])
    words = f"{factor:.3g} times its weight"
    if 1 / RAN_AWAY <= factor <= RAN_AWAY:
        return f" (the coefficient of the l1 term stands at {words})", ""
    wrong = weight < L1_WEIGHT if factor > 1 else weight > L1_WEIGHT
    nearer = L1_WEIGHT if wrong else float(f"{weight * factor:.3g}")
    cure = f"begin nearer to where it went: {setting('objective.l1.weight', nearer)}"
    return f" (the coefficient of the l1 term ran away to {words})", cure


def _longer(session: Session) -> str:
    if requested(session, "train", "steps") != "auto":
        return setting("train.steps", LONGER * session.recipe.n_steps)
    batch = min(session.recipe.optim.batch_size, session.source.n_samples)
    return setting("train.max_samples", LONGER * session.recipe.n_steps * batch)


def activity(session: Session, figures: Figures) -> list[Finding]:
    """A mean activation that is not what the kl term asks for."""
    target, mean = session.trainer.objective.target, float(figures.mean_activation.mean())
    if target is None or target / KL <= mean <= KL * target:
        return []
    words = f"the mean activation is {mean:.3g}, but kl.target is {target:g}"
    missing = _missing_steps(session, target, mean)
    if missing:
        steps = setting("train.steps", session.recipe.n_steps + missing)
        words += f", and it is still on its way; train for longer: {steps}"
    else:
        weight = max(KL_WEIGHT, 10 * float(session.recipe.objective["kl"]["weight"]))
        words += (
            ": the kl term is too weak to hold it; raise its weight: "
            f"{setting('objective.kl.weight', weight)}"
        )
    return [Finding("saturated", words)]


def _missing_steps(session: Session, target: float, mean: float) -> int:
    """Steps that the mean activation needs at its last pace, `FAR` times over; or 0."""
    n_steps = session.trainer.n_steps
    story: list[tuple[int, float]] = [
        (line["step"], line["mean_activation"]["mean"]) for line in session.run.records()
    ]
    late = [(step, value) for step, value in story if step >= 0.75 * n_steps]
    if len(late) < 2 or session.trainer.stopped == "converged":
        return 0
    (first, before), (last, after) = late[0], late[-1]
    moved = (before - after) if mean > target else (after - before)
    if moved <= MOVING * before:
        return 0
    return max(n_steps, math.ceil(FAR * abs(mean - target) * (last - first) / moved))
