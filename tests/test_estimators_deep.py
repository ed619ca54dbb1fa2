"""Stacks, denoising and variational autoencoders: scikit-learn's contract and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import simplecell
from conformance import conformance
from simplecell import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedClassifier,
    VariationalAutoencoder,
)
from simplecell.errors import UsageError
from simplecell.estimators.stacked import softmax_regression


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


@conformance(
    [
        StackedAutoencoder((10, 5), max_iter=5, fine_tune_iter=3),
        StackedClassifier((20,), max_iter=8, fine_tune_iter=30),
    ],
    # what they share with SparseAutoencoder is checked in whole there
    [
        VariationalAutoencoder(max_iter=2, hidden=(20,)),
        DenoisingAutoencoder(max_iter=2, n_latents=10),
    ],
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_fine_tuning_improves_on_the_greedy_stack(digits):
    X, y = digits
    stack = StackedClassifier((50, 30), max_iter=40, fine_tune_iter=60, random_state=0)
    stack.fit(X[:400], y[:400])
    after = stack.score(X[400:], y[400:])
    whole = stack.model_
    stack.model_ = stack.greedy_model_
    assert after > stack.score(X[400:], y[400:]) + 0.1
    assert after > 0.8
    assert stack.cost_curve_[-1] < 0.3 * stack.cost_curve_[0]
    assert [layer.n_latents for layer in whole.layers] == [50, 30]


def test_before_fine_tuning_the_softmax_is_scikit_learns(digits):
    X, y = digits
    stack = StackedClassifier((30,), max_iter=30, fine_tune_iter=0, random_state=0).fit(X, y)
    codes = stack.encode(X)
    own = LogisticRegression(C=1 / (1e-4 * len(X)), max_iter=1000).fit(codes, y)
    assert np.abs(own.predict_proba(codes) - stack.predict_proba(X)).max() < 0.01


def test_two_classes_with_names(digits):
    X, y = digits
    X, y = X[y < 2], np.array(["one", "zero"])[(y[y < 2] == 0).astype(int)]
    stack = StackedClassifier((20,), max_iter=30, fine_tune_iter=30, random_state=0).fit(X, y)
    assert stack.classes_.tolist() == ["one", "zero"]
    assert stack.score(X, y) > 0.97
    assert stack.predict_proba(X).sum(1) == pytest.approx(1)


def test_layers_may_be_estimators_of_the_family(digits):
    X, _ = digits
    stack = StackedAutoencoder(
        [
            SparseAutoencoder(40, target=0.1, activation="tanh", output="linear", max_iter=20),
            DenoisingAutoencoder(20, max_iter=2, activation="tanh", output="tanh"),
            CompressionAutoencoder(5, max_iter=20, activation="identity", output="tanh"),
        ],
        fine_tune_iter=20,
        sparsity_weight=0.0,
        random_state=0,
    ).fit(X)
    assert [layer.activation.kind for layer in stack.model_.layers] == [
        "tanh",
        "tanh",
        "identity",
    ]
    assert stack.transform(X).shape == (600, 5)
    assert stack.inverse_transform(stack.transform(X)).shape == X.shape


@pytest.fixture(scope="module")
def two_layers(digits):
    """A layer, and one that was fitted to its codes, as MATLAB's users make a stack."""
    X, _ = digits
    first = SparseAutoencoder(30, max_iter=20, random_state=1).fit(X)
    second = SparseAutoencoder(10, max_iter=20, preprocess=None, random_state=2)
    return first, second.fit(first.transform(X))


