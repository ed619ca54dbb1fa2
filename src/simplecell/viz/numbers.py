"""Pictures of what has no picture: the strongest inputs of a latent, a table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simplecell.errors import DataError, UsageError
from simplecell.viz.grid import near_square, positive
from simplecell.viz.style import (
    BLUE,
    DPI,
    GREY,
    ORANGE,
    check_count,
    panels,
    shorten,
    signed_shades,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

# One panel of `bars`, in inches.
PANEL, GUTTER, ROW, HEAD, FOOT = 2.7, 0.3, 0.17, 0.3, 0.2
ZERO, REACH = 0.74, 0.26  # where a bar starts and how far it goes, as shares of the panel
LETTER = 0.073  # mean width of a letter of 7.5 points, in inches


def bars(
    values: ArrayLike,
    names: Sequence[str],
    *,
    title: str = "Strongest inputs of each latent",
    labels: Sequence[str] | None = None,
    top: int = 8,
    limit: int = 100,
) -> Image.Image:
    """Picture of `values` [n, D]: for each row a panel with its `top` inputs by |weight|.

    Blue bars are positive, orange negative; each panel is scaled by its own maximum, which is
    written at its corner. `names` are the D inputs', `labels` the n panels' ("latent 0", …).
    Beyond `limit` panels the rest is left out and the title says so.
    """
    weights = finite_matrix(values, "values")
    n, width = weights.shape
    check_count("names", len(names), "values", width, "columns")
    if labels is not None:
        check_count("labels", len(labels), "values", n)
    shown = min(n, positive(limit, "limit"))
    top = min(width, positive(top, "top"))
    if shown < n:
        title = f"{title} — first {shown} of {n}"
    columns = near_square(shown) if shown > 3 else shown
    figure, axes = _sheet(-(-shown // columns), max(columns, 2), top, title)
    for i in range(shown):
        label = f"latent {i}" if labels is None else labels[i]
        strongest = np.argsort(-np.abs(weights[i]), kind="stable")[:top]
        words = [str(names[k]) for k in strongest]
        _panel(axes, divmod(i, columns), weights[i, strongest], words, label, top)
    return _as_image(figure)


def heatmap_table(
    values: ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Figure of a small table [rows, columns], its numbers written in coloured cells.

    Values of one sign go from white to blue; values of both from orange over white to blue.
    """
    table = finite_matrix(values, "values")
    if table.shape != (len(row_names), len(column_names)):
        raise UsageError(
            f"values has shape {table.shape}, but {len(row_names)} row names and "
            f"{len(column_names)} column names came"
        )
    rows, columns = table.shape
    longest, widest = (max(len(str(name)) for name in part) for part in (row_names, column_names))
    cell = max(0.8, 0.09 * widest + 0.15)
    figure, (panel,) = panels(
        1, max(3.2, cell * columns + 0.09 * longest + 0.6), max(1.6, 0.5 * rows + 1.1)
    )
    largest = float(np.abs(table).max()) or 1.0
    panel.imshow(table, cmap=signed_shades(), vmin=-largest, vmax=largest, aspect="auto")
    panel.set_xticks(range(columns), [str(c) for c in column_names], parse_math=False)
    panel.set_yticks(range(rows), [str(r) for r in row_names], parse_math=False)
    panel.tick_params(length=0, labelsize=10, labeltop=True, labelbottom=False)
    panel.spines[:].set_visible(False)
    panel.set_title(title, fontsize=11, parse_math=False, pad=10)
    for (i, j), value in np.ndenumerate(table):
        ink = "white" if abs(value) > 0.8 * largest else "black"
        write(panel, j, i, f"{round(value, 2) + 0.0:.2f}", color=ink, fontsize=10)
    # White lines between the cells: drawn over the picture, which has no gaps of its own.
    for i in range(1, rows):
        panel.axhline(i - 0.5, color="white", lw=2)
    for j in range(1, columns):
        panel.axvline(j - 0.5, color="white", lw=2)
    return figure


def finite_matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """`values` as float64 [n, D], n and D at least 1, finite."""
    array: NDArray[np.generic] = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{name} holds {array.dtype}, but a plot needs real numbers")
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"{name} has shape {array.shape}, but needs rows and columns: (n, D)")
    if not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise DataError(f"{name} has {bad} values that are not finite; a plot needs finite numbers")
    matrix: NDArray[np.float64] = array.astype(np.float64)
    return matrix


def _sheet(rows: int, columns: int, top: int, title: str) -> tuple[Figure, Axes]:
    """One pair of axes in inches for all panels: a hundred axes would take seconds to draw."""
    from matplotlib.figure import Figure

    wide = max(columns * (PANEL + GUTTER), 0.11 * len(title)) + 0.2
    high = rows * (HEAD + top * ROW + FOOT) + 0.7
    figure = Figure(figsize=(wide, high), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(0.0, -0.47, title, fontsize=11, va="center", parse_math=False)
    key = ((0.0, BLUE, "positive"), (0.75, ORANGE, "negative"))
    for left, color, word in key:
        axes.barh([-0.18], [0.1], height=0.1, left=[left], color=color)
        axes.text(left + 0.15, -0.18, word, fontsize=8, va="center")
    axes.text(1.55, -0.18, "right of a label: its largest |weight|", fontsize=8, va="center")
    axes.set_xlim(-0.1, wide - 0.1)
    axes.set_ylim(high - 0.7, -0.7)
    return figure, axes


def _panel(
    axes: Axes,
    place: tuple[int, int],
    weights: NDArray[np.float64],
    names: Sequence[str],
    label: str,
    top: int,
) -> None:
    left, above = place[1] * (PANEL + GUTTER), place[0] * (HEAD + top * ROW + FOOT)
    largest = float(np.abs(weights).max())
    right = left + PANEL
    axes.text(left, above + 0.12, label, fontsize=9, va="center", weight="bold", parse_math=False)
    write(axes, right, above + 0.12, f"{largest:.2g}", ha="right", fontsize=8, color=GREY)
    lengths = REACH * PANEL * weights / (largest or 1.0)
    zero = left + ZERO * PANEL
    heights = above + HEAD + ROW * (np.arange(len(weights)) + 0.5)
    colors = [BLUE if weight >= 0 else ORANGE for weight in weights]
    axes.barh(heights, lengths, height=0.72 * ROW, left=zero, color=colors)
    axes.plot([zero, zero], [above + HEAD, above + HEAD + top * ROW], color=GREY, lw=0.6)
    edge = (ZERO - REACH) * PANEL - 0.06
    for y, name in zip(heights, names, strict=True):
        short = shorten(name, int(edge / LETTER))
        axes.text(left + edge, y, short, fontsize=7.5, va="center", ha="right", parse_math=False)


def _as_image(figure: Figure) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
