"""The door of every estimator: scikit-learn's checks, behind which tensors are arrays too."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import validation

from simplecell.data.rows import check_numbers
from simplecell.data.tensors import dense_array_of, is_tensor

DOOR: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}


def validate_data(estimator: Any, X: object, *y: object, **checks: Any) -> Any:
    """scikit-learn's own, of X and y that may be tensors (bfloat16, or with a gradient)."""
    return validation.validate_data(estimator, _array_of(X), *y, **checks)


def check_array(X: object, **checks: Any) -> Any:
    """scikit-learn's own, of X that may be a tensor."""
    return validation.check_array(_array_of(X), **checks)


def _array_of(X: Any) -> Any:
    """X, or what NumPy would not take from it: tensors, alone or one a sample."""
    if isinstance(X, list | tuple) and any(map(is_tensor, X)):
        rows = [dense_array_of(item) for item in X]
        return np.stack(rows) if len({np.shape(row) for row in rows}) == 1 else rows
    X = dense_array_of(X)
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "V":
        check_numbers("X", dtype, X.shape)
    return X
