"""What a preparation does to data, on one page: spectrum, covariances, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import UsageError
from simplecell.preprocess.whitening import (
    WhiteningReport,
    components_for,
    condition_number,
    covariance,
    off_diagonal_ratio,
    retained_variance,
    whitened_variance,
)
from simplecell.viz.grid import near_square, tiles
from simplecell.viz.numbers import finite_matrix
from simplecell.viz.style import (
    BLUE,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    check_count,
    name,
    shorten,
    signed_shades,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]
MOST_SAMPLES, MOST_NAMES = 36, 24
MARKS = (0.9, 0.99)
FAINT = 1e-10  # a variance below this share of the largest may be float32's rounding


def whitening(
    before: ArrayLike,
    after: ArrayLike,
    *,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    epsilon: float | None = None,
    components: ArrayLike | None = None,
    report: WhiteningReport | None = None,
    title: str = "Before and after the preparation",
) -> Figure:
    """Figure of what whitening, or any preparation, does: spectrum, covariances, samples.

    Left: the variance of each component before and after, and the share that the first k keep,
    with 90 and 99 % marked. Middle: both covariances, each with its own scale around 0 (blue
    positive, orange negative). Right, for pictures: the first samples before and after, with
    one scale for all before and one for all after.

    Args:
        before, after: raw rows [n, D] and the same rows prepared [n, D'].
        shape: of one sample, (h, w) or (h, w, 3); None for rows that are no pictures.
        names: of the D inputs, written beside the covariance of up to 24 inputs.
        epsilon: of a whitening that was fitted to `before`: draws the `λ/(λ+ε)` it promises.
        components: [D', D], drawn for samples that are no pictures any more once prepared.
        report: covariances of all data, where `before` and `after` are a few samples.
    """
    first, second = finite_matrix(before, "before"), finite_matrix(after, "after")
    if len(first) != len(second):
        raise UsageError(f"before has {len(first)} rows, but after has {len(second)}")
    if report is None:
        report = _report(first, second, epsilon)
    if names is not None:
        check_count("names", len(names), "before", first.shape[1], "columns")
    figure, axes = _sheet(3 if shape is not None else 2, title)
    _draw_spectrum(axes[0][0], report)
    _draw_retained(axes[1][0], report.eigenvalues)
    kept = names if second.shape[1] == first.shape[1] else None
    _draw_covariance(axes[0][1], report.before, report.eigenvalues, "Covariance before", names)
    _draw_covariance(axes[1][1], report.after, report.eigenvalues_after, "Covariance after", kept)
    if shape is not None:
        _draw_tiles(axes[0][2], first, shape, "Samples before")
        if second.shape[1] == first.shape[1]:
            _draw_tiles(axes[1][2], second, shape, "The same after")
        else:
            _draw_components(axes[1][2], components, shape, second.shape[1])
    return figure


def _report(before: Floats, after: Floats, epsilon: float | None) -> WhiteningReport:
    report = WhiteningReport(len(before), covariance(before), covariance(after))
    if epsilon is None:
        return report
    promised = whitened_variance(report.eigenvalues[: after.shape[1]], epsilon)
    return WhiteningReport(len(before), report.before, report.after, promised)


def _sheet(columns: int, title: str) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.1 * columns, 7.6), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=12, parse_math=False)
    axes = figure.subplots(2, columns)
    for panel in axes.flat:
        panel.tick_params(labelsize=9)
    return figure, axes.tolist()


def _draw_spectrum(panel: Axes, report: WhiteningReport) -> None:
    """Both spectra; directions without variance are left out of a logarithmic axis."""
    marker = "o" if len(report.before) <= 40 else ""
    lines = [("before", report.eigenvalues, BLUE), ("after", report.eigenvalues_after, ORANGE)]
    if report.expected is not None:
        lines.append(("λ/(λ + ε), promised", report.expected, "black"))
    for label, values, color in lines:
        seen = np.where(values > FAINT * values[0], values, np.nan)
        (line,) = panel.plot(np.arange(1, len(values) + 1), seen, label=label, color=color)
        if values is report.expected:
            line.set(ls=(0, (2, 2)), lw=1.2)
        else:
            line.set(lw=2, marker=marker, ms=4)
    panel.set_yscale("log")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=9, frameon=False)
    name(panel, "Spectrum of the covariance", "component", "variance")


def _draw_retained(panel: Axes, eigenvalues: Floats) -> None:
    share = retained_variance(eigenvalues)
    count = np.arange(1, len(share) + 1)
    panel.plot(count, share, color=BLUE, lw=2, marker="o" if len(share) <= 40 else "", ms=3)
    panel.set_ylim(0, 1.05)
    panel.spines[["top", "right"]].set_visible(False)
    for mark, color, below in zip(MARKS, (GREEN, ORANGE), (50, 24), strict=True):
        k = components_for(eigenvalues, mark)
        panel.axvline(k, color=color, ls="--", lw=1.2)
        left = k > 0.5 * len(share)
        panel.annotate(
            f"{k} of {len(share)} keep {mark:.0%}",
            (k, 0),
            xytext=(-5 if left else 5, below),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=9,
            color=color,
            bbox={"fc": "white", "ec": "none", "pad": 1.5},
        )
    name(panel, "Variance kept, before", "first components", "share of the variance")


def _draw_covariance(
    panel: Axes,
    matrix: Floats,
    eigenvalues: Floats,
    title: str,
    names: Sequence[str] | None,
) -> None:
    largest = float(np.abs(matrix).max()) or 1.0
    drawn = panel.imshow(matrix, cmap=signed_shades(), vmin=-largest, vmax=largest)
    panel.figure.colorbar(drawn, ax=panel, shrink=0.75).ax.tick_params(labelsize=8)
    if names is not None and len(names) <= MOST_NAMES:
        short = [shorten(str(word), 16) for word in names]
        panel.set_yticks(range(len(short)), short, fontsize=7, parse_math=False)
        panel.set_xticks([])
    diagonal = np.diagonal(matrix)
    condition = condition_number(eigenvalues)
    words = "no variance in some direction" if np.isinf(condition) else f"{condition:.3g}"
    panel.set_xlabel(
        f"diagonal {diagonal.min():.2g} to {diagonal.max():.2g};  "
        f"off it {off_diagonal_ratio(matrix):.0%} of the norm\ncondition number: {words}",
        fontsize=9,
    )
    panel.set_title(title, fontsize=11)


def _draw_tiles(
    panel: Axes, rows: Floats, shape: Sequence[int], title: str, shared: bool = True
) -> None:
    chosen = rows[:MOST_SAMPLES]
    signed = bool((chosen < 0).any())  # data around zero: mid-grey is zero
    columns = near_square(len(chosen))
    picture = tiles(chosen, shape, columns=columns, signed=signed, shared=shared)
    panel.imshow(np.asarray(picture), interpolation="nearest" if picture.width < 500 else None)
    panel.set_axis_off()
    panel.set_title(title, fontsize=11)


def _draw_components(
    panel: Axes, components: ArrayLike | None, shape: Sequence[int], width: int
) -> None:
    """What stands where prepared samples are no pictures: the directions they are made of."""
    if components is not None:
        rows = finite_matrix(components, "components")
        _draw_tiles(panel, rows, shape, f"The first of {width} components", shared=False)
        return
    panel.set_axis_off()
    words = f"{width} components a sample:\nno picture any more"
    write(panel, 0.5, 0.5, words, fontsize=10, color=GREY)
