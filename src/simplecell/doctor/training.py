"""What a training that came to its end shows."""

from __future__ import annotations

from simplecell.doctor.case import Case, l0_of_new
from simplecell.doctor.finding import Finding, look
from simplecell.doctor.inputs import sizes
from simplecell.doctor.latents import dead, duplicates, thresholds
from simplecell.doctor.overfit import overfit
from simplecell.doctor.wanted import activity, target, weight
from simplecell.evaluate import Figures, evaluate
from simplecell.model import Autoencoder
from simplecell.session import Session


def examine(session: Session, figures: Figures | None = None) -> list[Finding]:
    """What a training that came to its end shows; changes nothing.

    `figures` are those of the training samples; without them the data are read once more. A
    training that was cut off shows nothing yet. Only causes are told where they explain the rest.
    """
    trainer, model = session.trainer, session.trainer.model
    if trainer.stopped is None and trainer.n_steps < session.recipe.n_steps:
        return []
    figures = figures or evaluate(model, trainer.preprocess, session.source, session.targets)
    density, l0 = figures.density, figures.l0
    single = isinstance(model, Autoencoder) and model.activation.sparse
    if not single or density is None or l0 is None:
        return [*activity(session, figures), *overfit(session, figures)]
    x = look(session)
    unprepared = [finding.words.rpartition("; ")[2] for finding in sizes(session, x)]
    blame = f"the inputs are the likely cause, {unprepared[0]}" if unprepared else ""
    case = Case(session, figures.n_samples, density, *l0_of_new(session, l0), blame)
    if cause := weight(case) or thresholds(session, x):
        return cause
    return [*dead(case), *target(case), *duplicates(case), *overfit(session, figures)]
