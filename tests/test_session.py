"""Sessions: the same bits however often they are cut off, and nothing done twice or at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from simplecell.cli import run_command_line
from simplecell.data import ArraySource, images
from simplecell.data import source as doors
from simplecell.doctor import Doctor
from simplecell.errors import DataError, DivergedError, RunError, UsageError, WriteError
from simplecell.run import begin as beginning
from simplecell.run.begin import begin, resume
from simplecell.run.directory import FOLDERS, OURS, Run
from simplecell.run.recipe import Recipe

pytest_plugins = ["children"]

ADAM = ["optim.kind=adam", "optim.batch_size=50", "optim.learning_rate=0.01"]
WAYS = {
    "lbfgs": ["train.steps=16"],
    "adam": [*ADAM, "train.steps=24"],
    "linear schedule": [*ADAM, "train.steps=24", "optim.schedule=linear"],
    "lbfgs, early": ["train.steps=200", "train.patience=2", "data.held_out=0.4"],
    "adam, early": [*ADAM, "optim.learning_rate=0.3", "train.steps=400", "train.patience=2"],
    "tied, float64": ["train.steps=16", "model.tied=true", "train.dtype=float64"],
    "converged": ["train.steps=500", "optim.tolerance=1e-3"],
}
OFTEN = "from simplecell.run import session; session.CHECKPOINT_SECONDS = 0.0"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    np.save(folder / "small.npy", random.standard_normal((300, 6)).astype(np.float32))
    mixed = random.laplace(size=(1200, 12)) @ random.standard_normal((12, 30))
    np.save(folder / "large.npy", mixed.astype(np.float32))
    return folder


def train(path, out, settings, **more):
    """Begin or go on, to the end."""
    return finish(begin(path, out, settings=settings, **more))


def finish(one):
    for _ in one.records():
        pass
    return one.finish()


def weights(out):
    return (Path(out) / "model.safetensors").read_bytes()


def story(out):
    """The log without its clock."""
    return [{**record, "seconds": 0} for record in Run(out).records()]


@pytest.mark.parametrize("way", WAYS)
def test_stopped_anywhere_and_said_again_gives_the_same_bits(data, tmp_path, way):
    settings, path = WAYS[way], data / "small.npy"
    whole = train(path, tmp_path / "whole", settings)
    steps = whole["n_iter"]
    assert steps > 4
    for stop in (1, steps // 2, steps):
        out = tmp_path / f"stopped at {stop}"
        one = begin(path, out, settings=settings)
        records = one.records()
        for _ in islice(records, stop):
            pass
        one.save()
        # The process dies here, some steps after the checkpoint.
        for _ in islice(records, 2):
            pass
        del one, records
        again = train(path, out, settings)
        assert weights(out) == weights(tmp_path / "whole"), stop
        assert story(out) == story(tmp_path / "whole"), stop
        for name in ("cost", "fvu", "n_iter", "stopped", "mean_activation", "held_out"):
            assert again[name] == whole[name], (stop, name)


@pytest.mark.parametrize("way", ["lbfgs", "adam, early"])
def test_interrupted_keeps_what_it_has_and_resume_ends_with_the_same_bits(data, tmp_path, way):
    settings, path = WAYS[way], data / "small.npy"
    train(path, tmp_path / "whole", settings)
    out = tmp_path / "cut"
    one = begin(path, out, settings=settings)
    for record in one.records():
        if record.step == 3:
            break
    result = one.finish("interrupted")
    assert (result["status"], result["n_iter"]) == ("interrupted", 3)
    assert result["stopped"] == "interrupted"
    assert Run(out).load().model.n_latents == 12  # usable as it is
    one = resume(out)
    assert f"continuing '{out}' after step 3" in one.notes
    for _ in one.records():
        pass
    assert one.finish()["status"] == "finished"
    assert weights(out) == weights(tmp_path / "whole")


def test_the_same_seed_gives_the_same_bits_and_another_does_not(data, tmp_path):
    path = data / "small.npy"
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(path, tmp_path / out, ["train.steps=10", f"train.seed={seed}"])
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    # The command line, and the numbers without a file, end in the same place.
    words = ["--set", "train.steps=10", "--seed", "3"]
    assert run_command_line(["train", str(path), "--out", str(tmp_path / "d"), *words]) == 0
    train(np.load(path), tmp_path / "e", ["train.steps=10", "train.seed=3"])
    assert weights(tmp_path / "a") == weights(tmp_path / "d") == weights(tmp_path / "e")


def test_a_finished_run_does_no_work(data, tmp_path):
    path, out = data / "small.npy", tmp_path / "run"
    first = train(path, out, WAYS["lbfgs"])
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    one = begin(path, out, settings=WAYS["lbfgs"])
    assert one.done
    assert one.result() == first
    assert resume(out).done
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == before
    # The session holds the trained weights, not fresh ones.
    assert torch.equal(one.trainer.model.encoder, Run(out).load().model.encoder)
    for checkpoint in (out / "checkpoints").iterdir():
        checkpoint.unlink()  # to save space
    assert resume(out).done


def test_a_converged_run_is_finished_even_when_more_steps_are_asked_for(data, tmp_path):
    result = train(data / "small.npy", tmp_path / "run", WAYS["converged"])
    assert result["stopped"] == "converged"
    assert result["n_iter"] < 500
    assert resume(tmp_path / "run", steps=600).done


def test_only_the_length_may_grow(data, tmp_path):
    path, out = data / "small.npy", tmp_path / "run"
    train(path, out, ["train.steps=10"])
    for settings, sentence in (
        (["train.steps=9"], r"train.steps: 10, 9"),
        (["train.steps=10", "train.seed=1"], r"train.seed: 0, 1"),
        (["train.steps=10", "model.n_latents=7"], r'model.n_latents: "auto", 7'),
        (["train.steps=10", "objective.kl.weight=77"], r", 77.0"),
        (["train.steps=10", "data.held_out=0.2"], r"data.held_out: 0.1, 0.2"),
        (["train.steps=20", "optim.tolerance=0.1"], r"optim.tolerance: 1e-09, 0.1"),
    ):
        with pytest.raises(UsageError, match="was begun with other settings") as error:
            begin(path, out, settings=settings)
        assert sentence in str(error.value)
    with pytest.raises(UsageError, match="other settings"):
        begin(path, out, Recipe.load("compress"), settings=["train.steps=10"])
    with pytest.raises(UsageError, match=r"train\.steps: 10, 5"):
        resume(out, steps=5)
    train(path, out, ["train.steps=25"])
    train(path, tmp_path / "straight", ["train.steps=25"])
    assert weights(out) == weights(tmp_path / "straight")
    assert story(out) == story(tmp_path / "straight")
    linear = [*ADAM, "optim.schedule=linear"]
    train(path, tmp_path / "linear", [*linear, "train.steps=10"])
    with pytest.raises(UsageError, match=r"train\.steps: 10, 20"):
        begin(path, tmp_path / "linear", settings=[*linear, "train.steps=20"])


def test_restart_begins_anew(data, tmp_path):
    path, out = data / "small.npy", tmp_path / "run"
    train(path, out, ["train.steps=10"])
    old = weights(out)
    train(path, out, ["train.steps=12", "train.seed=1"], restart=True)
    assert weights(out) != old
    assert Run(out).info()["seed"] == 1
    assert [record["step"] for record in Run(out).records()] == list(range(1, 13))
    (out / "run.json").write_text("{ damaged")
    with pytest.raises(RunError, match="cannot be read"):
        begin(path, out)
    train(path, out, ["train.steps=10"], restart=True)
    assert weights(out) == old
    # Bad data at a restart leave the old run alone.
    with pytest.raises(DataError):
        begin(tmp_path / "nothing.npy", out, restart=True)
    assert weights(out) == old


def test_other_data_are_refused(data, tmp_path):
    path = tmp_path / "x.npy"
    x = np.load(data / "small.npy")
    np.save(path, x)
    train(path, tmp_path / "run", ["train.steps=5"])
    x[17, 3] += 1
    np.save(path, x)
    for again in (
        lambda: begin(path, tmp_path / "run", settings=["train.steps=5"]),
        lambda: begin(path, tmp_path / "run", settings=["train.steps=9"]),
        lambda: resume(tmp_path / "run", steps=9),
    ):
        with pytest.raises(DataError, match="are not those that"):
            again()
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        resume(tmp_path / "run", steps=9)
    np.save(tmp_path / "moved.npy", np.load(data / "small.npy"))
    train(tmp_path / "moved.npy", tmp_path / "run", ["train.steps=9"])  # the same, elsewhere


def test_data_in_memory_cannot_be_resumed_but_given_again(data, tmp_path):
    x = np.load(data / "small.npy")
    train(x, tmp_path / "run", ["train.steps=5"])
    with pytest.raises(RunError, match="cannot read again"):
        resume(tmp_path / "run")
    train(x, tmp_path / "run", ["train.steps=8"])
    assert Run(tmp_path / "run").info()["n_iter"] == 8


def test_nothing_is_written_before_the_data_are_read(data, tmp_path):
    x = np.load(data / "small.npy")
    x[299, 5] = np.inf
    with pytest.raises(DataError, match="sample 299, input 5"):
        begin(x, tmp_path / "run")
    with pytest.raises(UsageError):
        begin(data / "small.npy", tmp_path / "run", settings=["model.activation=step"])
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(data, tmp_path):
    path, out = data / "small.npy", tmp_path / "run"
    one = begin(path, out, settings=["train.steps=10"])
    for again in (
        lambda: begin(path, out, settings=["train.steps=10"]),
        lambda: begin(path, out, settings=["train.steps=10"], restart=True),
        lambda: resume(out),
    ):
        with pytest.raises(RunError, match="another process is training into"):
            again()
    for _ in one.records():
        pass
    one.finish()
    assert resume(out).done


def test_two_that_begin_at_once_do_not_spoil_each_other(data, tmp_path, monkeypatch):
    """Both have found no run and read their data; the second must not take the first's place."""
    path, out = data / "small.npy", tmp_path / "run"
    settings = ["train.steps=5"]
    real, inside = beginning.build, []

    def build(*arguments):
        if not inside:
            inside.append(1)
            train(path, out, settings)
        return real(*arguments)

    monkeypatch.setattr(beginning, "build", build)
    with pytest.raises(RunError, match="has just begun"):
        begin(path, out, settings=settings)
    assert Run(out).info()["status"] == "finished"


