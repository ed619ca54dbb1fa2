"""The network itself, drawn as in textbooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import UsageError
from simplecell.viz.numbers import finite_matrix
from simplecell.viz.style import BLUE, DPI, GREY, ORANGE, shorten, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]
MOST, HEAD, TAIL = 10, 6, 2  # beyond MOST units, the first HEAD and the last TAIL are drawn
RADIUS, ACROSS = 0.3, 3.2  # of a unit; from layer to layer (units stand 1 apart)
ARROW = 0.13


def network(
    sizes: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    weights: Sequence[ArrayLike] | None = None,
    bias_units: bool = True,
) -> Figure:
    """Figure of a layered network: `sizes` are its units a layer, from input to output.

    More than ten units of a layer are drawn as the first … the last. `names` are the inputs';
    without them x₁ … and, for an output as wide as the input, x̂₁ …. `weights` of a network of
    three layers are (encoder [M, D], decoder [M, D_out]): a line's colour is its sign (blue
    positive, orange negative) and its width its size.
    """
    from matplotlib.figure import Figure

    if len(sizes) < 2 or min(sizes) < 1:
        raise UsageError(
            f"sizes is {list(sizes)}, but a network has two layers or more, none empty"
        )
    if names is not None and len(names) != sizes[0]:
        raise UsageError(f"names has {len(names)} entries, but the first layer has {sizes[0]}")
    matrices = None if weights is None else _matrices(sizes, weights)
    layers = [_Layer(k, size, bias_units and k < len(sizes) - 1) for k, size in enumerate(sizes)]
    tallest = max(layer.slots for layer in layers)
    before = 1.6 if names is None else 0.8 + 0.18 * max(len(shorten(name, 14)) for name in names)
    below = 0.85 if matrices is None else 1.4  # room for the key of the weights
    wide, high = before + ACROSS * (len(sizes) - 1) + 1.9, tallest + below + 0.3
    inch = 0.55 if tallest > 5 else 0.7
    figure = Figure(figsize=(wide * inch, high * inch), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-before, wide - before)
    axes.set_ylim(-tallest / 2 - below, tallest / 2 + 0.3)
    for k in range(len(sizes) - 1):
        matrix = None if matrices is None else matrices[k]
        _draw_lines(axes, layers[k], layers[k + 1], matrix)
    for layer in layers:
        _draw_units(axes, layer, -tallest / 2 - 0.15)
    _draw_names(axes, layers, names)
    if matrices is not None:
        _draw_key(axes, ACROSS / 2, -tallest / 2 - 1.15)
    return figure


class _Layer:
    """Where a layer's `units` are drawn, its ellipsis and its bias unit; `index` 0 is the input."""

    def __init__(self, index: int, size: int, has_bias: bool) -> None:
        self.index, self.size, self.x = index, size, index * ACROSS
        cut = size > MOST
        self.units = (*range(HEAD), *range(size - TAIL, size)) if cut else tuple(range(size))
        self.slots = len(self.units) + cut + has_bias
        self.heights = [self.slots / 2 - 0.5 - i for i in range(self.slots)]
        self.bias = self.heights.pop() if has_bias else None
        self.dots = self.heights.pop(HEAD) if cut else None


def _matrices(sizes: Sequence[int], weights: Sequence[ArrayLike]) -> list[Floats]:
    """The weights as [from, to], both divided by the largest size of all."""
    if len(sizes) != 3 or len(weights) != 2:
        raise UsageError(
            f"{len(weights)} weights came for {len(sizes)} layers, but they are drawn for three "
            "layers, as (encoder, decoder)"
        )
    n_inputs, n_latents, n_outputs = sizes
    encoder = finite_matrix(weights[0], "encoder")
    decoder = finite_matrix(weights[1], "decoder")
    for matrix, what, wanted in (
        (encoder, "encoder", (n_latents, n_inputs)),
        (decoder, "decoder", (n_latents, n_outputs)),
    ):
        if matrix.shape != wanted:
            raise UsageError(f"{what} has shape {matrix.shape}, but these sizes need {wanted}")
    largest = float(max(np.abs(encoder).max(), np.abs(decoder).max())) or 1.0
    return [encoder.T / largest, decoder / largest]


