"""What a model is given: anything that holds inputs becomes batches, and a batch a call."""

from __future__ import annotations

import hashlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from simplecell.data.tensors import is_tensor
from simplecell.errors import DataError, UsageError, whole

Call = Callable[[nn.Module, Any], Any]
"""How a batch is given to the model, where `model(batch)` is not how: (model, batch) → anything."""

MASKS = ("attention_mask",)
"""Keys whose non-zero entries are positions that are no padding."""
PADDING_MASKS = ("src_key_padding_mask", "key_padding_mask")
"""Keys whose entries that are true are padding, as torch's own modules mean it."""


@runtime_checkable
class Numbered(Protocol):
    """Batches that can begin anywhere, and say which sample each of their rows is."""

    def starting(self, first: int) -> Iterator[Any]:
        """Batches from the one numbered `first`; None for one of which nothing is left."""
        ...

    def numbers(self, batch: int) -> list[int]:
        """Which samples the batch that came last holds."""
        ...


@dataclass(frozen=True)
class Given:
    """One batch, on the model's device."""

    number: int
    """Counted from 0, those that were skipped included."""
    batch: Any
    mask: Tensor | None
    """Which positions are no padding, [B, T]; None: nothing is known of padding."""
    numbers: Sequence[int] | None = None
    """Which samples these are; None: they are counted."""

    @property
    def leading(self) -> tuple[int, ...] | None:
        """The shape of the first tensor; None where there is none."""
        first = next(tensors_in(self.batch), None)
        if isinstance(first, PackedSequence):
            return (int(first.batch_sizes[0]),)
        return None if first is None else tuple(first.shape)

    def digest(self) -> str:
        """What tells this batch from another, made of all its bytes."""
        sha = hashlib.sha256()
        for tensor in tensors_in(self.batch):
            data = tensor.data if isinstance(tensor, PackedSequence) else tensor
            flat = data.detach().cpu().contiguous().reshape(-1)
            sha.update(f"{tuple(data.shape)} {data.dtype}".encode())
            sha.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return sha.hexdigest()


class Inputs:
    """Inputs of a model in batches; iterated again from any batch, where they can be.

    An array or tensor [n, …], a dictionary of them (keyword arguments) or a tuple (arguments) is
    cut into batches of `size`; anything else is iterated, and each item is a batch: a tensor, a
    tuple or list of arguments, or a dictionary of keyword arguments.

    Args:
        mask: the key of the mask among keyword arguments, a function of a batch that gives it
            [B, T], or where inputs are cut here the whole of it [n, T]; true is no padding.
    """

    def __init__(self, inputs: Any, size: int, mask: object = None) -> None:
        if isinstance(inputs, str) or _is_texts(inputs):
            raise UsageError(
                "the inputs are texts, and a model reads tokens: give tokenizer(texts, "
                'padding=True, return_tensors="pt"), or say simplecell harvest TEXTS --model FOLDER'
            )
        if not isinstance(inputs, Iterable) and not _is_array(inputs):
            raise UsageError(
                f"the inputs are {'None' if inputs is None else f'a {type(inputs).__name__}'}; an "
                "array or tensor [n, …], a dictionary or tuple of them, or batches are needed"
            )
        whole("batch_size", size)
        self.inputs, self.size, self.mask = inputs, size, mask
        self.cut = _is_array(inputs) or isinstance(inputs, Mapping) or _is_arrays(inputs)
        """Whether batches are cut here."""
        if (_is_array(mask)) and not self.cut:
            raise UsageError(
                "a mask as an array needs inputs as an array; of batches, say which key holds it, "
                "or give a function of the batch"
            )

    @property
    def length(self) -> int | None:
        """How many samples, or where batches come by themselves how many of these, if that is
        known."""
        if self.cut:
            return _length(self.inputs)
        return len(self.inputs) if hasattr(self.inputs, "__len__") else None

    @property
    def unit(self) -> str:
        """What `length` counts."""
        return "samples" if self.cut else "batches"

    def fingerprint(self) -> str | None:
        """What tells inputs from others, where they say so themselves."""
        told = getattr(self.inputs, "fingerprint", None)
        return told() if callable(told) else None

    def batches(self, model: nn.Module, start: int = 0) -> Iterator[Given]:
        """Batches from the one numbered `start`, on the model's device."""
        like = next((p for p in model.parameters() if p.is_floating_point()), None)
        known = self.inputs if isinstance(self.inputs, Numbered) else None
        for number, batch in enumerate(self._raw(start), start):
            if known is not None and batch is None:
                continue
            moved = _moved(batch, like)
            numbers = None if known is None else known.numbers(number)
            yield Given(number, moved, self._mask_of(moved, number), numbers)

    def _raw(self, start: int) -> Iterator[Any]:
        if self.cut:
            return self._cut(start)
        if isinstance(self.inputs, Numbered):
            return self.inputs.starting(start)
        return itertools.islice(iter(self.inputs), start, None)

    def _cut(self, start: int) -> Iterator[Any]:
        n = _length(self.inputs)
        for first in range(start * self.size, n, self.size):
            yield _rows(self.inputs, slice(first, first + self.size), n)

    def _mask_of(self, batch: Any, number: int) -> Tensor | None:
        mask: Any = self.mask
        if _is_array(mask):
            mask = torch.as_tensor(mask[number * self.size : (number + 1) * self.size])
        elif callable(mask):
            mask = mask(batch)
        elif isinstance(mask, str):
            if not isinstance(batch, Mapping) or mask not in batch:
                raise UsageError(f"the batch has no '{mask}' that could be its mask")
            mask = batch[mask]
        elif isinstance(batch, Mapping):
            mask = next((batch[key] for key in MASKS if batch.get(key) is not None), None)
            padding = next(
                (batch[key] for key in PADDING_MASKS if batch.get(key) is not None), None
            )
            mask = ~padding.bool() if mask is None and padding is not None else mask
        if not isinstance(mask, Tensor):
            return None
        if mask.ndim != 2:
            raise UsageError(f"a mask has the shape {tuple(mask.shape)}; [B, T] is needed")
        return mask.detach().cpu() != 0


