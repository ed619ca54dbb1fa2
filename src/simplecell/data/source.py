"""The door: anything that holds samples becomes a `Source`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simplecell.data.cifar import is_archive, load_training
from simplecell.data.files import Asked, Loaded, read_file
from simplecell.data.images import (
    COLORS,
    MAX_PIXELS,
    SHRINKINGS,
    SUFFIXES,
    WHITENINGS,
    Gallery,
    Opener,
    Preparation,
    divisor_of,
    openers_of_arrays,
    openers_of_files,
    openers_of_images,
    whole_pictures,
)
from simplecell.data.patches import PatchSource, random_patches, tiles
from simplecell.data.records import read_meta
from simplecell.data.rows import (
    Array,
    ArraySource,
    Meta,
    Skipped,
    Source,
    Subset,
    check_numbers,
    split,
)
from simplecell.data.tables import Header, columns_of_frame, encode_table, is_frame
from simplecell.errors import DataError, UsageError, unknown

__all__ = ["ArraySource", "PatchSource", "Skipped", "Source", "Subset", "as_source", "split"]

_DEFAULT_PATCH = 10
_LARGE_PICTURE, _SMALL_PICTURE = 64, 16

_KNOWN = {
    "kind": ("auto", "array", "patches"),
    "samples": ("auto", "rows", "columns"),
    "sampling": ("random", "tiles"),
    "whiten": WHITENINGS,
    "shrink": SHRINKINGS,
    "color": COLORS,
}


@dataclass(frozen=True)
class _Options:
    """Everything `as_source` was told, checked once."""

    kind: str
    samples: str
    asked: Asked
    meta: Meta | None
    patch: int | None
    n_patches: int
    held_out: float
    sampling: str
    whiten: str
    cutoff: float
    shrink: str
    color: str
    seed: int
    max_pixels: int
    skip_broken: bool

    def __post_init__(self) -> None:
        for option, known in _KNOWN.items():
            if getattr(self, option) not in known:
                raise unknown(f"data.{option}", getattr(self, option), known)
        for option, least in (("patch", 1), ("n_patches", 1), ("max_pixels", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise UsageError(f"data.{option} is {value}; at least {least} is needed")
        if not 0 <= self.held_out < 1:
            raise UsageError(f"data.held_out is {self.held_out}; a fraction in [0, 1) is needed")
        if not self.cutoff > 0:
            raise UsageError(f"data.cutoff is {self.cutoff}; more than 0 cycles a pixel is needed")

    def preparation(self, patch: int) -> Preparation:
        return Preparation(self.color, self.whiten, self.cutoff, self.shrink, patch)


def as_source(
    data: Any,
    *,
    kind: str = "auto",
    key: str | None = None,
    samples: str = "auto",
    label: str | int | None = None,
    header: Header = "auto",
    columns: dict[str, Any] | None = None,
    meta: str | Path | None = None,
    patch: int | None = None,
    n_patches: int = 10_000,
    held_out: float = 0.1,
    sampling: str = "random",
    whiten: str = "none",
    cutoff: float = 0.4,
    shrink: str = "auto",
    color: str = "grey",
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    skip_broken: bool = True,
) -> Source:
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
    options = _Options(
        kind=kind,
        samples=samples,
        asked=Asked(key, header, label, columns),
        meta=None if meta is None else read_meta(Path(meta)),
        patch=patch,
        n_patches=n_patches,
        held_out=held_out,
        sampling=sampling,
        whiten=whiten,
        cutoff=cutoff,
        shrink=shrink,
        color=color,
        seed=seed,
        max_pixels=max_pixels,
        skip_broken=skip_broken,
    )
    return data if isinstance(data, Source) else _opened(data, options)


def _opened(data: Any, options: _Options) -> Source:
    if isinstance(data, (str, Path)):
        return _of_path(Path(data), options)
    if isinstance(data, Image.Image):
        return _of_pictures(openers_of_images([data], options.max_pixels), options)
    if is_frame(data):
        return _of_frame(data, options)
    if isinstance(data, (list, tuple)):
        return _of_list(data, options)
    if options.asked.label is not None:
        raise UsageError(
            f"label {options.asked.label!r} names a column of a table, but this is an array"
        )
    return _of_array(Loaded(data), "the array", options)


def _of_path(path: Path, options: _Options) -> Source:
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return _of_pictures(openers_of_files(path, options.max_pixels), options)
    loaded = load_training(path) if is_archive(path) else read_file(path, options.asked)
    if loaded.table is None and options.asked.label is not None:
        raise UsageError(f"label {options.asked.label!r} names a column, but {path.name} has none")
    return _of_array(loaded, path.name, options)


def _of_frame(frame: Any, options: _Options) -> Source:
    names, values = columns_of_frame(frame)
    table = encode_table(
        values,
        names,
        "the data frame",
        how={"header": True, "delimiter": None},
        label=options.asked.label,
        encoding=options.asked.columns,
    )
    loaded = Loaded(table.values, table=table, labels=table.labels, notes=table.notes)
    return _of_array(loaded, "the data frame", options)


def _of_list(data: Sequence[Any], options: _Options) -> Source:
    """Pictures when each item is one, else rows of numbers."""
    if data and all(isinstance(item, Image.Image) for item in data):
        return _of_pictures(openers_of_images(data, options.max_pixels), options)
    if data and all(isinstance(item, (str, Path)) for item in data):
        paths = [Path(item) for item in data]
        openers = [
            opener for path in paths for opener in openers_of_files(path, options.max_pixels)
        ]
        return _of_pictures(openers, options)
    shapes = {np.shape(item) for item in data if isinstance(item, np.ndarray)}
    if len(shapes) > 1:
        return _of_pictures(openers_of_arrays(data, "the list"), options)
    try:
        array = np.asarray(data)
    except ValueError:
        raise DataError("the list has rows of different lengths; one length is needed") from None
    return _of_array(Loaded(array), "the list", options)


def _of_array(loaded: Loaded, name: str, options: _Options) -> Source:
    array = loaded.data if hasattr(loaded.data, "tocsr") else np.asanyarray(loaded.data)
    check_numbers(name, array.dtype, array.shape)
    if options.samples == "columns" or (options.samples == "auto" and loaded.samples_last):
        array = array.T if array.ndim == 2 else np.moveaxis(array, -1, 0)
    if array.ndim > 4:
        raise DataError(f"{name} has the shape {array.shape}; 2, 3 or 4 dimensions are needed")
    wanted = options.kind == "patches" or options.whiten != "none"
    if wanted and (loaded.table is not None or hasattr(array, "tocsr")):
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


def _as_one_picture(array: Any, options: _Options) -> Array | None:
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


def _vectors(array: Any, loaded: Loaded, name: str, options: _Options) -> Source:
    pictures, table = array.ndim > 2, loaded.table
    if pictures and array.ndim == 4 and array.shape[3] == 1:
        array = array[:, :, :, 0]
    return ArraySource(
        array,
        kind="pictures" if pictures else "table" if table else "array",
        name=name,
        divisor=divisor_of(array.dtype) if pictures else None,
        input_names=table.input_names if table else None,
        labels=loaded.labels,
        columns=table.columns if table else None,
        meta=options.meta,
        notes=loaded.notes,
    )


def _of_pictures(openers: list[Opener], options: _Options, kind: str | None = None) -> Source:
    kind = kind or options.kind
    patch = options.patch or _DEFAULT_PATCH
    if kind == "array":
        gallery = Gallery(openers, options.preparation(1), options.skip_broken)
        return whole_pictures(gallery, options.meta)
    gallery = Gallery(openers, options.preparation(patch), options.skip_broken)
    if options.sampling == "tiles":
        return tiles(gallery, meta=options.meta)
    source = random_patches(
        gallery,
        options.n_patches,
        held_out=options.held_out,
        seed=options.seed,
        meta=options.meta,
    )
    if options.kind == "auto":
        source.notes.insert(0, _said(source, gallery, options))
    return source


def _said(source: PatchSource, gallery: Gallery, options: _Options) -> str:
    side, used = source.shape[0], len(gallery) - len(gallery.unusable)
    extra = source.held_out.n_samples if source.held_out else 0
    return (
        f"{source.n_samples} random patches of {side}x{side} pixels ({options.color}, whiten "
        f"{options.whiten}) from {used} of {len(gallery)} pictures, and {extra} held out"
    )
