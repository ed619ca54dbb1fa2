"""Data at the edge of what estimators can do: constant, masked, beyond the finite numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import simplecell
from simplecell.data import as_source
from simplecell.errors import DataError
from simplecell.estimators.door import refuse_overflow
from simplecell.model.measures import explained

LARGE = np.float32(3e38)
KINDS = {
    "sparse": lambda: simplecell.SparseAutoencoder(5, max_iter=3, random_state=0),
    "standardized": lambda: simplecell.SparseAutoencoder(
        5, max_iter=3, preprocess=["standardize"], output="linear", random_state=0
    ),
    "compression": lambda: simplecell.CompressionAutoencoder(2, max_iter=3, random_state=0),
    "topk": lambda: simplecell.TopKSparseAutoencoder(
        8, target_l0=2, max_samples=300, random_state=0
    ),
    "jumprelu": lambda: simplecell.JumpReLUSparseAutoencoder(
        8, target_l0=2, max_samples=300, random_state=0
    ),
    "stacked": lambda: simplecell.StackedAutoencoder((4, 3), max_iter=3, random_state=0),
    "coding": lambda: simplecell.SparseCoding(5, max_iter=3, random_state=0),
}
IN_PARTS = [kind for kind in KINDS if kind not in ("stacked",)]


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(x):
    return {kind: make().fit(x) for kind, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_score_of_data_without_variance_is_finite_and_one_convention(fitted, x, kind):
    """What a model fitted to other data makes of constant, all-zero and single rows: not exactly
    them, so 0; whether the mean of these is that row or not."""
    for data in (np.full((5, 6), 3.25), np.full((40, 6), 0.1), x[:1], np.repeat(x[:1], 9, 0)):
        for dtype in (np.float32, np.float64):
            assert fitted[kind].score(data.astype(dtype)) == 0.0
    assert fitted[kind].score(np.zeros((5, 6))) in (0.0, 1.0)
    varied = fitted[kind].score(x)
    assert varied == pytest.approx(1 - fitted[kind].fvu_, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_what_is_fitted_to_constant_data_has_a_finite_score(kind, value):
    data = np.full((20, 6), value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = KINDS[kind]().fit(data).score(data)
    assert score in (0.0, 1.0)


def test_a_constant_that_is_reproduced_exactly_scores_one(x):
    """Codes of 0 and an offset that is the mean: by hand, so that the right value is known."""
    model = simplecell.TopKSparseAutoencoder(8, target_l0=2, max_samples=60, random_state=0).fit(x)
    layer = model.model_
    mean = (x.astype(np.float64).mean(0)).astype(np.float32)
    for parameter in layer.parameters():
        parameter.data.zero_()
    assert model.score(np.repeat(mean[None], 5, 0)) in (0.0, 1.0)
    same = np.repeat(model.preprocess_.invert(layer.offset.detach()[None].double()).numpy(), 5, 0)
    assert model.score(same) == 1.0
    assert model.score(same + 0.1) == 0.0


def test_the_convention_itself():
    assert explained(1.0, 4.0, 10.0, 6) == 0.75
    assert explained(8.0, 4.0, 10.0, 6) == -1.0
    assert explained(0.0, 0.0, 0.0, 6) == explained(1e-13, 0.0, 10.0, 6) == 1.0
    assert explained(1e-13, 0.0, 0.0, 6) == 1.0
    assert explained(1.0, 0.0, 10.0, 6) == explained(1.0, 0.0, 0.0, 6) == 0.0
    assert explained(1.0, 1e-31, 10.0, 6) == 0.0  # rounding of a mean is no variance
    assert explained(1e-16, 0.0, 1e-14, 6) == 0.0  # volts: small, and wrong by a tenth


@pytest.mark.parametrize("kind", KINDS)
def test_masked_values_are_refused_everywhere(fitted, x, kind):
    masked = np.ma.masked_array(x, mask=np.zeros(x.shape, bool))
    masked[3, 2] = np.ma.masked
    match = "has masked values; fill or remove them first"
    calls = [KINDS[kind]().fit, fitted[kind].transform, fitted[kind].score]
    calls += [KINDS[kind]().partial_fit] if kind in IN_PARTS else []
    for call in (*calls, as_source):
        with pytest.raises(DataError, match=match):
            call(masked)
        with pytest.raises(DataError, match=match):
            call(list(masked))
    unmasked = np.ma.masked_array(x, mask=False)  # nothing is missing
    np.testing.assert_array_equal(fitted[kind].transform(unmasked), fitted[kind].transform(x))
    np.testing.assert_array_equal(fitted[kind].transform(masked.filled(0)[3:4]).shape[0], 1)


@pytest.mark.parametrize("kind", ["standardized", "topk", "jumprelu", "coding"])
def test_rows_beyond_the_finite_numbers_are_named(fitted, x, kind):
    odd = np.concatenate([x, x])
    odd[77] = LARGE * np.array([1, -1, 1, 1, -1, 1], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for call in (fitted[kind].transform, fitted[kind].score):
            with pytest.raises(DataError, match="sample 77 holds numbers so large"):
                call(odd)


def test_rows_are_counted_over_batches(fitted, x, monkeypatch):
    monkeypatch.setattr("simplecell.model.passes.Passes.n_rows", 7)
    odd = x.copy()
    odd[33] = LARGE
    with pytest.raises(DataError, match="sample 33 holds"):
        fitted["standardized"].transform(odd)


def test_other_transformers_name_the_row_too(x):
    odd = np.concatenate([x, np.full((1, 6), LARGE)])
    whitening = simplecell.Whitening().fit(x * 1e-3)
    with pytest.raises(DataError, match="sample 60 holds numbers so large"):
        whitening.transform(odd)
    with pytest.raises(DataError, match="sample 1 holds"):
        refuse_overflow(np.array([[[1.0, 2.0]], [[np.inf, 0.0]], [[np.nan, 0.0]]]))
