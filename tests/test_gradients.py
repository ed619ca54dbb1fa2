"""Cost and gradient against an independent NumPy version, autograd and finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from oracle import classic
from simplecell.distributed import ALONE
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.measures import LogMean, average_activation
from simplecell.training.gradient_check import check_gradient, cost_function
from simplecell.training.gradients import Gradient, Whole
from simplecell.training.objective import Objective
from simplecell.training.term import Moment
from simplecell.training.weights import flatten, initialise

COMBINATIONS = [
    (activation, output, tied, sparsity)
    for activation, output, tied, sparsity in itertools.product(
        ("sigmoid", "tanh", "identity"), ("sigmoid", "tanh", "linear"), (False, True), (0.0, 3.0)
    )
    if not (activation == "identity" and sparsity)
]


class Pieces:
    """x cut into chunks of uneven sizes."""

    def __init__(self, x, cuts):
        self.parts, self.n_samples = torch.tensor_split(x, cuts), len(x)
        self.ranks = ALONE

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter((part, part) for part in self.parts)


def make(activation, output, tied, sparsity, *, n=37, inputs=7, latents=9, dtype=torch.float64):
    """A small model with every parameter away from zero, its objective and data in (0.1, 0.9)."""
    model = Autoencoder(
        inputs, latents, activation=activation, output=output, tied=tied, dtype=dtype
    )
    initialise(model, 3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for bias in (model.bias, model.offset):
            bias.copy_(0.3 * torch.randn(bias.shape, generator=generator, dtype=torch.float64))
    x = 0.1 + 0.8 * torch.rand(n, inputs, generator=generator, dtype=torch.float64)
    objective = Objective.classic(weight_decay=2e-3, sparsity_weight=sparsity, target=0.1)
    return model, objective, x.to(dtype)


def gradients(model):
    return {name: p.grad.double().numpy().copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("activation", "output", "tied", "sparsity"), COMBINATIONS)
@pytest.mark.parametrize("fast", [True, False], ids=["kernel", "autograd"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_equals_numpy(activation, output, tied, sparsity, fast, chunks):
    model, objective, x = make(activation, output, tied, sparsity)
    flatten(model)
    pieces = Pieces(x, [5, 30] if chunks == 3 else [])
    gradient = Gradient(model, objective, fast=fast)
    assert (gradient.kernel is not None) == fast
    evaluation = gradient(pieces)

    w1, w2 = model.encoder.detach().numpy(), model.decoder.detach().numpy()
    biases = model.bias.detach().numpy(), model.offset.detach().numpy()
    cost, (dw1, dw2, db1, db2) = classic(
        w1, w2, *biases, x.numpy(), activation=activation, output=output,
        decay=2e-3, sparsity=sparsity, target=0.1, tied=tied,
    )  # fmt: skip
    expected = {"encoder": dw1, "bias": db1, "offset": db2}
    if not tied:
        expected["_decoder"] = dw2
    assert float(evaluation.cost) == pytest.approx(cost, rel=1e-12)
    for name, found in gradients(model).items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize(("activation", "output", "tied", "sparsity"), COMBINATIONS)
def test_equals_finite_differences(activation, output, tied, sparsity):
    model, objective, x = make(activation, output, tied, sparsity, n=10, inputs=4, latents=3)
    assert check_gradient(*cost_function(model, objective, x)).difference < 1e-9


def test_the_notes_toy():
    def h(x):
        return x[0] ** 2 + 3 * x[0] * x[1], np.array([2 * x[0] + 3 * x[1], 3 * x[0]])

    check = check_gradient(h, [4.0, 10.0])
    assert check.analytic.tolist() == [38, 12]
    assert check.difference < 1e-9


def test_a_wrong_gradient_is_caught():
    def without_the_half(x):
        return x[0] ** 2, np.array([x[0]])

    assert check_gradient(without_the_half, [1.5]).difference == pytest.approx(1 / 3, rel=1e-6)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(UsageError, match="one entry per parameter"):
        check_gradient(lambda x: (0.0, np.zeros(3)), [1.0, 2.0])


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("level", [-200.0, 200.0])
@pytest.mark.parametrize("fast", [True, False], ids=["kernel", "autograd"])
@pytest.mark.parametrize("chunks", [1, 2])
def test_kl_still_pushes_when_dead_or_saturated(activation, level, fast, chunks):
    """float32, every pre at ±200: the gradient on the biases is finite, not zero and right."""
    model, _, x = make(activation, "linear", False, 3.0, dtype=torch.float32)
    objective = Objective({"kl": {"weight": 1.0, "target": 0.05}})
    with torch.no_grad():
        model.encoder.zero_()
        model.bias.fill_(level)
    flatten(model)
    evaluation = Gradient(model, objective, fast=fast)(Pieces(x, [] if chunks == 1 else [11]))
    gain = 2.0 if activation == "tanh" else 1.0
    # dKL/dz = gain (ρ̂ − ρ) exactly, when all samples share one pre: ρ̂ is 0 or 1 to 86 digits.
    expected = gain * ((1 - 0.05) if level > 0 else -0.05)
    grad = model.bias.grad
    assert torch.isfinite(evaluation.cost)
    # 1e-4: the logarithms are near 400, where neighbouring float32 numbers are 3e-5 apart.
    torch.testing.assert_close(grad, torch.full_like(grad, expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize("fast", [True, False], ids=["kernel", "autograd"])
def test_one_dead_latent_beside_living_ones(fast):
    """Latents that need logarithms and latents that do not, in one float32 model."""
    model, objective, x = make("sigmoid", "sigmoid", False, 3.0, dtype=torch.float32)
    exact, _, x64 = make("sigmoid", "sigmoid", False, 3.0)
    with torch.no_grad():
        for m in (model, exact):
            m.bias[2], m.bias[4], m.bias[6] = -100.0, 40.0, -30.0
    for m in (model, exact):
        flatten(m)
    found = Gradient(model, objective, fast=fast)(Whole(x))
    right = Gradient(exact, objective, fast=False)(Whole(x64))
    assert float(found.cost) == pytest.approx(float(right.cost), rel=1e-6)
    for name, grad in gradients(exact).items():
        mine = gradients(model)[name]
        np.testing.assert_allclose(mine, grad, rtol=3e-4, atol=1e-5 * np.abs(grad).max())


def test_a_running_average_replaces_the_batch_mean():
    model, objective, x = make("sigmoid", "sigmoid", False, 3.0)
    flatten(model)
    running = LogMean(
        torch.full((9,), 0.2, dtype=torch.float64).log(),
        torch.full((9,), 0.8, dtype=torch.float64).log(),
    )
    Gradient(model, objective)(Whole(x), Moment(average=running))
    by_kernel = gradients(model)
    evaluation = Gradient(model, objective, fast=False)(Whole(x), Moment(average=running))
    for name, grad in gradients(model).items():
        np.testing.assert_allclose(by_kernel[name], grad, rtol=1e-10, atol=1e-13)
    by_hand = 9 * (0.1 * np.log(0.1 / 0.2) + 0.9 * np.log(0.9 / 0.8))
    assert float(evaluation.terms["kl"]) == pytest.approx(by_hand, rel=1e-12)


def test_kl_with_unbounded_codes_says_what_to_use():
    model = Autoencoder(4, 3, activation="relu")
    objective = Objective.classic(weight_decay=0, sparsity_weight=1, target=0.1)
    with pytest.raises(UsageError, match="use activation='sigmoid' or 'tanh'"):
        Gradient(model, objective)


def test_value_equals_the_gradients_own_value():
    model, objective, x = make("tanh", "linear", False, 3.0)
    flatten(model)
    gradient = Gradient(model, objective)
    pieces = Pieces(x, [4, 9])
    assert float(gradient.value(pieces).cost) == pytest.approx(
        float(gradient(pieces).cost), rel=1e-13
    )


def test_mean_activation_is_that_of_the_mapped_code():
    model, objective, x = make("tanh", "linear", False, 3.0)
    flatten(model)
    evaluation = Gradient(model, objective)(Whole(x))
    expected = average_activation(model(x).pre, 2.0).mean.detach()
    torch.testing.assert_close(evaluation.mean_activation, expected)
