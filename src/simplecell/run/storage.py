"""Files whole or not at all: a crash leaves the old file or the new one, nothing between."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import re
import reprlib
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    NamedTuple,
    NotRequired,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import safetensors

from simplecell.errors import LostError, RunError, WriteError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A link in the place of a file leads elsewhere; Windows has no such flag."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


class Lock:
    """The only lock on a file; `release`, or the end of the process, frees it.

    Whoever holds it is waited for, for `patience` seconds.

    Does nothing where the system or the file system has no such locks.

    Raises:
        BlockingIOError: when someone else holds it still.
        WriteError: when the file cannot be made.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self._handle: int | None = None
        with writing(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        end = time.monotonic() + patience
        while not self._taken():
            if time.monotonic() >= end:
                self.release()
                raise BlockingIOError(f"'{path}' is held by another process")
            time.sleep(0.005)

    def _taken(self) -> bool:
        if fcntl is None or self._handle is None:
            return True
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # some network file systems
            pass
        return True

    def release(self) -> None:
        """Let others have it; harmless when said twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    __del__ = release


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals into one sentence about `path`."""
    try:
        yield
    except (WriteError, LostError):  # whose pieces are written may be gone: no fault of the place
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"could not write '{path}': {reason}; "
            "look at the place, its permissions and the free space"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when the block ends well.

    Written under a temporary name, flushed to the disk, renamed.

    Raises:
        WriteError: when the disk is full or the folder missing or forbidden.
    """
    if _is_device(path):
        with writing(path), open(path, "wb") as file:
            yield file
        return
    if not path.name:
        raise WriteError(f"could not write '{path}': a file's name is needed")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with writing(path):
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # gone after the rename; absent if never opened
                temporary.unlink()


def check_place(path: Path) -> None:
    """Ask by writing whether a file can be put there, before the work that would be lost.

    Raises:
        WriteError: as `replacing` would at the end.
    """
    if _is_device(path):
        return
    with writing(path):
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def _is_device(path: Path) -> bool:
    """Whether it is a device or a pipe, which is written to and never replaced."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISBLK(mode)


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file `path`. Raises WriteError as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed process left half-written in `folder`."""
    with contextlib.suppress(OSError):
        for file in filter(is_temporary, list(folder.iterdir())):
            with contextlib.suppress(OSError):
                file.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that only `replacing` gives."""
    return _TEMPORARY.fullmatch(path.name) is not None


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # Names of files that are no UTF-8 hold lone surrogates; JSON has an escape for each.
    write_whole(path, (text + "\n").encode(errors="backslashreplace"))


def append(path: Path, content: bytes) -> None:
    """Put `content` at the end of a file, and of none that a link leads to. Raises WriteError."""
    with writing(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK, 0o666)
        with open(handle, "ab") as file:
            file.write(content)


class Pieces(NamedTuple):
    """A tensor as its pieces, which follow one another, made when they are asked for."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Iterable[Tensor]


Part: TypeAlias = "Tensor | list[Tensor] | Pieces"
"""What is written as one tensor; a list stands for its tensors, stacked."""


def in_order(tensors: Mapping[str, Part]) -> dict[str, Pieces]:
    """The tensors as `write_tensors` asks for their pieces, one after the other."""
    parts = {name: _in_pieces(part) for name, part in tensors.items()}
    # Wide numbers first, as the library does: each then lies where it can be read in place.
    order = sorted(parts, key=lambda name: (-parts[name].dtype.itemsize, name))
    return {name: parts[name] for name in order}


def _in_pieces(part: Part) -> Pieces:
    if isinstance(part, Pieces):
        return part
    if isinstance(part, list):
        return Pieces(part[0].dtype, (len(part), *part[0].shape), part)
    return Pieces(part.dtype, tuple(part.shape), [part])


def write_tensors(path: Path, tensors: Mapping[str, Part]) -> None:
    """Put a safetensors file in the place of `path`.

    One piece after another goes to the disk: the library would hold all of them once more.
    Raises WriteError as `replacing` does.
    """
    header, end, parts = {}, 0, in_order(tensors)
    for name, part in parts.items():
        start, end = end, end + math.prod(part.shape) * part.dtype.itemsize
        header[name] = {
            "dtype": _KINDS[str(part.dtype)],
            "shape": list(part.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in itertools.chain.from_iterable(part.pieces for part in parts.values()):
            file.write(one.detach().cpu().contiguous().numpy().data)


_KINDS = {
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.bool": "BOOL",
}


def read_whole(path: Path) -> bytes:
    """A file's content.

    Raises:
        OSError: when it cannot be read, or is no file: a pipe would be waited for, a device has no
            end.
    """
    check_file(path)
    return path.read_bytes()


def check_file(path: Path) -> None:
    """Raise OSError unless there is a file, or a link to one, at a path."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(f"it is {kind_of(mode)}, and a file is needed")


def kind_of(mode: int) -> str:
    """What lies at a path, in words, from the mode that the system tells of it."""
    words = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for is_one, name in words if is_one(mode)), "a device")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file.

    Raises:
        RunError: when it is missing or damaged.
    """
    from safetensors.torch import load  # not at the top: pictures are saved without torch

    try:
        return load(read_whole(path))
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Raises:
        RunError: when it is missing, unreadable or no object.
    """
    try:
        value = parse_json(read_whole(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"'{path}' does not hold a JSON object")
    return value


def parse_json(text: str | bytes) -> Any:
    """A value from JSON of finite numbers.

    Raises:
        ValueError: for anything else; NaN, Infinity and 1e999 are no numbers of ours.
        RecursionError: for what is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large a number")
    return value


@cache
def form_of(kind: object) -> object:
    """The form of a declared type: of a TypedDict, a list, a dict of any keys, alternatives."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {key: form_of(hint) for key, hint in hints.items()}
    if origin is NotRequired:
        return None, form_of(parts[0])
    if origin is UnionType:  # None first: what is said of a misfit is said of the last
        return None, *(form_of(part) for part in parts if part is not NoneType)
    if origin is list:
        return [form_of(parts[0])]
    return {str: form_of(parts[1])} if origin is dict else kind


def misfit(value: object, form: object, name: str = "it") -> str | None:
    """Where a value read from JSON is not of `form`, in words; None when it fits.

    A form is a type, None, a tuple of alternatives, `[form]` for a list of such, or a table of
    forms (other keys are let pass; `{str: form}` is a table of any keys).
    """
    if isinstance(form, tuple):
        found = [misfit(value, one, name) for one in form]
        return None if None in found else found[-1]
    if isinstance(form, dict) and isinstance(value, dict):
        table = dict.fromkeys(value, form[str]) if str in form else form
        parts = ((value.get(key), one, f"{name}.{key}") for key, one in table.items())
        return next(filter(None, (misfit(*part) for part in parts)), None)
    if isinstance(form, list) and isinstance(value, list):
        return next(filter(None, (misfit(one, form[0], f"{name}[…]") for one in value)), None)
    if form is float:
        number = isinstance(value, int | float) and abs(value) < 1e300  # NaN is not
        fits = number and not isinstance(value, bool)
    else:
        fits = value is form or form is object or type(value) is form
    return None if fits else f"{name} is {reprlib.repr(value)}"


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders, and needs none flushed
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
