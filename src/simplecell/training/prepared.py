"""How samples reach a model: prepared, in its precision, on its device, with noise where wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.order import rows_at_once
from simplecell.data.rows import Array, Record, Rows, Subset, in_files, positions, targets_of
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, UsageError, choice
from simplecell.model.autoencoder import Model
from simplecell.preprocess.chain import Prepared as PreparedRows
from simplecell.preprocess.chain import Preprocess, Said
from simplecell.preprocess.moments import Moments

CORRUPTIONS = ("none", "mask", "gaussian")
CACHE_BYTES = 2**31
CHUNK_BYTES = 2**29
ONCE_BYTES = 2**26
"""Of samples that are few enough to be prepared once for all batches."""
LOOK_BYTES = 2**26
"""Of a chunk of samples that are judged and not learned from: so few that no bound on the memory
changes it, since sums over other chunks end in other digits."""
LEAST_ROWS = 1024
JUDGED = 2**16
"""Samples that figures are of at most, evenly spread over all, where there are more: enough to tell
a density of 1e-3 by an eighth."""


class Room(NamedTuple):
    """What may be held of prepared samples, *bytes*; None: as much as nobody would mind."""

    cache: int | None = None
    """Of a whole set of samples: what is larger is read again in every pass."""
    chunk: int | None = None
    """Of a chunk that L-BFGS works on, with everything that is made of it."""


EVERYTHING = Room()


def resolve_device(device: str) -> torch.device:
    """ "auto" is the first CUDA GPU if there is one, else the CPU.

    Raises:
        UsageError: for a device that torch does not know or that is not here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used: {reason}; try 'auto'") from error


@dataclass(frozen=True)
class Corruption:
    """Noise on the inputs of a denoising autoencoder, whose target stays clean.

    "mask" sets each input to 0 with probability `level`; "gaussian" adds N(0, level²).
    Source: Vincent et al. 2008 (mask) and 2010 (gaussian). Exact.

    Raises:
        UsageError: an unknown kind, or a level out of range.
    """

    kind: str = "none"
    level: float = 0.0

    def __post_init__(self) -> None:
        choice("corruption", self.kind, CORRUPTIONS)
        most = 1.0 if self.kind == "mask" else math.inf
        if not 0 <= self.level < most:
            raise UsageError(
                f"the level of the corruption is {self.level}; it must be at least 0 and less "
                f"than {most:g}"
            )

    def __bool__(self) -> bool:
        return self.kind != "none" and self.level > 0

    def __call__(self, x: Tensor, generator: torch.Generator, ranks: Alone = ALONE) -> Tensor:
        """x [B, D] with noise, which is drawn for the batch that the processes share."""
        how: dict[str, Any] = {"generator": generator, "device": x.device}
        if self.kind == "mask":
            return x * (ranks.drawn(x, lambda shape: torch.rand(shape, **how)) >= self.level)
        noise = ranks.drawn(x, lambda shape: torch.randn(shape, dtype=x.dtype, **how))
        return x + self.level * noise


