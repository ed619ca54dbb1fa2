"""Whether a training learned its samples by heart."""

from __future__ import annotations

import math

from simplecell.doctor.finding import Finding, requested, setting
from simplecell.evaluate import Figures, evaluate
from simplecell.session import Session

WORSE = 2.0
"""Factor between the fvu of held-out samples and that of training ones."""
RISEN = 1.25
"""Factor between the held-out cost in the end and at its lowest: past what chance does."""
FEWEST = 100
"""Held-out samples from which on their cost says something."""


def overfit(session: Session, figures: Figures) -> list[Finding]:
    """A held-out cost that has long been rising, while the training's own falls."""
    trainer, held = session.trainer, session.held_out
    if held is None or held.n_samples < FEWEST or trainer.patience:
        return []
    costs = [
        (line["held_out_cost"], line["step"])
        for line in session.run.records()
        if line.get("held_out_cost") is not None
    ]
    if len(costs) < 3 or costs[-1][0] <= RISEN * (best := min(costs))[0]:
        return []
    new = evaluate(trainer.model, trainer.preprocess, held, session.held_out_targets).fvu
    if not new > WORSE * figures.fvu or not math.isfinite(new):
        return []
    lowest, step = best
    words = (
        f"the samples were learned by heart: fvu is {new:.3g} of held-out samples and "
        f"{figures.fvu:.3g} of training ones, and the held-out cost was lowest, {lowest:.4g}, at "
        f"step {step} (now {costs[-1][0]:.4g}); end there, take fewer latents, or "
        f"give it more data: {_shorter(session, step)}"
    )
    return [Finding("overfit", words)]


def _shorter(session: Session, step: int) -> str:
    if requested(session, "train", "steps") != "auto":
        return setting("train.steps", step)
    batch = min(session.recipe.optim.batch_size, session.source.n_samples)
    return setting("train.max_samples", step * batch)
