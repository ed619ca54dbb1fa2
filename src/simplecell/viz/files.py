"""Pictures to files, whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from simplecell.errors import UsageError
from simplecell.run.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(image: Image.Image | Figure, path: str | Path) -> None:
    """Write a picture in the format that the suffix of `path` names (.png, .webp, .tif …).

    A figure goes the way of `save_figure`.
    Raises `WriteError` when the folder is missing, full or forbidden.
    """
    if not isinstance(image, Image.Image):
        save_figure(image, path)
        return
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise _unknown_suffix(path)
    buffer = BytesIO()
    image.save(buffer, format=kind)
    write_whole(path, buffer.getvalue())


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
    write_whole(path, buffer.getvalue())


def _unknown_suffix(path: Path) -> UsageError:
    return UsageError(f"cannot tell the picture format of '{path}'; end the name in .png")
