"""Samples in two dimensions so that neighbours stay near: UMAP and t-SNE, by their libraries."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import UsageError, choice

LAYOUTS = ("pca", "umap", "tsne")
MOST_NEIGHBOURS = 100_000
"""Samples that such a layout is made of, *count*: t-SNE takes minutes for them."""
LIBRARIES = {"umap": ("umap", "umap-learn"), "tsne": ("openTSNE", "openTSNE")}


def check_layout(layout: str) -> None:
    """Raise UsageError for a layout that is not known, or whose library is not installed."""
    import importlib.util

    choice("layout", layout, LAYOUTS)
    module, package = LIBRARIES.get(layout, ("numpy", ""))
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"--layout {layout} needs {package}, which is not installed; install it "
            "(pip install 'simplecell[map]'), or use --layout pca"
        )


def embedded(x: NDArray[np.float32], layout: str) -> NDArray[np.floating]:
    """Rows [n, K] in two dimensions, [n, 2], by "umap" or "tsne"; the same for the same rows.

    Source: McInnes, Healy & Melville 2018, by umap-learn; van der Maaten & Hinton 2008 by openTSNE.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba and of a seed that costs parallel work
        if layout == "umap":
            from umap import UMAP

            near = min(15, len(x) - 1)
            return np.asarray(UMAP(n_neighbors=near, random_state=0).fit_transform(x))
        from openTSNE import TSNE

        perplexity = max(1.0, min(30.0, (len(x) - 1) / 3))
        return np.asarray(TSNE(perplexity=perplexity, random_state=0).fit(x))
