"""Figures against the obvious version on all samples at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simplecell import evaluate as module
from simplecell.data import ArraySource
from simplecell.evaluate import Deviation, evaluate, spread
from simplecell.feed import identity
from simplecell.model import Autoencoder
from simplecell.preprocess import Preprocess


def model_of(activation, n_inputs=4, n_latents=7, output="linear"):
    model = Autoencoder(
        n_inputs, n_latents, activation=activation, output=output, dtype=torch.float64
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        model.encoder[2] = 0  # a latent that is never active, whatever its sign
        model.bias[2] = -50
    return model


@pytest.mark.parametrize("rows", [8192, 13, 1])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_in_chunks_as_all_at_once(monkeypatch, activation, rows):
    monkeypatch.setattr(module, "ROWS", rows)
    x = np.random.default_rng(0).standard_normal((40, 4)) + 100
    chain = Preprocess(["standardize"]).fit(lambda: [torch.from_numpy(x)])
    model = model_of(activation)
    found = evaluate(model, chain, ArraySource(x))
    prepared = (x - x.mean(0)) / x.std(0)
    output = model(torch.from_numpy(prepared))
    code, recon = output.code.dense.detach().numpy(), output.recon.detach().numpy()
    low, middle = {"sigmoid": (0, 0.5), "tanh": (-1, 0), "relu": (0, 0)}[activation]
    on = code > middle
    assert found.n_samples == 40
    assert found.fvu == pytest.approx(
        ((prepared - recon) ** 2).sum() / (prepared**2).sum(), rel=1e-9
    )
    width = 2 if activation == "tanh" else 1
    np.testing.assert_allclose(found.mean_activation, ((code - low) / width).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.density, on.mean(0))
    assert found.l0 == pytest.approx(on.sum(1).mean())
    assert found.density[2] == 0
    assert found.dead == pytest.approx((on.sum(0) == 0).mean())
    table = found.table()
    assert set(table) == {"n_samples", "fvu", "l0", "dead", "density", "mean_activation"}
    assert table["density"] == spread(found.density)


def test_closed_forms_of_fvu():
    x = np.random.default_rng(1).standard_normal((30, 3)).astype(np.float32)
    model = Autoencoder(3, 2, activation="sigmoid", output="linear")
    assert evaluate(model, identity(3), ArraySource(x - x.mean(0))).fvu == pytest.approx(
        1, abs=1e-6
    )
    flat = np.full((5, 3), 0.5, dtype=np.float32)
    assert evaluate(model, identity(3), ArraySource(flat)).fvu == np.inf
    with torch.no_grad():
        model.offset.fill_(0.5)
    assert evaluate(model, identity(3), ArraySource(flat)).fvu == 0


def test_deviation_far_from_zero_keeps_its_digits():
    x = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = x + 1e8
    deviation = Deviation()
    for part in far.split(77):
        deviation.add(part)
    assert deviation.count == 1000
    assert deviation.sum == pytest.approx(float((x - x.mean(0)).square().sum()), rel=1e-6)


def test_a_pass_changes_nothing():
    x = np.random.default_rng(0).random((20, 4))
    model = model_of("sigmoid")
    before = [parameter.clone() for parameter in model.parameters()]
    first = evaluate(model, identity(4), ArraySource(x))
    second = evaluate(model, identity(4), ArraySource(x))
    assert first.table() == second.table()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
