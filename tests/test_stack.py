"""Greedy training is each layer alone on the codes below; deep recipes from the command line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simplecell.cli import run_command_line
from simplecell.data import ArraySource
from simplecell.errors import UsageError
from simplecell.estimators.greedy import Greedy, encoded
from simplecell.estimators.stacked import (
    classifier,
    encoding_half,
    one_hot,
    softmax_regression,
)
from simplecell.model.deep import DeepAutoencoder
from simplecell.run.build import build
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).random((80, 16)).astype(np.float32)


def layer(n_latents, steps=5, **model):
    return Recipe.from_table(
        {
            "preprocess": {"steps": ["center"]},
            "model": {"n_latents": n_latents, "output": "linear", **model},
            "train": {"steps": steps},
        }
    )


def test_greedy_is_each_layer_alone_on_the_codes_below(x):
    greedy = Greedy([layer(6), layer(3, output="sigmoid")])
    seen = [(number, record.step) for number, record in greedy.run(ArraySource(x))]
    assert seen == [(n, s) for n in (1, 2) for s in range(1, 6)]
    first = build(layer(6), ArraySource(x))
    for _ in first.trainer.run(ArraySource(x), 5):
        pass
    codes = encoded(first.trainer.model, first.preprocess, ArraySource(x))
    plain = layer(3, output="sigmoid").changed(["preprocess.steps=[]"])
    second = build(plain, ArraySource(codes))
    for _ in second.trainer.run(ArraySource(codes), 5):
        pass
    for made, expected in zip(greedy.layers, (first, second), strict=True):
        assert torch.equal(made.encoder, expected.trainer.model.encoder)
    assert np.array_equal(
        greedy.codes, encoded(second.trainer.model, second.preprocess, ArraySource(codes))
    )
    assert greedy.preprocess.steps == [{"kind": "center"}]


def test_the_classifier_before_fine_tuning_is_the_layers_under_a_softmax(x):
    greedy = Greedy([layer(6), layer(3, output="sigmoid")])
    for _ in greedy.run(ArraySource(x)):
        pass
    labels = (x[:, 0] > 0.5).astype(np.int64)
    network = classifier(greedy.layers, greedy.codes, labels, 1e-2)
    weights, offset = softmax_regression(greedy.codes, labels, 1e-2)
    prepared = torch.from_numpy(x - x.mean(0))
    expected = (torch.from_numpy(greedy.codes).double() @ weights.double() + offset).softmax(1)
    assert torch.allclose(network(prepared).recon.double(), expected, atol=1e-6)
    assert sum(p.numel() for p in network.parameters()) == 16 * 6 + 6 + 6 * 3 + 3 + 3 * 2 + 2
    half = encoding_half(greedy.layers[0])
    half.bias.data += 1
    assert not torch.equal(half.bias, greedy.layers[0].bias)


def test_a_layer_that_says_nothing_is_named(x):
    still = layer(6).changed(["objective.decay={weight=50.0}"])
    greedy = Greedy([still])
    for _ in greedy.run(ArraySource(x)):
        pass
    assert "codes of layer 1 hardly vary" in greedy.notes[-1]


def test_one_hot():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_stack_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one layer"):
        Greedy([])


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory, x):
    folder = tmp_path_factory.mktemp("deep")
    np.save(folder / "x.npy", x.reshape(80, 4, 4))
    settings = ["model.n_latents=[8,5,3]", 'model.activation=["tanh","tanh","identity"]']
    settings += ["train.steps=20", "optim.batch_size=20"]
    arguments = ["train", str(folder / "x.npy"), "--out", str(folder / "run"), "--recipe", "deep"]
    for setting in settings:
        arguments += ["--set", setting]
    assert run_command_line(arguments) == 0
    return folder


def test_a_deep_run_does_what_every_run_does(deep_run, x, capsys):
    run, data = str(deep_run / "run"), str(deep_run / "x.npy")
    for arguments in (
        ["encode", run, data, "--out", str(deep_run / "c.npy")],
        ["decode", run, str(deep_run / "c.npy"), "--out", str(deep_run / "d.npy")],
        ["show", run, "--layer", "1", "--out", str(deep_run / "one.png")],
        ["show", run, "--out", str(deep_run / "three.png")],
        ["show", run, "--what", "atoms"],
        ["show", run, "--what", "reconstructions"],
    ):
        assert run_command_line(arguments) == 0, arguments
    assert np.load(deep_run / "c.npy").shape == (80, 3)
    assert np.load(deep_run / "d.npy").shape == (80, 16)
    capsys.readouterr()
    assert run_command_line(["evaluate", run, data, "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["fvu"] < 1.2
    trained = Run(run).load()
    assert isinstance(trained.model, DeepAutoencoder)
    centre = trained.model.layers[0].center
    assert torch.allclose(centre, torch.from_numpy(x[_training_rows(trained)]).mean(0), atol=1e-6)


def _training_rows(trained):
    from simplecell.data import split

    source = ArraySource(np.arange(80, dtype=float)[:, None])
    kept = split(source, trained.recipe.data.held_out, trained.recipe.train.seed)[0]
    return kept.read(slice(0, kept.n_samples))[:, 0].astype(int)


def test_a_run_killed_before_its_first_checkpoint_is_centred_when_it_goes_on(deep_run, tmp_path):
    whole, cut = deep_run / "run", tmp_path / "cut"
    shutil.copytree(whole, cut)
    for path in (cut / "checkpoints").iterdir():
        path.unlink()
    (cut / "model.safetensors").unlink()
    info = json.loads((cut / "run.json").read_text())
    info |= {"status": "running", "figures": None, "n_iter": 0}
    (cut / "run.json").write_text(json.dumps(info))
    assert run_command_line(["resume", str(cut)]) == 0
    weights = [(run / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert weights[0] == weights[1]


def test_damaged_deep_runs_are_4(deep_run, tmp_path, capsys):
    def strange(path):
        save_file({**load_file(path), "9.bias": torch.zeros(2)}, path)

    def huge(path):
        text = path.read_text().replace("    8,", "    99999999999999999999,")
        path.write_text(text)

    for name, damage, sentence in (
        ("model.safetensors", strange, "'9.bias' belongs to no part"),
        ("recipe.toml", huge, "at most 2147483647"),
    ):
        run = tmp_path / name.partition(".")[0]
        shutil.copytree(deep_run / "run", run)
        damage(run / name)
        assert run_command_line(["show", str(run)]) == 4
        assert sentence in capsys.readouterr().err


def test_a_checkpoint_that_is_not_finite_is_4(deep_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(deep_run / "run", run)
    for path in (run / "checkpoints").iterdir():
        state = load_file(path)
        state["flat"][0] = float("nan")
        save_file(state, path)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "running", "figures": None}))
    assert run_command_line(["resume", str(run)]) == 4
    assert "weights that are not finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--layer", "4"], "layer 4 does not exist: layers are counted from 1 to 3"),
        (["--layer", "1", "--what", "atoms"], "--layer is for latents"),
    ],
)
def test_a_layer_that_is_not_there_is_2(deep_run, capsys, arguments, sentence):
    assert run_command_line(["show", str(deep_run / "run"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("model.n_latents=[]", "whole numbers of at least 1"),
        ("model.n_latents=[8, 0]", "whole numbers of at least 1"),
        ('model.n_latents=[8, "3"]', 'must be int or "auto" or list of int'),
        ("model.tied=true", "model.tied is for one layer"),
        ('model.activation=["tanh"]', "1 activations"),
        ("optim.kind=lbfgs", "but corrupted inputs differ; use 'adam'"),
        ('train.corruption="blur"', "unknown corruption 'blur'"),
        ("train.corruption_level=2.0", "corruption"),
    ],
)
def test_deep_settings_that_cannot_be_are_2(deep_run, capsys, setting, sentence):
    arguments = ["train", str(deep_run / "x.npy"), "--out", str(deep_run / "no"), "--recipe"]
    recipe = "denoise" if "corruption" in setting or "lbfgs" in setting else "deep"
    code = run_command_line([*arguments, recipe, "--set", setting])
    said = capsys.readouterr().err
    assert code == 2, said
    assert sentence in said
    assert not (deep_run / "no").exists()
