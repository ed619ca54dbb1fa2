"""The trainer: an iterator of records, exact over chunks, resumable at every step."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
import torch

from simplecell.data import ArraySource
from simplecell.errors import DataError, DivergedError, UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.measures import average_activation
from simplecell.run.build import build
from simplecell.run.recipe import Recipe
from simplecell.training import prepared as module
from simplecell.training.objective import Objective
from simplecell.training.prepared import identity, resolve_device
from simplecell.training.trainer import Trainer
from simplecell.training.weights import initialise
from whole_objective import value


def source_of(n=120, d=6, seed=0):
    return ArraySource(np.random.default_rng(seed).random((n, d)).astype(np.float32))


def trainer_of(d=6, m=5, *, sparsity=1.0, dtype=torch.float32, device="cpu", **how):
    model = Autoencoder(d, m, dtype=dtype).to(device)
    initialise(model, 0)
    objective = Objective.classic(weight_decay=1e-4, sparsity_weight=sparsity, target=0.1)
    return Trainer(model, objective, **how)


def test_records_say_what_a_step_did():
    source, trainer = source_of(), trainer_of()
    records = list(trainer.run(source, 8))
    assert [record.step for record in records] == list(range(1, 9))
    for record in records:
        assert set(record.terms) == {"reconstruction", "kl", "decay"}
        total = trainer.objective.cost({k: float(v) for k, v in record.terms.items()})
        assert float(record.cost) == pytest.approx(total, rel=1e-5)
        assert record.mean_activation.shape == (5,)
        assert record.held_out_cost is None
        assert record.seconds >= 0
    x = torch.from_numpy(source.read(slice(None)))
    plain = value(trainer.objective, trainer.model, x, x).item()
    assert float(records[-1].cost) == pytest.approx(plain, rel=1e-5)
    costs = [float(record.cost) for record in records]
    assert costs == sorted(costs, reverse=True)
    assert list(trainer.run(source, 8)) == []  # done is done
    assert [record.step for record in trainer.run(source, 10)] == [9, 10]


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_training_in_parts_is_training_at_once(solver):
    source = source_of()
    how = {"solver": solver, "batch_size": 30}
    whole, parts = trainer_of(**how), trainer_of(**how)
    list(whole.run(source, 20))
    for steps in (1, 2, 7, 20):
        list(parts.run(source, steps))
    assert torch.equal(whole.flat, parts.flat)


BY_NUMBER = [[], ["standardize"], ["center", "scale"], ["range"], ["remove_dc", "patch_range"]]


@pytest.mark.parametrize("steps", BY_NUMBER, ids=" ".join)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_prepared_once_have_the_bits_of_those_prepared_in_each_batch(
    steps, dtype, tmp_path, monkeypatch
):
    x = np.random.default_rng(0).normal(1e4, 3, (100, 6)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = ArraySource(np.load(tmp_path / "x.npy", mmap_mode="r"))
    chain = module.fitted(steps, mapped)
    assert chain.by_number == ("remove_dc" not in steps)
    how = {"preprocess": chain, "solver": "adam", "batch_size": 30}
    once, each, parts = (trainer_of(**how) for _ in range(3))
    list(once.run(ArraySource(x), 12))
    list(parts.run(mapped, 5))
    list(parts.run(mapped, 12))
    monkeypatch.setattr(module, "ONCE_BYTES", 0)
    list(each.run(mapped, 12))
    assert torch.equal(once.flat, each.flat)
    assert torch.equal(once.flat, parts.flat)


def test_few_samples_are_read_once(monkeypatch):
    source, read = source_of(), []
    monkeypatch.setattr(source, "read", lambda rows: read.append(rows) or x[rows])
    x = source_of().read(slice(None))
    list(trainer_of(solver="adam", batch_size=30).run(source, 40))
    assert len(read) == 1


def test_what_mixes_inputs_is_prepared_in_its_batches():
    for steps in (["pca"], ["zca_whiten"], ["center", "pca_whiten", "range"], ["remove_dc"]):
        assert not module.fitted(steps, source_of()).by_number


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("stop", [0, 1, 4, 13])
def test_state_goes_on_with_the_same_bits(solver, stop):
    source, held = source_of(), source_of(40, seed=1)
    how = {"solver": solver, "batch_size": 30, "patience": 50, "seed": 3}
    whole, cut, again = trainer_of(**how), trainer_of(**how), trainer_of(**how)
    list(whole.run(source, 20, held_out=held))
    list(islice(cut.run(source, 20, held_out=held), stop))
    again.load_state_dict({name: t.clone() for name, t in cut.state_dict().items()})
    assert again.n_steps == stop
    list(again.run(source, 20, held_out=held))
    assert torch.equal(whole.flat, again.flat)
    assert whole.best.cost == again.best.cost


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_state_read_on_the_cpu_goes_on_on_a_gpu(solver):
    """Seen on an H200: Adam's moments stayed where the checkpoint had been read."""
    cut, again = (trainer_of(solver=solver, device="cuda") for _ in range(2))
    list(islice(cut.run(source_of(), 20), 4))
    again.load_state_dict({name: t.cpu() for name, t in cut.state_dict().items()})
    list(again.run(source_of(), 6))
    assert again.n_steps == 6


