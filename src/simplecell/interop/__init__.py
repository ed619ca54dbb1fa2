"""Doors to other systems: one file per foreign format or convention; `formats` is their table."""
