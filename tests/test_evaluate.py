"""Figures against the obvious version on all samples at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simplecell.cli.printing import evaluation_table
from simplecell.data import ArraySource
from simplecell.model import measures, passes
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.codes import Codes
from simplecell.model.measures import coherence, cosines, density_histogram
from simplecell.preprocess.chain import Preprocess
from simplecell.run import evaluate as module
from simplecell.run.evaluate import Deviation, evaluate, largest, spread
from simplecell.training.prepared import identity


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
    monkeypatch.setattr(passes.Passes, "n_rows", rows)
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
    error = (prepared - recon) ** 2
    np.testing.assert_allclose(found.unexplained, error.sum(0), rtol=1e-9)
    np.testing.assert_allclose(found.variance, (prepared**2).sum(0), rtol=1e-9)
    np.testing.assert_allclose(found.rows.unexplained, error.sum(1), rtol=1e-9)
    np.testing.assert_allclose(found.rows.variance, (prepared**2).sum(1), rtol=1e-9)
    assert found.rows.median == pytest.approx(np.median(error.sum(1) / (prepared**2).sum(1)))
    assert found.code_l1 == pytest.approx(np.abs(code).sum(1).mean(), rel=1e-12)
    table = found.table()
    assert set(table) == {
        *("n_samples", "fvu", "l0", "dead", "code_l1", "coherence"),
        *("fvu_standardized", "fvu_median", "largest_inputs", "largest_rows"),
        *("inputs_worse_than_mean", "density", "histogram", "mean_activation"),
    }
    assert table["coherence"] == spread(found.coherence)
    if activation != "relu":  # codes that are never 0
        named = ("density", "l0", "dead", "histogram")
        assert [table[name] for name in named] == [None] * 4
        return
    np.testing.assert_allclose(found.density, on.mean(0))
    assert found.l0 == pytest.approx(on.sum(1).mean())
    assert found.density[2] == 0
    assert found.dead == pytest.approx((on.sum(0) == 0).mean())
    assert table["density"] == spread(found.density)
    assert sum(row["latents"] for row in table["histogram"]) == 7
    assert table["histogram"][0] == {"from": 0.0, "to": 0.0, "latents": (on.sum(0) == 0).sum()}


def test_an_input_that_varies_in_one_row_does_not_own_the_figure():
    """Its own fvu may be any number: the errors of all rows over the variance of one."""
    x = np.random.default_rng(0).standard_normal((500, 4))
    x[:, 3] = 0
    x[17, 3] = 1e-4
    model = Autoencoder(4, 4, activation="identity", output="linear", dtype=torch.float64)
    with torch.no_grad():
        model.encoder.copy_(torch.eye(4))
        model.decoder.copy_(torch.eye(4))
        model.decoder[0, 3] = 0.1  # a tenth of another input is mixed in
        model.offset.zero_()
    found = evaluate(model, identity(4), ArraySource(x))
    mixed = 0.01 * (x[:, 0] ** 2).sum() / found.variance[3]
    assert mixed > 1e6
    assert found.fvu_standardized == pytest.approx(1 / 4, abs=1e-9)
    assert found.worse_than_mean == found.table()["inputs_worse_than_mean"] == 1


def test_what_a_few_inputs_and_a_few_rows_own():
    """Where one input has nearly all variance, fvu is its own; so with rows."""
    x = np.random.default_rng(0).standard_normal((500, 20))
    x -= x.mean(0)
    x[:, 7] *= 1000
    model = Autoencoder(20, 20, activation="identity", output="linear", dtype=torch.float64)
    keep = torch.diag((torch.arange(20) == 7).double())  # it reconstructs that one alone
    with torch.no_grad():
        model.encoder.copy_(keep)
        model.decoder.copy_(keep)
    found = evaluate(model, identity(20), ArraySource(x))
    assert found.fvu < 1e-4
    assert found.fvu_standardized == pytest.approx(19 / 20)
    top = largest(found.variance)
    assert (top.number, top.first) == (1, 7)
    assert top.share == pytest.approx((x[:, 7] ** 2).sum() / (x**2).sum())
    x = np.random.default_rng(0).standard_normal((500, 20))
    x[[3, 9, 40, 41, 99]] *= 300
    with torch.no_grad():
        model.encoder.zero_()
    found = evaluate(model, identity(20), ArraySource(x))
    own = ((x - x.mean(0)) ** 2).sum(1)
    top = largest(found.rows.variance)
    assert (top.number, top.first) == (5, own.argmax())
    assert top.share == pytest.approx(np.sort(own)[-5:].sum() / own.sum())
    assert found.rows.median == pytest.approx(np.median((x**2).sum(1) / own))


def test_a_long_source_is_looked_at_evenly(monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 5)
    x = np.random.default_rng(0).standard_normal((41, 4))
    found = evaluate(model_of("relu"), identity(4), ArraySource(x)).rows
    assert found.places.tolist() == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(found.variance, ((x - x.mean(0)) ** 2).sum(1)[::10])


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


SPARSE = [
    ("relu", {}),
    ("topk", {"k": 3}),
    ("batchtopk", {"k": 3}),
    ("jumprelu", {}),
    ("gated", {}),
]


def sparse_model(kind, settings, n_inputs=5, n_latents=12):
    model = Autoencoder(
        n_inputs,
        n_latents,
        activation=kind,
        output="linear",
        pre_bias=True,
        dtype=torch.float64,
        **settings,
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        if kind == "batchtopk":
            model.activation.threshold.fill_(0.8)
    return model


@pytest.mark.parametrize(("kind", "settings"), SPARSE, ids=[kind for kind, _ in SPARSE])
def test_figures_do_not_depend_on_the_rows_taken_at_once(monkeypatch, kind, settings):
    x = np.random.default_rng(0).standard_normal((250, 5)) + 3
    model = sparse_model(kind, settings)
    found = []
    for rows in (7, 100, 8192):
        monkeypatch.setattr(passes.Passes, "n_rows", rows)
        found.append(evaluate(model, identity(5), ArraySource(x)))
    code = model.encode(torch.from_numpy(x))[1].dense.detach().numpy()
    assert 0 < found[0].l0 < 12
    assert found[0].l0 == np.count_nonzero(code) / 250
    assert found[0].code_l1 == pytest.approx(np.abs(code).sum() / 250, rel=1e-12)
    for other in found[1:]:
        assert (other.l0, other.dead, other.histogram()) == (
            found[0].l0,
            found[0].dead,
            found[0].histogram(),
        )
        np.testing.assert_array_equal(other.density, found[0].density)
        np.testing.assert_allclose(other.mean_activation, found[0].mean_activation, rtol=1e-12)
        assert other.fvu == pytest.approx(found[0].fvu, rel=1e-12)
        assert other.code_l1 == pytest.approx(found[0].code_l1, rel=1e-12)


def test_wide_codes_come_in_fewer_rows(monkeypatch):
    sizes = []

    class Watched(ArraySource):
        def batches(self, n_rows):
            sizes.append(n_rows)
            return super().batches(n_rows)

    x = np.random.default_rng(0).random((50, 4))
    whole = evaluate(model_of("relu"), identity(4), ArraySource(x))
    monkeypatch.setattr(passes, "_NUMBERS", 7 * 9)
    monkeypatch.setattr(passes, "_SAMPLES", 1)
    parts = evaluate(model_of("relu"), identity(4), Watched(x))
    assert sizes == [9]
    assert parts.fvu == pytest.approx(whole.fvu, rel=1e-12)


def test_the_mean_as_reconstruction_has_fvu_1():
    x = np.random.default_rng(2).standard_normal((300, 5)) * 3 + 50
    model = sparse_model("topk", {"k": 3})
    with torch.no_grad():
        model.decoder.zero_()
        model.offset.copy_(torch.from_numpy(x.mean(0)))
    assert evaluate(model, identity(5), ArraySource(x)).fvu == pytest.approx(1, rel=1e-12)


def test_sparse_codes_are_never_made_dense(monkeypatch):
    model = sparse_model("topk", {"k": 3})
    monkeypatch.setattr("simplecell.model.codes.SparseCodes.dense", property(lambda codes: 1 / 0))
    x = np.random.default_rng(0).standard_normal((20, 5))
    assert evaluate(model, identity(5), ArraySource(x)).l0 <= 3


def test_codes_without_zeros_or_range_have_no_active_latents():
    x = np.random.default_rng(0).standard_normal((20, 4))
    for kind in ("identity", "gaussian"):
        model = Autoencoder(4, 3, activation=kind, output="linear", dtype=torch.float64)
        found = evaluate(model, identity(4), ArraySource(x))
        table = found.table()
        for name in ("l0", "dead", "code_l1", "density", "histogram"):
            assert table[name] is None, name
        assert table["mean_activation"] == {"min": 0, "mean": 0, "max": 0}
        text = evaluation_table(table)
        assert "no l0, dead, density: these codes are never 0" in text
        assert "latents by density" not in text


@pytest.mark.parametrize("at_once", [2048, 4, 1])
def test_coherence_of_atoms(monkeypatch, at_once):
    monkeypatch.setattr(measures, "_ATOMS_AT_ONCE", at_once)
    atoms = torch.tensor([[1.0, 0], [-2, 0], [1, 1], [0, 0]], dtype=torch.float64)
    np.testing.assert_allclose(coherence(atoms), [1, 1, 2**-0.5, 0])
    assert coherence(atoms[:1]).tolist() == [0]
    atoms = torch.randn(11, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = cosines(atoms, atoms).abs() - 2 * torch.eye(11)
    np.testing.assert_allclose(coherence(atoms), plain.max(1).values, rtol=1e-12)


def test_figures_keep_the_atoms_of_their_time():
    model = model_of("relu")
    found = evaluate(model, identity(4), ArraySource(np.ones((3, 4))))
    before = coherence(model.atoms()).numpy()
    with torch.no_grad():
        model.decoder.fill_(1)
    np.testing.assert_array_equal(found.coherence, before)


def test_densities_fall_into_powers_of_ten():
    density = np.array([0, 1e-9, 9.9e-6, 1 / 100_000, 1e-4, 0.0999, 0.1, 0.5, 1])
    assert density_histogram(density).tolist() == [1, 2, 1, 1, 0, 1, 3]
    assert density_histogram(density[-1:]).tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_the_table_draws_the_histogram():
    codes = Codes(torch.tensor([[1.0, 0, 2], [3, 0, 0]]))
    activity = module.Activity(model_of("relu").activation, 3)
    activity.add(codes)
    mean, density, l0, l1 = activity.means()
    assert (mean.tolist(), density.tolist(), l0, l1) == ([2, 0, 1], [1, 0, 0.5], 1.5, 3)
    one = np.ones(3)
    rows = module.Rows(np.arange(2), one[:2], one[:2])
    figures = module.Figures(2, one, one, rows, mean, density, l0, l1, torch.eye(3))
    lines = evaluation_table(figures.table()).splitlines()
    drawn = lines[lines.index("latents by density") + 1 :]
    assert [line.split() for line in drawn] == [
        ["0", "(dead)", "1", "#" * 20],
        ["below", "1e-5", "0"],
        ["1e-5", "to", "0.0001", "0"],
        ["0.0001", "to", "0.001", "0"],
        ["0.001", "to", "0.01", "0"],
        ["0.01", "to", "0.1", "0"],
        ["0.1", "to", "1", "2", "#" * 40],
    ]
    assert any(line.startswith("code l1           3   sum of |code|") for line in lines)
