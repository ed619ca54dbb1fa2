"""The compiled tier over torch tensors, where an installation could compile it.

`entries.cpp`: sums over the entries of sparse codes. `classic.cpp`: the layer with elementwise
activations. `lbfgs.cpp`: the direction of a step.
"""

from simplecell.model.native.compiled import Layer, Library, choose, library, padded, tier

__all__ = ["Layer", "Library", "choose", "library", "padded", "tier"]
