"""Memory is known before it is taken: what does not fit is refused, with figure and cure."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import simplecell
from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.errors import UsageError
from simplecell.run import memory
from simplecell.run.begin import begin
from simplecell.run.estimate import estimate
from simplecell.run.memory import check_memory, check_preparation, needed
from simplecell.run.recipe import Recipe
from simplecell.run.sizes import bytes_of
from simplecell.training import prepared

WIDE = Recipe.load("table").changed(["model.n_latents=14258", "train.device=cpu"])


@pytest.fixture
def small_machine(monkeypatch):
    """One gigabyte."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 10**9)


def test_the_weights_are_counted_and_nothing_is_allocated():
    """Both matrices of 14,258 × 7,129 and the biases, in float32; 40 vectors of history and 6."""
    needs, weights = needed(WIDE, 7129, 72)
    assert weights == 4 * (2 * 14258 * 7129 + 14258 + 7129)
    assert 46 * weights < needs < 46.1 * weights
    half = WIDE.changed(["optim.kind=adam"])
    assert 8 * weights < needed(half, 7129, 72)[0] < 8.1 * weights
    double = WIDE.changed(["train.dtype=float64"])
    assert needed(double, 7129, 72)[1] == 2 * weights
    deep = Recipe.load("deep").changed(
        ["model.n_latents=[30, 10]", "model.activation=tanh", "train.device=cpu"]
    )
    assert needed(deep, 50, 72)[1] == 4 * (2 * (50 * 30 + 30 * 10) + 30 + 10 + 30 + 50)


def test_dense_codes_of_a_batch_count_too():
    """Two inputs and 99,999,999 latents: little of weights, and too much of codes."""
    recipe = Recipe.load("topk").changed(
        ["model.n_latents=99999999", "model.target_l0=4", "train.device=cpu"]
    )
    needs, weights = needed(recipe, 2, 10_000)
    assert weights == 4 * (2 * 2 * 99_999_999 + 99_999_999 + 2)
    assert needs - 8 * weights > 1000 * 99_999_999 * 4


def test_what_does_not_fit_is_a_sentence_with_figure_and_cure(small_machine):
    recipe = WIDE.changed(["model.n_latents=3200"])
    with pytest.raises(UsageError) as error:
        check_memory(recipe, 1600, 60)
    assert str(error.value) == (
        "3,200 latents over 1,600 inputs by L-BFGS need about 1.89 GB of memory (41 MB of "
        "weights), and there are 1 GB; choose Adam (optim.kind=adam, about 0.333 GB), or ask for "
        "fewer latents (model.n_latents=1523), or train on fewer columns"
    )
    check_memory(recipe.changed(["model.n_latents=1523"]), 1600, 60)
    check_memory(recipe.changed(["optim.kind=adam"]), 1600, 60)
    with pytest.raises(
        UsageError, match=r"step 'zca_whiten' over 9,000 inputs needs about 3\.89 GB"
    ):
        check_preparation(recipe.changed(['preprocess.steps=["zca_whiten"]']), 9000)
    check_preparation(recipe, 9000)


def test_a_machine_that_does_not_say_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    check_memory(WIDE.changed(["model.n_latents=2000000000"]), 10**6, 60)


def test_a_container_has_what_it_may_take(monkeypatch, tmp_path):
    whole = memory.machine_memory()
    (tmp_path / "max").write_text("12345678\n")
    monkeypatch.setattr(memory, "LIMITS", (str(tmp_path / "none"), str(tmp_path / "max")))
    assert memory.machine_memory() == 12345678
    (tmp_path / "max").write_text("max\n")
    assert memory.machine_memory() is None or memory.machine_memory() >= whole


def test_a_wide_table_gets_adam_unless_somebody_chose(small_machine, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "machine_memory", lambda: 2 * 10**7)
    path = tmp_path / "wide.csv"
    x = np.random.default_rng(0).lognormal(size=(20, 150))
    np.savetxt(path, x, delimiter=",", header=",".join(f"g{i}" for i in range(150)), comments="")
    few = ["train.steps=2", "train.device=cpu"]
    one = begin(path, tmp_path / "run", settings=few)
    assert one.recipe.optim.kind == "adam"
    reason = "150 columns by L-BFGS need about 16.8 MB of memory of 20 MB"
    assert one.notes[1] == f"optimiser: adam, since {reason}"
    one.lock.release()
    begin(path, tmp_path / "run", settings=few).lock.release()  # said again, it is the same recipe
    chosen = begin(path, tmp_path / "lbfgs", settings=[*few, "optim.kind=lbfgs"])
    assert chosen.recipe.optim.kind == "lbfgs"
    monkeypatch.setattr(memory, "machine_memory", lambda: 10**7)
    for recipe, more in ((Recipe.load("table"), []), (None, ["optim.kind=lbfgs"])):
        with pytest.raises(UsageError, match=r"by L-BFGS need about 16\.8 MB"):
            begin(path, tmp_path / "never", recipe, settings=[*few, *more])
    assert not (tmp_path / "never").exists()
    with pytest.raises(UsageError, match=r"by L-BFGS need about 16\.8 MB"):
        simplecell.SparseAutoencoder(n_latents=300, device="cpu").fit(x)


