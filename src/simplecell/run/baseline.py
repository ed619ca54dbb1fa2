"""PCA beside every run: what as many principal components leave unexplained of the same samples."""

from __future__ import annotations

import torch

from simplecell.model.measures import fvu
from simplecell.preprocess.affine import PCA
from simplecell.preprocess.moments import Moments
from simplecell.run.directory import finite
from simplecell.run.info import OfComponents
from simplecell.training.prepared import Prepared

MOST_INPUTS = 2048
"""Beyond them the covariance of 65,536 samples takes minutes; `--recipe pca` makes it for whom it
is worth that."""
MODEST_INPUTS = 1024
"""The same where the recipe bounds the memory: six matrices of so many inputs are 50 MB."""


def moments_of(samples: Prepared, most: int = MOST_INPUTS) -> Moments | None:
    """Mean and covariance of prepared samples; None where there are too many inputs, or targets."""
    if samples.targets is not None or samples.n_inputs > most:
        return None
    moments = Moments((x.cpu() for x, _ in samples), full=True)
    moments.share(samples.ranks)
    return moments


def of_components(
    learned: Moments, judged: Moments, n_latents: int, l0: float | None
) -> list[OfComponents]:
    """fvu of the judged samples by the components of others: as many as latents are active, and as
    many as there are.

    `Σ‖(I − UᵀU)(x − mean)‖² / Σ‖x − mean x‖²`, U [m, D] and the first mean of the learned samples.
    Its sums follow from the two covariances: nothing is read again.
    """
    step = PCA("pca", {"retained": 1.0})
    mean, components, _, _ = step.solve(learned)
    apart = judged.mean - mean
    scatter = judged.covariance + torch.outer(apart, apart)
    total, varies = float(scatter.trace()), float(judged.variance.sum())
    explained = ((components @ scatter) * components).sum(1).cumsum(0)
    numbers = {n_latents} if l0 is None else {max(1, round(l0)), n_latents}
    found: list[OfComponents] = []
    for m in sorted({min(number, len(components)) for number in numbers}):
        # All components are a rotation, which leaves nothing; the difference would be rounding.
        left = max(0.0, total - float(explained[m - 1])) if m < len(components) else 0.0
        found.append({"components": m, "fvu": finite(fvu(left, varies))})
    return found
