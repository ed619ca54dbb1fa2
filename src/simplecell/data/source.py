"""The door: anything that holds samples becomes a `Source`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simplecell.data.axes import arranged, taken_for_pictures
from simplecell.data.cifar import is_cifar, load_training
from simplecell.data.files import read_file
from simplecell.data.frames import is_frame
from simplecell.data.images import (
    SUFFIXES,
    Gallery,
    openers_of_arrays,
    openers_of_files,
    openers_of_images,
    whole_pictures,
)
from simplecell.data.lazy import Lazy
from simplecell.data.loaded import Loaded
from simplecell.data.numerals import listed
from simplecell.data.options import Options
from simplecell.data.pages import Opener
from simplecell.data.patches import PatchSource, random_patches, tiles
from simplecell.data.photographs import Photographs
from simplecell.data.pixels import divisor_of
from simplecell.data.records import joined, read_meta
from simplecell.data.rows import Array, ArraySource, Meta, Source, refuse_masked
from simplecell.data.shard_file import refuse_damaged
from simplecell.data.shard_index import read_index, shards_told
from simplecell.data.shards import (
    Shard,
    files_below,
    is_pattern,
    left_out,
    matched,
    read_shards,
    shards_in,
    shards_of,
    stacked,
)
from simplecell.data.tables import table_of_frame
from simplecell.data.tensors import array_of, dense_array_of
from simplecell.errors import DataError, UsageError, choice

_DEFAULT_PATCH = 10
_LARGE_PICTURE, _SMALL_PICTURE = 64, 16


def as_source(data: object, **options: Any) -> Source:
    """A `Source` of an array or tensor [n, D], [n, h, w] or [n, h, w, c], a SciPy sparse matrix, a
    data frame, pictures of any sizes, or a path to a file of those, to a folder of pictures or to
    CIFAR-10, packed or unpacked (its training pictures). Each page of a picture file is a picture.
    Several files of one width are one array: a folder, a pattern such as "acts_*.npy" or a list of
    paths; so is a list of matrices.

    With `kind="auto"` picture files, folders and arrays of pictures of at least 64×64 pixels give
    patches, smaller pictures and all else one vector a sample. Arrays have the samples first, save
    3-D and 4-D MATLAB variables (last); `samples="columns"` says last. `inputs` ("first", "middle",
    "last" or an axis by its number) says which axis of an array holds the inputs: each position of
    the others is a sample; "all": every axis but the first. `patch` is a side in pixels,
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


