"""Inverse problems: a picture from its noisy or missing pixels, by what patches tend to be like.

Every overlapping patch x is rebuilt from its observed pixels alone, by a *prior* on patches, and a
pixel becomes the mean over the patches that hold it. Priors: `SparsePrior`, a few atoms of a
dictionary; `GaussianPrior`, principal components with their variances, so that PCA stands beside
it. Source: Elad & Aharon 2006, denoising by learned dictionaries. Differs: L1 codes in place of
greedy ones, no share of the damaged picture in the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simplecell.errors import LARGE, DataError, UsageError, real, whole
from simplecell.sparse_coding import L1, Alternation, encode, random_dictionary
from simplecell.training.prepared import resolve_device

CHUNK = 8192  # patches held at a time
LEAST_NOISE = 0.01  # of the picture's range: what an in-painted patch may be off by


def denoise(
    picture: ArrayLike,
    prior: Prior | ArrayLike | None = None,
    *,
    noise: float,
    stride: int = 1,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """The picture without its noise, float64, in its own units.

    Args:
        picture: [h, w] or [h, w, 3], each pixel with independent noise.
        prior: on patches of D = side² pixels (grey; each channel by itself) or 3 side² (colour);
            a dictionary [M, D], or an estimator with `components_`, means `SparsePrior`; None
            learns one from the picture itself.
        noise: its standard deviation, in the picture's units.
        stride: pixels from one patch to the next; 2 takes a quarter of the time.

    Raises: UsageError or DataError for pictures and priors that do not fit each other.
    """
    return _restore(picture, None, prior, noise, stride, device)


def inpaint(
    picture: ArrayLike,
    observed: ArrayLike,
    prior: Prior | ArrayLike | None = None,
    *,
    noise: float | None = None,
    stride: int = 1,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """The picture with its missing pixels filled in, float64, in its own units.

    Args:
        observed: [h, w], true where the pixel counts; the others may hold anything.
        noise: standard deviation of the noise on the observed pixels; they are kept as they are
            when it is not given.

    The other arguments are those of `denoise`.
    """
    mask = read_mask(observed)
    pixels = read_pixels(picture, mask)
    given = noise
    if noise is None:
        noise = LEAST_NOISE * float(np.ptp(pixels[mask])) or LEAST_NOISE
    filled = _restore(pixels, mask, prior, noise, stride, device)
    if given is None:
        filled[mask] = pixels[mask]
    return filled


def psnr(picture: ArrayLike, other: ArrayLike, *, peak: float | None = None) -> float:
    """`10 log₁₀(peak² / mean (picture − other)²)`, *dB*; infinite where they are equal.

    peak is 255 for whole numbers and 1 for others, unless said.

    >>> round(psnr([[0.0, 0.0]], [[0.1, 0.1]]), 6)
    20.0
    """
    first, second = read_real(picture, "picture"), read_real(other, "other")
    if first.shape != second.shape:
        raise UsageError(
            f"the pictures have shapes {first.shape} and {second.shape}; psnr needs one"
        )
    if not first.size:
        raise DataError("the pictures have no pixels; psnr needs at least one")
    if peak is None:
        peak = 255.0 if first.dtype.kind in "iu" else 1.0
    real("peak", peak, above=0)
    error = float(np.linalg.norm(first.astype(float) - second.astype(float))) / first.size**0.5
    if not math.isfinite(error):
        raise DataError("the pictures have pixels that are not finite, or too large to be squared")
    return math.inf if error == 0 else 20 * (math.log10(peak) - math.log10(error))


def learn_dictionary(
    picture: ArrayLike,
    *,
    noise: float,
    observed: ArrayLike | None = None,
    patch: int = 8,
    n_latents: int = 256,
    strength: float = 1.5,
    n_patches: int = 20_000,
    steps: int = 60,
    batch_size: int = 2000,
    seed: int = 0,
    device: str = "cpu",
) -> Tensor:
    """Atoms [M, D] in the unit ball, of the patches of a picture, damaged or not.

    Missing pixels are filled in by the present codes before each dictionary step, which never
    raises the error on the observed ones. α is strength · noise.
    """
    real("noise", noise, above=0)
    real("strength", strength, above=0)
    whole("seed", seed, least=0)
    for name, count in (("n_patches", n_patches), ("steps", steps), ("batch_size", batch_size)):
        whole(name, count)
    mask = None if observed is None else read_mask(observed)
    pixels = _as_tensor(read_pixels(picture, mask), device)
    height, width, _ = pixels.shape
    whole("patch", patch)
    if patch > min(height, width):
        raise UsageError(
            f"patch is {patch}, but the picture has {height}×{width} pixels; learn a dictionary "
            f"of patches that fit, learn_dictionary(…, patch={min(height, width)})"
        )
    places = cover(pixels.shape[:2], patch, 1)
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(places), min(n_patches, len(places)), replace=False)
    index = locate(places[chosen], patch, pixels.shape[1], pixels.device)
    x = cut(pixels, index)
    seen = None if mask is None else cut(as_weights(mask, pixels), index)
    dictionary = random_dictionary(n_latents, x.shape[1], seed).to(x)
    training = Alternation(dictionary, L1(strength * noise))
    for _ in range(steps):
        rows = torch.from_numpy(generator.permutation(len(x))[:batch_size]).to(x.device)
        if seen is None:
            training.step(x[rows] - x[rows].mean(1, keepdim=True))
        else:
            training.step(x[rows], Seen(seen[rows]))
    return training.dictionary


def _restore(
    picture: ArrayLike,
    mask: NDArray[np.bool_] | None,
    prior: Prior | ArrayLike | None,
    noise: float,
    stride: int,
    device: str,
) -> NDArray[np.float64]:
    real("noise", noise, above=0)
    pixels = read_pixels(picture, mask)
    if prior is None:
        prior = learn_dictionary(pixels, noise=noise, observed=mask, device=device)
    known = _as_prior(prior)
    tensor = _as_tensor(pixels, device)
    side, by_channel = side_of(known.n_inputs, tensor.shape)
    whole("stride", stride)
    if stride > side:
        raise UsageError(f"stride is {stride}; from 1 to {side}, the side of a patch, leave no gap")
    planes = tensor.split(1, 2) if by_channel else (tensor,)
    rebuilt = [average(plane, mask, known, noise, side, stride) for plane in planes]
    return torch.cat(rebuilt, 2).double().cpu().numpy().reshape(pixels.shape)


def _as_tensor(pixels: NDArray[np.float64], device: str) -> Tensor:
    """[h, w, c] in float32, on the device."""
    return torch.tensor(np.atleast_3d(pixels), dtype=torch.float32, device=resolve_device(device))


def _as_prior(prior: Prior | ArrayLike) -> Prior:
    if isinstance(prior, Prior):
        return prior
    rows: ArrayLike = getattr(prior, "components_", prior)  # a fitted estimator
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        atoms = read_real(rows, "the dictionary").astype(np.float32)
    dictionary = torch.from_numpy(atoms)
    if dictionary.ndim != 2 or not dictionary.numel() or not torch.isfinite(dictionary).all():
        raise DataError(
            f"the dictionary has shape {tuple(dictionary.shape)}; at least one "
            "atom is needed, [M, D], finite in float32"
        )
    return SparsePrior(dictionary)


@runtime_checkable
class Prior(Protocol):
    """What patches are like: rebuilds those that were seen in part."""

    @property
    def n_inputs(self) -> int:
        """D, numbers in a patch (count)."""
        ...

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """Patches [B, D] from x, of which the pixels `observed` [B, D] (0 or 1; None: all) count.

        noise is the standard deviation of what was added to each observed pixel.
        """
        ...


class Seen:
    """Projection of differences on the observed pixels and, there, on those of mean 0.

    With it an encoder fits only what was seen, and each patch's own mean is free.
    """

    def __init__(self, observed: Tensor) -> None:
        self.observed = observed
        self.count = observed.sum(1, keepdim=True).clamp_min(1)

    def mean(self, x: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Mean over the observed pixels, [b, 1]."""
        return (x * self.observed[rows]).sum(1, keepdim=True) / self.count[rows]

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        return (x - self.mean(x, rows)) * self.observed[rows]


