"""The scikit-learn coats: scikit-learn's own conformance checks, and equality with the core."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from simplecell.errors import DataError, UsageError
from simplecell.estimators.transformers import PatchScaling, Whitening
from simplecell.preprocess.chain import Preprocess

EVERY = [Whitening(), Whitening("pca", retained=0.9), Whitening(remove_dc=True), PatchScaling()]


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:400] / 16


@parametrize_with_checks([Whitening(), Whitening("pca"), PatchScaling()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_whitening_equals_the_core(digits, method):
    whitening = Whitening(method, epsilon=0.01, remove_dc=True).fit(digits)
    x = torch.tensor(digits)
    chain = Preprocess(["remove_dc", {"kind": f"{method}_whiten", "epsilon": 0.01}])
    want = chain.fit(lambda: [x]).apply(x).x.numpy()
    np.testing.assert_array_equal(whitening.transform(digits), want)
    dc_free = digits - digits.mean(1, keepdims=True)
    by_hand = (dc_free - whitening.mean_) @ whitening.components_.T
    np.testing.assert_allclose(whitening.transform(digits), by_hand, atol=1e-12)
    np.testing.assert_allclose(whitening.inverse_transform(want), dc_free, atol=1e-10)


def test_whitening_attributes(digits):
    whitening = Whitening("pca", retained=0.9).fit(digits)
    kept = whitening.n_components_
    assert whitening.components_.shape == (kept, 64)
    assert whitening.mean_.shape == whitening.eigenvalues_.shape == (64,)
    values = whitening.eigenvalues_
    assert values[:kept].sum() / values.sum() >= 0.9 > values[: kept - 1].sum() / values.sum()
    assert whitening.get_feature_names_out()[-1] == f"whitening{kept - 1}"
    assert all(isinstance(getattr(whitening, f"{n}_"), np.ndarray) for n in ("mean", "components"))


def test_patch_scaling(digits):
    scaling = PatchScaling().fit(digits)
    dc_free = digits - digits.mean(1, keepdims=True)
    assert scaling.scale_ == pytest.approx(3 * dc_free.std())
    scaled = scaling.transform(digits)
    assert scaled.min() >= 0.1
    assert scaled.max() <= 0.9
    clipped = dc_free.clip(-scaling.scale_, scaling.scale_)
    np.testing.assert_allclose(scaled, (clipped / scaling.scale_ + 1) * 0.4 + 0.1)
    np.testing.assert_allclose(scaling.inverse_transform(scaled), clipped, atol=1e-12)


@pytest.mark.parametrize("transformer", EVERY, ids=str)
def test_every_kind_of_input(digits, transformer):
    want = clone(transformer).fit_transform(digits)
    read_only = digits.copy()
    read_only.flags.writeable = False
    reversed_twice = np.ascontiguousarray(digits[:, ::-1])[:, ::-1]
    names = [f"p{i}" for i in range(64)]
    frames = [pd.DataFrame(digits, columns=names), pl.DataFrame(digits, schema=names)]
    for x in (read_only, np.asfortranarray(digits), reversed_twice, *frames):
        fresh = clone(transformer)
        np.testing.assert_allclose(fresh.fit_transform(x), want, atol=1e-9)
        back = fresh.inverse_transform(want)
        assert back.shape == digits.shape
    single = clone(transformer).fit_transform(digits.astype(np.float32))
    assert (single.dtype, want.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single, want, atol=1e-4)
    assert clone(transformer).fit_transform((digits * 16).astype(np.uint8)).dtype == np.float64


@pytest.mark.parametrize("transformer", EVERY, ids=str)
def test_set_output_and_names(digits, transformer):
    frame = pd.DataFrame(digits, columns=[f"p{i}" for i in range(64)])
    fitted = clone(transformer).fit(frame)
    for kind, expected in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
        out = fitted.set_output(transform=kind).transform(frame)
        assert isinstance(out, expected)
        assert list(out.columns) == list(fitted.get_feature_names_out())
    first = "p0" if isinstance(transformer, PatchScaling) else "whitening0"
    assert fitted.get_feature_names_out()[0] == first


@pytest.mark.parametrize("transformer", EVERY, ids=str)
def test_pickle_and_pipeline(digits, transformer):
    fitted = clone(transformer).fit(digits)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(again.transform(digits), fitted.transform(digits))
    target = load_digits().target[:400]
    pipeline = make_pipeline(clone(transformer), LogisticRegression(max_iter=2000))
    assert pipeline.fit(digits, target).score(digits, target) > 0.9


def test_errors(digits):
    with pytest.raises(UsageError, match="unknown whitening method 'zac'; did you mean 'zca'"):
        Whitening("zac").fit(digits)
    with pytest.raises(UsageError, match=r"retained=0\.9 needs method='pca'; ZCA keeps every"):
        Whitening(retained=0.9).fit(digits)
    with pytest.raises(UsageError, match="a number of at least 0 as epsilon; got -1"):
        Whitening(epsilon=-1).fit(digits)
    with pytest.raises(DataError, match="use epsilon > 0, or pca_whiten"):
        Whitening(epsilon=0).fit(digits)
    with pytest.raises(DataError, match="x has 3 inputs per sample, but prepared rows have 64"):
        Whitening().fit(digits).inverse_transform(np.zeros((2, 3)))


def test_volts_are_whitened_as_well_and_what_is_damped_is_said(digits):
    x = 1e-5 * np.random.default_rng(0).normal(size=(500, 4))
    whitening = Whitening().fit(x)
    assert whitening.epsilon_ == pytest.approx(0.01 * x.var(0).mean())
    np.testing.assert_allclose(whitening.transform(x).var(0), 1 / 1.01, atol=0.01)
    assert whitening.notes_ == []
    (note,) = Whitening(epsilon=0.1).fit(x).notes_
    assert note.startswith("ZCA whitening damps 4 of 4 directions")
