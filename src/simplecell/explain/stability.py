"""Which answers come back in runs with other seeds: latents are matched by their atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import DataError
from simplecell.explain.explanation import SURE, Explanation
from simplecell.model.matching import comparison
from simplecell.run.trained import Trained

LIKE = 0.7
"""Cosine of two atoms from which they are taken for the same; *ours*."""


def with_other_runs(
    answer: Explanation, trained: Trained, others: Sequence[tuple[Trained, Explanation]]
) -> Explanation:
    """The answer with two more columns, from the same question put to other runs.

    `returns`: in how many of them it comes back: the latent's partner has an atom with a |cosine|
    of at least 0.7, q of at most 0.05 and an effect of the same sign (of the opposite one where the
    atom is the opposite). `partner_cosine`: the mean |cosine| with the partners, 0 where there is
    none. Partners are those of an optimal matching one to one.

    Raises:
        DataError: for runs over other inputs.
    """
    returns = np.zeros(len(answer.columns["latent"]), dtype=np.int64)
    cosines, signs = np.zeros(len(returns)), np.sign(_effect(answer))
    for run, found in others:
        partner, cosine = _partners(trained, run)
        turned = np.sign(cosine)
        cosine = np.abs(cosine)
        surely = _discoveries(found)
        latents = answer.columns["latent"].astype(np.int64)
        cosines += cosine[latents] / len(others)
        classes = answer.columns.get("class", np.full(len(returns), ""))
        for i, (latent, name) in enumerate(zip(latents.tolist(), classes.tolist(), strict=True)):
            sign = surely.get((int(partner[latent]), name))
            same = sign is not None and sign * turned[latent] == signs[i]
            returns[i] += bool(same and cosine[latent] >= LIKE)
    columns = {**answer.columns, "returns": returns, "partner_cosine": cosines}
    return replace(answer, columns=columns, n_runs=len(others))


def _effect(answer: Explanation) -> NDArray[np.float64]:
    """The main effect, with the sign of its direction."""
    if answer.target.is_number:
        return answer.columns["rank_correlation"].astype(np.float64)
    return answer.columns["auc"].astype(np.float64) - 0.5


def _discoveries(answer: Explanation) -> dict[tuple[int, str], float]:
    """The sign of each effect with q of at most 0.05, by latent and class."""
    columns, signs = answer.columns, np.sign(_effect(answer))
    classes = columns.get("class", np.full(len(signs), ""))
    return {
        (int(columns["latent"][i]), str(classes[i])): float(signs[i])
        for i in np.flatnonzero(np.nan_to_num(columns["q"].astype(np.float64), nan=1.0) <= SURE)
    }


def _partners(first: Trained, second: Trained) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each latent of the first run its partner in the second, or −1, and their cosine, or 0."""
    widths = [run.recon_preprocess.n_inputs for run in (first, second)]
    if widths[0] != widths[1]:
        raise DataError(
            f"one run has {widths[0]} inputs per sample and another {widths[1]}; latents are "
            "matched by their atoms, so give runs over the same inputs"
        )
    signed = all(run.model.activation.one_sided for run in (first, second))
    mine, theirs = first.atoms(), second.atoms()
    near = comparison(mine, theirs, signed=signed).near
    # Of codes with signs an atom and its opposite say the same, and effects turn round.
    turned = (mine[near.rows] * theirs[near.columns]).sum(1).sign().numpy()
    partner = np.full(first.model.n_latents, -1, dtype=np.int64)
    cosine = np.zeros(first.model.n_latents)
    partner[near.rows], cosine[near.rows] = near.columns, near.cosines * turned
    return partner, cosine
