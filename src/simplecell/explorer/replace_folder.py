"""A folder written beside its place and put there whole; what killed processes left is removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from simplecell.errors import UsageError, WriteError
from simplecell.run.storage import Lock, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MARK = "simplecell-export.json"
"""The file by which we know an export of ours; it lists all others.

Whoever writes an export, or takes one away, holds a lock on it.
"""
FORMAT = 1
MOST_BYTES = 16 * 2**20
"""In a mark; what is larger is none of ours."""
HOUR = 3600.0
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write an export in, which takes the place of `folder` when the block ends well.

    Raises:
        UsageError: for a folder that holds anything but an export of ours.
        WriteError: when it cannot be written.
    """
    with writing(folder):
        _put_back(folder)
        _check_place(folder)
        _sweep(folder, "tmp")
        # Beside the folder, so that a rename puts it there.
        fresh = folder.parent / f"{_stem(folder)}{secrets.token_hex(4)}.tmp"
        with contextlib.ExitStack() as last:
            fresh.mkdir(parents=True)
            release = last.enter_context(contextlib.ExitStack())
            last.callback(_clear, fresh)
            release.enter_context(_held(fresh))
            _write_mark(fresh, [])
            yield fresh
            _write_mark(fresh, sorted(_files(fresh) - {MARK}))
            with _aside(folder, fresh.with_suffix(".old")):
                os.replace(fresh, folder)
                release.close()
        _sweep(folder, "old")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder's mark; on Windows, an open file would keep it from its place."""
    with contextlib.ExitStack() as last:
        if fcntl is not None:
            last.callback(Lock(folder / MARK).release)
        yield


def _write_mark(folder: Path, names: list[str]) -> None:
    text = json.dumps({"format": FORMAT, "files": names}, indent=2)
    (folder / MARK).write_text(text, encoding="utf-8")


def _read_mark(folder: Path) -> dict[str, object]:
    """What the mark says; nothing where there is none, or something else by its name."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        handle = os.open(folder / MARK, os.O_RDONLY | _CAREFUL)
        with open(handle, "rb") as file:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                content = file.read(MOST_BYTES + 1)
                mark = json.loads(content) if len(content) <= MOST_BYTES else None
                return mark if isinstance(mark, dict) and "format" in mark else {}
    return {}


def _listed(folder: Path) -> set[str]:
    """The files that are ours by a folder's mark, itself among them."""
    mark = _read_mark(folder)
    names = mark.get("files")
    listed = names if isinstance(names, list) else []
    return {MARK, *(name for name in listed if isinstance(name, str))} if mark else set()


def _files(folder: Path) -> set[str]:
    """Whatever is in a folder that is no folder with something in it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    }


def _check_place(folder: Path) -> None:
    """UsageError unless the folder is new, empty, or an export of ours and nothing else."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UsageError(f"'{folder}' is a file, and an export is a folder; choose another name")
    if _we_are_in(folder):
        raise UsageError(
            f"'{folder}' is the current folder or one above it, and an export takes the whole "
            "place; choose a folder below the current one"
        )
    _check_content(folder, folder)


def _check_content(folder: Path, name: Path) -> None:
    if strange := sorted(_files(folder) - _listed(folder)):
        raise UsageError(
            f"'{name}' holds files that are no export of ours, such as '{strange[0]}'; choose a "
            "new or an empty folder"
        )


def _we_are_in(folder: Path) -> bool:
    """Whether the current folder is that one, or below it."""
    with contextlib.suppress(OSError):
        here = Path.cwd()
        return any(folder.samefile(above) for above in (here, *here.parents))
    return False


