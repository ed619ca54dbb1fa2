"""Preparation as scikit-learn transformers: thin covers over `simplecell.preprocess`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin
from sklearn.utils.validation import check_is_fitted

from simplecell.errors import UsageError, choice
from simplecell.estimators.contract import Array, PrecisionTransformer
from simplecell.estimators.door import check_array, refuse_overflow, validate_data
from simplecell.preprocess.affine import PCAWhiten
from simplecell.preprocess.chain import Preprocess

# torch takes no read-only and no negatively strided arrays: scikit-learn copies those at the door.
DOOR: dict[str, Any] = {
    "dtype": [np.float64, np.float32],
    "order": "C",
    "force_writeable": True,
}


class _StepTransformer(PrecisionTransformer):
    """A fitted chain behind fit, transform and inverse_transform; a subclass names the steps."""

    def _steps(self) -> list[dict[str, object] | str]:
        raise NotImplementedError

    def fit(self, X: object, y: object = None) -> Self:
        """Learn the map from X [n_samples, n_features]; y is ignored."""
        chain = Preprocess(self._steps())
        rows = torch.from_numpy(validate_data(self, X, **DOOR))
        self._chain = chain.fit(lambda: [rows])
        return self

    def transform(self, X: object) -> Array:
        """Prepared X [n_samples, n_outputs], in float32 if X is float32, else in float64."""
        check_is_fitted(self)
        rows = torch.from_numpy(validate_data(self, X, reset=False, **DOOR))
        return refuse_overflow(self._chain.apply(rows).x.numpy())

    def inverse_transform(self, X: object) -> Array:
        """X [n_samples, n_outputs] back in the units of the data, as far as it can be undone."""
        check_is_fitted(self)
        return self._chain.invert(torch.from_numpy(check_array(X, **DOOR))).numpy()


@dataclass(eq=False, repr=False)
class Whitening(ClassNamePrefixFeaturesOutMixin, _StepTransformer):  # type: ignore[misc]
    """Whitening: x′ = components_ @ (x − mean_), uncorrelated, with variance λ / (λ + epsilon).

    Unlike `PCA(whiten=True)` it divides by the number of samples m (not m − 1), regularises with
    `epsilon`, and offers ZCA, whose output stays as near to the data as whitened data can be.
    Source: UFLDL, whitening. Exact.

    Args:
        method: "zca" (U diag(1/√(λ+ε)) Uᵀ) or "pca" (diag(1/√(λ+ε)) Uᵀ).
        epsilon: added to each variance (input unit squared), 0.1 in the notes' exercise with
            pixels; 0 whitens fully. None is a hundredth of the mean variance, whatever the unit.
        retained: share of the variance that the components kept carry (fraction 0–1; "pca" only).
        remove_dc: subtract each sample's own mean first; `inverse_transform` cannot restore it.

    Attributes:
        mean_: [D], of the data (after `remove_dc`); components_: [D', D], the whitening matrix;
        eigenvalues_: [D], the whole spectrum, largest first; n_components_: D';
        n_features_in_: D; epsilon_: what was added; notes_: what was found, such as directions
        that are damped.

    Raises:
        UsageError: an unknown method, or a value out of range.
        DataError: epsilon=0 and directions without variance (only "pca" leaves them out).

    >>> from sklearn.datasets import load_iris
    >>> Whitening(epsilon=0).fit_transform(load_iris().data).std(axis=0).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    method: str = "zca"
    _: KW_ONLY
    epsilon: float | None = None
    retained: float = 1.0
    remove_dc: bool = False

    def _steps(self) -> list[dict[str, object] | str]:
        choice("whitening method", self.method, ("pca", "zca"))
        whiten: dict[str, object] = {"kind": f"{self.method}_whiten"}
        if self.epsilon is not None:
            whiten["epsilon"] = self.epsilon
        if self.method == "pca":
            whiten["retained"] = self.retained
        elif self.retained != 1.0:
            raise UsageError(
                f"retained={self.retained!r} needs method='pca'; ZCA keeps every direction"
            )
        return ["remove_dc", whiten] if self.remove_dc else [whiten]

    def fit(self, X: object, y: object = None) -> Self:
        """Learn mean and whitening matrix from X [n_samples, n_features]; y is ignored."""
        super().fit(X)
        found = {name.partition(".")[2]: t.numpy() for name, t in self._chain.state().items()}
        self.mean_, self.components_ = found["mean"], found["matrix"]
        self.eigenvalues_, self.n_components_ = found["eigenvalues"], len(found["matrix"])
        step = self._chain.last
        assert isinstance(step, PCAWhiten)
        self.epsilon_, self.notes_ = step.epsilon(step.tensors["eigenvalues"]), step.report()
        return self

    @property
    def _n_features_out(self) -> int:
        return self.n_components_


class PatchScaling(OneToOneFeatureMixin, _StepTransformer):  # type: ignore[misc]
    """Each sample without its own mean, clipped to ±3 std and scaled to [0.1, 0.9].

    x′ = (clip(x − mean(x), ±s) / s + 1) · 0.4 + 0.1, s = `scale_` = 3 std over all entries: what
    a sigmoid output can reproduce. Source: UFLDL, starter code sampleIMAGES. Exact, save that
    its std divides by the number of entries − 1.

    `inverse_transform` gives samples of mean 0: neither the mean of each sample nor what was
    clipped can be restored from x′.

    Attributes:
        scale_: s (input unit); n_features_in_: D.
    """

    def _steps(self) -> list[dict[str, object] | str]:
        return ["remove_dc", "patch_range"]

    def fit(self, X: object, y: object = None) -> Self:
        """Learn the scale from X [n_samples, n_features]; y is ignored."""
        super().fit(X)
        self.scale_ = -float(self._chain.state()["1.mean"])
        return self
