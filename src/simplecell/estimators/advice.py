"""What the doctor finds in a fit, with its cures in the words of an estimator."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from simplecell.data import Source
from simplecell.run.info import StepLog
from simplecell.run.recipe import Recipe
from simplecell.training.trainer import Record, Trainer

SETTING = re.compile(r"--set ([\w.]+)=(?:'([^']*)'|(\{[^}]*\}|[^\s;,]+))")
"""A cure as the doctor says it, for the command line: a key and its value."""


@dataclass
class Fit:
    """A training without a run's directory, as the doctor looks at it."""

    trainer: Trainer
    recipe: Recipe
    requested: Mapping[str, Mapping[str, object]]
    source: Source
    held_out: Source | None
    _log: list[tuple[int, Tensor, float | None]] = field(default_factory=list)

    def followed(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records as they come, of which the doctor's part is kept."""
        for record in records:
            self._log.append((record.step, record.mean_activation.mean(), record.held_out_cost))
            yield record

    def story(self) -> list[StepLog]:
        """What the training told so far."""
        return [StepLog(step, float(mean), cost) for step, mean, cost in self._log]


def in_python(words: str, say: Callable[[str, object], str]) -> str:
    """A finding whose cures are said by `say(key, value)`, and not for the command line."""

    def said(found: re.Match[str]) -> str:
        return say(found[1], _value(found[2] or found[3]))

    # Several settings of one cure stand side by side; parameters are parted by commas.
    return SETTING.sub(said, re.sub(r"(--set \S+) (?=--set )", r"\1, ", words))


def _value(text: str) -> object:
    """A setting's value as TOML writes it; a bare word is itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
