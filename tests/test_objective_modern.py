"""Terms of the modern family: values by plain NumPy, gradients by differences and by statement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import modern_oracle as oracle
from simplecell.distributed import ALONE
from simplecell.errors import UsageError
from simplecell.model.activations import ACTIVATIONS
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.deep import DeepAutoencoder
from simplecell.training.gradient_check import check_gradient, cost_function
from simplecell.training.gradients import Gradient, Whole
from simplecell.training.objective import Objective
from simplecell.training.sparse_terms import L0, L1, AuxK, Gate, Nested, PreAct
from simplecell.training.term import Look, Moment
from simplecell.training.terms import Reconstruction
from simplecell.training.weights import flatten, initialise
from whole_objective import value

D, M, B = 5, 8, 13
SETTINGS = {
    "topk": {"k": 3},
    "abstopk": {"k": 3},
    "batchtopk": {"k": 2.5},
    "jumprelu": {"bandwidth": 0.6},
}
SPARSE = sorted(kind for kind, made in ACTIVATIONS.items() if made.sparse)


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def model_of(kind, *, pre_bias=True, n_inputs=D, n_latents=M, seed=0, **more):
    """Every parameter away from zero, atoms of different lengths."""
    how = {"output": "linear", "dtype": torch.float64, **SETTINGS.get(kind, {}), **more}
    model = Autoencoder(n_inputs, n_latents, activation=kind, pre_bias=pre_bias, **how)
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(0.6 * random(*parameter.shape, seed=100 * seed + k))
        if kind == "jumprelu":
            model.activation.threshold.copy_(0.2 + random(n_latents).abs() / 3)
    return model


def plain(model, x):
    """(pre, code, recon) by the oracle, and the weights as arrays."""
    w = {name: tensor.detach().numpy() for name, tensor in model.weights().items()}
    center = w["offset"] if model.pre_bias else w["center"]
    pre = (x.numpy() - center) @ w["encoder"].T + w.get("bias", 0.0)
    own = {**w, **SETTINGS.get(model.activation.kind, {})}
    code = oracle.code_of(model.activation.kind, pre, own)
    return pre, code, code @ w["decoder"] + w["offset"], w


def look_at(model, x, **more):
    return Look(x, x, model(x, training=True), model, **more)


def soft_of(model, pre, code):
    return (
        np.maximum(pre + model.activation.gate_bias.detach().numpy(), 0)
        if (model.activation.kind == "gated")
        else code
    )


# Values


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("pre_bias", [True, False])
def test_the_forward_pass_is_that_of_plain_numpy(kind, pre_bias):
    model, x = model_of(kind, pre_bias=pre_bias), random(B, D, seed=9)
    output = model(x, training=True)
    pre, code, recon, _ = plain(model, x)
    np.testing.assert_allclose(output.pre.detach().numpy(), pre, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(output.code.dense.detach().numpy(), code, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(output.recon.detach().numpy(), recon, rtol=1e-12, atol=1e-12)
    assert 0 < (code > 0).mean() < 0.9


@pytest.mark.parametrize("kind", SPARSE)
def test_l1_is_codes_times_lengths(kind):
    model, x = model_of(kind), random(B, D, seed=9)
    pre, code, _, w = plain(model, x)
    expected = oracle.l1(soft_of(model, pre, code), w["decoder"])
    assert L1()(look_at(model, x)).item() == pytest.approx(expected, rel=1e-12)


def test_l1_of_unit_atoms_is_the_sum_of_codes():
    model, x = model_of("relu"), random(B, D, seed=9)
    with torch.no_grad():
        model.decoder.div_(model.decoder.norm(dim=1, keepdim=True))
    _, code, _, _ = plain(model, x)
    assert L1()(look_at(model, x)).item() == pytest.approx(code.sum(1).mean(), rel=1e-12)


def test_l1_cannot_be_evaded_by_longer_atoms():
    model, x = model_of("relu", pre_bias=False), random(B, D, seed=9)
    before = L1()(look_at(model, x)).item()
    with torch.no_grad():
        for parameter, factor in ((model.decoder, 7), (model.encoder, 1 / 7), (model.bias, 1 / 7)):
            parameter.mul_(factor)
    assert L1()(look_at(model, x)).item() == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("push", [0.0, -0.4])
@pytest.mark.parametrize("ease", [1.0, 2.5])
def test_l0_is_the_square_of_the_relative_excess(push, ease):
    model, x = model_of("jumprelu"), random(B, D, seed=9)
    _, code, _, _ = plain(model, x)
    expected = oracle.l0(code, x.numpy(), 2.0, push=push, ease=ease)
    assert expected > 0
    found = L0(target=2.0)(look_at(model, x, push=push, ease=ease)).item()
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", ["topk", "abstopk", "batchtopk", "jumprelu", "relu"])
def test_auxk_is_what_the_dead_leave_of_the_residual(kind, k):
    model, x = model_of(kind), random(B, D, seed=9)
    dead = torch.tensor([True, False, False, True, True, False, False, False])
    pre, _, recon, w = plain(model, x)
    # Half of 5 inputs, to a power of two, is 2.
    told = dead.numpy(), w["decoder"], x.numpy(), k or 2
    expected = oracle.auxk(pre, x.numpy() - recon, *told, signed=model.activation.signed)
    found = AuxK(k=k)(look_at(model, x, dead=dead)).item()
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n_inputs", "k"), [(1, 1), (2, 1), (3, 1), (16, 8), (17, 8), (31, 8)])
def test_auxk_takes_half_the_inputs_to_a_power_of_two(n_inputs, k):
    model = model_of("relu", n_inputs=n_inputs, n_latents=20)
    x, dead = random(B, n_inputs, seed=9), torch.ones(20, dtype=torch.bool)
    given, chosen = AuxK(k=k), AuxK()
    assert chosen(look_at(model, x, dead=dead)) == given(look_at(model, x, dead=dead))
    more = AuxK(k=k + 1)
    assert chosen(look_at(model, x, dead=dead)) != more(look_at(model, x, dead=dead))


def test_auxk_is_nothing_where_none_is_dead():
    model, x = model_of("topk"), random(B, D, seed=9)
    for dead in (None, torch.zeros(M, dtype=torch.bool)):
        assert AuxK()(look_at(model, x, dead=dead)).item() == 0
    objective = Objective({"reconstruction": {"weight": 1.0}, "auxk": {"weight": 0.5}})
    dead = torch.ones(M, dtype=torch.bool)
    flatten(model)
    gradient = Gradient(model, objective)
    assert float(gradient(Whole(x), Moment(dead=dead)).terms["auxk"]) > 0
    assert float(gradient.value(Whole(x)).terms["auxk"]) == 0  # held-out samples


def thresholds_of(model, pre):
    """What `pre` must exceed for a latent to be active, [B, M]."""
    activation, every = model.activation, np.zeros(pre.shape)
    match activation.kind:
        case "jumprelu":
            return every + activation.threshold.detach().numpy()
        case "batchtopk":
            return every + max(0.0, float(activation.threshold))
        case "topk":
            return every + np.array([[max(0.0, sorted(row)[-activation.k])] for row in pre])
        case "abstopk":
            return every + np.array([[sorted(abs(row))[-activation.k]] for row in pre])
        case "gated":
            return every - activation.gate_bias.detach().numpy()
    return every


def silence(model, latents):
    """Make them dead, each by another measure."""
    with torch.no_grad():
        if model.activation.signed:  # a bias makes these active
            model.encoder[latents] *= 0.01
            model.bias[latents] *= 0.01
            return
        gated = model.activation.kind == "gated"
        bias = model.activation.gate_bias if gated else model.bias
        bias[latents] -= 4.0 + torch.arange(len(latents), dtype=bias.dtype)


@pytest.mark.parametrize("threshold", [-1.0, 0.7])
@pytest.mark.parametrize("kind", SPARSE)
def test_preact_is_what_the_dead_lack(kind, threshold):
    model, x = model_of(kind), random(B, D, seed=9)
    if kind == "batchtopk":
        model.activation.threshold.fill_(threshold)
    dead = torch.tensor([True, False, False, True, True, False, False, False])
    silence(model, [0, 3])  # 4 is active for some sample: it lacks nothing
    pre, _, _, w = plain(model, x)
    told = thresholds_of(model, pre), dead.numpy(), w["decoder"], x.numpy()
    expected = oracle.preact(pre, *told, signed=model.activation.signed)
    assert expected > 0.1
    assert PreAct()(look_at(model, x, dead=dead)).item() == pytest.approx(expected, rel=1e-12)
    for none in (None, torch.zeros(M, dtype=torch.bool)):
        assert PreAct()(look_at(model, x, dead=none)).item() == 0
    single = PreAct()(look_at(model, x[:1], dead=dead))
    single.backward()
    assert single.item() == 0
    assert torch.isfinite(model.encoder.grad).all()


def test_auxk_of_a_single_sample_is_nothing():
    """Such a batch has no variance: 0/0 must not reach the gradient either."""
    model, x = model_of("topk"), random(1, D, seed=9)
    found = AuxK()(look_at(model, x, dead=torch.ones(M, dtype=torch.bool)))
    found.backward()
    assert found.item() == 0
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_gate_is_the_error_of_the_gate_alone():
    model, x = model_of("gated"), random(B, D, seed=9)
    pre, code, _, w = plain(model, x)
    recon = soft_of(model, pre, code) @ w["decoder"] + w["offset"]
    expected = oracle.squared(recon, x.numpy())
    assert Gate()(look_at(model, x)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("widths", [[M], [1, M], [2, 3, 7, M], list(range(1, M + 1))])
def test_nested_is_the_mean_error_of_the_prefixes(kind, widths):
    model, x = model_of(kind), random(B, D, seed=9)
    _, code, _, w = plain(model, x)
    expected = oracle.nested(code, w["decoder"], w["offset"], x.numpy(), widths)
    assert Nested(widths=widths)(look_at(model, x)).item() == pytest.approx(expected, rel=1e-12)


def test_nested_of_one_width_is_reconstruction():
    model, x = model_of("batchtopk"), random(B, D, seed=9)
    look = look_at(model, x)
    one, other = Nested(widths=[M])(look).item(), Reconstruction(1.0)(look).item()
    assert one == pytest.approx(other, rel=1e-12)


def test_nested_goes_through_the_output_function():
    model, x = model_of("topk", output="sigmoid"), torch.rand(B, D, dtype=torch.float64)
    _, code, _, w = plain(model, x)
    raw = [code[:, :m] @ w["decoder"][:m] + w["offset"] for m in (3, M)]
    expected = np.mean([oracle.squared(1 / (1 + np.exp(-r)), x.numpy()) for r in raw])
    assert Nested(widths=[3, M])(look_at(model, x)).item() == pytest.approx(expected, rel=1e-12)


# Gradients by differences


SMALL = 5
SMOOTH = {
    "l1": ("relu", {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}}),
    "topk, l1": ("topk", {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}}),
    "batchtopk": ("batchtopk", {"reconstruction": {"weight": 1.0}}),
    "nested": ("batchtopk", {"nested": {"weight": 1.0, "widths": [2, 3, SMALL]}}),
    "nested topk": ("topk", {"nested": {"weight": 1.0, "widths": [1, SMALL]}}),
    "nested relu": ("relu", {"nested": {"widths": [4, SMALL]}, "l1": {"weight": 0.1}}),
    "gated, l1": ("gated", {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}}),
}


def small(kind, **more):
    """Few enough parameters for four costs each."""
    return model_of(kind, n_inputs=3, n_latents=SMALL, **more), random(6, 3, seed=9)


@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize("case", SMOOTH)
def test_gradients_equal_finite_differences(case, pre_bias):
    """The steps are far too small to change which latents are active, so the cost is smooth."""
    kind, terms = SMOOTH[case]
    model, x = small(kind, pre_bias=pre_bias)
    function, at = cost_function(model, Objective(terms), x)
    assert check_gradient(function, at, epsilon=1e-5).difference < 1e-7


def test_jumprelu_equals_finite_differences_where_no_threshold_is_near():
    """All of pre lies outside every window: the pseudo-gradient of θ is 0, and the truth too."""
    model, x = small("jumprelu", bandwidth=1e-6)
    objective = Objective({"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}})
    function, at = cost_function(model, objective, x)
    assert check_gradient(function, at, epsilon=1e-5).difference < 1e-7
    assert not model.activation.threshold.grad.any()


def difference(term, model, x, cost, **look):
    """Of the term's gradient from differences of `cost()`, an oracle that reads the weights."""
    flat, grad = flatten(model)
    start = flat.clone()
    term(look_at(model, x, **look)).backward()
    analytic = grad.numpy().copy()

    def function(theta):
        flat.copy_(torch.from_numpy(theta))
        return cost(), analytic

    found = check_gradient(function, start.numpy(), epsilon=1e-5).difference
    flat.copy_(start)
    return found


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "relu"])
def test_auxk_has_the_gradient_of_its_value_with_the_residual_held(kind):
    """`e` is a constant to the gradient: differences of an oracle that holds it fixed."""
    model, x = small(kind)
    dead = np.array([True, False, False, True, True])
    _, _, recon, _ = plain(model, x)
    error = x.numpy() - recon

    def cost():
        pre, _, _, w = plain(model, x)
        return oracle.auxk(pre, error, dead, w["decoder"], x.numpy(), 2)

    assert difference(AuxK(k=2), model, x, cost, dead=torch.from_numpy(dead)) < 1e-7
    assert model.decoder.grad.abs().max() > 1e-3
    # Nothing that is alive learns from it.
    assert not model.encoder.grad[~dead].any()
    assert not model.decoder.grad[~dead].any()


