"""SparseCoding: scikit-learn's contract, by its own suite, and what it does not ask for."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso
from sklearn.utils.estimator_checks import parametrize_with_checks

from simplecell.errors import DataError, UsageError
from simplecell.estimators.sparse_coder import SparseCoding
from simplecell.sparse_coding import torus


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:200] / 16


def small(**changes):
    given = {"n_latents": 25, "max_iter": 10, "batch_size": 100, "tol": 1e-2, "random_state": 0}
    return SparseCoding(**{**given, **changes})


@parametrize_with_checks([SparseCoding(n_latents=9, neighbourhood=3, max_iter=2, code_iter=3)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [SparseCoding(n_latents=9, penalty="l1", gamma=1e-3, max_iter=2, code_iter=3)]
)
def test_scikit_learns_own_checks_of_l1_and_gamma(estimator, check):
    check(estimator)


def test_fitted_attributes_are_numpy(digits):
    coder = small().fit(digits)
    for name, shape in {"components_": (25, 64), "cost_curve_": (10,)}.items():
        assert isinstance(getattr(coder, name), np.ndarray)
        assert getattr(coder, name).shape == shape
    assert coder.n_iter_ == 10
    assert np.linalg.norm(coder.components_, axis=1).max() <= 1 + 1e-6


@pytest.mark.parametrize("positive", [False, True])
def test_transform_is_the_lasso_and_score_one_minus_fvu(digits, positive):
    coder = small(penalty="l1", positive=positive, tol=1e-6).fit(digits)
    codes = coder.transform(digits)
    lasso = Lasso(0.1 / 64, fit_intercept=False, positive=positive, tol=1e-10, max_iter=10**5)
    for i in (0, 7):
        lasso.fit(coder.components_.astype(float).T, digits[i])
        np.testing.assert_allclose(codes[i], lasso.coef_, atol=1e-4)
    assert not positive or codes.min() >= 0
    recon = coder.inverse_transform(codes)
    np.testing.assert_allclose(recon, codes @ coder.components_.astype(float), atol=1e-12)
    fvu = ((digits - recon) ** 2).sum() / ((digits - digits.mean(0)) ** 2).sum()
    assert coder.score(digits) == pytest.approx(1 - fvu, rel=1e-9)
    assert coder.fvu_ == pytest.approx(fvu, rel=1e-9)


def test_codes_are_sparser_with_a_larger_alpha(digits):
    few, many = (
        small(penalty="l1", alpha=alpha).fit(digits).transform(digits) for alpha in (1.0, 0.1)
    )
    assert 0 < (few != 0).mean() < 0.6 * (many != 0).mean()


def test_preparation_is_undone(digits):
    coder = small(penalty="l1", preprocess=["center"], alpha=1e-2, n_latents=64).fit(digits)
    recon = coder.inverse_transform(coder.transform(digits))
    assert coder.score(digits) > 0.98
    assert ((recon - digits) ** 2).sum() < 0.02 * ((digits - digits.mean(0)) ** 2).sum()


def test_the_same_seed_gives_the_same_bits(digits):
    first, second, other = (small(max_iter=3, random_state=seed).fit(digits) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.components_, second.components_)
    assert not np.array_equal(first.components_, other.components_)


def test_inputs_of_every_kind_give_the_same_codes(digits):
    coder = small(penalty="l1", max_iter=3).fit(digits)
    expected = coder.transform(digits)
    frozen = digits.copy()
    frozen.setflags(write=False)
    for same in (frozen, scipy.sparse.csr_matrix(digits), np.asfortranarray(digits)):
        np.testing.assert_allclose(coder.transform(same), expected, rtol=1e-12)
    single = coder.transform(digits.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=0.02)


def test_data_frames_keep_their_names(digits):
    frame = pd.DataFrame(digits, columns=[f"pixel{i}" for i in range(64)])
    coder = small(max_iter=2).set_output(transform="pandas").fit(frame)
    assert list(coder.transform(frame).columns[:2]) == ["sparsecoding0", "sparsecoding1"]


@pytest.mark.slow  # for the import of matplotlib
def test_data_frames_are_drawn_by_their_strongest_inputs(digits):
    frame = pd.DataFrame(digits, columns=[f"pixel{i}" for i in range(64)])
    assert small(max_iter=1).fit(frame).plot().size[0] > 100


def test_partial_fit_goes_on_after_pickling_and_after_fit(digits):
    one = small(penalty="l1").partial_fit(digits)
    assert one.n_iter_ == 2
    two = pickle.loads(pickle.dumps(one))  # noqa: S301
    one.partial_fit(digits)
    two.partial_fit(digits)
    np.testing.assert_array_equal(one.components_, two.components_)
    fitted = small(penalty="l1").fit(digits)
    before = fitted.score(digits)
    fitted.partial_fit(digits)
    assert fitted.n_iter_ == 12
    assert fitted.score(digits) == pytest.approx(before, abs=0.05)


def test_neighbours_on_the_torus_are_active_together(digits):
    coder = small(n_latents=36, neighbourhood=3, max_iter=25).fit(digits)
    energy = coder.transform(digits) ** 2
    together = np.corrcoef(energy.T)
    near = (torus(36, 3).numpy() > 0) & ~np.eye(36, dtype=bool)
    assert together[near].mean() > together[~np.eye(36, dtype=bool)].mean() + 0.1


def test_plot_lays_the_torus_out(digits):
    square = small(n_latents=16, neighbourhood=3, max_iter=1).fit(digits).plot()
    assert square.size[0] == square.size[1]
    plain = small(max_iter=1).fit(digits)
    assert plain.plot(shape=(4, 16)).size[0] > 100
    with pytest.raises(UsageError, match="shape"):
        plain.plot(shape=(3, 3))
    for wrong in (64, "88", (8.0, 8.0)):
        with pytest.raises(UsageError, match=r"a tile is \(h, w\)"):
            plain.plot(shape=wrong)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"penalty": "l2"}, "unknown penalty 'l2'"),
        ({"penalty": "l1", "neighbourhood": 3}, "needs penalty='smooth'"),
        ({"n_latents": 24, "neighbourhood": 3}, "square number of latents"),
        ({"n_latents": 0}, "at least 1"),
        ({"alpha": -1}, "alpha is -1"),
        ({"epsilon": 0}, "epsilon is 0"),
        ({"gamma": -1}, "gamma is -1"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": 0}, "batch_size"),
        ({"code_iter": 0}, "code_iter"),
        ({"preprocess": ["whiten"]}, "did you mean"),
        ({"device": "warp"}, "device 'warp' cannot be used"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"dtype": ["float32"]}, "unknown dtype"),
        *[({"n_latents": n}, "n_latents is .* whole") for n in (1.5, True, "5", None, [3, 2])],
        ({"n_latents": 10**12}, "at most 2147483647"),
        ({"alpha": "a"}, "alpha is 'a'"),
        ({"alpha": 1e300, "penalty": "l1"}, r"alpha is 1e\+300; .* below 1e\+15"),
        ({"alpha": 10**400}, "below 1e.15"),
        ({"code_iter": 1.5}, "code_iter is 1.5"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"max_iter": 1.5}, "max_iter is 1.5"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"tol": -1}, "tol is -1"),
        ({"positive": "x"}, "positive is 'x'"),
        ({"neighbourhood": 1.5}, "neighbourhood is 1.5"),
    ],
)
def test_wrong_parameters_are_named(digits, changes, words):
    for fit in (small(**changes).fit, small(**changes).partial_fit):
        with pytest.raises(UsageError, match=words):
            fit(digits)


@pytest.mark.parametrize("changes", [{"penalty": "l2"}, {"tol": "a"}, {"code_iter": 0}])
def test_wrong_parameters_after_fitting_are_named(digits, changes):
    coder = small(max_iter=1).fit(digits).set_params(**changes)
    for use in (coder.transform, coder.score):
        with pytest.raises(UsageError, match=next(iter(changes))):
            use(digits)


def test_data_too_large_for_float32_is_said_to_be(digits):
    with pytest.raises(DataError, match=r"finite in float32.*scale the data"):
        small().fit(digits * 1e300)


def test_wrong_codes_are_named(digits):
    with pytest.raises(UsageError, match="the codes have 3 columns, but there are 25 latents"):
        small(max_iter=1).fit(digits).inverse_transform(np.zeros((2, 3)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_finds_the_same_codes(digits):
    coder = small(penalty="l1", tol=1e-6, device="cpu").fit(digits)
    expected = coder.transform(digits)
    coder.set_params(device="cuda")
    np.testing.assert_allclose(coder.transform(digits), expected, atol=1e-6)
