"""A dictionary inside of a network: exact without an edit, linear to first order with one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import simplecell
from simplecell import TopKSparseAutoencoder, attach, loss_recovered
from simplecell.errors import DataError, RunError, UsageError
from simplecell.harvesting.edits import Edit
from small_models import Pictures, Steps, Tokens, seeded

IDS = torch.randint(1, 20, (5, 6), generator=torch.Generator().manual_seed(1))


class Dictionary(nn.Module):
    """`codes = relu(x W + b)`, `recon = codes V`, in the units of x."""

    def __init__(self, width=8, n_latents=12, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.encoder = nn.Parameter(torch.randn(n_latents, width, generator=draw) / 3)
        self.decoder = nn.Parameter(torch.randn(n_latents, width, generator=draw) / 3)

    def encode(self, x):
        return torch.relu(x @ self.encoder.to(x).T + 0.1)

    def decode(self, codes):
        return codes @ self.decoder.to(codes)

    def atoms(self):
        return self.decoder


@pytest.fixture
def model():
    return seeded(Tokens).eval()


def output(model):
    return model(IDS)["logits"]


@pytest.mark.parametrize("layer", ["blocks.1", "blocks.1:input", "blocks.0.attn", "blocks.2.mlp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_without_an_edit_the_model_is_exactly_as_it_was(model, layer, dtype):
    model = model.to(dtype)
    before = output(model)
    with attach(model, layer, Dictionary()) as splice:
        assert torch.equal(output(model), before)
    assert splice.n_calls == 1
    assert splice.codes.shape == (5, 6, 12)
    assert torch.equal(output(model), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_without_the_error_it_is_the_reconstruction(model):
    sae = Dictionary()
    kept = {}
    handle = model.blocks[1].register_forward_hook(lambda m, a, out: kept.update(x=out))
    with attach(model, "blocks.2:input", sae, error=False):
        spliced = output(model)
    handle.remove()
    recon = sae.decode(sae.encode(kept["x"]))
    torch.testing.assert_close(spliced, model.head(model.blocks[2](recon)))


def test_edits_do_what_they_say(model):
    sae, kept = Dictionary(), {}

    def edited(*edits):
        model.blocks[1].register_forward_hook(lambda m, a, out: kept.update(x=out.detach()))
        with attach(model, "blocks.1", sae, list(edits)):
            handle = model.blocks[1].register_forward_hook(lambda m, a, out: kept.update(y=out))
            output(model)
            handle.remove()
        codes = sae.encode(kept["x"])
        return kept["y"] - kept["x"], codes

    difference, codes = edited(("off", 3))
    torch.testing.assert_close(difference, -codes[..., 3:4] * sae.decoder[3])
    difference, codes = edited(("times", [3, 5], 3.0))
    torch.testing.assert_close(difference, 2 * codes[..., [3, 5]] @ sae.decoder[[3, 5]])
    difference, codes = edited(("set", 4, 2.0))
    torch.testing.assert_close(difference, (2 - codes[..., 4:5]) * sae.decoder[4])
    difference, _ = edited(("add", 7, -1.5))
    torch.testing.assert_close(difference, (-1.5 * sae.decoder[7]).expand(5, 6, 8))
    difference, codes = edited(lambda codes: codes * 0)
    torch.testing.assert_close(difference, -sae.decode(codes))
    difference, _ = edited(lambda codes: None)
    assert not difference.any()
    # Of chosen samples and positions alone, one after the other.
    first = {"kind": "set", "latents": 1, "value": 1.0, "positions": [-1, 0], "samples": 2}
    difference, codes = edited(first, Edit("times", 1, 0.0, samples=[2]))
    wanted = torch.zeros_like(difference)
    wanted[2] = -codes[2, :, 1:2] * sae.decoder[1]
    torch.testing.assert_close(difference, wanted)
    difference, codes = edited(first)
    assert difference[2, [0, 5]].any()
    difference[2, [0, 5]] = 0
    assert not difference.any()


def test_gradients_flow_through_codes_and_edits(model):
    sae = Dictionary().double()
    model.double()
    x = torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True)
    block = nn.Sequential(model.blocks[1], model.head)
    amount = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def spliced(x, amount):
        edits = [("times", [2, 3], amount), ("add", 1, amount), ("off", 4)]
        with attach(block, "0", sae, edits):
            return block(x)

    assert torch.autograd.gradcheck(spliced, (x, amount))
    with attach(block, "0", sae) as splice:
        block(x).sum().backward()
    # What each latent is worth: the sum of the outputs, along its atom.
    wanted = torch.ones(2, 6, 20, dtype=torch.float64) @ model.head.weight @ sae.decoder.T
    torch.testing.assert_close(splice.codes.grad, wanted)


def test_an_ablated_latent_changes_the_output_as_the_linear_estimate_says():
    """y = w · tanh(x + u), x = c a: taking c away changes y by −c a · ∂y/∂x, to first order."""
    torch.manual_seed(0)
    atom, w = torch.randn(4).double(), torch.randn(4).double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return torch.tanh(self.layer(x) + 0.3) @ w

    class One(nn.Module):
        def encode(self, x):
            return (x @ atom / (atom @ atom))[..., None]

        def decode(self, codes):
            return codes * atom

        def atoms(self):
            return atom[None]

    net, errors = Net(), []
    for size in (0.1, 0.01, 0.001):
        x = (size * atom)[None].requires_grad_()
        before = net(x)
        (slope,) = torch.autograd.grad(before, x)
        with attach(net, "layer", One(), ("off", 0)):
            after = net(x)
        known = torch.tanh(torch.tensor(0.3, dtype=torch.float64)) * w.sum()
        torch.testing.assert_close(after[0], known)
        estimate = -(slope @ (size * atom)).sum()
        errors.append(abs(float((after - before).detach() - estimate)))
    assert errors[1] < errors[0] / 50  # the rest is of second order
    assert errors[2] < errors[1] / 50


def test_edits_take_numbers_of_any_kind(model):
    """NumPy's and torch's, alone, in lists and in arrays: the same as Python's."""

    def edited(edit):
        with attach(model, "blocks.1", Dictionary(), edit):
            return output(model)

    for three in (np.int64(3), torch.tensor(3), np.array(3), [np.int32(3)], [torch.tensor(3)]):
        assert torch.equal(edited(("off", three)), edited(("off", 3)))
    several = edited(("off", [0, 1, 2]))
    for latents in (np.arange(3), torch.arange(3), range(3), torch.tensor([[0, 1], [2, 0]])):
        assert torch.equal(edited(("off", latents)), several)
    each = edited([("times", 3, 1.0), ("times", 7, 2.5)])
    for value in ([1, 2.5], np.array([1, 2.5]), torch.tensor([1, 2.5], dtype=torch.float64)):
        assert torch.equal(edited(("times", [3, 7], value)), each)
    one = edited(("set", 3, 2))
    for value in (np.float32(2), np.array([2.0]), torch.tensor(2), np.full((6, 1), 2)):
        assert torch.equal(edited(("set", 3, value)), one)
    where = {"kind": "off", "latents": 3}
    told = edited({**where, "positions": [0, -1], "samples": 2})
    arrays = {"positions": np.array([0, -1]), "samples": torch.tensor(2)}
    assert torch.equal(edited({**where, **arrays}), told)
    assert torch.equal(edited(("add", [3, 3], 1.0)), edited(("add", 3, 1.0)))


