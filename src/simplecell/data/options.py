"""How samples are read: every option with its default, declared here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simplecell.data.images import COLORS, SHRINKINGS, WHITENINGS, Preparation
from simplecell.data.pixels import CHANNELS, MAX_PIXELS
from simplecell.data.rows import Encoding
from simplecell.errors import UsageError, choice

_AXES = ("auto", "first", "middle", "last", "all")
_KNOWN = {
    "kind": ("auto", "array", "patches"),
    "samples": ("auto", "rows", "columns"),
    "sampling": ("random", "tiles"),
    "whiten": WHITENINGS,
    "shrink": SHRINKINGS,
    "color": COLORS,
    "channels": CHANNELS,
}


@dataclass(frozen=True)
class Reading:
    """Where samples come from: keywords of `as_source`, and keys of a recipe's [data] table.

    `key` names one of several variables of a file, `layer` one of AnnData's layers, `inputs` the
    axis that holds the inputs: "first", "middle", "last", a number, or "all" but the first.
    Of tables: `id` names the column that names the rows ("auto": found; "none": every column of
    numbers is an input), `missing` the words that mean "nothing is known", `words` the columns that
    hold words although they look like numbers, `records` the columns that describe rows and are no
    inputs.
    """

    kind: str = "auto"
    key: str | None = None
    samples: str = "auto"
    inputs: str | int = "auto"
    layer: str | None = None
    label: str | int | None = None
    header: str | bool = "auto"
    id: str | int = "auto"
    missing: str | float | list[Any] = "auto"
    words: str | list[Any] | None = None
    records: str | list[Any] | None = None
    meta: str | None = None
    patch: int | None = None
    n_patches: int = 10_000
    whiten: str = "none"
    cutoff: float = 0.4
    shrink: str | int = "auto"
    color: str = "grey"
    channels: str = "auto"
    held_out: float = 0.1
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Options(Reading):
    """Everything `as_source` was told, checked once: a reading, and what no recipe says of it."""

    columns: Encoding | None = None
    sampling: str = "random"
    seed: int = 0
    skip_broken: bool = True

    def __post_init__(self) -> None:
        for option, known in _KNOWN.items():
            choice(f"data.{option}", getattr(self, option), known)
        if isinstance(self.inputs, str):
            choice("data.inputs", self.inputs, (*_AXES, "or an axis by its number"))
        if self.header not in ("auto", True, False):
            raise UsageError(f"header is {self.header!r}; 'auto', True or False is needed")
        for option in ("patch", "n_patches", "max_pixels"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise UsageError(f"data.{option} is {value}; at least 1 is needed")
        if not 0 <= self.held_out < 1:
            raise UsageError(f"data.held_out is {self.held_out}; a fraction in [0, 1) is needed")
        if not self.cutoff > 0:
            raise UsageError(f"data.cutoff is {self.cutoff}; more than 0 cycles a pixel is needed")

    def preparation(self, patch: int) -> Preparation:
        """What happens to whole pictures before patches of that side are cut."""
        return Preparation(self.color, self.whiten, self.cutoff, str(self.shrink), patch)
