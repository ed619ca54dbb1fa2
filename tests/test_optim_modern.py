"""What the modern family asks of an optimiser: atoms of length 1, latents drawn anew, schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from simplecell.data import ArraySource
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder, Layer
from simplecell.run.build import build
from simplecell.run.recipe import Recipe
from simplecell.training.adam import Adam, UnitNorm
from simplecell.training.objective import Objective
from simplecell.training.steering import SCHEDULES
from simplecell.training.trainer import Trainer
from simplecell.training.weights import draw_anew, flatten, initialise

D, M = 6, 10


def model_of(kind="relu", **more):
    how = {"output": "linear", "pre_bias": True, **more}
    model = Autoencoder(D, M, activation=kind, **how)
    initialise(model, 0, "transpose")
    return model


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


# The start


@pytest.mark.parametrize("length", [1.0, 0.1])
@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_transpose_start(kind, length):
    model = Autoencoder(D, M, activation=kind, output="linear", pre_bias=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.3 if parameter.ndim > 1 or parameter is model.offset else 0.0)
    initialise(model, 0, "transpose", length)
    assert torch.equal(model.encoder, model.decoder)
    assert model.encoder.data_ptr() != model.decoder.data_ptr()
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.full((M,), length))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert not parameter.any(), name


@pytest.mark.parametrize(
    ("steps", "mean"),
    [([], 5.0), (["center", {"kind": "range", "low": 0, "high": 1}], 0.5), (["center"], 0.0)],
)
def test_pre_bias_starts_at_the_mean_of_what_the_model_sees(steps, mean):
    x = 5 + np.array([[-1.0, 1.0], [1.0, -1.0]], np.float32)
    recipe = Recipe.load("topk").changed({"preprocess.steps": steps, "model.n_latents": 4})
    assert build(recipe, ArraySource(x)).trainer.model.offset.tolist() == [mean, mean]


def test_a_mean_is_not_subtracted_twice():
    recipe = Recipe.load("topk").changed({"model.center": True, "model.n_latents": 4})
    with pytest.raises(UsageError, match="leave one of them out"):
        build(recipe, ArraySource(np.eye(4)))


def test_transpose_start_is_a_function_of_the_seed_alone():
    first, second, other = (Autoencoder(D, M, output="linear") for _ in range(3))
    double = Autoencoder(D, M, output="linear", dtype=torch.float64)
    for model, seed in ((first, 3), (second, 3), (other, 4), (double, 3)):
        initialise(model, seed, "transpose")
    assert torch.equal(first.encoder, second.encoder)
    assert not torch.equal(first.encoder, other.encoder)
    torch.testing.assert_close(first.encoder, double.encoder.float(), rtol=1e-7, atol=1e-7)


def test_transpose_start_points_everywhere():
    model = Autoencoder(8, 4000, output="linear", dtype=torch.float64)
    initialise(model, 0, "transpose")
    atoms = model.decoder.detach().numpy()
    np.testing.assert_allclose(atoms.mean(0), 0, atol=4 / math.sqrt(8 * 4000))
    np.testing.assert_allclose(atoms.T @ atoms / 4000, np.eye(8) / 8, atol=0.015)


def test_transpose_start_where_nothing_can_be_copied():
    """Two rows a latent, other outputs than inputs, no decoder, one matrix."""
    gaussian = Autoencoder(D, M, activation="gaussian", output="linear")
    across = Autoencoder(D, M, activation="relu", output="linear", n_outputs=4)
    for model in (gaussian, across):
        initialise(model, 0, "transpose")
        for matrix in (model.encoder, model.decoder):
            torch.testing.assert_close(matrix.norm(dim=1), torch.ones(len(matrix)))
    assert not torch.equal(gaussian.encoder[:M], gaussian.decoder)
    tied = Autoencoder(D, M, output="linear", tied=True)
    initialise(tied, 0, "transpose")
    torch.testing.assert_close(tied.encoder.norm(dim=1), torch.ones(M))
    layer = Layer(D, M)
    initialise(layer, 0, "transpose")
    assert layer.encoder.any()


def test_an_unknown_start_is_refused():
    with pytest.raises(UsageError, match="transpose"):
        initialise(Autoencoder(D, M), 0, "transposed")


# Schedules


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("constant", {0.0: 1, 0.5: 1, 1.0: 1}),
        ("linear", {0.0: 1, 0.8: 1, 0.9: 0.5, 0.96: 0.2, 1.0: 0}),
        ("trapezoid", {0.0: 0.01, 0.005: 0.51, 0.0099: 1, 0.5: 1, 0.8: 1, 0.9: 0.5, 1.0: 0}),
    ],
)
def test_schedules(schedule, points):
    for progress, factor in points.items():
        assert SCHEDULES[schedule](progress) == pytest.approx(factor, abs=1e-12), progress


def test_the_schedule_reaches_the_rate():
    flat, grad = torch.zeros(2), torch.ones(2)
    adam = Adam(flat, grad, learning_rate=0.1, schedule="trapezoid")
    adam.advance(0.0)  # Adam's first step is the rate itself
    torch.testing.assert_close(flat, torch.full((2,), -0.001))
    adam.advance(0.9)
    torch.testing.assert_close(flat, torch.full((2,), -0.051))
    adam.advance(1.0)
    torch.testing.assert_close(flat, torch.full((2,), -0.051))


# Atoms of length 1


def test_project_takes_out_what_only_lengthens():
    atoms = nn.Parameter(random(M, D).double())
    unit = UnitNorm(atoms)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(M).double())
    atoms.grad = random(M, D, seed=1).double()
    before = atoms.grad.clone()
    unit.project()
    along = (atoms.grad * atoms).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-14)
    # What was taken out lies along the atom, and nothing else was.
    taken = before - atoms.grad
    torch.testing.assert_close(taken, (taken * atoms).sum(1, keepdim=True) * atoms)
    unit.project()
    torch.testing.assert_close(atoms.grad, before - taken)


def test_renormalise_keeps_directions_and_spares_zeros():
    atoms = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0], [-2e10, 0.0]]))
    UnitNorm(atoms).renormalise()
    torch.testing.assert_close(atoms.detach(), torch.tensor([[0.6, 0.8], [0, 0], [1, 0], [-1, 0]]))


@pytest.mark.parametrize("start", ["uniform", "transpose"])
def test_a_trainer_holds_atoms_at_length_one(start):
    model = Autoencoder(D, M, activation="relu", output="linear", pre_bias=True)
    initialise(model, 0, start)
    objective = Objective({"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}})
    trainer = Trainer(
        model, objective, solver="adam", unit_norm=True, batch_size=20, learning_rate=0.05
    )
    source = ArraySource(random(100, D).numpy())
    lengths = [trainer.model.decoder.norm(dim=1).clone()]
    for _ in trainer.run(source, 6):
        lengths.append(trainer.model.decoder.norm(dim=1).clone())
    torch.testing.assert_close(torch.stack(lengths), torch.ones(7, M), rtol=1e-5, atol=1e-5)


def test_one_step_with_unit_norm_is_adam_on_the_tangent():
    """Against torch's Adam, given the projected gradient, and a division by lengths."""
    model, x = model_of(), random(20, D)
    objective = Objective({"reconstruction": {"weight": 1.0}})
    trainer = Trainer(model, objective, solver="adam", unit_norm=True, learning_rate=0.03)
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    twin = model_of()
    twin.load_tensors(model.tensors())
    objective.cost(objective_of(twin, x)).backward()
    atoms = twin.decoder
    atoms.grad -= (atoms.grad * atoms.detach()).sum(1, keepdim=True) * atoms.detach()
    torch.optim.Adam(twin.parameters(), lr=0.03).step()
    with torch.no_grad():
        atoms /= atoms.norm(dim=1, keepdim=True)
    trainer.step(x)
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=name)
        assert not torch.equal(mine, parameters[name]), name


