"""Activations on disk: the same rows whatever stopped the writing, with a record each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import simplecell
from simplecell.data import as_source, shard_index
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.records import GridRecords, RowRecords
from small_models import Pictures, Steps, Tokens, seeded

N, T = 23, 6
IDS = torch.randint(1, 20, (N, T), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.randint(1, T + 1, (N,), generator=torch.Generator().manual_seed(2))
BATCH = {"input_ids": IDS, "attention_mask": (torch.arange(T) < LENGTHS[:, None]).long()}


def model():
    return seeded(Tokens).eval()


def files(folder):
    kept = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(kept)}


def test_rows_on_disk_are_those_of_activations(tmp_path):
    told = [{"title": f"t{i}"} for i in range(N)]
    done = simplecell.harvest(
        model(), "blocks.1", BATCH, tmp_path / "acts", rows=10, batch_size=4, records=told
    )
    batches = list(simplecell.activations(model(), "blocks.1", BATCH, batch_size=4))
    wanted = torch.cat([batch.x for batch in batches]).numpy()
    source = as_source(tmp_path / "acts")
    np.testing.assert_array_equal(source.read(slice(None)), wanted)
    known = [record for batch in batches for record in batch.records]
    for i, about in enumerate(source.about(slice(None))):
        assert about.items() >= {**known[i], "title": f"t{known[i]['sample']}"}.items()
        assert about["file"] == f"shard-{i // 10:05d}.npy"
    assert (done.n_samples, done.n_rows["blocks.1"]) == (N, int(LENGTHS.sum()))
    assert done.n_padding == N * T - int(LENGTHS.sum())
    assert done.folders == {"blocks.1": tmp_path / "acts"}
    index = shard_index.read_index(tmp_path / "acts")
    assert index["harvest"]["model"] == "Tokens"
    assert (index["harvest"]["dtype"], index["harvest"]["n_samples"]) == ("float32", N)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_types_on_disk(tmp_path, dtype):
    whole = torch.cat([b.x for b in simplecell.activations(model(), "head", BATCH)])
    simplecell.harvest(model(), "head", BATCH, tmp_path / "acts", rows=17, dtype=dtype)
    source = as_source(tmp_path / "acts")
    kept = whole.to(getattr(torch, dtype))
    wanted = kept if dtype == "float64" else kept.float()
    np.testing.assert_array_equal(source.read(slice(None)), wanted.numpy())
    size = sum(p.stat().st_size for p in (tmp_path / "acts").glob("shard*.[ns]*"))
    assert size == pytest.approx(whole.numel() * kept.element_size(), rel=0.5)
    assert source.about(slice(0, 1))[0]["sample"] == 0


def test_a_layer_keeps_its_own_type_and_overflow_is_an_error(tmp_path):
    half = model().bfloat16()
    simplecell.harvest(half, "blocks.0", BATCH, tmp_path / "b", batch_size=N)
    index = shard_index.read_index(tmp_path / "b")
    assert (index["dtype"], index["harvest"]["dtype"]) == ("bfloat16", "bfloat16")
    (batch,) = simplecell.activations(half, "blocks.0", BATCH, batch_size=N)
    np.testing.assert_array_equal(
        as_source(tmp_path / "b").read(slice(None)), batch.x.float().numpy()
    )
    large = model()
    large.head.weight.data *= 1e8
    with pytest.raises(DataError, match="too large for float16"):
        simplecell.harvest(large, "head", BATCH, tmp_path / "c", dtype="float16")
    assert not list((tmp_path / "c").glob("*shard-*"))
    with pytest.raises(UsageError, match="did you mean 'bfloat16'"):
        simplecell.harvest(large, "head", BATCH, tmp_path / "c", dtype="bfloat")


def test_several_layers_have_a_folder_each(tmp_path):
    done = simplecell.harvest(model(), ["blocks.*", "head:input"], BATCH, tmp_path / "acts", rows=9)
    names = ["blocks.0", "blocks.1", "blocks.2", "head_input"]
    assert sorted(p.name for p in (tmp_path / "acts").iterdir()) == names
    for layer, folder in done.folders.items():
        batches = list(simplecell.activations(model(), layer, BATCH))
        rows = torch.cat([batch.x for batch in batches]).numpy()
        np.testing.assert_array_equal(as_source(folder).read(slice(None)), rows)


def test_said_again_it_is_there_and_otherwise_refused(tmp_path):
    out = tmp_path / "acts"
    simplecell.harvest(model(), "blocks.1", BATCH, out, rows=10)
    before = files(out)
    again = simplecell.harvest(model(), "blocks.1", BATCH, out, rows=10)
    assert (again.written, again.n_samples) == (0, N)
    assert files(out) == before
    other = {**BATCH, "input_ids": IDS.flip(0)}
    with pytest.raises(DataError, match="batch 0 of the inputs is not the one"):
        simplecell.harvest(model(), "blocks.1", other, out, rows=10)
    fewer = {key: value[:-1] for key, value in BATCH.items()}
    with pytest.raises(DataError, match=f"the inputs have {N - 1} samples and not {N}"):
        simplecell.harvest(model(), "blocks.1", fewer, out, rows=10)
    end = {**BATCH, "input_ids": torch.cat([IDS[:-1], IDS[:1]])}
    with pytest.raises(DataError, match="is not the one"):
        simplecell.harvest(model(), "blocks.1", end, out, rows=10)
    ways = [
        (model(), "blocks.2", {}, "layer: blocks.1, blocks.2: then, now"),
        (seeded(Tokens, 1).eval(), "blocks.1", {}, ""),
        (model(), "blocks.1", {"positions": "last"}, "positions: auto, last"),
        (model(), "blocks.1", {"positions": [0, 1]}, r"positions: auto, \[0, 1\]"),
        (model(), "blocks.1", {"batch_size": 5}, "batch_size: 32, 5"),
        (model(), "blocks.1", {"records": [{"a": 1}] * N}, "the records are others"),
    ]
    for net, layer, how, differs in ways:
        with pytest.raises(UsageError, match=f"shards of other data.*{differs}"):
            simplecell.harvest(net, layer, BATCH, out, **{"rows": 10, **how})
    with pytest.raises(UsageError, match="rows: 10, 11: then, now"):
        simplecell.harvest(model(), "blocks.1", BATCH, out, rows=11)
    simplecell.harvest(model(), "blocks.2", other, out, rows=10, restart=True)
    assert files(out) != before


@pytest.mark.parametrize("kind", ["array", "list", "loader", "generator"])
def test_other_inputs_than_those_of_a_finished_harvest_are_refused(tmp_path, kind):
    """They are told by every batch, also where all but one in the middle are the same."""
    x = torch.randn(12, 1, 4, 4)
    middle = torch.cat([x[:5], x[5:6] + 1, x[6:]])

    def write(x, **how):
        pieces = [x[i : i + 4] for i in range(0, len(x), 4)]
        loader = torch.utils.data.DataLoader(x, batch_size=4)
        ways = {"array": x, "list": pieces, "loader": loader, "generator": iter(pieces)}
        folder = tmp_path / "acts"
        return simplecell.harvest(
            seeded(Pictures).eval(), "head", ways[kind], folder, batch_size=4, rows=5, **how
        )

    assert write(x).notes == []
    before = files(tmp_path / "acts")
    again = write(x)
    assert (again.written, again.n_samples) == (0, 12)
    assert again.notes == ["the harvest was finished before; nothing was run"]
    for other in (middle, torch.cat([x, x]), x[:4]):
        with pytest.raises(DataError, match=r"no shuffling.*restart=True"):
            write(other)
    assert files(tmp_path / "acts") == before
    assert write(middle, restart=True).written == 12


def test_records_are_compared_where_they_can_be(tmp_path):
    def write(records):
        return simplecell.harvest(model(), "blocks.1", BATCH, tmp_path / "a", records=records)

    columns = {"label": [f"t{i}" for i in range(N)], "n": np.arange(N)}
    write(columns)
    assert write([{"label": f"t{i}", "n": i} for i in range(N)]).written == 0
    for other in ({**columns, "n": np.arange(N) + 1}, None):
        with pytest.raises(UsageError, match=r"the records are others.*restart=True"):
            write(other)
    out = tmp_path / "b"
    for _ in range(2):
        done = simplecell.harvest(
            model(), "blocks.1", BATCH, out, positions=[0, 1], records=lambda i: {"n": i}
        )
    assert done.notes[-1] == "records by a function are those that were written then"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shard_that_is_not_as_it_was_written_is_an_error(tmp_path, dtype):
    def write(**how):
        return simplecell.harvest(
            model(), "blocks.1", BATCH, tmp_path / "a", rows=10, dtype=dtype, **how
        )

    def refused(sentence):
        for read in (write, lambda: as_source(tmp_path / "a")):
            with pytest.raises(DataError, match=f"shard-00001.*{sentence}.*restart=True"):
                read()

    write()
    shard = next((tmp_path / "a").glob("shard-00001.[ns]*"))
    whole = shard.read_bytes()
    size = len(whole)
    with shard.open("r+b") as file:
        file.truncate(size - 3)
    refused(f"has {size - 3} bytes, and was written with {size}")
    shard.write_bytes(whole)
    assert write().written == 0
    shard.with_suffix(".records.jsonl").unlink()
    refused("has lost the records")
    assert write(restart=True).written == as_source(tmp_path / "a").n_samples


def test_a_number_that_is_none_is_named_by_its_layer_and_sample(tmp_path):
    x = torch.randn(6, 1, 4, 4)
    x[4, 0, 3, 2] = torch.nan
    net = seeded(Pictures).eval()
    said = r"layer 'conv', sample 4, y 2, x 1: number 0 of the row is nan"
    with pytest.raises(DataError, match=said):
        simplecell.harvest(net, "conv", x, tmp_path / "a", batch_size=4, rows=7)
    with pytest.raises(DataError, match=r"layer 'head', sample 4: number 0 of the row is nan"):
        simplecell.harvest(net, "head", x, tmp_path / "b", batch_size=2)


def test_an_iterator_that_ends_before_the_place_of_a_cut_is_refused(tmp_path, monkeypatch):
    pieces = [{k: v[i : i + 2] for k, v in BATCH.items()} for i in range(0, N, 2)]
    real, left = os.replace, [6]

    def cut(*told):
        left[0] -= 1
        if left[0] < 0:
            raise CutError
        real(*told)

    monkeypatch.setattr(shard_index.os, "replace", cut)
    with pytest.raises(CutError):
        simplecell.harvest(model(), "blocks.1", iter(pieces), tmp_path / "acts", rows=8)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"batch \d of the inputs did not come"):
        simplecell.harvest(model(), "blocks.1", iter(pieces[:1]), tmp_path / "acts", rows=8)


class CutError(Exception):
    pass


@pytest.mark.parametrize("layer", ["blocks.1", "blocks.[02]"])
@pytest.mark.parametrize("kind", ["cut here", "batches", "iterator"])
def test_what_was_cut_off_goes_on_to_the_same_bytes(tmp_path, monkeypatch, layer, kind):
    """Stopped before each file is renamed, once and again: no row is lost or doubled."""

    def write(folder):
        pieces = [{k: v[i : i + 4] for k, v in BATCH.items()} for i in range(0, N, 4)]
        given = {"cut here": BATCH, "batches": pieces, "iterator": iter(pieces)}[kind]
        return simplecell.harvest(model(), layer, given, folder, rows=10, batch_size=4)

    write(tmp_path / "whole")
    real, left = os.replace, [0]

    def cut(*told):
        left[0] -= 1
        if left[0] < 0:
            raise CutError
        real(*told)

    monkeypatch.setattr(shard_index.os, "replace", cut)
    for allowed in range(3, 40):  # an attempt that could rename nothing more would never end
        left[0] = allowed
        try:
            write(tmp_path / "acts")
            break
        except CutError:
            continue
    monkeypatch.undo()
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_inputs_that_changed_behind_a_cut_are_refused(tmp_path, monkeypatch):
    real, left = os.replace, [8]

    def cut(*told):
        left[0] -= 1
        if left[0] < 0:
            raise CutError
        real(*told)

    monkeypatch.setattr(shard_index.os, "replace", cut)
    with pytest.raises(CutError):
        simplecell.harvest(model(), "blocks.1", BATCH, tmp_path / "acts", rows=10, batch_size=4)
    monkeypatch.undo()
    with pytest.raises(DataError, match="say the same harvest again"):
        as_source(tmp_path / "acts")
    other = {**BATCH, "input_ids": IDS.flip(1)}
    with pytest.raises(DataError, match=r"batch \d of the inputs is not the one .*no shuffling"):
        simplecell.harvest(model(), "blocks.1", other, tmp_path / "acts", rows=10, batch_size=4)


CHILD = """
import sys, time
import torch
sys.path.insert(0, sys.argv[2])
from simplecell.harvesting.records import RowRecords
from small_models import Tokens, seeded
import simplecell