def test_a_checkpoint_that_does_not_fit_is_a_sentence(data, tmp_path):

    path, out = data / "small.npy", tmp_path / "run"
    one = begin(path, out, settings=["train.steps=10"])
    for record in one.records():
        if record.step in (3, 5):
            one.save()
        if record.step == 6:
            break
    del one, record
    newest = sorted((out / "checkpoints").iterdir())[-1]
    good = load_file(newest)
    for name, wrong in (
        ("flat", torch.zeros(3)),
        ("n_steps", torch.zeros(2, 2)),
        ("best", torch.zeros(0)),
        ("optimiser.counts", torch.zeros(2)),
        ("optimiser.counts", torch.tensor([99, 0, 0, 0])),
        ("optimiser.steps", torch.zeros(2, 3)),
        ("optimiser.steps", None),
        ("flat", None),
    ):
        changed = {key: value for key, value in good.items() if key != name or wrong is not None}
        save_file(changed if wrong is None else {**changed, name: wrong}, newest)
        with pytest.raises(RunError, match="does not fit"):
            resume(out)
    # One that cannot be read at all gives way to the one before it.
    newest.write_bytes(newest.read_bytes()[:100])
    one = resume(out)
    assert one.trainer.n_steps == 3
    for _ in one.records():
        pass
    one.finish()
    train(path, tmp_path / "whole", ["train.steps=10"])
    assert weights(out) == weights(tmp_path / "whole")


