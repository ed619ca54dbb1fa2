"""The steps of a preparation: per-sample ones, and affine maps made from two moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from simplecell.errors import DataError
from simplecell.preprocess.moments import Moments

SINGULAR = 1e-12  # a variance below this share of the largest is rounding, not data


class Step:
    """A named step of a preparation."""

    defaults: ClassVar[dict[str, float]] = {}
    form: ClassVar[dict[str, str]] = {}
    """The axes of each fitted tensor: D inputs, K outputs."""

    def __init__(self, kind: str, options: Mapping[str, float]) -> None:
        self.kind, self.options, self.tensors = kind, dict(options), dict[str, Tensor]()

    def report(self) -> list[str]:
        """Sentences on what was fitted."""
        return []


class RemoveDC(Step):
    """x′ = x − mean(x), each sample its own mean. Source: UFLDL, data preprocessing. Exact."""

    def apply(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(1, keepdim=True)
        return x - mean, mean

    def invert(self, x: Tensor, mean: Tensor | None) -> Tensor:
        return x if mean is None else x + mean.to(x.device, x.dtype)

    def pixels(self, rows: Tensor) -> Tensor:
        return rows - rows.mean(1, keepdim=True)

    def atoms(self, rows: Tensor) -> Tensor:
        return rows


class Affine(Step):
    """x′ = (x − mean) @ matrix.T, and back: x = x′ @ inverse.T + mean.

    Shapes: mean [D]; matrix [K, D], inverse [D, K], with fewer axes where diagonal or scalar.
    `tensors` holds them in float64. A subclass says how they follow from the moments (`solve`).
    """

    form: ClassVar[dict[str, str]] = {"mean": "D", "matrix": "D", "inverse": "D"}
    full: ClassVar[bool] = False  # whether `solve` needs the whole covariance

    def __init__(self, kind: str, options: Mapping[str, float]) -> None:
        super().__init__(kind, options)
        self.keep({})

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        """The tensors of `form`, in its order."""
        raise NotImplementedError

    def can_solve(self, moments: Moments | None) -> bool:
        """Whether these moments are all that `solve` needs."""
        return moments is not None and (moments.full or not self.full)

    def fit(self, moments: Moments) -> None:
        moments.check()
        self.keep(dict(zip(self.form, self.solve(moments), strict=True)))

    def after(self, moments: Moments) -> Moments | None:
        """Moments of what the step gives, from those of what it takes; None: they must be read."""
        matrix = self.tensors["matrix"]
        if matrix.ndim == 2 and not moments.full:
            return None
        return moments.mapped(matrix, self.apply(moments.mean[None])[0][0])

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {name: t.to("cpu", torch.float64) for name, t in tensors.items()}
        self._casts: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_casts": {}}  # a copy must open on a machine without a GPU

    def _cast(self, name: str, like: Tensor) -> Tensor:
        key = name, like.dtype, like.device
        if key not in self._casts:
            # A tensor cached from inside inference mode could never be differentiated through.
            with torch.inference_mode(False):
                self._casts[key] = self.tensors[name].to(like.device, like.dtype)
        return self._casts[key]

    def _times(self, rows: Tensor, name: str, transposed: bool = True) -> Tensor:
        factor = self._cast(name, rows)
        if factor.ndim < 2:
            return rows * factor
        return rows @ (factor.T if transposed else factor)

    def apply(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._times(x - self._cast("mean", x), "matrix"), None

    def invert(self, x: Tensor, carried: Tensor | None) -> Tensor:
        return self.atoms(x) + self._cast("mean", x)

    def pixels(self, rows: Tensor) -> Tensor:
        return self._times(rows, "matrix", transposed=False)

    def atoms(self, rows: Tensor) -> Tensor:
        return self._times(rows, "inverse")


class Range(Affine):
    """x′ = (x − min) (high − low) / (max − min) + low, one scale for the whole data set.

    New values outside [min, max] are mapped on, not clipped; equal values all become `low`.
    """

    defaults: ClassVar[dict[str, float]] = {"low": 0.1, "high": 0.9}
    form: ClassVar[dict[str, str]] = {"mean": "", "matrix": "", "inverse": ""}

    def ends(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """The values that become low and high (input unit)."""
        assert moments.ends is not None, "can_solve was not asked"
        return moments.ends

    def can_solve(self, moments: Moments | None) -> bool:
        return moments is not None and moments.ends is not None

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        bottom, top = self.ends(moments)
        inverse = (top - bottom) / (self.options["high"] - self.options["low"])
        return bottom, _reciprocal(inverse), inverse

    def apply(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().apply(x)[0] + self.options["low"], None

    def invert(self, x: Tensor, carried: Tensor | None) -> Tensor:
        return super().invert(x - self.options["low"], carried)

    def report(self) -> list[str]:
        low, high = self.options["low"], self.options["high"]
        bottom, gap = float(self.tensors["mean"]), float(self.tensors["inverse"])
        if gap == 0:
            return [f"{self.kind}: every value is the same, and becomes {low:g}"]
        ends = f"{bottom:.4g} to {bottom + gap * (high - low):.4g}"
        return [f"{self.kind}: values from {ends} are mapped to [{low:g}, {high:g}]"]


class PatchRange(Range):
    """x′ = (clip(x, ±s) / s + 1) / 2 · (high − low) + low, s = 3 std over all entries.

    For samples without their own mean (`remove_dc`); what was clipped does not come back.
    Source: UFLDL, starter code sampleIMAGES. Exact, save that its std divides by count − 1.
    """

    def ends(self, moments: Moments) -> tuple[Tensor, Tensor]:
        between = moments.mean - moments.mean.mean()
        s = 3 * (moments.variance + between.square()).mean().sqrt()
        return -s, s

    def can_solve(self, moments: Moments | None) -> bool:
        return moments is not None

    def after(self, moments: Moments) -> Moments | None:
        return None  # what is clipped has other moments

    def apply(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        # Clipped after the map, where rounding cannot leave the range any more.
        return super().apply(x)[0].clamp(self.options["low"], self.options["high"]), None


class Center(Affine):
    """x′ = x − mean, column by column."""

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        one = torch.ones_like(moments.mean)
        return moments.mean, one, one


class Scale(Affine):
    """x′ = s x, one number s for the whole data set, such that the mean of ‖x′‖² is D.

    After `center` every input then has, on average, variance 1. Source: Anthropic, Circuits
    Updates April 2024. Differs: the mean of the square, not of the length, is fixed.
    """

    form: ClassVar[dict[str, str]] = {"mean": "", "matrix": "", "inverse": ""}

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        size = (moments.variance + moments.mean.square()).mean().sqrt()
        return torch.zeros_like(size), _reciprocal(size), size

    def report(self) -> list[str]:
        if self.tensors["inverse"] == 0:
            return ["scale: every value is 0, and stays it"]
        return [f"scale: values divided by {float(self.tensors['inverse']):.4g}"]


class Standardize(Affine):
    """x′ = (x − mean) / std, column by column; a column that never changes becomes 0."""

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        std = moments.variance.sqrt()
        rounding = 4 * torch.finfo(std.dtype).eps * moments.mean.abs()
        std = torch.where(std > rounding, std, 0.0)
        return moments.mean, _reciprocal(std), std

    def report(self) -> list[str]:
        still = (self.tensors["inverse"] == 0).nonzero()[:, 0].tolist()
        names = ", ".join(map(str, still[:10])) + (", …" if len(still) > 10 else "")
        what = "column never changes and is" if len(still) == 1 else "columns never change and are"
        return [f"{len(still)} {what} left at zero: {names}"] if still else []


class PCA(Affine):
    """x′ = U_kᵀ (x − mean), U the eigenvectors of the covariance, largest variance first.

    k is `n_components`, or the smallest with Σ_{j≤k} λ_j / Σ λ_j ≥ `retained` (1 keeps all).
    `eigenvalues` [D] is the whole spectrum (input unit squared). Source: UFLDL, PCA. Exact; the
    sign is ours: the largest entry of each component is positive.
    """

    full = True
    title: ClassVar[str] = "PCA"
    defaults: ClassVar[dict[str, float]] = {"retained": 0.99}
    form: ClassVar[dict[str, str]] = dict(mean="D", matrix="KD", inverse="DK", eigenvalues="D")

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        values, components = _spectrum(moments.covariance)
        components = components[: self.kept(values)]
        spread = self.spread(values)[: len(components), None]
        return moments.mean, components / spread, (components * spread).T, values

    def kept(self, values: Tensor) -> int:
        """How many components stay (count)."""
        retained = self.options.get("retained", 1.0)
        if "n_components" in self.options:
            wanted = int(self.options["n_components"])
            if wanted > len(values):
                have = f"the rows have {len(values)} columns"
                raise DataError(f"{self.kind} was asked for n_components={wanted}, but {have}")
            return wanted
        if retained == 1.0:
            return len(values)
        return int((values.cumsum(0) < retained * values.sum()).sum()) + 1

    def spread(self, values: Tensor) -> Tensor:
        """What each component is divided by."""
        return torch.ones_like(values)

    def report(self) -> list[str]:
        values, kept = self.tensors["eigenvalues"], len(self.tensors["matrix"])
        share = float(values[:kept].sum() / values.sum()) if values.sum() > 0 else 1.0
        of = f"{kept} of {len(values)} components"
        return [f"{self.title} kept {of} ({100 * share:.1f} % of the variance)"]


class PCAWhiten(PCA):
    """x′ = diag(1/√(λ + ε)) U_kᵀ (x − mean): component j has variance λ_j / (λ_j + ε).

    ε is `relative` times the mean of all λ, whatever the unit of the data, or `epsilon` (input
    unit squared), as the notes have it for pixels. With ε = 0 directions without variance are left
    out. Source: UFLDL, whitening. Exact; `relative` is ours.
    """

    title = "PCA whitening"
    defaults: ClassVar[dict[str, float]] = {"relative": 0.01, "retained": 1.0}

    def epsilon(self, values: Tensor) -> float:
        """ε (input unit squared), of the whole spectrum [D]."""
        if "epsilon" in self.options:
            return self.options["epsilon"]
        return self.options["relative"] * float(values.mean()) or 1.0  # of no variance: anything

    def kept(self, values: Tensor) -> int:
        alive = len(values)
        if self.epsilon(values) == 0:
            alive -= _without_variance(values)
        if not alive:
            raise DataError("every row is the same: there is nothing to whiten with epsilon=0")
        return min(super().kept(values), alive)

    def spread(self, values: Tensor) -> Tensor:
        return torch.sqrt(values + self.epsilon(values))

    def report(self) -> list[str]:
        values = self.tensors["eigenvalues"]
        epsilon = self.epsilon(values)
        damped = f"{int((values < epsilon).sum())} of {len(values)} directions"
        kept = super().report()
        if not (values < epsilon).any():
            return kept
        return [*kept, f"{self.title} damps {damped}: their variance is below epsilon={epsilon:g}"]


class ZCAWhiten(PCAWhiten):
    """x′ = U diag(1/√(λ + ε)) Uᵀ (x − mean): whitened, and as near to x as whitened can be.

    The matrix is symmetric; its inverse U diag(√(λ + ε)) Uᵀ is exact. Source: UFLDL, whitening.
    Exact. Raises DataError for ε = 0 and a covariance without an inverse.
    """

    title = "ZCA whitening"
    defaults: ClassVar[dict[str, float]] = {"relative": 0.01}
    form: ClassVar[dict[str, str]] = dict(mean="D", matrix="DD", inverse="DD", eigenvalues="D")

    def solve(self, moments: Moments) -> tuple[Tensor, ...]:
        values, components = _spectrum(moments.covariance)
        still = _without_variance(values)
        if still and self.epsilon(values) == 0:
            raise DataError(
                f"the covariance is singular: {still} of {len(values)} directions have no variance,"
                " and zca_whiten with epsilon=0 would divide by it; use epsilon > 0, or pca_whiten,"
                " which leaves these directions out"
            )
        spread = self.spread(values)[:, None]
        matrix, inverse = components.T @ (components / spread), components.T @ (components * spread)
        return moments.mean, (matrix + matrix.T) / 2, (inverse + inverse.T) / 2, values

    def report(self) -> list[str]:
        return super().report()[1:]  # it always keeps everything


def _reciprocal(x: Tensor) -> Tensor:
    """1/x, and 0 where x is 0: its pseudo-inverse."""
    return torch.where(x == 0, 0.0, 1 / x)


def _spectrum(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [D], largest first and none negative, and eigenvectors as rows [D, D]."""
    values, vectors = torch.linalg.eigh(covariance)
    values, components = values.flip(0).clamp_min(0), vectors.T.flip(0)
    # Symmetric data give entries that are equal up to rounding: among such, the first decides.
    size = components.abs()
    first = (size >= size.amax(1, keepdim=True) * (1 - 1e-6)).int().argmax(1, keepdim=True)
    return values, components * components.gather(1, first).sign()


def _without_variance(values: Tensor) -> int:
    """How many directions have no variance beyond rounding (count)."""
    return int((values <= SINGULAR * values[0]).sum())
