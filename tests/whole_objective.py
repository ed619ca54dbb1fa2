"""An objective over all samples at once, by autograd: what chunks and kernels must equal."""

from __future__ import annotations

from simplecell.training.term import Look


def value(objective, model, x, target):
    """The cost over the samples x [B, D]; differentiable."""
    objective.check(model)
    return cost_of(objective, Look(x, target, model(x, training=True), model))


def cost_of(objective, look):
    """The cost of what is seen."""
    return objective.cost({term.kind: term(look) for term in objective.active})