def gathered(inputs: Any, model: nn.Module, size: int) -> tuple[Any, list[str]]:
    """Inputs, single samples among them made batches of `size`; and the sentence on it.

    A list's items are batches, unless they cannot be: numbers in one row, or pictures and sound
    without an axis of samples for a model of convolutions. A Dataset's items are always samples.

    Raises:
        UsageError: for single samples of different shapes, and for token numbers without padding.
    """
    if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
        told = f"the items of the data set are single samples, given {size} at a time"
        return DataLoader(inputs, batch_size=size), [told]
    if not isinstance(inputs, list) or not inputs:
        return inputs, []
    if all(isinstance(item, Mapping) and _is_one_text(item) for item in inputs):
        raise UsageError(
            "the items of the list are the token numbers of one text each, of any length; give "
            'tokenizer.pad(items, return_tensors="pt"), which makes them one batch'
        )
    if all(isinstance(item, list | tuple) and _are_numbers(item) for item in inputs):
        inputs = [np.array(item, dtype=np.float32) for item in inputs]
    if not all(map(_is_array, inputs)) or not _is_alone(inputs[0], model):
        return inputs, []
    shapes = list(dict.fromkeys(tuple(item.shape) for item in inputs))
    if len(shapes) > 1:
        raise UsageError(
            f"the items of the list are single samples, of the shapes {shapes[0]} and {shapes[1]}; "
            "one shape is needed, or batches of one shape each"
        )
    told = f"the {len(inputs)} items of the list are single samples, given {size} at a time"
    if is_tensor(inputs[0]):
        return torch.stack(inputs), [told]
    return np.stack(inputs), [told]


def _is_alone(item: Any, model: nn.Module) -> bool:
    """Whether an item of a list can only be a single sample.

    One number in a row, or what a model's first convolution would take without an axis of samples:
    torch reads that as one picture whose rows are samples, and says nothing.
    """
    if item.ndim < 2:
        return True
    first = next((one for one in model.modules() if isinstance(one, _CONVOLUTIONS)), None)
    if first is None or item.ndim != len(first.kernel_size) + 1:
        return False
    return bool(item.shape[0] == first.in_channels)


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _is_one_text(item: Mapping[Any, Any]) -> bool:
    rows = [value for value in item.values() if isinstance(value, list) or _is_array(value)]
    return bool(rows) and all(
        _are_numbers(row) if isinstance(row, list) else row.ndim == 1 for row in rows
    )


def _are_numbers(row: Any) -> bool:
    return bool(row) and all(isinstance(number, int | float) for number in row)