def objective_of(model, x):
    recon = model(x, training=True).recon
    return {"reconstruction": (recon - x).square().sum(1).mean()}


@pytest.mark.parametrize(
    ("model", "how", "sentence"),
    [
        (Autoencoder(D, M, activation="relu", tied=True), {"unit_norm": True}, "tied or deep"),
        (Autoencoder(D, M), {"solver": "lbfgs", "unit_norm": True}, "optim.kind=adam"),
        (Autoencoder(D, M), {"solver": "lbfgs", "target_l0": 3.0}, "optim.kind=adam"),
        (Autoencoder(D, M, activation="relu"), {"target_l0": 3.0}, "an l1 or an l0 term"),
        (Autoencoder(D, M, activation="topk", k=2), {"solver": "lbfgs"}, "codes jump"),
    ],
)
def test_what_does_not_fit_together(model, how, sentence):
    objective = Objective({"reconstruction": {"weight": 1.0}})
    with pytest.raises(UsageError, match=sentence):
        Trainer(model, objective, **{"solver": "adam", **how})


# Latents drawn anew


def with_moments(model, steps=3):
    """The model laid flat, and an Adam whose moments are nowhere 0."""
    flat, grad = flatten(model)
    adam = Adam(flat, grad, learning_rate=1e-3)
    for seed in range(steps):
        grad.copy_(random(len(flat), seed=seed))
        adam.advance(0.5)
    return adam


