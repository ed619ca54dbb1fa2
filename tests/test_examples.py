"""Every example runs, shows what its text claims, and is short enough to be read."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simplecell import SparseAutoencoder
from simplecell.interop.onnx import export

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def show(tmp_path, capsys):
    """Runs an example; its figures, after a look at its pictures and its text."""

    def run(name, pictures):
        folder = tmp_path / "pictures"
        figures = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](folder)
        assert {path.name for path in folder.iterdir()} == pictures
        for path in folder.iterdir():
            with Image.open(path) as picture:
                assert min(picture.size) >= 200
                assert np.asarray(picture).std() > 10
        printed = capsys.readouterr()
        assert 3 <= len(printed.out.splitlines()) <= 25 or name == "04_edges"
        assert not printed.err
        return figures

    return run


def test_four_two_four(show):
    figures = show("01_four_two_four", {"01_codes.png", "01_seeds.png"})
    assert figures["distinct"] == figures["repeated"] == figures["seeds"]


def test_noise_and_correlation(show):
    figures = show(
        "02_noise_and_correlation",
        {"02_reconstructions.png", "02_spectrum_field.png", "02_spectrum_noise.png"},
    )
    assert 0.45 < figures["noise"] < 0.58
    assert figures["noise_theory"] == pytest.approx(0.5)
    assert figures["noise_fresh"] == pytest.approx(0.5, abs=0.01)
    assert 0.95 < figures["field"] < figures["field_theory"] + 0.01
    assert figures["field_fresh"] == pytest.approx(figures["field"], abs=0.01)
    assert figures["field_fresh"] >= 0.95


def test_autoencoder_and_pca(show):
    figures = show("03_autoencoder_and_pca", {"03_atoms_and_components.png"})
    assert figures["angle"] < 1e-3
    assert figures["pca"] - 1e-5 < figures["kept"] <= figures["pca"] + 1e-9
    assert figures["best_cosine"] < 0.9


def test_edges(show):
    figures = show("04_edges", {"04_photographs.png", "04_noise.png"})
    assert figures["photographs"] >= 20
    assert figures["noise"] <= 5
    assert figures["photographs_lowest"] > 0.009
    assert figures["photographs_highest"] < 0.013


def test_digits_pipeline(show):
    errors = show("05_digits_pipeline", {"05_errors.png", "05_strokes.png"})
    assert errors["sparse codes"] < errors["pixels"] < 5
    assert errors["sparse codes"] < errors["untrained codes"]


def test_kl_is_no_metric(show):
    figures = show("06_kl_is_no_metric", {"06_kl.png"})
    assert figures["at_target"] == pytest.approx(0, abs=1e-15)
    assert abs(figures["forward"] - figures["backward"]) > 0.1
    assert figures["direct"] > 2 * figures["detour"]
    assert figures["direct_root"] > figures["detour_root"]


def test_network(show):
    figures = show("07_network", {"07_network.png", "07_trained.png"})
    assert figures["causes"] == 3
    assert figures["share"] > 0.95
    assert figures["kept"] > 0.9


def test_any_modules(show):
    figures = show("08_any_modules", {"08_digits.png", "08_atoms.png"})
    assert 0.08 < figures["sparse_least"] < figures["sparse_most"] < 0.12
    assert figures["free_least"] > 0.3
    assert figures["free"] < figures["sparse"] < 0.4


def test_own_cnn(show):
    figures = show("10_own_cnn", {"10_best.png"})
    assert figures["loss"] < figures["ablated"]
    assert 0.8 < figures["recovered"] < 1.01


def test_own_recurrent(show):
    figures = show("11_own_recurrent", {"11_codes.png"})
    assert figures["right"] > 0.95
    assert figures["auc"] > 0.8
    assert figures["explained"] > 0.6


def test_own_transformer(show):
    figures = show("12_own_transformer", {"12_codes.png"})
    assert figures["auc"] > 0.9
    assert figures["as it is"] < 0.2
    assert figures["added"] > 0.8


@pytest.mark.parametrize("words", [["there"], []])
def test_the_first_argument_is_the_folder(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    script = str(EXAMPLES / "06_kl_is_no_metric.py")
    monkeypatch.setattr(sys, "argv", [script, *words])
    runpy.run_path(script, run_name="__main__")
    assert (tmp_path / (words or ["pictures"])[0] / "06_kl.png").is_file()


def test_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    sae = SparseAutoencoder(n_latents=5, max_iter=3, preprocess=["standardize"], output="linear")
    x = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    export(sae.fit(x)._trained, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", x)
    words = [sys.executable, str(EXAMPLES / "13_onnx.py"), "m.onnx", "x.npy", "codes.npy"]
    subprocess.run(words, check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), sae.transform(x), atol=1e-6)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_examples_are_short_and_explained_and_use_public_names(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    tree = ast.parse(text)
    assert len(ast.get_docstring(tree)) > 200
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [*node.module.split("."), *(alias.name for alias in node.names)]
    assert not [name for name in names if name.startswith("_") and name != "__init__"]
    assert path.name in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_every_example_has_its_test():
    tested = {name.removeprefix("test_") for name in globals()}
    assert {path.stem[3:] for path in SCRIPTS} <= tested
