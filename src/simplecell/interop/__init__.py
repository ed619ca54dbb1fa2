"""Doors to other systems: one file per foreign format or convention."""
