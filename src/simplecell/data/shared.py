"""One reading of a source for many who read the same: whole in memory, or the last few batches."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from simplecell.data.patches import PatchSource
from simplecell.data.rows import Array, Record, Rows, Source

KEPT_BYTES = 2**31
FILLED_BYTES = 2**26
RECENT_READS = 8
RECENT_BYTES = 2**28


def shared(source: Source) -> Source:
    """`source` for several readers; patches are in memory already and stay as they are."""
    return source if isinstance(source, PatchSource | Shared) else Shared(source)


class Shared(Source):
    """Another source, read once for all who read it: the same values, row by row.

    A source of up to 2 GiB of floats is read whole at the first call of `read` and then served
    from memory: a training, its checks and its figures cost no further reading. A larger one is
    kept only for its last few reads: readers who take the same batches in turn (the same order,
    never more than a few batches apart) share each reading, and one who lags behind reads for
    itself; a pass in order is read again by everyone who makes one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.kind, self.shape = source.kind, source.shape
        self.n_samples, self.n_inputs = source.n_samples, source.n_inputs
        self.input_names, self.columns = source.input_names, source.columns
        self.labels = source.labels
        self.skipped, self.notes = source.skipped, source.notes
        self.held_out: Source | None = getattr(source, "held_out", None)
        self._whole: Array | None = None
        self._is_small: bool | None = None
        self._recent: OrderedDict[bytes, Array] = OrderedDict()

    def read(self, rows: Rows) -> Array:
        if self._is_small is None:
            self._fill()
        if self._whole is None:
            return self._read_recent(rows)
        part = self._whole[rows]
        # A slice is a view, and a caller may write into what it got.
        return part.copy() if isinstance(rows, slice) else part

    def about(self, rows: Rows) -> list[Record]:
        return self._source.about(rows)

    def _fill(self) -> None:
        """Read everything, where it fits."""
        row = self._source.read(slice(0, 1))
        if row.nbytes * self.n_samples <= KEPT_BYTES:
            whole = np.empty((self.n_samples, self.n_inputs), dtype=row.dtype)
            size = max(1, FILLED_BYTES // max(1, row.nbytes))
            for start in range(0, self.n_samples, size):
                rows = slice(start, min(start + size, self.n_samples))
                whole[rows] = self._source.read(rows)
            self._whole = whole
        self._is_small = self._whole is not None

    def _read_recent(self, rows: Rows) -> Array:
        key = repr(rows).encode() if isinstance(rows, slice) else rows.tobytes()
        x = self._recent.pop(key, None)
        if x is None:
            x = self._source.read(rows)
        if x.nbytes <= RECENT_BYTES:
            self._recent[key] = x
        self._forget()
        return x.copy()

    def _forget(self) -> None:
        """Drop the reads that nobody asked for longest."""
        while self._recent:
            held = sum(x.nbytes for x in self._recent.values())
            if len(self._recent) <= RECENT_READS and held <= RECENT_BYTES:
                return
            self._recent.popitem(last=False)
