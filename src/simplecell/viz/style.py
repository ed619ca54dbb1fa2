"""How plots look: colours that colour-blind readers tell apart, and clean axes.

Figures are made without pyplot, so no global state is touched and no window can open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Source: Okabe & Ito 2008, "Color universal design".
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
GREY = "#707070"
DPI = 120


def panels(count: int, width: float = 5.0, height: float = 4.0) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes side by side, each of `width` × `height` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), dpi=DPI, layout="constrained")
    axes = [figure.add_subplot(1, count, i + 1) for i in range(count)]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9)
    return figure, axes


def name(panel: Axes, title: str, across: str, up: str) -> None:
    """Title and axis labels, taken literally: a `$` in a name starts no formula."""
    panel.set_title(title, fontsize=11, parse_math=False)
    panel.set_xlabel(across, fontsize=10)
    panel.set_ylabel(up, fontsize=10)
