"""What a source of samples is, and the rules every source shares: order, finiteness, fingerprint.

`D` is the number of inputs of a sample, `B` the number of samples in one batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
import numpy.typing as npt

from simplecell.data.lazy import Lazy, lies_in_files
from simplecell.data.mapped import rows_of
from simplecell.data.order import (
    HOLD_OUT,
    Pool,
    Shuffle,
    block_of,
    counter_generator,
    in_order,
    rows_at_once,
    spread,
)
from simplecell.errors import DataError, UsageError

Array = npt.NDArray[Any]
Rows = slice | Array
Record = dict[str, Any]

_FINGERPRINT_VALUES = 1_000_000
_KINDS_OF_NUMBERS = "biuf"


class Column(TypedDict):
    """How one column became inputs, or why it did not."""

    name: str
    kind: str
    """"number", "numbers" (a list in each cell), "category", "label", "id" or "left out"."""
    categories: NotRequired[list[str]]
    length: NotRequired[int]
    """Of one of lists: how many numbers each holds, *count*."""
    words: NotRequired[int]
    """Of one that is left out: how many different ones it holds, *count*."""


class Encoding(TypedDict):
    """How a table became numbers, ready for JSON."""

    header: bool
    delimiter: NotRequired[str | None]
    decimal: NotRequired[str]
    """The sign before fractions, "." or ","."""
    columns: list[Column]


@dataclass(frozen=True)
class Skipped:
    """A file that was not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Meta:
    """What a person knows about each sample: `n_records`, and the record of sample i."""

    n_records: int
    record: Callable[[int], Record]


@runtime_checkable
class Source(Protocol):
    """Samples that can be read by row, in order or shuffled, and traced to where they came from."""

    kind: str
    """"array", "table", "pictures" or "patches"."""
    n_samples: int
    n_inputs: int
    shape: tuple[int, ...]
    """How one sample is laid out: (D,), (h, w) or (h, w, 3); row-major, channels last."""
    input_names: list[str] | None
    labels: Array | None
    """One per sample, never an input."""
    skipped: list[Skipped]
    notes: list[str]
    """Sentences about what was chosen for the user."""
    columns: Encoding | None
    """How a table became numbers; `as_source(..., columns=)` applies it again."""

    def read(self, rows: Rows) -> Array:
        """The samples of `rows`, [B, D], contiguous float32 or float64, the caller's own copy.

        Raises DataError, naming sample and input, when a value is NaN or infinite.
        """
        ...

    def about(self, rows: Rows) -> list[Record]:
        """Where each row came from, one record a row."""
        ...

    def batches(
        self, size: int, *, seed: int | None = None, start: int = 0, block: int | None = None
    ) -> Iterator[tuple[Array, Array]]:
        """Batches (x [B, D], rows [B]), from batch number `start`, without replaying earlier ones.

        Without a seed: one pass in order. With a seed: passes without end, each in an order that
        depends on (seed, number of the pass, `block`) only; a pass drops its partial last batch,
        unless the whole source is smaller than one batch. `block` is how many consecutive rows are
        moved as one before 64 blocks are shuffled into one another (None: 2²⁰ numbers); samples of
        64 blocks or less are permuted as a whole.
        """
        if size < 1 or start < 0:
            raise UsageError(f"batch size {size} and start {start}: at least 1 and 0 are needed")
        if block is not None and block < 1:
            raise UsageError(f"the block has {block} rows; at least 1 is needed")
        if seed is None:
            return ((self.read(rows), rows) for rows in in_order(self.n_samples, size, start))
        shuffle = Shuffle(self.n_samples, block or block_of(self.n_inputs), seed)
        if in_files(self):
            return _from_pools(self, shuffle.batches(size, start))
        orders = (_rows_of(batch) for batch in shuffle.batches(size, start))
        return ((self.read(rows), rows) for rows in orders)

    def fingerprint(self) -> str:
        """SHA-256 of shape, dtype and up to about a million evenly spaced values: "sha256:…".

        The same numbers give the same fingerprint in memory, memory-mapped or sparse.
        """
        digest = _Digest(self)
        digest.add(self.read(digest.rows))
        return digest.text()


def in_files(source: Source) -> bool:
    """Whether samples are read from files each time, so that it pays to read many at once."""
    return getattr(source, "in_files", False)


def _rows_of(batch: Sequence[Pool]) -> Array:
    return np.concatenate([part.rows for part in batch])


