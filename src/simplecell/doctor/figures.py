"""What one figure hides: who owns the variance, and how far training and new samples are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simplecell.doctor.inputs import Finding, setting, step_name
from simplecell.run.evaluate import Figures, largest

OWNED = 0.5
"""Share of the variance from which on the largest hundredth decides about fvu."""
HIDDEN = 0.1
"""What fvu is too low by, at least, where inputs weigh alike or of the median sample: below, the
others are reconstructed about as well."""
ROWS = 100
"""Samples from which on a hundredth of them is no single one by chance."""
APART, GAP = 1.5, 0.01
"""Factor between the fvu of new samples and of training ones, and their difference, from which on
the latter says little: seeds differ by less."""
FEW, FAR = 50, 20.0
"""Judged samples below which that larger factor is asked for: few differ by chance."""


def hidden(
    figures: Figures,
    steps: Sequence[str | Mapping[str, object]],
    names: Sequence[str] | None = None,
) -> list[Finding]:
    """Inputs and samples that own so much of the variance that fvu is theirs alone.

    `steps` prepared the samples; `names` are those of raw inputs.
    """
    return [*_inputs(figures, steps, names), *_rows(figures)]


def _inputs(
    figures: Figures, steps: Sequence[str | Mapping[str, object]], names: Sequence[str] | None
) -> list[Finding]:
    n, top, alike = len(figures.variance), largest(figures.variance), figures.fvu_standardized
    components = any("pca" in step_name(step) for step in steps)  # differ on purpose
    if components or top.share <= max(OWNED, min(0.9, 10 * top.number / n)):
        return []
    if not alike > figures.fvu + HIDDEN:
        return []
    named = names[top.first] if names is not None and len(names) == n else f"input {top.first}"
    who = (
        f"{named} of {n} owns"
        if top.number == 1
        else f"{top.number} inputs of {n} ({named} first) own"
    )
    words = (
        f"{who} {top.share:.1%} of the variance, so that fvu {figures.fvu:.3g} is "
        f"theirs: of inputs that weigh alike it is {alike:.3g}; bring all to one scale: "
        f"{setting('preprocess.steps', ['standardize'])}"
    )
    return [Finding("inputs", words)]


def _rows(figures: Figures) -> list[Finding]:
    rows, top, median = figures.rows, largest(figures.rows.variance), figures.rows.median
    if len(rows.variance) < ROWS or top.share <= OWNED or not median > figures.fvu + HIDDEN:
        return []
    words = (
        f"1 % of the samples own {top.share:.1%} of the variance (sample "
        f"{rows.places[top.first]} first), so that fvu {figures.fvu:.3g} is theirs: of the median "
        f"sample it is {median:.3g}; divide each sample by its length, take logarithms, or leave "
        "those out"
    )
    return [Finding("rows", words)]


def apart(figures: Figures, new: Figures) -> list[Finding]:
    """Held-out samples that are reconstructed much worse than those of training."""
    factor = APART if new.n_samples >= FEW else FAR
    if not new.fvu > max(factor * figures.fvu, figures.fvu + GAP):
        return []
    words = (
        f"fvu is {new.fvu:.3g} of held-out samples and {figures.fvu:.3g} of training ones: go by "
        "the former; more data, fewer latents or a shorter training bring them together"
    )
    return [Finding("apart", words)]
