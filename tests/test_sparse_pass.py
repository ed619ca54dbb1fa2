"""The pass over entries is the plain pass: same values, same gradients, for every variant."""

from __future__ import annotations

import pytest
import torch

from simplecell.model import native, selection
from simplecell.model import places as places_room
from simplecell.model.autoencoder import Autoencoder
from simplecell.training.gradients import Gradient, Whole, by_entries
from simplecell.training.objective import Objective
from simplecell.training.term import Moment
from simplecell.training.trainer import Trainer
from simplecell.training.weights import flatten, initialise

D, M, B = 12, 40, 30
CODES = {
    "relu": {"activation": "relu"},
    "topk": {"activation": "topk", "k": 3},
    "abstopk": {"activation": "abstopk", "k": 3},
    "batchtopk": {"activation": "batchtopk", "k": 2.5},
    "jumprelu": {"activation": "jumprelu", "bandwidth": 0.6, "threshold": 0.8},
    "gated": {"activation": "gated"},
}
TERMS = {
    "plain": {"reconstruction": {"weight": 1.0}},
    "l1": {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}},
    "auxk": {"reconstruction": {"weight": 1.0}, "auxk": {"weight": 0.5, "k": 4}},
    "preact": {"reconstruction": {"weight": 1.0}, "preact": {"weight": 2.0}},
    "nested": {"nested": {"weight": 1.0, "widths": [8, 20, M]}},
    "decay": {"reconstruction": {"weight": 1.0}, "decay": {"weight": 0.01}},
    "l0": {"reconstruction": {"weight": 1.0}, "l0": {"weight": 0.3, "target": 3.0}},
    "gate": {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}, "gate": {"weight": 1.0}},
}
ONLY = {"l0": ("jumprelu",), "gate": ("gated",)}
SHAPES = {
    "plain": {},
    "offset before the encoder": {"pre_bias": True},
    "tied": {"tied": True},
    "transcoder": {"n_outputs": 7},
    "sigmoid output": {"output": "sigmoid"},
}
CASES = [
    (codes, terms, shape)
    for codes in CODES
    for terms in TERMS
    for shape in SHAPES
    if codes in ONLY.get(terms, (codes,)) and (shape == "plain" or terms in ("plain", "l1", "auxk"))
]


def made(codes, shape, seed=0, dtype=torch.float64):
    """A model with weights, biases and thresholds that are all different."""
    settings = {"output": "linear"} | CODES[codes] | SHAPES[shape]
    model = Autoencoder(D, M, dtype=dtype, **settings)
    initialise(model, seed, "uniform")
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * draw.to(dtype))
        if codes == "jumprelu":
            model.activation.threshold.abs_()
    return model


def samples(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=generator, dtype=torch.float64)
    x[3] = x[4]  # two samples alike: equal values before the activation
    return x.to(dtype)


def both(codes, terms, shape, dtype=torch.float64):
    """(evaluation, gradients) over entries, and by plain autograd."""
    x, found = samples(dtype=dtype), []
    target = samples(9, dtype)[:, :7] if shape == "transcoder" else x
    dead = torch.zeros(M, dtype=torch.bool)
    dead[::3] = True
    for fast in (True, False):
        model = made(codes, shape, dtype=dtype)
        flatten(model)
        gradient = Gradient(model, Objective(TERMS[terms]), fast=fast)
        gradient.kernel, gradient.sparse = None, by_entries(model) if fast else None
        evaluation = gradient(Whole(x, target), Moment(dead=dead, factors={"l1": 0.5}))
        found.append((evaluation, {name: p.grad for name, p in model.named_parameters()}))
    return found


WAYS = ["compiled"] * (native.library() is not None) + ["csr", "bags"]


@pytest.fixture(params=WAYS)
def sums(request, monkeypatch):
    """The ways that sums over entries are made: compiled, sparse matrices, bags as on a GPU."""
    if request.param != "compiled":
        monkeypatch.setattr(native, "library", lambda *tensors: None)
    if request.param == "bags":
        monkeypatch.setattr(places_room, "_has_csr", lambda like: False)


@pytest.mark.parametrize(("codes", "terms", "shape"), CASES)
@pytest.mark.parametrize("crossover", [1.0, 0.0], ids=["sparse", "dense"])
def test_values_and_gradients(codes, terms, shape, crossover, sums, monkeypatch):
    monkeypatch.setattr(selection, "CROSSOVER", crossover)
    (mine, grads), (plain, right) = both(codes, terms, shape)
    assert mine.terms.keys() == plain.terms.keys()
    for name, value in plain.terms.items():
        torch.testing.assert_close(mine.terms[name], value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mine.cost, plain.cost, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mine.mean_activation, plain.mean_activation)
    assert torch.equal(mine.codes.l0(), plain.codes.l0())
    assert torch.equal(mine.codes.active(), plain.codes.active())
    for name, grad in right.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-12, atol=1e-13)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("codes", "terms", "shape"), CASES)
