"""The compiled classic step says what autograd says in float64, of any size, on any threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simplecell.model import native
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.kernels import classic
from simplecell.training.gradients import Gradient, Whole
from simplecell.training.lbfgs import LBFGS
from simplecell.training.objective import Objective
from simplecell.training.weights import flatten, initialise

needs_library = pytest.mark.skipif(native.library() is None, reason="not compiled here")
WAYS = ["blocks", "passes"] * (native.library() is not None) + ["torch"]
SIZES = [(1, 1, 1), (2, 3, 5), (47, 8, 16), (49, 17, 9), (1025, 33, 26), (2100, 64, 25)]
"""Samples, inputs, latents."""
LAYERS = [("sigmoid", "sigmoid"), ("tanh", "linear"), ("sigmoid", "tanh"), ("relu", "relu")]
BOUND = {torch.float32: 3e-6, torch.float64: 1e-13}
"""Of the compiled ways; torch's own float32 sums over samples err by more."""


@pytest.fixture
def go(monkeypatch):
    """Take one of the ways to the same gradient."""

    def choose(way):
        monkeypatch.setattr(classic, "_IN_CACHE", 2**16 if way == "blocks" else 0)
        library = native.library
        if way == "torch":
            monkeypatch.setattr(native, "library", lambda *tensors: None)
        else:
            assert library() is not None

    return choose


def drawn(sizes, layer, dtype, *, tied=False, outputs=None, sparsity=3.0):
    """A model with all parameters away from 0, an objective, x and what it is to give."""
    (n, inputs, latents), (activation, output) = sizes, layer
    settings = {"activation": activation, "output": output, "tied": tied, "n_outputs": outputs}
    model = Autoencoder(inputs, latents, dtype=dtype, **settings)
    initialise(model, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for bias in (model.bias, model.offset):
            bias.copy_(0.3 * torch.randn(bias.shape, generator=generator, dtype=torch.float64))
    x = 0.1 + 0.8 * torch.rand(n, inputs, generator=generator, dtype=torch.float64)
    target = torch.rand(n, outputs or inputs, generator=generator, dtype=torch.float64)
    sparsity = sparsity if activation in ("sigmoid", "tanh") else 0.0
    objective = Objective.classic(weight_decay=2e-3, sparsity_weight=sparsity, target=0.1)
    flatten(model)
    return model, objective, x.to(dtype), target.to(dtype)


def gradients(model):
    return {name: p.grad.double().numpy().copy() for name, p in model.named_parameters()}


def assert_near(found, right, bound):
    for name, grad in right.items():
        np.testing.assert_allclose(found[name], grad, rtol=0, atol=bound * np.abs(grad).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sizes", SIZES)
def test_equals_autograd_in_float64(sizes, layer, dtype, way, go):
    outputs = sizes[1] + 2 if sizes[0] % 2 else None
    model, objective, x, target = drawn(sizes, layer, dtype, outputs=outputs)
    exact, _, _, _ = drawn(sizes, layer, torch.float64, outputs=outputs)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), exact.parameters(), strict=True):
            theirs.copy_(mine)
    right = Gradient(exact, objective, fast=False)(Whole(x.double(), target.double()))
    go(way)
    found = Gradient(model, objective)(Whole(x, target))
    bound = BOUND[dtype] * (3 if way == "torch" else 1)
    assert float(found.cost) == pytest.approx(float(right.cost), rel=bound)
    assert_near(gradients(model), gradients(exact), bound)
    mean = right.mean_activation.float()
    torch.testing.assert_close(found.mean_activation.float(), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tied", [False, True])
def test_chunks_with_kept_codes_are_the_whole(way, tied, go):
    go(way)
    model, objective, x, target = drawn(
        (2100, 24, 11), ("sigmoid", "linear"), torch.float64, tied=tied
    )
    gradient = Gradient(model, objective)
    gradient(Whole(x, target))
    whole, kernel = gradients(model), gradient.kernel
    pieces = list(zip(x.split(900), target.split(900), strict=True))
    for keep in (True, False, True):
        average = kernel.average_over(pieces, keep)
        kernel.begin()
        for k, (part, aim) in enumerate(pieces):
            kernel.add(part, aim, len(x), average, k)
        assert_near(gradients(model), whole, 1e-13)


@needs_library
@pytest.mark.parametrize("way", ["blocks", "passes"])
def test_no_bit_of_the_compiled_sums_depends_on_the_threads(way, go):
    """The products of the larger way are torch's; what is left has one row or a fixed order."""
    go(way)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            model, objective, x, target = drawn(
                (5000, 16, 12), ("sigmoid", "sigmoid"), torch.float32
            )
            evaluation = Gradient(model, objective)(Whole(x, target))
            names = ("bias", "offset") if way == "passes" else gradients(model)
            found.append([evaluation.cost.item(), *(gradients(model)[n].tolist() for n in names)])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


@needs_library
@pytest.mark.parametrize("kind", ["sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_to_the_last_digits(kind, dtype):
    steps = torch.cat([torch.linspace(-40, 40, 20001), torch.linspace(-1e-3, 1e-3, 2000)])
    x = steps.to(dtype)[:, None].contiguous()
    layer = native.Layer(len(x), 1, 1, 1, kind, "linear")
    code = x.new_empty(len(x), native.padded(1, dtype))[:, :1]
    native.library(x).codes(layer, x, x.new_ones(1, 1), x.new_zeros(1), code)
    exact = np.longdouble(x.numpy()[:, 0])
    right = 1 / (1 + np.exp(-exact)) if kind == "sigmoid" else np.tanh(exact)
    error = np.abs(np.longdouble(code.numpy()[:, 0]) - right)
    assert float((error / np.abs(np.spacing(right.astype(x.numpy().dtype)))).max()) < 3.5


@needs_library
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu", "identity"])
def test_the_ends_of_the_numbers(kind):
    x = torch.tensor([-torch.inf, -1e30, -200.0, 200.0, 1e30, torch.inf, torch.nan])
    layer = native.Layer(1, 7, 7, 7, kind, "linear")
    code = x.clone()[None]
    native.library(x).activated(layer, torch.zeros(7), code)
    right = classic.FORWARD[kind](x.clone())
    torch.testing.assert_close(code[0], right, rtol=0, atol=1e-30, equal_nan=True)


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("pairs", "n"), [(1, 1), (2, 31), (7, 33), (20, 3289)])
def test_the_direction_is_that_of_the_recursion(pairs, n, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    flat = torch.zeros(n, dtype=dtype)
    lbfgs = LBFGS(flat, flat.clone(), lambda: None)
    scales = 1 + torch.rand(n, generator=generator, dtype=torch.float64)
    steps = torch.randn(pairs, n, generator=generator, dtype=torch.float64)
    changes = steps * scales
    lbfgs.load_state_dict(
        {
            "steps": steps.to(dtype),
            "changes": changes.to(dtype),
            "curvatures": (steps * changes).sum(1),
            "counts": torch.tensor([0, 0, 0]),
        }
    )
    grad = torch.randn(n, generator=generator, dtype=torch.float64).to(dtype)
    found = lbfgs._direction(grad)
    monkeypatch.setattr(native, "library", lambda *tensors: None)
    bound = 1e-4 if dtype == torch.float32 else 1e-12
    right = lbfgs._direction(grad)
    torch.testing.assert_close(found, right, rtol=0, atol=bound * float(right.abs().max()))
