"""Tables of cells and genes: AnnData (.h5ad) and 10x's .h5. Cells are samples, genes inputs.

Sparse counts stay sparse. What a file says of its cells (names, types, batches) becomes their
records. Source: anndata, "On-disk format"; 10x Genomics, "HDF5 Feature-Barcode Matrix".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data.binary import checked_sparse, dataset_array, refuse_trap
from simplecell.data.counts import raw_counts
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.rows import Array, Meta, Record
from simplecell.errors import DataError, unknown

_SPARSE = {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}
_TENX = {"barcodes", "data", "indices", "indptr", "shape"}


def is_anndata(file: Any) -> bool:
    """Whether an open HDF5 file is one of AnnData's."""
    return {"X", "obs", "var"} <= set(file) or text_of(file, "encoding-type") == "anndata"


def is_tenx(file: Any) -> bool:
    """Whether an open HDF5 file is one of 10x's, of either layout."""
    return any(hasattr(group, "keys") and set(group) >= _TENX for group in file.values())


def read_anndata(file: Any, path: Path, options: Options) -> Loaded:
    """X [cells, genes] of an open AnnData file, or the layer, or what `data.key` names in it.

    `data.layer` is one of its layers, or "raw"; `data.key` such as "obsm/X_pca" another matrix;
    `data.label` a column of obs. Raises UsageError for what is not there.
    """
    place = _place(file, path, options)
    data = _matrix(file[place], path)
    raw = "raw/var" if place.startswith("raw/") else "var"
    genes = place == "X" or place.startswith(("layers/", "raw/"))
    names, columns = frame_of(file["obs"], path)
    label = None if options.label is None else _label(columns, options.label, path)
    layers = ", ".join(file.get("layers", ())) or "none"
    note = (
        f"{path.name}: {data.shape[0]} cells are samples, from {place} (layers: {layers}; "
        "data.layer and data.key choose)"
    )
    return Loaded(
        data,
        input_names=distinct(frame_of(file[raw], path)[0]) if genes else None,
        records=records_of(names, {k: v for k, v in columns.items() if k != options.label}),
        labels=label,
        label_is_known=label is not None,
        notes=[note, *(raw_counts(data, f"{place} of {path.name}") if genes else [])],
    )


def _place(file: Any, path: Path, options: Options) -> str:
    """Where the matrix lies that is meant."""
    known = ["X"] if "X" in file else []
    known += [f"{group}/{name}" for group in ("layers", "obsm") for name in file.get(group, ())]
    known += ["raw/X"] if "raw" in file else []
    if options.layer is not None:
        layers = [name[7:] for name in known if name.startswith("layers/")]
        layers += ["raw"] if "raw" in file else []
        if options.layer not in layers:
            raise unknown(f"layer of {path.name}", options.layer, layers)
        return "raw/X" if options.layer == "raw" else f"layers/{options.layer}"
    place = options.key or "X"
    if place not in known:
        raise unknown(f"matrix in {path.name}", place, known)
    return place


def _matrix(item: Any, path: Path) -> Any:
    """A dense dataset, or the group that AnnData keeps a sparse matrix in."""
    if not hasattr(item, "keys"):
        return dataset_array(item, path)
    kind = text_of(item, "encoding-type") or text_of(item, "h5sparse_format")
    if kind not in _SPARSE:
        raise DataError(f"{item.name} of {path.name} is of the kind {kind!r}, no matrix of numbers")
    shape = item.attrs["shape"] if "shape" in item.attrs else item.attrs["h5sparse_shape"]
    return compressed(item, path, _SPARSE[kind], (int(shape[0]), int(shape[1])))


def compressed(group: Any, path: Path, order: str, shape: tuple[int, int]) -> Any:
    """A SciPy CSR matrix of a group's `data`, `indices` and `indptr`, all inside the shape."""
    from scipy import sparse

    parts = [group[name] for name in ("data", "indices", "indptr")]
    declared = sum(part.size * part.dtype.itemsize for part in parts)
    refuse_trap(path.name, declared, path.stat().st_size)
    form = sparse.csr_array if order == "csr" else sparse.csc_array
    return checked_sparse(form(tuple(part[()] for part in parts), shape=shape))


