"""CIFAR-10 from either of its archives, packed or unpacked; the pickled one is never unpickled."""

from __future__ import annotations

import pickletools
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import numpy as np

from simplecell.data.binary import naming, opened, take
from simplecell.data.loaded import Loaded
from simplecell.data.rows import Array
from simplecell.errors import DataError

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
"""What the labels 0 … 9 mean."""

_PIXELS = 3072
_MEMBER = re.compile(r"(?:data_batch_[1-9]|test_batch)(?:\.bin)?")
_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
_TRAINING = 5
_MOST_UNPACKED, _MOST_A_MEMBER, _MOST_OPCODES, _MOST_A_HEADER = 2**29, 2**26, 2**18, 2**16
_HEADERS = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}

_PUSHED = {
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BYTEARRAY8", "BININT1", "BININT2", "BININT"),
}
_CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GLOBALS = {"_reconstruct", "_frombuffer", "ndarray", "dtype", "encode", "bytes"}


Batch = tuple[Array, Array]
"""Pixels [n, 3072] and labels [n], uint8."""


class Cifar(NamedTuple):
    """Pictures [n, 32, 32, 3] and labels [n] of both parts, uint8; `CLASSES` names the labels."""

    train_pictures: Array
    train_labels: Array
    test_pictures: Array
    test_labels: Array


def read_cifar(path: str | Path) -> Cifar:
    """The pictures of `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`, or of a part of them,
    packed or as a folder.

    A pickle is a program; here the few opcodes that CIFAR-10's need are followed by hand, and a
    call is only written down: nothing in it can run.

    Raises:
        DataError: for a file that is missing, broken, too large or laid out in another way.

    Source: Krizhevsky 2009, CIFAR-10 (layout: its web page). Exact.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give cifar-10-python.tar.gz or its binary twin")
    with naming(path.name):
        batches = dict(_unpacked(path) if path.is_dir() else _batches(path))
        train = [batches[name] for name in sorted(batches) if name.startswith("data")]
        test = [batches[name] for name in batches if name.startswith("test")]
        if not train or not test:
            raise DataError(
                f"{path.name} holds {', '.join(sorted(batches)) or 'no batches'}; CIFAR-10's "
                "archives have data_batch_1 … and test_batch (unpack others, and give the folder)"
            )
        return Cifar(*_joined(train), *_joined(test))


def load_training(path: Path) -> Loaded:
    """The training pictures of an archive, a folder of batches or one batch, labelled by the names
    of their classes. Those of the test batch are left out, unless nothing else is there."""
    if path.is_file() and is_archive(path):
        cifar = read_cifar(path)
        notes = [f"the {len(cifar.test_labels)} test pictures of {path.name} are left out"]
        return _labelled(cifar.train_pictures, cifar.train_labels, notes)
    with naming(path.name):
        batches = dict(_unpacked(path))
        train = [batches[name] for name in sorted(batches) if name.startswith("data")]
        notes = _below(path) + _not_used(path.name, batches)
        return _labelled(*_joined(train or list(batches.values())), notes)


def _labelled(pictures: Array, labels: Array, notes: list[str]) -> Loaded:
    return Loaded(pictures, labels=np.array(CLASSES)[labels], notes=notes)


def _below(path: Path) -> list[str]:
    """Whether the batches lie in a folder inside of the one that was given."""
    inside = batches_in(path)[0].parent
    if inside in (path, path.parent):
        return []
    return [f"{inside.name} in {path.name} is read, and nothing else that is there"]


def _not_used(name: str, batches: Mapping[str, Batch]) -> list[str]:
    """What a folder of batches has besides training pictures, and what it lacks of them."""
    train, notes = sorted(batch for batch in batches if batch.startswith("data")), []
    if not train:
        return [f"{name} holds the test pictures alone, and they are read"]
    if "test_batch" in batches:
        notes = [f"the {len(batches['test_batch'][1])} test pictures of {name} are left out"]
    if len(train) < _TRAINING:
        notes += [f"{name} holds {', '.join(train)}, and no more of the {_TRAINING} batches"]
    return notes


def batches_in(path: Path) -> list[Path]:
    """The files of CIFAR-10's batches: in a folder, in the one that its archive makes inside of
    it, or the file itself."""
    if not path.is_dir():
        return [path] if _MEMBER.fullmatch(path.name) and path.is_file() else []
    for folder in (path, *(path / name for name in _FOLDERS)):
        if folder.is_dir():
            found = [file for file in sorted(folder.iterdir()) if _MEMBER.fullmatch(file.name)]
            if files := [file for file in found if file.is_file()]:
                return files
    return []


def is_archive(path: Path) -> bool:
    """Whether a name promises a tar archive, gzipped or not."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def is_cifar(path: Path) -> bool:
    """Whether a path is an archive, or CIFAR-10 unpacked: its folder or one of its batches."""
    return is_archive(path) or bool(batches_in(path))


