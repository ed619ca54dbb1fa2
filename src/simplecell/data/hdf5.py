"""HDF5: one dataset by its path, and MATLAB's files of version 7.3, turned as MATLAB means them.

What lies uncompressed in one piece is memory-mapped; the rest is held in memory, its declared size
looked at before. Nothing in a file leads to another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data.binary import checked_sparse, dataset_array
from simplecell.data.extras import needed
from simplecell.data.genes import is_anndata, is_tenx, read_anndata, read_tenx
from simplecell.data.loaded import Loaded, choose
from simplecell.data.options import Options
from simplecell.errors import UsageError

_HIDDEN = ("#refs#", "#subsystem#")


def read_hdf5(path: Path, options: Options) -> Loaded:
    """A dataset of an HDF5 file (`data.key` is its path), AnnData's matrix or 10x's counts."""
    with needed("h5py", path.name).File(path, "r") as file:
        if is_anndata(file):
            return read_anndata(file, path, options)
        if is_tenx(file):
            return read_tenx(file, path)
        if options.layer is not None:
            raise UsageError(f"data.layer is for AnnData, which {path.name} is not; use data.key")
        found = _datasets(file)
        shapes = {name: dataset.shape for name, dataset in found.items()}
        data = dataset_array(found[choose(path.name, shapes, options.key)], path)
        return Loaded(data, either_way=True)


def read_matlab(path: Path, options: Options) -> Loaded:
    """One variable of a MATLAB 7.3 file; in 3-D and 4-D the sample is the last axis.

    MATLAB's first axis is HDF5's last: the axes are reversed.
    """
    with needed("h5py", f"{path.name}, a MATLAB 7.3 file,").File(path, "r") as file:
        found = {**_datasets(file), **_sparse_groups(file)}
        shapes = {name: _matlab_shape(item) for name, item in found.items()}
        item = found[choose(path.name, shapes, options.key)]
        if hasattr(item, "keys"):
            return Loaded(_matlab_sparse(item, path), either_way=True)
        data = dataset_array(item, path)
        if item.attrs.get("MATLAB_class") == b"logical":
            data = data.astype(bool)
        return Loaded(data.T, samples_last=data.ndim > 2, either_way=True)


def _datasets(file: Any) -> Mapping[str, Any]:
    """Datasets of numbers by their paths: those of two axes or more, or all where there is none."""
    found: dict[str, Any] = {}

    def look(name: str, item: Any) -> None:
        if not hasattr(item, "dtype") or name.startswith(_HIDDEN) or item.shape is None:
            return
        text = item.attrs.get("MATLAB_class") in (b"char", b"cell")
        if not text and item.dtype.kind in "biufcV" and not _is_part_of_sparse(item):
            found[name] = item

    file.visititems(look)
    return {name: item for name, item in found.items() if len(item.shape) > 1} or found


def _is_part_of_sparse(item: Any) -> bool:
    return "MATLAB_sparse" in item.parent.attrs


def _sparse_groups(file: Any) -> Mapping[str, Any]:
    return {name: item for name, item in file.items() if "MATLAB_sparse" in item.attrs}


def _matlab_shape(item: Any) -> tuple[int, ...]:
    if hasattr(item, "keys"):
        return int(item.attrs["MATLAB_sparse"]), len(item["jc"]) - 1
    return tuple(item.shape[::-1])


def _matlab_sparse(group: Any, path: Path) -> Any:
    """MATLAB's compressed columns; an empty matrix has no data."""
    from scipy import sparse

    if "data" not in group:
        return sparse.csr_array(_matlab_shape(group))
    parts = (dataset_array(group[name], path) for name in ("data", "ir", "jc"))
    values, rows, starts = parts
    matrix = (values.astype(np.float64), rows.astype(np.int64), starts.astype(np.int64))
    return checked_sparse(sparse.csc_array(matrix, shape=_matlab_shape(group)))
