"""What is known about samples that latents can be held against: classes, topics, kinds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.explorer.samples import plain_text

FAVOURITES = ("label", "labels", "topics", "topic", "class", "category", "target", "kind")
PLACES = {"row", "file", "top", "left", "scale", "position", "document", "token", "text", "title"}
PROBED, MOST_VALUES, LONGEST = 2000, 64, 80


class Labels:
    """A field of the records about samples, whose values repeat.

    `values` are the different ones, the most frequent first; a sample may have several.
    """

    def __init__(self, name: str, values: list[str], source: Source) -> None:
        self.name, self.values, self.source = name, values, source
        self.counts = np.zeros(len(values), dtype=np.int64)
        """Samples of each label among those asked for so far, [L]."""

    def members(self, rows: NDArray[np.int64]) -> Tensor:
        """1 where sample i has label l, else 0: [B, L] float32. What was asked for is counted."""
        found = np.zeros((len(rows), len(self.values)), dtype=np.float32)
        if self.values:
            place = {value: k for k, value in enumerate(self.values)}
            for i, record in enumerate(self.source.about(rows)):
                for value in words_of(record.get(self.name)):
                    if value in place:
                        found[i, place[value]] = 1
        self.counts += found.sum(0).astype(np.int64)
        return torch.from_numpy(found)

    def table(self) -> dict[str, Any] | None:
        """As the manifest holds it; None without labels."""
        return {"name": self.name, "values": self.values} if self.values else None


def find_labels(source: Source) -> Labels:
    """The field of the records that reads like labels; without one, no values.

    A field counts when its values repeat: 2 to 64 of them, half as many as samples at most.
    """
    n = source.n_samples
    rows = np.unique(np.linspace(0, n - 1, min(n, PROBED)).astype(np.int64))
    counts: dict[str, Counter[str]] = {}
    for record in source.about(rows):
        for name, value in record.items():
            if name not in PLACES:
                counts.setdefault(name, Counter()).update(words_of(value))
    fields = sorted(counts, key=lambda name: _preference(name, list(counts)))
    for name in fields:
        n_values = len(counts[name])
        known = name in FAVOURITES
        if 2 <= n_values <= (len(rows) if known else min(MOST_VALUES, len(rows) // 2)):
            return Labels(name, [v for v, _ in counts[name].most_common(MOST_VALUES)], source)
    return Labels("", [], source)


def _preference(name: str, order: list[str]) -> tuple[int, int]:
    rank = FAVOURITES.index(name) if name in FAVOURITES else len(FAVOURITES)
    return rank, order.index(name)


def words_of(value: Any) -> list[str]:
    """The labels in a record's value: a list's entries, else the value itself; no fractions."""
    found = []
    for entry in value if isinstance(value, list | tuple | set) else [value]:
        entry = entry.item() if isinstance(entry, np.generic) else entry
        if isinstance(entry, float) and entry.is_integer():
            entry = int(entry)  # 0.0 and 1.0 are classes, 0.37 is a measurement
        if isinstance(entry, str | int) and entry != "" and len(str(entry)) <= LONGEST:
            found.append(plain_text(entry))
    return found