def test_latents_without_end_are_refused_before_they_are_made(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2000, 16), dtype=np.float32))
    words = ["train", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run")]
    words += ["--set", "model.n_latents=auto", "--set", "model.target_l0=99999999"]
    assert run_command_line(words) == 2
    err = capsys.readouterr().err
    assert "99,999,999 latents over 16 inputs by Adam need about" in err
    assert "ask for fewer latents" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_peak_memory_of_a_wide_table(tmp_path):
    """Measured: 46 vectors as long as the weights, checkpoints and all, and a little slack."""
    program = """
import resource, sys
import numpy as np
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe
def train(n, m):
    x = np.random.default_rng(0).lognormal(size=(60, n)).astype("f4")
    told = ["train.steps=25", f"model.n_latents={m}", "optim.tolerance=0"]
    one = begin(x, f"run-{n}", Recipe.load("table"), settings=told)
    for _ in one.records():
        pass
    one.finish()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = train(20, 4)
print((train(1500, 3000) - small) / (2 * 1500 * 3000 * 4 / 2**20))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 50


BOUND = Recipe.load("topk").changed(
    ["model.n_latents=64", "model.target_l0=4", "train.device=cpu", "train.memory=1GB"]
)


@pytest.mark.parametrize(
    ("said", "size"),
    [("1GB", 10**9), ("500 MB", 5 * 10**8), ("1.5gib", 3 * 2**29), ("64KiB", 2**16), ("7B", 7)],
)
def test_sizes_of_memory(said, size):
    assert bytes_of(said) == size


@pytest.mark.parametrize("said", ["1", "GB", "-1GB", "0GB", "1 GO", "1e9B", "1GB2", ""])
def test_sizes_that_are_none(said):
    with pytest.raises(UsageError, match="a size such as 1GB, 500MB or 2GiB is needed"):
        bytes_of(said)
    with pytest.raises(UsageError, match=r"a size such as|train\.memory"):
        BOUND.changed({"train.memory": said})


def mapped(folder, n=4000, d=32):
    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    np.save(folder / "x.npy", x)
    return as_source(folder / "x.npy")


def test_what_a_bound_leaves_room_for(tmp_path, monkeypatch):
    """Process, model and pool come first; what is left is for samples that are kept."""
    source = mapped(tmp_path)
    monkeypatch.setattr(memory, "resident", lambda: 250_000_000)
    least = memory.least_of(BOUND, 32, source)
    assert least.process == 250_000_000
    assert least.pool == 4000 * 32 * 4
    assert memory.least_of(BOUND.changed(["data.block=5"]), 32, source).pool == 64 * 5 * 32 * 4
    assert memory.least_of(BOUND, 32, as_source(np.ones((9, 32)))).pool == 0
    room = memory.room_of(BOUND, 32, source)
    assert room.cache == (10**9 - least.all) // 4
    free = BOUND.changed(["train.memory=auto"])
    assert memory.room_of(free, 32, source) == (None, None)
    with pytest.raises(UsageError) as error:
        memory.room_of(BOUND.changed(["train.memory=300MB", "data.block=32"]), 32, source)
    told = str(error.value)
    assert "takes at least about" in told
    assert "(0.25 GB libraries and data," in told
    assert "train.memory allows 0.3 GB; allow more, or" in told
    assert "data.block=16" in told


@pytest.mark.parametrize("variant", ["topk", "batchtopk"])
def test_a_bound_changes_nothing_that_adam_learns_or_measures(tmp_path, monkeypatch, variant):
    """Kept in memory or read again in every pass: the same bits, thresholds of held-out samples
    and figures among them."""
    mapped(tmp_path)
    monkeypatch.setattr(prepared, "LOOK_BYTES", 1)  # several chunks
    monkeypatch.setattr(prepared, "LEAST_ROWS", 100)
    monkeypatch.setattr(memory, "SLACK", 0)
    said = ["train.steps=12", "optim.batch_size=500", "train.device=cpu", "model.n_latents=64"]
    found = []
    for name, bound in {"free": "auto", "narrow": "narrow"}.items():
        if bound == "narrow":
            bound = f"{memory.resident() + 60_000_000}B"
            monkeypatch.setattr(memory, "CACHE_BYTES", 0)
        told = [*said, f'train.memory="{bound}"']
        one = begin(tmp_path / "x.npy", tmp_path / name, Recipe.load(variant), settings=told)
        if name == "narrow":
            one.trainer.room = one.trainer.room._replace(cache=0)
        list(one.records())
        assert (one.trainer.held.kept is None) == (name == "narrow")
        assert len(one.trainer.held) > 1
        result = one.finish()
        found.append((one.trainer.flat.clone(), {**result, "run": None, "seconds": None}))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_run_may_go_on_within_another_bound(tmp_path):
    mapped(tmp_path)
    said = ["train.steps=6", "optim.batch_size=500", "train.device=cpu", "model.n_latents=64"]
    one = begin(tmp_path / "x.npy", tmp_path / "r", Recipe.load("topk"), settings=said)
    for record in one.records():
        if record.step == 3:
            break
    one.finish("interrupted")
    again = begin(
        tmp_path / "x.npy",
        tmp_path / "r",
        Recipe.load("topk"),
        settings=[*said, "train.memory=2GB"],
    )
    assert again.trainer.n_steps == 3
    assert again.recipe.train.memory == "2GB"
    assert again.trainer.room.cache is not None
    list(again.records())
    again.finish()
    table = Recipe.load("table").changed(["train.steps=3", "train.device=cpu"])
    begin(tmp_path / "x.npy", tmp_path / "t", table).lock.release()
    with pytest.raises(UsageError, match="begun with other settings"):
        begin(tmp_path / "x.npy", tmp_path / "t", table, settings=["train.memory=2GB"])


def test_a_long_training_says_what_it_takes(tmp_path):
    source = mapped(tmp_path)
    recipe = BOUND.changed(
        ["train.steps=10000", "model.n_latents=4096", "optim.learning_rate=1e-3"]
    )
    (told,) = estimate(recipe, 32, source)
    assert told.startswith("this training takes about")
    assert "7.46 MB on disk" in told
    assert estimate(recipe.changed(["train.steps=10"]), 32, source) == []
