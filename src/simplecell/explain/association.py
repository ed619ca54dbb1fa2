"""What each latent has to do with a target: effects, how sure they are, and tests; over latents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csc_array

from simplecell.explain.clusters import (
    centred,
    correlations,
    errors,
    fisher,
    p_of_correlations,
    squares,
)
from simplecell.explain.ranks import Ranks
from simplecell.explain.target import Target

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Columns = dict[str, Floats]
"""Figures by name, [M, T] each, for each latent and each of a target's columns."""

CONFIDENCE = 0.95
FEWEST_ACTIVE = 5
"""Samples for which a latent must be active to be tested, *count*."""


def associations(
    codes: csc_array, target: Target, groups: Places | None = None, *, on_off: bool = True
) -> Columns:
    """Effects of codes [n, M] (CSC, without entries that are 0) on a target of the same samples.

    Of numbers: `correlation`, `rank_correlation` and `difference` (of means, active less inactive);
    of each tested class against all others: `auc` of the code, `odds_ratio` of being active,
    `lift`. Each but the rank correlation and lift with `_low` and `_high`, the ends of its 95 %
    interval; `p` is two-sided, of the rank correlation or the AUC. Where there are groups [n] they
    are what p and intervals count, save the odds ratio's, which then has none. NaN where a latent
    is active in fewer than 5 samples, or where a figure has no meaning; `on_off=False` leaves out
    what needs codes with exact zeros.
    """
    ranks = Ranks.of(codes)
    found = (
        _of_numbers(codes, ranks, target, groups)
        if target.is_number
        else _of_classes(ranks, target, groups)
    )
    if on_off:
        more = (
            _difference(codes, target, groups)
            if target.is_number
            else _odds(ranks, target, sure=groups is None)
        )
        found |= more
    rare = ranks.active < FEWEST_ACTIVE
    return {name: np.where(rare[:, None], np.nan, value) for name, value in found.items()}


def _of_numbers(codes: csc_array, ranks: Ranks, target: Target, groups: Places | None) -> Columns:
    numbers = target.columns
    n, ranked = len(numbers), stats.rankdata(numbers, axis=0)
    plain, by_rank = correlations(codes, numbers), correlations(ranks.shifted, ranked)
    if groups is None:
        low, high = fisher(plain, n, CONFIDENCE)
        p = p_of_correlations(by_rank, n)
    else:
        error, _ = errors(codes, numbers, groups)
        half = _student(groups) * error
        low, high = np.maximum(plain - half, -1), np.minimum(plain + half, 1)
        _, p = errors(ranks.shifted, ranked, groups)
    found = {"rank_correlation": by_rank, "correlation": plain}
    return found | {"correlation_low": low, "correlation_high": high, "p": p}


def _difference(codes: csc_array, target: Target, groups: Places | None) -> Columns:
    """Mean of the target where a latent is active, less that where it is not; Welch's interval.

    As scipy.stats.ttest_ind(equal_var=False) gives it. Source: Welch 1947. Exact.
    """
    numbers = centred(target.columns)
    on = csc_array((np.ones(codes.nnz), codes.indices, codes.indptr), shape=codes.shape)
    n_on = np.diff(codes.indptr)[:, None].astype(np.float64)
    n_off = len(numbers) - n_on
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_on, mean_off = (on.T @ numbers) / n_on, -(on.T @ numbers) / n_off
        apart = mean_on - mean_off
        if groups is None:
            half = _welch(on, numbers, (n_on, n_off), (mean_on, mean_off))
        else:
            error, _ = errors(on, numbers, groups)
            scale = np.sqrt(np.square(numbers).sum(0) / squares(on)[1][:, None])
            half = _student(groups) * error * scale
    return {"difference": apart, "difference_low": apart - half, "difference_high": apart + half}


def _welch(
    on: csc_array, numbers: Floats, sizes: tuple[Floats, Floats], means: tuple[Floats, Floats]
) -> Floats:
    """Half the width of the interval of a difference of means, [M, T]."""
    whole, squared = np.square(numbers).sum(0), on.T @ np.square(numbers)
    parts = []
    for n, mean, square in zip(sizes, means, (squared, whole - squared), strict=True):
        variance = np.maximum(square - n * np.square(mean), 0) / (n - 1)
        parts.append((variance / n, n - 1))
    total = parts[0][0] + parts[1][0]
    freedom = np.square(total) / sum(np.square(part) / n for part, n in parts)
    return stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(total)