@pytest.mark.parametrize("kind", SPARSE)
def test_preact_has_the_gradient_of_its_value_with_threshold_and_atoms_held(kind):
    model, x = small(kind)
    dead = np.array([True, False, False, True, True])
    silence(model, [0, 3])
    pre, _, _, w = plain(model, x)
    held = thresholds_of(model, pre).copy(), w["decoder"].copy()

    def cost():
        pre = plain(model, x)[0]
        if kind == "gated":  # whose bias is no threshold that is held
            pre = pre + model.activation.gate_bias.detach().numpy()
            return oracle.preact(pre, np.zeros(pre.shape), dead, held[1], x.numpy())
        signed = model.activation.signed
        return oracle.preact(pre, held[0], dead, held[1], x.numpy(), signed=signed)

    assert difference(PreAct(), model, x, cost, dead=torch.from_numpy(dead)) < 1e-7
    assert model.encoder.grad[[0, 3]].abs().max() > 1e-3
    assert not model.encoder.grad[~dead].any()
    assert model.decoder.grad is None or not model.decoder.grad.any()
    if kind == "jumprelu":
        assert not model.activation.threshold.grad.any()


@pytest.mark.parametrize("pre_bias", [True, False])
def test_gate_teaches_the_gate_and_no_decoder(pre_bias):
    """Differences of an oracle that holds decoder and added offset fixed."""
    model, x = small("gated", pre_bias=pre_bias)
    _, _, _, w = plain(model, x)
    decoder, offset = w["decoder"].copy(), w["offset"].copy()

    def cost():
        pre, code, _, _ = plain(model, x)
        return oracle.squared(soft_of(model, pre, code) @ decoder + offset, x.numpy())

    assert difference(Gate(), model, x, cost) < 1e-7
    assert not model.decoder.grad.any()
    assert bool(model.offset.grad.any()) is pre_bias
    for name in ("magnitude_bias", "log_scale"):
        assert not getattr(model.activation, name).grad.any()
    assert model.activation.gate_bias.grad.any()


