"""Sources of samples: arrays, tables, pictures, patches, and data whose truth is known; shards."""

from simplecell.data.patches import PatchSource
from simplecell.data.planted import Planted, correlated_field, dead_leaves, planted_dictionary
from simplecell.data.rows import ArraySource, Skipped, Source, Subset, split
from simplecell.data.shard_writer import write_shards
from simplecell.data.source import as_source

__all__ = [
    "ArraySource",
    "PatchSource",
    "Planted",
    "Skipped",
    "Source",
    "Subset",
    "as_source",
    "correlated_field",
    "dead_leaves",
    "planted_dictionary",
    "split",
    "write_shards",
]