def _student(groups: Places) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, int(groups.max())))


def _of_classes(ranks: Ranks, target: Target, groups: Places | None) -> Columns:
    chosen = target.columns
    n, n_in = len(chosen), chosen.sum(0)
    n_out = n - n_in
    whole = ranks.shifted.T @ chosen + ranks.of_zeros[:, None] * n_in
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = (whole - n_in * (n_in + 1) / 2) / (n_in * n_out)
    if groups is None:
        half = _deviation(ranks, chosen, auc) * stats.norm.ppf((1 + CONFIDENCE) / 2)
        p = _mann_whitney(ranks, auc, n_in, n_out)
    else:
        error, p = errors(ranks.shifted, chosen, groups)
        # The AUC less ½ is the correlation of ranks and class times the ratio of deviations / n.
        ratio = np.sqrt(squares(ranks.shifted)[1][:, None] * n / (n_in * n_out)) / n
        half = _student(groups) * error * ratio
    low, high = np.maximum(auc - half, 0), np.minimum(auc + half, 1)
    return {"auc": auc, "auc_low": low, "auc_high": high, "p": p}


def _mann_whitney(ranks: Ranks, auc: Floats, n_in: Floats, n_out: Floats) -> Floats:
    """Two-sided p of the U test, as scipy.stats.mannwhitneyu(method="asymptotic") gives it.

    Source: Mann & Whitney 1947, with the correction for ties and continuity. Exact.
    """
    n, product = ranks.n_samples, n_in * n_out
    tied = (ranks.tied / (n * (n - 1)))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(product / 12 * (n + 1 - tied))
        z = (np.abs(auc - 0.5) * product - 0.5) / deviation
    return np.clip(2 * stats.norm.sf(z), 0, 1)


def _deviation(ranks: Ranks, chosen: Floats, auc: Floats) -> Floats:
    """Standard error of each AUC, [M, T], from the placements of each sample in the other class.

    `var = var(V_in) / n_in + var(V_out) / n_out`, V the share of the other class that a sample is
    on the right side of, ties ½. Source: DeLong, DeLong & Clarke-Pearson 1988. Exact.
    """
    found = np.empty_like(auc)
    below, of_zeros = ranks.entries - 0.5, ranks.of_zeros - 0.5
    for t, inside in enumerate(chosen.T):
        n_in, mine = inside.sum(), inside[ranks.rows]
        n_out = len(inside) - n_in
        inner, zeros_inner = ranks.counted_below(inside)
        sides = (
            (mine, (below - inner) / n_out, (of_zeros - zeros_inner) / n_out, n_in),
            (1 - mine, 1 - inner / n_in, 1 - zeros_inner / n_in, n_out),
        )
        variance = np.zeros(ranks.n_latents)
        for weight, place, place_of_zeros, n in sides:
            apart = np.square(place - auc[ranks.latents, t]) * weight
            zeros = (n - ranks.sums(weight)) * np.square(place_of_zeros - auc[:, t])
            variance += (ranks.sums(apart) + zeros) / (n - 1) / n
        found[:, t] = np.sqrt(variance)
    return found


def _odds(ranks: Ranks, target: Target, *, sure: bool) -> Columns:
    """Odds of a class where a latent is active over those where it is not, and the class's lift.

    Their interval only where it is `sure` that samples are independent.

    As scipy.stats.contingency.odds_ratio(kind="sample") gives them. Source: Woolf 1955. Exact.
    """
    chosen = target.columns
    n, n_in = len(chosen), chosen.sum(0)
    both = np.stack([ranks.sums(inside[ranks.rows]) for inside in chosen.T], 1)
    active = ranks.active[:, None].astype(np.float64)
    others = (active - both, n_in - both, n - active - n_in + both)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = both * others[2] / (others[0] * others[1])
        error = np.sqrt(1 / both + sum(1 / part for part in others))
        half = stats.norm.ppf((1 + CONFIDENCE) / 2) * error
        ends = np.exp(np.log(ratio) - half), np.exp(np.log(ratio) + half)
        lift = (both / active) / (n_in / n)
    found = {"odds_ratio": ratio, "lift": lift}
    if sure:
        low, high = (np.where(np.isfinite(error), end, np.nan) for end in ends)
        found |= {"odds_ratio_low": low, "odds_ratio_high": high}
    return found