def _draw_lines(axes: Axes, left: _Layer, right: _Layer, matrix: Floats | None) -> None:
    """Lines with arrow heads from each drawn unit to each of the next layer."""
    from matplotlib.collections import LineCollection, PolyCollection

    starts = [(left.x, y, i) for y, i in zip(left.heights, left.units, strict=True)]
    if left.bias is not None:
        starts.append((left.x, left.bias, -1))
    segments, heads, widths, colors = [], [], [], []
    for x, y, i in starts:
        for to, j in zip(right.heights, right.units, strict=True):
            begin, end, head = _arrow(np.array([x, y]), np.array([right.x, to]))
            segments.append((begin, end if matrix is None else head[0]))
            heads.append(head)
            weight = None if matrix is None or i < 0 else float(matrix[i, j])
            widths.append(0.7 if weight is None else 0.15 + 3.5 * abs(weight))
            plain = "#B5B5B5" if i < 0 else "#606060"
            colors.append(plain if weight is None else BLUE if weight >= 0 else ORANGE)
    axes.add_collection(LineCollection(segments, linewidths=widths, colors=colors, zorder=1))
    if matrix is None:
        axes.add_collection(PolyCollection(heads, facecolors=colors, linewidths=0, zorder=2))


def _arrow(start: Floats, end: Floats) -> tuple[Floats, Floats, Floats]:
    """Where a line leaves one circle and meets the next, and its head's triangle."""
    along = (end - start) / np.hypot(*(end - start))
    aside = np.array([-along[1], along[0]])
    begin, tip = start + RADIUS * along, end - RADIUS * along
    back = tip - ARROW * along
    head = np.array([tip, back + 0.4 * ARROW * aside, back - 0.4 * ARROW * aside])
    return begin, back, head


def _draw_units(axes: Axes, layer: _Layer, floor: float) -> None:
    from matplotlib.patches import Circle

    for y in layer.heights:
        axes.add_patch(Circle((layer.x, y), RADIUS, fc="#FFF3DC", ec="black", lw=1, zorder=3))
    if layer.bias is not None:
        unit = Circle((layer.x, layer.bias), RADIUS, fc="#EDEDED", ec=GREY, lw=1, zorder=3)
        axes.add_patch(unit)
        write(axes, layer.x, layer.bias, "+1", fontsize=9, zorder=4)
    if layer.dots is not None:
        for y in (-0.2, 0.0, 0.2):
            axes.add_patch(Circle((layer.x, layer.dots + y), 0.045, fc="black", zorder=3))
    count = f"\n{layer.size} units" if layer.dots is not None else ""
    label = f"Layer $L_{{{layer.index + 1}}}${count}"
    axes.text(layer.x, floor, label, ha="center", va="top", fontsize=11)


def _draw_names(axes: Axes, layers: Sequence[_Layer], names: Sequence[str] | None) -> None:
    """Names left of the inputs and right of the outputs, with their short arrows."""
    first, last = layers[0], layers[-1]
    same = first.size == last.size
    for y, i in zip(first.heights, first.units, strict=True):
        word = rf"$x_{{{i + 1}}}$" if names is None else shorten(names[i], 14)
        size, before = 12 if names is None else 9, first.x - RADIUS - 0.15
        write(axes, before, y, word, ha="right", fontsize=size, parse_math=names is None)
    for y, i in zip(last.heights, last.units, strict=True):
        symbol = rf"\hat{{x}}_{{{i + 1}}}" if same else f"y_{{{i + 1}}}"
        away = last.x + 2 * RADIUS + 0.45
        begin, back, head = _arrow(np.array([last.x, y]), np.array([away, y]))
        axes.plot([begin[0], back[0]], [y, y], color="#606060", lw=0.7)
        axes.fill(head[:, 0], head[:, 1], color="#606060", lw=0)
        write(axes, away - RADIUS + 0.1, y, f"${symbol}$", ha="left", fontsize=12)


def _draw_key(axes: Axes, x: float, y: float) -> None:
    for left, color, word in ((x - 0.9, BLUE, "positive weight"), (x + 2.0, ORANGE, "negative")):
        axes.plot([left, left + 0.5], [y, y], color=color, lw=3, solid_capstyle="butt")
        write(axes, left + 0.65, y, word, ha="left", fontsize=9)
