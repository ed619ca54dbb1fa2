"""Libraries that only some formats need, loaded when a file of theirs comes."""

from __future__ import annotations

import importlib
from typing import Any

from simplecell.errors import UsageError

EXTRAS = {"pyarrow": "parquet", "h5py": "hdf5", "soundfile": "sound", "tifffile": "pictures"}
"""Which extra of the package brings which library."""


def needed(library: str, name: str) -> Any:
    """The library that reads the file `name`. Raises UsageError, naming the extra, without it."""
    package = library.partition(".")[0]
    try:
        return importlib.import_module(library)
    except ImportError:
        raise UsageError(
            f"{name} is read by {package}, which is not installed; say "
            f"pip install 'simplecell[{EXTRAS[package]}]'"
        ) from None
