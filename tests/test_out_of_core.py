"""Exact KL out of core: value and gradient over chunks are those in memory, whatever the chunks."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from simplecell.data import ArraySource, as_source
from simplecell.data.order import Shuffle
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe
from simplecell.training import prepared as module
from simplecell.training.gradients import Gradient, Whole
from simplecell.training.objective import Objective
from simplecell.training.prepared import Prepared, Room, fitted
from simplecell.training.trainer import Trainer
from simplecell.training.weights import flatten, initialise

pytest_plugins = ["children"]

N, D, M = 150, 12, 7
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(N, D)) @ RNG.normal(size=(D, D))).astype(np.float64)
UFLDL = {
    "reconstruction": {"weight": 0.5},
    "kl": {"weight": 3.0, "target": 0.05},
    "decay": {"weight": 1e-4},
}
WHITENING = [[], ["zca_whiten"], ["standardize", {"kind": "pca_whiten", "n_components": 9}]]


def source_of(where: str, folder: Path):
    """The same samples in memory, memory-mapped, and in three shards."""
    if where == "memory":
        return ArraySource(X)
    if where == "file":
        np.save(folder / "x.npy", X)
        return as_source(folder / "x.npy")
    for i, part in enumerate(np.split(X, [40, 41])):
        np.save(folder / f"{i}.npy", part)
    return as_source(folder)


def model_of(n_inputs: int, activation: str = "sigmoid") -> Autoencoder:
    model = Autoencoder(n_inputs, M, activation=activation, output="linear", dtype=torch.float64)
    initialise(model, 0)
    return model


def evaluated(model, chunks, fast):
    grad = flatten(model)[1]
    evaluation = Gradient(model, Objective(UFLDL), fast=fast)(chunks)
    return evaluation, grad.clone()


def close(one, other):
    assert torch.allclose(one, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "read again"])
@pytest.mark.parametrize("fast", [True, False], ids=["kernel", "autograd"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("steps", WHITENING, ids=str)
@pytest.mark.parametrize("size", [1, 7, 64, N])
@pytest.mark.parametrize("where", ["file", "shards"])
def test_value_and_gradient_are_those_in_memory(
    tmp_path, monkeypatch, where, size, steps, activation, fast, keep
):
    whole = fitted(steps, ArraySource(X))
    x = whole.apply(torch.from_numpy(X)).x
    wanted, gradient = evaluated(model_of(x.shape[1], activation), Whole(x), fast)

    source = source_of(where, tmp_path)
    preprocess = fitted(steps, source)
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, preprocess.state()[name])
    model = model_of(preprocess.n_outputs, activation)
    monkeypatch.setattr(module, "rows_of_chunk", lambda *told: size)
    chunks = Prepared(source, preprocess, model, room=Room(cache=2**20 if keep else 0))
    assert len(chunks) == -(-N // size)
    assert (chunks.kept is not None) == keep
    found, its = evaluated(model, chunks, fast)
    assert float(found.cost) == pytest.approx(float(wanted.cost), rel=1e-12)
    for term, value in wanted.terms.items():
        assert float(found.terms[term]) == pytest.approx(float(value), rel=1e-12)
    close(its, gradient)


def test_whitening_is_fitted_out_of_core_in_any_pieces():
    whole = Preprocess(["zca_whiten"]).fit(lambda: [torch.from_numpy(X)]).state()
    for size in (1, 7, 64):
        pieces = Preprocess(["zca_whiten"]).fit(lambda n=size: torch.from_numpy(X).split(n))
        for name, tensor in pieces.state().items():
            close(tensor, whole[name])


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("where", ["file", "shards"])
def test_lbfgs_goes_the_same_way(tmp_path, monkeypatch, where, size):
    """Ten iterations; rounding of the sums is all that differs, and grows a little at each."""
    found = []
    for source, rows, cache in (
        (ArraySource(X), N, 2**20),
        (source_of(where, tmp_path), size, 2**20),
        (source_of(where, tmp_path), size, 0),
    ):
        preprocess = fitted(["zca_whiten"], source)
        monkeypatch.setattr(module, "rows_of_chunk", lambda *told, rows=rows: rows)
        trainer = Trainer(
            model_of(D), Objective(UFLDL), preprocess, tolerance=0.0, room=Room(cache=cache)
        )
        records = list(trainer.run(source, 10))
        found.append((trainer.flat.clone(), float(records[-1].cost), trainer.n_evaluations))
    (whole, cost, n), *others = found
    for flat, value, evaluations in others:
        assert evaluations == n
        assert value == pytest.approx(cost, rel=1e-10)
        torch.testing.assert_close(flat, whole, rtol=1e-8, atol=1e-8)
    # What is kept and what is read again are the same bits.
    assert torch.equal(others[0][0], others[1][0])
    assert others[0][1] == others[1][1]


def test_codes_that_were_kept_serve_their_own_evaluation_alone(monkeypatch):
    """Others' samples, or weights that moved on, are encoded anew."""
    model = model_of(D)
    flatten(model)
    gradient, x = Gradient(model, Objective(UFLDL)), torch.from_numpy(X)
    monkeypatch.setattr(module, "rows_of_chunk", lambda *told: 64)
    chunks = Prepared(ArraySource(X), Preprocess([]).fit(lambda: [x]), model)
    gradient(chunks)
    wanted = evaluated(model_of(D), Whole(x[:20]), True)[1]
    flatten(model)
    gradient(Whole(x[:20]))
    close(torch.cat([p.grad.reshape(-1) for p in model.parameters()]), wanted)


KILLED = """
import os, signal
import simplecell.run.session as session
session.CHECKPOINT_SECONDS = 0
from simplecell.training.trainer import Trainer
own = Trainer.step
def step(trainer, *told, **how):
    if trainer.n_steps == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return own(trainer, *told, **how)
Trainer.step = step
"""


@pytest.mark.parametrize("where", ["file", "shards"])
def test_a_killed_training_goes_on_from_files_to_the_same_bits(tmp_path, children, where):
    """SIGKILL in the midst of a pool, at its end and in another pass; the array in memory is the
    run that nobody stopped."""
    (tmp_path / "d").mkdir()
    source_of(where, tmp_path / "d")
    np.save(tmp_path / "memory.npy", X)
    said = ["train.steps=30", "optim.batch_size=40", "data.block=1", "model.n_latents=30"]
    settings = [*said, "model.target_l0=3", "train.memory=2GB", "train.device=cpu"]
    told = [word for setting in settings for word in ("--set", setting)]
    data = tmp_path / "d" / "x.npy" if where == "file" else tmp_path / "d"
    train = ["train", data, "--out", "run", "--recipe", "topk", "--no-doctor", *told]
    for step in (2, 3, 17):
        code, _, err = children.run(*train, cwd=tmp_path, before=KILLED.format(step=step))
        assert code == -signal.SIGKILL, err
    code, _, err = children.run(*train, cwd=tmp_path)
    assert code == 0, err
    assert "continuing 'run' after step" in err
    session = begin(X, tmp_path / "whole", Recipe.load("topk"), settings=settings)
    assert Shuffle(135, 1, 0).n_pools == 3
    list(session.records())
    session.finish()
    for name in ("model.safetensors", "recipe.toml"):
        one, other = (tmp_path / run / name for run in ("run", "whole"))
        assert one.read_bytes() == other.read_bytes(), name
