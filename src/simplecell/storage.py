"""Files whole or not at all: a crash leaves the old file or the new one, nothing between."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from simplecell.errors import RunError, WriteError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"could not write '{path}': {reason}; free some space or choose another place"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when the block ends well.

    Written under a temporary name, flushed to the disk, renamed.

    Raises:
        WriteError: when the disk is full or the folder missing or forbidden.
    """
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


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file `path`. Raises WriteError as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed process left half-written in `folder`."""
    for file in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            file.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Raises:
        RunError: when it is missing, unreadable or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"'{path}' does not hold a JSON object")
    return value


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders, and needs none flushed
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