def cut_off(path, out, settings=("train.steps=10",), recipe=None, at=5):
    """A run that was stopped by a signal at some step."""
    one = begin(path, out, recipe, settings=list(settings))
    for record in one.records():
        if record.step == at:
            break
    one.finish("interrupted")
    return next((Path(out) / "checkpoints").iterdir())


FORMS = {
    "lbfgs": (None, ["train.steps=10"]),
    "adam": ("table", [*ADAM, "train.steps=20", "train.patience=9", "model.center=true"]),
    "topk": ("topk", ["train.steps=10", "model.n_latents=12", "model.target_l0=2"]),
    "jumprelu": ("jumprelu", ["train.steps=10", "model.n_latents=12", "model.target_l0=2"]),
}


@pytest.mark.parametrize("way", FORMS)
def test_every_tensor_of_a_checkpoint_is_needed_in_its_form(data, tmp_path, way):
    """One that is missing, of another shape or of another type is named, and nothing goes on."""
    recipe, settings = FORMS[way]
    recipe = None if recipe is None else Recipe.load(recipe)
    place = cut_off(data / "small.npy", tmp_path / "run", settings, recipe)
    good, log = load_file(place), (tmp_path / "run" / "log.jsonl").read_bytes()
    assert len(good) >= 6
    for name, tensor in good.items():
        other = torch.int32 if tensor.is_floating_point() else torch.float32
        for wrong in (
            None,
            torch.cat([tensor.reshape(-1)] * 2 + [torch.ones(1)]),
            tensor.to(other),
        ):
            changed = {key: value for key, value in good.items() if key != name}
            save_file(changed if wrong is None else {**changed, name: wrong}, place)
            with pytest.raises(RunError, match="does not fit") as error:
                resume(tmp_path / "run")
            assert f"'{name}'" in str(error.value) or name == "flat", error.value
            assert (tmp_path / "run" / "log.jsonl").read_bytes() == log
    save_file(good, place)
    assert run_command_line(["resume", str(tmp_path / "run")]) == 0


