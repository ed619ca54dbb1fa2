"""Inverse problems: closed forms, slow obvious versions, pictures whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simplecell.data import dead_leaves
from simplecell.errors import DataError, UsageError
from simplecell.sparse_coding import random_dictionary
from simplecell.sparse_coding.restoration import (
    GaussianPrior,
    Seen,
    SparsePrior,
    denoise,
    inpaint,
    learn_dictionary,
    psnr,
)

NOISE = 25 / 255


@pytest.fixture(scope="module")
def leaves():
    """Two pictures [64, 64] of one kind, in 0…1."""
    return dead_leaves(2, 64, seed=1).astype(float)


@pytest.fixture(scope="module")
def noisy(leaves):
    return leaves[0] + np.random.default_rng(0).normal(0, NOISE, (64, 64))


@pytest.fixture(scope="module")
def atoms(leaves):
    how = {"n_latents": 64, "steps": 15, "n_patches": 2000, "batch_size": 1000}
    return learn_dictionary(leaves[1], noise=0.05, **how)


def patches(picture, side=8):
    view = np.lib.stride_tricks.sliding_window_view(picture, (side, side))
    return torch.tensor(view.reshape(-1, side * side), dtype=torch.float32)


def test_psnr_by_hand():
    assert psnr(np.zeros((2, 2)), np.full((2, 2), 0.1)) == pytest.approx(20)
    assert psnr(np.zeros(4, np.uint8), np.full(4, 255, np.uint8)) == pytest.approx(0)
    assert psnr([0, 0], [0, 51]) == pytest.approx(10 * math.log10(2 * 25))
    assert psnr([1.0], [1.0]) == math.inf
    assert psnr([0.0], [1.0], peak=10) == pytest.approx(20)
    with pytest.raises(UsageError, match=r"shapes \(1,\) and \(2,\)"):
        psnr([0.0], [1.0, 2.0])


class Mean:
    """A prior that a slow version can follow: every patch is its observed mean."""

    n_inputs = 9

    def rebuild(self, x, observed, noise):
        weights = torch.ones_like(x) if observed is None else observed
        mean = (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
        return mean.expand_as(x)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_overlapping_patches_are_averaged(stride, masked):
    generator = np.random.default_rng(0)
    picture = generator.random((10, 11))
    mask = generator.random((10, 11)) < 0.6 if masked else np.ones((10, 11), bool)
    total, count = np.zeros((2, 10, 11))
    for i in sorted({*range(0, 7, stride), 7}):
        for j in sorted({*range(0, 8, stride), 8}):
            seen = mask[i : i + 3, j : j + 3]
            if seen.any():
                total[i : i + 3, j : j + 3] += picture[i : i + 3, j : j + 3][seen].mean()
                count[i : i + 3, j : j + 3] += 1
    hidden = np.where(mask, picture, np.nan) if masked else picture
    if masked:
        found = inpaint(hidden, mask, Mean(), noise=0.1, stride=stride)
    else:
        found = denoise(picture, Mean(), noise=0.1, stride=stride)
    np.testing.assert_allclose(found, total / count, atol=1e-6)


def test_channels_one_by_one_or_together():
    picture = np.random.default_rng(0).random((8, 9, 3))
    apart = denoise(picture, Mean(), noise=0.1)
    assert apart.shape == picture.shape
    for channel in range(3):
        one = denoise(picture[:, :, channel], Mean(), noise=0.1)
        np.testing.assert_allclose(apart[:, :, channel], one, atol=1e-6)
    mean = Mean()
    mean.n_inputs = 27
    together = denoise(picture, mean, noise=0.1)
    assert together[0, 0, 0] == pytest.approx(picture[:3, :3].mean(), abs=1e-6)


def test_the_gaussian_prior_is_the_posterior_mean():
    """Against the covariance form C_:o (C_oo + σ² I)⁻¹ x_o."""
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.standard_normal((50, 6)) @ generator.standard_normal((6, 6)))
    prior = GaussianPrior.fit(x)
    mean, covariance = x.mean(0).numpy(), np.cov(x.numpy().T, bias=True)
    mask = generator.random((50, 6)) < 0.5
    for observed in (None, torch.from_numpy(mask).double()):
        found = prior.rebuild(x, observed, 0.3).numpy()
        for i in range(0, 50, 9):
            o = np.ones(6, bool) if observed is None else mask[i]
            inner = covariance[np.ix_(o, o)] + 0.09 * np.eye(o.sum())
            weights = np.linalg.solve(inner, (x[i].numpy() - mean)[o])
            np.testing.assert_allclose(found[i], mean + covariance[:, o] @ weights, atol=1e-9)


def test_a_few_components_project():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 5)))
    prior = GaussianPrior.fit(x, 2)
    assert prior.components.shape == (2, 5)
    w = prior.components
    expected = (x - prior.mean) @ w.T @ w + prior.mean
    np.testing.assert_allclose(prior.rebuild(x, None, 1e-9), expected, atol=1e-9)
    noisy = GaussianPrior.fit(x, 2, noise=0.5)
    np.testing.assert_allclose(noisy.variances, prior.variances - 0.25)


def test_the_projection_is_one():
    observed = torch.tensor([[1.0, 1, 0, 1], [0, 0, 0, 0]])
    seen, rows = Seen(observed), torch.arange(2)
    x = torch.tensor([[1.0, 2, 9, 6], [1, 1, 1, 1]])
    once = seen(x, rows)
    assert once.tolist() == [[-2, -1, 0, 3], [0, 0, 0, 0]]
    assert torch.equal(seen(once, rows), once)


def test_a_patch_of_one_atom_comes_back_from_half_its_pixels():
    dictionary = random_dictionary(20, 36, 0)
    dictionary -= dictionary.mean(1, keepdim=True)
    dictionary /= dictionary.norm(dim=1, keepdim=True)
    x = 3 * dictionary[:5] + 0.4
    observed = (torch.rand(5, 36, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    prior = SparsePrior(dictionary, max_iter=5000, tol=1e-10)
    hidden = torch.where(observed > 0, x, 77.0)
    np.testing.assert_allclose(prior.rebuild(hidden, observed, 1e-4), x, atol=2e-3)
    np.testing.assert_allclose(prior.rebuild(x, None, 1e-4), x, atol=2e-3)
    whole = prior.rebuild(x, torch.ones_like(x), 0.05)
    np.testing.assert_allclose(whole, prior.rebuild(x, None, 0.05), atol=1e-6)


def test_denoising_beats_pca_and_the_damaged_picture(leaves, noisy, atoms):
    damaged = psnr(leaves[0], noisy)
    by_pca = psnr(leaves[0], denoise(noisy, GaussianPrior.fit(patches(leaves[1])), noise=NOISE))
    ours = psnr(leaves[0], denoise(noisy, atoms.numpy(), noise=NOISE))
    assert damaged == pytest.approx(20.2, abs=0.3)
    assert ours > by_pca + 0.2 > damaged + 3


def test_inpainting_beats_pca_and_keeps_what_is_known(leaves, atoms):
    mask = np.random.default_rng(1).random((64, 64)) < 0.5
    broken = np.where(mask, leaves[0], np.nan)
    prior = GaussianPrior.fit(patches(leaves[1]))
    by_pca = psnr(leaves[0], inpaint(broken, mask, prior, stride=2))
    filled = inpaint(broken, mask, atoms.numpy(), stride=2)
    np.testing.assert_array_equal(filled[mask], leaves[0][mask])
    assert psnr(leaves[0], filled) > by_pca
    assert by_pca > psnr(leaves[0], np.where(mask, leaves[0], leaves[0][mask].mean())) + 5


def test_a_dictionary_is_learned_from_what_is_left(leaves):
    """Half the pixels missing: atoms fitted to filled-in patches explain the hidden ones."""
    mask = np.random.default_rng(2).random((64, 64)) < 0.5
    broken = np.where(mask, leaves[0], np.nan)
    how = {"noise": 0.02, "observed": mask, "n_latents": 40, "n_patches": 800, "patch": 6}
    few, many = (learn_dictionary(broken, **how, steps=steps) for steps in (1, 10))
    first, last = (psnr(leaves[0], inpaint(broken, mask, a.numpy(), stride=3)) for a in (few, many))
    assert last > first + 1
    assert float(many.norm(dim=1).max()) <= 1 + 1e-5


def test_a_hole_larger_than_a_patch_gets_the_mean_of_the_rest():
    picture = np.full((12, 12), 0.3)
    mask = np.ones((12, 12), bool)
    mask[2:11, 2:11] = False
    found = inpaint(picture, mask, Mean())
    np.testing.assert_allclose(found, 0.3, atol=1e-6)


def test_what_cannot_be_used_is_said(leaves, atoms):
    picture, dictionary = leaves[0], atoms.numpy()
    for noise in (0, -1, math.inf):
        with pytest.raises(UsageError, match=r"noise is .*a number above 0"):
            denoise(picture, dictionary, noise=noise)
    with pytest.raises(UsageError, match="no square that fits"):
        denoise(picture, dictionary[:, :60], noise=0.1)
    with pytest.raises(UsageError, match="no square that fits"):
        denoise(picture[:5], dictionary, noise=0.1)
    with pytest.raises(UsageError, match="stride is 9"):
        denoise(picture, dictionary, noise=0.1, stride=9)
    with pytest.raises(DataError, match=r"\[h, w\] or \[h, w, 3\]"):
        denoise(picture[0], dictionary, noise=0.1)
    with pytest.raises(DataError, match="not finite"):
        denoise(picture * np.nan, dictionary, noise=0.1)
    with pytest.raises(DataError, match="one value a pixel"):
        inpaint(picture, np.ones((3, 3)), dictionary)
    with pytest.raises(DataError, match="no pixel is observed"):
        inpaint(picture, np.zeros((64, 64)), dictionary)
    with pytest.raises(DataError, match="at least one atom is needed"):
        denoise(picture, dictionary[0], noise=0.1)


P = np.linspace(0, 1, 144).reshape(12, 12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: denoise(P, np.zeros((0, 16)), noise=0.1), "at least one atom"),
        (lambda: denoise(P, np.full((3, 16), 1e300), noise=0.1), "finite in float32"),
        (lambda: denoise(P, np.eye(4, 16) * 1j, noise=0.1), "the dictionary holds complex128"),
        (lambda: denoise(P, Mean(), noise=1e300), "noise is 1e.300.* below 1e.15"),
        (lambda: denoise(P, Mean(), noise="a"), "noise is 'a'"),
        (lambda: denoise(P, Mean(), noise=0.1, stride=1.5), "stride is 1.5; a whole number"),
        (lambda: denoise(P, Mean(), noise=0.1, device="x"), "device 'x' cannot be used"),
        (lambda: denoise(P[:, :5], None, noise=0.1), "patch is 8, but .* 12×5 pixels.*patch=5"),
        (lambda: denoise(P * 1j, Mean(), noise=0.1), "the picture holds complex128"),
        (lambda: denoise([[1, 2], [3]], Mean(), noise=0.1), "the picture is no array of numbers"),
        (lambda: denoise(P * 1e300, Mean(), noise=0.1), "as large as 1e.300.*float32.*scale it"),
        (lambda: inpaint(P, np.full((12, 12), np.nan), Mean()), "neither true nor false"),
        (lambda: inpaint(P, np.full((12, 12), 0.5), Mean()), "neither true nor false"),
        (lambda: inpaint(P, [["a"] * 12] * 12, Mean()), "observed holds <U1"),
        (lambda: learn_dictionary(P, noise=0), "noise is 0; a number above 0"),
        (lambda: learn_dictionary(P, noise=-1), "noise is -1; a number above 0"),
        (lambda: learn_dictionary(P, noise=0.1, strength=0), "strength is 0"),
        (lambda: learn_dictionary(P, noise=0.1, patch=1.5), "patch is 1.5; a whole number"),
        (lambda: learn_dictionary(P, noise=0.1, patch=0), "patch is 0; .* at least 1"),
        (lambda: learn_dictionary(P, noise=0.1, n_patches=0), "n_patches is 0; .* at least 1"),
        (lambda: learn_dictionary(P, noise=0.1, batch_size=0), "batch_size is 0; .* at least 1"),
        (lambda: learn_dictionary(P, noise=0.1, steps=-1), "steps is -1; .* at least 1"),
        (lambda: learn_dictionary(P, noise=0.1, n_latents=10**12), "at most 2147483647"),
        (lambda: learn_dictionary(P, noise=0.1, seed=-1), "seed is -1; .* at least 0"),
        (lambda: learn_dictionary(P, noise=0.1, device="x"), "device 'x' cannot be used"),
        (lambda: learn_dictionary(P, noise=0.1, observed=P < 0), "no pixel is observed"),
        (lambda: SparsePrior(torch.eye(4), strength=math.nan), "strength is nan"),
        (lambda: psnr(P, P + 1, peak=0), "peak is 0; a number above 0"),
        (lambda: psnr(P, P * 1j), "other holds complex128"),
        (lambda: psnr(P, P * np.nan), "not finite"),
        (lambda: psnr([], []), "no pixels"),
    ],
)
def test_what_would_break_or_mislead_is_said_first(call, words):
    with pytest.raises((UsageError, DataError), match=words):
        call()


def test_masks_of_numbers_are_masks():
    mask = np.random.default_rng(0).random((12, 12)) < 0.7
    expected = inpaint(P, mask, Mean())
    for same in (mask.astype(float), np.uint8(255) * mask, mask.tolist()):
        np.testing.assert_array_equal(inpaint(P, same, Mean()), expected)
