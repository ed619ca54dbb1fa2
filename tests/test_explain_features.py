"""`features`: each latent with what a person needs to name it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from simplecell import TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.run.directory import Run


@pytest.fixture(scope="module")
def wines(tmp_path_factory):
    """A run on wines whose cultivar is a record, its table, and the codes of its rows."""
    folder = tmp_path_factory.mktemp("wines")
    data = load_wine(as_frame=True)
    table = data.frame.assign(target=[f"cultivar {c}" for c in data.target])
    table.to_csv(folder / "wines.csv", index=False)
    words = ["train", str(folder / "wines.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    told = ['data.records=["target"]', "model.n_latents=16", "model.target_l0=3"]
    told += ["preprocess.steps=['standardize']", "train.steps=300"]
    assert run_command_line([*words, *(part for key in told for part in ("--set", key))]) == 0
    codes = Run(folder / "run").load().encode(data.data.to_numpy().copy())
    return folder, codes


def asked(folder, *words):
    """The objects that `features` writes."""
    out = folder / "features.jsonl"
    told = ["features", str(folder / "run"), str(folder / "wines.csv"), "--out", str(out)]
    assert run_command_line([*told, *words]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_top_samples_and_quantiles_are_those_of_the_codes(wines):
    folder, codes = wines
    found = asked(folder)
    assert [one["latent"] for one in found] == list(range(16))
    for one, code in zip(found, codes.T, strict=True):
        active = np.sort(code[code > 0])[::-1]
        assert one["active"] == len(active)
        told = [top["code"] for top in one["top"]]
        np.testing.assert_allclose(told, active[:8], rtol=1e-4)
        for top in (*one["top"], *one["examples"]):
            assert code[top["row"]] == pytest.approx(top["code"], rel=1e-4)
            assert top["target"].startswith("cultivar")
            assert len(top["values"]) == 13
        rest = active[8:]
        if len(rest) > 20:
            assert [example["quantile"] for example in one["examples"]] == [
                0.9,
                0.75,
                0.5,
                0.25,
                0.1,
            ]
            middle = one["examples"][2]["code"]
            assert (rest >= middle * (1 - 1e-4)).mean() == pytest.approx(0.5, abs=0.06)


def test_inputs_are_correlations(wines):
    folder, codes = wines
    data = load_wine()
    for one, code in zip(asked(folder), codes.T, strict=True):
        assert "effects" not in one
        for name, value in one["inputs"].items():
            column = data.data[:, data.feature_names.index(name)]
            assert value == pytest.approx(np.corrcoef(code, column)[0, 1], abs=1e-4)


def test_effects_on_a_target_come_along(wines):
    folder, _ = wines
    found = asked(folder, "--target", "target")
    classes = {row["class"] for one in found for row in one["effects"]}
    assert classes == {"cultivar 0", "cultivar 1", "cultivar 2"}
    assert all(len(one["effects"]) == 3 for one in found)
    assert "held_out_auc" in found[0]["effects"][0]


def test_pictures_have_one_of_each_latent(tmp_path):
    digits = load_digits().images[:300].astype(np.float32)
    np.save(tmp_path / "x.npy", digits)
    model = TopKSparseAutoencoder(8, k=2, max_samples=2000, random_state=0)
    model.fit(digits.reshape(300, -1)).save(tmp_path / "run")
    out = tmp_path / "features"
    words = ["features", str(tmp_path / "run"), str(tmp_path / "x.npy"), "--out", str(out)]
    assert run_command_line(words) == 0
    for line in (out / "features.jsonl").read_text().splitlines():
        one = json.loads(line)
        with Image.open(out / one["picture"]) as picture:
            assert picture.height >= 64
            assert picture.width >= 64 * (1 + len(one["top"]))


def test_exact_codes_are_told_where_they_are_asked_for(wines, capsys):
    folder, codes = wines
    plain, exact = asked(folder), asked(folder, "--codes", "exact", "--target", "target")
    assert "exact codes, alpha" in capsys.readouterr().err
    assert plain[0]["largest"] == pytest.approx(codes[:, 0].max(), rel=1e-5)
    assert exact[0]["largest"] != plain[0]["largest"]
    words = ["explain", str(folder / "run"), str(folder / "wines.csv"), "--target", "target"]
    capsys.readouterr()
    assert (
        run_command_line([*words, "--codes", "exact", "--runs", str(folder / "run"), "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    first = told["latents"][0]
    by_latent = {row["class"]: row["auc"] for row in exact[first["latent"]]["effects"]}
    assert by_latent[first["class"]] == pytest.approx(first["auc"])
    assert first["returns"] == 1


def test_a_place_that_is_neither_is_refused(wines, capsys):
    folder, _ = wines
    words = ["features", str(folder / "run"), str(folder / "wines.csv"), "--out"]
    assert run_command_line([*words, str(folder / "names.txt")]) == 2
    assert "a folder, or a file that ends in .jsonl" in capsys.readouterr().err