def test_thresholds_before_the_calibration_are_needed(data, tmp_path):
    """They are there only once a training came to its end."""
    settings = [*ADAM, "train.steps=10", "model.n_latents=12", "model.target_l0=2"]
    settings.append("optim.schedule=constant")
    train(data / "small.npy", tmp_path / "run", settings, recipe=Recipe.load("jumprelu"))
    (place,) = (tmp_path / "run" / "checkpoints").iterdir()
    good = load_file(place)
    own = [name for name in good if name.startswith("unsettled.")]
    assert own
    save_file({key: value for key, value in good.items() if key not in own}, place)
    with pytest.raises(RunError, match=f"no tensor '{own[0]}'"):
        resume(tmp_path / "run", steps=20)


def test_checkpoints_of_earlier_versions_go_on(data, tmp_path):
    """Two numbers in `best`, where there are three by now."""
    place = cut_off(data / "small.npy", tmp_path / "run")
    good = load_file(place)
    assert len(good["best"]) == 3
    save_file({**good, "best": good["best"][:2].clone()}, place)
    finish(resume(tmp_path / "run"))
    train(data / "small.npy", tmp_path / "whole", ["train.steps=10"])
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


EDITS = {
    "optim.learning_rate": ("learning_rate = 0.01", "learning_rate = 0.5"),
    "optim.tolerance": ("tolerance = 1e-09", "tolerance = 1e-06"),
    "objective.kl.weight": ("weight = 1.0", "weight = 4.0"),
    "preprocess.steps": ('"standardize"', '"center"'),
    "model.n_latents": ("n_latents = 12", "n_latents = 13"),
    "model.activation": ('activation = "sigmoid"', 'activation = "tanh"'),
    "train.seed": ("seed = 0", "seed = 1"),
    "train.steps": ("steps = 24", "steps = 48"),
    "data.held_out": ("held_out = 0.1", "held_out = 0.3"),
}