def test_the_same_on_a_gpu(codes, terms, shape):
    x, dead = samples(), torch.zeros(M, dtype=torch.bool)
    x[3] = x[3] + 0.1  # equal values beyond the count are cut off there, and kept on a CPU
    dead[::3] = True
    target = samples(9)[:, :7] if shape == "transcoder" else x
    found = []
    for device in ("cpu", "cuda"):
        model = made(codes, shape).to(device)
        flatten(model)
        gradient = Gradient(model, Objective(TERMS[terms]), fast=device == "cuda")
        gradient.kernel, gradient.sparse = None, by_entries(model) if device == "cuda" else None
        moment = Moment(dead=dead.to(device), factors={"l1": 0.5})
        evaluation = gradient(Whole(x.to(device), target.to(device)), moment)
        grads = {name: p.grad.cpu() for name, p in model.named_parameters()}
        found.append((evaluation.cost.cpu(), evaluation.codes.l0().cpu(), grads))
    (plain, plain_l0, right), (mine, l0, grads) = found
    torch.testing.assert_close(mine, plain, rtol=1e-11, atol=1e-11)
    assert torch.equal(l0, plain_l0)
    for name, grad in right.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("terms", ["plain", "nested"])
@pytest.mark.parametrize("codes", ["topk", "batchtopk"])
def test_no_step_waits_for_a_gpu(codes, terms):
    model = made(codes, "plain", dtype=torch.float32).cuda()
    trainer = Trainer(model, Objective(TERMS[terms]), solver="adam", unit_norm=True)
    x = samples(dtype=torch.float32).cuda()
    trainer.step(x)
    try:  # from the first line on: what stays set makes every later test fail
        torch.cuda.set_sync_debug_mode("error")
        trainer.step(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("unit", [True, False], ids=["unit norm", "free"])
@pytest.mark.parametrize(
    ("terms", "shape"),
    [
        *((terms, shape) for terms in ("l1", "auxk") for shape in ("plain", "transcoder")),
        *((terms, "offset before the encoder") for terms in ("plain", "l1", "preact", "decay")),
    ],
)
def test_a_trainer_ends_where_the_plain_one_does(terms, shape, unit, monkeypatch):
    """Twenty steps of Adam in float64, some latents dead; compiled, with torch alone, plain."""
    monkeypatch.setattr(selection, "CROSSOVER", 1.0)
    for codes in ("relu", "topk", "batchtopk", "jumprelu"):
        ends, records = [], []
        for way in ("plain", "torch", "compiled"):
            with monkeypatch.context() as patch:
                if way == "torch":
                    patch.setattr(native, "library", lambda *tensors: None)
                trainer, costs = trained(codes, terms, shape, unit, fast=way != "plain")
            if way == "compiled":
                whole = codes != "jumprelu" and terms != "decay"
                assert (trainer.update is not None) == (whole and not trainer.gradient.kernel)
            ends.append([trainer.flat, *trainer.solver.state_dict().values()])
            records.append(costs)
        for end, costs in zip(ends[1:], records[1:], strict=True):
            n = costs.shape[1]  # the classic kernel keeps no codes, and so tells no l0
            torch.testing.assert_close(costs, records[0][:, :n], rtol=1e-12, atol=1e-12)
            for mine, plain in zip(end, ends[0], strict=True):
                torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-12)


def trained(codes, terms, shape, unit, *, fast):
    """(trainer after twenty steps, its costs and terms); a third of the latents are dead."""
    how = {"unit_norm": unit, "learning_rate": 1e-3, "fast": fast, "batch_size": B}
    trainer = Trainer(
        made(codes, shape), Objective(TERMS[terms]), solver="adam", dead_after=9 * B, **how
    )
    trainer.n_steps = 9
    trainer.silent[::3] = 9 * B
    costs = []
    for step in range(20):
        x = samples(step)
        target = samples(99 - step)[:, :7] if shape == "transcoder" else x
        evaluation = trainer.step(x, target, steps=40)
        trainer.n_steps += 1
        l0 = [] if evaluation.l0 is None else [evaluation.l0]
        costs.append(torch.stack([evaluation.cost, *evaluation.terms.values(), *l0]))
    return trainer, torch.stack(costs)
