"""Comparing dictionaries, and the recovery of planted ones, against what can be said by hand."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from simplecell import Autoencoder
from simplecell.cli import run_command_line
from simplecell.cli.printing import comparison_table
from simplecell.data.planted import planted_dictionary
from simplecell.errors import DataError, UsageError
from simplecell.model import matching
from simplecell.model.codes import Codes, SparseCodes
from simplecell.model.matching import Contingency, comparison, match, nearest, recovery


def dictionary(n_atoms, n_inputs=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n_atoms, n_inputs))


def plain_cosines(first, second):
    units = [atoms / np.linalg.norm(atoms, axis=1, keepdims=True) for atoms in (first, second)]
    return units[0] @ units[1].T


def test_the_same_atoms_in_another_order_and_length():
    atoms = dictionary(20)
    order = np.random.default_rng(1).permutation(20)
    found = match(atoms, 3 * atoms[order])
    np.testing.assert_array_equal(order[found.columns], found.rows)
    np.testing.assert_allclose(found.cosines, 1, rtol=1e-12)
    assert found.mean_cosine == pytest.approx(1)
    assert found.mean_max_first == pytest.approx(1)
    assert found.mean_max_second == pytest.approx(1)
    assert found.share() == 1
    assert found.alone() == ([], [])


def test_an_atom_and_its_opposite_are_the_same_only_without_signs():
    atoms = np.eye(3)
    flipped = np.diag([1.0, 1, -1])
    assert match(atoms, flipped).mean_cosine == pytest.approx(1 / 3)
    assert match(atoms, flipped).mean_max_first == pytest.approx(2 / 3)
    assert match(atoms, flipped, signed=False).mean_cosine == pytest.approx(1)
    assert nearest(atoms, flipped, signed=False).alone() == ([], [])
    assert nearest(atoms, flipped).alone() == ([2], [2])


@pytest.mark.parametrize("sizes", [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("signed", [True, False])
def test_the_matching_is_the_best_of_all(sizes, signed):
    first, second = dictionary(sizes[0], 3, seed=1), dictionary(sizes[1], 3, seed=2)
    table = plain_cosines(first, second)
    table = table if signed else np.abs(table)
    small = table if sizes[0] <= sizes[1] else table.T
    rows = range(len(small))
    sums = [sum(small[rows, p]) for p in itertools.permutations(range(len(small.T)), len(rows))]
    found = match(first, second, signed=signed)
    assert found.cosines.sum() == pytest.approx(max(sums), rel=1e-12)
    assert len(found.cosines) == min(sizes)
    np.testing.assert_allclose(found.cosines, table[found.rows, found.columns], rtol=1e-12)
    np.testing.assert_allclose(found.first, table.max(1), rtol=1e-12)
    np.testing.assert_allclose(found.second, table.max(0), rtol=1e-12)
    assert found.share(0.5) == (found.cosines >= 0.5).mean()


@pytest.mark.parametrize("pairs", [matching.FLOAT64_PAIRS, 0])
def test_blocks_change_nothing(monkeypatch, pairs):
    first, second = dictionary(23), dictionary(17, seed=1)
    whole = match(first, second)
    monkeypatch.setattr(matching, "SIDE", 5)
    monkeypatch.setattr(matching, "FLOAT64_PAIRS", pairs)
    parts, near = match(first, torch.from_numpy(second)), nearest(first, second)
    np.testing.assert_array_equal(parts.columns, whole.columns)
    for found in (parts, near):
        np.testing.assert_allclose(found.first, whole.first, atol=1e-6)
        np.testing.assert_allclose(found.second, whole.second, atol=1e-6)


def test_too_many_pairs_are_refused_and_compared_by_their_nearest(monkeypatch):
    first, second = dictionary(6), dictionary(5, seed=1)
    full = comparison(first, second).figures()
    monkeypatch.setattr(matching, "LARGEST", 29)
    with pytest.raises(UsageError, match="6 with 5 atoms"):
        match(first, second)
    near = comparison(first, second).figures()
    assert near == {**full, "mean_cosine": None, "share": None}
    assert full["mean_cosine"] is not None
    runs = [{"run": "a", "n_latents": 6, "samples": None, "fvu": None, "l0": None}] * 2
    assert "nearest only" in comparison_table({"runs": runs, **near})
    assert "share >= 0.9" in comparison_table({"runs": runs, **full})


def test_dictionaries_that_cannot_be_compared():
    with pytest.raises(DataError, match=r"\(3, 8\) and \(3, 7\)"):
        nearest(dictionary(3), dictionary(3, 7))
    with pytest.raises(DataError, match="cannot be compared"):
        match(dictionary(3), np.zeros((0, 8)))
    with pytest.raises(DataError, match="not finite"):
        nearest(dictionary(3), np.full((2, 8), np.nan))


def activity_of(code, truth, monkeypatch, at_once, batch, sparse=True):
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", at_once)
    counted = Contingency(truth.shape[1], code.shape[1])
    width = int(truth.sum(1).max())
    active = np.full((len(truth), width), -1)
    for row, atoms in zip(active, truth, strict=True):
        row[: atoms.sum()] = np.flatnonzero(atoms)
    for start in range(0, len(code), batch):
        codes = Codes(torch.from_numpy(code[start : start + batch]))
        codes = SparseCodes.of_rows(codes.rows(), code.shape[1]) if sparse else codes
        counted.add(codes, active[start : start + batch])
    return counted


@pytest.mark.parametrize(("at_once", "batch"), [(2**22, 50), (7, 13), (1, 1)])
@pytest.mark.parametrize("sparse", [True, False])
def test_counts_of_activity(monkeypatch, at_once, batch, sparse):
    rng = np.random.default_rng(0)
    code = rng.standard_normal((50, 6)) * (rng.random((50, 6)) < 0.4)
    truth = rng.random((50, 4)) < 0.5
    code[3], truth[5] = 0, False
    counted = activity_of(code, truth, monkeypatch, at_once, batch, sparse)
    on = code != 0
    assert counted.n_samples == 50
    np.testing.assert_array_equal(counted.together, truth.T.astype(int) @ on)
    np.testing.assert_array_equal(counted.truth, truth.sum(0))
    np.testing.assert_array_equal(counted.latents, on.sum(0))


def test_f1_by_hand(monkeypatch):
    #          latent 0 fires with atom 0 in 2 of its 3 samples; atom 0 is there in 4: p 2/3, r 2/4
    code = np.array([[1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], dtype=float)
    truth = np.array([[1, 0], [1, 0], [0, 0], [1, 0], [1, 0]], dtype=bool)
    counted = activity_of(code, truth, monkeypatch, 2**22, 5)
    p, r = 2 / 3, 2 / 4
    found = counted.f1(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    np.testing.assert_allclose(found, [2 * p * r / (p + r), 0, 0], rtol=1e-12)


def test_activity_of_other_data_is_refused():
    counted = Contingency(3, 4)
    with pytest.raises(DataError, match=r"shape \(2, 1\) for 5 codes"):
        counted.add(Codes(torch.ones(5, 4)), np.zeros((2, 1), dtype=int))
    with pytest.raises(DataError, match="below 3"):
        counted.add(Codes(torch.ones(1, 4)), np.array([[3]]))
    with pytest.raises(DataError, match=r"counts \(3, 4\)"):
        recovery(dictionary(3), dictionary(4), counted)
    assert not counted.together.any()


def planted_codes(planted, n_latents):
    code = np.zeros((len(planted.x), n_latents), dtype=np.float32)
    np.put_along_axis(code, planted.active, planted.coefficients, 1)
    return Codes(torch.from_numpy(code))


def test_a_dictionary_recovers_itself():
    planted = planted_dictionary(500, n_inputs=16, n_atoms=24, n_active=3)
    counted = Contingency(24, 24)
    counted.add(planted_codes(planted, 24), planted.active)
    found = recovery(planted.atoms, planted.atoms, counted)
    assert found.table() == pytest.approx({"share": 1, "mcc": 1, "f1": 1, "f1_latents": 1})
    assert recovery(planted.atoms, planted.atoms).f1 is None


def test_half_a_dictionary_is_half_recovered():
    planted = planted_dictionary(500, n_inputs=64, n_atoms=24, n_active=3)
    counted = Contingency(24, 12)
    codes = planted_codes(planted, 24).part(0, 12)
    counted.add(codes, planted.active)
    found = recovery(torch.from_numpy(planted.atoms[:12]), planted.atoms, counted)
    expected = {"share": 0.5, "mcc": 1, "f1": 0.5, "f1_latents": 1}
    assert found.table() == pytest.approx(expected)


def test_superfluous_latents_and_turned_atoms():
    truth = np.eye(6)[:4]
    # Atom 3 is turned round: |cosine| 1, but no atom points its way. Latent 4 doubles atom 0.
    atoms = np.stack([truth[0], truth[1], truth[2], -truth[3], truth[0] + 0.1 * truth[1]])
    counted = Contingency(4, 5)
    code = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]])
    counted.add(Codes(code), np.arange(4)[:, None])
    found = recovery(atoms, truth, counted)
    assert found.share == 0.75
    assert found.mcc == pytest.approx(1)
    assert found.f1 == pytest.approx(1)
    assert found.f1_latents == pytest.approx(4 / 5)


def test_random_atoms_recover_little():
    found = recovery(dictionary(64, 64), dictionary(64, 64, seed=1))
    assert found.share == 0
    assert found.mcc < 0.4


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    x = planted_dictionary(400, n_inputs=8, n_atoms=16, n_active=2).x
    np.save(folder / "x.npy", x)
    np.save(folder / "narrow.npy", x[:, :6])
    how = ("--set", "model.n_latents=16", "--set", "train.max_samples=4000")
    for name, data, *more in (
        ("a", "x", "--recipe", "topk", "--set", "model.target_l0=2", *how),
        ("b", "x", "--recipe", "topk", "--set", "model.target_l0=2", "--seed", "1", *how),
        ("linear", "x", "--recipe", "compress", "--set", "train.steps=3"),
        ("narrow", "narrow", "--recipe", "compress", "--set", "train.steps=3"),
    ):
        call = ["train", str(folder / f"{data}.npy"), "--out", str(folder / name), *more]
        assert run_command_line(call) == 0
    return folder


def compare(capsys, *words):
    capsys.readouterr()
    code = run_command_line(["compare", *map(str, words)])
    return code, *capsys.readouterr()


def test_compare_prints_and_gives_json(runs, capsys):
    code, out, _ = compare(capsys, runs / "a", runs / "b", "--json")
    assert code == 0
    result = json.loads(out)
    assert set(result) == {
        *("schema", "command", "runs", "signed", "mean_cosine", "share"),
        *("mean_max", "only", "seconds"),
    }
    info = json.loads((runs / "a" / "run.json").read_text())
    held_out = info["figures"]["held_out"]
    assert result["signed"] is True
    assert result["runs"][0] == {
        "run": str(runs / "a"),
        "n_latents": 16,
        "samples": "held out",
        "fvu": held_out["fvu"],
        "l0": held_out["l0"],
        "pca": {"samples": "held out", "fvu": held_out["pca"]},
    }
    assert 0 < held_out["l0"] <= 2
    assert 0 <= info["figures"]["dead"] <= 1
    assert -1 < result["mean_cosine"] <= result["mean_max"]["first"] < 1
    code, out, _ = compare(capsys, runs / "a", runs / "b")
    assert code == 0
    assert f"{result['mean_cosine']:.4f}" in out
    assert f"{held_out['fvu']:.4f}" in out


def test_a_run_is_like_itself(runs, capsys):
    result = json.loads(compare(capsys, runs / "a", runs / "a", "--json")[1])
    assert result["mean_cosine"] == pytest.approx(1)
    assert result["share"] == 1
    assert result["only"] == {"first": 0, "second": 0}


def test_compare_with_an_older_run_and_with_codes_that_have_signs(runs, capsys):
    path = runs / "linear" / "run.json"
    info = json.loads(path.read_text())
    for table in (info["figures"], info["figures"]["held_out"]):
        del table["l0"], table["dead"]
    path.write_text(json.dumps(info))
    code, out, _ = compare(capsys, runs / "a", runs / "linear", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["signed"] is False
    assert result["runs"][1]["l0"] is None
    assert result["runs"][1]["fvu"] is not None
    assert "|cosine|" in compare(capsys, runs / "a", runs / "linear")[1]


def test_compare_refuses_other_inputs(runs, capsys):
    code, out, err = compare(capsys, runs / "a", runs / "narrow")
    assert (code, out) == (3, "")
    assert "8 inputs per sample" in err
    assert "give two runs over the same inputs" in err
    assert compare(capsys, runs / "a", runs / "nothing")[0] == 4


def test_a_model_that_has_the_atoms_is_found_to_have_them():
    planted = planted_dictionary(4000, n_inputs=32, n_atoms=32, n_active=2, noise=0.0)
    model = Autoencoder(32, 32, activation="topk", k=2, output="linear")
    with torch.no_grad():
        atoms = torch.from_numpy(planted.atoms)
        model.decoder.copy_(atoms)
        model.encoder.copy_(torch.linalg.pinv(atoms).T)
        counted = Contingency(32, 32)
        for x, active in zip(
            torch.from_numpy(planted.x).split(999),
            torch.from_numpy(planted.active).split(999),
            strict=True,
        ):
            counted.add(model.encode(x)[1], active)
    found = recovery(model.atoms(), planted.atoms, counted)
    assert found.share == 1
    assert found.f1 > 0.999