@pytest.mark.parametrize("key", EDITS)
@pytest.mark.parametrize("earlier", [False, True])
def test_an_edited_recipe_is_refused_by_its_key(data, tmp_path, key, earlier):
    out = tmp_path / "run"
    settings = [*ADAM, "train.steps=24"]
    cut_off(data / "small.npy", out, settings, Recipe.load("table"))
    if earlier:  # versions that wrote down what was asked for alone
        info = json.loads((out / "run.json").read_text())
        del info["resolved"]
        (out / "run.json").write_text(json.dumps(info))
        if key in ("model.n_latents", "train.steps"):
            pytest.skip("left to the data, or allowed to grow: those versions kept no such number")
    text = (out / "recipe.toml").read_text()
    old, new = EDITS[key]
    assert text.count(old) == 1
    (out / "recipe.toml").write_text(text.replace(old, new))
    before = contents(out)
    for again in (
        lambda: resume(out),
        lambda: begin(data / "small.npy", out, Recipe.load("table"), settings=settings),
    ):
        with pytest.raises(RunError, match="do not agree") as error:
            again()
        assert f"({key}: " in str(error.value)
        assert contents(out) == before
    assert run_command_line(["resume", str(out)]) == 4
    (out / "recipe.toml").write_text("# a remark changes nothing\n" + text)
    assert finish(resume(out))["status"] == "finished"