def run(model: nn.Module, given: Given, call: Call | None) -> Any:
    """Give the model a batch, and what it gives back."""
    batch = given.batch
    if call is not None:
        return call(model, batch)
    args: list[Any] = [batch]
    keywords: dict[str, Any] = {}
    if isinstance(batch, Mapping):
        args, keywords = [], {**batch, **_places_of_left_padded(model, given)}
    elif isinstance(batch, list | tuple) and not isinstance(batch, PackedSequence):
        args = list(batch)
    try:
        return model(*args, **keywords)
    except TypeError as error:
        if _takes(model, args, keywords):
            raise
        parts = f"the keys {', '.join(map(str, keywords))}" if keywords else f"{len(args)} parts"
        raise UsageError(
            f"a batch of the inputs has {parts}, which the model's forward does not take "
            f"({error}); say call=lambda model, batch: model(batch[0]), or what is right here"
        ) from error


def _takes(model: nn.Module, args: list[Any], keywords: dict[str, Any]) -> bool:
    """Whether a model's forward may be called so; what cannot be known counts as yes."""
    try:
        inspect.signature(model.forward).bind(*args, **keywords)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _places_of_left_padded(model: nn.Module, given: Given) -> dict[str, Tensor]:
    """`position_ids` where padding stands on the left and nobody gave them.

    A model with learned positions would else count the padding in (GPT-2's rows differ by 1.8 of a
    scale of 2.3), and say nothing.
    """
    if not is_left_padded(given) or "position_ids" in given.batch:
        return {}
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    mask = given.batch["attention_mask"]
    return {"position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}


def is_left_padded(given: Given) -> bool:
    """Whether a mask among the keyword arguments begins with padding."""
    mask = given.batch.get("attention_mask") if isinstance(given.batch, Mapping) else None
    return isinstance(mask, Tensor) and mask.ndim == 2 and not bool(mask[:, 0].all())


def tensors_in(batch: Any) -> Iterator[Any]:
    """The tensors and packed sequences of a batch, in its order."""
    if isinstance(batch, Tensor | PackedSequence):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_in(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_in(value)


def _is_array(data: object) -> bool:
    return is_tensor(data) or isinstance(data, np.ndarray)


def _is_arrays(data: object) -> bool:
    """Whether this is a tuple of arrays of one length: the arguments of the model."""
    if not isinstance(data, tuple) or isinstance(data, PackedSequence) or not data:
        return False
    return all(map(_is_array, data)) and len({len(part) for part in data}) == 1


def _is_texts(data: object) -> bool:
    return isinstance(data, list | tuple) and bool(data) and isinstance(data[0], str)


def _length(inputs: Any) -> int:
    parts = (
        [inputs]
        if _is_array(inputs)
        else list(inputs.values() if isinstance(inputs, Mapping) else inputs)
    )
    lengths = {len(part) for part in parts if _is_array(part)}
    if len(lengths) != 1:
        raise DataError(
            f"the inputs have {', '.join(map(str, sorted(lengths))) or 'no'} samples; arrays of "
            "one length are needed"
        )
    return lengths.pop()


def _rows(inputs: Any, rows: slice, n: int) -> Any:
    if isinstance(inputs, Mapping):
        return {key: _rows(value, rows, n) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_rows(value, rows, n) for value in inputs)
    return inputs[rows] if _is_array(inputs) else inputs


def _moved(batch: Any, like: Tensor | None) -> Any:
    """A batch on the device of `like`; NumPy's floats in its precision, tensors in their own."""
    if isinstance(batch, np.ndarray):
        tensor = torch.tensor(batch)
        if tensor.is_floating_point() and like is not None:
            tensor = tensor.to(like.dtype)
        return _moved(tensor, like)
    if isinstance(batch, Tensor):
        return batch if like is None else batch.to(like.device)
    if isinstance(batch, PackedSequence):
        return batch.cpu() if like is None or like.device.type == "cpu" else batch.cuda()
    if isinstance(batch, Mapping):
        return {key: _moved(value, like) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [_moved(value, like) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def fingerprint_of(model: nn.Module) -> str:
    """What tells a model from another: names, shapes, types and 64 values of each parameter."""
    sha = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        flat = tensor.detach().reshape(-1)
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if flat.numel():
            spread = torch.linspace(0, flat.numel() - 1, min(64, flat.numel())).long()
            sha.update(flat[spread.to(flat.device)].double().cpu().numpy().tobytes())
    return sha.hexdigest()


def chained(first: Given, rest: Iterable[Given]) -> Iterator[Given]:
    """A batch that was looked at, and those behind it."""
    yield first
    yield from rest
