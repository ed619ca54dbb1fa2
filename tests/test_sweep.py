"""Sweeps: one reading for all, every model the one that training alone makes, and a fair table."""

from __future__ import annotations

import itertools
import json
import signal
import statistics
import time
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from simplecell.cli import run_command_line
from simplecell.cli.printing import sweep_table
from simplecell.data import ArraySource, Source, as_source, shared
from simplecell.errors import DataError, RunError, UsageError
from simplecell.model.matching import nearest
from simplecell.run import begin as session
from simplecell.run.begin import begin
from simplecell.run.directory import Run
from simplecell.run.progress import TrainingProgress
from simplecell.run.recipe import Recipe
from simplecell.run.sweep import begin_sweep, plan
from simplecell.training import prepared

TOPK = ["train.steps=10", "optim.batch_size=64", "model.n_latents=24"]
WAYS = {
    "lbfgs": (
        None,
        ["train.steps=8", "model.n_latents=5"],
        ["objective.kl.target=0.1,0.2", "model.activation=sigmoid,tanh"],
    ),
    "adam": (Recipe.load("topk"), TOPK, ["model.target_l0=2,4"]),
    "jumprelu": (Recipe.load("jumprelu"), TOPK, ["model.target_l0=2,4"]),
    "lengths": (Recipe.load("topk"), TOPK, ["train.steps=5,10", "model.target_l0=4"]),
    "split": (Recipe.load("topk"), TOPK, ["data.held_out=0,0.3"]),
    "deep": (None, ["train.steps=6"], ["model.n_latents=[6,3],4", "train.dtype=float64"]),
}
CLASSIC = ["objective.kl.weight=0.1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    random = np.random.default_rng(0)
    np.save(path, (random.laplace(size=(400, 8)) @ random.standard_normal((8, 12))))
    return path


def all_of(sweep):
    for _ in sweep.records():
        pass
    return sweep.finish()


def alone(data, out, recipe, settings=()):
    one = begin(data, out, recipe, settings=settings)
    for _ in one.records():
        pass
    return one.finish()


def story(out):
    """Everything that a run keeps, without its clock."""
    info, records = Run(out).info(), Run(out).records()
    files = {
        name: (out / name).read_bytes()
        for name in ("recipe.toml", "model.safetensors", "preprocess.safetensors")
    }
    last = sorted((out / "checkpoints").iterdir())[-1]
    files[last.name] = last.read_bytes()
    return {**info, "seconds": 0}, [{**r, "seconds": 0} for r in records], files


def ending(out):
    """What a training led to, wherever it paused; L-BFGS counts evaluations anew."""
    info, records, files = story(out)
    figures = {**info["figures"], "n_evaluations": 0}
    return figures, records, files["model.safetensors"], Run(out).recipe()


@pytest.mark.parametrize("way", WAYS)
def test_every_model_is_the_one_that_training_alone_makes(data, tmp_path, way):
    recipe, settings, grid = WAYS[way]
    recipe = Recipe.load("table").changed(CLASSIC) if recipe is None else recipe
    seeds = 2 if way in ("adam", "split") else None
    sweep = begin_sweep(data, tmp_path / "all", recipe, grid=grid, seeds=seeds, settings=settings)
    result = all_of(sweep)
    planned = plan(recipe.changed(settings), grid, seeds)
    assert len(planned) == len(result["models"]) >= 2
    for one, row in zip(planned, result["models"], strict=True):
        single = alone(data, tmp_path / "single" / one.name, one.recipe)
        mine, theirs = (story(tmp_path / part / one.name) for part in ("all", "single"))
        assert mine == theirs, one.name
        held = single["held_out"] or {}
        assert (row["fvu"], row["fvu_held_out"]) == (single["fvu"], held.get("fvu"))
        assert row["l0"] == (held or single)["l0"]
        assert row["status"] == "finished"


class Counting(ArraySource):
    """An array that counts the rows that are read of it."""

    n_read = 0

    def read(self, rows):
        x = super().read(rows)
        self.n_read += len(x)
        return x


def test_eight_models_read_the_data_once(data, tmp_path):
    source = Counting(np.load(data))
    grid = ["model.target_l0=1,2,3,4", "model.n_latents=12,24"]
    sweep = begin_sweep(source, tmp_path, Recipe.load("topk"), grid=grid, settings=TOPK)
    assert len(all_of(sweep)["models"]) == 8
    assert source.n_read == source.n_samples + 1  # one row says how wide the floats are


def test_what_does_not_fit_in_memory_is_read_once_a_batch(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "KEPT_BYTES", 0)
    monkeypatch.setattr(prepared, "ONCE_BYTES", 0)
    grid = ["model.target_l0=1,2,3,4", "optim.batch_size=32,64"]
    source = Counting(np.load(data))
    sweep = begin_sweep(source, tmp_path / "all", Recipe.load("topk"), grid=grid, settings=TOPK)
    before = source.n_read
    records = sweep.records()
    for _ in islice(records, 8 * 9):  # the last steps look at the held-out samples
        pass
    # The passes before were few reads, and short: they are remembered.
    assert source.n_read - before == 9 * (32 + 64)
    for _ in records:
        pass
    sweep.finish()
    monkeypatch.undo()
    for one in plan(Recipe.load("topk").changed(TOPK), grid):
        alone(np.load(data), tmp_path / "single" / one.name, one.recipe)
        assert story(tmp_path / "all" / one.name) == story(tmp_path / "single" / one.name)


@pytest.mark.parametrize("kept", [True, False])
def test_a_shared_source_reads_like_its_own(data, monkeypatch, kept):
    monkeypatch.setattr(shared, "KEPT_BYTES", 2**31 if kept else 0)
    monkeypatch.setattr(shared, "FILLED_BYTES", 1000)
    plain, source = as_source(data), shared.shared(as_source(data))
    assert isinstance(source, Source)
    assert shared.shared(source) is source
    for rows in (slice(3, 9), slice(None), np.array([5, 5, 399, 0]), slice(9, 3)):
        for _ in range(2):  # what a caller writes into is its own
            x = source.read(rows)
            assert np.array_equal(x, plain.read(rows))
            assert x.dtype == np.float64
            assert x.flags.c_contiguous
            x[:] = 7
    assert source.fingerprint() == plain.fingerprint()
    assert source.about(slice(2, 4)) == [{"row": 2}, {"row": 3}]
    assert [rows.tolist() for _, rows in source.batches(150)][1] == list(range(150, 300))


def test_who_lags_behind_reads_for_itself(data, monkeypatch):
    monkeypatch.setattr(shared, "KEPT_BYTES", 0)
    inner = Counting(np.load(data))
    source = shared.Shared(inner)
    first, second = (source.batches(20, seed=1) for _ in range(2))
    ahead = [next(first)[0] for _ in range(shared.RECENT_READS)]
    read = inner.n_read
    for x in ahead:
        assert np.array_equal(next(second)[0], x)
    assert inner.n_read == read
    for _ in range(shared.RECENT_READS + 1):
        ahead.append(next(first)[0])
    read = inner.n_read
    assert np.array_equal(next(second)[0], ahead[shared.RECENT_READS])
    assert inner.n_read == read + 20
    assert len(source._recent) == shared.RECENT_READS
    monkeypatch.setattr(shared, "RECENT_BYTES", 100)
    source.read(slice(0, 400))
    assert not source._recent


def test_bad_values_are_found_before_anything_is_written(tmp_path):
    x = np.ones((50, 3))
    x[31, 2] = np.nan
    with pytest.raises(DataError, match="sample 31, input 2"):
        begin_sweep(x, tmp_path / "all", Recipe.load("topk"), seeds=2)
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("way", ["lbfgs", "adam"])
def test_cut_off_anywhere_and_said_again_ends_with_the_same_bits(data, tmp_path, way):
    recipe, settings, grid = WAYS[way]
    recipe = recipe or Recipe.load("table").changed(CLASSIC)
    words = {"grid": grid, "settings": settings}
    all_of(begin_sweep(data, tmp_path / "whole", recipe, **words))
    for stop in (1, 7):
        out = tmp_path / f"cut at {stop}"
        sweep = begin_sweep(data, out, recipe, **words)
        records = sweep.records()
        for _ in islice(records, stop):
            pass
        records.close()
        rows = sweep.finish("interrupted")["models"]
        assert {row["status"] for row in rows} == {"interrupted"}
        assert sum(row["n_iter"] for row in rows) == stop
        again = begin_sweep(data, out, recipe, **words)
        assert sum("continuing" in note for note in again.notes) == len(rows)
        assert again.n_done == stop
        assert again.n_steps == sum(one.session.recipe.n_steps for one in again.members)
        all_of(again)
        for row in rows:
            mine, theirs = (ending(place / row["name"]) for place in (out, tmp_path / "whole"))
            assert mine == theirs, (stop, row["name"])


def test_finished_models_are_kept_and_new_ones_join(data, tmp_path):
    words = {"settings": TOPK}
    topk = Recipe.load("topk")
    first = all_of(begin_sweep(data, tmp_path, topk, grid=["model.target_l0=2"], **words))
    files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*") if f.is_file()}
    sweep = begin_sweep(data, tmp_path, topk, grid=["model.target_l0=2,3"], **words)
    assert [member.session.done for member in sweep.members] == [True, False]
    result = all_of(sweep)
    assert result["models"][0] == first["models"][0]
    assert {f: f.stat().st_mtime_ns for f in files} == files
    with pytest.raises(UsageError, match="begun with other settings"):
        begin_sweep(data, tmp_path, topk, grid=["model.target_l0=2,3"], settings=TOPK[1:])
    anew = begin_sweep(data, tmp_path, topk, grid=["model.target_l0=2"], restart=True, **words)
    assert [member.session.done for member in anew.members] == [False]
    assert all_of(anew)["models"][0]["fvu"] == first["models"][0]["fvu"]


def test_one_that_cannot_begin_takes_the_others_with_it(data, tmp_path):
    (tmp_path / "target_l0=3").mkdir()
    (tmp_path / "target_l0=3" / "letter.txt").touch()
    (tmp_path / "target_l0=3" / "curve.png").touch()
    grid = ["model.target_l0=2,3"]
    with pytest.raises(RunError, match=r"holds other files \(letter.txt\)"):
        begin_sweep(data, tmp_path, Recipe.load("topk"), grid=grid, settings=TOPK)
    assert not (tmp_path / "target_l0=2").exists()
    assert len(list((tmp_path / "target_l0=3").iterdir())) == 2
    alone(data, tmp_path / "run", Recipe.load("topk"), TOPK)
    with pytest.raises(RunError, match="is a run; a sweep needs a folder of its own"):
        begin_sweep(data, tmp_path / "run", seeds=2)
    with pytest.raises(RunError, match="is a file; a sweep needs a folder"):
        begin_sweep(data, data, seeds=2)


def test_a_model_that_diverges_does_not_stop_the_others(data, tmp_path, capsys):
    words = ["sweep", str(data), "--recipe", "topk", "--out", str(tmp_path), "--json"]
    words += [word for setting in TOPK for word in ("--set", setting)]
    words += ["--grid", "optim.learning_rate=0.001,1e30", "--seeds", "2"]
    assert run_command_line(words) == 5
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert [row["status"] for row in result["models"]] == ["finished", "finished"] + 2 * [
        "diverged"
    ]
    bad = result["models"][2]
    assert "diverged by step" in bad["error"]
    assert (bad["fvu"], bad["l0"]) == (None, None)
    assert f"{bad['name']}: training diverged" in printed.err
    good, failed = result["groups"]
    assert (good["n_models"], failed["n_models"]) == (2, 0)
    assert failed["mean"]["fvu"] is failed["stability"] is None
    assert "diverged at step" in sweep_table(result)
    with Image.open(result["picture"]) as picture:
        assert min(picture.size) > 300


def test_the_command_prints_a_table_and_draws_the_front(data, tmp_path, capsys):
    words = ["sweep", str(data), "--recipe", "topk", "--out", str(tmp_path / "all")]
    words += [word for setting in TOPK for word in ("--set", setting)]
    words += ["--grid", "model.target_l0=2,4", "--grid", "model.n_latents=12,24"]
    assert run_command_line(words) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split() == ["model", "fvu", "held", "out", "l0", "dead", "activation"]
    names = [f"target_l0={k} n_latents={m}" for k in (2, 4) for m in (12, 24)]
    assert [line[: len(names[0])] for line in lines[1:]] == names
    assert "front.png" in printed.err
    assert run_command_line([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["schema"], result["command"], result["groups"]) == (1, "sweep", [])
    assert result["picture"] == str(tmp_path / "all" / "front.png")
    row = result["models"][1]
    assert row["varied"] == {"model.target_l0": 2.0, "model.n_latents": 24}
    assert row["run"] == str(tmp_path / "all" / names[1])
    assert row["l0"] == 2
    # What a run remembers of its data is the file: it can be taken up on its own.
    assert session.resume(row["run"]).done
    # Pictures belong to no run, and what else lies in the folder is left alone.
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(
        [*names, "front.png"]
    )


def test_ctrl_c_saves_every_model(data, tmp_path, capsys, monkeypatch):
    def show(self, record):
        if record.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "show", show)
    words = ["sweep", str(data), "--recipe", "topk", "--out", str(tmp_path), "--json"]
    assert run_command_line([*words, "--seeds", "3", "--set", "train.steps=1000000"]) == 130
    printed = capsys.readouterr()
    assert "stopping after this step" in printed.err
    rows = json.loads(printed.out)["models"]
    assert [row["status"] for row in rows] == 3 * ["interrupted"]
    assert [row["n_iter"] for row in rows] == [2, 2, 1]
    for row in rows:
        assert Run(row["run"]).load().info["figures"]["fvu"] == row["fvu"]


def test_seeds_give_mean_and_spread_and_the_stability_of_the_dictionary(data, tmp_path):
    grid = ["model.target_l0=2,4"]
    sweep = begin_sweep(data, tmp_path, Recipe.load("topk"), grid=grid, seeds=3, settings=TOPK)
    result = all_of(sweep)
    assert [row["varied"]["train.seed"] for row in result["models"]] == [0, 1, 2] * 2
    assert [group["name"] for group in result["groups"]] == ["target_l0=2", "target_l0=4"]
    group, rows = result["groups"][1], result["models"][3:]
    assert group["varied"] == {"model.target_l0": 4.0}
    fvu = [row["fvu_held_out"] for row in rows]
    assert group["mean"]["fvu_held_out"] == pytest.approx(statistics.fmean(fvu))
    assert group["std"]["fvu_held_out"] == pytest.approx(np.std(fvu, ddof=1))
    assert group["std"]["fvu_held_out"] > 0
    atoms = [Run(row["run"]).load().atoms() for row in rows]
    pairs = [nearest(a, b) for a, b in itertools.combinations(atoms, 2)]
    expected = [(pair.first.mean() + pair.second.mean()) / 2 for pair in pairs]
    assert group["stability"] == pytest.approx(np.mean(expected))
    assert 0 < group["stability"] < 1
    # The same, of a sweep that was finished before.
    assert (
        begin_sweep(data, tmp_path, Recipe.load("topk"), grid=grid, seeds=3, settings=TOPK).finish()
        == result
    )


def test_points_of_the_front_are_held_out_and_few_lines(data, tmp_path):
    grid = ["model.n_latents=12,24", "model.target_l0=2,4"]
    sweep = begin_sweep(data, tmp_path, Recipe.load("topk"), grid=grid, seeds=2, settings=TOPK)
    points, across = sweep.points(all_of(sweep)["models"])
    assert across == "l0"
    assert [point["line"] for point in points] == ["n_latents=12"] * 4 + ["n_latents=24"] * 4
    assert [point["label"] for point in points] == 2 * (2 * ["target_l0=2"] + 2 * ["target_l0=4"])
    row = sweep.members[5].row()
    assert (points[5]["x"], points[5]["y"]) == (row["l0"], row["fvu_held_out"])
    classic = begin_sweep(data, tmp_path / "classic", seeds=2, settings=["train.steps=2"])
    points, across = classic.points(all_of(classic)["models"])
    assert across == "mean activation"
    assert points[0]["x"] == classic.members[0].row()["mean_activation"]


def test_time_spent_on_others_is_not_a_models_own(data, tmp_path):
    one = begin(data, tmp_path / "one", Recipe.load("topk"), settings=[*TOPK, "train.steps=20"])
    for _ in one.records():
        time.sleep(0.02)
    assert one.finish()["seconds"] < 0.02 * 20


def test_pictures_are_opened_once_for_models_of_one_seed(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(random.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / f"{i}.png")
    opened = []
    plain = Recipe.source
    monkeypatch.setattr(
        Recipe, "source", lambda self, data, **m: opened.append(data) or plain(self, data, **m)
    )
    settings = ["train.steps=3", "data.n_patches=200", "data.kind=patches", "data.patch=4"]
    words = {"grid": ["objective.kl.target=0.1,0.2"], "settings": settings}
    recipe = Recipe.load("edges")
    all_of(begin_sweep(str(folder), tmp_path / "all", recipe, seeds=2, **words))
    assert sum(isinstance(data, str) for data in opened) == 2
    monkeypatch.undo()
    one = plan(recipe.changed(settings), words["grid"], 2)[3]
    assert one.name == "seed=1 target=0.2"
    alone(str(folder), tmp_path / "single", one.recipe)
    assert story(tmp_path / "single") == story(tmp_path / "all" / one.name)


TABLE = Recipe.load("table")


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        (["objective.kl.target=0.01,0.020,5e-2"], ["target=0.01", "target=0.02", "target=0.05"]),
        (
            ["objective.kl.weight=1,2", "objective.decay.weight=0.5"],
            ["kl.weight=1 decay.weight=0.5", "kl.weight=2 decay.weight=0.5"],
        ),
        (["model.n_latents=[6,3],auto"], ["n_latents=6-3", "n_latents=auto"]),
        (['data.key="a/b, c",../d'], ["key=a-b-c", "key=d"]),
        (["model.tied=true,false"], ["tied=true", "tied=false"]),
        (["model.target_l0=16", "objective.l0.target=2"], ["target_l0=16 target=2"]),
    ],
)
def test_names_say_what_varies_and_are_safe(grid, names):
    assert [one.name for one in plan(TABLE, grid)] == names


