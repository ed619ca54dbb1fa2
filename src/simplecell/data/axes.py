"""Which axis of an array holds samples and which inputs: as it was said, or as its format has it.

What is no picture (trials × channels × time, rows × columns × bands, sequences × tokens × d) has
its inputs along one axis, and each position of the other axes is a sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simplecell.data.lazy import Lazy, Positions, Widened
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.rows import Meta, Record, check_numbers
from simplecell.errors import UsageError

_COLORS = (1, 3, 4)


def arranged(loaded: Loaded, name: str, options: Options) -> Loaded:
    """The same with the samples first, [n, ...]; where each came from, and what was assumed.

    Raises UsageError for an axis that is not there, DataError for what is no array of numbers.
    """
    array = loaded.data
    if not hasattr(array, "tocsr") and not isinstance(array, Lazy):
        array = np.asanyarray(array)
    check_numbers(name, array.dtype, array.shape)
    if options.inputs != "auto":
        return _by_inputs(loaded, array, name, options)
    notes, shape = list(loaded.notes), tuple(array.shape)
    asked = options.samples == "columns" and loaded.table is None  # a table is turned already
    if asked or (options.samples == "auto" and loaded.samples_last):
        array = _turned(array) if len(array.shape) == 2 else np.moveaxis(np.asarray(array), -1, 0)
    elif options.samples == "auto" and loaded.either_way and len(array.shape) == 2:
        notes += _which_way(array, name)
    moved = shape if tuple(array.shape) != shape else loaded.shape_in_file
    return replace(loaded, data=array, samples_last=False, notes=notes, shape_in_file=moved)


def _turned(array: Any) -> Any:
    return np.asarray(array).T if isinstance(array, Lazy) else array.T


def _which_way(array: Any, name: str) -> list[str]:
    n_samples, n_inputs = array.shape
    if n_samples >= n_inputs:
        return []
    return [
        f"which way round is {name}, {n_samples} x {n_inputs}? Its {n_samples} rows are taken for "
        f"samples of {n_inputs} inputs each, fewer samples than inputs; data.samples=columns takes "
        f"its {n_inputs} columns for samples of {n_samples} inputs, data.samples=rows says that "
        "the rows are meant"
    ]


def _by_inputs(loaded: Loaded, array: Any, name: str, options: Options) -> Loaded:
    """The array with its inputs along the axis that was said."""
    _refuse_others(loaded, name, options)
    if options.inputs == "all":
        first = np.moveaxis(array, -1, 0) if loaded.samples_last else array
        return replace(loaded, data=_flat(first), samples_last=False)
    axis = _axis(options.inputs, array.shape, name)
    if len(array.shape) == 2:
        return replace(loaded, data=array if axis else _turned(array), samples_last=False)
    return _by_position(loaded, Positions(array, axis), (axis, *array.shape), name)


def _refuse_others(loaded: Loaded, name: str, options: Options) -> None:
    """Refuse what says something else about the axes."""
    if loaded.table is not None:
        raise UsageError(f"{name} is a table, whose columns are its inputs; leave data.inputs out")
    if options.samples != "auto" or options.kind == "patches" or options.whiten != "none":
        raise UsageError(
            "data.inputs says all about an array's axes, and makes no pictures of it; leave "
            "data.samples, data.kind=patches and data.whiten out, or data.inputs"
        )


def _by_position(loaded: Loaded, places: Positions, told: tuple[int, ...], name: str) -> Loaded:
    """Positions as samples, each with where it is; a label of the first axis is that of all in it.

    `told` is the axis of the inputs, and the shape of the array.
    """
    axis, *shape = told
    others = [k for k in range(len(shape)) if k != axis]

    def record(i: int) -> Record:
        return {f"axis {k}": at for k, at in zip(others, places.place(i), strict=True)}

    labels = loaded.labels if axis != 0 else None
    note = (
        f"{name}, {_by(tuple(shape))}: axis {axis} holds the {places.shape[1]} inputs, and each of "
        f"the {len(places)} positions of the other axes is a sample"
    )
    return replace(
        loaded,
        data=places,
        samples_last=False,
        labels=None if labels is None else np.repeat(labels, len(places) // len(labels)),
        records=Meta(len(places), record),
        notes=[*loaded.notes, note],
    )


def _flat(array: Any) -> Any:
    """Everything but the first axis in a row, [n, D]; what is mapped stays so."""
    if len(array.shape) == 2:
        return array
    if isinstance(array, Widened):
        return Widened(array.bits.reshape(len(array), -1))
    return np.asarray(array).reshape(len(array), -1)


def _axis(said: str | int, shape: tuple[int, ...], name: str) -> int:
    """The number of the axis that was said in words or counted from 0."""
    last = len(shape) - 1
    if said == "middle" and last != 2:
        raise UsageError(
            f"data.inputs=middle is for 3 axes, but {name} is {_by(shape)}; give the axis by its "
            f"number, 0 to {last}"
        )
    named = {"first": 0, "middle": 1, "last": last}
    axis = named[said] if isinstance(said, str) else said
    if not -last - 1 <= axis <= last:
        raise UsageError(
            f"data.inputs is {said}, but {name} has {last + 1} axes ({_by(shape)}); a number from "
            f"0 to {last} is needed"
        )
    return axis % (last + 1)


def taken_for_pictures(loaded: Loaded, name: str) -> list[str]:
    """The sentence on an array of floats with three axes or more: what else it may be.

    Its axes are told as the file has them, for that is how data.inputs counts them. Squares of
    bytes are pictures, and so is what has 3 colours.
    """
    shape, array = loaded.data.shape, loaded.data
    if len(shape) < 3 or (len(shape) == 4 and shape[3] in _COLORS):
        return []
    if array.dtype == np.uint8 and shape[1] == shape[2]:
        return []
    told = _by(loaded.shape_in_file or shape)
    return [
        f"{name}, {told}, is taken for {shape[0]} pictures of {_by(shape[1:])}; if it holds "
        "something else (trials x channels x time, rows x columns x bands, sequences x tokens x d) "
        "say which axis holds the inputs: data.inputs=last, middle or first makes each position of "
        f"the other axes a sample, data.inputs=all each of the {shape[0]} (from Python inputs=…); "
        "data.kind=array or patches says that they are pictures, whole or cut"
    ]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