ADAM = "flat n_steps best optimiser.step optimiser.exp_avg optimiser.exp_avg_sq"
JUMP = f"{ADAM} silent controller activation.scale unsettled.scale unsettled.threshold"
BATCH = f"{ADAM} silent activation.threshold unsettled.threshold"
LBFGS = "flat n_steps best optimiser.counts optimiser.curvatures optimiser.steps optimiser.changes"
NAMES = {
    "lbfgs": ("table", [], LBFGS),
    "lbfgs early": ("table", ["train.patience=9"], f"{LBFGS} best_flat"),
    "running": ("table", ["optim.kind=adam"], f"{ADAM} running"),
    "center": ("table", ["objective.kl.weight=0", "model.center=true"], f"{LBFGS} center.0"),
    "topk": ("topk", [], f"{ADAM} silent"),
    "batchtopk": ("batchtopk", [], BATCH),
    "batchtopk early": ("batchtopk", ["train.patience=9"], f"{BATCH} best_flat best.threshold"),
    "jumprelu": ("jumprelu", [], JUMP),
    "jumprelu early": ("jumprelu", ["train.patience=9"], f"{JUMP} best_flat best.scale"),
    "gated": (
        "gated",
        [],
        f"{ADAM} silent controller "
        "unsettled.gate_bias unsettled.magnitude_bias unsettled.log_scale",
    ),
}
"""As version 0.1 wrote them: its checkpoints are read by every later one."""


@pytest.mark.parametrize("row", NAMES)
def test_a_state_has_the_names_that_checkpoints_always_had(row):
    name, settings, names = NAMES[row]
    small = ["model.n_latents=8", "train.steps=12", "optim.batch_size=30"]
    recipe = Recipe.load(name).changed([*small, *settings])
    source, held = source_of(), source_of(40, seed=1)
    whole, again = (build(recipe, source).trainer for _ in range(2))
    list(whole.run(source, 12, held_out=held))
    state = whole.state_dict()
    assert sorted(state) == sorted(names.split())
    again.load_state_dict(state)
    written = again.state_dict()
    assert sorted(written) == sorted(state)
    assert all(torch.equal(written[key], tensor) for key, tensor in state.items())


def test_breaking_out_leaves_the_model_of_the_last_record():
    source, trainer = source_of(), trainer_of()
    for record in trainer.run(source, 50):
        if record.step == 5:
            break
    x = torch.from_numpy(source.read(slice(None)))
    plain = value(trainer.objective, trainer.model, x, x).item()
    assert float(record.cost) == pytest.approx(plain, rel=1e-5)


def test_chunks_are_the_whole(monkeypatch):
    """Data that are read again at every evaluation, in pieces, give the same training."""
    source = ArraySource(np.random.default_rng(0).random((3000, 6)))
    whole = trainer_of(dtype=torch.float64)
    list(whole.run(source, 15))
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    monkeypatch.setattr(module, "CACHE_BYTES", 0)
    pieces = trainer_of(dtype=torch.float64)
    list(pieces.run(source, 15))
    assert len(pieces.chunks) == 3
    assert torch.allclose(whole.flat, pieces.flat, rtol=1e-9, atol=1e-9)


