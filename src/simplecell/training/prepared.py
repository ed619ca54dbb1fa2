"""How samples reach a model: prepared, in its precision, on its device, with noise where wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import Array, Record, Rows, Subset, positions, targets_of
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, UsageError, choice
from simplecell.model.autoencoder import Model
from simplecell.preprocess.chain import Prepared as PreparedRows
from simplecell.preprocess.chain import Preprocess, Said

CORRUPTIONS = ("none", "mask", "gaussian")
CACHE_BYTES = 2**31
CHUNK_BYTES = 2**29


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
    sample itself. With `keep=False` no samples are kept, and every pass reads. Of samples that
    processes share each has a part, and `n_samples` is how many they are in all.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        model: Model,
        *,
        keep: bool = True,
        ranks: Alone = ALONE,
    ) -> None:
        self.n_samples, self.ranks = source.n_samples, ranks
        self.source = source = part_of(source, ranks)
        self.preprocess, self.like = preprocess, model.like
        self.targets = targets_in_memory(source, self.like)
        width = 3 * model.n_inputs + 2 * model.n_latents
        self.rows = max(1024, CHUNK_BYTES // (width * self.like.element_size()))
        size = source.n_samples * model.n_inputs * self.like.element_size()
        self.kept: list[Tensor] | None = None
        if keep and size <= CACHE_BYTES:
            self.kept = list(self._read())

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


def part_of(source: Source, ranks: Alone) -> Source:
    """This process's own part of the samples, one after another.

    Raises:
        DataError: for fewer samples than processes.
    """
    _refuse_idle(source, ranks)
    if ranks.size == 1:
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

    def about(self, rows: Rows) -> list[Record]:
        return self._source.about(rows)


def dealt(source: Source, ranks: Alone) -> Source:
    """The same samples and batches, each of which gives the rows of all and one's own samples.

    Raises as `part_of` does.
    """
    _refuse_idle(source, ranks)
    return source if ranks.size == 1 else Dealt(source, ranks)


def _refuse_idle(source: Source, ranks: Alone) -> None:
    if source.n_samples < ranks.size:
        raise DataError(
            f"there are {source.n_samples} samples, and {ranks.size} processes need one each at "
            "least; use fewer processes"
        )


def targets_in_memory(source: Source, like: Tensor) -> Tensor | None:
    """What each sample is to give, [n_samples, K], in the precision and on the device of `like`."""
    targets = targets_of(source)
    return None if targets is None else torch.tensor(targets.read(slice(None))).to(like)


def fitted(steps: Sequence[str | Said], source: Source) -> Preprocess:
    """The preparation of these steps, fitted to all samples of a source."""
    return Preprocess(steps).fit(lambda: (torch.from_numpy(x) for x, _ in source.batches(8192)))


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
