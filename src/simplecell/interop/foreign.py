"""A model of another library in this one's words, and what its readers share.

A reader gives two things that are made apart: the weights as `simplecell.model.Autoencoder` has
them, and `evaluate`, the file's own convention as a few lines over the file's own tensors. The
conversion is believed when both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import RunError, SimplecellError, UsageError, unknown

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Samples [B, D] to codes [B, M] and reconstructions [B, D'], in the precision of the samples."""
Weights = dict[str, Tensor]
GIVEN = {
    "k": "active latents a sample",
    "activation": "relu, topk, batchtopk or jumprelu",
    "threshold": "one number that codes must exceed",
    "scale": "what samples are multiplied by before the encoder",
    "normalized": "true: the samples are given normalised already",
    "normalization": "l2, max_l2, l1, max_l1 or identity: what is done to each atom",
}
"""What a file may not say, and a caller can: `--k`, or `--set NAME=VALUE`."""


@dataclass(frozen=True)
class Foreign:
    """A model that was read: what it is, its weights in our convention, its own evaluation."""

    kind: str
    """What its library calls it, such as "SAELens jumprelu"."""
    activation: str
    """A name of `ACTIVATIONS`."""
    weights: Weights
    """By the names of `Autoencoder.weights`; without `center` it is the offset (pre_bias)."""
    evaluate: Evaluate
    k: float | None = None
    widths: list[int] | None = None
    """m_1 < … < M of a Matryoshka model, where its file says them."""
    transcoder: bool = False
    told: list[str] = field(default_factory=list)
    """What a user must know of it."""
    lost: list[str] = field(default_factory=list)
    """What is in the file and cannot be carried over."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the file says of where its activations come from, as JSON."""

    @property
    def sizes(self) -> str:
        """D, M and D' in words."""
        n_latents, n_inputs = self.weights["encoder"].shape
        into = f" to {self.weights['decoder'].shape[1]} outputs" if self.transcoder else ""
        return f"{n_inputs} inputs{into}, {n_latents} latents"