@dataclass(frozen=True)
class SparsePrior:
    """A patch is its mean c plus a few atoms: `min ½‖x − c − s A‖² + α Σ|s|` over observed pixels.

    L1 codes choose the atoms but are too small: `s A` is then lengthened to where it fits best
    (at most 3 times, for what is left of a patch of noise is noise).

    Args:
        dictionary: A [M, D], atoms in the unit ball, of patches without their mean.
        strength: α in units of the noise's standard deviation.
        max_iter, tol: of `encode`.
    """

    dictionary: Tensor
    strength: float = 2.5
    max_iter: int = 100
    tol: float = 1e-3

    def __post_init__(self) -> None:
        real("strength", self.strength)

    @property
    def n_inputs(self) -> int:
        return self.dictionary.shape[1]

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """The codes' patches, lengthened, and the mean that fits best beside them."""
        atoms, penalty = self.dictionary.to(x), L1(self.strength * noise)
        find = partial(encode, penalty=penalty, max_iter=self.max_iter, tol=self.tol)
        if observed is None:  # the mean is free for whole patches when no atom has one
            atoms = atoms - atoms.mean(1, keepdim=True)
            mean = x.mean(1, keepdim=True)
            rebuilt = find(x - mean, atoms).codes @ atoms
            return rebuilt * _lengthening(x - mean, rebuilt) + mean
        seen = Seen(observed)
        rebuilt = find(x, atoms, project=seen).codes @ atoms
        everyone = torch.arange(len(x), device=x.device)
        rebuilt = rebuilt * _lengthening(seen(x, everyone), seen(rebuilt, everyone))
        return rebuilt + seen.mean(x - rebuilt)


