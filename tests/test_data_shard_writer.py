"""Shards written from any source and any iterator: the same samples, whatever stops the writing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from simplecell import data
from simplecell.cli import run_command_line
from simplecell.data import ArraySource, as_source, shard_index
from simplecell.data.rows import Meta
from simplecell.data.shard_writer import shard_source, write_shards
from simplecell.errors import DataError, UsageError, WriteError

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("rows", [1, 12, 25, 50, 60])
def test_batches_become_shards_of_so_many_rows(tmp_path, size, rows):
    pieces = np.split(X, range(size, 50, size))
    index = write_shards(iter(pieces), tmp_path / "s", rows=rows)
    counts = [shard["n_samples"] for shard in index["shards"]]
    assert counts == [rows] * (50 // rows) + [50 % rows] * (50 % rows > 0)
    assert index["finished"]
    source = as_source(tmp_path / "s")
    np.testing.assert_array_equal(source.read(slice(None)), X)
    assert source.fingerprint() == as_source(X).fingerprint()
    assert not any("left out" in note for note in source.notes)
    assert isinstance(np.load(tmp_path / "s" / "shard-00000.npy", mmap_mode="r"), np.memmap)


def test_tensors_records_and_types(tmp_path):
    def batches():
        for i in range(0, 50, 10):
            records = [{"text": f"wörd {j}", "row": 7 * j} for j in range(i, i + 10)]
            yield torch.from_numpy(X[i : i + 10]).bfloat16(), records

    data.write_shards(batches(), tmp_path / "s", rows=20, dtype="float16")
    source = as_source(tmp_path / "s")
    wanted = torch.from_numpy(X).bfloat16().float().half().float().numpy()
    np.testing.assert_array_equal(source.read(slice(None)), wanted)
    assert source.about(slice(21, 22)) == [
        {"row": 147, "file": "shard-00001.npy", "text": "wörd 21"}
    ]


def test_a_source_keeps_its_type_names_and_records(tmp_path):
    (tmp_path / "a.csv").write_text(
        "id,length,width\n" + "\n".join(f"x{i},{i}.5,{i * i}" for i in range(30))
    )
    source = as_source(tmp_path / "a.csv")
    index, before = shard_source(source, tmp_path / "s", rows=11)
    assert (before, index["dtype"], index["input_names"]) == (0, "float64", ["length", "width"])
    again = as_source(tmp_path / "s")
    assert again.input_names == ["length", "width"]
    np.testing.assert_array_equal(again.read(slice(None)), source.read(slice(None)))
    assert again.about(slice(12, 13)) == [{"row": 1, "file": "shard-00001.npy", "id": "x12"}]
    half = ArraySource(X.astype(np.float16))
    assert shard_source(half, tmp_path / "h")[0]["dtype"] == "float16"
    assert not list((tmp_path / "h").glob("*.jsonl"))  # nothing is known of bare rows


class CutError(Exception):
    pass


@pytest.mark.parametrize("after", range(9))
def test_what_was_cut_off_goes_on_to_the_same_bytes(tmp_path, monkeypatch, after):
    """Stopped before each file is renamed: nothing half-written is ever a shard."""
    meta = Meta(50, lambda i: {"text": f"t{i}"})
    source = ArraySource(X, meta=meta)
    shard_source(source, tmp_path / "whole", rows=20)
    count, real = [], os.replace

    def cut(*told):
        if len(count) == after:
            raise CutError
        count.append(told)
        real(*told)

    monkeypatch.setattr(shard_index.os, "replace", cut)
    with pytest.raises(CutError):
        shard_source(source, tmp_path / "s", rows=20)
    monkeypatch.undo()
    if after:
        with pytest.raises(DataError, match="not written to the end; say the same"):
            as_source(tmp_path / "s")
    shard_source(source, tmp_path / "s", rows=20)
    for left in (tmp_path / "s").glob(".*"):
        left.unlink()
    assert files(tmp_path / "s") == files(tmp_path / "whole")


def test_said_again_it_is_finished_and_otherwise_refused(tmp_path):
    source = ArraySource(X)
    shard_source(source, tmp_path / "s", rows=20)
    first = files(tmp_path / "s")
    assert shard_source(source, tmp_path / "s", rows=20)[1] == 50
    assert files(tmp_path / "s") == first
    with pytest.raises(UsageError, match="shards of other data"):
        shard_source(ArraySource(X + 1), tmp_path / "s", rows=20)
    with pytest.raises(UsageError, match=r"rows: 20, 30; dtype: float32, float16: then, now"):
        shard_source(source, tmp_path / "s", rows=30, dtype="float16")
    with pytest.raises(UsageError, match="holds something"):
        write_shards([X], tmp_path / "s")
    write_shards([X[:5]], tmp_path / "s", restart=True)
    assert sorted(files(tmp_path / "s")) == ["shard-00000.npy", "shards.json"]
    (tmp_path / "s" / "mine.txt").write_text("keep")
    (tmp_path / "s" / "shards.json").unlink()
    with pytest.raises(UsageError, match="holds something"):
        write_shards([X], tmp_path / "s", restart=True)


@pytest.mark.parametrize(
    ("batches", "told", "sentence"),
    [
        ([], {}, "no batch came"),
        ([X, X[:, :3]], {}, "begins at sample 50 has 3 inputs, but those before had 6"),
        ([X, X * np.nan], {}, "sample 50, input 0 of the batches is nan"),
        ([X * 1e6], {"dtype": "float16"}, "is too large for float16, which ends at 65504"),
        ([X[0]], {}, "1 dimension"),
        ([(X, [{}])], {}, "1 records came for 50 samples"),
        ([X[None]], {}, r"a batch has the shape \(1, 50, 6\)"),
    ],
)
def test_batches_that_cannot_be_written(tmp_path, batches, told, sentence):
    with pytest.raises(DataError, match=sentence):
        write_shards(batches, tmp_path / "s", **told)


def test_indices_that_are_damaged_and_shards_that_are_gone(tmp_path):
    write_shards([X], tmp_path / "s", rows=20)
    index = tmp_path / "s" / "shards.json"
    kept = index.read_text()
    for text in ("{", "[]", json.dumps({"format": 2, "shards": []}), kept.replace("shard-", "../")):
        index.write_text(text)
        with pytest.raises(DataError, match="write the shards anew"):
            as_source(tmp_path / "s")
    index.write_text(kept)
    (tmp_path / "s" / "shard-00001.npy").unlink()
    with pytest.raises(DataError, match=r"has lost shard-00001\.npy"):
        as_source(tmp_path / "s")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="could not be made"):
        write_shards([X], tmp_path / "file" / "s")
    with pytest.raises(UsageError, match="at least 1 is needed"):
        write_shards([X], tmp_path / "s", rows=0)
    with pytest.raises(UsageError, match="unknown dtype of shards 'int8'"):
        write_shards([X], tmp_path / "s", dtype="int8")


def test_the_verb(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    said = ["shard", str(tmp_path / "x.npy"), "--out", str(tmp_path / "s"), "--rows", "20"]
    for written in (50, 0):
        assert run_command_line([*said, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {
            "schema": 1,
            "command": "shard",
            "out": str(tmp_path / "s"),
            "n_samples": 50,
            "n_inputs": 6,
            "dtype": "float32",
            "n_shards": 3,
            "written": written,
        }
    assert run_command_line([*said, "--dtype", "float16"]) == 2
    assert run_command_line([*said, "--dtype", "float16", "--restart"]) == 0
    assert "float16, in 3 shards" in capsys.readouterr().out
    assert np.load(tmp_path / "s" / "shard-00002.npy").dtype == np.float16