# Straight-through gradients by their statement


def test_l0_moves_thresholds_by_the_stated_pseudo_gradient():
    model, x, wanted, push, ease = model_of("jumprelu"), random(B, D, seed=9), 2.0, 0.3, 1.5
    L0(target=wanted)(look_at(model, x, push=push, ease=ease)).backward()
    pre, code, _, _ = plain(model, x)
    thresholds, width = model.activation.threshold.detach().numpy(), 0.6
    excess = np.count_nonzero(code) / B / (wanted * ease) - 1 + push
    expected = np.zeros(M)
    for j in range(M):
        near = sum(abs((pre[i, j] - thresholds[j]) / width) < 0.5 for i in range(B))
        of_mean_count = -near / width / B
        expected[j] = oracle.variance(x.numpy()) * 2 * excess / (wanted * ease) * of_mean_count
    assert np.count_nonzero(expected) > 3
    np.testing.assert_allclose(model.activation.threshold.grad.numpy(), expected, rtol=1e-12)
    for name, parameter in model.named_parameters():
        if name != "activation.threshold":
            assert parameter.grad is None or not parameter.grad.any(), name


def test_jumprelu_reconstruction_moves_thresholds_by_the_stated_pseudo_gradient():
    model, x = model_of("jumprelu"), random(B, D, seed=9)
    value(Objective({"reconstruction": {"weight": 1.0}}), model, x, x).backward()
    pre, _, recon, w = plain(model, x)
    thresholds, width = model.activation.threshold.detach().numpy(), 0.6
    of_code = 2 / B * (recon - x.numpy()) @ w["decoder"].T
    near = np.abs((pre - thresholds) / width) < 0.5
    expected = -(thresholds / width) * (of_code * near).sum(0)
    np.testing.assert_allclose(model.activation.threshold.grad.numpy(), expected, rtol=1e-10)
    of_pre = of_code * (pre > thresholds)
    np.testing.assert_allclose(model.bias.grad.numpy(), of_pre.sum(0), rtol=1e-10, atol=1e-14)


