"""Closed forms and published facts, through the public API."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from simplecell import (
    Autoencoder,
    CompressionAutoencoder,
    Objective,
    Recipe,
    as_source,
    check_gradient,
)
from simplecell.data import correlated_field, dead_leaves
from simplecell.model.measures import edge_coherence, edge_orientation, kl_bernoulli
from simplecell.run.begin import begin
from simplecell.run.directory import Run
from simplecell.training.weights import initialise
from whole_objective import value

LINEAR = {"activation": "identity", "output": "linear", "weight_decay": 0, "dtype": "float64"}


# The compression autoencoder.


@pytest.mark.slow  # a hundred trainings; the example of test_examples.py asks twelve seeds
def test_four_two_four_finds_four_codes_from_every_seed():
    """β 0, λ 1e-4: 100 of 100 seeds in the prototypes, at least 99 asked for."""
    x = np.eye(4)
    distinct = repeated = 0
    for seed in range(100):
        ae = CompressionAutoencoder(n_latents=2, weight_decay=1e-4, tol=1e-6, random_state=seed)
        codes = ae.fit_transform(x)
        distinct += len(np.unique(codes.round(), axis=0)) == 4
        repeated += np.array_equal(ae.inverse_transform(codes).round(), x)
    assert distinct >= 99
    assert repeated >= 99


@pytest.mark.parametrize(("n_inputs", "k", "gap"), [(12, 4, 1.1), (20, 5, 1.5), (30, 10, 1.1)])
def test_a_linear_autoencoder_spans_the_leading_subspace(n_inputs, k, gap):
    """Source: Baldi & Hornik 1989. The sample covariance is exactly diag(gap^-j), rotated."""
    rng = np.random.default_rng(k)
    white = rng.standard_normal((500, n_inputs))
    white = np.linalg.qr(white - white.mean(0))[0] * math.sqrt(500)
    axes = np.linalg.qr(rng.standard_normal((n_inputs, n_inputs)))[0]
    variances = gap ** -np.arange(float(n_inputs))
    x = 3 + white * np.sqrt(variances) @ axes.T
    ae = CompressionAutoencoder(
        n_latents=k, **LINEAR, preprocess=["center"], max_iter=1000, tol=1e-13, random_state=0
    ).fit(x)
    assert subspace_angles(ae.components_.T, axes[:, :k]).max() < 1e-3
    assert ae.score(x) == pytest.approx(variances[:k].sum() / variances.sum(), abs=1e-9)


@pytest.mark.slow  # the example of test_examples.py trains the same, and is asked the same
def test_half_the_numbers_keep_half_of_noise_and_nearly_all_of_a_field():
    """100 → 50. Of n independent inputs k numbers keep k/n, on samples that were not trained on."""
    shares = []
    for correlation in (0.0, 0.95):
        x, fresh = (correlated_field(4000, 10, correlation, seed) for seed in (0, 1))
        ae = CompressionAutoencoder(n_latents=50, **LINEAR, max_iter=60, random_state=0).fit(x)
        shares.append((ae.score(x), ae.score(fresh)))
    (noise, noise_fresh), (field, field_fresh) = shares
    assert 0.45 < noise < 0.58
    assert noise_fresh == pytest.approx(0.5, abs=0.01)
    assert field >= 0.95
    assert field_fresh >= 0.95


# The sparsity penalty.


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.9])
def test_kl_is_zero_at_the_target_alone_and_grows_towards_both_ends(p):
    q = np.linspace(0.001, 0.999, 999)
    divergence = kl_bernoulli(p, q)
    assert kl_bernoulli(p, p) == pytest.approx(0, abs=1e-15)
    assert (divergence[np.abs(q - p) > 1e-9] > 0).all()
    assert (np.diff(divergence)[q[1:] <= p] < 0).all()
    assert (np.diff(divergence)[q[:-1] >= p] > 0).all()


def test_kl_is_infinite_at_the_ends():
    """Each factor of 1000 nearer to an end adds the same: p or 1 − p times log 1000."""
    ends = kl_bernoulli(0.2, [1e-30, 1e-33, 1e-300])
    assert ends[1] - ends[0] == pytest.approx(0.2 * math.log(1000))
    assert ends[2] - ends[0] == pytest.approx(0.2 * 90 * math.log(1000))
    high = kl_bernoulli(0.2, [1 - 2.0**-40, 1 - 2.0**-50])
    assert high[1] - high[0] == pytest.approx(0.8 * 10 * math.log(2), rel=1e-6)


def test_kl_is_half_the_squared_difference_over_the_variance_near_the_target():
    p, step = 0.2, 1e-4
    assert kl_bernoulli(p, p + step) == pytest.approx(step**2 / (2 * p * (1 - p)), rel=1e-3)


def test_kl_is_neither_symmetric_nor_a_metric():
    assert abs(kl_bernoulli(0.5, 0.1) - kl_bernoulli(0.1, 0.5)) > 0.1
    detour = kl_bernoulli(0.5, 0.1) + kl_bernoulli(0.1, 0.01)
    assert kl_bernoulli(0.5, 0.01) > 2 * detour


# Identities of the network.


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_a_sigmoid_network_is_a_tanh_network_of_half_the_weights(output):
    """σ(2z) = (1 + tanh z)/2, so the objective without decay is the same, KL included."""
    first = Autoencoder(6, 9, output=output, dtype=torch.float64)
    second = Autoencoder(6, 9, activation="tanh", output=output, dtype=torch.float64)
    initialise(first, 1)
    x = torch.rand(50, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = first.tensors()
    mapped = {name: weights[name] / 2 for name in ("encoder", "bias", "decoder")}
    mapped["offset"] = weights["offset"] + weights["decoder"].sum(0) / 2
    second.load_tensors({**mapped, "center": weights["center"]})
    objective = Objective.classic(weight_decay=0, sparsity_weight=3, target=0.1)
    with torch.no_grad():
        costs = [float(value(objective, model, x, x)) for model in (first, second)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-13)
    assert costs[0] > 1  # the KL term counts: no latent is near its target yet


def test_the_notes_sizes_and_initial_ranges():
    """Source: UFLDL, exercise Sparse autoencoder: 3,289 parameters; ±0.2582, and ±0.0782 at 784."""
    for n_inputs, n_latents, radius in ((64, 25, 0.2582), (784, 196, 0.0782)):
        model = Autoencoder(n_inputs, n_latents)
        initialise(model, 0)
        largest = float(model.encoder.detach().abs().max())
        assert radius * 0.99 < largest < radius + 1e-4
        assert not model.bias.any()
    n_parameters = sum(parameter.numel() for parameter in Autoencoder(64, 25).parameters())
    assert n_parameters == 3289


def test_the_notes_gradient_example():
    """Source: UFLDL, Gradient checking: x₁² + 3 x₁ x₂ at (4, 10) has the gradient (38, 12)."""

    def function(x):
        return x[0] ** 2 + 3 * x[0] * x[1], np.array([2 * x[0] + 3 * x[1], 3 * x[0]])

    check = check_gradient(function, [4.0, 10.0])
    assert check.numerical == pytest.approx([38, 12])
    assert check.difference < 1e-9


# Edges.


@pytest.mark.parametrize(("side", "bound"), [(8, 0.30), (10, 0.25)])
def test_white_noise_stays_below_the_bound_of_an_edge_in_95_of_100_cases(side, bound):
    noise = np.random.default_rng(0).standard_normal((20_000, side * side))
    assert (edge_coherence(noise, (side, side)) < bound).mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("angle", [0, 0.3, 1.0, 2.2])
def test_a_straight_edge_is_fully_coherent_at_any_angle(angle):
    y, x = np.mgrid[-4:5, -4:5]
    edge = np.cos(angle) * x + np.sin(angle) * y
    assert edge_coherence(edge.reshape(1, -1), (9, 9)) == pytest.approx(1)


@pytest.mark.parametrize("tilt", [0, 30, 45, 89, -30, -60])
def test_an_edge_runs_in_its_direction(tilt):
    """Leaning by `tilt` degrees from vertical, to the right at the top where positive."""
    down, right = np.mgrid[-4:5, -4:5]
    angle = np.radians(tilt)
    edge = np.tanh((right * np.cos(angle) + down * np.sin(angle)) / 3)
    found = edge_orientation(edge.reshape(1, -1), (9, 9))[0]
    assert found == pytest.approx(tilt, abs=2)


def trained(data, out, recipe, *settings):
    """Figures of a run, and the coherence of what excites each of its latents."""
    session = begin(data, out, Recipe.load(recipe), settings=settings)
    for _ in session.records():
        pass
    figures, model = session.finish(), Run(out).load()
    return figures, edge_coherence(model.latents().numpy(), model.shape)


def test_dead_leaves_have_the_edges_of_photographs(tmp_path):
    """The stand-in for natural pictures that has no owner: 25 of 25 in the prototype."""
    pictures = dead_leaves(n=4, size=256)
    settings = ["data.patch=8", "model.n_latents=25", "data.n_patches=4000", "data.held_out=0"]
    figures, coherence = trained(pictures, tmp_path / "run", "edges", *settings)
    assert (coherence >= 0.4).sum() >= 20
    assert figures["mean_activation"]["min"] > 0.0095
    assert figures["mean_activation"]["max"] < 0.0125


@pytest.fixture
def olshausen():
    """IMAGES.mat, ten whitened natural pictures; it has no stated licence, so it is not shipped."""
    folder = os.environ.get("SIMPLECELL_DATA")
    if not folder:
        pytest.skip("SIMPLECELL_DATA is not set to a folder that holds ufldl/IMAGES.mat")
    path = Path(folder, "ufldl", "IMAGES.mat")
    assert as_source(path, patch=8, n_patches=10).n_samples == 10
    return path


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_notes_exercise(olshausen, tmp_path, seed):
    """64-25-64 on 10,000 patches: 0.448 to 0.449 with plain NumPy and SciPy in float64."""
    figures, coherence = trained(olshausen, tmp_path / "run", "ufldl", f"train.seed={seed}")
    assert figures["cost"] <= 0.455
    assert figures["mean_activation"]["min"] >= 0.010
    assert figures["mean_activation"]["max"] <= 0.012
    assert (coherence >= 0.4).sum() >= 23


@pytest.mark.slow
def test_the_notes_picture(olshausen, tmp_path):
    """100-100-100, whose filters the notes show."""
    settings = ["data.patch=10", "model.n_latents=100"]
    figures, coherence = trained(olshausen, tmp_path / "run", "ufldl", *settings)
    assert figures["cost"] <= 0.69
    assert (coherence >= 0.4).sum() >= 70
    assert (coherence >= 0.5).sum() >= 60
