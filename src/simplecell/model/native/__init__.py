"""The compiled tier over torch tensors, where an installation could compile it: `entries.cpp`, sums
over the entries of sparse codes, and `classic.cpp`, the layer with elementwise activations."""

from simplecell.model.native.library import Layer, Library, library, padded, tier

__all__ = ["Layer", "Library", "library", "padded", "tier"]