# In parts, and with factors


class Pieces:
    """x cut into chunks of uneven sizes."""

    def __init__(self, x, cuts):
        self.parts, self.n_samples = torch.tensor_split(x, cuts), len(x)
        self.ranks = ALONE

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter((part, part) for part in self.parts)


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("relu", {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.3}}),
        ("topk", {"nested": {"weight": 1.0, "widths": [3, M]}, "decay": {"weight": 0.01}}),
        ("gated", {"reconstruction": {}, "l1": {"weight": 0.2}, "gate": {"weight": 1.0}}),
    ],
)
def test_chunks_add_up(kind, terms):
    """Terms that are means over samples: value and gradient over chunks are those in memory."""
    model, x = model_of(kind), random(40, D, seed=9)
    _, grad = flatten(model)
    gradient = Gradient(model, Objective(terms))
    whole = gradient(Whole(x))
    expected = grad.clone()
    parts = gradient(Pieces(x, [3, 11]))
    torch.testing.assert_close(grad, expected, rtol=1e-11, atol=1e-13)
    for name in whole.terms:
        torch.testing.assert_close(parts.terms[name], whole.terms[name], rtol=1e-12, atol=0)
    assert float(parts.cost) == pytest.approx(float(whole.cost), rel=1e-12)


def test_l0_over_chunks():
    """l0 is that of all samples, whatever the pieces; a gradient it has over one batch only."""
    model, x = model_of("jumprelu"), random(4000, D, seed=9)
    flatten(model)
    objective = Objective({"reconstruction": {}, "l0": {"weight": 1.0, "target": 1.5}})
    gradient = Gradient(model, objective)
    whole, parts = gradient.value(Whole(x)), gradient.value(Pieces(x, [1000, 1700]))
    assert float(whole.terms["l0"]) > 0
    assert float(parts.terms["l0"]) == pytest.approx(float(whole.terms["l0"]), rel=5e-3)
    with pytest.raises(UsageError, match="batch by batch"):
        gradient(Pieces(x, [1000]))