def test_a_stack_of_frozen_layers_is_the_layers(digits, two_layers):
    X, _ = digits
    first, second = two_layers
    frozen = [FrozenEstimator(first), FrozenEstimator(second)]
    before = first.encoder_.copy(), second.encoder_.copy()
    stack = StackedAutoencoder(frozen, fine_tune_iter=0).fit(X)
    for layer, own in zip(stack.model_.layers, two_layers, strict=True):
        for name, tensor in own.model_.tensors().items():
            assert torch.equal(layer.tensors()[name], tensor), name
    wanted = second.transform(first.transform(X))
    np.testing.assert_allclose(stack.transform(X), wanted, rtol=1e-5, atol=1e-6)
    back = first.inverse_transform(second.inverse_transform(wanted))
    np.testing.assert_allclose(stack.inverse_transform(wanted), back, rtol=1e-5, atol=1e-6)
    again = clone(stack).fit(X)  # a clone of a frozen estimator is the estimator
    np.testing.assert_array_equal(again.transform(X), stack.transform(X))
    tuned = StackedAutoencoder(frozen, fine_tune_iter=30, sparsity_weight=0.0).fit(X)
    assert tuned.score(X) > stack.score(X)
    np.testing.assert_array_equal(first.encoder_, before[0])
    np.testing.assert_array_equal(second.encoder_, before[1])


def test_a_new_layer_is_trained_on_the_codes_of_a_frozen_one(digits, two_layers):
    X, _ = digits
    first, _ = two_layers
    both = StackedAutoencoder([FrozenEstimator(first), 8], max_iter=10, fine_tune_iter=0)
    stack = both.set_params(random_state=4).fit(X.astype(np.float32))
    assert torch.equal(stack.model_.layers[0].encoder, first.model_.encoder)
    alone = SparseAutoencoder(8, target=0.1, sparsity_weight=3.0, weight_decay=1e-4, max_iter=10)
    alone.set_params(preprocess=None, random_state=5)
    alone.fit(first.transform(X.astype(np.float32)))
    assert torch.equal(stack.model_.layers[1].encoder, alone.model_.encoder)


def test_a_classifier_on_frozen_layers(digits, two_layers):
    X, y = digits
    layers = [FrozenEstimator(one) for one in two_layers]
    stack = StackedClassifier(layers, fine_tune_iter=0, dtype="float64").fit(X, y)
    wanted = two_layers[1].transform(two_layers[0].transform(X))
    np.testing.assert_allclose(stack.encode(X), wanted, rtol=1e-6, atol=1e-9)


def test_layers_that_are_fitted_and_not_frozen_are_told_of(digits, two_layers):
    X, _ = digits
    with pytest.warns(UserWarning, match=r"trained anew.*\(layer 1, 2\).*FrozenEstimator"):
        stack = StackedAutoencoder(list(two_layers), fine_tune_iter=0, random_state=3).fit(X)
    assert not torch.equal(stack.model_.layers[0].encoder, two_layers[0].model_.encoder)


def test_what_cannot_be_kept_is_one_sentence(digits, two_layers):
    X, _ = digits
    first, second = two_layers

    def said(*layers):
        with pytest.raises(ValueError) as found:
            StackedAutoencoder(list(layers), max_iter=2, fine_tune_iter=0).fit(X)
        return str(found.value)

    new = FrozenEstimator(SparseAutoencoder(4))
    assert "layer 1 is a frozen SparseAutoencoder; a fitted estimator is needed" in said(new)
    scaled = SparseAutoencoder(4, max_iter=2, preprocess=["standardize"], output="linear")
    scaled.fit(first.transform(X))
    told = said(FrozenEstimator(first), FrozenEstimator(scaled))
    assert "layer 2 prepares what it sees (standardize)" in told
    assert "layer 1 was trained on 30 inputs, but 64 come" in said(FrozenEstimator(second))


def test_fine_tuning_lowers_the_error_of_the_whole(digits):
    X, _ = digits
    scores = [
        StackedAutoencoder(
            (40, 10), max_iter=40, fine_tune_iter=n, sparsity_weight=0.0, random_state=0
        )
        .fit(X)
        .score(X)
        for n in (0, 40)
    ]
    assert scores[1] > scores[0] + 0.04


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ((), "at least one layer"),
        (("30",), "a layer is a number of latents"),
        ((30, SparseAutoencoder(10, output="linear", max_iter=2)), "layer 2 gives 'linear'"),
        ((0,), "at least 1"),
        ((SparseAutoencoder(4, tied=True), 2), "layer 1 asks for tied weights"),
        ((5, SparseAutoencoder(4, preprocess=["center"])), "layer 2 asks for a preparation"),
        ((SparseAutoencoder(4, early_stopping=True), 2), "layer 1 asks for early stopping"),
        ((VariationalAutoencoder(2), 2), "VariationalAutoencoder of several layers"),
        ((DenoisingAutoencoder((6, 4)), 2), "DenoisingAutoencoder of several layers"),
    ],
)
def test_stacks_that_cannot_be_are_refused(digits, layers, sentence):
    with pytest.raises(UsageError, match=sentence):
        StackedAutoencoder(layers, max_iter=2, fine_tune_iter=1).fit(digits[0])


