"""scikit-learn's checks of what is given to an estimator, and what they let pass in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import validation

from simplecell.data.rows import refuse_masked
from simplecell.errors import DataError


def validate_data(estimator: Any, X: Any, *rest: Any, **options: Any) -> Any:
    """scikit-learn's, for data without masked values.

    Raises:
        DataError: for masked values, whose numbers would be learned from as if they were data.
        ValueError: as scikit-learn's does.
    """
    refuse_masked(X, "X")
    return validation.validate_data(estimator, X, *rest, **options)


def check_array(X: Any, **options: Any) -> Any:
    """scikit-learn's, as `validate_data` is."""
    refuse_masked(X, options.get("input_name") or "X")
    return validation.check_array(X, **options)


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