class Given:
    """What a caller says that the file does not; whatever no reader asks for is refused."""

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._left = dict(values or {})

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, default: Any = None) -> Any:
        """The value of that name, which is then used up."""
        return self._left.pop(name, default)

    def number(self, name: str, default: float | None = None) -> float | None:
        """The number of that name. Raises UsageError for what is none above 0."""
        value = self.take(name, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
            raise UsageError(f"{name} is {value!r}; a number above 0 is needed")
        return float(value)

    def word(self, name: str, known: tuple[str, ...]) -> str | None:
        """The word of that name. Raises UsageError for one that is not known."""
        value = self.take(name)
        if value is not None and value not in known:
            raise unknown(name, value, known)
        return value

    def refuse_left(self, kind: str, more: tuple[str, ...] = ()) -> None:
        """Raise UsageError for what nobody asked for."""
        for name in self._left:
            if name not in (*GIVEN, *more):
                raise unknown("setting of a conversion", name, [*GIVEN, *more])
            raise UsageError(f"{name} says nothing of this model ({kind}); leave it out")


class Tensors:
    """The tensors of one file, taken by name and checked."""

    def __init__(self, tensors: Mapping[str, Any], where: str) -> None:
        self._tensors, self._where = tensors, where
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor of that name, in float32 or float64; None in `shape` is any number.

        Raises:
            RunError: when it is missing, of another shape, no numbers or not finite.
        """
        self._taken.add(name)
        found = self._tensors.get(name)
        if not isinstance(found, Tensor):
            raise RunError(f"'{self._where}' is damaged: it has no tensor '{name}'")
        wanted = [
            len(shape) != found.ndim,
            *(s not in (None, n) for s, n in zip(shape, found.shape, strict=False)),
        ]
        if any(wanted):
            words = (
                " × ".join("any" if side is None else str(side) for side in shape) or "one number"
            )
            raise RunError(
                f"'{self._where}' is damaged: '{name}' has the shape {tuple(found.shape)}, and "
                f"{words} is needed"
            )
        if found.layout != torch.strided or found.is_complex() or found.is_quantized:
            raise RunError(
                f"'{self._where}' holds '{name}' as {found.dtype}; plain numbers are needed"
            )
        if found.dtype not in (torch.float32, torch.float64):
            found = found.float()
        if not bool(torch.isfinite(found).all()):
            raise RunError(
                f"'{self._where}' is damaged: '{name}' holds numbers that are not finite"
            )
        return found.detach().contiguous()

    def left(self, known: tuple[str, ...] = ()) -> list[str]:
        """The names that nobody took, and that are not `known`."""
        return sorted(set(map(str, self._tensors)) - self._taken - set(known))

    def narrow(self) -> list[str]:
        """A sentence where weights are in half precision."""
        kinds = {
            str(t.dtype).removeprefix("torch.")
            for t in self._tensors.values()
            if isinstance(t, Tensor) and t.is_floating_point() and t.element_size() < 4
        }
        return [
            f"weights in {kind} are kept as the float32 of the same value" for kind in sorted(kinds)
        ]


def refuse_left(tensors: Tensors, where: str, known: tuple[str, ...] = ()) -> None:
    """Raise RunError for a tensor that the reader knows nothing of: it may change every code."""
    if odd := tensors.left(known):
        raise RunError(
            f"'{where}' holds '{odd[0]}', which this reader knows nothing of; it may belong to a "
            "newer version of the library"
        )


def k_of(given: Given, stored: object, n_latents: int, where: str) -> int:
    """The k of top-k codes: what the file has `stored`, or what the caller says.

    Raises:
        UsageError: where neither says it, or they differ.
        RunError: for what is no number of latents.
    """
    said = given.take("k")
    if said is None and stored is None:
        raise UsageError(
            f"'{where}' keeps the k largest latents of each sample and does not say k; give it "
            "with --k (in Python: load(path, k=...))"
        )
    if said is not None and stored is not None and said != stored:
        raise UsageError(f"k is {said!r}, but '{where}' says {stored!r}; leave it out")
    k: Any = stored if said is None else said
    whole = isinstance(k, int | float) and not isinstance(k, bool) and k == int(k)
    if not whole or not 1 <= k <= n_latents:
        wrong: type[SimplecellError] = RunError if said is None else UsageError
        raise wrong(
            f"'{where}': k is {k!r}; a whole number of latents from 1 to {n_latents} is needed"
        )
    return int(k)


def skip_of(tensors: Tensors, shape: tuple[int, int], where: str) -> list[str]:
    """A sentence where a linear skip connection is there and is 0.

    Raises:
        RunError: where it is not: no model of ours has one.
    """
    if "W_skip" not in tensors:
        return []
    if bool(tensors.take("W_skip", *shape).any()):
        raise RunError(
            f"'{where}' adds a linear skip connection (W_skip) to its reconstructions, and no "
            "model here has one; only one whose W_skip is 0 can be read"
        )
    return ["W_skip is 0 and was left out"]


def positive_part(threshold: Tensor) -> Tensor:
    """Thresholds as `JumpReLU` has them: below 0 its ReLU decides, as at 0."""
    return threshold.clamp_min(0)


def inclusive(threshold: Tensor) -> Tensor:
    """The threshold that numbers exceed exactly where they reach this one, θ > 0."""
    return torch.nextafter(threshold, torch.zeros_like(threshold))


def jumped(pre: Tensor, threshold: Tensor) -> Tensor:
    """`ReLU(pre) · 1[pre > θ]`."""
    return pre.relu() * (pre > threshold)


def kept(values: Tensor, k: int) -> Tensor:
    """The k largest of each row of values, the rest 0."""
    top = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, top.indices, top.values)


def cast(tensors: Weights, x: Tensor) -> Weights:
    """The same tensors in the precision of x."""
    return {name: tensor.to(x.dtype) for name, tensor in tensors.items()}
