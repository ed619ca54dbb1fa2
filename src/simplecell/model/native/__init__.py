"""The compiled tier: `entries.cpp` over torch's tensors, where the installation could compile it."""

from simplecell.model.native.library import Library, library, tier

__all__ = ["Library", "library", "tier"]
