"""The compiled tier: `entries.cpp` over torch tensors, where an installation could compile it."""

from simplecell.model.native.library import Library, library, tier

__all__ = ["Library", "library", "tier"]
