"""The compiled sources as Python functions over CPU tensors, dealt to as many threads as torch has.

The library is plain C without threads of its own: a second OpenMP beside torch's would fight it for
the cores. Ranges of rows go to Python threads instead, which let go of the interpreter inside.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell import tier as tiers
from simplecell.tier import Tier

_PIECES = 4
"""Ranges a thread gets, so that one that was slow does not keep all waiting."""
_NAMES = {torch.float32: "float32", torch.float64: "float64"}
_KINDS = {"identity": 0, "linear": 0, "sigmoid": 1, "tanh": 2, "relu": 3}
"""Elementwise activations as `classic.cpp` numbers them."""
_VECTOR = 32
"""Bytes of the longest vector."""
_CHUNKS, _CHUNK = 32, 512
"""At most so many chunks of at least so many samples: sums over samples are made of theirs."""


class _Sizes(ctypes.Structure):
    """What the functions of `classic.cpp` are told."""

    _fields_ = (
        ("samples", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("latents", ctypes.c_int64),
        ("apart", ctypes.c_int64),
        ("chunks", ctypes.c_int64),
        ("activation", ctypes.c_int64),
        ("output", ctypes.c_int64),
    )


class Layer(NamedTuple):
    """One hidden layer with elementwise activations, over some samples."""

    samples: int
    inputs: int
    outputs: int
    latents: int
    activation: str
    output: str

    @property
    def chunks(self) -> int:
        """Chunks of the samples: a sum is made chunk by chunk, whoever computes which."""
        return max(1, min(_CHUNKS, self.samples // _CHUNK))


class Library:
    """The compiled functions. Tensors are contiguous, on the CPU, float32 or float64."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))

    def bags(
        self,
        offsets: Tensor,
        places: Tensor,
        weights: Tensor,
        table: Tensor,
        out: Tensor,
        *,
        order: Tensor | None = None,
        add: bool = False,
    ) -> Tensor:
        """`Σ weight · table[place]` over each bag of places, into or added to out [bags, D].

        `order` says which weight is each place's, where that is not its own number.
        """
        function = self.of("bags", table)
        fixed = (
            address(offsets),
            address(places),
            address(order),
            address(weights),
            address(table),
        )
        width, result, adds = whole(table.shape[1]), address(out), whole(add)
        dealt(
            lambda first, last: function(first, last, *fixed, width, adds, result),
            balanced(offsets, len(places)),
        )
        return out

    def dots(
        self, starts: Tensor, samples: Tensor, order: Tensor, rows: Tensor, dictionary: Tensor
    ) -> Tensor:
        """`⟨row of the sample, atom⟩` of entries given latent after latent; each in its place."""
        function, out = self.of("dots", rows), rows.new_empty(len(samples))
        fixed = (
            address(starts),
            address(samples),
            address(order),
            address(rows),
            address(dictionary),
        )
        width, result = whole(rows.shape[1]), address(out)
        dealt(
            lambda first, last: function(first, last, *fixed, width, result),
            balanced(starts, len(samples)),
        )
        return out

    def top(self, pre: Tensor, k: int) -> Tensor:
        """The latents of the k largest of each sample of pre [B, M], ascending, [B, k]."""
        function = self.of("top", pre)
        latents = torch.empty(len(pre), k, dtype=torch.int64)
        fixed = (address(pre), whole(pre.shape[1]), whole(k), address(latents))
        dealt(lambda first, last: function(first, last, *fixed), _even(len(pre)))
        return latents

    def above(
        self, pre: Tensor, threshold: Tensor, room: int
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """(samples, latents, offsets) where pre [B, M] is above a threshold, [1] or [M].

        None where some sample has more than `room` of them.
        """
        find, close_gaps = self.of("above", pre), self._functions.close_gaps
        offsets = torch.zeros(len(pre) + 1, dtype=torch.int64)
        columns = torch.empty(len(pre), room, dtype=torch.int64)  # hardly any of it is touched
        fixed = (address(pre), address(threshold), whole(len(threshold) > 1), whole(pre.shape[1]))
        into = (whole(room), address(offsets[1:]), address(columns))
        dealt(lambda first, last: find(first, last, *fixed, *into), _even(len(pre)))
        if len(pre) and int(offsets.max()) > room:
            return None
        offsets.cumsum_(0)
        samples, latents = (torch.empty(int(offsets[-1]), dtype=torch.int64) for _ in range(2))
        found = (
            whole(room),
            address(columns),
            address(offsets),
            address(samples),
            address(latents),
        )
        dealt(lambda first, last: close_gaps(first, last, *found), _even(len(pre)))
        return samples, latents, offsets

    def by_latent(
        self, samples: Tensor, latents: Tensor, n_latents: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latent after latent: (entries in this order [n], their samples [n], starts [M + 1])."""
        order, sorted_samples = torch.empty_like(latents), torch.empty_like(latents)
        starts = torch.empty(n_latents + 1, dtype=torch.int64)
        sizes = (whole(len(latents)), whole(n_latents), address(samples), address(latents))
        self._functions.by_latent(*sizes, address(starts), address(order), address(sorted_samples))
        return order, sorted_samples, starts

    def codes(self, layer: Layer, x: Tensor, encoder: Tensor, bias: Tensor, code: Tensor) -> Tensor:
        """f(x encoderᵀ + bias) into code [B, M] of `padded` rows; their sums of chunks [c, M]."""
        sums = x.new_empty(layer.chunks, layer.latents)
        tensors = (x, encoder, bias, code, sums)
        self._over_chunks("encode", layer, code, *map(address, tensors))
        return sums

    def derivatives(
        self,
        layer: Layer,
        x: Tensor,
        target: Tensor,
        code: Tensor,
        decoder: Tensor,
        offset: Tensor,
        weight: float,
        push: Tensor,
        parts: Tensor,
    ) -> Tensor:
        """From codes of `padded` rows to squared errors [c], float64, and gradients of each chunk.

        The gradients are in parts [c, M (E + D) + E + M], for E outputs: decoder, encoder, offset,
        bias, undivided.
        What flows back into a code is weight · (delta decoderᵀ) + push, with push [M].
        """
        squares = torch.empty(layer.chunks, dtype=torch.float64)
        before = (address(t) for t in (x, target, code, decoder, offset))
        after = (address(t) for t in (push, squares, parts))
        self._over_chunks("differentiate", layer, code, *before, _real(weight, x), *after)
        return squares

    def activated(self, layer: Layer, bias: Tensor, code: Tensor) -> Tensor:
        """code [B, M] ← f(code + bias); their sums of chunks [c, M]."""
        sums = code.new_empty(layer.chunks, layer.latents)
        self._over_chunks("activated", layer, code, address(bias), address(code), address(sums))
        return sums

    def deltas(
        self, layer: Layer, target: Tensor, offset: Tensor, recon: Tensor
    ) -> tuple[Tensor, Tensor]:
        """recon [B, E] ← (g(recon + offset) − target) ∘ g′, the deltas.

        Returns of each chunk the squared errors [c], float64, and the sum of the deltas [c, E].
        """
        squares = torch.empty(layer.chunks, dtype=torch.float64)
        sums = recon.new_empty(layer.chunks, layer.outputs)
        tensors = (target, offset, recon, squares, sums)
        self._over_chunks("deltas", layer, recon, *map(address, tensors))
        return squares, sums

    def pushed(
        self, layer: Layer, weight: float, push: Tensor, code: Tensor, back: Tensor
    ) -> Tensor:
        """back [B, M], rows as far apart as those of code, ← (weight · back + push) ∘ f′.

        Returns their sums of chunks [c, M].
        """
        sums = back.new_empty(layer.chunks, layer.latents)
        before, after = _real(weight, back), (address(t) for t in (push, code, back, sums))
        self._over_chunks("pushed", layer, code, before, *after)
        return sums

    def add_chunks(self, parts: Tensor, scale: float, out: Tensor) -> Tensor:
        """out [...] += scale · the sum over chunks of parts [c, as many], chunk after chunk."""
        sizes = (whole(len(parts)), whole(parts.stride(0)), whole(out.numel()))
        self.of("add_chunks", out)(*sizes, address(parts), _real(scale, out), address(out))
        return out

    def direct(
        self,
        steps: Sequence[Tensor],
        changes: Sequence[Tensor],
        curvatures: Sequence[float],
        direction: Tensor,
    ) -> Tensor:
        """direction [n] ← H direction, the two-loop recursion of L-BFGS.

        H is told by pairs of vectors [n] and their products, the oldest first.
        """
        pairs, numbers = len(steps), ctypes.c_double * len(steps)
        addresses = ctypes.c_void_p * pairs
        fixed = (whole(pairs), whole(len(direction)))
        vectors = (addresses(*(t.data_ptr() for t in some)) for some in (steps, changes))
        function = self.of("direct", direction)
        function(*fixed, *vectors, numbers(*curvatures), numbers(), address(direction))
        return direction

    def _over_chunks(self, name: str, layer: Layer, rows: Tensor, *arguments: object) -> None:
        function, kinds = self.of(name, rows), (_KINDS[layer.activation], _KINDS[layer.output])
        sizes = _Sizes(*layer[:4], rows.stride(0), layer.chunks, *kinds)
        told = ctypes.byref(sizes)
        dealt(lambda first, last: function(first, last, told, *arguments), _even(layer.chunks))

    def of(self, name: str, like: Tensor) -> Callable[..., object]:
        """The compiled function of that name, in the precision of a tensor."""
        function: Callable[..., object] = getattr(self._functions, f"{name}_{_NAMES[like.dtype]}")
        return function


def library(*tensors: Tensor) -> Library | None:
    """The compiled functions, if they are there and these tensors are for them."""
    for tensor in tensors:
        if not (tensor.device.type == "cpu" and tensor.dtype in _NAMES and tensor.is_contiguous()):
            return None
    return _loaded(_chosen)[0]


def tier() -> Tier:
    """Which way sums over entries are made on the CPU, and why."""
    return _loaded(_chosen)[1]


_chosen: str | None = None


def choose(name: str) -> bool:
    """Take that tier from now on, as a run did that is to go on; whether it is here."""
    global _chosen
    if name != tier().name:
        _chosen = name
    return tier().name == name


@functools.cache
def _loaded(chosen: str | None) -> tuple[Library | None, Tier]:
    found = tiers.tier(chosen)
    if found.library is None:
        return None, found
    return Library(found.library), found


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor lies; null for none."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def padded(width: int, dtype: torch.dtype) -> int:
    """The least width of a row, from this one on, that is a whole number of vectors."""
    lanes = _VECTOR // dtype.itemsize
    return -(-width // lanes) * lanes


def _real(number: float, like: Tensor) -> ctypes.c_float | ctypes.c_double:
    return ctypes.c_float(number) if like.dtype == torch.float32 else ctypes.c_double(number)


def whole(number: int) -> ctypes.c_int64:
    """A whole number, as the compiled functions take it."""
    return ctypes.c_int64(number)


def _even(n: int) -> list[int]:
    """Bounds of ranges of as many rows."""
    threads = torch.get_num_threads()
    pieces = 1 if threads == 1 else max(1, min(n, _PIECES * threads))
    return [n * piece // pieces for piece in range(pieces + 1)]


def balanced(offsets: Tensor, n: int) -> list[int]:
    """Bounds of ranges of bags with about as many entries."""
    bags, threads = len(offsets) - 1, torch.get_num_threads()
    if threads == 1:
        return [0, bags]
    pieces = _PIECES * threads
    wanted = torch.arange(1, pieces) * (n / pieces)
    inner: list[int] = torch.searchsorted(offsets[:-1], wanted.long()).tolist()
    return [0, *inner, bags]


def dealt(work: Callable[[ctypes.c_int64, ctypes.c_int64], object], bounds: Sequence[int]) -> None:
    """Do the ranges between bounds, on as many threads as torch has, this one among them."""
    ranges = [
        (whole(first), whole(last)) for first, last in itertools.pairwise(bounds) if first < last
    ]
    threads = torch.get_num_threads()
    if threads == 1 or len(ranges) < 2:
        for first, last in ranges:
            work(first, last)
        return
    left = iter(ranges)  # next() on it is one step of the interpreter, and so is safe

    def some() -> None:
        for first, last in left:
            work(first, last)

    others = [_pool(threads - 1).submit(some) for _ in range(threads - 1)]
    some()
    for other in others:
        other.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="simplecell")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its threads