def test_labels_and_decays_that_cannot_be_are_refused(digits):
    X, y = digits
    with pytest.raises(UsageError, match="one class, '0'"):
        StackedClassifier((5,), max_iter=2).fit(X, np.zeros(600, int))
    for decay in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="softmax_decay is"):
            StackedClassifier((5,), max_iter=2, softmax_decay=decay).fit(X, y)


def test_sparse_input_equals_dense(digits):
    X, y = digits
    first, second = (
        StackedClassifier((10,), max_iter=5, fine_tune_iter=5, random_state=0).fit(data, y)
        for data in (X, scipy.sparse.csr_array(X))
    )
    assert np.array_equal(first.predict_proba(X), second.predict_proba(scipy.sparse.csr_array(X)))


@pytest.mark.parametrize("layer", [1, 2])
def test_latents_of_any_layer_are_drawn(digits, layer):
    X, y = digits
    for stack in (
        StackedAutoencoder((12, 6), max_iter=5, fine_tune_iter=2, random_state=0).fit(X),
        StackedClassifier((12, 6), max_iter=5, fine_tune_iter=2, random_state=0).fit(X, y),
    ):
        picture = stack.plot(layer=layer)
        assert min(picture.size) > 100
        assert np.asarray(picture).std() > 10
        with pytest.raises(UsageError, match="layer 3 does not exist"):
            stack.plot(layer=3)
    with pytest.raises(UsageError, match="not for atoms"):
        StackedAutoencoder((4,), max_iter=2, fine_tune_iter=1).fit(X).plot("atoms", layer=1)


def test_a_denoiser_restores_what_a_plain_autoencoder_does_not(digits):
    X, _ = digits
    damaged = X + np.random.default_rng(0).normal(0, 0.4, X.shape)
    plain = CompressionAutoencoder(100, max_iter=150, preprocess=None, random_state=0).fit(X)
    denoiser = DenoisingAutoencoder(
        100,
        corruption="gaussian",
        corruption_level=0.4,
        preprocess=None,
        max_iter=60,
        learning_rate=5e-3,
        random_state=0,
    ).fit(X)
    errors = [
        ((ae.inverse_transform(ae.transform(damaged)) - X) ** 2).mean() for ae in (plain, denoiser)
    ]
    assert errors[1] < 0.75 * errors[0]


def test_a_variational_code_is_near_the_standard_normal(digits):
    X, _ = digits
    vae = VariationalAutoencoder(
        3, hidden=(50,), max_iter=60, learning_rate=5e-3, random_state=0
    ).fit(X)
    means = vae.transform(X)
    model = vae.model_
    log_variance = model.encode(torch.from_numpy(X).float())[0][:, 3:].detach()
    total = means.var(0) + log_variance.exp().mean(0).numpy()
    assert np.abs(means.mean(0)).max() < 0.4
    assert np.abs(total - 1).max() < 0.4
    samples = vae.sample(50, random_state=0)
    assert samples.min() >= 0
    assert samples.max() <= 1
    assert np.array_equal(samples, vae.sample(50, random_state=0))
    # Samples are digits, not noise: their nearest picture is nearer than that of shuffled pixels.
    shuffled = np.random.default_rng(0).permuted(samples, axis=1)
    distance = [((rows[:, None] - X) ** 2).sum(2).min(1).mean() for rows in (samples, shuffled)]
    assert distance[0] < 0.3 * distance[1]