def test_early_stopping_returns_to_the_best():
    source, held = source_of(12), source_of(40, seed=1)
    trainer = trainer_of(patience=2, sparsity=0.0)
    costs = [
        record.held_out_cost
        for record in trainer.run(source, 2000, held_out=held)
        if record.held_out_cost is not None
    ]
    assert trainer.stopped == "early"
    assert trainer.n_steps < 2000
    assert min(costs[-2:]) >= min(costs)
    x = torch.from_numpy(held.read(slice(None)))
    plain = value(trainer.objective, trainer.model, x, x).item()
    assert min(costs) == pytest.approx(plain, rel=1e-5)


def test_without_patience_the_held_out_cost_is_only_told():
    source, held = source_of(), source_of(40, seed=1)
    plain, told = trainer_of(), trainer_of()
    list(plain.run(source, 25))
    records = list(told.run(source, 25, held_out=held))
    assert [r.step for r in records if r.held_out_cost is not None] == [10, 20, 25]
    assert torch.equal(plain.flat, told.flat)


def test_adam_goes_through_all_samples_and_down():
    source, trainer = source_of(), trainer_of(solver="adam", batch_size=40, learning_rate=0.01)
    records = list(trainer.run(source, 300))
    assert float(records[-1].cost) < 0.7 * float(records[0].cost)
    assert trainer.n_evaluations == 300


def test_the_running_average_follows_the_codes():
    """About the last 20/ρ samples: here 200, so a batch of 40 counts for a fifth."""
    source, trainer = source_of(), trainer_of(solver="adam", batch_size=40)
    x = torch.from_numpy(source.read(slice(None)))
    gain = trainer.model.activation.gain
    first, second = x[:40], x[40:80]
    trainer.observe(first)
    means = [average_activation(trainer.model.encode(p)[0], gain).mean for p in (first, second)]
    assert torch.allclose(trainer.running.mean, means[0])
    trainer.observe(second)
    assert torch.allclose(trainer.running.mean, 0.8 * means[0] + 0.2 * means[1], rtol=1e-5)
    large = trainer_of(solver="adam")
    large.observe(x)
    large.observe(x[:1])
    assert not torch.equal(large.running.mean, trainer.running.mean)
    without = trainer_of(solver="adam", sparsity=0.0)
    without.observe(x)
    assert without.running is None


def test_divergence_is_an_error_and_not_a_number():
    source = ArraySource(1e6 * np.random.default_rng(0).standard_normal((100, 6)))
    model = Autoencoder(6, 5, activation="identity", output="linear")
    initialise(model, 0)
    objective = Objective.classic(weight_decay=0, sparsity_weight=0, target=0.1)
    trainer = Trainer(model, objective, solver="adam", learning_rate=1e6, batch_size=50)
    with pytest.raises(DivergedError, match="lower the learning rate"):
        list(trainer.run(source, 500))
    assert trainer.n_steps < 100


def test_settings_that_do_not_exist_or_fit():
    for how, sentence in (
        ({"solver": "lbfg"}, "did you mean 'lbfgs'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"schedule": "cosine"}, "unknown schedule"),
    ):
        with pytest.raises(UsageError, match=sentence):
            trainer_of(**how)
    with pytest.raises(UsageError, match="bounded range"):
        model = Autoencoder(6, 5, activation="relu")
        Trainer(model, Objective.classic(weight_decay=0, sparsity_weight=1, target=0.1))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(DataError, match="belongs to another recipe"):
        trainer_of(m=4).load_state_dict(trainer_of().state_dict())


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    for device in ("nonsense", "cuda:99", ""):
        with pytest.raises(UsageError, match="cannot be used"):
            resolve_device(device)


def test_no_preparation_changes_nothing():
    x = torch.rand(3, 4)
    assert torch.equal(identity(4).apply(x).x, x)
    assert math.isfinite(float(next(iter(trainer_of().run(source_of(), 1))).cost))
