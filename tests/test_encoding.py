"""Encoding in use: by entries where they are few, the same bits as by dense codes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from simplecell.data import ArraySource
from simplecell.model import passes, selection
from simplecell.model.activations import ACTIVATIONS, activation
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.codes import Codes, SparseCodes
from simplecell.model.passes import Passes
from simplecell.run.encoding import dense_codes, dense_pieces, encoded, sparse_codes
from simplecell.run.evaluate import evaluate
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained
from simplecell.training.prepared import fitted, identity
from simplecell.training.weights import initialise

D, M = 6, 40
SETTINGS = {"topk": {"k": 3}, "abstopk": {"k": 3}, "batchtopk": {"k": 2.5}}
FIXED = ("topk", "abstopk")
SPARSE = sorted(kind for kind, made in ACTIVATIONS.items() if made.sparse)
every = pytest.mark.parametrize("kind", SPARSE)
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture
def crossover(monkeypatch):
    """Sets the density from which codes in use are dense."""

    def set_to(density):
        monkeypatch.setattr(selection, "CROSSOVER", density)

    return set_to


def made(kind, dtype=torch.float32, n_latents=M):
    """An activation whose numbers of each latent are all different."""
    one = activation(kind, n_latents, dtype=dtype, **SETTINGS.get(kind, {}))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
        if kind == "batchtopk":
            one.threshold.fill_(0.8)
    return one


def model_of(kind, dtype=torch.float32):
    model = Autoencoder(
        D, M, activation=kind, output="linear", dtype=dtype, **SETTINGS.get(kind, {})
    )
    initialise(model, 1, "uniform")
    model.activation.load_state_dict(made(kind, dtype).state_dict())
    return model


def normal(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


BATCHES = {
    "usual": lambda dtype: normal(50, M, dtype=dtype),
    "one sample": lambda dtype: normal(1, M, dtype=dtype),
    "no samples": lambda dtype: normal(0, M, dtype=dtype),
    "none active": lambda dtype: normal(5, M, dtype=dtype).abs().neg() - 1,
    "all active": lambda dtype: normal(5, M, dtype=dtype).abs() + 2,
    "empty rows between": lambda dtype: (
        normal(5, M, dtype=dtype) - 100 * torch.tensor([[1.0], [0], [1], [0], [1]], dtype=dtype)
    ),
    "latent by latent": lambda dtype: normal(M, 50, dtype=dtype).T,
    "equal values": lambda dtype: torch.ones(4, M, dtype=dtype),
}


@every
@precisions
@pytest.mark.parametrize("batch", BATCHES)
def test_sparse_in_use_is_dense_in_use(kind, dtype, batch, crossover):
    pre, one = BATCHES[batch](dtype), made(kind, dtype)
    with torch.no_grad():
        crossover(2.0)
        sparse = one(pre)
        crossover(-1.0)
        dense = one(pre)
    assert isinstance(sparse, SparseCodes)
    assert batch == "no samples" or not isinstance(dense, SparseCodes)
    if kind in FIXED and batch == "equal values":  # which of them are kept is left open
        assert torch.equal(sparse.l0(), dense.l0())
        return
    assert torch.equal(sparse.dense, dense.dense)
    assert sparse.dtype == dense.dtype == dtype
    for mine, other in zip(sparse.rows(), dense.rows(), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(sparse.l0(), dense.l0())
    assert torch.equal(sparse.active(), dense.active())


@every
def test_the_density_decides_which_it_is(kind):
    one = activation(kind, 1000, **({"k": 5} if kind in SETTINGS else {}))
    if kind == "batchtopk":
        one.threshold.fill_(2.5)
    few, many = normal(20, 1000) - 2.3, normal(20, 1000) + 3
    with torch.no_grad():
        assert isinstance(one(few), SparseCodes)
        if kind not in FIXED:
            assert not isinstance(one(many), SparseCodes)
    assert not isinstance(one(few, training=True), SparseCodes)


@every
@precisions
@pytest.mark.parametrize("density", [2.0, -1.0], ids=["sparse", "dense"])
def test_passes_are_those_of_the_model(kind, dtype, density, crossover):
    """The buffer serves batches of any size, a smaller or a larger one after the first."""
    crossover(density)
    model = model_of(kind, dtype)
    used = Passes(model)
    for n in (7, 3, 0, 12, 1):
        x = normal(n, D, dtype=dtype, seed=n)
        with torch.no_grad():
            plain = model(x)
        mine = used.forward(x)
        for name in ("pre", "recon", "raw"):
            assert torch.equal(getattr(mine, name), getattr(plain, name))
        assert torch.equal(mine.code.dense, plain.code.dense)


def test_passes_make_no_wide_array_anew():
    model = Autoencoder(D, 5000, activation="topk", output="linear", k=4)
    initialise(model, 0, "uniform")
    used, x = Passes(model), normal(64, D)
    first = used.encode(x)[0].data_ptr()
    assert used.encode(x + 1)[0].data_ptr() == first
    assert used.encode(x[:9])[0].data_ptr() == first


@pytest.mark.parametrize(
    ("n_inputs", "n_latents", "n_rows"),
    [(4, 25, 8192), (64, 1024, 4096), (768, 12_288, 1024), (10, 2**16, 256), (2**25, 4, 1)],
)
def test_rows_at_once(n_inputs, n_latents, n_rows):
    class Wide:
        pass

    wide = Wide()
    wide.n_inputs, wide.n_latents = n_inputs, n_latents
    assert Passes(wide).n_rows == n_rows


def trained_of(kind, x, dtype=torch.float32):
    source = ArraySource(x)
    chain = fitted(["center"], source)
    return Trained(model_of(kind, dtype), chain, Recipe.load("topk"), {}), source


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [2.0, -1.0], ids=["sparse", "dense"])
def test_whole_sources(kind, dtype, density, crossover, monkeypatch):
    crossover(density)
    monkeypatch.setattr(Passes, "n_rows", 16)
    x = normal(50, D).numpy().astype(dtype)
    trained, source = trained_of(kind, x)
    parts = [trained.encode(x[i : i + 16]) for i in range(0, 50, 16)]
    whole = dense_codes(trained, source)
    assert whole.dtype == dtype
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    rows = sparse_codes(trained, source)
    csr = scipy.sparse.csr_array(tuple(part.numpy() for part in rows), shape=(50, M))
    assert csr.has_canonical_format
    np.testing.assert_array_equal(csr.toarray(), whole)
    pieces = [piece.copy() for piece in dense_pieces(trained, source)]
    as_trained = [trained.encode(x[i : i + 16], as_trained=True) for i in range(0, 50, 16)]
    np.testing.assert_array_equal(np.concatenate(pieces), np.concatenate(as_trained))


@every
def test_nothing_dense_is_made_where_entries_are_few(kind, crossover, monkeypatch):
    def refuse(*_):
        raise AssertionError("a dense code was made")

    x = normal(50, D).numpy()
    trained, source = trained_of(kind, x)
    crossover(2.0)
    expected = dense_codes(trained, source)
    before = evaluate(trained.model, trained.preprocess, source)
    monkeypatch.setattr(SparseCodes, "dense", property(refuse))
    monkeypatch.setattr(type(trained.model.activation), "code", refuse)
    np.testing.assert_array_equal(dense_codes(trained, source), expected)
    assert len(sparse_codes(trained, source).values) == np.count_nonzero(expected)
    assert evaluate(trained.model, trained.preprocess, source).fvu == before.fvu


@every
def test_figures_by_entries_are_those_of_dense_codes(kind, crossover):
    model, source = model_of(kind, torch.float64), ArraySource(normal(60, D).double().numpy())
    crossover(2.0)
    sparse = evaluate(model, identity(D), source)
    crossover(-1.0)
    dense = evaluate(model, identity(D), source)
    np.testing.assert_array_equal(sparse.density, dense.density)
    np.testing.assert_allclose(sparse.mean_activation, dense.mean_activation, rtol=1e-13)
    assert sparse.l0 == dense.l0
    assert sparse.code_l1 == pytest.approx(dense.code_l1, rel=1e-13)
    assert sparse.fvu == pytest.approx(dense.fvu, rel=1e-12)


def test_numbers_too_large_are_counted_over_batches(monkeypatch):
    monkeypatch.setattr(passes, "_NUMBERS", 7 * M)
    monkeypatch.setattr(passes, "_SAMPLES", 1)
    x = normal(30, D).numpy()
    trained, _ = trained_of("topk", x)
    x[23] = 3e38
    with pytest.raises(Exception, match="sample 23 holds numbers so large"):
        list(encoded(trained, ArraySource(x)))


def test_filling_adds_nothing_to_what_stands_elsewhere():
    out = torch.zeros(5, M)
    code = made("topk")(normal(3, M))
    code.fill(out[1:4])
    assert torch.equal(out[1:4], code.dense)
    assert not out[0].any()
    assert not out[4].any()
    Codes(code.dense).fill(out[2:5])
    assert torch.equal(out[2:5], code.dense)


@pytest.mark.parametrize("dense", [True, False])
def test_single_codes_are_read_without_the_others(dense):
    code = made("topk")(normal(6, M))
    codes = Codes(code.dense) if dense else code
    samples, latents = torch.cartesian_prod(torch.arange(6), torch.arange(M)).T
    assert torch.equal(codes.read(samples, latents), code.dense.reshape(-1))
    nothing = made("relu")(normal(3, M).abs().neg())
    assert not nothing.read(torch.tensor([0, 2]), torch.tensor([1, 5])).any()
