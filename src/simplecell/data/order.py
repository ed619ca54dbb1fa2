"""The order in which samples come: a pure function of the seed and the size of a block.

Samples are shuffled on two levels. Blocks of consecutive rows come in random order; so many of them
as make a pool are shuffled into one another, row by row. Whoever reads from a disk reads whole
blocks, and the same order holds for samples in memory. Samples that fit into one pool are permuted
as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

POOL = 64
"""Blocks that are shuffled into one another."""
_NUMBERS, _MOST_ROWS = 2**20, 2**16
"""Of a block, where nobody says: a pool is then 256 MiB of float32 at most."""
_RUN = 32
_SHUFFLE, HOLD_OUT, _WITHIN = 0, 1, 2


def block_of(n_inputs: int) -> int:
    """Rows of a block, where nobody says."""
    return max(1, min(_MOST_ROWS, _NUMBERS // n_inputs))


def rows_at_once(n_inputs: int) -> int:
    """Rows of a pass over all samples that are read together: a power of two, 4 MiB of float32."""
    return 1 << (block_of(n_inputs).bit_length() - 1)


def counter_generator(seed: int, number: int, stream: int, part: int = 0) -> np.random.Generator:
    """A generator that depends on its arguments only, so that nothing has to be replayed."""
    key = np.array([seed % 2**64, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, part, stream]))


def in_order(n: int, size: int, start: int) -> Iterator[Array]:
    """The rows of each batch of one pass, from batch number `start`."""
    for first in range(start * size, n, size):
        yield np.arange(first, min(first + size, n))


def spread(n: int, most: int) -> Array:
    """About `most` of n row numbers, evenly spread in runs of 32, which a disk reads as one."""
    n_runs = max(1, most // _RUN)
    starts = np.linspace(0, n - _RUN, n_runs).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(_RUN)).ravel())


class Pool(NamedTuple):
    """Blocks that are shuffled into one another."""

    starts: Array
    """The first row of each block, in the order of their reading."""
    sizes: Array
    """Rows of each."""
    order: Array
    """Places among their rows, in the order of the samples."""

    @property
    def rows(self) -> Array:
        """Row numbers, in the order of the samples."""
        if len(self.starts) == 1:
            return self.order + self.starts[0]
        ends = self.sizes.cumsum()
        block = np.searchsorted(ends, self.order, side="right")
        return self.order + (self.starts - ends + self.sizes)[block]


@dataclass(frozen=True)
class Shuffle:
    """Passes without end over n samples, each in an order of its own."""

    n: int
    block: int
    seed: int

    @property
    def n_pools(self) -> int:
        """Pools of a pass, *count*."""
        return -(-self.n // (self.block * POOL))

    def batches(self, size: int, start: int) -> Iterator[list[Pool]]:
        """Each batch, from batch number `start`, as what it takes of one pool or several.

        A pass drops its partial last batch, unless all samples are fewer than one batch.
        """
        per_pass = max(1, self.n // size)
        number, skip = divmod(start, per_pass)
        while True:
            pools = self._pools(number, skip * size)
            left: Pool | None = None
            for _ in range(skip, per_pass):
                batch, wanted = [], min(size, self.n)
                while wanted:
                    pool = left if left is not None else next(pools)
                    batch.append(pool._replace(order=pool.order[:wanted]))
                    wanted -= len(batch[-1].order)
                    rest = pool.order[len(batch[-1].order) :]
                    left = pool._replace(order=rest) if len(rest) else None
                yield batch
            number, skip = number + 1, 0

    def _pools(self, number: int, first: int) -> Iterator[Pool]:
        """The pools of a pass, from the sample at place `first` of its order."""
        for part, blocks in enumerate(self._blocks(number)):
            starts = blocks * self.block
            sizes = np.minimum(self.block, self.n - starts)
            n_rows = int(sizes.sum())
            if first >= n_rows:
                first -= n_rows
                continue
            inside = _SHUFFLE if self.n_pools == 1 else _WITHIN
            order = counter_generator(self.seed, number, inside, part).permutation(n_rows)
            yield Pool(starts, sizes, order[first:])
            first = 0

    def _blocks(self, number: int) -> list[Array]:
        """The numbers of the blocks of each pool; pools differ by one block at most."""
        n_blocks = -(-self.n // self.block)
        if self.n_pools == 1:
            return [np.arange(n_blocks)]
        order = counter_generator(self.seed, number, _SHUFFLE).permutation(n_blocks)
        return list(np.array_split(order, self.n_pools))
