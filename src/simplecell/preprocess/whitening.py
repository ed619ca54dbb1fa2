"""What a preparation does to the second moments of data: spectrum, covariance before and after.

Every covariance is `C = (1/m) Σ_i (x_i − mean)(x_i − mean)ᵀ`, m samples, in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simplecell.data import as_source
from simplecell.errors import DataError, UsageError
from simplecell.preprocess.affine import SINGULAR, PCAWhiten
from simplecell.preprocess.chain import CHUNK, Preprocess, checked_rows
from simplecell.preprocess.moments import Moments

Floats = NDArray[np.float64]
MOST_INPUTS = 8192  # one covariance of that width takes half a gigabyte


@dataclass(frozen=True)
class WhiteningReport:
    """Covariances of raw rows and of prepared rows, and what follows from them."""

    n_samples: int
    before: Floats
    """[D, D], of raw rows (input unit squared)."""
    after: Floats
    """[D', D'], of prepared rows."""
    expected: Floats | None = None
    """Variances that whitening promises, `λ / (λ + ε)`, largest first [≤ D]; None if the chain
    does not end in a whitening step."""

    @cached_property
    def eigenvalues(self) -> Floats:
        """Spectrum before, largest first [D]."""
        return spectrum(self.before)

    @cached_property
    def eigenvalues_after(self) -> Floats:
        """Spectrum after, largest first [D']."""
        return spectrum(self.after)

    def table(self) -> dict[str, Any]:
        """The figures, ready for JSON; a condition number that is infinite is None."""
        before, after = self.eigenvalues, self.eigenvalues_after
        shares = {f"{share:g}": components_for(before, share) for share in (0.9, 0.95, 0.99)}
        return {
            "n_samples": self.n_samples,
            "n_inputs": len(before),
            "n_outputs": len(after),
            "components_for": shares,
            "condition_number": _before_after(condition_number, before, after),
            "off_diagonal_ratio": _before_after(off_diagonal_ratio, self.before, self.after),
            "variance": {
                "before": [float(before[-1]), float(before[0])],
                "after": [float(after[-1]), float(after[0])],
            },
        }


def whitening_report(
    data: Callable[[], Iterable[Tensor]] | Any, preprocess: Preprocess
) -> WhiteningReport:
    """The report on a fitted preparation, in two passes: raw rows, then prepared rows.

    `data` is a source, anything `as_source` takes, or a function that gives a fresh pass over
    batches [B, D]. Memory holds one batch and one covariance at a time besides the report.

    Raises: DataError for rows of another width than the preparation's, not finite, or so wide
    (8192) that a covariance would fill the memory.

    >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> chain = Preprocess([{"kind": "zca_whiten", "epsilon": 0.5}]).fit(lambda: [torch.tensor(x)])
    >>> report = whitening_report(x, chain)
    >>> report.eigenvalues.tolist(), report.eigenvalues_after.round(6).tolist()
    ([4.5, 0.5], [0.9, 0.5])
    """
    width = max(preprocess.n_inputs, preprocess.n_outputs)
    if width > MOST_INPUTS:
        raise DataError(
            f"the rows have {width} columns, and a covariance of them would need "
            f"{8 * width**2 / 2**30:.1f} GiB; {MOST_INPUTS} columns are the most: use patches, "
            "or fewer columns"
        )
    if not callable(data):
        source = as_source(data)
        data = lambda: (torch.from_numpy(x) for x, _ in source.batches(CHUNK))  # noqa: E731
    rows = _rows(preprocess, data())
    first = next(rows, None)
    if first is None:
        raise DataError("there are no rows to report on")
    before = Moments(itertools.chain([first], rows), full=True)
    after = Moments((preprocess.apply(x).x for x in _rows(preprocess, data())), full=True)
    before.check()
    after.check()
    covariances = before.covariance.numpy(), after.covariance.numpy()
    return WhiteningReport(after.count, *covariances, _promised(preprocess))


def covariance(rows: ArrayLike) -> Floats:
    """C = (1/m) Σ (x − mean)(x − mean)ᵀ [D, D], of rows [m, D]."""
    matrix: Floats = np.asarray(rows, dtype=np.float64)
    centred = matrix - matrix.mean(axis=0)
    return centred.T @ centred / len(matrix)


def spectrum(covariance: Floats) -> Floats:
    """Eigenvalues [D] of a covariance, largest first, none negative."""
    return np.linalg.eigvalsh(covariance)[::-1].clip(min=0)


def retained_variance(eigenvalues: Floats) -> Floats:
    """Share of the variance that the first k components keep, k = 1 … D: `Σ_{j≤k} λ_j / Σ λ_j`.

    Source: UFLDL, PCA. Exact; data without any variance keep all of it.
    """
    total = eigenvalues.sum()
    return np.cumsum(eigenvalues) / total if total > 0 else np.ones_like(eigenvalues)


def components_for(eigenvalues: Floats, share: float) -> int:
    """The smallest k with `Σ_{j≤k} λ_j / Σ λ_j ≥ share` (*count*); share is a fraction 0–1.

    >>> components_for(np.array([7.29, 0.69]), 0.9)
    1
    """
    if not 0 < share <= 1:
        raise UsageError(f"share is {share}, but a share of the variance lies in (0, 1]")
    enough = retained_variance(eigenvalues) >= share - 1e-12  # the last may be 1 − 1e-16
    return int(enough.argmax()) + 1


def whitened_variance(eigenvalues: Floats, epsilon: float) -> Floats:
    """Variance of each component after whitening, `λ / (λ + ε)`; 0 where both are 0.

    Source: UFLDL, whitening. Exact.
    """
    spread = eigenvalues + epsilon
    return np.divide(eigenvalues, spread, out=np.zeros_like(eigenvalues), where=spread > 0)


def condition_number(eigenvalues: Floats) -> float:
    """λ_max / λ_min; infinite where a direction has no variance beyond rounding.

    >>> condition_number(np.array([4.0, 2.0, 0.0]))
    inf
    """
    if eigenvalues[-1] <= SINGULAR * eigenvalues[0]:
        return float("inf")
    return float(eigenvalues[0] / eigenvalues[-1])


def off_diagonal_ratio(covariance: Floats) -> float:
    """‖C − diag C‖ / ‖C‖, Frobenius norms (*fraction 0–1*): 0 when no two inputs correlate.

    >>> off_diagonal_ratio(np.ones((2, 2))) ** 2
    0.5000000000000001
    """
    whole = float(np.square(covariance).sum())
    diagonal = float(np.square(np.diagonal(covariance)).sum())
    return (max(0.0, whole - diagonal) / whole) ** 0.5 if whole > 0 else 0.0


def _promised(preprocess: Preprocess) -> Floats | None:
    """λ / (λ + ε) of the directions that the last step keeps, if it whitens."""
    step = preprocess.last
    if not isinstance(step, PCAWhiten):
        return None
    eigenvalues = step.tensors["eigenvalues"]
    kept = eigenvalues.numpy()[: preprocess.n_outputs]
    return whitened_variance(kept, step.epsilon(eigenvalues))


def _before_after(figure: Callable[[Floats], float], before: Floats, after: Floats) -> Any:
    found = {"before": figure(before), "after": figure(after)}
    return {when: value if np.isfinite(value) else None for when, value in found.items()}


def _rows(preprocess: Preprocess, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    return checked_rows(batches, preprocess.n_inputs, "this preparation was fitted on rows of")