def test_seeds_follow_the_recipes_own():
    planned = plan(TABLE.changed(["train.seed=7"]), ["model.n_latents=3,4"], 2)
    names = [f"seed={seed} n_latents={m}" for m in (3, 4) for seed in (7, 8)]
    assert [one.name for one in planned] == names
    assert [one.recipe.train.seed for one in planned] == [7, 8, 7, 8]
    assert [one.group for one in plan(TABLE, [], 2)] == ["", ""]
    assert [one.group for one in plan(TABLE, ["train.seed=3,4"])] == [None, None]


@pytest.mark.parametrize(
    ("grid", "seeds", "sentence"),
    [
        ([], None, "nothing varies; give --grid"),
        (["model.n_latent=3,4"], None, "did you mean 'n_latents'"),
        (["modle.n_latents=3,4"], None, "did you mean 'model'"),
        (["model.n_latents=3,many"], None, "model.n_latents"),
        (["model.n_latents="], None, "has an empty value"),
        (["model.n_latents=3,,4"], None, "has an empty value"),
        (["model.n_latents"], None, "not of the form table.key=V1,V2"),
        (["n_latents=3,4"], None, "not of the form table.key=V1,V2"),
        (["model.n_latents=3", "model.n_latents=4"], None, "grid has 'model.n_latents' twice"),
        (["objective.kl.target=0.1,0.10"], None, "would be called 'target=0.1'"),
        (["train.seed=1,2"], 2, "seeds came with a grid of train.seed"),
        ([], 0, "seeds is 0"),
        ([], 65, "would have 65 models; at most 64"),
        (["model.n_latents=1,2,3,4,5"], 13, "would have 65 models; at most 64"),
    ],
)
def test_wrong_grids_are_refused_in_a_sentence(data, tmp_path, capsys, grid, seeds, sentence):
    words = ["sweep", str(data), "--recipe", "table", "--out", str(tmp_path / "all")]
    words += [word for said in grid for word in ("--grid", said)]
    words += [] if seeds is None else ["--seeds", str(seeds)]
    assert run_command_line(words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_a_refused_sweep_leaves_nothing_and_many_seeds_are_refused_at_once(tmp_path):
    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    short = ["model.n_latents=16", "train.max_samples=500"]
    with pytest.raises(UsageError, match="k is 40"):
        begin_sweep(
            x, tmp_path / "s", Recipe.load("topk"), grid=["model.target_l0=4,40"], settings=short
        )
    assert not (tmp_path / "s").exists()
    with pytest.raises(UsageError, match="at most 64"):
        begin_sweep(x, tmp_path / "s", Recipe.load("topk"), seeds=10**9, settings=short)
