"""Data whose truth is known: pictures of leaves, correlated fields, planted dictionaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simplecell.data.rows import Array

_SMALLEST_RADIUS = 2.0
_COVERAGE = 5.0
_ROWS_AT_ONCE = 8192


def dead_leaves(n: int = 10, size: int = 512, seed: int = 0) -> Array:
    """Pictures [n, size, size] float32 in 0…1 with the spectrum and the edges of natural ones.

    Discs of random grey fall on each other like leaves; radii r have density r⁻³ between 2 pixels
    and a quarter of the picture. Source: Lee, Mumford & Huang 2001.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_leaves(size, rng) for _ in range(n)])


def _leaves(size: int, rng: np.random.Generator) -> Array:
    largest = max(size / 4, 2 * _SMALLEST_RADIUS)
    mean_area = 2 * np.pi * _SMALLEST_RADIUS**2 * np.log(largest / _SMALLEST_RADIUS)
    n = int(_COVERAGE * (size + 2 * _SMALLEST_RADIUS) ** 2 / mean_area) + 1
    # The inverse of the distribution function of r⁻³ cut off at both ends.
    low, high = largest**-2, _SMALLEST_RADIUS**-2
    radii = (low + rng.random(n) * (high - low)) ** -0.5
    centers = rng.random((n, 2)) * size
    greys = rng.random(n, dtype=np.float32)
    picture = np.full((size, size), greys[0], dtype=np.float32)
    axis = np.arange(size, dtype=np.float32)
    for (y, x), r, grey in zip(centers, radii, greys, strict=True):
        top, bottom = max(0, int(y - r - 1)), min(size, int(y + r + 2))
        left, right = max(0, int(x - r - 1)), min(size, int(x + r + 2))
        dy, dx = axis[top:bottom, None] - np.float32(y), axis[left:right] - np.float32(x)
        cover = np.clip(np.float32(r + 0.5) - np.sqrt(dy * dy + dx * dx), 0, 1)
        part = picture[top:bottom, left:right]
        part += cover * (grey - part)
    return picture


def correlated_field(n: int, side: int, correlation: float = 0.95, seed: int = 0) -> Array:
    """Gaussian pictures [n, side·side] float64 with covariance correlation^distance (pixels)."""
    y, x = np.divmod(np.arange(side * side), side)
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    root = np.linalg.cholesky(correlation**distance)
    noise = np.random.default_rng(seed).standard_normal((n, side * side))
    return np.asarray(noise @ root.T)


@dataclass(frozen=True)
class Planted:
    """Samples x [n, D] float32 and their truth.

    `atoms` [n_atoms, D] have unit norm; sample i is the sum of `coefficients[i]` [n_active] times
    the atoms `active[i]` [n_active], plus noise. Where samples have fewer, −1 and 0 fill up.
    """

    x: Array
    atoms: Array
    active: Array
    coefficients: Array


def planted_dictionary(
    n_samples: int,
    n_inputs: int = 64,
    n_atoms: int = 256,
    n_active: int = 5,
    noise: float = 0.05,
    seed: int = 0,
    *,
    correlation: float = 0.0,
    group: int = 8,
) -> Planted:
    """Sparse sums of random unit atoms, coefficients |N(0, 1)| + 0.2.

    `noise` is the noise's standard deviation as a fraction of the signal's: the best possible fvu
    is about noise². With `correlation` (0–1) the atoms of each `group` tend to be active together:
    what is active are the largest of Gaussian scores that share so much variance in a group.
    """
    rng = np.random.default_rng(seed)
    atoms = _unit_atoms(rng, n_atoms, n_inputs)
    active = np.empty((n_samples, n_active), dtype=np.int64)
    for start in range(0, n_samples, _ROWS_AT_ONCE):
        part = active[start : start + _ROWS_AT_ONCE]
        keys = rng.random((len(part), n_atoms), dtype=np.float32)
        if correlation:
            keys = _together(rng, len(part), n_atoms, correlation, group)
        part[:] = np.argpartition(keys, n_active - 1, axis=1)[:, :n_active]
    return _mixed(rng, atoms, active, noise)


def planted_hierarchy(
    n_samples: int,
    n_inputs: int = 64,
    n_atoms: int = 256,
    n_active: float = 5,
    noise: float = 0.05,
    seed: int = 0,
    *,
    children: int = 7,
) -> Planted:
    """Parents and children: a child is active only with its parent, and at most one of each.

    Every parent has `children`; it is active with a probability that falls as 1/rank (Zipf), and
    then four times in five one child is too, each as likely. `n_active` is the mean number of
    active atoms. In the manner of SynthSAEBench, in small.
    """
    rng = np.random.default_rng(seed)
    atoms, n_parents = _unit_atoms(rng, n_atoms, n_inputs), n_atoms // (children + 1)
    rank = 1 / np.arange(1, n_parents + 1)
    likely = np.minimum(0.5, rank * (n_active / 1.8) / rank.sum())
    parents = rng.random((n_samples, n_parents)) < likely
    child = n_parents + np.arange(n_parents) * children
    child = child + rng.integers(0, children, (n_samples, n_parents))
    with_child = parents & (rng.random(parents.shape) < 0.8)
    wanted = np.concatenate([parents, with_child], axis=1)
    who = np.concatenate([np.broadcast_to(np.arange(n_parents), parents.shape), child], axis=1)
    most = int(wanted.sum(1).max())
    first = np.argsort(~wanted, axis=1, kind="stable")[:, :most]
    active = np.where(
        np.take_along_axis(wanted, first, axis=1), np.take_along_axis(who, first, axis=1), -1
    )
    return _mixed(rng, atoms, active, noise)


def _unit_atoms(rng: np.random.Generator, n_atoms: int, n_inputs: int) -> Array:
    atoms = rng.standard_normal((n_atoms, n_inputs), dtype=np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms


def _together(
    rng: np.random.Generator, n: int, n_atoms: int, correlation: float, group: int
) -> Array:
    """Scores [n, n_atoms], the smallest of which are active."""
    shared = rng.standard_normal((n, -(-n_atoms // group)), dtype=np.float32)
    shared = np.repeat(shared, group, axis=1)[:, :n_atoms]
    alone = rng.standard_normal((n, n_atoms), dtype=np.float32)
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * alone)


def _mixed(rng: np.random.Generator, atoms: Array, active: Array, noise: float) -> Planted:
    """Samples of the active atoms [n, n_active], with coefficients and noise."""
    coefficients = np.abs(rng.standard_normal(active.shape, dtype=np.float32))
    coefficients += np.float32(0.2)
    coefficients *= active >= 0
    x = np.zeros((len(active), atoms.shape[1]), dtype=np.float32)
    for j in range(active.shape[1]):
        x += coefficients[:, j, None] * atoms[active[:, j]]
    scale = np.float32(noise * x.std(dtype=np.float64))
    x += scale * rng.standard_normal(x.shape, dtype=np.float32)
    return Planted(x, atoms, active, coefficients)
