"""From run directories to something to look at: atlases made where they are missing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simplecell.build import all_data
from simplecell.errors import RunError, SimplecellError, UsageError
from simplecell.explorer.atlas import build_atlas
from simplecell.explorer.library import Library
from simplecell.explorer.place import folder_of
from simplecell.progress import follow_share, say
from simplecell.run import Run

SECONDS = 3.0
"""Between looks at a training that goes on."""


def open_library(
    paths: Sequence[Path], data: Any = None, meta: str | Path | None = None
) -> Library:
    """The runs at `paths` (run directories, or folders of them), each with its atlas.

    `data` and `meta` are for one run alone: other samples than its own, and records about them.
    A run that has no weights yet is shown by its training only.

    Raises:
        RunError: for a path that is no run.
        UsageError: for data or meta with several runs.
        DataError: for samples that are gone, changed or of another width.
        WriteError: when an atlas cannot be written.
    """
    library = Library.open(paths)
    if len(library) > 1 and (data is not None or meta is not None):
        raise UsageError(
            f"--data and --meta are about one run, but {len(library)} came; name one run"
        )
    for shown in library:
        make_atlas(shown.run, data, meta)
    return library


def keep_fresh(library: Library, data: Any = None, meta: str | Path | None = None) -> None:
    """Watch runs that are still trained, from a thread, and make their atlas anew at the end."""
    waiting = [shown.run for shown in library if shown.info()["status"] == "running"]

    def watch() -> None:
        while waiting:
            time.sleep(SECONDS)
            for run in list(waiting):
                with contextlib.suppress(SimplecellError):  # it may be written at this moment
                    if run.info()["status"] != "running":
                        make_atlas(run, data, meta)
                        waiting.remove(run)

    threading.Thread(target=watch, daemon=True).start()


def make_atlas(run: Run, data: Any = None, meta: str | Path | None = None) -> None:
    """Build a run's atlas with progress, unless it is there already."""
    if not (run.path / "model.safetensors").exists():
        say(f"{run.path.name} has no weights yet: only its training is shown")
        return
    trained = run.load()
    source = all_data(trained, data, meta)
    follow_share(f"looking at {run.path.name}", build_atlas(run, trained, source))
    place = folder_of(run)
    if place.parent != run.path:
        say(f"{run.path.name} cannot be written: its atlas is in '{place}', and no note is kept")


def the_run(paths: Sequence[Path]) -> Run:
    """The only run among `paths`.

    Raises:
        RunError: for a path that is no run, or several runs.
    """
    runs = [shown.run for shown in Library.open(paths)]
    if len(runs) != 1:
        raise RunError(f"one run is needed here, but {len(runs)} came; name one of them")
    return runs[0]
