"""Pictures to files, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from simplecell.errors import UsageError, WriteError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(image: Image.Image, path: str | Path) -> None:
    """Write a picture in the format that the suffix of `path` names (.png, .webp, .tif …).

    Raises `WriteError` when the folder is missing, full or forbidden.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise _unknown_suffix(path)
    buffer = BytesIO()
    image.save(buffer, format=kind)
    _write_whole(path, buffer.getvalue())


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the suffix of `path` names (.png, .svg, .pdf).

    The same figure gives the same bytes: no date and no random names go into the file.
    Raises `WriteError` when the folder is missing, full or forbidden.
    """
    from matplotlib import rc_context

    path = Path(path)
    dates: dict[str, dict[str, None]] = {
        ".png": {},
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }
    suffix = path.suffix.lower()
    if suffix not in dates:
        raise _unknown_suffix(path)
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "simplecell"}):
        figure.savefig(buffer, format=suffix[1:], metadata=dates[suffix])
    _write_whole(path, buffer.getvalue())


def _unknown_suffix(path: Path) -> UsageError:
    return UsageError(f"cannot tell the picture format of '{path}'; end the name in .png")


def _write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename: the old file or the new one."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(f"could not write '{path}': {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; absent if never opened
            temporary.unlink()