def _lengthening(x: Tensor, rebuilt: Tensor) -> Tensor:
    """`⟨x, r⟩ / ‖r‖²` in 1 … 3, [B, 1]: never below 1 at the optimum of L1 codes."""
    square = rebuilt.square().sum(1, keepdim=True).clamp_min(1e-12)
    return ((x * rebuilt).sum(1, keepdim=True) / square).clamp(1, 3)


@dataclass(frozen=True)
class GaussianPrior:
    """A patch is `mean + c W`, c_k ~ N(0, λ_k): PCA, whose codes given the observed pixels o are
    `(W_o W_oᵀ + σ² diag(1/λ))⁻¹ W_o (x − mean)_o`, ridge regression.

    Args:
        mean: [D].
        components: W [K, D], orthonormal rows.
        variances: λ [K], input unit squared.

    Source: Tipping & Bishop 1999, probabilistic PCA. Exact for the posterior mean; λ and W are
    PCA's own.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, x: Tensor, n_components: int | None = None, noise: float = 0.0) -> GaussianPrior:
        """The first components of patches x [B, D]; σ² is taken off the variances of noisy ones."""
        mean = x.mean(0)
        centered = (x - mean).double()
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
        keep = slice(0, n_components)
        variances = (values.flip(0)[keep] - noise**2).clamp_min(1e-12)
        return cls(mean, vectors.T.flip(0)[keep].to(x), variances.to(x))

    @property
    def n_inputs(self) -> int:
        return self.components.shape[1]

    def rebuild(self, x: Tensor, observed: Tensor | None, noise: float) -> Tensor:
        """The posterior mean of each patch."""
        mean, w, variances = (t.to(x) for t in (self.mean, self.components, self.variances))
        ridge = noise**2 / variances
        if observed is None:
            return (x - mean) @ w.T / (1 + ridge) @ w + mean
        masked = observed[:, None, :] * w
        gram = masked @ w.T
        gram.diagonal(dim1=1, dim2=2).add_(ridge)
        pull = (masked @ (x - mean)[:, :, None])[..., 0]
        codes = torch.linalg.solve(gram, pull)
        return codes @ w + mean


def average(
    plane: Tensor,
    mask: NDArray[np.bool_] | None,
    prior: Prior,
    noise: float,
    side: int,
    stride: int,
) -> Tensor:
    """[h, w, c]: at each pixel the mean over all patches that hold it and saw something."""
    height, width, channels = plane.shape
    total = plane.new_zeros(height * width, channels)
    count = plane.new_zeros(height * width, 1)
    weights = None if mask is None else as_weights(mask, plane)
    places = cover((height, width), side, stride)
    for start in range(0, len(places), CHUNK):
        index = locate(places[start : start + CHUNK], side, width, plane.device)
        seen = None if weights is None else cut(weights, index)
        rebuilt = prior.rebuild(cut(plane, index), seen, noise)
        if seen is not None:
            some = seen.any(1)
            rebuilt, index = rebuilt[some], index[some]
        flat = index.reshape(-1)
        total.index_add_(0, flat, rebuilt.reshape(-1, channels))
        count.index_add_(0, flat, count.new_ones(len(flat), 1))
    mean = total / count.clamp_min(1)
    if not bool((count > 0).all()):  # a hole larger than a patch: the mean of what is known
        mean = torch.where(count > 0, mean, mean.sum(0) / (count > 0).sum())
    return mean.view(height, width, channels)


def side_of(n_inputs: int, shape: tuple[int, ...]) -> tuple[int, bool]:
    """The side of the prior's patches, and whether it takes the channels one by one."""
    height, width, channels = shape
    for depth in dict.fromkeys((channels, 1)):
        side = math.isqrt(n_inputs // depth)
        if side * side * depth == n_inputs and side <= min(height, width):
            return side, depth < channels
    raise UsageError(
        f"the prior is for patches of {n_inputs} numbers, which are no square that fits a picture "
        f"of {height}×{width} pixels with {channels} channels"
    )


def read_real(values: ArrayLike, name: str) -> NDArray[np.number]:
    """The values as an array of real numbers, of their own type."""
    try:
        array: NDArray[np.number] = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {array.dtype}, but real numbers are needed")
    return array


def read_mask(observed: ArrayLike) -> NDArray[np.bool_]:
    """True where a pixel counts; at least one does."""
    values = read_real(observed, "observed")
    if not any(np.isin(values, (0, yes)).all() for yes in (1, 255)):
        raise DataError(
            "observed has values that are neither true nor false (0 and 1, or 0 and 255); compare "
            "them first, such as np.isfinite(picture)"
        )
    if not values.any():
        raise DataError("no pixel is observed: there is nothing to fill in from")
    return values.astype(bool)


def read_pixels(picture: ArrayLike, mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """[h, w] or [h, w, 3] in float64, finite; what the mask hides becomes the mean of the rest."""
    pixels = read_real(picture, "the picture").astype(float)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise DataError(f"a picture is [h, w] or [h, w, 3]; this one has shape {pixels.shape}")
    if mask is not None:
        if mask.shape != pixels.shape[:2]:
            raise DataError(
                f"observed has shape {mask.shape}, but the picture is {pixels.shape[:2]}: one "
                "value a pixel is needed"
            )
        pixels[~mask] = pixels[mask].mean(0)
    if not np.isfinite(pixels).all():
        raise DataError("the picture has pixels that are not finite; say so in `observed`")
    if (largest := float(np.abs(pixels).max(initial=0.0))) >= LARGE:
        raise DataError(
            f"the picture has pixels as large as {largest:g}, but the work is done in float32, "
            f"which takes less than {LARGE:g}; scale it, such as to 0 … 1"
        )
    return pixels


def as_weights(mask: NDArray[np.bool_], like: Tensor) -> Tensor:
    """The mask as numbers [h, w, c]."""
    return torch.from_numpy(mask).to(like)[:, :, None].expand(*mask.shape, like.shape[2])


def cover(size: tuple[int, ...], side: int, stride: int) -> NDArray[np.int64]:
    """Upper left corners [n, 2] of patches that cover the whole picture."""
    axes = [np.append(np.arange(0, s - side, stride), s - side) for s in size[:2]]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def locate(places: NDArray[np.int64], side: int, width: int, device: torch.device) -> Tensor:
    """Pixel numbers [n, side²] of the patches at these places."""
    within = np.arange(side)
    rows = places[:, 0, None, None] + within[:, None]
    columns = places[:, 1, None, None] + within
    return torch.from_numpy((rows * width + columns).reshape(len(places), -1)).to(device)


def cut(pixels: Tensor, index: Tensor) -> Tensor:
    """Patches [n, side² c] of a picture [h, w, c], channels last."""
    return pixels.reshape(-1, pixels.shape[2])[index].flatten(1)