ids = torch.randint(1, 20, (400, 6), generator=torch.Generator().manual_seed(1))
print("ready", flush=True)

def slowly(model, batch):
    time.sleep(0.002)
    return model(batch)

done = simplecell.harvest(
    seeded(Tokens).eval(), ["blocks.1", "head"], ids, sys.argv[1],
    rows=100, batch_size=4, call=slowly,
)
print(done.n_rows, flush=True)
"""


def harvested_by_a_child(folder, seconds=None):
    """Whether a process of its own came to the end; killed after so long from its begin."""
    words = [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        if seconds is not None:
            time.sleep(seconds)
            child.send_signal(signal.SIGKILL)
        return child.wait() == 0


def test_a_harvest_that_is_killed_goes_on_without_a_lost_or_doubled_row(tmp_path):
    assert harvested_by_a_child(tmp_path / "whole")
    assert not harvested_by_a_child(tmp_path / "acts", 0.2)
    assert harvested_by_a_child(tmp_path / "acts")
    for path in (tmp_path / "acts").rglob(".*.tmp"):
        path.unlink()
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_a_run_of_harvested_tokens_is_shown_with_its_tokens(tmp_path):
    from simplecell.explorer.make.samples import drawn_as

    class Tokenizer:
        def decode(self, ids):
            return f" w{ids[0]}"

    out = tmp_path / "acts"
    simplecell.harvest(model(), "blocks.1", BATCH, out, rows=40, tokenizer=Tokenizer())
    source = as_source(out)
    assert drawn_as(source) == "tokens"
    assert source.about(slice(0, 1))[0]["token"] == f" w{int(IDS[0, 0])}"


@pytest.mark.parametrize("position", [None, [0, 3, 7], [[0, 1], [2, 0], [2, 2]], [[0, 1, 2]] * 3])
@pytest.mark.parametrize("call", [None, 2])
def test_records_say_as_json_what_they_are(position, call):
    own = {4: {}, 9: {"title": 'ä "b"', "sample": 1, "topics": ["x"]}}
    for token in (None, lambda sample, at: f' "{sample}\n{at}'):
        records = RowRecords([4, 9, 9], position, own.__getitem__, token, call)
        assert [json.loads(line) for line in records.lines()] == list(records)
        assert [json.loads(line) for line in records[1:].lines()] == list(records)[1:]
        assert not records[3:].lines()
        if position is not None:
            grid = GridRecords([4, 9], position, own.__getitem__, token, call)
            whole = RowRecords([4] * 3 + [9] * 3, position * 2, own.__getitem__, token, call)
            assert list(grid) == list(whole) == [grid[i] for i in range(6)]
            assert grid.lines() == whole.lines() == grid[0:6].lines()
            assert list(grid[2:4]) == list(whole)[2:4]
    assert list(records)[1].get("call") == call


def test_calls_and_places_are_in_the_records(tmp_path):
    simplecell.harvest(seeded(Steps).eval(), "cell", torch.randn(3, 2, 3), tmp_path / "s")
    text = (tmp_path / "s" / "shard-00000.records.jsonl").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert told == [{"sample": i, "call": t} for t in range(2) for i in range(3)]
    simplecell.harvest(seeded(Pictures).eval(), "conv", torch.randn(2, 1, 4, 4), tmp_path / "p")
    assert as_source(tmp_path / "p").about(slice(5, 6))[0].items() >= {"y": 1, "x": 1}.items()
