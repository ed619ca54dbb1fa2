"""The figures of a whitening report against NumPy's own and against closed forms."""

import json

import numpy as np
import pytest
import torch

from simplecell.data import ArraySource
from simplecell.errors import DataError, UsageError
from simplecell.preprocess import whitening
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.whitening import (
    components_for,
    condition_number,
    covariance,
    off_diagonal_ratio,
    retained_variance,
    whitened_variance,
    whitening_report,
)

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(6, 6))
ROWS = RNG.normal(size=(500, 6)) @ MIX + 1000 * RNG.normal(size=6)


def fitted(*steps, rows=ROWS):
    return Preprocess(list(steps)).fit(lambda: [torch.from_numpy(rows)])


@pytest.mark.parametrize("batch", [500, 7, 1])
def test_covariances_in_batches_are_numpys(batch):
    chain = fitted("standardize")
    report = whitening_report(lambda: torch.from_numpy(ROWS).split(batch), chain)
    assert report.n_samples == 500
    np.testing.assert_allclose(report.before, np.cov(ROWS.T, bias=True), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(report.after, np.corrcoef(ROWS.T), atol=1e-9)
    np.testing.assert_allclose(covariance(ROWS), report.before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["zca_whiten", "pca_whiten"])
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_whitening_gives_the_variances_it_promises(kind, epsilon):
    chain = fitted({"kind": kind, "epsilon": epsilon})
    report = whitening_report(ArraySource(ROWS), chain)
    variance = np.sort(np.linalg.eigvalsh(np.cov(ROWS.T, bias=True)))[::-1]
    np.testing.assert_allclose(report.expected, variance / (variance + epsilon), atol=1e-9)
    np.testing.assert_allclose(report.eigenvalues_after, report.expected, atol=1e-9)
    if kind == "pca_whiten":
        np.testing.assert_allclose(report.after, np.diag(report.expected), atol=1e-9)
        assert report.table()["off_diagonal_ratio"]["after"] < 1e-6
    assert report.table()["off_diagonal_ratio"]["before"] > 0.1


def test_a_chain_that_does_not_end_in_whitening_promises_nothing():
    assert whitening_report(ROWS, fitted("center")).expected is None
    assert whitening_report(ROWS, fitted()).expected is None
    assert whitening_report(ROWS, fitted("pca")).expected is None
    ending = fitted("zca_whiten", "range")
    assert whitening_report(ROWS, ending).expected is None


def test_dropped_components_leave_a_smaller_covariance():
    chain = fitted({"kind": "pca_whiten", "epsilon": 0.0, "retained": 0.9})
    report = whitening_report(ROWS, chain)
    kept = chain.n_outputs
    assert report.after.shape == (kept, kept)
    assert kept == components_for(report.eigenvalues, 0.9) < 6
    np.testing.assert_allclose(report.expected, np.ones(kept))
    assert report.table()["n_outputs"] == kept


def test_the_table_is_json_even_where_a_direction_has_no_variance():
    flat = np.column_stack([ROWS, ROWS[:, 0]])
    report = whitening_report(flat, fitted("remove_dc", rows=flat))
    table = json.loads(json.dumps(report.table()))
    assert table["condition_number"] == {"before": None, "after": None}
    assert table["n_samples"] == 500
    assert table["components_for"]["0.9"] <= table["components_for"]["0.99"] <= 7


def test_retained_variance_of_the_notes_example():
    """Source: UFLDL, PCA: eigenvalues 7.29 and 0.69, of which the first keeps 91.3 %."""
    assert retained_variance(np.array([7.29, 0.69])) == pytest.approx([0.9135, 1], abs=1e-4)
    assert components_for(np.array([7.29, 0.69]), 0.92) == 2
    assert retained_variance(np.zeros(3)).tolist() == [1, 1, 1]
    assert components_for(np.full(7, 0.1), 1.0) == 7
    for wrong in (0, 1.5):
        with pytest.raises(UsageError, match="share is"):
            components_for(np.ones(2), wrong)


def test_closed_forms():
    assert whitened_variance(np.array([9.0, 0.0]), 1.0).tolist() == [0.9, 0]
    assert whitened_variance(np.array([4.0, 0.0]), 0.0).tolist() == [1, 0]
    assert condition_number(np.array([8.0, 2.0])) == 4
    assert condition_number(np.zeros(2)) == float("inf")
    assert off_diagonal_ratio(np.diag([3.0, 1.0])) == 0
    assert off_diagonal_ratio(np.array([[0.0, 2.0], [2.0, 0.0]])) == 1
    assert off_diagonal_ratio(np.zeros((2, 2))) == 0


def test_rows_that_do_not_fit_are_named(monkeypatch):
    chain = fitted("center")
    for rows, words in ((np.ones((3, 5)), "rows of 6"), (np.ones(6), "two axes")):
        with pytest.raises(DataError, match=words):
            whitening_report(lambda rows=rows: [torch.from_numpy(rows)], chain)
    with pytest.raises(DataError, match="not finite"):
        whitening_report(lambda: [torch.full((2, 6), torch.nan)], chain)
    with pytest.raises(DataError, match="no rows"):
        whitening_report(lambda: [], chain)
    monkeypatch.setattr(whitening, "MOST_INPUTS", 5)
    with pytest.raises(DataError, match=r"6 columns.*5 columns are the most"):
        whitening_report(ROWS, chain)
