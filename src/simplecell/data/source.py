"""The door: anything that holds samples becomes a `Source`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simplecell.data.cifar import is_archive, load_training
from simplecell.data.files import read_file
from simplecell.data.images import (
    SUFFIXES,
    Gallery,
    Opener,
    divisor_of,
    openers_of_arrays,
    openers_of_files,
    openers_of_images,
    whole_pictures,
)
from simplecell.data.options import Options
from simplecell.data.patches import PatchSource, random_patches, tiles
from simplecell.data.records import read_meta
from simplecell.data.rows import Array, ArraySource, Meta, Source, check_numbers, refuse_masked
from simplecell.data.tables import Loaded, columns_of_frame, encode_table, is_frame
from simplecell.errors import DataError, UsageError, choice

_DEFAULT_PATCH = 10
_LARGE_PICTURE, _SMALL_PICTURE = 64, 16


def as_source(data: object, **options: Any) -> Source:
    """A `Source` of an array [n, D], [n, h, w] or [n, h, w, c], a SciPy sparse matrix, a data
    frame, pictures of any sizes, or a path to a file of those, to a folder of pictures or to an
    archive of CIFAR-10 (its training pictures).

    With `kind="auto"` picture files, folders and arrays of pictures of at least 64×64 pixels give
    patches, smaller pictures and all else one vector a sample. Arrays have the samples first, save
    3-D and 4-D MATLAB variables (last); `samples="columns"` says last. `patch` is a side in pixels,
    `cutoff` in cycles per pixel, `held_out` a fraction of `n_patches` cut on top of them.
    `columns` is an earlier table's, to be encoded the same way.

    Raises DataError for data that are missing, broken, ambiguous or not numbers, UsageError for
    options that do not exist or do not fit.
    """
    known = [option.name for option in fields(Options)]
    for name in options:
        choice("option of as_source", name, known)
    told = Options(**options)
    return data if isinstance(data, Source) else _opened(data, told)


def _signature() -> inspect.Signature:
    """`as_source(data, *, kind="auto", …)`, of the options as they are declared."""
    data = inspect.Parameter("data", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    told = inspect.signature(Options).parameters.values()
    keywords = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in told]
    return inspect.Signature([data, *keywords], return_annotation="Source")


# What `help` and notebooks show: the one declaration, and no copy of it.
vars(as_source)["__signature__"] = _signature()


def openers_of(data: object, max_pixels: int) -> list[Opener] | None:
    """The pictures that data are when they are files or Pillow's own; None for anything else.

    None of them is decoded yet. Raises DataError for files that do not exist.
    """
    if isinstance(data, str | Path):
        path = Path(data)
        if not path.exists():
            raise DataError(f"{path} does not exist")
        if path.is_dir() or path.suffix.lower() in SUFFIXES:
            return openers_of_files(path, max_pixels)
    if isinstance(data, Image.Image):
        return openers_of_images([data], max_pixels)
    if not isinstance(data, list | tuple) or not data:
        return None
    if all(isinstance(item, Image.Image) for item in data):
        return openers_of_images(data, max_pixels)
    if all(isinstance(item, str | Path) for item in data):
        return [o for item in data for o in openers_of_files(Path(item), max_pixels)]
    return None


def _opened(data: object, options: Options) -> Source:
    openers = openers_of(data, options.max_pixels)
    if openers is not None:
        return _of_pictures(openers, options)
    if isinstance(data, str | Path):
        return _of_file(Path(data), options)
    if is_frame(data):
        return _of_frame(data, options)
    refuse_masked(data, "the list" if isinstance(data, list | tuple) else "the array")
    if isinstance(data, list | tuple):
        return _of_list(data, options)
    if options.label is not None:
        raise UsageError(f"label {options.label!r} names a column of a table, but this is an array")
    return _of_array(Loaded(data), "the array", options)


def _of_file(path: Path, options: Options) -> Source:
    loaded = load_training(path) if is_archive(path) else read_file(path, options)
    if loaded.columns is None and options.label is not None:
        raise UsageError(f"label {options.label!r} names a column, but {path.name} has none")
    return _of_array(loaded, path.name, options)


def _of_frame(frame: Any, options: Options) -> Source:
    names, values = columns_of_frame(frame)
    name, label, encoding = "the data frame", options.label, options.columns
    table = encode_table(values, names, name, label=label, encoding=encoding)
    return _of_array(table, name, options)


def _of_list(data: Sequence[Any], options: Options) -> Source:
    """Pictures where arrays differ in size, else rows of numbers."""
    shapes = {np.shape(item) for item in data if isinstance(item, np.ndarray)}
    if len(shapes) > 1:
        return _of_pictures(openers_of_arrays(data, "the list"), options)
    try:
        array = np.asarray(data)
    except ValueError:
        raise DataError("the list has rows of different lengths; one length is needed") from None
    return _of_array(Loaded(array), "the list", options)


def _of_array(loaded: Loaded, name: str, options: Options) -> Source:
    array = loaded.data if hasattr(loaded.data, "tocsr") else np.asanyarray(loaded.data)
    check_numbers(name, array.dtype, array.shape)
    if options.samples == "columns" or (options.samples == "auto" and loaded.samples_last):
        array = array.T if array.ndim == 2 else np.moveaxis(array, -1, 0)
    if array.ndim > 4:
        raise DataError(f"{name} has the shape {array.shape}; 2, 3 or 4 dimensions are needed")
    wanted = options.kind == "patches" or options.whiten != "none"
    if wanted and (loaded.columns is not None or hasattr(array, "tocsr")):
        raise UsageError(f"{name} is a table, and patches and 1/f whitening are for pictures")
    one = _as_one_picture(array, options)
    if one is not None:
        source = _of_pictures(openers_of_arrays(one, name), options)
        if array.ndim == 2:
            source.notes.insert(
                0,
                f"{name}, {array.shape[0]} rows of {array.shape[1]}, is taken for one picture; "
                "if it holds a sample a row or column, say data.kind=array (and data.samples)",
            )
        return source
    large = array.ndim > 2 and min(array.shape[1:3]) >= _LARGE_PICTURE
    if options.kind == "patches" or (options.kind == "auto" and large):
        return _of_pictures(openers_of_arrays(array, name), options, "patches")
    if options.whiten != "none":
        if array.ndim == 2:
            raise UsageError(
                f"1/f whitening is for pictures, but {name} has the shape {array.shape}; "
                "give (n, h, w), or set data.whiten to 'none'"
            )
        return _of_pictures(openers_of_arrays(array, name), options, "array")
    return _vectors(array, loaded, name, options)


def _as_one_picture(array: Any, options: Options) -> Array | None:
    """[1, h, w] or [1, h, w, c] when an array can only be, or was said to be, a single picture."""
    if options.kind == "array" or options.samples != "auto" or hasattr(array, "tocsr"):
        return None
    colors = array.ndim == 3 and array.shape[-1] in (3, 4)
    if colors and min(array.shape[:2]) < _SMALL_PICTURE:
        return None
    if colors and (options.kind == "patches" or array.dtype == np.uint8):
        return np.asarray(array[None])
    if array.ndim == 2 and options.kind == "patches":
        return np.asarray(array[None])
    return None


def _vectors(array: Any, loaded: Loaded, name: str, options: Options) -> Source:
    pictures = array.ndim > 2
    if pictures and array.ndim == 4 and array.shape[3] == 1:
        array = array[:, :, :, 0]
    return ArraySource(
        array,
        kind="pictures" if pictures else "table" if loaded.columns else "array",
        name=name,
        divisor=divisor_of(array.dtype) if pictures else None,
        input_names=loaded.input_names,
        labels=loaded.labels,
        columns=loaded.columns,
        meta=_records(options),
        notes=loaded.notes,
    )


def _of_pictures(openers: list[Opener], options: Options, kind: str | None = None) -> Source:
    kind = kind or options.kind
    patch = 1 if kind == "array" else options.patch or _DEFAULT_PATCH
    gallery = Gallery(openers, options.preparation(patch), options.skip_broken)
    meta, held_out = _records(options), options.held_out
    if kind == "array":
        return whole_pictures(gallery, meta)
    if options.sampling == "tiles":
        return tiles(gallery, meta=meta)
    source = random_patches(
        gallery, options.n_patches, held_out=held_out, seed=options.seed, meta=meta
    )
    if options.kind == "auto":
        source.notes.insert(0, _said(source, gallery, options))
    return source


def _said(source: PatchSource, gallery: Gallery, options: Options) -> str:
    side, used = source.shape[0], len(gallery) - len(gallery.unusable)
    extra = source.held_out.n_samples if source.held_out else 0
    return (
        f"{source.n_samples} random patches of {side}x{side} pixels ({options.color}, whiten "
        f"{options.whiten}) from {used} of {len(gallery)} pictures, and {extra} held out"
    )


def _records(options: Options) -> Meta | None:
    return None if options.meta is None else read_meta(Path(options.meta))
