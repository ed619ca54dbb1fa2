"""One update of a model with sparse codes and a squared error: `update.cpp` over tensors."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.model.native.compiled import Library, address, balanced, dealt, whole
from simplecell.model.places import Places


class Pace(NamedTuple):
    """How far Adam moves at one step. Source: Kingma & Ba 2015, algorithm 1."""

    keep_mean: float
    """β₁."""
    keep_square: float
    """β₂."""
    rate: float
    """The learning rate over `1 − β₁ᵗ`."""
    root: float
    """`1 / √(1 − β₂ᵗ)`."""
    epsilon: float


class Moved(NamedTuple):
    """A parameter with both its moments, of one shape each."""

    rows: Tensor
    means: Tensor
    squares: Tensor
    more: Tensor | None = None
    """What is in the gradient of a matrix beside the sums over entries."""


class Residuals(NamedTuple):
    """What one pass over B samples finds, for n entries."""

    values: Tensor
    """The codes, [n]."""
    owed: Tensor
    """The gradient of each entry's `pre`, [n]."""
    deltas: Tensor
    """The gradient of the reconstruction, [B, D_out]."""
    squares: Tensor
    """The squared error of each sample, [B], float64."""


class _Pace(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_double) for name in Pace._fields)


class _Moved(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in Moved._fields)


class _Owed(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("starts", "samples", "order")),
        *((name, ctypes.c_void_p) for name in ("values", "owed", "x", "deltas", "stretch")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "unit")),
    )


def residuals(
    library: Library,
    places: Places,
    pre: Tensor,
    dictionary: Tensor,
    offset: Tensor,
    target: Tensor,
    scale: float,
    pull: Tensor | None = None,
) -> Residuals:
    """`code = max(pre, 0)` at the places, its residual times `scale`, and what flows back.

    pre [B, M], dictionary [M, D_out], target [B, D_out]; `pull` [M] is added to what flows back
    to a code of each latent that is not 0.
    """
    n_samples, width = target.shape
    values, owed = (pre.new_empty(len(places)) for _ in range(2))
    deltas = torch.empty_like(target)
    squares = torch.empty(n_samples, dtype=torch.float64)
    function = library.of("residuals", pre)
    before = (address(places.offsets), address(places.latents), address(pre), whole(pre.shape[1]))
    table = (address(dictionary), address(offset), address(target), whole(width))
    after = (address(pull), *map(address, (deltas, values, owed, squares)))
    fixed = (*before, *table, ctypes.c_double(scale), *after)
    dealt(
        lambda first, last: function(first, last, *fixed),
        balanced(places.offsets, len(places)),
    )
    return Residuals(values, owed, deltas, squares)


def update(
    library: Library,
    places: Places,
    found: Residuals,
    x: Tensor,
    encoder: Moved,
    decoder: Moved,
    pace: Pace,
    *,
    unit: bool,
    stretch: Tensor | None = None,
) -> None:
    """Move both matrices, [M, D] and [M, D_out], by their gradients over the entries.

    x [B, D] is what the encoder saw. `unit` leaves what turns atoms and puts their length at 1;
    `stretch` [M] is how much of itself is in the gradient of each atom.
    """
    order, samples, starts = places.by_latent
    tensors = (starts, samples, order, found.values, found.owed, x, found.deltas, stretch)
    pointers = [None if one is None else one.data_ptr() for one in tensors]
    owed = _Owed(*pointers, encoder.rows.shape[1], decoder.rows.shape[1], int(unit))
    function = library.of("update", x)
    fixed = [ctypes.byref(one) for one in (owed, _Pace(*pace), _moved(encoder), _moved(decoder))]
    dealt(lambda first, last: function(first, last, *fixed), balanced(starts, len(places)))


def adam(library: Library, moved: Moved, grad: Tensor, pace: Pace) -> None:
    """Move a small parameter by its gradient, of its shape."""
    function = library.of("adam", grad)
    function(
        ctypes.byref(_moved(moved)), address(grad), whole(grad.numel()), ctypes.byref(_Pace(*pace))
    )


def _moved(of: Moved) -> _Moved:
    return _Moved(*(None if one is None else one.data_ptr() for one in of))