def part(adam, name, parameter):
    start = parameter.storage_offset()
    return adam.state_dict()[name][start : start + parameter.numel()].view_as(parameter)


@pytest.mark.parametrize("which", ["encoder", "decoder", "bias", "offset"])
def test_forget_forgets_these_rows_alone(which):
    model = model_of()
    adam = with_moments(model)
    before = {name: tensor.clone() for name, tensor in adam.state_dict().items()}
    parameter, rows = getattr(model, which), torch.tensor([1, 4])
    adam.forget(parameter, rows)
    for name in ("exp_avg", "exp_avg_sq"):
        moment = part(adam, name, parameter)
        assert not moment[rows].any()
        changed = (adam.state_dict()[name] != before[name]).sum()
        assert changed == moment[rows].numel()
    assert torch.equal(adam.state_dict()["step"], before["step"])


def test_forget_before_the_first_step_and_after_loading():
    model = model_of()
    fresh = Adam(*flatten(model), learning_rate=1e-3)
    fresh.forget(model.decoder, torch.tensor([1]))
    assert fresh.state_dict() == {}
    kept = with_moments(model).state_dict()
    fresh.load_state_dict(kept)
    fresh.forget(model.decoder, torch.tensor([1]))
    assert not part(fresh, "exp_avg", model.decoder)[1].any()
    assert kept["exp_avg"].all()  # a copy was taken


def resampled(kind="relu", dead=(2, 5, 7), x=None, seed=0, **more):
    model = model_of(kind, **more)
    adam = with_moments(model)
    with torch.no_grad():
        model.decoder.mul_(1.7)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    mask = torch.zeros(M, dtype=torch.bool)
    mask[list(dead)] = True
    x = random(30, D, seed=5) if x is None else x
    draw_anew(model, adam, mask, x, torch.Generator().manual_seed(seed))
    return model, adam, before, mask, x