def test_the_second_of_two_in_one_layer_sees_what_the_first_made(model):
    with attach(model, "blocks.1", Dictionary(), ("off", 3)) as first:
        output(model)
        with attach(model, "blocks.1", Dictionary(seed=1)) as second:
            output(model)
    alone = model.blocks[0](model.embed(IDS) + model.place(torch.arange(6)))
    x = model.blocks[1](alone)
    own = Dictionary()
    made = x + (own.decode(first.codes) - own.decode(own.encode(x)))
    torch.testing.assert_close(second.codes, Dictionary(seed=1).encode(made))


@pytest.mark.parametrize(
    ("layer", "edit", "sentence"),
    [
        ("blocks.0.attn.out_proj", None, "was not called .* nearest that was is 'blocks.0.attn'"),
        ("blocks", ("off", 1), "ModuleList.* was not called .* the whole model"),
        ("blocks.0", {"kind": "off", "latents": 1, "positions": 6}, "changed nothing in 1 calls"),
        ("blocks.0", ("off", 12), "there is no latent 12; the model has 0 … 11"),
        ("blocks.0", ("of", 1), "unknown edit 'of'; did you mean 'off'"),
        ("blocks.0", ("times", 1), "'times' needs a value"),
        ("blocks.0", ("off", 1, 2.0), "'off' takes no value"),
        ("blocks.0", {"kind": "off", "latent": 1}, "an edit is said by kind, latents"),
        ("blocks.0", 3, "an edit is a int"),
        *(
            ("blocks.0", ("off", latents), "the latents of an edit are .* a whole number is needed")
            for latents in ([], 1.5, "all", "3", np.array([1.5]), torch.rand(2), [None], [[1, 2]])
        ),
        *(
            ("blocks.0", ("off", latents), "not true and false")
            for latents in (True, [True, False], np.array([True]), torch.tensor([True, False]))
        ),
        ("blocks.0", ("off", 10**30), "there is no latent 1000000"),
        ("blocks.0", {"kind": "off", "latents": 1, "samples": True}, "the samples of an edit"),
        *(
            ("blocks.0", ("set", 3, value), "value of an edit is .* a finite number is needed")
            for value in (
                *("x", float("nan"), float("inf"), np.array([1, np.nan]), torch.tensor(np.nan)),
                *(True, [], 1j, 10**400, [1, "x"], {"a": 1}),
            )
        ),
        ("blocks.0", ("set", 3, np.array([1.0, 2.0])), r"has the shape \(2,\).* \(5, 6, 1\)"),
        ("blocks.0", ("times", [3, 7], [1, 2, 3]), r"has the shape \(3,\).* \(5, 6, 2\)"),
        ("blocks.0", ("add", [3, 3], [1.0, 2.0]), "names a latent twice"),
        ("blocks.0", lambda codes: codes[0], "a tensor of that shape"),
        ("blocks.0", lambda codes: False, "the edit gave a bool"),
        ("blocks.*", None, "means 3 modules"),
        ("lost", None, "is called 'lost'"),
    ],
)
def test_what_would_do_nothing_is_an_error(model, layer, edit, sentence):
    with pytest.raises(UsageError, match=sentence), attach(model, layer, Dictionary(), edit):
        output(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_compiled_layer_and_a_wrong_dictionary_are_refused(model):
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    with pytest.raises(UsageError, match=r"model._orig_mod, which is not compiled"):
        attach(compiled, "_orig_mod.blocks.0", Dictionary()).__enter__()
    with pytest.raises(UsageError, match="the dictionary is a int"):
        attach(model, "blocks.0", 3).__enter__()
    narrow = Dictionary(width=8)
    narrow.decoder = nn.Parameter(torch.randn(12, 5))
    with pytest.raises(DataError, match="makes 5 numbers"), attach(model, "blocks.0", narrow):
        output(model)


def test_a_dictionary_of_another_layer_and_a_lost_run_are_named(fitted, tmp_path):
    model, sae, _ = fitted
    with pytest.raises(RunError, match="there is nothing at"):
        attach(model, "blocks.0", tmp_path / "lost").__enter__()
    sae.save(tmp_path / "run")
    said = r"layer 'head' gives rows of 20 numbers, but the run '.*run' was trained on 8"
    with pytest.raises(DataError, match=said), attach(model, "head", tmp_path / "run"):
        output(model)
    with pytest.raises(DataError, match=r"are a ndarray; a torch tensor is needed"):
        sae.model.encode(np.zeros((2, 8), dtype=np.float32))
    with pytest.raises(UsageError, match=r"the loss has the shape \(5, 6\)"):
        loss_recovered(
            model, "blocks.0", sae, {"input_ids": IDS}, lambda out, _: out["last"][..., 0]
        )


def test_an_error_in_the_block_is_the_one_that_is_told(model):
    with pytest.raises(ZeroDivisionError), attach(model, "blocks.0", Dictionary()):
        raise ZeroDivisionError


def test_pictures_and_recurrent_networks(model):
    pictures, x = seeded(Pictures).eval(), torch.randn(3, 1, 4, 5)
    before = pictures(x)
    with attach(pictures, "conv", Dictionary(width=3)) as splice:
        assert torch.equal(pictures(x), before)
    assert splice.codes.shape == (3, 20, 12)
    with attach(pictures, "conv", Dictionary(width=3), ("add", 2, 1.0)):
        assert not torch.equal(pictures(x), before)
    lstm = nn.LSTM(3, 8).eval()
    x = torch.randn(6, 4, 3)
    before = lstm(x)[0]
    edit = {"kind": "set", "latents": 0, "value": 9.0, "samples": 1}
    with attach(lstm, "", Dictionary(), edit) as splice:
        after, state = lstm(x)
    assert splice.codes.shape == (4, 6, 12)
    assert torch.equal(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
    assert not torch.equal(after[:, 1], before[:, 1])
    assert isinstance(state, tuple)
    packed = pack_padded_sequence(x, [6, 2, 4, 1], enforce_sorted=False)
    with attach(lstm, "", Dictionary(), ("off", 1)):
        assert lstm(packed)[0].data.shape == (13, 8)
    with pytest.raises(UsageError, match="pad them"), attach(lstm, "", Dictionary(), edit):
        lstm(packed)
    steps = seeded(Steps).eval()
    with attach(steps, "cell", Dictionary(width=5)) as splice:
        steps(torch.randn(2, 3, 3))
    assert splice.n_calls == 3


def test_an_edit_is_what_a_harvest_inside_sees(model):
    with attach(model, "blocks.1", Dictionary(), lambda codes: codes * 0, error=False):
        for x, _, layer in simplecell.activations(model, ["blocks.1", "blocks.2:input"], IDS):
            assert not x.any(), layer


@pytest.fixture(scope="module")
def fitted():
    model = seeded(Tokens).eval()
    ids = torch.randint(1, 20, (300, 6), generator=torch.Generator().manual_seed(2))
    x = torch.cat([batch.x for batch in simplecell.activations(model, "blocks.1", ids)])
    sae = TopKSparseAutoencoder(32, k=6, max_samples=60_000, random_state=0).fit(x)
    return model, sae, ids


def test_a_run_an_estimator_and_its_module_are_the_same_dictionary(fitted, tmp_path):
    model, sae, _ = fitted
    sae.save(tmp_path / "run")
    found = []
    for one in (sae, tmp_path / "run", str(tmp_path / "run"), sae.model, sae._trained):
        with attach(model, "blocks.1", one, ("off", range(32))):
            found.append(output(model))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_loss_recovered_is_1_for_the_layer_itself_and_0_for_its_mean(fitted):
    model, sae, ids = fitted

    def loss(output, batch):
        return nn.functional.cross_entropy(output["logits"].flatten(0, 1), batch.flatten())

    class Itself(nn.Module):
        def encode(self, x):
            return x

        def decode(self, codes):
            return codes

    x = torch.cat([b.x for b in simplecell.activations(model, "blocks.1", ids)])

    class Mean(Itself):
        def decode(self, codes):
            return x.mean(0).expand_as(codes)

    told = {"inputs": ids, "loss": loss, "batch_size": 64}
    whole = loss_recovered(model, "blocks.1", Itself(), **told)
    assert (whole.recovered, whole.n_samples) == (1.0, 300)
    assert whole.loss == pytest.approx(float(loss(model(ids), ids).detach()), rel=1e-5)
    assert loss_recovered(model, "blocks.1", Mean(), **told).recovered == pytest.approx(0, abs=1e-4)
    found = loss_recovered(model, "blocks.1", sae, **told)
    assert found.spliced == pytest.approx(found.loss, abs=abs(found.ablated - found.loss))
    assert found.recovered > 0.5
    again = loss_recovered(model, "blocks.1", sae, ids, loss, batch_size=7)
    assert again.recovered == pytest.approx(found.recovered, abs=1e-3)
    with pytest.raises(UsageError, match="read only once"):
        loss_recovered(model, "blocks.1", sae, iter([ids]), loss)
    with pytest.raises(UsageError, match="no loss of its own"):
        loss_recovered(model, "blocks.1", sae, ids)
    with pytest.raises(DataError, match="nothing can be recovered"):
        loss_recovered(model, "blocks.1", sae, ids, lambda out, batch: torch.tensor(1.0))
