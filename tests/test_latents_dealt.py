"""Two processes that hold half of the latents each train what one process trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from holder_worker import DEALT, trained, trainer_of
from simplecell.cli import run_command_line
from simplecell.data.planted import planted_dictionary
from simplecell.distributed import Alone
from simplecell.errors import DataError, UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.build import build, open_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe
from simplecell.training.parts import Layout, own_part
from simplecell.training.state import Stored
from simplecell.training.weights import initialise
from test_distributed import ADAM, Command, killed, many, needs_proc, together, weights
from test_family import WANTED, D

__all__ = ["many"]
HELD = [*ADAM, "--set", "train.shard=latents"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, planted_dictionary(1000, D, 32, WANTED).x)
    return path


@pytest.fixture(scope="module")
def dealt(tmp_path_factory, path):
    """What each of two processes knows after they trained every row together."""
    out = tmp_path_factory.mktemp("holders")
    assert together(Path(__file__).with_name("holder_worker.py"), path, out) == [0, 0]
    return lambda name: [load_file(out / f"{name}.{rank}") for rank in range(2)], out


def whole(parts, layout):
    """The state of both, from the parts of each."""
    found = {}
    for name, own in parts[0].items():
        if name in layout:
            found[name] = torch.empty(layout.length(name), dtype=own.dtype)
            for rank, part in enumerate(parts):
                spans = zip(layout.spans(name, rank), layout.own(name), strict=True)
                for there, (here, _) in spans:
                    found[name][there] = part[name][here]
        elif name == "codes":
            found[name] = torch.cat([part[name] for part in parts], dim=1)
        else:
            found[name] = own
            assert torch.equal(own, parts[1][name]), name
    return found


def layout_of(name, path):
    """Of two holders, from the model of one process."""
    model = trainer_of(name, path)[0].model
    pre_bias, m = model.pre_bias, model.n_latents
    kind = {"activation": model.activation.kind, "pre_bias": pre_bias, "holders": 2}
    settings = {"k": model.activation.k} if hasattr(model.activation, "k") else {}
    return Layout(Autoencoder(model.n_inputs, m, **kind, **settings))


@pytest.mark.parametrize("name", DEALT)
def test_two_holders_are_one(dealt, path, name):
    dealt = dealt[0]
    together = whole(dealt(name), layout_of(name, path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = trained(name, path)
    torch.set_num_threads(threads)
    assert together.keys() == alone.keys()
    for tensor, value in alone.items():
        torch.testing.assert_close(together[tensor], value, rtol=1e-12, atol=1e-12, msg=tensor)
    sizes = [sum(part[n].nbytes for n in ("flat", "optimiser.exp_avg")) for part in dealt(name)]
    half = (alone["flat"].nbytes + alone["optimiser.exp_avg"].nbytes) / 2
    assert all(half <= size <= 1.02 * half for size in sizes)


def test_the_pass_over_entries_is_the_plain_one(dealt):
    plain, ours = (dealt[0](name)[1] for name in ("plain", "topk"))
    torch.testing.assert_close(plain["costs"], ours["costs"], rtol=1e-11, atol=0)
    torch.testing.assert_close(plain["flat"], ours["flat"], rtol=1e-9, atol=1e-11)


def test_gone_on_with_by_as_many_with_the_same_bits(dealt):
    whole, halved = (dealt[1] / name for name in ("whole", "halved"))
    assert weights(whole) == weights(halved)
    states = [Run(out).last_checkpoint() for out in (whole, halved)]
    assert set(states[0]) == set(states[1])
    differ = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert differ == []
    assert Run(halved).load().model.encoder.shape == (128, D)


class Holder(Alone):
    """One of three processes, without the others."""

    size = 3

    def __init__(self, rank):
        self.rank = rank


@pytest.mark.parametrize("start", ["uniform", "transpose"])
def test_each_draws_its_own_of_all_rows(start):
    n, wide = 3 * 4001, 7
    kind = {"activation": "topk", "output": "linear", "k": 2}
    model = Autoencoder(wide, n, **kind)
    initialise(model, 5, start)
    for rank in range(3):
        part = Autoencoder(wide, n, holders=3, **kind)
        initialise(part, 5, start, ranks=Holder(rank))
        rows = slice(4001 * rank, 4001 * (rank + 1))
        assert torch.equal(part.encoder, model.encoder[rows])
        assert torch.equal(part.decoder, model.decoder[rows])


def test_blocks_of_rows_are_drawn_as_all_at_once():
    model = Autoencoder(3, 9001, activation="topk", output="linear", k=2, dtype=torch.float64)
    initialise(model, 1, "transpose")
    draw = torch.randn(9001, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(model.encoder, draw * (1 / draw.norm(dim=1, keepdim=True)))


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        ("table", [], "optim.kind=lbfgs"),
        ("jumprelu", [], "model.activation=jumprelu"),
        ("matryoshka", [], "the term 'nested'"),
        ("topk", ["optim.resample=1"], "optim.resample"),
        ("topk", ["model.tied=true", "model.pre_bias=false", "optim.unit_norm=false"], "tied"),
        ("topk", ["model.n_latents=[8, 4]", "model.pre_bias=false"], "is for one layer"),
        ("topk", ["model.n_latents=31"], "31 latents cannot be dealt to 3 processes"),
    ],
)
def test_what_cannot_be_dealt_is_refused(path, recipe, settings, reason):
    few = ["model.n_latents=30", "model.target_l0=3", "objective.nested.widths=[15, 30]"]
    few = few if recipe == "matryoshka" else few[:2]
    chosen = Recipe.load(recipe).changed([*few, *settings, "train.shard=latents"])
    with pytest.raises(UsageError, match=re.escape(reason)):
        build(chosen, open_data(path, chosen)[0], ranks=Holder(0))


def test_unknown_ways_to_share_are_refused():
    with pytest.raises(UsageError, match=r"train\.shard 'latent'; did you mean 'latents'"):
        Recipe().changed(["train.shard=latent"])


SHORT = ["--recipe", "batchtopk", "--set", "model.n_latents=64", "--set", "model.target_l0=4"]
SHORT += ["--set", "optim.schedule=constant", "--set", "train.shard=latents", "--no-doctor"]
SHORT += ["--set", "train.dtype=float64"]


def test_one_process_says_that_it_holds_all_latents(path, tmp_path, capsys):
    said = []
    for way in ("latents", "samples"):
        begun = ["train", str(path), "--out", str(tmp_path / way), *SHORT, "--set", "train.steps=2"]
        assert run_command_line([*begun, "--set", f"train.shard={way}"]) == 0
        said.append("this one process holds all latents" in capsys.readouterr().err)
    assert said == [True, False]


def test_a_transcoder_begun_by_one_and_gone_on_with_by_two(path, tmp_path, capsys):
    x, two, one = np.load(path), tmp_path / "two", tmp_path / "one"
    np.save(tmp_path / "y.npy", x @ np.random.default_rng(0).normal(size=(D, 5)) + 1)
    targets = ["--set", f"data.targets={tmp_path / 'y.npy'}"]
    for out in (two, one):
        begun = ["train", str(path), "--out", str(out), *SHORT, *targets]
        begun += ["--set", "train.steps=40"]
        assert run_command_line(begun) == 0
    assert run_command_line(["resume", str(one), "--steps", "80", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    code, text, err = Command("resume", two, "--steps", "80", "--json").wait()
    assert code == 0, err
    shared = json.loads(text)
    assert shared["n_latents"] == 64
    for figure in ("cost", "fvu", "l0", "dead", "n_iter"):
        assert shared[figure] == pytest.approx(alone[figure], rel=1e-9), figure
    for figure in ("cost", "fvu", "l0", "dead"):
        assert shared["held_out"][figure] == pytest.approx(alone["held_out"][figure], rel=1e-9)
    states = [Run(out).last_checkpoint() for out in (two, one)]
    assert set(states[0]) == set(states[1])
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-9, atol=1e-11)
    models = [Run(out).load().model.tensors() for out in (two, one)]
    for name, tensor in models[0].items():
        torch.testing.assert_close(tensor, models[1][name], rtol=1e-9, atol=1e-11)
    told = [(out / "log.jsonl").read_text().splitlines() for out in (two, one)]
    assert [json.loads(line)["step"] for line in told[0]] == [*range(1, 81)]
    assert json.loads(told[0][-1])["mean_activation"] == pytest.approx(
        json.loads(told[1][-1])["mean_activation"], rel=1e-9
    )


def test_a_state_of_other_sizes_is_refused(tmp_path):
    model = Autoencoder(4, 6, activation="topk", output="linear", k=2, holders=2)
    save_file({"flat": torch.zeros(6 * 9 + 4), "silent": torch.zeros(5).long()}, tmp_path / "s")
    with pytest.raises(DataError, match=r"its tensor 'silent' is of shape \[5\], and \[6\]"):
        own_part(Stored(tmp_path / "s"), model)


@needs_proc
@pytest.mark.slow
def test_killed_and_started_again_with_the_same_bits(many, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    code, _, err = Command("train", many, "--out", whole, *HELD).wait()
    assert code == 0, err
    assert "latents: 32 in each of 2 processes" in err
    assert killed(many, out, HELD, 0.0, 1)
    assert weights(out) == weights(whole)
    states = [Run(one).last_checkpoint() for one in (out, whole)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
