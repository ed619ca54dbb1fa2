"""The pass over entries is the plain pass: same values, same gradients, for every variant."""

from __future__ import annotations

import pytest
import torch

from simplecell.model import native, selection
from simplecell.model import places as places_room
from simplecell.model.autoencoder import Autoencoder
from simplecell.training.gradients import Gradient, Whole, by_entries
from simplecell.training.objective import Moment, Objective
from simplecell.training.weights import flatten, initialise

D, M, B = 12, 40, 30
CODES = {
    "relu": {"activation": "relu"},
    "topk": {"activation": "topk", "k": 3},
    "batchtopk": {"activation": "batchtopk", "k": 2.5},
    "jumprelu": {"activation": "jumprelu", "bandwidth": 0.6, "threshold": 0.8},
    "gated": {"activation": "gated"},
}
TERMS = {
    "plain": {"reconstruction": {"weight": 1.0}},
    "l1": {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}},
    "auxk": {"reconstruction": {"weight": 1.0}, "auxk": {"weight": 0.5, "k": 4}},
    "preact": {"reconstruction": {"weight": 1.0}, "preact": {"weight": 2.0}},
    "nested": {"nested": {"weight": 1.0, "widths": [8, 20, M]}},
    "decay": {"reconstruction": {"weight": 1.0}, "decay": {"weight": 0.01}},
    "l0": {"reconstruction": {"weight": 1.0}, "l0": {"weight": 0.3, "target": 3.0}},
    "gate": {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}, "gate": {"weight": 1.0}},
}
ONLY = {"l0": ("jumprelu",), "gate": ("gated",)}
SHAPES = {
    "plain": {},
    "offset before the encoder": {"pre_bias": True},
    "tied": {"tied": True},
    "transcoder": {"n_outputs": 7},
    "sigmoid output": {"output": "sigmoid"},
}
CASES = [
    (codes, terms, shape)
    for codes in CODES
    for terms in TERMS
    for shape in SHAPES
    if codes in ONLY.get(terms, (codes,)) and (shape == "plain" or terms in ("plain", "l1", "auxk"))
]


def made(codes, shape, seed=0, dtype=torch.float64):
    """A model with weights, biases and thresholds that are all different."""
    settings = {"output": "linear"} | CODES[codes] | SHAPES[shape]
    model = Autoencoder(D, M, dtype=dtype, **settings)
    initialise(model, seed, "uniform")
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * draw.to(dtype))
        if codes == "jumprelu":
            model.activation.threshold.abs_()
    return model


def samples(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=generator, dtype=torch.float64)
    x[3] = x[4]  # two samples alike: equal values before the activation
    return x.to(dtype)


def both(codes, terms, shape, dtype=torch.float64):
    """(evaluation, gradients) over entries, and by plain autograd."""
    x, found = samples(dtype=dtype), []
    target = samples(9, dtype)[:, :7] if shape == "transcoder" else x
    dead = torch.zeros(M, dtype=torch.bool)
    dead[::3] = True
    for fast in (True, False):
        model = made(codes, shape, dtype=dtype)
        flatten(model)
        gradient = Gradient(model, Objective(TERMS[terms]), fast=fast)
        gradient.kernel, gradient.sparse = None, by_entries(model) if fast else None
        evaluation = gradient(Whole(x, target), Moment(dead=dead, factors={"l1": 0.5}))
        found.append((evaluation, {name: p.grad for name, p in model.named_parameters()}))
    return found


WAYS = ["compiled"] * (native.library() is not None) + ["csr", "bags"]


@pytest.fixture(params=WAYS)
def sums(request, monkeypatch):
    """The ways that sums over entries are made: compiled, sparse matrices, bags as on a GPU."""
    if request.param != "compiled":
        monkeypatch.setattr(native, "library", lambda *tensors: None)
    if request.param == "bags":
        monkeypatch.setattr(places_room, "_has_csr", lambda like: False)


@pytest.mark.parametrize(("codes", "terms", "shape"), CASES)
@pytest.mark.parametrize("crossover", [1.0, 0.0], ids=["sparse", "dense"])
def test_values_and_gradients(codes, terms, shape, crossover, sums, monkeypatch):
    monkeypatch.setattr(selection, "CROSSOVER", crossover)
    (mine, grads), (plain, right) = both(codes, terms, shape)
    assert mine.terms.keys() == plain.terms.keys()
    for name, value in plain.terms.items():
        torch.testing.assert_close(mine.terms[name], value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mine.cost, plain.cost, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mine.mean_activation, plain.mean_activation)
    assert torch.equal(mine.codes.l0(), plain.codes.l0())
    assert torch.equal(mine.codes.active(), plain.codes.active())
    for name, grad in right.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-12, atol=1e-13)
