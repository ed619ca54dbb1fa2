"""An objective over all samples at once, by autograd: what chunks and kernels must equal."""

from __future__ import annotations

from simplecell.training.objective import Look


def value(objective, model, x, target):
    """The cost over the samples x [B, D]; differentiable."""
    objective.check(model)
    return objective.cost(objective(Look(x, target, model(x, training=True), model)))