def frame_of(item: Any, path: Path) -> tuple[list[str], dict[str, Array]]:
    """The row names of a data frame in AnnData's layout, and its columns that can be read."""
    if not hasattr(item, "keys"):  # before version 0.7: one table of records
        table = item[()]
        first = next(n for n in ("index", "_index", table.dtype.names[0]) if n in table.dtype.names)
        columns = {name: as_text(table[name]) for name in table.dtype.names if name != first}
        return [str(name) for name in as_text(table[first])], columns
    index = text_of(item, "_index") or "_index"
    names = [str(name) for name in _column(item[index], path)]
    found = {name: _column(part, path) for name, part in item.items() if name != index}
    return names, {name: column for name, column in found.items() if len(column) == len(names)}


def _column(item: Any, path: Path) -> Array:
    """A column [n]: numbers, words, or categories as words; nothing, of other kinds."""
    if not hasattr(item, "keys"):
        refuse_trap(path.name, item.size * item.dtype.itemsize, path.stat().st_size)
        return as_text(item[()])
    if {"codes", "categories"} <= set(item):
        words = np.array([*as_text(item["categories"][()]), None], dtype=object)
        return words[item["codes"][()]]
    if {"values", "mask"} <= set(item):
        values = as_text(item["values"][()]).astype(object)
        values[item["mask"][()]] = None
        return values
    return np.empty(0)


def as_text(values: Array) -> Array:
    """Bytes, which HDF5 keeps words in, as words; numbers as they are."""
    if values.dtype.kind not in "SO":
        return values
    words = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
    return np.array(words, dtype=object)


def text_of(item: Any, attribute: str) -> str | None:
    """An attribute that is a word."""
    value = item.attrs.get(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _label(columns: dict[str, Array], label: str | int, path: Path) -> Array:
    if label not in columns:
        raise unknown(f"column of obs in {path.name}", label, columns)
    values = columns[str(label)]
    return np.array([str(v) for v in values]) if values.dtype == object else values


def records_of(names: Sequence[str], columns: dict[str, Array]) -> Meta:
    """What is known of each row: its name under "id", and its value in every column."""

    def record(i: int) -> Record:
        told = {name: column[i] for name, column in columns.items()}
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in told.items()}
        return {"id": names[i]} | {k: v for k, v in plain.items() if v is not None}

    return Meta(len(names), record)


def distinct(names: Sequence[str], more: Sequence[str] | None = None) -> list[str]:
    """Names that differ: a doubled one gets what else is known of it, or its place."""
    often = Counter(names)
    told = more or [str(j) for j in range(len(names))]
    return [f"{n} ({t})" if often[n] > 1 else n for n, t in zip(names, told, strict=True)]


def read_tenx(file: Any, path: Path) -> Loaded:
    """Counts [cells, features] of an open file of Cell Ranger's, version 2 or 3."""
    found = {name: g for name, g in file.items() if hasattr(g, "keys") and set(g) >= _TENX}
    if len(found) > 1:
        raise DataError(
            f"{path.name} holds the genomes {', '.join(found)}; write one of them to a file"
        )
    group = next(iter(found.values()))
    n_features, n_cells = (int(side) for side in group["shape"][()])
    data = compressed(group, path, "csr", (n_cells, n_features))
    features = group.get("features", group)
    names = [str(n) for n in as_text(features["name" if features != group else "gene_names"][()])]
    ids = [str(n) for n in as_text(features["id" if features != group else "genes"][()])]
    kinds = Counter(as_text(features["feature_type"][()])) if "feature_type" in features else {}
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or f"{n_features} genes"
    cells = [str(name) for name in as_text(group["barcodes"][()])]
    note = f"{path.name}: {n_cells} cells are samples, and their inputs are {told}"
    return Loaded(
        data,
        input_names=distinct(names, ids),
        records=records_of(cells, {}),
        notes=[note, *raw_counts(data, path.name)],
    )