def _from_pools(source: Source, batches: Iterable[Sequence[Pool]]) -> Iterator[tuple[Array, Array]]:
    """Batches of samples that are read pool by pool, each of its blocks at once."""
    held = _Held(source)
    for batch in batches:
        yield np.concatenate([held.samples(part) for part in batch]), _rows_of(batch)


class _Held:
    """The samples of one pool, in memory."""

    def __init__(self, source: Source) -> None:
        self._source, self._starts = source, np.empty(0)
        self._values: Array | None = None

    def samples(self, pool: Pool) -> Array:
        """Those of a pool in their order, [B, D]; it is read unless it was the last."""
        if not np.array_equal(self._starts, pool.starts):
            self._fill(pool)
        assert self._values is not None
        return self._values[pool.order].astype(self._type, copy=False)

    def _fill(self, pool: Pool) -> None:
        n_rows, at = int(pool.sizes.sum()), 0
        if self._values is not None and len(self._values) < n_rows:
            self._values = None  # before there is another: two would be twice the memory
        for start, size in zip(pool.starts, pool.sizes, strict=True):
            x = self._source.read(slice(int(start), int(start + size)))
            if self._values is None:
                own = getattr(self._source, "held", None) or x.dtype
                self._type, self._values = x.dtype, np.empty((n_rows, x.shape[1]), own)
            self._values[at : at + len(x)] = x
            at += len(x)
        self._starts = pool.starts


