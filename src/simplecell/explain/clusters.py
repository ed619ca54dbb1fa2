"""Correlations whose uncertainty counts groups of samples: cells of one donor are alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csc_array, csr_array

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

NUMBERS_AT_ONCE = 2**22
"""Of the sums of each group and latent, made block by block, *count*."""


def centred(targets: Floats) -> Floats:
    """Each column of targets [n, T] less its mean."""
    return targets - targets.mean(0)


def squares(codes: csc_array) -> tuple[Floats, Floats]:
    """Mean of each latent, [M], and its sum of squared deviations, [M]; in two passes, exact."""
    n = codes.shape[0]
    active = np.diff(codes.indptr)
    latents = np.repeat(np.arange(len(active)), active)
    mean = np.bincount(latents, codes.data, minlength=len(active)) / n
    apart = np.square(codes.data - mean[latents])
    whole = np.bincount(latents, apart, minlength=len(active)) + (n - active) * np.square(mean)
    # What never varies has a mean that is rounded, and so deviations that are nothing but that.
    whole[whole <= n * np.square(8 * np.finfo(float).eps * mean)] = 0
    return mean, whole


def correlations(codes: csc_array, targets: Floats) -> Floats:
    """Pearson's correlation of each latent with each target [n, T]: [M, T]; NaN where one is fixed.

    Source: Pearson 1895. Exact.
    """
    apart = centred(targets)
    product = np.sqrt(np.outer(squares(codes)[1], np.square(apart).sum(0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (codes.T @ apart) / product
    return np.where(product > 0, np.clip(found, -1, 1), np.nan)


def p_of_correlations(found: Floats, n: int) -> Floats:
    """Two-sided p of correlations over n samples, by Student's t with n − 2 degrees of freedom.

    As scipy.stats.spearmanr has it. Source: Student 1908. Exact for normal samples.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(found) * np.sqrt((n - 2) / (1 - np.square(found)))
    return 2 * stats.t.sf(t, n - 2)


def fisher(found: Floats, n: int, confidence: float) -> tuple[Floats, Floats]:
    """The interval of Pearson's correlations over n samples, as scipy.stats.pearsonr gives it.

    `tanh(artanh r ± z / √(n − 3))`. Source: Fisher 1915. Exact.
    """
    half = stats.norm.ppf((1 + confidence) / 2) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        centre = np.arctanh(found)
    return np.tanh(centre - half), np.tanh(centre + half)


def errors(codes: csc_array, targets: Floats, groups: Places) -> tuple[Floats, Floats]:
    """Standard error of each correlation, and two-sided p, [M, T] each, by groups [n].

    That of the slope b of the target on the code, with the residuals e of its line: with
    `s_g = Σ_{i in g} (x_i − mean) e_i`, `var b = c Σ_g s_g² / (Σ (x − mean)²)²` and
    `c = G / (G − 1) · (n − 1) / (n − 2)`; p by Student's t with G − 1 degrees of freedom.
    Source: Liang & Zeger 1986; c as statsmodels has it. Exact.
    """
    n, n_groups = codes.shape[0], int(groups.max()) + 1
    member = csr_array((np.ones(n), (groups, np.arange(n))), shape=(n_groups, n))
    apart, found = centred(targets), correlations(codes, targets)
    spread = np.square(apart).sum(0)
    size = max(1, NUMBERS_AT_ONCE // n_groups)
    error = np.full(found.shape, np.nan)
    for part in _parts(codes.shape[1], size):
        for t in range(targets.shape[1]):
            error[part, t] = _error(codes[:, part], apart[:, t], member)
        scale = squares(codes[:, part])[1]
        error[part] *= np.sqrt(scale[:, None] / spread)
    error *= np.sqrt(n_groups / (n_groups - 1) * (n - 1) / (n - 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(found) / error, n_groups - 1)
    return error, p


def _parts(n: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def _error(codes: csc_array, apart: Floats, member: csr_array) -> Floats:
    """√(Σ_g s_g²) / Σ (x − mean)² of some latents, [B]."""
    mean, scale = squares(codes)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (codes.T @ apart) / scale
    sums = (member @ codes).toarray()
    of_squares = (member @ codes.power(2)).toarray()
    with_target = (member @ codes.multiply(apart[:, None]).tocsc()).toarray()
    sizes, own = member.sum(1)[:, None], (member @ apart)[:, None]
    s = with_target - mean * own
    s -= slope * (of_squares - 2 * mean * sums + sizes * np.square(mean))
    return np.sqrt(np.square(s).sum(0)) / scale