def test_factors_are_on_the_weights_of_single_terms():
    model, x = model_of("relu"), random(B, D, seed=9)
    _, grad = flatten(model)
    plain_terms = {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.2}}
    moved = Gradient(model, Objective(plain_terms))(Whole(x), Moment(factors={"l1": 3.0}))
    found = grad.clone()
    same = Gradient(model, Objective({**plain_terms, "l1": {"weight": 0.6}}))(Whole(x))
    torch.testing.assert_close(found, grad)
    assert float(moved.cost) == pytest.approx(float(same.cost), rel=1e-12)
    assert float(moved.terms["l1"]) == pytest.approx(float(same.terms["l1"]), rel=1e-12)


# What makes no sense


@pytest.mark.parametrize("kind", sorted(set(ACTIVATIONS) - {"gaussian"}))
def test_terms_and_the_codes_that_they_are_for(kind):
    model = model_of(kind)
    wanted = {
        "l0": kind == "jumprelu",
        "gate": kind == "gated",
        "l1": kind in SPARSE,
        "auxk": kind in SPARSE,
        "preact": kind in SPARSE,
    }
    for term, allowed in wanted.items():
        objective = Objective({"reconstruction": {"weight": 1.0}, term: {"weight": 1.0}})
        if allowed:
            objective.check(model)
        else:
            with pytest.raises(UsageError, match=rf"\b{term}\b"):
                objective.check(model)
    Objective({"nested": {"weight": 1.0, "widths": [2, M]}}).check(model)


