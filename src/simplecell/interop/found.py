"""What lies at a path, read without trust: names of files, JSON, tensors; nothing is unpickled."""

from __future__ import annotations

import io
import os
import zipfile
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from simplecell.data.binary import array_from, most_bytes, naming, npy_header, refuse_trap
from simplecell.data.tensors import check_torch_file, weights_only
from simplecell.errors import DataError, RunError
from simplecell.run.storage import check_file, parse_json, read_json

MOST_HEADER = 2**20
"""Bytes of a first line that may be a JSON header."""


class Found:
    """A folder or a file at `path`; what is read is kept, so that formats may look in turn.

    Raises:
        RunError: when it is neither.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._kept: dict[object, Any] = {}
        if not os.path.exists(self.path):
            raise RunError(f"'{self.path}' is not a run directory: there is nothing at that path")

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the files in the folder, or of the file itself."""
        if os.path.isdir(self.path):
            return frozenset(os.listdir(self.path))
        return frozenset([self.path.name])

    @property
    def is_folder(self) -> bool:
        return os.path.isdir(self.path)

    def place(self, name: str) -> Path:
        """Where the file of that name is."""
        return self.path / name if self.is_folder else self.path

    def table(self, name: str) -> dict[str, Any]:
        """The JSON object in the file of that name. Raises RunError for anything else."""
        return self._once(name, lambda: read_json(self.place(name)))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a .safetensors file. Raises RunError when it is missing or damaged."""
        return self._once(name, lambda: _safetensors(self.place(name)))

    def state(self, name: str = "") -> dict[str, Any]:
        """What `torch.save` wrote of a dictionary. Raises RunError for whatever must be unpickled.

        Tensors, numbers, texts and dictionaries of them alone are taken.
        """
        return self._once(("state", name), lambda: _state(self.place(name)))

    def arrays(self, name: str = "") -> dict[str, Tensor]:
        """The arrays of a NumPy archive. Raises RunError for one that holds anything else."""
        return self._once(("arrays", name), lambda: _arrays(self.place(name)))

    def headed(self) -> tuple[dict[str, Any], bytes] | None:
        """A first line of JSON and the bytes after it, where the file begins so."""
        return self._once("headed", lambda: None if self.is_folder else _headed(self.path))

    def starts_with(self, start: bytes) -> bool:
        """Whether the file begins with these bytes."""
        if self.is_folder:
            return False
        with self.path.open("rb") as stream:
            return stream.read(len(start)) == start

    def _once(self, key: object, read: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = read()
        return self._kept[key]


def state_of(content: bytes, name: str) -> dict[str, Any]:
    """What `torch.save` wrote of a dictionary, from bytes. Raises RunError as `Found.state`."""
    return _unpacked(io.BytesIO(content), name, len(content))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        check_file(path)
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error


def _state(path: Path) -> dict[str, Any]:
    try:
        check_file(path)
        with path.open("rb") as stream:
            return _unpacked(stream, path.name, path.stat().st_size)
    except OSError as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error


def _unpacked(stream: IO[bytes], name: str, size: int) -> dict[str, Any]:
    try:
        with naming(name):
            check_torch_file(stream, name, size)
            found = weights_only(stream, name)
    except DataError as error:
        raise RunError(
            f"{error}; of a model save its state alone: torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(found, dict):
        raise RunError(
            f"{name} holds a {type(found).__name__}, and a model's state_dict is needed: "
            "torch.save(model.state_dict(), path)"
        )
    return found


def _arrays(path: Path) -> dict[str, Tensor]:
    """Read member by member: NumPy's own reader asks no archive how large it becomes."""
    found: dict[str, Tensor] = {}
    try:
        with naming(path.name), zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                size = path.stat().st_size
                refuse_trap(path.name, info.file_size, size)
                with archive.open(info) as stream:
                    shape, fortran, dtype = npy_header(stream, info.filename, whatever=True)
                    most = max(size, most_bytes(size))
                    array = array_from(
                        stream, info.filename, shape, dtype, "F" if fortran else "C", most
                    )
                found[info.filename.removesuffix(".npy")] = torch.from_numpy(array.copy())
    except DataError as error:
        raise RunError(str(error)) from error
    return found


def _headed(path: Path) -> tuple[dict[str, Any], bytes] | None:
    with path.open("rb") as stream:
        if stream.read(1) != b"{":
            return None
        first = b"{" + stream.readline(MOST_HEADER)
        try:
            header = parse_json(first)
        except (ValueError, RecursionError):
            return None
        return (header, stream.read()) if isinstance(header, dict) else None
