"""scikit-learn's contract, no mathematics: one file per family."""

from simplecell.estimators.classic import CompressionAutoencoder, SparseAutoencoder, load
from simplecell.estimators.transformers import PatchScaling, Whitening

__all__ = ["CompressionAutoencoder", "PatchScaling", "SparseAutoencoder", "Whitening", "load"]
