"""Two runs atom by atom: which latents are the same, and what only one of them has."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.explorer.serve.messages import Refused
from simplecell.model.matching import FOREIGN, Nearest, match
from simplecell.model.measures import cosines

MATCHED = 4096**2
"""Pairs of atoms up to which an optimal matching is looked for: two seconds."""
BLOCK = 512
"""Atoms of the first whose cosines are in memory at a time."""
MOST_KEPT = 32


@dataclass(frozen=True)
class Side:
    """One of two runs that are compared."""

    name: str
    stamp: Any
    """Changes with the weights."""
    width: int
    signed: bool
    """Whether an atom and its opposite say different things."""
    atoms: Callable[[], Tensor]


class Compared:
    """Comparisons, each found once for the same weights."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, dict[str, Any]] = OrderedDict()
        self._alone = threading.Lock()

    def of(self, first: Side, second: Side) -> dict[str, Any]:
        """What two runs share.

        Raises:
            Refused: 400, for runs over other inputs.
        """
        if first.width != second.width:
            raise Refused(
                400,
                f"'{first.name}' has {first.width} inputs per sample and '{second.name}' "
                f"{second.width}; atoms are compared input by input, so choose two runs over the "
                "same inputs",
            )
        key = (first.name, first.stamp, second.name, second.stamp)
        with self._alone:
            if key not in self._kept:
                signed = first.signed and second.signed
                self._kept[key] = compare(first.atoms(), second.atoms(), signed=signed)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]


def compare(first: Tensor, second: Tensor, *, signed: bool) -> dict[str, Any]:
    """What two dictionaries [M, D] and [N, D] share, with the pairs by descending cosine.

    Pairs are those of an optimal matching; of large dictionaries they are atoms that are each
    other's nearest, and `mean_cosine` and `share` are None.
    """
    mean_cosine = share = None
    near: Nearest
    if len(first) * len(second) <= MATCHED:
        near = found = match(first, second, signed=signed)
        pairs = (found.rows, found.columns, found.cosines)
        mean_cosine, share = found.mean_cosine, found.share()
    else:
        near, pairs = _each_others_nearest(first, second, signed)
    order = np.argsort(-pairs[2], kind="stable")
    return {
        "signed": signed,
        "mean_cosine": mean_cosine,
        "share": share,
        "mean_max_first": near.mean_max_first,
        "mean_max_second": near.mean_max_second,
        "only_first": np.flatnonzero(near.first < FOREIGN).tolist(),
        "only_second": np.flatnonzero(near.second < FOREIGN).tolist(),
        "pairs": [
            [int(pairs[0][i]), int(pairs[1][i]), round(float(pairs[2][i]), 6)] for i in order
        ],
    }


Pairs = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]


def _each_others_nearest(first: Tensor, second: Tensor, signed: bool) -> tuple[Nearest, Pairs]:
    """The largest cosines both ways, and the pairs that are nearest both ways."""
    one, two = first.float(), second.float()
    ahead = torch.zeros(len(one), dtype=torch.int64)
    back = torch.zeros(len(two), dtype=torch.int64)
    best = one.new_full((len(one),), -2), two.new_full((len(two),), -2)
    for start in range(0, len(one), BLOCK):
        rows = slice(start, start + BLOCK)
        block = cosines(one[rows], two)
        block = block if signed else block.abs()
        best[0][rows], ahead[rows] = block.max(1)
        values, places = block.max(0)
        better = values > best[1]
        best[1][better], back[better] = values[better], places[better] + start
    mine = torch.arange(len(one))
    mutual = mine[back[ahead] == mine]
    near = Nearest(best[0].double().numpy(), best[1].double().numpy())
    return near, (mutual.numpy(), ahead[mutual].numpy(), best[0][mutual].double().numpy())