class _Digest:
    """A fingerprint in the making."""

    def __init__(self, source: Source) -> None:
        n, width = source.n_samples, source.n_inputs
        n_rows = min(n, max(1, _FINGERPRINT_VALUES // width))
        self.rows = np.unique(np.linspace(0, n - 1, n_rows).astype(np.int64))
        """Those that it looks at."""
        self._columns = slice(None, None, 1 + width // _FINGERPRINT_VALUES)
        self._shape, self._hash = (n, *source.shape), hashlib.sha256()
        self._begun = False

    def add(self, x: Array) -> None:
        """The next of its rows, [B, D]."""
        if not self._begun:
            self._hash.update(f"{self._shape} {x.dtype.name}".encode())
            self._begun = True
        x = x[:, self._columns]
        self._hash.update(x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes())

    def text(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class Survey(NamedTuple):
    """What one reading of all samples tells: that all are finite, and these."""

    fingerprint: str
    low: float
    high: float


def survey(source: Source, look: Callable[[Array], object] | None = None) -> Survey:
    """Read every sample once; `look` is shown each batch [B, D] too.

    Raises DataError when a value is NaN or infinite.
    """
    digest, low, high = _Digest(source), math.inf, -math.inf
    for x, rows in source.batches(rows_at_once(source.n_inputs)):
        first, last = np.searchsorted(digest.rows, (rows[0], rows[-1] + 1))
        digest.add(x[digest.rows[first:last] - rows[0]])
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        if look is not None:
            look(x)
    return Survey(digest.text(), low, high)


def positions(rows: Rows, n_samples: int) -> Array:
    """Row numbers, [B] int64, of a slice or of an array of row numbers."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_samples))
    return np.asarray(rows, dtype=np.int64)


def check_numbers(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    """Raise DataError, saying what to do, unless this is a non-empty array of samples."""
    if dtype.kind == "O":
        raise DataError(
            f"{name} holds Python objects (dtype object), not numbers, and simplecell never "
            "unpickles; convert it first, for example with astype(float)"
        )
    if dtype.kind == "c":
        raise DataError(
            f"{name} is complex ({dtype}); give real and imaginary parts, or magnitudes, as inputs"
        )
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize <= 2:
        raise DataError(_untyped(name, dtype))
    if dtype.kind not in _KINDS_OF_NUMBERS:
        raise DataError(f"{name} holds {dtype}, not numbers; convert it to floats first")
    if len(shape) < 2:
        raise DataError(
            f"{name} has {len(shape)} dimension{'s' * (len(shape) != 1)}, but samples are the rows "
            f"of a 2-D array; shape is {shape}; reshape(1, -1) makes it one sample, "
            "reshape(-1, 1) one input"
        )
    if 0 in shape:
        raise DataError(f"{name} is empty: its shape is {shape}; at least one sample is needed")


def _untyped(name: str, dtype: np.dtype[np.generic]) -> str:
    kind = "bfloat16 (or another type that NumPy lacks)" if dtype.itemsize == 2 else "float8"
    return (
        f"{name} holds values of {dtype.itemsize} bytes without a type ({dtype}), as numpy.save "
        f"writes {kind}, so what they stand for is lost; save them as float32 "
        "(x.float().numpy()), or as .safetensors or .pt, which keep bfloat16"
    )


def check_finite(x: Array, rows: Array, name: str, input_names: Sequence[str] | None) -> None:
    """Raise DataError for the first NaN or infinite value of x [B, D], the samples `rows` [B]."""
    with np.errstate(all="ignore"):  # a sum may overflow although every value is finite
        if np.isfinite(x.sum()):
            return
    bad = ~np.isfinite(x)
    if not bad.any():
        return
    i, j = (int(k) for k in np.unravel_index(bad.argmax(), bad.shape))
    where = repr(input_names[j]) if input_names else str(j)
    raise DataError(
        f"sample {int(rows[i])}, input {where} of {name} is {x[i, j]} ({int(bad.sum())} of the "
        f"{bad.size} values read are NaN or infinite); fill or remove them first"
    )


def as_float(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """float32 and float64 stay, longer floats become float64, everything else float32.

    Integers of 32 bits and more become float64, since float32 counts by ones up to 2**24 only.
    """
    wide = dtype.itemsize >= (8 if dtype.kind == "f" else 4)
    return np.dtype(np.float64 if wide else np.float32)


def refuse_masked(data: object, name: str) -> None:
    """Raise DataError for an array, or a list of arrays, that has masked values."""
    parts = data if isinstance(data, list | tuple) else [data]
    if any(np.ma.isMaskedArray(part) and np.ma.is_masked(part) for part in parts):
        raise DataError(f"{name} has masked values; fill or remove them first")


class ArraySource(Source):
    """Samples in one array: in memory, memory-mapped or `Lazy` (never read whole), SciPy sparse.

    `data` is [n, D], [n, h, w] or [n, h, w, c]. Values are divided by `divisor` (pictures of bytes:
    255). Raises DataError for anything that is not numbers.
    """

    def __init__(
        self,
        data: Any,
        *,
        kind: str = "array",
        name: str = "the array",
        divisor: float | None = None,
        input_names: list[str] | None = None,
        labels: Array | None = None,
        columns: Encoding | None = None,
        meta: Meta | None = None,
        notes: Sequence[str] = (),
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self._sparse = hasattr(data, "tocsr")
        refuse_masked(data, name)
        if self._sparse:
            data = data.tocsr()
        as_it_is = self._sparse or isinstance(data, Lazy | np.memmap)
        self._data: Any = data if as_it_is else np.asarray(data)
        check_numbers(name, self._data.dtype, self._data.shape)
        self._dtype, self._divisor, self._name = as_float(self._data.dtype), divisor, name
        self.kind = kind
        self.n_samples = int(self._data.shape[0])
        self.shape = tuple(int(side) for side in self._data.shape[1:])
        self.n_inputs = int(np.prod(self.shape))
        self.input_names, self.labels, self.columns = input_names, labels, columns
        self.notes, self.skipped = list(notes), list(skipped)
        self._meta = meta
        self.photographs: object | None = None
        """What shows the pictures that rows were made of (`photographs_of`)."""
        self.in_files = lies_in_files(self._data)
        self.held = self._data.dtype if divisor is None else self._dtype
        """The type of the numbers in the file, or in memory, where it holds what `read` gives."""
        for what, given in (("labels", labels), ("records of meta", meta)):
            n = given.n_records if isinstance(given, Meta) else self.n_samples
            n = len(given) if isinstance(given, np.ndarray) else n
            if n != self.n_samples:
                raise DataError(
                    f"{n} {what} came for {self.n_samples} samples of {name}; one each is needed"
                )

    def read(self, rows: Rows) -> Array:
        part = self._data[rows].toarray() if self._sparse else rows_of(self._data, rows)
        # A copy even where a view would do: torch warns of read-only memory, and a caller may
        # write into its batch.
        x = np.array(part, dtype=self._dtype, order="C").reshape(len(part), self.n_inputs)
        if self._divisor is not None:
            x /= x.dtype.type(self._divisor)
        check_finite(x, positions(rows, self.n_samples), self._name, self.input_names)
        return x

    def about(self, rows: Rows) -> list[Record]:
        record = self._meta.record if self._meta else no_record
        return [
            {"row": int(i)} | label_of(self.labels, i) | record(i)
            for i in positions(rows, self.n_samples)
        ]


def no_record(i: int) -> Record:
    """What is known about a sample when nobody said anything."""
    return {}


def label_of(labels: Array | None, i: int) -> Record:
    """{"label": …} of sample i as a plain Python value, or nothing."""
    return {} if labels is None else {"label": np.asarray(labels[i]).item()}


class Subset(Source):
    """Some rows of another source, and of its targets; a batch counts rows within the subset."""

    def __init__(self, source: Source, rows: Array) -> None:
        self._source, self._rows = source, np.asarray(rows, dtype=np.int64)
        self.kind, self.shape = source.kind, source.shape
        self.n_samples, self.n_inputs = len(self._rows), source.n_inputs
        self.input_names, self.columns = source.input_names, source.columns
        self.labels = None if source.labels is None else source.labels[self._rows]
        self.skipped, self.notes = source.skipped, source.notes
        self.in_files, self.held = in_files(source), getattr(source, "held", None)
        self.photographs = getattr(source, "photographs", None)
        targets = targets_of(source)
        self.targets: Source | None = None if targets is None else Subset(targets, self._rows)

    def read(self, rows: Rows) -> Array:
        return self._source.read(self._rows[rows])

    def about(self, rows: Rows) -> list[Record]:
        return self._source.about(self._rows[rows])


def row_in_data(source: Source, row: int) -> int:
    """Which row of the data a sample of a source is, where the source is some of them."""
    while isinstance(source, Subset):
        row, source = int(source._rows[row]), source._source
    return row


class Named(Subset):
    """The inputs of another source in the order of `names`, as a model knows them.

    Others are left out, which `notes` say. Raises DataError for a name that is missing.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        super().__init__(source, np.arange(source.n_samples))
        place = {name: j for j, name in enumerate(source.input_names or [])}
        absent = [name for name in names if name not in place]
        if absent:
            more = f" (nor {len(absent) - 1} others)" if len(absent) > 1 else ""
            raise DataError(
                f"the data have no input {absent[0]!r}{more}, but this model was built for it; "
                "give data of the same kind"
            )
        self._places = np.array([place[name] for name in names])
        self.n_inputs, self.shape, self.input_names = len(names), (len(names),), list(names)
        if len(names) < source.n_inputs:
            left = source.n_inputs - len(names)
            told = f"{left} of {source.n_inputs} inputs are none of this model's: ignored"
            self.notes = [*source.notes, told]

    def read(self, rows: Rows) -> Array:
        return np.ascontiguousarray(super().read(rows)[:, self._places])


class Paired(Subset):
    """Another source whose samples come with `targets`: what is to be made of each, a row a sample.

    Raises DataError when there is not one a sample.
    """

    def __init__(self, source: Source, targets: Source) -> None:
        if targets.n_samples != source.n_samples:
            raise DataError(
                f"there are {targets.n_samples} targets for {source.n_samples} samples; one row a "
                "sample is needed, in their order"
            )
        super().__init__(source, np.arange(source.n_samples))
        self.targets = targets


def targets_of(source: Source) -> Source | None:
    """What is to be made of each sample, row by row; None: the sample itself."""
    return getattr(source, "targets", None)


def sampled(source: Source, most: int) -> Source:
    """The source, or `most` of its samples, evenly spread, where it has more."""
    return source if source.n_samples <= most else Subset(source, spread(source.n_samples, most))


def split(source: Source, fraction: float, seed: int) -> tuple[Source, Source | None]:
    """(training, held out), the held-out rows a function of (seed, n_samples, fraction) only.

    None is held out when the fraction is 0 or either part would have fewer than 2 samples. A source
    that brings its own held-out samples (random patches) keeps all others for training.
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"held-out fraction {fraction}: at least 0 and less than 1 is needed")
    n, held = source.n_samples, round(fraction * source.n_samples)
    own: Source | None = getattr(source, "held_out", None)
    if fraction > 0 and own is not None:
        return source, own
    if held < 2 or n - held < 2:
        return source, None
    chosen = np.zeros(n, dtype=bool)
    chosen[counter_generator(seed, n, HOLD_OUT).choice(n, held, replace=False)] = True
    return Subset(source, np.flatnonzero(~chosen)), Subset(source, np.flatnonzero(chosen))
