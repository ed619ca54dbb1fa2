"""CIFAR-10 from either of its archives; the pickled one is parsed, and never unpickled."""

from __future__ import annotations

import itertools
import pickletools
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from simplecell.data.binary import naming, opened, take
from simplecell.data.files import Loaded
from simplecell.data.rows import Array
from simplecell.errors import DataError

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
"""What the labels 0 … 9 mean."""

_PIXELS = 3072
_MEMBER = re.compile(r"(?:data_batch_[1-9]|test_batch)(?:\.bin)?")
_MOST_UNPACKED, _MOST_A_MEMBER, _MOST_OPCODES = 2**29, 2**26, 2**18

_MEMO = {"FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_TEXT = {
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"),
    *("SHORT_BINUNICODE", "BINUNICODE"),
}
_LIST = {"EMPTY_LIST", "MARK", "BININT1", "APPEND", "APPENDS"}
_OTHER = {
    *("PROTO", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINGET", "LONG_BINGET", "STOP"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BININT", "BININT2"),
    *("NONE", "NEWFALSE", "NEWTRUE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
_GLOBALS = {"_reconstruct", "ndarray", "dtype"}

Opcode = tuple[str, Any]


class Cifar(NamedTuple):
    """Pictures [n, 32, 32, 3] and labels [n] of both parts, uint8; `CLASSES` names the labels."""

    train_pictures: Array
    train_labels: Array
    test_pictures: Array
    test_labels: Array


def read_cifar(path: str | Path) -> Cifar:
    """The pictures of `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`, or of a part of them.

    A pickle is a program; here its opcodes are only listed, and pixels and labels picked from the
    list: nothing in it can run.

    Raises:
        DataError: for a file that is missing, broken, too large or laid out in another way.

    Source: Krizhevsky 2009, CIFAR-10 (layout: its web page). Exact.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give cifar-10-python.tar.gz or its binary twin")
    with naming(path.name):
        batches = dict(_batches(path))
        train = [batches[name] for name in sorted(batches) if name.startswith("data")]
        test = [batches[name] for name in batches if name.startswith("test")]
        if not train or not test:
            raise DataError(
                f"{path.name} holds {', '.join(sorted(batches)) or 'no batches'}; CIFAR-10's "
                "archives have data_batch_1 … and test_batch (unpack others, and give the folder)"
            )
        return Cifar(*_joined(train), *_joined(test))


def load_training(path: Path) -> Loaded:
    """The training pictures, labelled by the names of their classes."""
    cifar = read_cifar(path)
    left_out = f"the {len(cifar.test_labels)} test pictures of {path.name} are left out"
    labels = np.array(CLASSES)[cifar.train_labels]
    return Loaded(cifar.train_pictures, labels=labels, notes=[left_out])


def is_archive(path: Path) -> bool:
    """Whether a name promises a tar archive, gzipped or not."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def _joined(batches: list[tuple[Array, Array]]) -> tuple[Array, Array]:
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


def _batches(path: Path) -> Iterator[tuple[str, tuple[Array, Array]]]:
    """(name of the batch, its pixels [n, 3072] and labels [n]) as the archive has them."""
    with opened(path) as stream:
        bounded = cast(IO[bytes], _Bounded(stream, _MOST_UNPACKED))
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or not _MEMBER.fullmatch(name):
                    continue
                data = bytes(take(file, name, _MOST_A_MEMBER))
                read = _of_bytes if name.endswith(".bin") else _of_pickle
                yield name.removesuffix(".bin"), _checked(name, *read(data, name))


def _checked(name: str, pixels: Array, labels: Array) -> tuple[Array, Array]:
    if len(pixels) != len(labels) or not len(labels):
        raise DataError(f"{name} has {len(pixels)} pictures and {len(labels)} labels")
    if labels.max() >= len(CLASSES):
        raise DataError(f"{name} has the label {labels.max()}; CIFAR-10's are 0 to 9")
    return pixels, labels


def _of_bytes(data: bytes, name: str) -> tuple[Array, Array]:
    """Of the binary layout: records of a label and 3,072 pixels."""
    if len(data) % (1 + _PIXELS):
        raise DataError(f"{name} has {len(data)} bytes; records of {1 + _PIXELS} are needed")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _of_pickle(data: bytes, name: str) -> tuple[Array, Array]:
    """Of the pickled layout: a dictionary with `data`, an array of bytes, and `labels`, a list."""
    opcodes = _opcodes(data, name)
    after = itertools.dropwhile(lambda opcode: not _says(opcode, "labels"), opcodes)
    numbers = itertools.takewhile(
        lambda opcode: opcode[0] in _LIST, itertools.islice(after, 1, None)
    )
    labels = np.array([arg for kind, arg in numbers if kind == "BININT1"], dtype=np.uint8)
    return _pixels(opcodes, name), labels


def _pixels(opcodes: list[Opcode], name: str) -> Array:
    """The bytes after the key `data`, which an array of type u1 in C order holds."""
    state = itertools.dropwhile(lambda opcode: not _says(opcode, "data"), opcodes)
    before: list[Opcode] = []
    for kind, arg in state:
        if kind in _TEXT and len(arg) >= _PIXELS:
            plain = any(_says(opcode, "u1") for opcode in before) and before[-1][0] == "NEWFALSE"
            if not plain or len(arg) % _PIXELS:
                break
            data = arg if isinstance(arg, bytes) else arg.encode("latin-1")
            return np.frombuffer(data, np.uint8).reshape(-1, _PIXELS)
        before.append((kind, arg))
    raise DataError(f"{name} holds no array of bytes [n, {_PIXELS}] under the key 'data'")


def _says(opcode: Opcode, text: str) -> bool:
    return opcode[0] in _TEXT and opcode[1] in (text, text.encode())


def _opcodes(data: bytes, name: str) -> list[Opcode]:
    """The instructions of a pickle, as a list; DataError for one that CIFAR-10 has no need of."""
    listed: list[Opcode] = []
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name in _MEMO:
            continue
        if opcode.name not in _TEXT | _LIST | _OTHER or len(listed) == _MOST_OPCODES:
            raise DataError(f"{name} is a pickle, but not one of CIFAR-10's pictures")
        called = {"GLOBAL": arg, "STACK_GLOBAL": listed[-1][1] if listed else ""}.get(opcode.name)
        if called is not None and str(called).rpartition(" ")[2] not in _GLOBALS:
            raise DataError(
                f"{name} is a pickle that would call {called!r}, which CIFAR-10's do not; "
                "nothing of it was run"
            )
        listed.append((opcode.name, arg))
    return listed