@contextlib.contextmanager
def _aside(folder: Path, old: Path) -> Iterator[None]:
    """Take what is at a place aside, and remove it when the block ends well; else put it back."""
    _check_place(folder)
    if not os.path.lexists(folder):
        yield
        return
    with _held_old(folder):
        os.replace(folder, old)
        try:
            _check_content(old, folder)  # once more: nobody finds it by its name any longer
            yield
        except BaseException as error:
            if not os.path.lexists(folder):  # else its place was taken meanwhile
                os.replace(old, folder)
            elif isinstance(error, OSError):
                raise WriteError(
                    f"something else was put at '{folder}' meanwhile; what was there lies in "
                    f"'{old}'"
                ) from error
            raise
        _remove(old)


@contextlib.contextmanager
def _held_old(folder: Path) -> Iterator[None]:
    """Hold the lock on an older export, if it has a mark."""
    with contextlib.ExitStack() as locks:
        if _read_mark(folder):
            try:
                with contextlib.suppress(WriteError):  # one that may only be read
                    locks.enter_context(_held(folder))
            except BlockingIOError:
                raise UsageError(
                    f"another export is being put at '{folder}'; try again when it is done"
                ) from None
        yield


def _remove(old: Path) -> None:
    """Remove the files of an older export that are listed, and the folders then empty."""
    names = _files(old) & _listed(old) - {MARK}
    with contextlib.suppress(OSError):
        for name in names:
            if (old / name).is_symlink() or not (old / name).is_dir():
                (old / name).unlink()
        for path in sorted(old.rglob("*"), reverse=True):  # what is in a folder comes before it
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
        if _files(old) <= {MARK}:
            (old / MARK).unlink(missing_ok=True)
            old.rmdir()


def _clear(folder: Path) -> None:
    """Remove a folder, its mark last."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MARK:
                path.unlink()
        (folder / MARK).unlink(missing_ok=True)
        folder.rmdir()


def _stem(folder: Path) -> str:
    """How names begin that stand for this place, on this machine: its locks are for it alone."""
    place = hashlib.sha256(f"{platform.node()}\n{folder.name}".encode(errors="replace"))
    return f".simplecell-{place.hexdigest()[:12]}-"


def _left(folder: Path, suffix: str) -> list[Path]:
    """The folders that exports to this place have made, or left."""
    form = re.compile(rf"{re.escape(_stem(folder))}[0-9a-f]{{8}}\.{suffix}")
    with contextlib.suppress(OSError):
        paths = [path for path in folder.parent.iterdir() if form.fullmatch(path.name)]
        return [path for path in paths if path.is_dir() and not path.is_symlink()]
    return []


def _sweep(folder: Path, suffix: str) -> None:
    """Remove what processes that are gone left of their exports to this place."""
    for path in _left(folder, suffix):
        with contextlib.suppress(OSError):
            if _files(path) <= {MARK} and not _size(path / MARK):
                if time.time() - path.stat().st_mtime > HOUR:  # else it may be just begun
                    _clear(path)
                continue
        with _dead(path) as dead:
            if dead:
                (_clear if suffix == "tmp" else _remove)(path)


def _size(path: Path) -> int:
    return os.lstat(path).st_size if os.path.lexists(path) else 0


@contextlib.contextmanager
def _dead(folder: Path) -> Iterator[bool]:
    """Whether a folder is ours and nobody holds its mark; nobody else can in the block."""
    dead = False
    with contextlib.ExitStack() as last:
        if fcntl is not None and _read_mark(folder):
            # Where the file system has no locks, nobody knows.
            with contextlib.suppress(OSError):
                handle = os.open(folder / MARK, os.O_RDWR | _CAREFUL)
                last.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                dead = True
        yield dead


def _put_back(folder: Path) -> None:
    """Put the newest whole export back that a process took aside before it was killed."""
    if os.path.lexists(folder):
        return
    with contextlib.suppress(OSError):
        whole = [path for path in _left(folder, "old") if _is_whole(path)]
        for path in sorted(whole, key=lambda path: (path / MARK).stat().st_mtime, reverse=True):
            with _dead(path) as dead:
                if dead:
                    os.replace(path, folder)
                    return


def _is_whole(folder: Path) -> bool:
    listed = _listed(folder)
    return bool(listed) and listed <= _files(folder)