def _joined(batches: list[Batch]) -> Batch:
    pixels, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    planes = pixels.reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


class _Bounded:
    """A stream that ends in a DataError once it has given more than `left` bytes."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"it expands to more than {_MOST_UNPACKED / 2**20:.0f} MiB")
        return data


class _Member(tarfile.TarInfo):
    """A member whose extended header, which tarfile holds in memory, is short."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > _MOST_A_HEADER:
            raise DataError(
                f"a header of {member.size} bytes is declared; CIFAR-10's archives have none "
                f"above {_MOST_A_HEADER}"
            )
        return member


def _unpacked(path: Path) -> Iterator[tuple[str, Batch]]:
    """(name of the batch, its pixels and labels) of files as they lie in a folder."""
    files = batches_in(path)
    names = [file.name.removesuffix(".bin") for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"{path.name} holds {twice[0]} twice, pickled and as {twice[0]}.bin; keep one of them"
        )
    for file in files:
        with file.open("rb") as stream:
            yield _batch(file.name, stream)


def _batch(name: str, stream: IO[bytes]) -> tuple[str, Batch]:
    data = bytes(take(stream, name, _MOST_A_MEMBER))
    read = _of_bytes if name.endswith(".bin") else _of_pickle
    with naming(name):
        return name.removesuffix(".bin"), _checked(name, *read(data, name))


def _batches(path: Path) -> Iterator[tuple[str, Batch]]:
    """(name of the batch, its pixels [n, 3072] and labels [n]) as the archive has them."""
    with opened(path) as stream:
        bounded = cast(IO[bytes], _Bounded(stream, _MOST_UNPACKED))
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or not _MEMBER.fullmatch(name):
                    continue
                yield _batch(name, file)


def _checked(name: str, pixels: Array, labels: Array) -> Batch:
    if len(pixels) != len(labels) or not len(labels):
        raise DataError(f"{name} has {len(pixels)} pictures and {len(labels)} labels")
    if labels.max() >= len(CLASSES):
        raise DataError(f"{name} has the label {labels.max()}; CIFAR-10's are 0 to 9")
    return pixels, labels


def _of_bytes(data: bytes, name: str) -> Batch:
    """Of the binary layout: records of a label and 3,072 pixels."""
    if len(data) % (1 + _PIXELS):
        raise DataError(f"{name} has {len(data)} bytes; records of {1 + _PIXELS} are needed")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _of_pickle(data: bytes, name: str) -> Batch:
    """Of the pickled layout: a dictionary with `data`, an array of bytes, and `labels`, a list."""
    table = _unpickled(data, name)
    if not isinstance(table, dict):
        raise DataError(f"{name} is a pickle, but not of a dictionary with 'data' and 'labels'")
    labels = table.get("labels")
    if not isinstance(labels, list) or not all(type(v) is int and 0 <= v < 256 for v in labels):
        raise DataError(f"{name} holds no list of labels, from 0 to 9, under the key 'labels'")
    return _pixels(table.get("data"), name), np.array(labels, dtype=np.uint8)


