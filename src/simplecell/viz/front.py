"""The front of reconstruction against sparsity: models as points, joined where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simplecell.errors import UsageError
from simplecell.viz.files import save_figure
from simplecell.viz.style import COLORS, MARKERS, legend_aside, name, panels, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Point = Mapping[str, float | str]
"""A model: `x`, `y` (fvu), its `line` and its `label` on it."""
MOST_LABELS = 16
DECADE = 10.0
_NAMES = {
    "l0": "l0: active latents a sample",
    "mean activation": "mean activation of the latents",
}


@dataclass(frozen=True)
class _Spot:
    """Models that differ in their seed alone, around their mean."""

    label: str
    x: float
    y: float
    members: tuple[tuple[float, float], ...]


def front(
    points: Sequence[Point],
    across: str = "l0",
    *,
    title: str = "Reconstruction against sparsity",
) -> Figure:
    """Figure of models by what is `across` ("l0" or "mean activation") and their fvu.

    Points of one line and label are seeds: small dots around their mean. A line joins its points
    from left to right; few points are labelled. Down and to the left is better.
    """
    if not points:
        raise UsageError("no points came, but a front needs at least one model with figures")
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(str(point["line"]), []).append(point)
    figure, (panel,) = panels(1, 6.4, 4.6)
    spots = {line: _spots(mine) for line, mine in lines.items()}
    count = sum(len(mine) for mine in spots.values())
    for k, (line, mine) in enumerate(spots.items()):
        _draw_line(panel, mine, line, k)
        for spot in mine if count <= MOST_LABELS else ():
            _write(panel, spot, COLORS[k % len(COLORS)])
    for key, axis, most in (("x", panel.xaxis, 2), ("y", panel.yaxis, DECADE)):
        if (spread := _spread([float(point[key]) for point in points])) > most:
            panel.set(**{f"{key}scale": "log"})
            _plain(axis, spread)
    panel.margins(0.12, 0.1)
    name(panel, title, _NAMES.get(across, across), "fvu: variance unexplained")
    if any(lines):
        legend_aside(panel)
    return figure


def save_front(points: Sequence[Point], across: str, path: Path) -> str | None:
    """Draw `front` into a file and say where; None where there is no point to draw."""
    if not points:
        return None
    save_figure(front(points, across), path)
    return str(path)


def _spots(points: Sequence[Point]) -> list[_Spot]:
    """The points of a line, seeds together, from left to right."""
    places: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        places.setdefault(str(point["label"]), []).append((float(point["x"]), float(point["y"])))
    spots = []
    for label, members in places.items():
        x, y = np.mean(members, axis=0)
        spots.append(_Spot(label, float(x), float(y), tuple(members)))
    return sorted(spots, key=lambda spot: (spot.x, spot.y))


def _draw_line(panel: Axes, spots: Sequence[_Spot], line: str, k: int) -> None:
    color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
    seeds = [place for spot in spots if len(spot.members) > 1 for place in spot.members]
    if seeds:
        x, y = zip(*seeds, strict=True)
        panel.scatter(x, y, s=10, color=color, alpha=0.7, linewidths=0, zorder=3)
    panel.plot(
        [spot.x for spot in spots],
        [spot.y for spot in spots],
        color=color,
        marker=marker,
        ms=7,
        # Hollow around seeds, so that they are seen where they hardly differ.
        markerfacecolor="white" if seeds else color,
        lw=1.6,
        label=line or "models",
    )


def _write(panel: Axes, spot: _Spot, color: str) -> None:
    panel.annotate(
        spot.label,
        (spot.x, spot.y),
        xytext=(5, 5),
        textcoords="offset points",
        fontsize=8,
        color=color,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
        parse_math=False,
    )


def _spread(values: Sequence[float]) -> float:
    """Largest over least; 1 where a logarithm has no place."""
    return max(values) / min(values) if min(values) > 0 else 1.0


def _plain(axis: Axis, spread: float) -> None:
    """Plain numbers on a logarithmic axis, between the powers of 10 too where those are few."""
    from matplotlib.ticker import LogLocator, NullLocator

    between = (1, 2, 3, 4, 6, 8) if spread < DECADE else (1, 2, 5) if spread < 1000 else (1,)
    axis.set_major_locator(LogLocator(subs=between))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(plain)