@pytest.mark.parametrize("kind", ["relu", "gated", "jumprelu"])
def test_the_dead_take_the_direction_of_a_sample(kind):
    model, adam, before, dead, x = resampled(kind)
    directions = torch.nn.functional.normalize(x - before["offset"], dim=1)
    for row in dead.nonzero()[:, 0]:
        atom = model.decoder[row].detach()
        cosines = directions @ atom / atom.norm()
        assert float(cosines.max()) == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(
            torch.nn.functional.normalize(model.encoder[row], dim=0), atom / atom.norm()
        )
    for name, factor in (("_decoder", 1.0), ("encoder", 0.2)):
        length = dict(model.named_parameters())[name][dead].norm(dim=1)
        expected = factor * before[name][~dead].norm(dim=1).mean()
        torch.testing.assert_close(length, expected.expand(3))
    biases = ["activation.gate_bias", "activation.magnitude_bias", "activation.log_scale"]
    biases = biases if kind == "gated" else ["bias"]
    for name, parameter in model.named_parameters():
        if name in ("encoder", "_decoder", *biases):
            assert torch.equal(parameter[~dead], before[name][~dead]), name
            for moment in ("exp_avg", "exp_avg_sq"):
                assert not part(adam, moment, parameter)[dead].any(), name
                assert part(adam, moment, parameter)[~dead].all(), name
        else:
            assert torch.equal(parameter, before[name]), name
            assert part(adam, "exp_avg", parameter).all(), name
        if name in biases:
            assert not parameter[dead].any()


def test_drawing_is_by_squared_error_and_by_the_generator():
    """Two samples that are reconstructed badly, one thrice as often as the other."""
    model = model_of()
    with torch.no_grad():
        model.encoder.zero_()  # every reconstruction is the offset, 0
    adam = Adam(*flatten(model), learning_rate=1e-3)
    x = torch.zeros(8, D)
    x[3, 0], x[6, 1] = math.sqrt(3.0), -1.0
    counts = np.zeros(2)
    for seed in range(200):
        with torch.no_grad():
            model.encoder.zero_()
        mask = torch.ones(M, dtype=torch.bool)
        mask[0] = False
        draw_anew(model, adam, mask, x, torch.Generator().manual_seed(seed))
        drawn = torch.nn.functional.normalize(model.decoder[1:].detach(), dim=1)
        counts += [int((drawn[:, 0] > 0.999).sum()), int((drawn[:, 1] < -0.999).sum())]
    assert counts.sum() == 200 * (M - 1)
    assert counts[0] / counts.sum() == pytest.approx(0.75, abs=0.04)
    one, same, other = (resampled(seed=seed)[0].decoder for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_all_dead_none_dead_and_no_error():
    model, _, before, _, _ = resampled(dead=range(M))
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    torch.testing.assert_close(model.encoder.norm(dim=1), torch.full((M,), 0.2))
    model, adam, before, _, _ = resampled(dead=())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    assert adam.state_dict()["exp_avg"].all()
    # A batch that is reconstructed without error has nothing to teach.
    offset = model.offset.detach()
    with torch.no_grad():
        model.encoder.zero_()
        model.bias.fill_(-1)
    atoms = model.decoder.detach().clone()
    mask = torch.ones(M, dtype=torch.bool)
    draw_anew(model, adam, mask, offset.expand(4, D), torch.Generator().manual_seed(0))
    assert torch.equal(model.decoder, atoms)


# Silence, and when it ends


def test_the_trainer_counts_silence_in_samples():
    model = model_of()
    with torch.no_grad():
        model.bias.copy_(torch.where(torch.arange(M) < 3, -1e6, 1e3))
    objective = Objective({"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}})
    trainer = Trainer(model, objective, solver="adam", batch_size=20)
    for record in trainer.run(ArraySource(random(100, D).numpy()), 4):
        assert trainer.silent.tolist() == [20 * record.step] * 3 + [0] * (M - 3)
        assert float(record.l0) == M - 3


@pytest.mark.parametrize("times", [0, 1, 3])
def test_latents_are_drawn_anew_evenly_over_the_first_half(times):
    model = model_of()
    with torch.no_grad():
        model.bias[:3] = -1e6
    objective = Objective({"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}})
    trainer = Trainer(model, objective, solver="adam", batch_size=20, dead_after=20, resample=times)
    seen, steps = [], 24
    for record in trainer.run(ArraySource(random(100, D).numpy()), steps):
        if record.step % 4 == 0 and (model.bias[:3] > -1e5).all():
            seen.append(record.step)
            with torch.no_grad():
                model.bias[:3] = -1e6
                model.encoder[:3] = 0
    assert seen == [steps // 2 // times * (i + 1) for i in range(times)]
