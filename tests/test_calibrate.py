"""l0 on samples that were not trained on: what is promised of it holds there too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simplecell.data import as_source, split
from simplecell.data.rows import Subset
from simplecell.model.activations import activation
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.begin import begin
from simplecell.run.build import build
from simplecell.run.evaluate import evaluate
from simplecell.run.recipe import Recipe
from simplecell.training.prepared import Prepared, identity
from simplecell.training.steering import Controller, calibrate, l0_of
from simplecell.training.weights import initialise


def few_rows(n=1800):
    """So few samples that a dictionary learns them by heart."""
    return np.random.default_rng(0).standard_normal((n, 16)).astype(np.float32)


def trained(kind, held_out, n=1800):
    source, held = split(as_source(few_rows(n)), 0.5, seed=0)
    settings = ["model.target_l0=4", "model.n_latents=48", "train.max_samples=85_000"]
    settings += ["optim.batch_size=256", "optim.learning_rate=0.005"]
    built = build(Recipe.load(kind).changed(settings), source)
    for _ in built.trainer.run(source, built.recipe.n_steps, held_out=held if held_out else None):
        pass
    return built, held


@pytest.mark.parametrize("kind", ["batchtopk", "l1", "gated", "jumprelu"])
def test_new_samples_have_the_l0_that_was_asked_for(kind):
    built, held = trained(kind, held_out=True)
    found = evaluate(built.trainer.model, built.preprocess, held).l0
    assert found == pytest.approx(4, rel=0.05)


def test_what_settles_a_threshold_is_not_what_is_judged(tmp_path):
    """A threshold keeps exactly k of the samples that set it, which says nothing of others."""
    settings = ["model.target_l0=4", "model.n_latents=48", "train.steps=60", "data.held_out=0.3"]
    one = begin(few_rows(600), tmp_path / "run", Recipe.load("batchtopk"), settings=settings)
    for _ in one.records():
        pass
    told, model = one.finish()["held_out"], one.trainer.model
    halves = [Subset(one.held_out, np.arange(start, 180, 2)) for start in (0, 1)]
    settled, judged = (evaluate(model, one.trainer.preprocess, half) for half in halves)
    assert settled.l0 == pytest.approx(4, abs=0.01)
    assert (told["n_samples"], told["l0"]) == (90, judged.l0)
    assert told["fvu"] == pytest.approx(judged.fvu, rel=1e-6)
    assert judged.l0 != settled.l0


def test_without_held_out_samples_new_ones_have_more():
    built, held = trained("batchtopk", held_out=False, n=900)
    assert evaluate(built.trainer.model, built.preprocess, held).l0 > 4.4


def test_batchtopk_keeps_exactly_k_of_what_it_settles_on():
    codes = activation("batchtopk", 8, k=2.5)
    pre = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    codes.calibrate(pre)
    assert int(codes(pre).l0().sum()) == 100
    codes.calibrate(-pre.abs())  # nothing is positive: nothing can be kept
    assert int(codes(-pre.abs()).l0().sum()) == 0


def test_jumprelu_stretches_its_thresholds_alike_and_only_so_far():
    codes = activation("jumprelu", 8, threshold=0.4).requires_grad_(False)
    pre = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    before = codes.threshold.clone()
    wanted = float(codes(pre).l0().double().mean()) * 0.95
    codes.calibrate(pre, wanted)
    assert float(codes(pre).l0().double().mean()) == pytest.approx(wanted, abs=0.01)
    assert torch.unique(codes.threshold / before).numel() == 1
    codes.calibrate(pre, 0.01)
    assert float((codes.threshold / before).max()) <= 1.25**2 * (1 + 1e-6)
    codes.calibrate(pre)  # nobody said how many: nothing happens


def test_gated_shifts_its_gates_alike_and_only_so_far():
    codes = activation("gated", 8).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    codes.gate_bias.copy_(torch.randn(8, generator=generator))
    codes.magnitude_bias.copy_(codes.gate_bias + 0.3 * torch.randn(8, generator=generator))
    pre, before = torch.randn(200, 8, generator=generator), codes.gate_bias.clone()
    for share in (0.93, 1.04):
        wanted = float(codes(pre).l0().double().mean()) * share
        codes.calibrate(pre, wanted)
        assert float(codes(pre).l0().double().mean()) == pytest.approx(wanted, abs=0.01)
        moved = codes.gate_bias - before
        torch.testing.assert_close(moved, moved[:1].expand(8))
    gate, now = pre + codes.gate_bias, codes.gate_bias.clone()
    codes.calibrate(pre, 0.01)
    most = 0.25 * float(gate[gate > 0].mean())
    torch.testing.assert_close(now - codes.gate_bias, torch.full((8,), most))
    now = codes.gate_bias.clone()
    codes.calibrate(pre)  # nobody said how many: nothing happens
    codes.calibrate(-pre.abs() - 9, 2.0)  # nothing is open: nothing is known
    assert torch.equal(codes.gate_bias, now)


def test_l0_is_that_of_use_and_counts_every_sample():
    x = few_rows()
    model = Autoencoder(16, 32, activation="topk", output="linear", k=3)
    initialise(model, 0)
    held = Prepared(as_source(x), identity(16), model)
    counts = model.encode(torch.from_numpy(x))[1].l0().double().numpy()
    mean, error = l0_of(model, held)
    assert mean == pytest.approx(counts.mean())
    assert error == pytest.approx(counts.std() / np.sqrt(len(counts)))
    calibrate(model, held)  # has no threshold: nothing happens


def test_a_training_that_goes_on_forgets_the_last_word():
    """Settled at step 60 and gone on to 80 is the same as 80 at once, bit for bit."""
    source, held = split(as_source(few_rows()), 0.3, seed=0)
    settings = ["model.target_l0=4", "model.n_latents=64", "train.steps=80"]
    recipe = Recipe.load("batchtopk").changed([*settings, "optim.schedule=constant"])

    def run(*lengths):
        trainer = build(recipe, source).trainer
        for length in lengths:
            again = build(recipe, source).trainer
            if trainer.n_steps:
                again.load_state_dict(trainer.state_dict())
            trainer = again
            for _ in trainer.run(source, length, held_out=held):
                pass
        return trainer.state_dict()

    whole, parts = run(80), run(60, 60, 80)
    assert set(whole) == set(parts)
    for name, tensor in whole.items():
        if name != "best":  # what was held out was looked at once more
            assert torch.equal(tensor, parts[name]), name


def test_the_controller_aims_lower_where_new_samples_excite_more():
    controller = Controller(10, "l1", torch.zeros(1))
    for _ in range(200):
        controller.observe(torch.tensor(10.0), 1.0)
    controller.observe_new(12.0, 1.0)
    before = float(controller.factors["l1"])
    controller.observe(torch.tensor(10.0), 1.0)
    assert float(controller.factors["l1"]) > before
