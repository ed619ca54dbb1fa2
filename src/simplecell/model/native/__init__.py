"""The compiled tier: `entries.cpp` over torch tensors, where an installation could compile it."""

from simplecell.model.native.compiled import Library, choose, library, tier

__all__ = ["Library", "choose", "library", "tier"]
