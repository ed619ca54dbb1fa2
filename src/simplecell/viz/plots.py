"""Plots of training, codes, spectra and the KL divergence, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import UsageError
from simplecell.viz.numbers import finite_matrix
from simplecell.viz.style import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    KINDS,
    MARKERS,
    ORANGE,
    check_count,
    legend_aside,
    name,
    panels,
    plain,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]
Record = Mapping[str, object]
"""One report of training: a number, or numbers by name, for each of its keys."""
Divergence = Callable[..., "ArrayLike"]
CROWD = 1000  # points: beyond it markers are specks, and only colours are told apart
LONGEST = 8  # letters of a label that is written among its points
DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))


def curve(
    records: Sequence[Record],
    target: float | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    title: str = "Training curve",
) -> Figure:
    """Figure of a training: cost and its parts, and beside them the mean activation.

    A record has `step`, `cost`, `terms` {name: unweighted value}, `mean_activation`
    {min, mean, max} or None, and perhaps `held_out_cost`. With `weights` {name: weight} the
    parts are drawn weighted, so they add up to the cost. An axis is logarithmic where all its
    values are positive.
    """
    if not records:
        raise UsageError("no records came, but a curve needs at least one")
    with_activation = [r for r in records if r.get("mean_activation") is not None]
    figure, axes = panels(2 if with_activation else 1, 5.2, 4.0)
    lines = _cost_lines(records, weights)
    for color, style, width, label, steps, values in lines:
        marker = "o" if len(steps) == 1 else ""
        axes[0].plot(
            steps, values, color=color, ls=style, lw=width, label=label, marker=marker, ms=4
        )
    _logarithmic(axes[0], [line[-1] for line in lines])
    name(axes[0], title, "step", "cost")
    axes[0].legend(fontsize=9, frameon=False)
    if with_activation:
        _activation_panel(axes[1], with_activation, target)
    return figure


def kl(divergence: Divergence, target: float = 0.2) -> Figure:
    """Figure of KL(ρ‖ρ̂): its shape, and why it is no distance.

    `divergence(p, q)` is the elementwise KL divergence (nats) of two Bernoulli variables with
    means p and q, as `simplecell.model.measures.kl_bernoulli`. Three panels: the penalty against
    ρ̂; both directions, which differ; a triangle p, q, r whose detour is
    shorter than the direct way.
    """
    if not 0 < target < 1:
        raise UsageError(f"target is {target}, but a mean activation lies between 0 and 1")
    figure, axes = panels(3, 4.0, 3.8)
    q = np.linspace(0.001, 0.999, 999)
    forward = np.asarray(divergence(target, q), dtype=np.float64)
    backward = np.asarray(divergence(q, target), dtype=np.float64)
    axes[0].plot(q, forward, color=BLUE, lw=2)
    axes[0].axvline(target, color=GREY, ls="--", lw=1)
    axes[0].annotate(
        f"0 at ρ̂ = ρ = {target:g}", (target, 0), (12, 60), textcoords="offset points", fontsize=9
    )
    name(axes[0], "Penalty for the mean activation", "mean activation ρ̂", "KL(ρ‖ρ̂)  (nats)")
    axes[1].plot(q, forward, color=BLUE, lw=2, label="KL(p‖q)")
    axes[1].plot(q, backward, color=ORANGE, lw=2, ls="--", label="KL(q‖p)")
    axes[1].legend(fontsize=9, frameon=False, loc="upper center")
    name(axes[1], "Not symmetric", f"q   (p = {target:g})", "nats")
    for panel in axes[:2]:
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1.05 * float(forward.max()))
    _triangle_panel(axes[2], divergence)
    return figure


def scatter_codes(
    codes: ArrayLike, labels: Sequence[object] | None = None, *, title: str = "Codes"
) -> Figure:
    """Figure of two-dimensional codes [n, 2], coloured by label (a number or a name).

    Up to ten different labels have a colour each, in a legend and written at their median; up
    to a thousand points they differ in their marker too. More labels need to be numbers and get
    a colour scale.
    """
    points = finite_matrix(codes, "codes")
    if points.shape[1] != 2:
        raise UsageError(f"codes has {points.shape[1]} columns, but a plane needs 2")
    if labels is not None:
        check_count("labels", len(labels), "codes", len(points))
    figure, (panel,) = panels(1, 5.6, 4.6)
    size = float(np.clip(8000 / len(points), 3, 40))
    if labels is None:
        panel.scatter(points[:, 0], points[:, 1], s=size, color=BLUE, linewidths=0)
    elif len(kinds := sorted(set(np.asarray(labels).tolist()))) <= len(KINDS):
        _draw_kinds(panel, points, np.asarray(labels), kinds, size)
    else:
        _draw_scale(panel, points, np.asarray(labels), size)
    name(panel, title, "latent 0", "latent 1")
    return figure


def spectrum(
    eigenvalues: ArrayLike, retained: float | None = None, *, title: str = "Spectrum"
) -> Figure:
    """Figure of a covariance's eigenvalues, falling, and of the variance that the first k keep.

    `retained` marks a choice: an int is a number of components, a float a share of variance.
    """
    values = -np.sort(-finite_matrix(np.atleast_2d(np.asarray(eigenvalues)), "eigenvalues")[0])
    total = float(values.clip(min=0).sum())
    if total <= 0:
        raise UsageError("eigenvalues are all zero or negative, but a covariance has some variance")
    share = np.cumsum(values.clip(min=0)) / total
    figure, axes = panels(2, 4.8, 3.8)
    count = np.arange(1, len(values) + 1)
    marker = "o" if len(values) <= 40 else ""
    axes[0].plot(count, values, color=BLUE, marker=marker, ms=4)
    # eigenvalues that are zero but for rounding would stretch a logarithmic axis over decades
    if values[-1] > 1e-12 * values[0]:
        axes[0].set_yscale("log")
    axes[1].plot(count, share, color=BLUE, marker=marker, ms=4)
    axes[1].set_ylim(0, 1.03)
    name(axes[0], title, "component", "variance")
    name(axes[1], "Variance kept", "components", "share of the variance")
    if retained is not None:
        _mark_retained(axes, share, retained)
    return figure


_Line = tuple[str, str | tuple[int, tuple[int, ...]], float, str, Floats, Floats]


def _cost_lines(records: Sequence[Record], weights: Mapping[str, float] | None) -> list[_Line]:
    """(color, dashes, width, label, steps, values) of each line of the cost panel."""
    parts = (BLUE, ORANGE, GREEN, "#E69F00", "#56B4E9", "#8C6D1F")
    lines: list[_Line] = [("black", "-", 2.0, "cost", *_series(records, "cost"))]
    held_out = _series(records, "held_out_cost")
    if held_out[0].size:
        lines.append(("#CC79A7", "-", 1.5, "cost, held out", *held_out))
    terms = dict.fromkeys(term for r in records for term in _parts(r, "terms"))
    for i, term in enumerate(terms):
        weight = 1.0 if weights is None else weights.get(term, 1.0)
        steps, values = _series(records, "terms", term)
        label = f"{term}, unweighted" if weights is None else f"{term} × {weight:g}"
        color, dashes = parts[i % len(parts)], DASHES[i % len(DASHES)]
        lines.append((color, dashes, 1.5, label, steps, weight * values))
    return lines


def _parts(record: Record, key: str) -> Mapping[str, float]:
    found = record.get(key)
    return found if isinstance(found, Mapping) else {}


def _series(records: Sequence[Record], key: str, part: str = "") -> tuple[Floats, Floats]:
    """Steps and values of the records that have `key`, or that part of it."""
    found = [(r["step"], _parts(r, key).get(part) if part else r.get(key)) for r in records]
    pairs = [pair for pair in found if pair[1] is not None]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _logarithmic(panel: Axes, values: Sequence[Floats]) -> None:
    """A logarithmic axis in plain numbers, for positive values that spread more than threefold."""
    from matplotlib.ticker import LogLocator

    together = np.concatenate(values)
    together = together[np.isfinite(together)]
    if together.size == 0 or together.min() <= 0 or together.max() <= 3 * together.min():
        return
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(plain)
    if together.max() < 300 * together.min():
        panel.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        panel.yaxis.set_minor_formatter(plain)
        panel.tick_params(axis="y", which="minor", labelsize=8)


def _activation_panel(panel: Axes, records: Sequence[Record], target: float | None) -> None:
    low, mean, high = (_series(records, "mean_activation", part) for part in ("min", "mean", "max"))
    marker = "o" if len(records) == 1 else ""
    panel.fill_between(low[0], low[1], high[1], color=BLUE, alpha=0.25, lw=0, label="min to max")
    panel.plot(*mean, color=BLUE, lw=2, label="mean", marker=marker, ms=4)
    seen = [low[1], high[1]]
    if target is not None:
        panel.axhline(target, color=ORANGE, ls="--", lw=1.5, label=f"target {target:g}")
        seen.append(np.array([target]))
    _logarithmic(panel, seen)
    name(panel, "Mean activation of the latents", "step", "mean activation")
    panel.legend(fontsize=9, frameon=False)


def _triangle_panel(panel: Axes, divergence: Divergence) -> None:
    p, q, r = 0.5, 0.1, 0.01
    direct, first, second = (
        float(np.asarray(divergence(np.float64(a), np.float64(b))))
        for a, b in ((p, r), (p, q), (q, r))
    )
    heights, bottoms = (direct, first, second), (0.0, 0.0, first)
    words = ("KL(p‖r)", "KL(p‖q)", "KL(q‖r)")
    colors = (BLUE, ORANGE, GREEN)
    drawn = panel.bar((0, 1, 1), heights, bottom=bottoms, width=0.6, color=colors)
    labels = [f"{word} = {height:.2f}" for word, height in zip(words, heights, strict=True)]
    panel.bar_label(drawn, labels, label_type="center", color="white", fontsize=8.5)
    panel.text(1, 1.02 * (first + second), f"{first + second:.2f}", ha="center", va="bottom")
    panel.text(0, 1.02 * direct, f"{direct:.2f}", ha="center", va="bottom")
    panel.set_xticks((0, 1), ("direct", "by way of q"))
    panel.set_ylim(0, 1.15 * max(direct, first + second))
    name(panel, "No triangle inequality", f"p = {p:g}, q = {q:g}, r = {r:g}", "nats")


def _draw_kinds(
    panel: Axes,
    points: Floats,
    labels: NDArray[np.generic],
    kinds: Sequence[object],
    size: float,
) -> None:
    """Points of several kinds, told apart by colour, marker and a word in their midst.

    `kinds` are the different values of `labels`, at most ten, in order.
    """
    colors = COLORS if len(kinds) <= len(COLORS) else KINDS
    crowd = len(points) > CROWD
    if crowd:  # in random order, or the last kind would hide the others
        chosen = np.random.default_rng(0).permutation(len(points))
        shades = np.array(colors)[np.searchsorted(np.asarray(kinds), labels)]
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
    legend_aside(panel)
    if max(len(str(kind)) for kind in kinds) <= LONGEST:
        _write_medians(panel, points, labels, kinds)


def _write_medians(
    panel: Axes, points: Floats, labels: NDArray[np.generic], kinds: Sequence[object]
) -> None:
    from matplotlib.patheffects import withStroke

    for kind in kinds:
        x, y = np.median(points[labels == kind], axis=0)
        halo = [withStroke(linewidth=3, foreground="white")]
        looks: dict[str, Any] = {"fontsize": 12, "weight": "bold", "parse_math": False, "zorder": 3}
        write(panel, x, y, str(kind), path_effects=halo, **looks)


def _draw_scale(panel: Axes, points: Floats, labels: NDArray[np.generic], size: float) -> None:
    if labels.dtype.kind not in "fiub":
        raise UsageError(
            f"labels has {len(set(labels.tolist()))} different names, but at most {len(KINDS)} can "
            "be told apart; group them, or pass numbers"
        )
    values = labels.astype(np.float64)
    drawn = panel.scatter(
        points[:, 0], points[:, 1], s=size, c=values, cmap="viridis", linewidths=0
    )
    panel.figure.colorbar(drawn, ax=panel).set_label("label", fontsize=10)


def _mark_retained(axes: Sequence[Axes], share: Floats, retained: float) -> None:
    by_count = isinstance(retained, int)
    if (by_count and not 1 <= retained <= len(share)) or (not by_count and not 0 < retained <= 1):
        raise UsageError(
            f"retained is {retained}, but it is a share in (0, 1] or a count from 1 to {len(share)}"
        )
    # the last share may be 1 − 1e-16
    enough = int(np.searchsorted(share, retained - 1e-9)) + 1
    kept = int(retained) if by_count else min(enough, len(share))
    for panel in axes:
        panel.axvline(kept, color=ORANGE, ls="--", lw=1.5)
    axes[1].annotate(
        f"{kept} of {len(share)} keep {share[kept - 1]:.1%}",
        (kept, share[kept - 1]),
        xytext=(6, -22) if kept < 0.6 * len(share) else (-6, -22),
        textcoords="offset points",
        ha="left" if kept < 0.6 * len(share) else "right",
        fontsize=9,
        color=ORANGE,
    )
