"""Estimators tell what the doctor knows, in their own words, and what one figure hides."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from simplecell import SparseAutoencoder, TopKSparseAutoencoder
from simplecell.data.planted import planted_dictionary
from simplecell.doctor.figures import apart, hidden
from simplecell.estimators.advice import in_python
from simplecell.run.evaluate import Figures, Rows

X = planted_dictionary(1500, 16, 32, 3).x
MASSIVE = X + 0
MASSIVE[:, 7] += 300 + 60 * np.random.default_rng(0).standard_normal(1500).astype(np.float32)


def told(model, x):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(x)
    assert [w.category for w in said] == [ConvergenceWarning] * len(said)
    found = [line for w in said for line in str(w.message).splitlines()]
    assert set(found) <= set(model.notes_)
    return found


def test_one_massive_input_is_told_with_its_cure_which_cures():
    how = {"n_latents": 32, "k": 4, "max_samples": 60_000, "random_state": 0}
    found = told(TopKSparseAutoencoder(**how), MASSIVE)
    (line,) = [line for line in found if line.startswith("input 7 of 16 owns")]
    assert line.endswith("bring all to one scale: preprocess=['standardize']")
    cured = told(TopKSparseAutoencoder(**how, preprocess=["standardize"]), MASSIVE)
    assert not [line for line in cured if "own" in line]


def test_a_few_long_rows_are_told():
    x = X.copy()
    x[::100] *= 300
    found = told(TopKSparseAutoencoder(32, k=4, max_samples=40_000, random_state=0), x)
    assert [line for line in found if line.startswith("1 % of the samples own")]


def test_what_32_bits_cannot_hold_is_told_where_nothing_is_centred():
    x = X.astype(np.float64) + 1e9
    how = {"n_latents": 20, "k": 3, "max_samples": 2000, "random_state": 0}
    (line,) = told(TopKSparseAutoencoder(**how, preprocess=None), x)[:1]
    assert line.startswith("the prepared values lie so far from zero, around 1e+09")
    assert line.endswith("prepare them: preprocess=['center', 'scale']")
    cured = told(TopKSparseAutoencoder(**how, preprocess=["center", "scale"]), x)
    assert not [line for line in cured if "prepare" in line]


def test_what_is_well_is_silent():
    model = TopKSparseAutoencoder(20, k=3, max_samples=40_448, batch_size=128, random_state=0)
    assert told(model, X) == []


def test_a_cure_is_said_as_the_estimator_is_told():
    model = TopKSparseAutoencoder(20, k=3, max_samples=2000, random_state=0).fit(X)
    words = (
        "a; do: --set model.n_latents=7 --set objective.nested.widths=auto, or "
        """--set preprocess.steps='["standardize", { kind = "pca", retained = 0.5 }]'; b"""
    )
    assert in_python(words, lambda key, value: f"<{key}|{value!r}>") == (
        "a; do: <model.n_latents|7>, <objective.nested.widths|'auto'>, or "
        "<preprocess.steps|['standardize', {'kind': 'pca', 'retained': 0.5}]>; b"
    )
    assert model._setting("model.n_latents", 7) == "n_latents=7"
    assert model._setting("model.activation", "batchtopk") == "batchwise=True"
    assert model._setting("objective.auxk.weight", 0.03125) == (
        "settings={'objective.auxk.weight': 0.03125}"
    )


@pytest.mark.parametrize(("solver", "passes"), [("lbfgs", 40), ("adam", 2)])
def test_steps_are_said_as_passes_where_the_estimator_counts_these(solver, passes):
    model = SparseAutoencoder(8, solver=solver, max_iter=1, batch_size=75, random_state=0).fit(X)
    assert model._setting("train.steps", 40) == f"max_iter={passes}"


def figures(variance, unexplained, rows=None):
    one = np.asarray(variance, dtype=float)
    two = np.asarray(unexplained, dtype=float)
    rows = rows or (np.ones(200), np.zeros(200))
    return Figures(200, one, two, Rows(np.arange(200), *rows), one, None, None, None, None)


def test_what_is_hidden_is_told_by_name_and_only_if_it_hides():
    uneven = figures([98, *[0.1] * 19], [0.01, *[0.09] * 19])
    (found,) = hidden(uneven, ["center"], [f"gene{i}" for i in range(20)])
    assert found.words.startswith("gene0 of 20 owns 98.1% of the variance")
    assert "of inputs that weigh alike it is 0.855" in found.words
    assert hidden(uneven, ["pca"]) == []
    assert hidden(figures([98, *[0.1] * 19], [0.01, *[0.001] * 19]), []) == []
    assert hidden(figures([2, 1, 1, 1], [0, 1, 1, 1]), []) == []  # the largest of four is no news
    rows = np.ones(200), np.full(200, 0.2)
    rows[0][13], rows[1][13] = 9e4, 0
    (found,) = hidden(figures([9e4 + 199], [40], rows), [])
    assert "(sample 13 first)" in found.words
    assert "of the median sample it is 0.2" in found.words


def test_a_gap_between_new_and_training_samples_is_told():
    train, new = figures([1], [0.068]), figures([1], [0.199])
    (found,) = apart(train, new)
    assert found.words.startswith("fvu is 0.199 of held-out samples and 0.068 of training ones")
    assert apart(train, figures([1], [0.075])) == []
    few = dataclasses.replace(new, n_samples=6)  # of which a factor of 2.9 may be chance
    assert apart(train, few) == []
    assert len(apart(figures([1], [0.0008]), dataclasses.replace(new, n_samples=6))) == 1
    assert apart(figures([1], [0.001]), figures([1], [0.003])) == []
