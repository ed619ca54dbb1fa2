"""The run directory: what is written is read back, and what is damaged is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import simplecell
from simplecell.errors import DataError, RunError, WriteError
from simplecell.run import directory as runs
from simplecell.run.begin import begin
from simplecell.run.directory import Run
from simplecell.run.info import Info, Line
from simplecell.run.recipe import Recipe
from simplecell.run.storage import form_of

SETTINGS = ["train.steps=4", "model.n_latents=5"]


def train(data, out, settings=(), recipe=None):
    one = begin(data, out, recipe, settings=[*SETTINGS, *settings])
    for _ in one.records():
        pass
    one.finish()
    return one


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).random((50, 6)).astype(np.float32)


@pytest.fixture
def run(x, tmp_path):
    train(x, tmp_path / "run")
    return Run(tmp_path / "run")


def test_a_run_holds_what_the_design_says(run):
    assert {path.name for path in run.path.iterdir()} == {
        *("recipe.toml", "run.json", "model.safetensors", "preprocess.safetensors"),
        *("log.jsonl", "checkpoints", ".lock", "normal.safetensors"),
    }
    info = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert info["format"] == runs.FORMAT
    assert {"simplecell", "python", "torch", "numpy", "threads"} <= set(info["software"])
    assert info["seed"] == 0
    assert info["data"]["path"] is None
    assert info["data"]["fingerprint"].startswith("sha256:")
    assert info["figures"]["held_out"]["n_samples"] == info["data"]["n_held_out"] == 5
    assert set(load_file(run.path / "model.safetensors")) == {
        *("encoder", "decoder", "bias", "center", "offset")
    }
    assert [record["step"] for record in run.records()] == [1, 2, 3, 4]
    text = (run.path / "recipe.toml").read_text(encoding="utf-8")
    assert Recipe.from_text(text, "") == run.recipe()
    assert "auto" not in [run.recipe().model.n_latents, run.recipe().preprocess.steps]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_load_of_save_is_the_same_model(x, tmp_path, tied, dtype):
    settings = [f"model.tied={str(tied).lower()}", f"train.dtype={dtype}"]
    one = train(x, tmp_path / "run", settings)
    trained = Run(tmp_path / "run").load()
    for name, tensor in one.trainer.model.tensors().items():
        assert torch.equal(trained.model.tensors()[name], tensor)
        assert tensor.dtype == getattr(torch, dtype)
    assert ("decoder" in load_file(tmp_path / "run" / "model.safetensors")) != tied
    assert trained.recipe == one.recipe
    assert trained.info == Run(tmp_path / "run").info()
    assert trained.shape == (6,)
    state, again = one.trainer.preprocess.state(), trained.preprocess.state()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_simplecell_load_opens_what_the_command_line_made(x, run):
    estimator = simplecell.load(run.path)
    trained = run.load()
    np.testing.assert_array_equal(estimator.transform(x), trained.encode(x))


def test_encode_decode_and_reconstruct(x, run):
    trained = run.load()
    codes = trained.encode(x)
    assert (codes.shape, codes.dtype) == ((50, 5), np.float32)
    assert trained.encode(x.astype(np.float64)).dtype == np.float64
    np.testing.assert_allclose(trained.encode(x.astype(np.float64)), codes, rtol=1e-4)
    back = trained.decode(codes)
    assert back.shape == x.shape
    prepared, recon = trained.reconstruct(x)
    assert prepared.shape == recon.shape == x.shape
    undone = trained.preprocess.invert(torch.from_numpy(recon)).numpy()
    np.testing.assert_allclose(back, undone, rtol=1e-5, atol=1e-6)
    assert trained.latents().shape == trained.atoms().shape == (5, 6)
    for wrong in (codes[:, :3], codes[0]):
        with pytest.raises(DataError, match="this model has 5 latents"):
            trained.decode(wrong)
    with pytest.raises(DataError, match="6"):
        trained.encode(x[:, :4])


@pytest.mark.parametrize("recipe", ["topk", "l1", "table", "compress"])
def test_codes_by_hand_as_the_page_about_the_format_says(x, tmp_path, recipe):
    settings = ["train.steps=5", "model.n_latents=12", "preprocess.steps=['center', 'scale']"]
    session = begin(x, tmp_path / "run", Recipe.load(recipe), settings=settings)
    for _ in session.records():
        pass
    session.finish()
    trained, w = Run(tmp_path / "run").load(), load_file(tmp_path / "run" / "model.safetensors")
    rows = x.astype(np.float32)
    prepared = trained.preprocess.apply(torch.from_numpy(rows)).x
    subtracted = w["offset"] if trained.recipe.model.pre_bias else w["center"]
    pre = (prepared - subtracted) @ w["encoder"].T + w["bias"]
    wanted = int(trained.recipe.target_l0)
    code = kept(pre, wanted) if recipe == "topk" else trained.model.activation.code(pre)
    np.testing.assert_allclose(trained.encode(rows), code.numpy(), atol=1e-5)
    assert ("center" in w) is not trained.recipe.model.pre_bias


def kept(pre, k):
    """The k largest of each row, those above 0."""
    values, places = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, places, values.relu())


def test_latents_and_atoms_are_in_input_units(tmp_path):
    """Columns of other scales: an atom grows with its column, what excites a latent shrinks."""
    random = np.random.default_rng(0)
    scale = np.array([1.0, 10.0, 100.0])
    train(random.standard_normal((200, 3)) * scale, tmp_path / "run")
    trained = Run(tmp_path / "run").load()
    encoder, decoder = trained.model.encoder.detach(), trained.model.decoder.detach()
    sizes = trained.atoms() / decoder.double()
    shrunk = trained.latents() / encoder.double()
    for ratios in (sizes, 1 / shrunk):
        np.testing.assert_allclose(ratios[0].numpy(), ratios[1].numpy(), rtol=1e-5)
        np.testing.assert_allclose(ratios[0].numpy() / scale, 1.0, rtol=0.3)


def test_pictures_and_tables_remember_their_layout(tmp_path):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (9, 64, 70, 3), dtype=np.uint8)
    small = ["data.patch=4", "data.n_patches=60", 'data.color="color"']
    train(pictures, tmp_path / "color", small, Recipe.load("edges"))
    assert Run(tmp_path / "color").load().shape == (4, 4, 3)
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i / 2},{-i}\n" for i in range(20)))
    train(tmp_path / "t.csv", tmp_path / "table")
    trained = Run(tmp_path / "table").load()
    assert (trained.shape, trained.input_names) == ((2,), ["a", "b"])


def test_files_with_names_that_are_no_text_are_told_of(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (30, 30), 5).save(folder / "good.png")
    try:
        (folder / os.fsdecode(b"bad\xff.png")).write_text("no picture")
    except OSError:
        pytest.skip("this file system takes text names only")
    train(folder, tmp_path / "run", ["data.patch=3", "data.n_patches=50"])
    (skipped,) = Run(tmp_path / "run").info()["data"]["skipped"]
    assert skipped["file"] == "bad\udcff.png"


def test_two_checkpoints_are_kept(x, tmp_path):
    one = begin(x, tmp_path / "run", settings=SETTINGS)
    for _ in one.records():
        one.save()
    names = [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert names == ["step-000000003.safetensors", "step-000000004.safetensors"]


def test_what_is_no_run_and_what_has_no_weights(x, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / ("x" * 300)):
        with pytest.raises(RunError, match="is not a run directory"):
            Run(path).load()
        assert not Run(path).exists
    begin(x, tmp_path / "run", settings=SETTINGS)
    with pytest.raises(RunError, match="has no weights yet"):
        Run(tmp_path / "run").load()


def test_a_shape_that_does_not_fit_the_preparation(run):
    info = run.info()
    info["data"]["shape"] = [7]
    run.describe(info)
    with pytest.raises(RunError, match="6 inputs"):
        run.load()


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_an_impossible_number_of_threads(run, threads):
    info = run.info()
    info["software"]["threads"] = threads
    run.describe(info)
    with pytest.raises(RunError, match="no number of threads"):
        run.info()


def test_recipe_and_run_json_must_agree(run):
    text = (run.path / "recipe.toml").read_text().replace("held_out = 0.1", "held_out = 0.2")
    (run.path / "recipe.toml").write_text(text)
    with pytest.raises(RunError, match="do not agree"):
        run.requested(run.info())


def test_huge_promises_allocate_nothing(run):
    """A file of a few bytes that declares terabytes."""
    header = json.dumps(
        {"encoder": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0" * 64
    (run.path / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="cannot be read"):
        run.load()
    (run.path / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(RunError, match="cannot be read"):
        run.load()


def test_a_recipe_for_a_giant_is_refused_before_it_is_built(run):
    text = (run.path / "recipe.toml").read_text()
    giant = text.replace("n_latents = 5", "n_latents = 2000000000")
    (run.path / "recipe.toml").write_text(giant)
    with pytest.raises(RunError, match="n_latents: 5, 2000000000"):
        run.load()
    info = json.loads((run.path / "run.json").read_text())
    info["resolved"]["model"]["n_latents"] = 2000000000  # somebody who edits both
    (run.path / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="does not fit"):
        run.load()


def test_preparation_tensors_that_do_not_fit(run):
    tensors = load_file(run.path / "preprocess.safetensors")
    for name in tensors:
        for wrong in (None, torch.full_like(tensors[name], float("nan")), torch.zeros(9)):
            changed = {key: value for key, value in tensors.items() if key != name}
            changed |= {} if wrong is None else {name: wrong}
            save_file(changed, run.path / "preprocess.safetensors")
            with pytest.raises(RunError):
                run.load()


def test_strangers_are_refused_and_left_alone(run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        Run(foreign).refuse_strangers()
    with pytest.raises(RunError, match="is a file"):
        Run(foreign / "a").refuse_strangers()
    for fine in (tmp_path / "new", run.path):
        Run(fine).refuse_strangers()
    with pytest.raises(WriteError, match="could not write"):
        Run(foreign / "a" / "below").make()


def test_remove_takes_our_own_files_only(run):
    (run.path / "mine.txt").write_text("")
    run.remove()
    assert [path.name for path in run.path.iterdir()] == ["mine.txt"]
    Path(run.path / "mine.txt").unlink()


def test_estimators_save_over_a_run_but_over_nothing_else(x, run, tmp_path):
    estimator = simplecell.SparseAutoencoder(n_latents=3, max_iter=2, random_state=0).fit(x)
    estimator.save(run.path)
    assert run.load().model.n_latents == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        estimator.save(tmp_path / "other")


def test_run_json_holds_what_is_declared_and_nothing_else(run):
    """Keys at every depth; those that may be absent are."""

    def strange(value, form, where=""):
        forms = form if isinstance(form, tuple) else (form,)
        table = next((one for one in forms if isinstance(one, dict)), None)
        if not isinstance(value, dict) or table is None or str in table:
            return []
        found = [f"{where}.{key}" for key in value.keys() - table.keys()]
        for key, one in value.items():
            found += strange(one, table.get(key), f"{where}.{key}")
        return found

    info = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert info.pop("format") == runs.FORMAT
    assert strange(info, form_of(Info)) == []
    assert [strange(line, form_of(Line)) for line in run.records()] == [[]] * 4
    assert list(run.info()) == ["format", *info]
