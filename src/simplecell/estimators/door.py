"""The door of every estimator: scikit-learn's checks; frames are tables, other things arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import validation

from simplecell.data import Source, as_source
from simplecell.data.columns import is_identifier
from simplecell.data.frames import is_frame
from simplecell.data.options import Options
from simplecell.data.rows import (
    ArraySource,
    Column,
    Encoding,
    check_numbers,
    in_files,
    refuse_masked,
)
from simplecell.data.tables import table_of_frame
from simplecell.data.tensors import dense_array_of, is_tensor
from simplecell.errors import DataError

DOOR: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}


def validate_data(estimator: Any, X: object, *y: object, reset: bool = True, **checks: Any) -> Any:
    """scikit-learn's own, of X that may be a data frame of more than numbers.

    A frame of numbers alone goes by scikit-learn's rules. Of any other (words, identifiers, a list
    in each cell; pyarrow's, Hugging Face's) the inputs are those that the command line would find,
    under the names that it would give them; later frames are matched by the names of columns.

    Raises:
        DataError: for masked values, whose numbers would be learned from as if they were data.
        ValueError: as scikit-learn's does.
    """
    refuse_masked(X, "X")
    encoding = None if reset else _encoding(estimator)
    if not is_frame(X) or (encoding is None and _is_plain(X)):
        if reset:
            estimator._columns, estimator._told = None, _identifiers(X) if is_frame(X) else []
        return validation.validate_data(estimator, _array_of(X), *y, reset=reset, **checks)
    if encoding is None and not reset:
        encoding = _of_names(estimator)
    table = table_of_frame(X, "X", Options(columns=encoding))
    if not reset:
        rows = validation.check_array(table.values, **checks)
        validation._check_n_features(estimator, rows, reset=False)
        return rows
    checked = validation.validate_data(estimator, table.values, *y, reset=True, **checks)
    estimator.feature_names_in_ = np.array(table.input_names, dtype=object)
    estimator._columns, estimator._told = table.columns, table.notes
    return checked


def check_array(X: object, **checks: Any) -> Any:
    """scikit-learn's own, of X that may be a tensor (bfloat16, or with a gradient)."""
    refuse_masked(X, checks.get("input_name") or "X")
    return validation.check_array(_array_of(X), **checks)


def refuse_overflow(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Results [n, …], a row a sample.

    Raises:
        DataError: with the first sample whose result is not finite.
    """
    if not np.isfinite(values).all():
        odd = int((~np.isfinite(values.reshape(len(values), -1)).all(1)).argmax())
        raise DataError(
            f"sample {odd} holds numbers so large that what is made of them is not finite; "
            "remove it, or give it in other units"
        )
    return values


def _opened(source: Source) -> NDArray[np.floating]:
    """The rows [n, D] of a source of numbers, held in memory as scikit-learn holds them."""
    if source.columns is not None and source.kind == "table":
        raise DataError(
            "this is a table, whose words a data frame keeps and an array does not; read "
            "it with pandas or polars and give the frame, or use simplecell train"
        )
    return source.read(slice(0, source.n_samples)).reshape(source.n_samples, -1)


def _array_of(X: Any) -> Any:
    """X, or what NumPy would not take from it: tensors, alone or one a sample; files, sources."""
    if isinstance(X, str | Path):
        X = as_source(X)
    if isinstance(X, Source):
        return _opened(X)
    if isinstance(X, list | tuple) and any(map(is_tensor, X)):
        rows = [dense_array_of(item) for item in X]
        return np.stack(rows) if len({np.shape(row) for row in rows}) == 1 else rows
    X = dense_array_of(X)
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "V":
        check_numbers("X", dtype, X.shape)
    return X


def source_given(estimator: Any, X: object, *, reset: bool) -> Source:
    """X as a source: files of rows read in chunks, whatever else as `validate_data` has it.

    Raises:
        ValueError: for what cannot be used, as `validate_data`.
    """
    source = as_source(X) if isinstance(X, str | Path) else X
    if not isinstance(source, Source) or not _in_chunks(source):
        rows = validate_data(estimator, source, reset=reset, **DOOR)
        return source_of(estimator, rows) if reset else ArraySource(rows)
    if reset:
        estimator._columns, estimator._told = None, []
        estimator.n_features_in_ = source.n_inputs
        vars(estimator).pop("feature_names_in_", None)
        return source
    # One row tells what scikit-learn would say of them all: their number of features.
    validate_data(estimator, source.read(slice(0, 1)), reset=False, **DOOR)
    return source


def _in_chunks(source: Source) -> bool:
    """Whether rows lie in files that are read as far as they are needed, and are no table."""
    return in_files(source) and len(source.shape) == 1 and source.columns is None


def source_of(estimator: Any, rows: Any) -> ArraySource:
    """The rows [n, D] of the last fit as a source, with what the table behind them was."""
    told = getattr(estimator, "_told", [])
    return ArraySource(rows, columns=getattr(estimator, "_columns", None), notes=told)


def _identifiers(frame: Any) -> list[str]:
    """Sentences on columns of a frame of numbers that name rows: scikit-learn leaves none out."""
    found = ((str(name), np.asarray(frame[name])) for name in frame.columns)
    return [
        f"column {name!r} of X {why}, and is learned from like any other: leave it out"
        for name, values in found
        if values.ndim == 1 and (why := is_identifier(values, name, named=True))
    ]


def _is_plain(frame: Any) -> bool:
    """Whether this is a pandas or polars frame of numbers alone, one in each cell."""
    kinds = getattr(frame, "dtypes", None)
    if kinds is None:
        return False
    return all(
        kind.is_numeric() or str(kind) == "Boolean"
        if hasattr(kind, "is_numeric")
        else getattr(kind, "kind", "O") in "biuf"
        for kind in kinds
    )


def _encoding(estimator: Any) -> Encoding | None:
    """How the table was encoded that the estimator, or its run, learned from; None for an array."""
    if "_columns" in vars(estimator):
        return estimator._columns
    trained = getattr(estimator, "_trained", None)
    return None if trained is None else trained.info["data"].get("columns")


def _of_names(estimator: Any) -> Encoding | None:
    """An encoding of the names that a frame of numbers had, for a later one that has more."""
    if not hasattr(estimator, "feature_names_in_"):
        return None
    names = [str(name) for name in estimator.feature_names_in_]
    return Encoding(header=True, columns=[Column(name=name, kind="number") for name in names])
