"""The two-level shuffle: one order for samples in memory, mapped and in shards."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from simplecell.data import ArraySource, as_source
from simplecell.data.mapped import map_under, rows_of
from simplecell.data.order import POOL, Shuffle, block_of, counter_generator
from simplecell.data.rows import Subset, split
from simplecell.errors import UsageError
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe

N, D, BLOCK = 2000, 6, 5
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def mapped(folder: Path, x: np.ndarray = X) -> np.ndarray:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def some(source, n=40, **order):
    return list(itertools.islice(source.batches(300, seed=3, block=BLOCK, **order), n))


def test_what_fits_into_one_pool_is_permuted_as_a_whole():
    for n in (1, 23, POOL * BLOCK):
        rows = np.concatenate([part.rows for part in next(Shuffle(n, BLOCK, 7).batches(n, 2))])
        np.testing.assert_array_equal(rows, counter_generator(7, 2, 0).permutation(n))


def test_every_pass_has_every_row_once_and_moves_blocks_and_rows():
    shuffle = Shuffle(N, BLOCK, 3)
    assert shuffle.n_pools == 7
    first, second = (
        np.concatenate([part.rows for part in batch])
        for batch in itertools.islice(shuffle.batches(N, 0), 2)
    )
    assert sorted(first) == sorted(second) == list(range(N))
    assert first.tolist() != second.tolist()
    pool = np.unique(first[: N // 7] // BLOCK)
    assert len(pool) >= N // BLOCK // 7  # whole blocks, far from each other
    assert np.diff(pool).max() > 1
    assert np.abs(np.diff(first[: N // 7])).mean() > BLOCK  # and no two rows of one in a row


def test_the_order_is_that_of_the_seed_and_the_block_alone(tmp_path):
    half = N // 2 + 3
    np.save(tmp_path / "0.npy", X[:half])
    save_file({"x": X[half:]}, tmp_path / "1.safetensors")
    shards, memory = as_source(tmp_path), as_source(X)
    file = as_source(mapped(tmp_path))
    assert not memory.in_files
    assert file.in_files
    assert shards.in_files
    for one, two, three in zip(some(memory), some(file), some(shards), strict=True):
        for got in (two, three):
            np.testing.assert_array_equal(one[0], got[0])
            np.testing.assert_array_equal(one[1], got[1])
        np.testing.assert_array_equal(one[0], X[one[1]])
    other = next(memory.batches(300, seed=3, block=BLOCK + 1))[1]
    assert other.tolist() != some(memory, 1)[0][1].tolist()


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 20])
def test_start_reads_nothing_of_what_is_skipped(tmp_path, monkeypatch, start):
    source = as_source(mapped(tmp_path))
    whole = some(source)
    read = []
    own = source.read
    monkeypatch.setattr(source, "read", lambda rows: read.append(rows) or own(rows))
    for (x, rows), (same, places) in zip(some(source, 3, start=start), whole[start:], strict=False):
        np.testing.assert_array_equal(rows, places)
        np.testing.assert_array_equal(x, same)
    assert all(isinstance(rows, slice) for rows in read)
    pools = Shuffle(N, BLOCK, 3).n_pools
    assert sum(rows.stop - rows.start for rows in read) <= 6 * (N // pools + BLOCK)


def test_subsets_and_sixteen_bits_come_in_the_same_order(tmp_path):
    half = X.astype(np.float16)
    parts = [split(as_source(x), 0.1, 0)[0] for x in (half, mapped(tmp_path, half))]
    assert isinstance(parts[1], Subset)
    assert parts[1].in_files
    assert parts[1].held == np.float16
    for (x, rows), (y, places) in zip(*map(some, parts), strict=True):
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(rows, places)


def test_pages_of_a_map_are_read_and_given_back(tmp_path):
    x = mapped(tmp_path)
    assert map_under(x) is not None
    assert map_under(x[3:].T) is not None
    assert map_under(X) is None
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[0] = 7
    assert map_under(private) is None  # its pages hold what no file has
    assert (rows_of(private, slice(0, 1)) == 7).all()
    for rows in (slice(5, 900, 3), np.array([7, 3, 3, 1999]), np.arange(10, 30), np.array([], int)):
        np.testing.assert_array_equal(rows_of(x, rows), X[rows])
        assert rows_of(x, rows).flags.writeable


def test_a_block_holds_so_many_numbers():
    assert [block_of(d) for d in (1, 768, 4096, 10**7)] == [65_536, 1365, 256, 1]
    with pytest.raises(UsageError, match="the block has 0 rows"):
        ArraySource(X).batches(3, seed=0, block=0)


def test_a_training_is_the_same_from_memory_from_a_map_and_from_shards(tmp_path):
    (tmp_path / "shards").mkdir()
    for i, part in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / "shards" / f"{i}.npy", part)
    mapped(tmp_path)
    said = ["data.block=5", "train.steps=9", "optim.batch_size=300", "train.device=cpu"]
    found = []
    for name, data in {"m": X, "f": tmp_path / "x.npy", "s": tmp_path / "shards"}.items():
        session = begin(data, tmp_path / name, Recipe.load("topk"), settings=said)
        assert session.recipe.data.block == 5 == session.trainer.block
        list(session.records())
        result = session.finish()
        found.append((session.trainer.flat.clone(), result["cost"], result["held_out"]))
    for flat, cost, held_out in found[1:]:
        assert torch.equal(flat, found[0][0])
        assert (cost, held_out) == found[0][1:]
