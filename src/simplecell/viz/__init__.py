"""What a person sees: arrays in, picture out.

Tiles are Pillow images and need nothing else; plots are matplotlib figures, and matplotlib is
loaded by the first of them.
"""

from simplecell.viz.drawing import network
from simplecell.viz.files import save, save_figure
from simplecell.viz.grid import most_tiles, near_square, tiles
from simplecell.viz.plots import curve, kl, scatter_codes, spectrum
from simplecell.viz.reconstructions import rows_of_tiles
from simplecell.viz.tables import bars, heatmap_table

__all__ = [
    "bars",
    "curve",
    "heatmap_table",
    "kl",
    "most_tiles",
    "near_square",
    "network",
    "rows_of_tiles",
    "save",
    "save_figure",
    "scatter_codes",
    "spectrum",
    "tiles",
]
