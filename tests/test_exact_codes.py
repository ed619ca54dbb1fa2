"""Exact codes: the lasso's own choice, least squares over it, and what becomes of them in use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.decomposition import sparse_encode

import simplecell
from simplecell.cli import run_command_line
from simplecell.data.planted import planted_dictionary
from simplecell.errors import UsageError
from simplecell.explorer.make.playground import has_exact
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.exact import Exact, alpha_for, refitted
from simplecell.model.measures import fvu
from simplecell.training.weights import initialise

D, M = 12, 30


def made(dtype=torch.float64, **settings):
    model = Autoencoder(D, M, output="linear", dtype=dtype, **{"activation": "relu"} | settings)
    initialise(model, 0)
    with torch.no_grad():
        model.offset.copy_(torch.linspace(-1, 1, len(model.offset)))
    return model


@pytest.fixture(scope="module")
def planted():
    return planted_dictionary(3000, 16, 40, 3)


@pytest.fixture(scope="module")
def fitted(planted):
    how = {"k": 3, "max_samples": 60_000, "random_state": 0}
    return {
        codes: simplecell.TopKSparseAutoencoder(60, codes=codes, **how).fit(planted.x)
        for codes in ("encoder", "exact")
    }


def test_the_latents_are_those_of_the_lasso_and_their_size_that_of_least_squares():
    model, alpha = made(), 0.1
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    code = Exact(model, alpha).encode(x)[1].dense.numpy()
    atoms = model.decoder.detach().numpy()
    lengths = np.linalg.norm(atoms, axis=1)
    rest = (x - model.offset.detach()).numpy()
    unit = atoms / lengths[:, None]
    lasso = sparse_encode(
        rest, unit, algorithm="lasso_cd", alpha=alpha, positive=True, max_iter=20_000
    )
    kept = ((code > 0) == (lasso > 1e-3)).all(1)
    assert kept.mean() > 0.5  # of others a latent left that least squares makes negative
    assert not ((code > 0) & (lasso < 1e-5)).any()
    for mine, sample in zip(code, rest, strict=True):
        active = mine > 0
        best = np.linalg.lstsq(atoms[active].T, sample, rcond=None)[0]
        np.testing.assert_allclose(mine[active], best, rtol=1e-3, atol=1e-4)
    errors = np.linalg.norm(code @ atoms - rest, axis=1)
    best = [nnls(atoms[one > 1e-3].T, sample)[1] for one, sample in zip(lasso, rest, strict=True)]
    assert errors.mean() < 1.03 * np.mean(best)


def test_signed_codes_are_those_of_the_lasso_over_all_codes():
    model, alpha = made(activation="abstopk", k=3), 0.1
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    code = Exact(model, alpha).encode(x)[1].dense.numpy()
    atoms = model.decoder.detach().numpy()
    rest = (x - model.offset.detach()).numpy()
    unit = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    lasso = sparse_encode(rest, unit, algorithm="lasso_cd", alpha=alpha, max_iter=20_000)
    assert (lasso < -1e-3).any()
    assert ((code != 0) == (np.abs(lasso) > 1e-3)).all(1).mean() > 0.8
    for mine, sample in zip(code, rest, strict=True):
        active = mine != 0
        best = np.linalg.lstsq(atoms[active].T, sample, rcond=None)[0]
        np.testing.assert_allclose(mine[active], best, rtol=1e-3, atol=1e-4)
    mirrored = Exact(model, alpha).encode(2 * model.offset.detach() - x)[1].dense.numpy()
    np.testing.assert_allclose(mirrored, -code, atol=1e-4)


def test_alpha_of_signed_codes_leaves_as_many_active_as_wanted():
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = made(activation="abstopk", k=3)
    l0 = Exact(model, alpha_for(model, x, 3.0)).encode(x)[1].l0().double().mean()
    assert float(l0) == pytest.approx(3, rel=0.03)


def test_what_least_squares_makes_negative_leaves():
    atoms = torch.tensor([[1.0, 0.0], [1.0, 0.1]], dtype=torch.float64)
    x = torch.tensor([[1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    code = refitted(x, atoms, torch.ones(2, 2, dtype=torch.float64))
    assert code[0].tolist() == pytest.approx([1.0, 0.0])
    assert code[1].tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def test_a_latent_without_an_atom_is_never_active():
    model = made()
    with torch.no_grad():
        model.decoder[3] = 0
    code = Exact(model, 0.05).encode(torch.ones(4, D, dtype=torch.float64))[1].dense
    assert bool((code[:, 3] == 0).all())
    assert bool((code[:, :3] >= 0).all())


@pytest.mark.parametrize("wanted", [1.0, 4.0])
def test_alpha_leaves_as_many_active_as_wanted(wanted):
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    alpha = alpha_for(made(), x, wanted)
    l0 = Exact(made(), alpha).encode(x)[1].l0().double().mean()
    assert float(l0) == pytest.approx(wanted, rel=0.02)


def test_the_same_dictionary_says_more(fitted, planted):
    quick, exact = fitted["encoder"], fitted["exact"]
    assert np.array_equal(quick.components_, exact.components_)
    assert exact.l0_ == pytest.approx(3, abs=0.2)
    assert exact.fvu_ < 0.7 * quick.fvu_
    codes = exact.transform(planted.x)
    squares = ((planted.x - exact.inverse_transform(codes)) ** 2).sum()
    whole = ((planted.x - planted.x.mean(0)) ** 2).sum()
    assert exact.score(planted.x) == pytest.approx(1 - fvu(squares, whole), abs=1e-6)
    assert exact.fvu_ == pytest.approx(fvu(squares, whole), abs=1e-3)


def test_rows_do_not_depend_on_their_neighbours(fitted, planted):
    exact = fitted["exact"]
    whole = exact.transform(planted.x[:50])
    np.testing.assert_allclose(exact.transform(planted.x[20:21]), whole[20:21], atol=1e-3)


def test_a_run_remembers_them(fitted, planted, tmp_path):
    exact = fitted["exact"]
    exact.save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run")
    assert (again.codes, again.alpha_) == ("exact", exact.alpha_)
    assert np.array_equal(again.transform(planted.x[:20]), exact.transform(planted.x[:20]))
    again.set_params(codes="encoder")
    quick = fitted["encoder"].transform(planted.x[:20])
    assert np.array_equal(again.transform(planted.x[:20]), quick)


def test_alpha_may_be_said_afterwards(fitted, planted):
    quick = fitted["encoder"]
    try:
        quick.set_params(codes="exact")
        with pytest.raises(UsageError, match="no alpha was chosen"):
            quick.transform(planted.x[:5])
        quick.set_params(alpha=fitted["exact"].alpha_)
        exact = fitted["exact"].transform(planted.x[:20])
        assert np.array_equal(quick.transform(planted.x[:20]), exact)
    finally:
        quick.set_params(codes="encoder", alpha="auto")


@pytest.mark.parametrize(
    ("settings", "alpha", "words"),
    [
        ({"activation": "sigmoid"}, 0.1, "for one layer with sparse codes"),
        ({"n_outputs": 5}, 0.1, "reconstructs its own inputs"),
        ({}, 0.0, "alpha"),
        ({}, float("nan"), "alpha"),
    ],
)
def test_what_has_none_says_so(settings, alpha, words):
    with pytest.raises(UsageError, match=words):
        Exact(made(**settings), alpha)


def test_a_word_that_is_none():
    with pytest.raises(UsageError, match="codes"):
        simplecell.TopKSparseAutoencoder(8, codes="best").fit(np.eye(20))


def test_from_the_command_line(fitted, planted, tmp_path, capsys):
    np.save(tmp_path / "x.npy", planted.x)
    fitted["encoder"].save(tmp_path / "run")
    run, data, out = (str(tmp_path / name) for name in ("run", "x.npy", "codes.npy"))
    assert run_command_line(["encode", run, data, "--out", out, "--codes", "exact"]) == 0
    told = capsys.readouterr().err
    assert "as many latents active as the encoder leaves on these rows" in told
    alpha = told.partition("--alpha ")[2].split()[0]
    codes = np.load(out)
    assert (codes != 0).sum(1).mean() == pytest.approx(3, abs=0.2)
    again = ["encode", run, data, "--out", out, "--codes", "exact", "--alpha", alpha]
    assert run_command_line(again) == 0
    np.testing.assert_allclose(np.load(out), codes, atol=1e-5)
    capsys.readouterr()
    measured = []
    for words in ([], ["--codes", "exact"]):
        assert run_command_line(["evaluate", run, data, "--json", *words]) == 0
        measured.append(json.loads(capsys.readouterr().out)["fvu"])
    assert measured[1] < 0.7 * measured[0]


def test_an_alpha_that_nothing_uses(fitted, planted, tmp_path, capsys):
    np.save(tmp_path / "x.npy", planted.x)
    fitted["encoder"].save(tmp_path / "run")
    words = ["encode", str(tmp_path / "run"), str(tmp_path / "x.npy"), "--out", "-"]
    assert run_command_line([*words, "--alpha", "0.1"]) == 2
    assert "say --codes exact" in capsys.readouterr().err
    assert run_command_line([*words, "--codes", "exat"]) == 2
    assert "exact" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_inputs", "n_latents", "offered"),
    [(12, 256, True), (12, 257, False), (256, 1024, True), (64, 1024, False), (1024, 512, False)],
)
def test_the_page_has_exact_codes_where_their_strength_is_found_soon(n_inputs, n_latents, offered):
    model = Autoencoder(n_inputs, n_latents, activation="topk", k=3, output="linear")
    assert has_exact(model) is offered
