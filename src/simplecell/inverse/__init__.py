"""Inverse problems: a picture from its noisy or missing pixels, by what patches tend to be like.

Every overlapping patch x is rebuilt from its observed pixels alone, by a *prior* on patches, and a
pixel becomes the mean over the patches that hold it. Priors: `SparsePrior`, a few atoms of a
dictionary; `GaussianPrior`, principal components with their variances, so that PCA stands beside
it. Source: Elad & Aharon 2006, denoising by learned dictionaries. Differs: L1 codes in place of
greedy ones, no share of the damaged picture in the mean.
"""

from simplecell.inverse.pictures import denoise, inpaint, learn_dictionary, psnr
from simplecell.inverse.priors import GaussianPrior, Prior, Seen, SparsePrior

__all__ = [
    "GaussianPrior",
    "Prior",
    "Seen",
    "SparsePrior",
    "denoise",
    "inpaint",
    "learn_dictionary",
    "psnr",
]
