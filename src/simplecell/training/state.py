"""What a checkpoint holds: each tensor is asked for by name, and is of the form that is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from simplecell.errors import DataError

State = Mapping[str, Tensor]
"""Everything that the rest of a training depends on, by name."""


class Stored(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read when it is asked for, and never all at once.

    The file is opened anew each time: one that stays open counts as memory wherever it was read.

    Raises:
        SafetensorError, OSError: for a file that is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self._names = list(file.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self.path, "pt") as file:
            tensor: Tensor = file.get_tensor(name).clone()
        return tensor

    def shape(self, name: str) -> list[int]:
        """Of one tensor, which is not read."""
        with safe_open(self.path, "pt") as file:
            return list(file.get_slice(name).get_shape())

    def span(self, name: str, span: slice) -> Tensor:
        """Some of the numbers of a vector, which follow one another."""
        with safe_open(self.path, "pt") as file:
            tensor: Tensor = file.get_slice(name)[span].clone()
        return tensor

    def row(self, name: str, row: int) -> Tensor:
        """One row of a tensor."""
        with safe_open(self.path, "pt") as file:
            tensor: Tensor = file.get_slice(name)[row].clone()
        return tensor


def taken(state: State, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The tensor of that name.

    Raises:
        DataError: when there is none, or it is of another shape or type.
    """
    if name not in state:
        raise DataError(f"it has no tensor '{name}'")
    tensor = state[name]
    if tensor.shape != torch.Size(shape) or tensor.dtype != dtype:
        raise DataError(
            f"its tensor '{name}' is {_form(tensor.shape, tensor.dtype)}, and "
            f"{_form(shape, dtype)} is needed"
        )
    return tensor


def taken_like(state: State, name: str, like: Tensor) -> Tensor:
    """The tensor of that name in the form of another. Raises DataError as `taken` does."""
    return taken(state, name, like.shape, like.dtype)


def shape_of(state: State, name: str) -> list[int]:
    """Of a tensor that is there, without reading it from a file."""
    return state.shape(name) if isinstance(state, Stored) else list(state[name].shape)


def taken_rows(state: State, name: str, rows: int, like: Tensor) -> Iterator[Tensor]:
    """The rows of the tensor of that name, each in the form of `like` and memory of its own.

    Raises:
        DataError: as `taken` does.
    """
    shape = (rows, *like.shape)
    if not isinstance(state, Stored):
        yield from (row.clone() for row in taken(state, name, shape, like.dtype))
        return
    if name not in state or shape_of(state, name) != list(shape):
        taken(state, name, shape, like.dtype)
    for i in range(rows):
        row = state.row(name, i)
        yield row if row.dtype == like.dtype else taken(state, name, shape, like.dtype)[i]


def stacked(part: Tensor | list[Tensor]) -> Tensor:
    """A list of rows as one tensor; a tensor as it is."""
    return torch.stack(part) if isinstance(part, list) else part


def _form(shape: Sequence[int], dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


def all_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; takes no memory of the tensor's size."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    ends = torch.stack(torch.aminmax(tensor))
    return bool(torch.isfinite(ends).all())


def largest(tensor: Tensor) -> float:
    """The largest |number|; takes no memory of the tensor's size."""
    return float(torch.stack(torch.aminmax(tensor)).abs().max())