def openers_of(data: object, max_pixels: int, channels: str = "auto") -> list[Opener] | None:
    """The pictures that data are when they are files or Pillow's own; None for anything else.

    None of them is decoded yet. Raises DataError for files that do not exist.
    """
    if is_pattern(data):
        data = matched(data)  # type: ignore[arg-type]
    if isinstance(data, str | Path):
        path = Path(data)
        if not path.exists():
            raise DataError(f"{path} does not exist")
        if is_cifar(path):
            return None
        if path.suffix.lower() in SUFFIXES or (path.is_dir() and _holds_pictures(path)):
            return openers_of_files(path, max_pixels, channels)
    if isinstance(data, Image.Image):
        return openers_of_images([data], max_pixels, channels)
    if not isinstance(data, list | tuple) or not data:
        return None
    if all(isinstance(item, Image.Image) for item in data):
        return openers_of_images(data, max_pixels, channels)
    if all(isinstance(item, str | Path) for item in data) and shards_of(data) is None:
        return [o for item in data for o in openers_of_files(Path(item), max_pixels, channels)]
    return None


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder is one of pictures, as an empty one is. Raises DataError for neither."""
    if read_index(folder) is not None:
        return False
    if any(path.suffix.lower() in SUFFIXES for path in files_below(folder)):
        return True
    found, others = shards_in(folder)
    if not found and others:
        raise DataError(
            f"{folder} holds no pictures, and no files of numbers that may be joined to one array; "
            f"it holds {listed(others)}: give one of them, or several by a list or a pattern"
        )
    return not found


def _opened(data: object, options: Options) -> Source:
    openers = openers_of(data, options.max_pixels, options.channels)
    if openers is not None:
        source = _of_pictures(openers, options)
        source.notes += _numbers_beside(data)
        return source
    if is_pattern(data):
        return _of_shards(matched(data), f"{Path(str(data)).name!r}", options)  # type: ignore[arg-type]
    if isinstance(data, str | Path):
        path = Path(data)
        shards = path.is_dir() and not is_cifar(path)
        return _of_folder(path, options) if shards else _of_file(path, options)
    if is_frame(data):
        return _of_frame(data, options)
    refuse_masked(data, "the list" if isinstance(data, list | tuple) else "the array")
    if isinstance(data, list | tuple):
        return _of_list(data, options)
    if options.label is not None:
        raise UsageError(f"label {options.label!r} names a column of a table, but this is an array")
    return _of_array(arranged(Loaded(array_of(data)), "the array", options), "the array", options)


def _numbers_beside(data: object) -> list[str]:
    """The sentence on files of numbers in a folder of pictures."""
    if not isinstance(data, str | Path) or not Path(data).is_dir():
        return []
    found = [shard.name for shard in shards_in(Path(data))[0]]
    return left_out(found, "this is a folder of pictures; name files of numbers by a pattern")


def _of_file(path: Path, options: Options) -> Source:
    loaded = load_training(path) if is_cifar(path) else read_file(path, options)
    _refuse_label(loaded, path.name, options)
    return _of_array(arranged(loaded, path.name, options), path.name, options)


def _refuse_label(loaded: Loaded, name: str, options: Options) -> None:
    if options.label is not None and loaded.table is None and not loaded.label_is_known:
        raise UsageError(f"label {options.label!r} names a column, but {name} has none")


def _of_folder(folder: Path, options: Options) -> Source:
    """A folder of files of numbers, which are one array."""
    told = shards_told(folder)
    if told is not None:
        paths, index = told
        refuse_damaged(folder, index)
        loaded = read_shards([Shard(p.name, p) for p in paths], folder.name, options)
        _refuse_label(loaded, folder.name, options)
        source = _of_array(replace(loaded, input_names=index["input_names"]), folder.name, options)
        pictures = index.get("harvest", {}).get("pictures")
        if isinstance(source, ArraySource) and isinstance(pictures, str):
            source.photographs = Photographs(Path(pictures))
        return source
    shards, others = shards_in(folder)
    loaded = read_shards(shards, folder.name or str(folder), options)
    _refuse_label(loaded, folder.name, options)
    notes = [*loaded.notes, *left_out(others, "of another format")]
    return _of_array(replace(loaded, notes=notes), folder.name, options)


def _of_shards(paths: Sequence[str | Path], name: str, options: Options) -> Source:
    """The files of numbers that a list or a pattern names."""
    loaded = read_shards(shards_of(paths) or [], name, options)
    _refuse_label(loaded, name, options)
    return _of_array(loaded, name, options)


def _of_frame(frame: Any, options: Options) -> Source:
    table = table_of_frame(frame, "the data frame", options)
    return _of_array(Loaded.of_table(table), "the data frame", options)


def _of_list(data: Sequence[Any], options: Options) -> Source:
    """Files, matrices of one width, pictures where arrays differ in size, else rows of numbers."""
    if data and all(isinstance(item, str | Path) for item in data):
        return _of_shards(data, "the list", options)
    data = [array_of(item) for item in data]
    if _are_matrices(data, options):
        return _of_array(_of_matrices(data, options), "the list", options)
    data = [dense_array_of(item) for item in data]
    shapes = {np.shape(item) for item in data if isinstance(item, np.ndarray)}
    if len(shapes) > 1:
        source = _of_pictures(openers_of_arrays(data, "the list", options.channels), options)
        source.notes.append(
            f"the list holds {len(data)} arrays of different sizes, which are taken for pictures; "
            "matrices that are one array need one width"
        )
        return source
    try:
        array = np.asarray(data)
    except ValueError:
        raise DataError("the list has rows of different lengths; one length is needed") from None
    return _of_array(arranged(Loaded(array), "the list", options), "the list", options)


def _are_matrices(data: Sequence[Any], options: Options) -> bool:
    """Whether a list holds matrices [n_i, D] of one width, which are shards of one array.

    Bytes are pictures, as they are everywhere else.
    """
    arrays = all(isinstance(item, np.ndarray | Lazy) or hasattr(item, "tocsr") for item in data)
    if not data or not arrays or options.kind == "patches" or options.whiten != "none":
        return False
    lying = options.samples == "columns" or options.inputs in ("first", 0, -2)
    widths = {item.shape[:1] if lying else item.shape[1:] for item in data}
    bytes_alone = all(item.dtype == np.uint8 for item in data) and options.kind != "array"
    return len(widths) == 1 and all(len(item.shape) == 2 for item in data) and not bytes_alone


def _of_matrices(data: Sequence[Any], options: Options) -> Loaded:
    parts = [arranged(Loaded(item), f"matrix {i}", options) for i, item in enumerate(data)]
    loaded = stacked(parts, [{"matrix": i} for i in range(len(parts))])
    n_samples, n_inputs = loaded.data.shape
    note = (
        f"the list of {len(parts)} matrices is one array of {n_samples} rows of {n_inputs} inputs; "
        "if each is a picture, say data.kind=patches, or stack them with numpy.stack"
    )
    return replace(loaded, notes=[note, *loaded.notes])


def _of_array(loaded: Loaded, name: str, options: Options) -> Source:
    """Samples or pictures of an array whose axes are in order."""
    array = loaded.data
    if len(array.shape) > 4:
        raise DataError(
            f"{name} has the shape {array.shape}; 2, 3 or 4 dimensions are needed, or an axis that "
            "holds the inputs (data.inputs=last)"
        )
    wanted = options.kind == "patches" or options.whiten != "none"
    if wanted and (loaded.table is not None or hasattr(array, "tocsr")):
        raise UsageError(f"{name} is a table, and patches and 1/f whitening are for pictures")
    pictures = _pictures_of(array, name, options)
    if pictures is None:
        return _vectors(array, loaded, name, options)
    if options.kind == "auto":
        pictures.notes += taken_for_pictures(loaded, name)
    pictures.notes += loaded.notes
    return pictures


def _pictures_of(array: Any, name: str, options: Options) -> Source | None:
    """Patches of an array of pictures, or whitened whole ones; None for samples as they are."""
    one = _as_one_picture(array, options)
    if one is not None:
        return _one_picture(one, array.shape, name, options)
    large = len(array.shape) > 2 and min(array.shape[1:3]) >= _LARGE_PICTURE
    if options.kind == "patches" or (options.kind == "auto" and large):
        return _of_pictures(openers_of_arrays(array, name, options.channels), options, "patches")
    if options.whiten == "none":
        return None
    if array.ndim == 2:
        raise UsageError(
            f"1/f whitening is for pictures, but {name} has the shape {array.shape}; "
            "give (n, h, w), or set data.whiten to 'none'"
        )
    return _of_pictures(openers_of_arrays(array, name, options.channels), options, "array")


def _one_picture(one: Array, shape: tuple[int, ...], name: str, options: Options) -> Source:
    source = _of_pictures(openers_of_arrays(one, name, options.channels), options)
    if len(shape) == 2:
        source.notes.insert(
            0,
            f"{name}, {shape[0]} rows of {shape[1]}, is taken for one picture; "
            "if it holds a sample a row or column, say data.kind=array (and data.samples)",
        )
    return source


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
    pictures, table = len(array.shape) > 2, loaded.table
    notes = list(loaded.notes)
    if pictures and options.kind == "auto":
        notes += taken_for_pictures(loaded, name)
    if len(array.shape) == 4 and array.shape[3] == 1:
        array = np.asarray(array)[:, :, :, 0]
    return ArraySource(
        array,
        kind="pictures" if pictures else "table" if table else "array",
        name=name,
        divisor=divisor_of(array.dtype) if pictures else None,
        input_names=table.input_names if table else loaded.input_names,
        labels=loaded.labels,
        columns=table.columns if table else None,
        meta=joined(loaded.records, _records(options)),
        notes=notes,
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
