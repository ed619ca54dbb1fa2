"""Planted data hold the truth they promise."""

from __future__ import annotations

import numpy as np
import pytest

from simplecell.data import correlated_field, dead_leaves, planted_dictionary


def test_dead_leaves_look_natural() -> None:
    pictures = dead_leaves(2, 128, seed=3)
    assert pictures.shape == (2, 128, 128)
    assert pictures.dtype == np.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std() > 0.1
    np.testing.assert_array_equal(pictures, dead_leaves(2, 128, seed=3))
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    power = (np.abs(np.fft.fft2(pictures - pictures.mean())) ** 2).mean(axis=0)
    inside = (f > 0.02) & (f < 0.3)
    slope = np.polyfit(np.log(f[inside]), np.log(power[inside]), 1)[0]
    assert -3.2 < slope < -1.6  # natural pictures: about -2


def test_correlated_field_has_its_covariance() -> None:
    x = correlated_field(40_000, 4, 0.9)
    y, c = np.divmod(np.arange(16), 4)
    distance = np.hypot(y[:, None] - y, c[:, None] - c)
    np.testing.assert_allclose(np.cov(x.T), 0.9**distance, atol=0.03)


def test_planted_dictionary_is_what_it_says() -> None:
    planted = planted_dictionary(9_000, 16, 40, 3, noise=0.0, seed=1)
    np.testing.assert_allclose(np.linalg.norm(planted.atoms, axis=1), 1, rtol=1e-6)
    assert all(len(set(row)) == 3 for row in planted.active)
    assert planted.coefficients.min() >= 0.2
    x = np.einsum("nk,nkd->nd", planted.coefficients, planted.atoms[planted.active])
    np.testing.assert_allclose(planted.x, x, atol=1e-5)
    counts = np.bincount(planted.active.ravel(), minlength=40)
    np.testing.assert_allclose(counts, 675, rtol=0.2)


def test_noise_is_a_fraction_of_the_signal() -> None:
    clean, noisy = (planted_dictionary(5_000, noise=noise, seed=2) for noise in (0.0, 0.1))
    np.testing.assert_array_equal(clean.atoms, noisy.atoms)
    assert np.var(noisy.x - clean.x) / np.var(clean.x) == pytest.approx(0.01, rel=0.02)
