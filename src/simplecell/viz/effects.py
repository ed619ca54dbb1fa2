"""Effects with their intervals, and beside each the same on held-out samples: a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from simplecell.errors import UsageError
from simplecell.viz.style import BLUE, GREY, ORANGE, name, panels, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 60
"""Characters of a label."""


class Effect(NamedTuple):
    """A line of the plot; `low` and `high` are NaN where there is no interval."""

    label: str
    value: float
    low: float
    high: float
    held_out: float
    holds: bool


def effects(lines: Sequence[Effect], across: str, middle: float, title: str) -> Figure:
    """Figure of effects, the first on top: a dot with its interval, a ring for held-out samples.

    What holds there is blue, the rest grey; a line at `middle` is where there is no effect.

    Raises:
        UsageError: where there are none.
    """
    if not lines:
        raise UsageError("no effects came, but a picture of them needs at least one")
    figure, (panel,) = panels(1, 8.0, 1.3 + 0.32 * len(lines))
    panel.axvline(middle, color=GREY, linewidth=1)
    for place, line in enumerate(lines):
        color = BLUE if line.holds else GREY
        if math.isfinite(line.low) and math.isfinite(line.high):
            panel.plot([line.low, line.high], [place, place], color=color, linewidth=2)
        panel.plot(line.value, place, "o", color=color, markersize=6)
        panel.plot(line.held_out, place, "o", mec=ORANGE, mfc="none", markersize=9, mew=1.6)
    panel.set_ylim(len(lines) - 0.4, -0.6)
    labels = [shorten(line.label, LONGEST) for line in lines]
    panel.set_yticks(range(len(lines)), labels, parse_math=False)
    name(panel, "", across, "")
    told = f"{title}\nring: on held-out samples; grey: does not hold there"
    figure.suptitle(told, fontsize=10.5, parse_math=False)
    return figure
