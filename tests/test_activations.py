"""Activations that leave zeros: by hand, in training and in use, and their pseudo-gradients."""

from __future__ import annotations

import math

import pytest
import torch

from simplecell.errors import UsageError
from simplecell.model.activations import ACTIVATIONS, activation, settings_of
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.codes import Codes, SparseCodes
from simplecell.model.selective import JumpReLU
from simplecell.training.weights import initialise

SETTINGS = {
    "topk": {"k": 3},
    "abstopk": {"k": 3},
    "batchtopk": {"k": 2.5},
    "jumprelu": {"bandwidth": 0.8},
}
SPARSE = sorted(kind for kind, made in ACTIVATIONS.items() if made.sparse)


def pre_of(n_samples=40, n_latents=11, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_samples, n_latents, generator=generator, dtype=torch.float64).to(dtype)


def made(kind, n_latents=11, dtype=torch.float64):
    return activation(kind, n_latents, dtype=dtype, **SETTINGS.get(kind, {}))


def table(rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_the_flags_of_every_activation():
    assert SPARSE == ["abstopk", "batchtopk", "gated", "jumprelu", "relu", "topk"]
    assert [kind for kind, one in ACTIVATIONS.items() if one.signed] == ["abstopk"]
    hard = [kind for kind, one in ACTIVATIONS.items() if not one.smooth]
    assert sorted(hard) == ["abstopk", "batchtopk", "gated", "jumprelu", "topk"]
    assert [kind for kind, one in ACTIVATIONS.items() if one.owns_bias] == ["gated"]
    assert settings_of("topk") == settings_of("abstopk") == settings_of("batchtopk") == ("k",)
    assert settings_of("jumprelu") == ("bandwidth", "threshold")
    assert settings_of("relu") == settings_of("gated") == ()


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("topk", {}, "topk: k is 0"),
        ("topk", {"k": 12}, "1 to 11"),
        ("topk", {"k": 2.5}, "k is 2.5"),
        ("topk", {"k": math.inf}, "k is inf"),
        ("topk", {"k": math.nan}, "k is nan"),
        ("abstopk", {"k": 12}, "abstopk: k is 12"),
        ("batchtopk", {}, "batchtopk: k is 0"),
        ("batchtopk", {"k": 11.5}, "at most 11"),
        ("batchtopk", {"k": math.nan}, "k is nan"),
        ("jumprelu", {"bandwidth": 0.0}, "bandwidth is 0"),
        ("jumprelu", {"threshold": -0.1}, "threshold -0.1"),
        ("relu", {"k": 3}, "'k'"),
        ("topkk", {}, "topk"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, settings, sentence):
    with pytest.raises(UsageError) as error:
        activation(kind, 11, **settings)
    assert sentence in str(error.value)


# TopK


def test_topk_by_hand():
    pre = table(
        [
            [3.0, -1.0, 2.0, 5.0, 1.0],  # the usual
            [-1.0, 4.0, -2.0, -3.0, -0.5],  # fewer than k are positive
            [-1.0, -4.0, -2.0, -3.0, -0.5],  # none is
            [0.0, 0.0, 7.0, 0.0, -1.0],  # a zero is not active
        ]
    )
    expected = table([[3, 0, 0, 5, 0], [0, 4, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 7, 0, 0]])
    topk = activation("topk", 5, k=2, dtype=torch.float64)
    for training in (True, False):
        codes = topk(pre, training=training)
        assert torch.equal(codes.dense, expected)
        assert codes.l0().tolist() == [2, 1, 0, 1]


def test_topk_keeps_k_of_equals():
    pre = table([[2.0, 2, 2, 2], [1.0, 3, 1, 1]])
    topk = activation("topk", 4, k=2, dtype=torch.float64)
    kept, used = topk(pre, training=True).dense, topk(pre).dense
    assert torch.equal(kept, used)
    assert (kept > 0).sum(1).tolist() == [2, 2]
    assert kept.sum(1).tolist() == [4, 4]
    assert kept[1, 1] == 3


def test_abstopk_by_hand():
    pre = table(
        [
            [3.0, -1.0, 2.0, -5.0, 1.0],
            [-1.0, 4.0, -2.0, -3.0, -0.5],
            [-1.0, -4.0, -2.0, -3.0, -0.5],
            [0.0, 0.0, -7.0, 0.0, 0.0],  # a zero is not active
        ]
    )
    expected = table([[3, 0, 0, -5, 0], [0, 4, 0, -3, 0], [0, -4, 0, -3, 0], [0, 0, -7, 0, 0]])
    signed = activation("abstopk", 5, k=2, dtype=torch.float64)
    for training in (True, False):
        codes = signed(pre, training=training)
        assert torch.equal(codes.dense, expected)
        assert codes.l0().tolist() == [2, 2, 2, 1]
    assert signed.threshold_of(pre)[:, 0].tolist() == [3, 3, 3, 0]


def test_abstopk_of_the_opposite_is_the_opposite():
    pre, signed = pre_of(), made("abstopk")
    assert torch.equal(signed(-pre).dense, -signed(pre).dense)
    assert (signed(pre).l0() == 3).all()


@pytest.mark.parametrize("kind", ["topk", "abstopk"])
@pytest.mark.parametrize("k", [1, 3, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_topk_in_use_is_topk_in_training(kind, k, dtype, monkeypatch):
    """Sparse in use, dense in training: the same bits, and nearly the same reconstruction."""
    monkeypatch.setattr("simplecell.model.selection.CROSSOVER", 1.0)
    model = Autoencoder(6, 11, activation=kind, output="linear", k=k, dtype=dtype)
    initialise(model, 1, "transpose")
    x = pre_of(50, 6, dtype=dtype)
    used, trained = model(x), model(x, training=True)
    assert isinstance(used.code, SparseCodes)
    assert not isinstance(trained.code, SparseCodes)
    assert torch.equal(used.code.dense, trained.code.dense)
    torch.testing.assert_close(used.recon, trained.recon)


@pytest.mark.parametrize("kind", ["topk", "abstopk"])
def test_topk_passes_the_gradient_of_what_it_keeps(kind):
    pre = pre_of().requires_grad_()
    push = pre_of(seed=1)
    for training in (True, False):
        pre.grad = None
        codes = activation(kind, 11, k=3)(pre, training=training)
        (codes.dense * push).sum().backward()
        assert torch.equal(pre.grad, push * (codes.dense != 0))


# BatchTopK


def test_batchtopk_by_hand():
    pre = table([[3.0, -1.0, 2.0], [9.0, 8.0, 7.0], [0.5, -4.0, 1.0], [-1.0, -1.0, -1.0]])
    batch = activation("batchtopk", 3, k=1.25, dtype=torch.float64)  # 5 of 12
    codes = batch(pre, training=True)
    assert torch.equal(codes.dense, table([[3, 0, 2], [9, 8, 7], [0, 0, 0], [0, 0, 0]]))
    assert codes.l0().tolist() == [2, 3, 0, 0]
    # Equals of the last one kept are kept too.
    tied = activation("batchtopk", 2, k=1.0, dtype=torch.float64)
    found = tied(table([[5.0, 2.0], [2.0, 1.0]]), training=True).dense
    assert torch.equal(found, table([[5, 2], [2, 0]]))
    # Fewer are positive than may be kept: what is negative stays 0.
    few = activation("batchtopk", 2, k=2.0, dtype=torch.float64)
    found = few(table([[-5.0, 2.0], [-2.0, -1.0]]), training=True).dense
    assert torch.equal(found, table([[0, 2], [0, 0]]))
    # At least one is kept, however small k·B is.
    least = activation("batchtopk", 2, k=0.1, dtype=torch.float64)
    assert torch.equal(least(table([[5.0, 2.0]]), training=True).dense, table([[5, 0]]))


def test_batchtopk_before_training_is_relu():
    """No threshold is known yet: all that is positive passes."""
    batch, pre = made("batchtopk"), pre_of()
    assert float(batch.threshold) == -1
    assert torch.equal(batch(pre).dense, pre.relu())


def test_batchtopk_follows_the_smallest_value_kept():
    batch = activation("batchtopk", 2, k=1.0, dtype=torch.float64)
    rate, expected = batch.rate, None
    for smallest in (4.0, 2.0, 3.0):
        codes = batch(table([[9.0, smallest], [-1.0, smallest / 2]]), training=True)
        assert float(codes.dense[codes.dense > 0].min()) == smallest
        batch.observe(codes)
        expected = smallest if expected is None else (1 - rate) * expected + rate * smallest
        assert float(batch.threshold) == pytest.approx(expected, rel=1e-12)
    # A batch in which nothing was active says nothing.
    batch.observe(batch(-torch.ones(2, 2, dtype=torch.float64), training=True))
    assert float(batch.threshold) == pytest.approx(expected, rel=1e-12)
    # In use the threshold decides, whoever else is in the batch, and is itself left alone.
    above = expected + 1e-9
    pre = table([[above, expected - 1e-9], [float(batch.threshold), above]])
    assert torch.equal(batch(pre).dense, table([[above, 0], [0, above]]))
    assert float(batch.threshold) == pytest.approx(expected, rel=1e-12)


def test_batchtopk_in_use_keeps_about_k():
    """A threshold settled on many batches holds l0 for batches that it has not seen."""
    batch = activation("batchtopk", 50, k=5.0)
    for seed in range(20):
        batch.observe(batch(pre_of(200, 50, seed, torch.float32), training=True))
    used = batch(pre_of(1000, 50, 99, torch.float32))
    assert used.l0().double().mean() == pytest.approx(5.0, rel=0.05)


def test_batchtopk_in_training_is_no_function_of_use():
    """Training ignores the threshold, so that a bad one cannot stop it."""
    batch, pre = made("batchtopk"), pre_of()
    before = batch(pre, training=True).dense
    batch.threshold.fill_(100.0)
    assert torch.equal(batch(pre, training=True).dense, before)
    assert batch(pre).l0().sum() == 0


# JumpReLU


def test_jumprelu_by_hand():
    jump = JumpReLU(3, threshold=0.5, dtype=torch.float64)
    with torch.no_grad():
        jump.threshold.copy_(table([0.5, 0.0, 2.0]))
    pre = table([[0.6, 0.1, 1.9], [0.5, 0.0, 2.0], [-3.0, -0.1, 2.1]])
    codes = jump(pre)
    assert torch.equal(codes.dense, table([[0.6, 0.1, 0], [0, 0, 0], [0, 0, 2.1]]))
    assert jump.count(pre, codes).tolist() == codes.l0().tolist() == [2, 0, 1]


def test_jumprelu_takes_the_inputs_as_its_unit():
    jump = JumpReLU(2, bandwidth=0.4, threshold=0.3)
    jump.set_scale(5.0)
    torch.testing.assert_close(jump.threshold.detach(), torch.full((2,), 1.5))
    assert float(jump.bandwidth) == pytest.approx(2.0)
    jump.set_scale(5.0)  # said twice, done once
    torch.testing.assert_close(jump.threshold.detach(), torch.full((2,), 1.5))
    jump.set_scale(10.0)
    torch.testing.assert_close(jump.threshold.detach(), torch.full((2,), 3.0))
    assert sorted(jump.weights()) == ["scale", "threshold"]


def test_jumprelu_holds_thresholds_at_zero_or_above():
    jump = JumpReLU(3)
    with torch.no_grad():
        jump.threshold.copy_(torch.tensor([-0.2, 0.0, 0.7]))
    jump.observe(jump(torch.ones(1, 3)))
    assert jump.threshold.tolist() == [0.0, 0.0, pytest.approx(0.7)]


def slow_pseudo_gradients(pre, thresholds, width, push_code, push_count):
    """Of `Σ push_code·code + Σ_i push_count_i·l0_i`, sample by sample, from the definition."""
    of_pre, of_threshold = torch.zeros_like(pre), torch.zeros_like(thresholds)
    for i in range(pre.shape[0]):
        for j in range(pre.shape[1]):
            z, th = float(pre[i, j]), float(thresholds[j])
            of_pre[i, j] = float(push_code[i, j]) if z > th else 0.0
            inside = 1.0 if abs((z - th) / width) < 0.5 else 0.0
            of_threshold[j] += float(push_code[i, j]) * -(th / width) * inside
            of_threshold[j] += float(push_count[i]) * -(1 / width) * inside
    return of_pre, of_threshold


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_jumprelu_has_the_stated_pseudo_gradients(scale):
    jump = JumpReLU(6, bandwidth=0.8, dtype=torch.float64)
    jump.set_scale(scale)
    with torch.no_grad():
        jump.threshold.copy_(scale * torch.linspace(0, 1.5, 6, dtype=torch.float64))
    pre = (scale * pre_of(30, 6)).requires_grad_()
    push_code, push_count = pre_of(30, 6, 1), pre_of(30, 1, 2)[:, 0]
    codes = jump(pre)
    ((codes.dense * push_code).sum() + (jump.count(pre, codes) * push_count).sum()).backward()
    of_pre, of_threshold = slow_pseudo_gradients(
        pre.detach(), jump.threshold.detach(), 0.8 * scale, push_code, push_count
    )
    torch.testing.assert_close(pre.grad, of_pre, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jump.threshold.grad, of_threshold, rtol=1e-12, atol=1e-12)
    # The count alone gives nothing to pre.
    pre.grad = None
    jump.count(pre, codes).sum().backward()
    assert pre.grad is None


def test_jumprelu_thresholds_feel_nothing_outside_the_window():
    jump = JumpReLU(1, bandwidth=0.2, threshold=1.0, dtype=torch.float64)
    for z, felt in ((0.89, 0.0), (0.91, 1.0), (1.0, 1.0), (1.09, 1.0), (1.11, 0.0), (-1.0, 0.0)):
        pre = table([[z]])
        jump.threshold.grad = None
        jump(pre).dense.sum().backward()
        assert float(jump.threshold.grad) == pytest.approx(-1.0 / 0.2 * felt)
        jump.threshold.grad = None
        jump.count(pre, jump(pre)).sum().backward()
        assert float(jump.threshold.grad) == pytest.approx(-1 / 0.2 * felt)


# Gated


def gated_of(gate, magnitude, log_scale):
    gated = activation("gated", len(gate), dtype=torch.float64)
    with torch.no_grad():
        gated.gate_bias.copy_(table(gate))
        gated.magnitude_bias.copy_(table(magnitude))
        gated.log_scale.copy_(table(log_scale))
    return gated


def test_gated_by_hand():
    gated = gated_of([0.0, -1.0, 1.0], [0.5, 0.0, -3.0], [0.0, math.log(2), 0.0])
    pre = table([[1.0, 2.0, 5.0], [-0.1, 0.9, -0.5], [0.0, 1.0, 3.5]])
    codes = gated(pre)
    # Row 2: the gates are shut, shut, open but with no magnitude; row 3: 0 does not open a gate.
    torch.testing.assert_close(codes.dense, table([[1.5, 4, 2], [0, 0, 0], [0, 0, 0.5]]))
    soft = gated.soft(pre, codes).dense
    torch.testing.assert_close(soft, table([[1, 1, 6], [0, 0, 0.5], [0, 0, 4.5]]))
    assert gated.count(pre, codes).tolist() == [3, 0, 1]


def test_gated_learns_its_gate_through_the_soft_code_alone():
    gated = gated_of([0.3, -0.2], [0.1, 0.2], [0.1, -0.1])
    pre = pre_of(20, 2).requires_grad_()
    codes = gated(pre)
    codes.dense.sum().backward()
    assert gated.gate_bias.grad is None or not gated.gate_bias.grad.any()
    on = (codes.dense > 0).double()
    torch.testing.assert_close(pre.grad, on * gated.log_scale.exp().detach())
    torch.testing.assert_close(gated.magnitude_bias.grad, on.sum(0))
    gated.zero_grad()
    gated.soft(pre, codes).dense.sum().backward()
    expected = (pre + gated.gate_bias > 0).double().sum(0)
    torch.testing.assert_close(gated.gate_bias.grad, expected)
    assert gated.magnitude_bias.grad is None or not gated.magnitude_bias.grad.any()


def test_gated_models_have_no_other_bias():
    model = Autoencoder(4, 6, activation="gated", output="linear", pre_bias=True)
    assert set(model.weights()) == {
        "encoder", "decoder", "offset", "gate_bias", "magnitude_bias", "log_scale",
    }  # fmt: skip
    assert not hasattr(model, "bias")


# All of them


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
@pytest.mark.parametrize("cut", [1, 17, 39])
def test_in_use_a_sample_does_not_depend_on_its_neighbours(kind, cut):
    one = made(kind, 12, torch.float32)
    pre = pre_of(40, 12, dtype=torch.float32)
    if kind == "batchtopk":
        one.observe(one(pre, training=True))
    whole = one(pre).dense
    parts = torch.cat([one(pre[:cut]).dense, one(pre[cut:]).dense])
    if kind in ("sigmoid", "tanh"):  # torch rounds the last few numbers of an array otherwise
        torch.testing.assert_close(whole, parts, rtol=1e-6, atol=0)
        return
    assert torch.equal(whole, parts)
    assert torch.equal(whole[7], one(pre[7:8]).dense[0])


@pytest.mark.parametrize("kind", SPARSE)
def test_the_code_is_below_zero_only_where_signed_and_forward_changes_nothing(kind):
    one, pre = made(kind), pre_of()
    state = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    for training in (True, False):
        codes = one(pre, training=training)
        assert bool((codes.dense < 0).any()) == one.signed
        assert (codes.dense == 0).any()
        assert torch.equal(one.count(pre, codes), codes.l0().double())
        assert isinstance(one.soft(pre, codes), Codes)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, state[name])


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("pre_bias", [True, False])
def test_weights_there_and_back(kind, pre_bias):
    """The activation's own state travels with the model's, and a strange tensor is refused."""
    how = {"activation": kind, "output": "linear", "pre_bias": pre_bias, **SETTINGS.get(kind, {})}
    model, other = Autoencoder(5, 11, **how), Autoencoder(5, 11, **how)
    initialise(model, 2, "transpose")
    with torch.no_grad():
        for tensor in model.weights().values():
            tensor.add_(0.01)
    if not pre_bias:
        model.set_center(torch.linspace(-1, 1, 5))
    other.load_tensors(model.tensors())
    x = pre_of(30, 5, dtype=torch.float32)
    assert torch.equal(model(x).code.dense, other(x).code.dense)
    assert torch.equal(model(x).recon, other(x).recon)
    assert ("center" in model.weights()) is not pre_bias
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
