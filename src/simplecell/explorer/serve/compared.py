"""Two runs atom by atom: which latents are the same, and what only one of them has."""

from __future__ import annotations

import numpy as np

from simplecell.model.matching import FOREIGN, Atoms, comparison

MATCHED = 4096**2
"""Pairs of atoms up to which an optimal matching is looked for: two seconds."""


def compare(first: Atoms, second: Atoms, *, signed: bool) -> dict[str, object]:
    """What two dictionaries [M, D] and [N, D] share, with the pairs by descending cosine.

    Pairs are those of an optimal matching; of large dictionaries they are atoms that are each
    other's nearest, and `mean_cosine` and `share` are None. Atoms that a matching puts together for
    want of a better are no pair: below the cosine at which an atom counts as alone, it is left out.
    """
    found = comparison(first, second, signed=signed, most_pairs=MATCHED)
    near, figures = found.near, found.figures()
    only = near.alone()
    order = np.argsort(-near.cosines, kind="stable")
    order = order[near.cosines[order] >= FOREIGN]
    pairs = zip(near.rows[order], near.columns[order], near.cosines[order], strict=True)
    return {
        "signed": signed,
        "mean_cosine": figures["mean_cosine"],
        "share": figures["share"],
        "mean_max_first": near.mean_max_first,
        "mean_max_second": near.mean_max_second,
        "only_first": only[0],
        "only_second": only[1],
        "pairs": [[int(i), int(j), round(float(cosine), 6)] for i, j, cosine in pairs],
    }
