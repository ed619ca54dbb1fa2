"""scikit-learn's contract, no mathematics: one file per family."""

from simplecell.estimators.classic import CompressionAutoencoder, SparseAutoencoder
from simplecell.estimators.convolved import ConvolvedFeatures
from simplecell.estimators.deep import DenoisingAutoencoder, VariationalAutoencoder
from simplecell.estimators.loading import load
from simplecell.estimators.modern import MatryoshkaSparseAutoencoder, TopKSparseAutoencoder
from simplecell.estimators.sparse_coding import SparseCoding
from simplecell.estimators.stacked import StackedAutoencoder
from simplecell.estimators.stacked_classifier import StackedClassifier
from simplecell.estimators.steered import (
    GatedSparseAutoencoder,
    JumpReLUSparseAutoencoder,
    L1SparseAutoencoder,
)
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