class Prepared:
    """A source as the model sees it, in chunks; kept in memory when small enough.

    `targets` [n_samples, K] are what each sample is to give, where the source says so; None: the
    sample itself. Samples are kept where all fit into `room.cache`, none with `keep=False`; what is
    not kept is read in every pass. Chunks are `room.chunk` large, or small enough for a `look`.
    Of samples that processes share each has a part, and `n_samples` is how many they are in all.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        model: Model,
        *,
        keep: bool = True,
        look: bool = False,
        room: Room = EVERYTHING,
        ranks: Alone = ALONE,
    ) -> None:
        self.n_samples, self.ranks = source.n_samples, ranks
        self.source = source = part_of(source, ranks)
        self.preprocess, self.like = preprocess, model.like
        self.targets = targets_in_memory(source, self.like)
        self.rows = rows_of_chunk(model, LOOK_BYTES if look else room.chunk)
        self.cache = CACHE_BYTES if room.cache is None else room.cache
        size = source.n_samples * model.n_inputs * self.like.element_size()
        self.kept: list[Tensor] | None = None
        if keep and size <= self.cache:
            self.kept = list(self._read())

    @property
    def n_inputs(self) -> int:
        """D', of a prepared sample."""
        return self.preprocess.n_outputs

    def __len__(self) -> int:
        return -(-self.source.n_samples // self.rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for x in self.kept if self.kept is not None else self._read():
            yield x, x if self.targets is None else self.targets[start : start + len(x)]
            start += len(x)

    def in_rows(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """A pass over batches of that many samples, [B, D] and [B, K].

        Kept samples serve it where both ways make one batch of all: preparing others in batches of
        another size may round otherwise, so these are read again.
        """
        if self.kept is not None and self.source.n_samples <= min(rows, self.rows):
            yield from self
            return
        for raw, places in self.source.batches(rows):
            x = to_model(raw, self.preprocess, self.like)
            yield x, x if self.targets is None else self.targets[torch.as_tensor(places)]

    def _read(self) -> Iterator[Tensor]:
        for x, _ in self.source.batches(self.rows):
            yield to_model(x, self.preprocess, self.like)


def rows_of_chunk(model: Model, size: int | None = None) -> int:
    """Samples of a chunk of so many bytes, with everything that a model makes of them."""
    width = 3 * model.n_inputs + 2 * model.n_latents
    wanted = CHUNK_BYTES if size is None else size
    return max(LEAST_ROWS, wanted // (width * model.like.element_size()))


def part_of(source: Source, ranks: Alone) -> Source:
    """This process's own part of the samples, one after another.

    Raises:
        DataError: for fewer samples than processes.
    """
    _refuse_idle(source, ranks)
    if ranks.sharers == 1:
        return source
    return Subset(source, np.arange(source.n_samples)[ranks.part(source.n_samples)])


class Dealt(Source):
    """Samples of which this process reads its own part of each batch, and no other."""

    def __init__(self, source: Source, ranks: Alone) -> None:
        self._source, self._ranks = source, ranks
        self.n_samples, self.n_inputs, self.shape = source.n_samples, source.n_inputs, source.shape
        self.kind, self.input_names, self.labels = source.kind, source.input_names, source.labels
        self.skipped, self.notes, self.columns = source.skipped, source.notes, source.columns

    def read(self, rows: Rows) -> Array:
        places = positions(rows, self.n_samples)
        return self._source.read(places[self._ranks.part(len(places))])

    def batches(
        self, size: int, *, seed: int | None = None, start: int = 0, block: int | None = None
    ) -> Iterator[tuple[Array, Array]]:
        if not in_files(self._source):
            return super().batches(size, seed=seed, start=start, block=block)
        # Blocks of files are read whole: row by row each process would wait for the disk.
        whole = self._source.batches(size, seed=seed, start=start, block=block)
        return ((x[self._ranks.part(len(rows))], rows) for x, rows in whole)

    def about(self, rows: Rows) -> list[Record]:
        return self._source.about(rows)


def dealt(source: Source, ranks: Alone) -> Source:
    """The same samples and batches, each of which gives the rows of all and one's own samples.

    Raises as `part_of` does.
    """
    _refuse_idle(source, ranks)
    return source if ranks.sharers == 1 else Dealt(source, ranks)


def _refuse_idle(source: Source, ranks: Alone) -> None:
    if source.n_samples < ranks.sharers:
        raise DataError(
            f"there are {source.n_samples} samples, and {ranks.sharers} processes need one each at "
            "least; use fewer processes"
        )


class RowNumbers(Subset):
    """A source with the number of each row in the place of its sample: an order, and no reading."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, np.arange(source.n_samples))
        self.in_files = False

    def read(self, rows: Rows) -> Array:
        return positions(rows, self.n_samples)


def prepared_once(
    source: Source, preprocess: Preprocess, like: Tensor, room: Room = EVERYTHING
) -> Tensor | None:
    """All samples as `to_model` gives them, [n_samples, D'], where they are few; None: read them.

    To read and prepare a batch of few numbers takes a tenth of a step, and every pass does it
    again. Not where a step mixes inputs: batches of another size may then end in other digits.
    """
    size = source.n_samples * preprocess.n_outputs * like.element_size()
    most = ONCE_BYTES if room.cache is None else min(ONCE_BYTES, room.cache)
    if size > most or not preprocess.by_number:
        return None
    return torch.cat([to_model(x, preprocess, like) for x, _ in source.batches(8192)])


def targets_in_memory(source: Source, like: Tensor) -> Tensor | None:
    """What each sample is to give, [n_samples, K], in the precision and on the device of `like`."""
    targets = targets_of(source)
    return None if targets is None else torch.tensor(targets.read(slice(None))).to(like)


def fitted(
    steps: Sequence[str | Said], source: Source, moments: Moments | None = None
) -> Preprocess:
    """The preparation of these steps, fitted to all samples of a source.

    `moments` are those of the samples, where they were read before.
    """
    return Preprocess(steps).fit(lambda: pieces(source), moments)


def pieces(source: Source) -> Iterator[Tensor]:
    """A pass over the raw samples, [B, D], in pieces of some megabytes."""
    return (torch.from_numpy(x) for x, _ in source.batches(rows_at_once(source.n_inputs)))


def identity(n_inputs: int) -> Preprocess:
    """No preparation, for rows of that width."""
    return Preprocess([]).fit(lambda: [torch.zeros(1, n_inputs)])


def prepare(x: np.ndarray, preprocess: Preprocess, like: Tensor) -> PreparedRows:
    """Raw rows [B, D], prepared on a model's device, in their precision if it is the finer one.

    Cast first, a column at 1.7e9 ± 1 would be a few steps of rounding before its mean is gone.
    """
    precision = torch.promote_types(torch.from_numpy(x[:0]).dtype, like.dtype)
    device = like.device if like.device.type != "mps" else torch.device("cpu")  # has no float64
    return preprocess.apply(torch.tensor(x).to(device, precision))


def to_model(x: np.ndarray, preprocess: Preprocess, like: Tensor) -> Tensor:
    """Raw rows [B, D], prepared, in the model's precision and on its device."""
    return prepare(x, preprocess, like).x.to(like).contiguous()
