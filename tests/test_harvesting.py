"""What is harvested is what the module gave at that moment, of any torch module."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import simplecell
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.places import places
from small_models import Pictures, Steps, Tokens, seeded

IDS = torch.randint(1, 20, (7, 6), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([6, 3, 1, 6, 2, 5, 4])
MASK = (torch.arange(6) < LENGTHS[:, None]).long()


def gathered(*told, **how):
    """x [R, D] of all passes, and the records."""
    batches = list(simplecell.activations(*told, **how))
    return torch.cat([b.x for b in batches]), [r for b in batches for r in b.records]


def tokens():
    return seeded(Tokens).eval()


@torch.no_grad()
def states(model, ids=IDS, mask=None):
    """What each block gives, by hand."""
    x = model.embed(ids) + model.place(torch.arange(ids.shape[1]))
    found = []
    for block in model.blocks:
        x = block(x, mask=mask)
        found.append(x.detach())
    return found


def test_rows_are_positions_in_order_whatever_the_batch_size():
    model = tokens()
    wanted = states(model)[1].reshape(-1, 8)
    for size in (7, 3, 1):
        x, records = gathered(model, "blocks.1", IDS, batch_size=size)
        torch.testing.assert_close(x, wanted, rtol=1e-5, atol=1e-6)
        assert records == [{"sample": i, "position": t} for i in range(7) for t in range(6)]
    assert torch.equal(gathered(model, "blocks.1", IDS, batch_size=7)[0], wanted)


def test_several_layers_at_once_by_list_and_glob():
    model = tokens()
    wanted = states(model)
    found = list(simplecell.activations(model, "blocks.*", IDS))
    assert [batch.layer for batch in found] == ["blocks.0", "blocks.1", "blocks.2"]
    for batch, state in zip(found, wanted, strict=True):
        torch.testing.assert_close(batch.x, state.reshape(-1, 8))
    names = [place.layer for place in places(model, ["blocks.**.2", "head", "blocks.[!1].norm?"])]
    assert names == [
        *(f"blocks.{i}.mlp.2" for i in range(3)),
        "head",
        *(f"blocks.{i}.norm{j}" for i in (0, 2) for j in (1, 2)),
    ]


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("block.1", r"is called 'block.1'; did you mean 'blocks.1'"),
        ("mlp", r"did you mean 'blocks.0.mlp' or 'blocks.1.mlp'"),
        ("none.*", r"matches the glob 'none.\*'"),
        ("head:out", "':input' or ':output' is needed"),
        ([], "no layer was named"),
    ],
)
def test_a_layer_that_is_not_there(layer, sentence):
    with pytest.raises(UsageError, match=sentence):
        simplecell.activations(tokens(), layer, IDS)


def test_input_and_output_and_paths_into_them():
    model = tokens()
    first, second, _ = states(model)
    torch.testing.assert_close(gathered(model, "blocks.1:input", IDS)[0], first.reshape(-1, 8))
    x, _ = gathered(model, "blocks.2:input.0", IDS)
    torch.testing.assert_close(x, second.reshape(-1, 8))
    assert gathered(model, ":output.last", IDS)[0].shape == (42, 8)
    assert gathered(model, ":output.logits", IDS)[0].shape == (42, 20)
    with pytest.raises(UsageError, match=r"several tensors; say which: ':output.logits'"):
        gathered(model, "", IDS)
    with pytest.raises(UsageError, match=r"':output' has logits, last, and no 'lost'"):
        gathered(model, ":output.lost", IDS)
    with pytest.raises(UsageError, match=r"input of layer 'embed' is a tensor of torch.int64"):
        gathered(model, "embed:input", IDS)
    # Attention returns a pair, whose second is None here.
    assert gathered(model, "blocks.0.attn", IDS)[0].shape == (42, 8)


def test_a_call_by_keywords_alone_is_heard():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Bilinear(2, 2, 3)

        def forward(self, x):
            return self.inner(input2=x, input1=x + 1)

    x = torch.randn(4, 2)
    model = seeded(Outer).eval()
    assert torch.equal(gathered(model, "inner:input.input1", x)[0], x + 1)
    assert torch.equal(gathered(model, "inner:input", x)[0], x)


def test_it_is_copied_before_an_in_place_module_changes_it():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True)).eval()
    x = torch.randn(50, 4)
    found, _ = gathered(model, "0", x)
    assert (found < 0).any()
    assert torch.equal(found, model[0](x).detach())
    assert (gathered(model, "1", x)[0] >= 0).all()
    changed = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)).eval()
    assert torch.equal(gathered(changed, "1:input", x.clone())[0], x)


def test_padding_is_dropped_by_the_mask_never_by_value():
    model = tokens()
    batch = {"input_ids": IDS, "attention_mask": MASK}
    wanted = states(model, mask=MASK)[1]
    x, records = gathered(model, "blocks.1", batch, batch_size=3)
    torch.testing.assert_close(x, wanted[MASK.bool()], rtol=1e-5, atol=1e-6)
    assert records[6:9] == [{"sample": 1, "position": t} for t in range(3)]
    picked = {
        "not_first": wanted[(MASK.cumsum(1) > 1) & MASK.bool()],
        "last": wanted[torch.arange(7), LENGTHS - 1],
        "mean": torch.stack([w[:n].mean(0) for w, n in zip(wanted, LENGTHS, strict=True)]),
        "all": wanted.reshape(-1, 8),
        0: wanted[:, 0],
    }
    for positions, rows in picked.items():
        x, _ = gathered(model, "blocks.1", batch, positions=positions)
        torch.testing.assert_close(x, rows, rtol=1e-5, atol=1e-6)
    run = simplecell.activations(model, "blocks.1", batch)
    list(run)
    assert run.n_padding == int((MASK == 0).sum())
    x, records = gathered(model, "blocks.1", batch, positions=[0, -1])
    assert len(x) == 2 * 7 - 1  # one text has one token


def test_a_mask_may_come_otherwise():
    model = tokens()
    wanted, _ = gathered(model, "embed", {"input_ids": IDS, "attention_mask": MASK})
    ways = {"tensor": MASK, "function": lambda ids: ids != 0}
    ids = IDS * MASK
    for mask in ways.values():
        x, _ = gathered(model, "embed", ids, mask=mask, batch_size=2)
        torch.testing.assert_close(x, wanted)
    with pytest.raises(UsageError, match="needs a mask"):
        gathered(model, "embed", IDS, positions="not_padding")
    with pytest.raises(UsageError, match="6 positions a sample, but the mask has"):
        gathered(model, "embed", IDS, mask=MASK[:, :4])
    with pytest.raises(UsageError, match="unknown choice of positions 'lst'; did you mean 'last'"):
        simplecell.activations(model, "embed", IDS, positions="lst")


def test_left_padding_gets_the_positions_that_the_model_needs():
    model = tokens()
    left = torch.stack([row.roll(6 - n) for row, n in zip(IDS, LENGTHS.tolist(), strict=True)])
    mask = MASK.flip(1)
    right, _ = gathered(model, "embed", {"input_ids": IDS, "attention_mask": MASK})
    run = simplecell.activations(
        model, "blocks.0:input", {"input_ids": left, "attention_mask": mask}
    )
    moved = torch.cat([batch.x for batch in run])
    plain = model.place(torch.arange(6)).detach()
    places = torch.cat([plain[:n] for n in LENGTHS.tolist()])
    torch.testing.assert_close(moved, right + places)
    assert any("padding stands on the left" in note for note in run.notes)


def test_eval_mode_is_set_said_and_every_flag_put_back():
    model = seeded(Pictures)
    model.train()
    model.norm.eval()
    before = [module.training for module in model.modules()]
    statistics = model.norm.running_mean.clone()
    x = torch.randn(6, 1, 5, 5)
    run = simplecell.activations(model, "drop", x, batch_size=2)
    with pytest.warns(UserWarning, match="in train mode; it is run in eval mode"):
        rows = [batch.x for batch in run]
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model.norm.running_mean, statistics)
    model.eval()
    again, _ = gathered(model, "drop", x, batch_size=2)
    assert torch.equal(torch.cat(rows), again)

    class Fails(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model = nn.Sequential(nn.Dropout(), Fails())
    with pytest.raises(ZeroDivisionError), pytest.warns(UserWarning, match="train mode"):
        list(simplecell.activations(model, "0", x))
    assert model[0].training


def test_pictures_rows_are_places_of_channels():
    model = seeded(Pictures).eval()
    x = torch.randn(3, 1, 4, 5)
    run = simplecell.activations(model, "conv", x)
    (batch,) = run
    wanted = model.conv(x).detach()
    torch.testing.assert_close(batch.x, wanted.permute(0, 2, 3, 1).reshape(-1, 3))
    assert batch.records[6] == {"sample": 0, "y": 1, "x": 1}
    assert "3 channels (axis 1) are the inputs" in run.notes[0]
    mean, _ = gathered(model, "conv", x, positions="mean")
    torch.testing.assert_close(mean, wanted.mean((2, 3)))
    assert gathered(model, "conv", x, axis=3)[0].shape == (3 * 3 * 4, 5)
    assert gathered(model, "head", x)[1] == [{"sample": i} for i in range(3)]
    with pytest.raises(UsageError, match="one row a sample"):
        gathered(model, "head", x, positions="not_first")


def test_a_module_called_several_times_has_its_calls_kept_apart():
    model = seeded(Steps).eval()
    x = torch.randn(4, 3, 3)
    run = simplecell.activations(model, ["cell", "shared"], x)
    found = list(run)
    assert [b.layer for b in found] == ["cell"] * 3 + ["shared"] * 2
    h = x.new_zeros(4, 5)
    for t in range(3):
        h = model.cell(x[:, t], h)
        torch.testing.assert_close(found[t].x, h.detach())
        assert found[t].records[1] == {"sample": 1, "call": t}
    torch.testing.assert_close(found[3].x, model.shared(h).detach())
    assert any("called 3 times a pass" in note for note in run.notes)
    long = torch.randn(2, 5, 3)  # later passes may have more calls than the first
    ragged = list(simplecell.activations(model, "cell", [x, long]))
    assert [len(b.x) for b in ragged] == [4] * 3 + [2] * 5


@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_modules_by_sample_whichever_axis_is_first(batch_first):
    torch.manual_seed(0)
    model = nn.LSTM(3, 5, num_layers=2, batch_first=batch_first, bidirectional=True).eval()
    x = torch.randn(4, 6, 3)  # samples, steps
    given = x if batch_first else x.transpose(0, 1).contiguous()
    out, (h, _) = model(given)
    out = out if batch_first else out.transpose(0, 1)
    call = [given]
    found, records = gathered(model, "", call)
    torch.testing.assert_close(found, out.detach().reshape(-1, 10))
    assert records[7] == {"sample": 1, "position": 1}
    states, records = gathered(model, ":output.1.0", call)
    torch.testing.assert_close(states, h.detach().transpose(0, 1).reshape(-1, 5))
    assert records[5] == {"sample": 1, "position": 1}
    assert gathered(model, "", call, positions="last")[0].shape == (4, 10)


def test_axes_that_cannot_be_known_are_told():
    waves = nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU()).eval()
    x = torch.randn(4, 2, 9)
    assert gathered(waves, "0", x)[0].shape == (4 * 7, 5)
    run = simplecell.activations(waves, "1", x)
    assert [batch.x.shape for batch in run] == [(4 * 5, 7)]
    assert "where channels are the second, say axis=1" in run.notes[0]
    run = simplecell.activations(waves, "1", x, axis=1)
    assert [batch.x.shape for batch in run] == [(4 * 7, 5)]
    assert not any("axis=1" in note for note in run.notes)

    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(2, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.gru(x)[0])

    late, x = seeded(Late).eval(), torch.randn(6, 4, 2)  # steps, samples
    run = simplecell.activations(late, "head", [x])
    list(run)
    assert "where time is first, say sample_axis=1" in run.notes[0]
    found, records = gathered(late, "head", [x], sample_axis=1)
    torch.testing.assert_close(found, late(x).detach().transpose(0, 1).reshape(-1, 3))
    assert records[7] == {"sample": 1, "position": 1}


def test_packed_sequences_give_their_real_steps():
    torch.manual_seed(0)
    model = nn.GRU(3, 5, batch_first=True).eval()
    x, lengths = torch.randn(4, 6, 3), [2, 6, 1, 4]
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    found, records = gathered(model, ":output.0", [packed], call=lambda m, p: m(p))
    wanted = torch.cat([model(x[i : i + 1, :n])[0][0] for i, n in enumerate(lengths)])
    torch.testing.assert_close(found, wanted.detach())
    assert records[2] == {"sample": 1, "position": 0}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layer", ["layers.0", "layers.1.linear1", "layers.1.self_attn", ""])
def test_the_fused_encoder_gives_what_the_plain_one_gives(batch_first, layer):
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
    model = nn.TransformerEncoder(block, 2, enable_nested_tensor=batch_first).eval()
    x = torch.randn(7, 6, 8)
    padding = MASK == 0
    given = {"src": x if batch_first else x.transpose(0, 1), "src_key_padding_mask": padding}
    found, records = gathered(model, layer, [given])
    kept = []
    module = dict(model.named_modules())[layer]
    handle = module.register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.enable_grad():  # the plain path
        model(**given)
    handle.remove()
    wanted = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
    wanted = wanted if batch_first else wanted.transpose(0, 1)
    torch.testing.assert_close(found, wanted.detach()[MASK.bool()], rtol=1e-4, atol=1e-5)
    assert records[6] == {"sample": 1, "position": 0}
    assert len(records) == int(LENGTHS.sum())


def test_flattened_tokens_are_told_apart_and_windows_are_not():
    class Flat(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.inner, self.rows = nn.Linear(3, 3), rows

        def forward(self, x):
            return self.inner(x.reshape(self.rows, -1, 3).squeeze(1))

    x = torch.randn(4, 6, 3)
    model = seeded(Flat, rows=24).eval()
    found, records = gathered(model, "inner", x)
    assert records[7] == {"sample": 1, "position": 1}
    torch.testing.assert_close(found, model.inner(x).detach().reshape(-1, 3))
    run = simplecell.activations(seeded(Flat, rows=8).eval(), "inner", x)
    (batch,) = run
    assert batch.records[5] == {"batch": 0, "number": 5}
    assert "cannot be told" in run.notes[0]
    with pytest.raises(UsageError, match="8 rows for 4 samples"):
        gathered(seeded(Flat, rows=8).eval(), "inner", x, positions="last")


def compiled():
    model = torch.compile(seeded(Pictures).eval(), backend="eager")
    model(torch.randn(2, 1, 4, 4))
    return model, "_orig_mod.conv", r"nearest that works is '' \(the whole model\).*model._orig_mod"


def compiled_in_place():
    model = nn.Sequential(seeded(Pictures).eval(), nn.ReLU()).eval()
    model[0].compile(backend="eager")
    return model, "0.conv", r"'0' was compiled in place.*nearest that works is ''"


def traced():
    model = nn.Sequential(seeded(Pictures).eval(), nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model[0] = torch.jit.trace(model[0], torch.randn(2, 1, 4, 4))
    return model, "0.conv", "'0.conv'.*was not called.*nearest that works is '0'"


def exported():
    model = torch.export.export(seeded(Pictures).eval(), (torch.randn(2, 1, 4, 4),)).module()
    return model, "conv", "'conv'.*was not called"


def unused():
    model = nn.Sequential(seeded(Pictures).eval(), nn.ModuleList([nn.ReLU()])[0]).eval()
    model[0].extra = nn.ModuleList([nn.Linear(2, 2)]).eval()
    return model, "0.extra", "'0.extra'.*was not called.*nearest that works is '0'"


@pytest.mark.parametrize("make", [compiled, compiled_in_place, traced, exported, unused])
def test_a_layer_that_never_fires_is_an_error_that_names_the_nearest(make):
    model, layer, sentence = make()
    with pytest.raises(UsageError, match=sentence):
        gathered(model, layer, torch.randn(2, 1, 4, 4))


def test_the_output_projection_of_attention_never_fires():
    with pytest.raises(UsageError, match=r"'blocks.0.attn.out_proj' .*nearest .* 'blocks.0.attn'"):
        gathered(tokens(), "blocks.0.attn.out_proj", IDS)
    with pytest.raises(
        UsageError, match=r"'blocks' \(ModuleList\).*nearest that works is 'blocks.0'"
    ):
        gathered(tokens(), "blocks", IDS)


def test_a_compiled_model_can_be_harvested_as_a_whole():
    model = torch.compile(seeded(Pictures).eval(), backend="eager")
    x = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(gathered(model, "", x)[0], model(x).detach())
    torch.testing.assert_close(gathered(model._orig_mod, "head", x)[0], model(x).detach())


def test_checkpointed_blocks_are_heard_once():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)

    x = torch.randn(5, 3)
    model = seeded(Checkpointed).eval()
    found, records = gathered(model, "inner", x)
    assert torch.equal(found, model.inner(x).detach())
    assert records[1] == {"sample": 1}


def test_a_pass_ends_behind_the_last_wanted_layer():
    class Counts(nn.Module):
        n = 0

        def forward(self, x):
            Counts.n += 1
            return x

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), Counts()).eval()
    x = torch.randn(8, 2)
    wanted, _ = gathered(model, "1", x, batch_size=2, stop=False)
    assert Counts.n == 4
    found, _ = gathered(model, "1", x, batch_size=2)
    assert Counts.n == 5  # the first pass shows which layers are called, and how often
    assert torch.equal(found, wanted)
    assert gathered(model, ["2", "0"], x, batch_size=2)[0].shape == (16, 2)
    assert Counts.n == 9


def test_an_edit_that_stands_before_is_seen():
    model = tokens()
    handle = model.blocks[1].register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    zeros, _ = gathered(model, "blocks.1", IDS)
    reached, _ = gathered(model, "blocks.2:input", IDS)
    handle.remove()
    assert not zeros.any()
    assert not reached.any()


def test_nothing_is_left_in_the_model_when_somebody_stops_early():
    model = tokens()
    for _ in simplecell.activations(model, "blocks.0", IDS, batch_size=1):
        break
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_inputs_come_as_anything_that_holds_them():
    model = seeded(Pictures).eval()
    x = torch.randn(5, 1, 4, 4)
    wanted, _ = gathered(model, "head", x)
    pairs = torch.utils.data.TensorDataset(x, torch.arange(5))
    loader = torch.utils.data.DataLoader(pairs, batch_size=2)
    ways = [x.double().numpy(), (x,), {"x": x}, [x[:2], x[2:]], iter([(x,)]), [{"x": x}]]
    for inputs in ways:
        torch.testing.assert_close(gathered(model, "head", inputs)[0], wanted)
    found, _ = gathered(model, "head", loader, call=lambda m, pair: m(pair[0]))
    torch.testing.assert_close(found, wanted)
    with pytest.raises(UsageError, match="the inputs are texts"):
        gathered(model, "head", ["a text"])
    with pytest.raises(DataError, match="no batch of inputs came"):
        gathered(model, "head", [])
    with pytest.raises(UsageError, match=r"is a str; a torch\.nn\.Module is needed"):
        gathered("model", "head", x)


def test_inputs_that_a_model_cannot_take_are_refused_in_a_sentence():
    model, x = seeded(Pictures).eval(), torch.randn(5, 1, 4, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x), batch_size=2)
    with pytest.raises(UsageError, match=r"2 parts.*call=lambda model, batch: model\(batch\[0\]\)"):
        gathered(model, "head", loader)
    with pytest.raises(UsageError, match="keys x, label, which the model"):
        gathered(model, "head", {"x": x, "label": np.arange(5)})
    for inputs, said in ((None, "None"), (3, "a int")):
        with pytest.raises(UsageError, match=f"the inputs are {said}; an array"):
            gathered(model, "head", inputs)
    for size in (0, -1, 2.5):
        with pytest.raises(UsageError, match="batch_size"):
            gathered(model, "head", x, batch_size=size)

    class Broken(nn.Module):
        def forward(self, x):
            return x + "a"

    with pytest.raises(TypeError, match="unsupported operand"):  # the model's own stays
        gathered(Broken().eval(), "", x)


def test_a_layer_may_be_the_module_itself():
    model, x = seeded(Pictures).eval(), torch.randn(5, 1, 4, 4)
    wanted, _ = gathered(model, "head", x)
    assert torch.equal(gathered(model, model.head, x)[0], wanted)
    assert torch.equal(gathered(model, [model.head], x)[0], wanted)
    for layer, said in ((1, "a int"), (None, "a NoneType"), ([2], "a int")):
        with pytest.raises(UsageError, match=f"the layer is {said}; a name of"):
            gathered(model, layer, x)
    with pytest.raises(UsageError, match="a Linear, which is no module of this model"):
        gathered(model, nn.Linear(2, 2), x)


def test_positions_that_samples_do_not_have_are_told():
    running = simplecell.activations(tokens(), "blocks.0", {"input_ids": IDS}, positions=[0, 99])
    assert sum(len(batch.x) for batch in running) == len(IDS)
    assert running.notes == ["layer 'blocks.0': some samples have no position 99, and no row of it"]
    there = simplecell.activations(tokens(), "blocks.0", {"input_ids": IDS}, positions=[0, -1])
    assert list(there)
    assert there.notes == []


def test_records_and_tokens_are_told():
    class Tokenizer:
        def decode(self, ids):
            return f"<{ids[0]}>"

    told = [{"title": f"t{i}"} for i in range(7)]
    batch = {"input_ids": IDS, "attention_mask": MASK}
    _, records = gathered(tokens(), "blocks.0", batch, records=told, tokenizer=Tokenizer())
    assert records[7] == {
        "sample": 1,
        "position": 1,
        "token": f"<{int(IDS[1, 1])}>",
        "title": "t1",
    }
    with pytest.raises(DataError, match="3 records came, but there is a sample 3"):
        gathered(tokens(), "blocks.0", batch, records=told[:3])
    columns = {"title": np.array([f"t{i}" for i in range(7)])}
    _, of_columns = gathered(tokens(), "blocks.0", batch, records=columns, tokenizer=Tokenizer())
    assert of_columns == records


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ([{"sample": 3}] * 7, "the key 'sample'"),
        ({"position": range(7)}, "the key 'position'"),
        (lambda i: {"position": i}, "the key 'position'"),
        ({"a": [1, 2], "b": [1]}, r"columns have .*'a': 2, 'b': 1"),
        ({"a": "label"}, "column 'a' is no list"),
        (["a"] * 7, "of sample 0 is a str; a dictionary"),
        (7, "the records are a int"),
    ],
)
def test_records_that_cannot_be(known, sentence):
    with pytest.raises(UsageError, match=sentence):
        gathered(tokens(), "blocks.0", {"input_ids": IDS}, records=known)


def test_a_key_that_only_pictures_take_is_free_elsewhere():
    known = [{"x": i, "token": "a"} for i in range(7)]
    _, records = gathered(tokens(), "blocks.0", {"input_ids": IDS}, records=known)
    assert records[-1].items() >= {"x": 6, "token": "a"}.items()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_keep_the_precision_of_the_layer(dtype):
    model = seeded(Pictures).eval().to(dtype)
    x = torch.randn(3, 1, 4, 4, dtype=dtype)
    assert gathered(model, "head", x)[0].dtype == dtype
    assert gathered(model, "head", x.float().numpy())[0].dtype == dtype  # by the model's own


def test_harvested_rows_go_into_an_estimator_as_they_are():
    x, _ = gathered(
        seeded(Pictures).eval(), "conv", np.random.default_rng(0).normal(size=(9, 1, 6, 6))
    )
    model = simplecell.TopKSparseAutoencoder(6, k=2, max_samples=2000, random_state=0).fit(x)
    assert model.transform(x).shape == (324, 6)


def test_single_samples_in_a_list_are_samples_and_batches_are_batches():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).eval()
    x = torch.rand(7, 4)
    (whole,) = simplecell.activations(model, "0", x)
    for given in (list(x), [row.numpy() for row in x], x.tolist()):
        run = simplecell.activations(model, "0", given, batch_size=3)
        batches = list(run)
        assert [len(batch.x) for batch in batches] == [3, 3, 1]
        torch.testing.assert_close(torch.cat([b.x for b in batches]), whole.x)
        assert [r["sample"] for b in batches for r in b.records] == list(range(7))
        assert run.notes == ["the 7 items of the list are single samples, given 3 at a time"]
    batches = list(simplecell.activations(model, "0", list(x.split(2))))
    assert [len(batch.x) for batch in batches] == [2, 2, 2, 1]
    net = seeded(Pictures).eval()
    pictures = torch.rand(5, 1, 6, 6)
    (every,) = simplecell.activations(net, "conv", list(pictures))
    (same,) = simplecell.activations(net, "conv", pictures)
    assert torch.equal(every.x, same.x)
    (both,) = simplecell.activations(net, "conv", [pictures])
    assert torch.equal(both.x, same.x)


def test_a_data_set_gives_samples():
    model, x = nn.Sequential(nn.Linear(4, 3)).eval(), torch.rand(5, 4)
    data = torch.utils.data.TensorDataset(x)
    batches = list(simplecell.activations(model, "0", data, batch_size=2))
    assert [len(batch.x) for batch in batches] == [2, 2, 1]
    (whole,) = simplecell.activations(model, "0", x)
    torch.testing.assert_close(torch.cat([b.x for b in batches]), whole.x)
    labelled = torch.utils.data.TensorDataset(x, torch.arange(5))
    with pytest.raises(UsageError, match="a batch of the inputs has 2 parts"):
        list(simplecell.activations(model, "0", labelled))


def test_single_samples_that_make_no_batch_are_refused():
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    with pytest.raises(UsageError, match=r"of the shapes \(4,\) and \(3,\)"):
        simplecell.activations(model, "0", [torch.rand(4), torch.rand(3)])
    tokens = seeded(Tokens)
    with pytest.raises(UsageError, match=r"tokenizer\.pad\(items"):
        simplecell.activations(tokens, "embed", [{"input_ids": [1, 2]}, {"input_ids": [3]}])