def test_a_gaussian_likelihood_reaches_any_data():
    X = 40 + 7 * np.random.default_rng(0).standard_normal((300, 2)) @ np.ones((2, 6))
    vae = VariationalAutoencoder(
        2, likelihood="gaussian", preprocess=["standardize"], max_iter=60, random_state=0
    ).fit(X)
    assert vae.score(X) > 0.7


@pytest.mark.parametrize(
    "estimator",
    [
        VariationalAutoencoder(2, hidden=(20,), max_iter=3, random_state=0),
        DenoisingAutoencoder(10, max_iter=3, random_state=0),
        StackedAutoencoder((20, 10), max_iter=5, fine_tune_iter=3, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_saved_is_loaded(digits, tmp_path, estimator):
    X, _ = digits
    fitted = clone(estimator).fit(X)
    fitted.save(tmp_path / "run")
    loaded = simplecell.load(tmp_path / "run")
    assert type(loaded) is type(estimator)
    assert np.array_equal(loaded.transform(X), fitted.transform(X))


def test_loaded_can_go_on_and_be_fitted_again(digits, tmp_path):
    X, _ = digits
    fitted = DenoisingAutoencoder(8, max_iter=3, batch_size=50, random_state=0).fit(X)
    fitted.save(tmp_path / "run")
    loaded = simplecell.load(tmp_path / "run")
    assert (loaded.max_iter, loaded.batch_size) == (3, 50)
    before = loaded.components_.copy()
    assert not np.array_equal(loaded.partial_fit(X).components_, before)
    mixed = StackedAutoencoder(
        [
            SparseAutoencoder(8, activation="tanh", max_iter=2),
            CompressionAutoencoder(4, output="tanh", max_iter=2),
        ],
        fine_tune_iter=2,
    ).fit(X)
    mixed.save(tmp_path / "mixed")
    again = simplecell.load(tmp_path / "mixed")
    assert (again.fine_tune_iter, again.max_iter) == (2, StackedAutoencoder().max_iter)
    again = clone(again).set_params(layers=(8, 4), fine_tune_iter=1).fit(X)
    assert again.transform(X).shape == (600, 4)


def test_softmax_of_two_classes_is_at_its_optimum(digits):
    """There the gradient of mean cross-entropy + (λ/2) Σ θ² vanishes, for 2 classes as for 3."""
    X, y = digits
    for n_classes in (2, 3):
        x, labels = X[y < n_classes], y[y < n_classes]
        weights, offset = softmax_regression(x, labels, 0.1)
        scores = torch.from_numpy(x) @ weights + offset
        wrong = scores.softmax(1) - torch.nn.functional.one_hot(torch.from_numpy(labels))
        gradient = torch.from_numpy(x).T @ wrong / len(x) + 0.1 * weights
        assert gradient.abs().max().item() < 1e-3


@pytest.mark.parametrize(
    ("estimator", "sentence"),
    [
        (VariationalAutoencoder(n_latents=10**12), "at most 2147483647"),
        (DenoisingAutoencoder([5] * 200), "at most 100 are taken"),
        (VariationalAutoencoder(likelihood="poisson"), "unknown likelihood 'poisson'"),
        (VariationalAutoencoder(hidden=(0,)), "whole numbers of at least 1"),
        (DenoisingAutoencoder(corruption="blur"), "unknown corruption 'blur'"),
        (DenoisingAutoencoder(corruption_level=1.5), "level of the corruption is 1.5"),
        (StackedAutoencoder((4,), max_iter=2, solver="sgd", fine_tune_iter=2), "solver"),
    ],
)
def test_wrong_parameters_are_sentences(digits, estimator, sentence):
    with pytest.raises(UsageError, match=sentence):
        estimator.fit(digits[0])


def test_self_taught_learning_is_a_pipeline(digits):
    """Unlabelled samples teach the features; the preparation is theirs, too."""
    from sklearn.frozen import FrozenEstimator

    X, y = digits
    features = SparseAutoencoder(60, target=0.1, max_iter=100, random_state=0).fit(X[y >= 5])
    pipeline = make_pipeline(FrozenEstimator(features), LogisticRegression(C=10, max_iter=1000))
    assert cross_val_score(pipeline, X[y < 5], y[y < 5], cv=3).mean() > 0.85
