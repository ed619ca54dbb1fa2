"""scikit-learn's contract, no mathematics: one file per family."""

from simplecell.estimators.classic import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from simplecell.estimators.convolved import ConvolvedFeatures
from simplecell.estimators.loading import load
from simplecell.estimators.modern import (
    GatedSparseAutoencoder,
    JumpReLUSparseAutoencoder,
    L1SparseAutoencoder,
    MatryoshkaSparseAutoencoder,
    TopKSparseAutoencoder,
)
from simplecell.estimators.sparse_coder import SparseCoding
from simplecell.estimators.stacked import StackedAutoencoder, StackedClassifier
from simplecell.estimators.transformers import PatchScaling, Whitening

__all__ = [
    "CompressionAutoencoder",
    "ConvolvedFeatures",
    "DenoisingAutoencoder",
    "GatedSparseAutoencoder",
    "JumpReLUSparseAutoencoder",
    "L1SparseAutoencoder",
    "MatryoshkaSparseAutoencoder",
    "PatchScaling",
    "SparseAutoencoder",
    "SparseCoding",
    "StackedAutoencoder",
    "StackedClassifier",
    "TopKSparseAutoencoder",
    "VariationalAutoencoder",
    "Whitening",
    "load",
]