def test_a_process_that_died_while_it_was_told_to_go_on_for_longer(data, tmp_path, monkeypatch):
    """run.json has the greater length already, recipe.toml the old one."""
    out = tmp_path / "run"
    train(data / "small.npy", out, ["train.steps=5"])
    old = (out / "recipe.toml").read_bytes()
    one = resume(out, steps=9)
    (out / "recipe.toml").write_bytes(old)
    one.lock.release()
    finish(resume(out))
    assert Run(out).info()["n_iter"] == Run(out).recipe().n_steps == 9


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """A run that was stopped; to be copied."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    cut_off(data / "small.npy", out)
    return out


@pytest.mark.parametrize("entry", OURS)
def test_a_link_in_a_run_lets_nobody_write_elsewhere(data, stopped, tmp_path, entry):
    """Refused before anything is changed, whether training goes on or begins anew."""
    out, outside = shutil.copytree(stopped, tmp_path / "run"), tmp_path / "outside"
    if (out / entry).exists():
        os.rename(out / entry, outside)
    elif entry == "atlas":
        outside.mkdir()
        (outside / "atlas.json").write_text("mine")
    else:
        outside.write_text("mine")
    os.symlink(outside, out / entry)
    before = contents(tmp_path)
    for words in (["resume"], ["train", data / "small.npy", "--set", "train.steps=10", "--out"]):
        for more in ([], ["--restart"]) if words[0] == "train" else ([],):
            code = run_command_line([*map(str, words), str(out), *more])
            assert code == 4, (words, more)
            assert contents(tmp_path) == before
            assert os.path.islink(out / entry)


def test_a_link_among_the_checkpoints_and_a_folder_in_the_place_of_one(data, tmp_path):
    out = tmp_path / "run"
    place = cut_off(data / "small.npy", out)
    os.rename(place, tmp_path / "outside")
    os.symlink(tmp_path / "outside", place)
    with pytest.raises(RunError, match=r"step-000000005\.safetensors' is a symbolic link"):
        resume(out)
    place.unlink()
    place.mkdir()
    with pytest.raises(RunError, match="is a directory, and a file of the run itself is needed"):
        begin(data / "small.npy", out, settings=["train.steps=10"], restart=True)
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, partial(os.symlink, "/dev/zero")])
def test_what_is_no_file_is_a_sentence_and_nobody_waits(stopped, tmp_path, capsys, make):
    kind = {os.mkfifo: "a pipe", os.mkdir: "a directory"}.get(make, "a device")
    for entry in ("recipe.toml", "run.json", "model.safetensors", "log.jsonl", "notes.json"):
        out = shutil.copytree(stopped, tmp_path / entry)
        (out / entry).unlink(missing_ok=True)
        make(out / entry)
        for words in (["info"], ["show"], ["resume"], ["explore", "--no-browser"], ["report"]):
            assert run_command_line([*words, str(out)]) == 4
            err = capsys.readouterr().err
            assert f"{entry}' is {kind}" in err or "is a symbolic link" in err
            assert err.count("\n") == 1
    for name in OURS:
        out = shutil.copytree(stopped, tmp_path / f"one with {name}")
        if name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
            os.mkfifo(out / name)
        else:
            (out / name).unlink(missing_ok=True)
            os.mkfifo(out / name)
        with pytest.raises(RunError, match=r"is a pipe, and a \w+ of the run itself is needed"):
            Run(out).info()


ALIKE = {
    "lbfgs": ("table", ["train.steps=16"]),
    "topk": ("topk", ["train.steps=16", "model.n_latents=12", "model.target_l0=2"]),
    "jumprelu": ("jumprelu", ["train.steps=16", "model.n_latents=12", "model.target_l0=2"]),
    "gated": ("gated", ["train.steps=16", "model.n_latents=12", "model.target_l0=2"]),
    "early": ("compress", ["train.patience=1", "train.steps=60", "data.held_out=0.3"]),
    "variational": ("variational", [*ADAM, "train.steps=16", "model.n_latents=[5, 3]"]),
}


def without_times(folder):
    """Every file of a run; numbers of seconds are 0."""
    times = re.compile(rb'("seconds": )[0-9.e-]+')
    return {
        path.relative_to(folder): times.sub(rb"\g<1>0", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("way", ALIKE)
@pytest.mark.parametrize("stops", [(1,), (5, 11), (16,)])
def test_a_run_that_was_cut_off_is_in_the_end_the_same_directory(data, tmp_path, way, stops):
    """Every file byte by byte, but for times: killed once, stopped cleanly at every other time."""
    recipe, settings = ALIKE[way]
    for out in ("whole", "cut"):
        for at, stop in enumerate(stops if out == "cut" else ()):
            one = begin(data / "small.npy", tmp_path / out, Recipe.load(recipe), settings=settings)
            Doctor(one)
            for record in one.records():
                if record.step == stop:
                    break
            if at:
                one.finish("interrupted")
            else:
                one.save()
            one.lock and one.lock.release()
        one = begin(data / "small.npy", tmp_path / out, Recipe.load(recipe), settings=settings)
        Doctor(one)
        finish(one)
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert len(list((tmp_path / "cut" / "checkpoints").iterdir())) == 1


def test_data_that_became_a_pipe_are_not_waited_for(stopped, tmp_path, capsys):
    out = shutil.copytree(stopped, tmp_path / "run")
    os.mkfifo(tmp_path / "pipe.npy")
    info = json.loads((out / "run.json").read_text())
    info["data"]["path"] = str(tmp_path / "pipe.npy")
    (out / "run.json").write_text(json.dumps(info))
    for words in (["resume"], ["explore", "--no-browser"], ["show", "--what", "reconstructions"]):
        assert run_command_line([words[0], str(out), *words[1:]]) == 3
        assert "the data of this run, is a pipe" in capsys.readouterr().err


def test_a_log_cut_short_or_spoilt_does_not_matter(data, tmp_path):
    path, out = data / "small.npy", tmp_path / "run"
    one = begin(path, out, settings=["train.steps=10"])
    for record in one.records():
        if record.step == 4:
            break
    one.finish("interrupted")
    with open(out / "log.jsonl", "ab") as log:
        log.write(b'{"step": "x", "cost": []}\n[1]\n{"step": 3}\n{"step": 5, "co')
    assert len(Run(out).records()) == 4
    one = resume(out)
    for _ in one.records():
        pass
    one.finish()
    assert [record["step"] for record in Run(out).records()] == list(range(1, 11))
    (out / "log.jsonl").write_bytes(b"\xff\xfe")
    assert Run(out).records() == []
    assert run_command_line(["show", str(out), "--what", "curve"]) == 3
    resume(out, steps=12)


def test_divergence_found_at_the_end_is_told(data, tmp_path):
    """The cost leaves the finite numbers between two looks, or after the last step."""
    one = begin(data / "small.npy", tmp_path / "run", settings=["train.steps=10"])
    for _ in one.records():
        pass
    one.save()
    with torch.no_grad():
        one.trainer.flat.mul_(1e30)  # finite, but no cost is
    with pytest.raises(DivergedError, match="diverged"):
        one.finish()
    info = Run(tmp_path / "run").info()
    assert (info["status"], info["figures"]) == ("diverged", None)
    one.trainer.flat.fill_(float("nan"))
    with pytest.raises(DivergedError, match="diverged"):
        one.save()
    Run(tmp_path / "run").load()  # the last good weights


def test_a_full_disk_while_logging_is_told(data, tmp_path, monkeypatch):
    one = begin(data / "small.npy", tmp_path / "run", settings=["train.steps=10"])

    def full(lines):
        raise WriteError("could not write 'log.jsonl': No space left on device")

    monkeypatch.setattr(one.run, "log", full)
    with pytest.raises(WriteError, match="No space left"):
        list(one.records())


# --- real processes ---


def wait_for(condition, child, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it never happened: {child.stderr.read_text()}"
        time.sleep(0.005)


def begun(out):
    return lambda: any(out.glob("checkpoints/step-*.safetensors"))


@pytest.mark.parametrize("way", ["lbfgs", "adam", "early"])
def test_killed_at_random_moments_and_said_again(children, data, tmp_path, way):
    """SIGKILL after the first checkpoint, twice, then to the end: the uninterrupted bits."""
    settings = {
        "lbfgs": ["optim.tolerance=0", "train.steps=100"],
        "adam": [*ADAM, "train.steps=200"],
        "early": [*ADAM, "train.steps=500", "train.patience=4", "optim.batch_size=150"],
    }[way]
    words = ["train", data / "large.npy", "--recipe", "table", "--set", "model.n_latents=40"]
    words += [part for setting in settings for part in ("--set", setting)]
    code, _, err = children.run(*words, "--out", "whole", cwd=tmp_path)
    assert code == 0, err
    random = np.random.default_rng([ord(letter) for letter in way])
    killed = 0
    for _ in range(2):
        child = children.start(*words, "--out", "killed", cwd=tmp_path, before=OFTEN)
        wait_for(begun(tmp_path / "killed"), child)
        time.sleep(random.uniform(0, 0.2))
        child.kill()
        killed += child.wait()[0] == -signal.SIGKILL
    assert killed > 0
    code, _, err = children.run(*words, "--out", "killed", cwd=tmp_path)
    assert code == 0, err
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert story(tmp_path / "killed") == story(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(children, data, tmp_path, number, code):
    words = ["train", data / "large.npy", "--set", "model.n_latents=40", "--json"]
    words += ["--set", "train.steps=120", "--set", "optim.tolerance=0"]
    child = children.start(*words, "--out", "run", cwd=tmp_path, before=OFTEN)
    wait_for(begun(tmp_path / "run"), child)
    child.kill(number)
    got, out, err = child.wait()
    assert got == code, err
    result = json.loads(out)
    assert result["status"] == "interrupted"
    assert 0 < result["n_iter"] < 120
    assert "go on: simplecell resume run" in err
    assert "Traceback" not in err
    run = Run(tmp_path / "run")
    assert run.load().info["n_iter"] == result["n_iter"]
    assert int(run.last_checkpoint()["n_steps"]) == result["n_iter"]
    got, _, err = children.run("resume", "run", cwd=tmp_path)
    assert got == 0, err
    assert children.run(*words, "--out", "whole", cwd=tmp_path)[0] == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_before_training_leaves_nothing(children, data, tmp_path, number, code):
    slow = (
        "import time; from simplecell.run import begin as beginning; real = beginning.build\n"
        "def build(*rest): open('here', 'w').close(); time.sleep(60); return real(*rest)\n"
        "beginning.build = build"
    )
    words = ("train", data / "small.npy", "--out", "run")
    child = children.start(*words, cwd=tmp_path, before=slow)
    wait_for((tmp_path / "here").exists, child)
    child.kill(number)
    got, out, err = child.wait()
    assert (got, out) == (code, "")
    assert "Traceback" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["here"]


def test_two_processes_into_one_directory(children, data, tmp_path):
    words = ["train", data / "large.npy", "--set", "model.n_latents=40"]
    words += ["--set", "train.steps=20000", "--set", "optim.tolerance=0", "--out", "run"]
    first = children.start(*words, cwd=tmp_path, before=OFTEN)
    wait_for(begun(tmp_path / "run"), first)
    got, _, err = children.run(*words, cwd=tmp_path)
    assert got == 4
    assert "another process is training into 'run'" in err
    assert children.run("resume", "run", cwd=tmp_path)[0] == 4
    assert children.run("show", "run", cwd=tmp_path)[0] == 0  # looking is always allowed
    first.kill()
    assert first.wait()[0] == -signal.SIGKILL
    assert children.run("info", "run", cwd=tmp_path)[0] == 0
    again = children.start(*words, cwd=tmp_path)  # the lock died with its process
    wait_for(lambda: "continuing 'run'" in again.stderr.read_text(), again)
    again.kill(signal.SIGTERM)
    assert again.wait()[0] == 143


@pytest.mark.parametrize("recipe", [None, "edges"])
def test_pictures_are_decoded_once(tmp_path, monkeypatch, recipe):
    """Each of them, whether or not a recipe is named."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    decoded, real = [], images.read_picture

    def read(path, *rest):
        decoded.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(images, "read_picture", read)
    told = ["train.steps=2", "data.n_patches=200", "model.n_latents=4"]
    chosen = None if recipe is None else Recipe.load(recipe)
    finish(begin(folder, tmp_path / "run", chosen, settings=told))
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(("settings", "recipe"), [([], "table"), (["data.kind=array"], "strokes")])
def test_what_is_opened_to_choose_a_recipe_is_not_opened_again(
    tmp_path, monkeypatch, settings, recipe
):
    """A table is parsed once, a small picture is decoded once."""
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(30)))
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "pictures" / f"{i}.png")
    opened, reals = [], (images.read_picture, doors.read_file)
    monkeypatch.setattr(images, "read_picture", lambda *a: opened.append(a[0]) or reals[0](*a))
    monkeypatch.setattr(doors, "read_file", lambda *a: opened.append(a[0]) or reals[1](*a))
    data, n = (table, 1) if recipe == "table" else (tmp_path / "pictures", 12)
    told = ["train.steps=2", "model.n_latents=4", *settings]
    one = begin(data, tmp_path / "run", settings=told)
    finish(one)
    assert one.notes[0].startswith(f"recipe: {recipe} (")
    assert len(opened) == n


@pytest.mark.parametrize(
    ("recipe", "settings", "training", "held_out"),
    [
        # check with moments, doctor, all steps, last figures, doctor, what is normal
        ("topk", ["model.target_l0=2"], 6, 2),
        ("jumprelu", ["model.target_l0=2"], 7, 2),  # and the size of the samples
        # check with moments, doctor, all of L-BFGS with its figures, what is normal
        ("table", [], 4, 2),
    ],
)
def test_data_are_read_no_oftener_than_is_needed(
    tmp_path, monkeypatch, recipe, settings, training, held_out
):
    """Readings of the training and the held-out samples, three steps of all samples among them."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((300, 12)).astype("f4"))
    counted, real = [], ArraySource.read

    def read(source, rows):
        x = real(source, rows)
        counted.append(len(x))
        return x

    monkeypatch.setattr(ArraySource, "read", read)
    told = ["train.steps=3", "model.n_latents=24", *settings]
    one = begin(tmp_path / "x.npy", tmp_path / "run", Recipe.load(recipe), settings=told)
    Doctor(one)
    finish(one)
    whole = counted.count(270)
    # What is held out may come in two halves: one settles thresholds, the other is judged.
    assert (whole, sum(counted) - 270 * whole) == (training, 30 * held_out)
