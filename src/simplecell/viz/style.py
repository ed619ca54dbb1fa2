"""How plots look: colours that colour-blind readers tell apart, and clean axes.

Figures are made without pyplot, so no global state is touched and no window can open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simplecell.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Source: Okabe & Ito 2008, "Color universal design".
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
GREY = "#707070"
# Source: Tol 2021, "Colour schemes", qualitative scheme "muted", and black: for points of many
# kinds. `COLORS`, which suit lines and white figures on bars, end at eight.
KINDS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
MARKERS = "os^DvP*X<>"
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


def write(panel: Axes, x: float, y: float, text: str, *, ha: str = "center", **looks: Any) -> None:
    """Words at the height of a point, around it unless `ha` says so; `looks` as in `Axes.text`."""
    panel.text(x, y, text, ha=ha, va="center", **looks)


def plain(value: float, _: object) -> str:
    """A number at a tick of a logarithmic axis, without powers."""
    return f"{value:g}"


def legend_aside(panel: Axes) -> None:
    """A legend right of the axes, its words taken literally too."""
    legend = panel.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)


def signed_shades() -> Colormap:
    """From orange over white, which is 0, to blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", [ORANGE, "#FFFFFF", BLUE])


def shorten(text: str, most: int) -> str:
    """The text in at most so many letters, the last an ellipsis where some are left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


def check_count(what: str, given: int, of: str, wanted: int, unit: str = "rows") -> None:
    """UsageError unless as many `what` came as `of` has."""
    if given != wanted:
        raise UsageError(f"{what} has {given} entries, but {of} has {wanted} {unit}")
