"""Whole pictures: denoise, in-paint, learn from what is left, and measure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simplecell.errors import DataError, UsageError
from simplecell.feed import resolve_device
from simplecell.inverse.overlap import (
    as_weights,
    average,
    cover,
    cut,
    locate,
    read_mask,
    read_pixels,
    read_real,
    side_of,
)
from simplecell.inverse.priors import Prior, Seen, SparsePrior
from simplecell.sparse_coding import L1, Alternation, random_dictionary
from simplecell.sparse_coding.settings import real, whole

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


def _as_prior(prior: Any) -> Prior:
    if hasattr(prior, "rebuild"):
        return prior
    prior = getattr(prior, "components_", prior)  # a fitted estimator
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        atoms = read_real(prior, "the dictionary").astype(np.float32)
    dictionary = torch.from_numpy(atoms)
    if dictionary.ndim != 2 or not dictionary.numel() or not torch.isfinite(dictionary).all():
        raise DataError(
            f"the dictionary has shape {tuple(dictionary.shape)}; at least one "
            "atom is needed, [M, D], finite in float32"
        )
    return SparsePrior(dictionary)
