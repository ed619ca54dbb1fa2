"""Points of several kinds, told apart by colour, marker and a word in their midst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simplecell.viz.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Source: Tol 2021, "Colour schemes", qualitative scheme "muted", and black. The colours of
# `style`, which suit lines and white figures on bars, end at eight.
KINDS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
MARKERS = "os^DvP*X<>"
CROWD = 1000  # points: beyond it markers are specks, and only colours are told apart
LONGEST = 8  # letters of a label that is written among its points


def draw_kinds(
    panel: Axes,
    points: NDArray[np.float64],
    labels: NDArray[Any],
    kinds: Sequence[Any],
    size: float,
) -> None:
    """Scatter `points` [n, 2]; `kinds` are the different values of `labels`, at most ten."""
    colors = COLORS if len(kinds) <= len(COLORS) else KINDS
    crowd = len(points) > CROWD
    if crowd:  # in random order, or the last kind would hide the others
        chosen = np.random.default_rng(0).permutation(len(points))
        shades = np.array(colors)[np.searchsorted(kinds, labels)]
        across, up = points[chosen].T
        panel.scatter(across, up, s=size, c=shades[chosen], linewidths=0, alpha=0.6)
    for kind, color, marker in zip(kinds, colors, MARKERS, strict=False):
        own = np.empty((0, 2)) if crowd else points[labels == kind]
        panel.scatter(
            own[:, 0],
            own[:, 1],
            s=30 if crowd else size,
            color=color,
            marker="o" if crowd else marker,
            linewidths=0,
            alpha=1.0 if crowd else 0.8,
            label=str(kind),
        )
    legend = panel.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
    if max(len(str(kind)) for kind in kinds) <= LONGEST:
        _write_medians(panel, points, labels, kinds)


def _write_medians(
    panel: Axes, points: NDArray[np.float64], labels: NDArray[Any], kinds: Sequence[Any]
) -> None:
    from matplotlib.patheffects import withStroke

    for kind in kinds:
        x, y = np.median(points[labels == kind], axis=0)
        panel.text(
            x,
            y,
            str(kind),
            ha="center",
            va="center",
            fontsize=12,
            weight="bold",
            parse_math=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=3,
        )
