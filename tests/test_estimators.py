"""scikit-learn's contract, by scikit-learn's own suite, and what it does not ask for."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import simplecell
from conformance import conformance
from simplecell import CompressionAutoencoder, SparseAutoencoder
from simplecell.errors import UsageError


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:300] / 16


def small(**changes):
    return SparseAutoencoder(
        **{"n_latents": 20, "target": 0.1, "max_iter": 30, "random_state": 0, **changes}
    )


@conformance(
    [SparseAutoencoder(max_iter=60)],
    [
        SparseAutoencoder(activation="tanh", output="linear", solver="adam", max_iter=10),
        CompressionAutoencoder(max_iter=20),
    ],
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_fitted_attributes_are_numpy(digits):
    sae = small().fit(digits)
    for name, shape in {
        "components_": (20, 64),
        "encoder_": (20, 64),
        "bias_": (20,),
        "offset_": (64,),
        "mean_activation_": (20,),
        "cost_curve_": (30,),
    }.items():
        value = getattr(sae, name)
        assert isinstance(value, np.ndarray)
        assert value.shape == shape
    assert sae.n_iter_ == 30


def test_transform_is_the_formula(digits):
    sae = small().fit(digits)
    pre = digits @ sae.encoder_.astype(float).T + sae.bias_
    np.testing.assert_allclose(sae.transform(digits), 1 / (1 + np.exp(-pre)), rtol=1e-12)


def test_score_is_one_minus_fvu(digits):
    sae = small().fit(digits)
    recon = sae.inverse_transform(sae.transform(digits))
    fvu = ((digits - recon) ** 2).sum() / ((digits - digits.mean(0)) ** 2).sum()
    assert sae.score(digits) == pytest.approx(1 - fvu, rel=1e-5)
    assert sae.fvu_ == pytest.approx(fvu, rel=1e-4)


def test_inverse_transform_is_in_the_units_of_the_data(digits):
    """Data outside the output's range are mapped, said, and mapped back."""
    far = 50 * digits - 7
    ae = CompressionAutoencoder(n_latents=30, random_state=0).fit(far)
    assert "mapped to 0.1 … 0.9" in ae.notes_[0]
    recon = ae.inverse_transform(ae.transform(far))
    assert np.abs(recon - far).mean() < 0.1 * np.abs(far - far.mean(0)).mean() + 2
    assert recon.min() < 0 < 20 < recon.max()


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_the_same_seed_gives_the_same_bits(digits, solver):
    first, second = (small(solver=solver, batch_size=64).fit(digits) for _ in range(2))
    np.testing.assert_array_equal(first.components_, second.components_)
    other = small(solver=solver, batch_size=64, random_state=1).fit(digits)
    assert not np.array_equal(first.components_, other.components_)


def test_inputs_of_every_kind_give_the_same_codes(digits):
    sae = small().fit(digits)
    expected = sae.transform(digits)
    frozen = digits.copy()
    frozen.setflags(write=False)
    wide = np.repeat(digits, 2, axis=1)[:, ::2]
    for same in (frozen, wide, scipy.sparse.csr_matrix(digits), np.asfortranarray(digits)):
        np.testing.assert_allclose(sae.transform(same), expected, rtol=1e-12)
        np.testing.assert_array_equal(small().fit(same).components_, sae.components_)
    codes = sae.transform(digits.astype(np.float32))
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_data_frames_keep_their_names(digits):
    frame = pd.DataFrame(digits, columns=[f"pixel{i}" for i in range(64)])
    sae = small().set_output(transform="pandas").fit(frame)
    codes = sae.transform(frame)
    assert list(codes.columns[:2]) == ["latent0", "latent1"]
    assert list(sae.feature_names_in_[:2]) == ["pixel0", "pixel1"]
    sae.set_output(transform="polars")
    assert isinstance(sae.transform(frame), polars.DataFrame)


@pytest.mark.parametrize(
    "n_jobs",
    [1, pytest.param(2, marks=pytest.mark.slow)],  # two fresh processes import everything anew
)
def test_pipeline_grid_search_and_clone(n_jobs):
    data = load_digits()
    X, y = data.data[:400] / 16, data.target[:400]
    pipeline = make_pipeline(small(), LogisticRegression(max_iter=500))
    grid = {"sparseautoencoder__n_latents": [10, 30]}
    search = GridSearchCV(pipeline, grid, n_jobs=n_jobs, cv=2).fit(X, y)
    assert search.best_params_ == {"sparseautoencoder__n_latents": 30}
    assert search.best_score_ > 0.6
    assert clone(search.best_estimator_[0]).n_latents == 30


def test_partial_fit_learns_and_holds_the_activation_down(digits):
    sae = small(batch_size=50, learning_rate=0.01, n_latents=15)
    sae.partial_fit(digits)
    first = sae.score(digits)
    for _ in range(60):
        sae.partial_fit(digits)
    assert sae.score(digits) > first + 0.2
    assert sae.mean_activation_.max() < 0.25


def test_partial_fit_goes_on_after_pickling(digits):
    one = small(batch_size=50).partial_fit(digits)
    two = pickle.loads(pickle.dumps(one))  # noqa: S301
    one.partial_fit(digits)
    two.partial_fit(digits)
    np.testing.assert_array_equal(one.components_, two.components_)


def test_partial_fit_goes_on_from_fit(digits):
    sae = small().fit(digits)
    before = sae.score(digits)
    sae.partial_fit(digits)
    assert sae.score(digits) == pytest.approx(before, abs=0.05)


def test_early_stopping_keeps_the_best(digits):
    sae = small(max_iter=3000, early_stopping=True, n_iter_no_change=3, sparsity_weight=0.0)
    sae.fit(digits)
    assert sae.n_iter_ < 3000


@pytest.mark.parametrize("kind", [SparseAutoencoder, CompressionAutoencoder])
def test_save_and_load_is_the_same_estimator(digits, tmp_path, kind):
    sae = kind(n_latents=9, max_iter=10, random_state=0).fit(digits)
    sae.save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run")
    assert type(again) is kind
    np.testing.assert_array_equal(again.transform(digits), sae.transform(digits))
    np.testing.assert_array_equal(again.components_, sae.components_)
    assert again.weight_decay == sae.weight_decay
    sae.save(tmp_path / "run")  # saving again replaces
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_plot_and_notebook(digits):
    sae = small(max_iter=5).fit(digits)
    assert sae.plot().size[0] > 100
    assert sae.plot("atoms", shape=(4, 16)).size[0] > 100
    html = sae._repr_mimebundle_()["text/html"]
    assert "data:image/png;base64," in html
    with pytest.raises(UsageError, match="shape"):
        sae.plot(shape=(3, 3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation": "relu"}, "kl needs codes of a bounded range"),
        ({"activation": "sigmiod"}, "did you mean 'sigmoid'"),
        ({"solver": "sgd"}, "unknown solver 'sgd'"),
        ({"target": 1.5}, "between 0 and 1"),
        ({"n_latents": 0}, "n_latents is 0; a whole number of at least 1"),
        ({"weight_decay": -1}, "weight_decay is -1; a number of at least 0"),
        ({"preprocess": ["whiten"]}, "did you mean"),
        ({"device": "warp"}, "device 'warp' cannot be used"),
        ({"max_iter": 0}, "max_iter is 0; a whole number of at least 1"),
        ({"dtype": "float16"}, "float32"),
    ],
)
def test_wrong_parameters_are_named(digits, changes, words):
    with pytest.raises(UsageError, match=words):
        small(**changes).fit(digits)