@pytest.mark.parametrize(
    "widths", [[], [2], [M, M], [M, 2], [0, M], [-1, M], [2, M, M + 1], "auto"]
)
def test_widths_ascend_to_all_latents(widths):
    objective = Objective({"nested": {"weight": 1.0, "widths": widths}})
    with pytest.raises(UsageError, match="nested: widths are"):
        objective.check(model_of("topk"))


@pytest.mark.parametrize("term", ["l1", "auxk", "nested", "preact"])
def test_terms_of_one_layer(term):
    model = DeepAutoencoder.of_sizes(D, [7, M], activation="relu", output="linear")
    values = {"weight": 1.0, **({"widths": "auto"} if term == "nested" else {})}
    with pytest.raises(UsageError, match=f"{term} is for an autoencoder of one layer"):
        Objective({term: values}).check(model)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"l0": {"target": 0.0}}, "l0: target is 0"),
        ({"l0": {"target": float("inf")}}, "l0: target is inf"),
        ({"l0": {"target": float("nan")}}, "l0: target is nan"),
        ({"l1": {"weight": -1.0}}, "l1: weight is -1"),
        ({"l1": {"weight": float("nan")}}, "l1: weight is nan"),
        ({"preact": {"weight": -1.0}}, "preact: weight is -1"),
        ({"auxk": {"k": -3}}, "auxk: k is -3"),
        ({"auxk": {"k": 2.5}}, "auxk: k is 2.5"),
        ({"auxk": {"k": float("inf")}}, "auxk: k is inf"),
        ({"nested": {"width": [1]}}, "'width'"),
    ],
)
def test_values_that_make_no_sense(terms, sentence):
    with pytest.raises(UsageError) as error:
        Objective(terms)
    assert sentence in str(error.value)


def test_transpose_start_is_in_the_terms_reach():
    """A model straight from `initialise` gives every term a finite gradient."""
    for kind in SPARSE:
        model = Autoencoder(D, M, activation=kind, output="linear", **SETTINGS.get(kind, {}))
        initialise(model, 0, "transpose")
        terms = {"reconstruction": {}, "l1": {"weight": 1.0}, "auxk": {"weight": 1.0}}
        _, grad = flatten(model)
        moment = Moment(dead=torch.ones(M, dtype=torch.bool))
        Gradient(model, Objective(terms))(Whole(random(B, D).float()), moment)
        assert torch.isfinite(grad).all()
        assert grad.any()


@pytest.mark.parametrize("term", ["auxk", "preact"])
def test_a_term_for_the_dead_alone_moves_nothing_while_none_is(term):
    model = model_of("topk")
    _, grad = flatten(model)
    found = Gradient(model, Objective({term: {"weight": 1.0}}))(Whole(random(B, D, seed=9)))
    assert float(found.cost) == 0
    assert not grad.any()