def _pixels(array: object, name: str) -> Array:
    """The bytes [n, 3072] of an array of type u1 in C order, as NumPy writes it."""
    shape, dtype, plain, held = _array_said(array)
    data = held.encode("latin-1") if isinstance(held, str) else held
    bytewise = isinstance(dtype, _Call) and (dtype.name, dtype.given[:1]) == ("dtype", ("u1",))
    if plain and bytewise and isinstance(data, bytes | bytearray):
        pixels = np.frombuffer(data, np.uint8)
        if shape == (len(pixels) // _PIXELS, _PIXELS) and len(pixels) % _PIXELS == 0:
            return pixels.reshape(shape)
    raise DataError(f"{name} holds no array of bytes [n, {_PIXELS}] under the key 'data'")


def _array_said(array: object) -> tuple[object, object, bool, object]:
    """(shape, dtype, whether rows come first, content) that a pickled array says, by NumPy's state
    or, since pickle's protocol 5, by its buffer."""
    if isinstance(array, _Call) and array.name == "_frombuffer" and len(array.given) == 4:
        held, dtype, shape, order = array.given
        return shape, dtype, order == "C", held
    state = array.state if isinstance(array, _Call) and array.name == "_reconstruct" else None
    if isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, fortran, held = state
        return shape, dtype, fortran is False, held
    return None, None, False, None


@dataclass(eq=False)
class _Call:
    """A call that a pickle asks for and nobody makes: of what, with what, and the state set."""

    name: str
    given: tuple[object, ...] = ()
    state: object = None


def _followed(function: str, given: tuple[object, ...]) -> object:
    """What a call gives, where it only spells bytes as protocol 2 must; else the call, not made."""
    if function == "encode" and given[1:] == ("latin1",) and isinstance(given[0], str):
        return given[0].encode("latin-1")
    return b"" if function == "bytes" and not given else _Call(function, given)


def _unpickled(data: bytes, name: str) -> object:
    """What a pickle describes, of plain data and `_Call`s.

    Raises:
        DataError: for opcodes and names that CIFAR-10's pickles have no need of.
    """
    stack = _Stack()
    foreign = f"{name} is a pickle, but not one of CIFAR-10's pictures"
    for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
        if count == _MOST_OPCODES:
            raise DataError(foreign)
        try:
            called = stack.follow(opcode.name, arg)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise DataError(foreign) from error
        if called.rpartition(" ")[2] not in _GLOBALS:
            raise DataError(
                f"{name} is a pickle that would call {called!r}, which CIFAR-10's do not; "
                "nothing of it was run"
            )
    if len(stack.values) != 1:
        raise DataError(foreign)
    return stack.values[0]


class _Stack:
    """The stack on which a pickle's opcodes put data together."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def follow(self, kind: str, arg: Any) -> str:
        """One opcode; the module and name that it looks up, if any, else an allowed name."""
        values, memo = self.values, self.memo
        match kind:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(values))
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if arg is None else arg] = values[-1]
            case "BINGET" | "LONG_BINGET":
                values.append(memo[arg])
            case "EMPTY_DICT":
                values.append({})
            case "EMPTY_LIST":
                values.append([])
            case "APPEND" | "APPENDS":
                items = self.taken(1 if kind == "APPEND" else None)
                values[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.taken(2 if kind == "SETITEM" else None)
                keys = [k.decode("latin-1") if isinstance(k, bytes) else k for k in items[::2]]
                values[-1].update(zip(keys, items[1::2], strict=True))
            case "GLOBAL" | "STACK_GLOBAL":
                called = arg if kind == "GLOBAL" else " ".join(self.taken(2))
                values.append(_Call(called.rpartition(" ")[2]))
                return str(called)
            case "REDUCE":
                function, given = self.taken(2)
                values.append(_followed(function.name, given))
            case "BUILD":
                state = self.taken(1)[0]
                values[-1].state = state
            case _ if kind in _TUPLES:
                values.append(tuple(self.taken(_TUPLES[kind])))
            case _:
                values.append(arg if kind in _PUSHED else _CONSTANTS[kind])
        return "ndarray"

    def taken(self, count: int | None) -> list[Any]:
        """The last values off the stack, or all since the last mark."""
        start = self.marks.pop() if count is None else len(self.values) - count
        if start < 0:
            raise IndexError("the stack is too short")
        items = self.values[start:]
        del self.values[start:]
        return items
