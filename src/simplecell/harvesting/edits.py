"""What is done to latents inside of a network: off, times, set, or an addition along an atom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simplecell.errors import UsageError, choice

KINDS = ("off", "times", "set", "add")

Numbers = Any
"""A whole number, a list, array or tensor of them, or None."""


@dataclass(frozen=True)
class Edit:
    """One change of codes: of which latents, at which positions of which samples.

    `kind`: "off" (the code is 0), "times" (`value` times the code), "set" (`value`) or "add"
    (`value` times the latent's atom on top of the output, wherever it is, on or off). `latents` is
    a whole number, or a list, array or tensor of them, each counted once. `value` is a number, or a
    list, array or tensor that broadcasts against codes [B, positions, latents] (a value for each
    latent, say) and may ask for a gradient. Positions and samples are counted in each pass of the
    model, from the end where negative; None is all of them.

    Raises:
        UsageError: for a kind that does not exist, where a value is missing, and for numbers that
            are none (true and false, NaN, words).
    """

    kind: str
    latents: Numbers
    value: Any = None
    positions: Numbers = None
    samples: Numbers = None

    def __post_init__(self) -> None:
        choice("edit", self.kind, KINDS)
        if (self.value is None) != (self.kind == "off"):
            needs = "takes no value" if self.kind == "off" else "needs a value"
            raise UsageError(f"an edit '{self.kind}' {needs}; value is {self.value!r}")
        if self.latents is None:
            raise UsageError(f"an edit '{self.kind}' names no latents; give a number or several")
        latents = _whole("latents", self.latents)
        object.__setattr__(self, "value", _value(self.value))
        for name in ("latents", "positions", "samples"):
            numbers = _whole(name, getattr(self, name))
            object.__setattr__(self, name, numbers and tuple(dict.fromkeys(numbers)))
        several = isinstance(self.value, Tensor) and self.value.ndim and self.value.shape[-1] > 1
        if several and len(self.latents) < len(latents or ()):
            raise UsageError("an edit has a value for each latent, and names a latent twice")

    def change(self, codes: Tensor, atoms: Callable[[], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Codes [B, P, M] edited, and what comes on top of the reconstruction [B, P, D] or None.

        Raises UsageError for a latent that is not there. Nothing is edited in place.
        """
        n_latents = codes.shape[-1]
        odd = [j for j in self.latents if not 0 <= j < n_latents]
        if odd:
            raise UsageError(f"there is no latent {odd[0]}; the model has 0 … {n_latents - 1}")
        chosen = torch.tensor(self.latents, device=codes.device)
        here = self.where(codes)
        value = 0.0 if self.value is None else self.value
        if isinstance(value, Tensor):
            value = value.to(codes)
            _refuse_shape(value, (*codes.shape[:-1], len(chosen)))
        if self.kind == "add":
            amount = here[..., None] * torch.ones_like(codes[..., chosen]) * value
            return codes, amount @ atoms()[chosen].to(codes)
        old = codes[..., chosen]
        new = old * value if self.kind == "times" else torch.zeros_like(old) + value
        new = torch.where(here[..., None], new, old)
        return codes.index_copy(-1, chosen, new), None

    def where(self, codes: Tensor) -> Tensor:
        """Where it applies, [B, P] bool."""
        n_samples, n_positions = codes.shape[:2]
        samples = _mask("samples", self.samples, n_samples, codes.device)
        positions = _mask("positions", self.positions, n_positions, codes.device)
        return samples[:, None] & positions


def edits_of(edit: Any) -> list[Edit | Callable[[Tensor], Tensor | None]]:
    """Edits as people say them: an `Edit`, ("off", 12), ("times", [3, 7], 2.0), a dictionary of an
    edit's fields, a function of codes [B, P, M] that gives new ones (or None: as they were), or a
    list of these, done in their order.

    Raises:
        UsageError: for anything else.
    """
    if edit is None:
        return []
    if isinstance(edit, Edit) or callable(edit):
        return [edit]
    if isinstance(edit, Mapping):
        try:
            return [Edit(**edit)]
        except TypeError as error:
            raise UsageError(
                f"an edit is said by kind, latents, value, positions and samples; {error}"
            ) from None
    if isinstance(edit, tuple) and edit and isinstance(edit[0], str):
        if not 2 <= len(edit) <= 3:
            raise UsageError(f"an edit {edit!r} is no (kind, latents) or (kind, latents, value)")
        return [Edit(*edit)]
    if isinstance(edit, list | tuple):
        return [one for part in edit for one in edits_of(part)]
    raise UsageError(
        f"an edit is a {type(edit).__name__}; ('off', latent), ('times', latent, factor), ('set', "
        "latent, value) or ('add', latent, amount) is needed"
    )


def _whole(what: str, numbers: Any) -> tuple[int, ...] | None:
    """Whole numbers of Python, NumPy or torch, however they are held; None stays."""
    if numbers is None:
        return None
    given = numbers
    if isinstance(numbers, Tensor | np.ndarray):
        numbers = numbers.reshape(-1).tolist()
    if isinstance(numbers, Iterable) and not isinstance(numbers, str | bytes | Mapping):
        parts = [one.item() if isinstance(one, Tensor) and not one.ndim else one for one in numbers]
    else:
        parts = [numbers]
    if any(isinstance(one, bool | np.bool_) for one in parts):
        raise UsageError(
            f"the {what} of an edit are {given!r:.80}; their numbers are needed, not true and "
            "false (of a mask: mask.nonzero())"
        )
    if not parts or not all(isinstance(one, int | np.integer) for one in parts):
        raise UsageError(
            f"the {what} of an edit are {given!r:.80}; a whole number is needed, or a list, array "
            "or tensor of at least one"
        )
    return tuple(int(one) for one in parts)


def _value(value: Any) -> float | Tensor | None:
    """A number as it is, several as a tensor; one that asks for a gradient stays itself."""
    if value is None:
        return None
    try:
        found = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
        wrong = found.dtype == torch.bool or found.is_complex() or not found.numel()
        wrong = wrong or not bool(found.detach().isfinite().all())
    except (TypeError, ValueError, RuntimeError, OverflowError):
        wrong = True
    if wrong:
        raise UsageError(
            f"the value of an edit is {value!r:.80}; a finite number is needed, or a list, array "
            "or tensor of them"
        )
    return found if isinstance(value, Tensor) or found.ndim else float(found)


def _refuse_shape(value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise UsageError for values that do not broadcast against the codes of the latents."""
    sides = zip(reversed(value.shape), reversed(shape), strict=False)
    if value.ndim > len(shape) or any(own not in (1, side) for own, side in sides):
        raise UsageError(
            f"the value of an edit has the shape {tuple(value.shape)}, but the codes that it edits "
            f"have {shape} (samples, positions, latents); a number is needed, or such as "
            "broadcast"
        )


def _mask(what: str, numbers: Numbers, n: int, device: torch.device) -> Tensor:
    """Which of n are chosen; those that a pass does not have are none of it."""
    if numbers is None:
        return torch.ones(n, dtype=torch.bool, device=device)
    chosen = torch.zeros(n, dtype=torch.bool, device=device)
    for number in numbers:
        if -n <= number < n:
            chosen[number] = True
    return chosen
