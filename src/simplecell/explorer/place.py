"""Where the atlas of a run lies: in the run, or in the user's cache if that cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from simplecell.errors import RunError, WriteError
from simplecell.run import Run
from simplecell.storage import writing

FOLDER = "atlas"
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a system says where writing is not allowed; a full disk is another matter."""


def folder_of(run: Run) -> Path:
    """The folder that an atlas is read from."""
    kept = _cached(run)
    if kept is not None and (kept / FOLDER / "atlas.json").is_file():
        return kept / FOLDER
    return run.path / FOLDER


def home_of(run: Run) -> Path:
    """The folder to make an atlas in: the run itself, or one of its own in the user's cache.

    Raises:
        WriteError: when neither can be written.
    """
    try:
        # Asked by writing: permissions alone know nothing of a read-only disk or of Windows.
        with tempfile.TemporaryFile(dir=run.path):
            return run.path
    except OSError as error:
        home = _cached(run)
        if error.errno not in FORBIDDEN or home is None:
            raise WriteError(
                f"could not write '{run.path}': {error.strerror or error}; "
                "look at the place, its permissions and the free space"
            ) from error
    with writing(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def damaged(path: Path, reason: object) -> RunError:
    """What is said of a file of an atlas that cannot be used."""
    return RunError(f"'{path}' is damaged: {reason}; remove the atlas, and it is made again")


def forget_cached(run: Run) -> None:
    """Remove the atlas in the cache of a run that has the right one itself."""
    home = _cached(run)
    if home is not None and home.is_dir():
        shutil.rmtree(home, ignore_errors=True)


def _cached(run: Run) -> Path | None:
    """The run's folder in the user's cache; None for a user without a home."""
    try:
        name = hashlib.sha256(os.fsencode(run.path.resolve())).hexdigest()[:32]
        return _cache() / "simplecell" / "atlas" / name
    except (OSError, RuntimeError):
        return None


def _cache() -> Path:
    """The folder for what programs can make again, by the custom of each system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        given = os.environ.get("LOCALAPPDATA", "")
        return Path(given) if given else Path.home() / "AppData" / "Local"
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is no valid one, says the XDG Base Directory Specification.
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"
