"""What a person sees: arrays in, picture out.

Tiles are Pillow images and need nothing else; plots are matplotlib figures, and matplotlib is
loaded by the first of them. `whitening` alone needs torch, and loads it when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simplecell.viz.drawing import network
from simplecell.viz.files import save, save_figure
from simplecell.viz.front import front
from simplecell.viz.grid import most_tiles, near_square, tiles
from simplecell.viz.manifold import manifold
from simplecell.viz.numbers import bars, heatmap_table
from simplecell.viz.plots import curve, kl, scatter_codes, spectrum
from simplecell.viz.reconstructions import rows_of_tiles
from simplecell.viz.templates import templates

if TYPE_CHECKING:
    from simplecell.viz.preparation import whitening

__all__ = [
    "bars",
    "curve",
    "front",
    "heatmap_table",
    "kl",
    "manifold",
    "most_tiles",
    "near_square",
    "network",
    "rows_of_tiles",
    "save",
    "save_figure",
    "scatter_codes",
    "spectrum",
    "templates",
    "tiles",
    "whitening",
]


def __getattr__(name: str) -> object:
    if name == "whitening":
        from simplecell.viz.preparation import whitening

        return whitening
    raise AttributeError(f"module 'simplecell.viz' has no attribute '{name}'")
