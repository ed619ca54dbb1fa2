"""A training as it stands: its curves, and whether it goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from simplecell.run.directory import Run
from simplecell.run.info import Info, Line
from simplecell.run.recipe import Recipe
from simplecell.training.objective import Objective

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MOST_RECORDS = 2000
_Record = TypeVar("_Record")


def training(run: Run, info: Info, recipe: Recipe, records: Sequence[Line]) -> dict[str, object]:
    """The training of a run so far; `info`, `recipe` and `records` are what its files say now."""
    objective, running = Objective(recipe.objective), is_running(run, info)
    reached = records[-1] if records else {"step": 0, "seconds": 0.0}
    return {
        "status": info["status"],
        "running": running,
        # run.json is written at the ends of a training, the log all the while.
        "n_iter": max(info["n_iter"], reached["step"]),
        "steps": 0 if info.get("converted") else recipe.n_steps,
        "seconds": max(info["seconds"], reached["seconds"]),
        "weights": {term.kind: term.weight for term in objective.active},
        "target": objective.target,
        "records": thinned(records),
    }


def thinned(records: Sequence[_Record], most: int = MOST_RECORDS) -> list[_Record]:
    """At most so many of them, evenly, the first and the last kept."""
    if len(records) <= most:
        return list(records)
    places = np.linspace(0, len(records) - 1, most).round().astype(int)
    return [records[place] for place in np.unique(places).tolist()]


def is_running(run: Run, info: Info) -> bool:
    """Whether a process trains here now.

    A training holds the run's lock for itself, so that a look must not: it asks for a shared one,
    which any number may have, lets go at once, and asks only where run.json speaks of a training
    at all. A training that begins anew writes that after it has the lock.
    """
    if info["status"] != "running" or fcntl is None:
        return bool(info["status"] == "running")  # as far as can be known without locks
    try:
        handle = os.open(run.path / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it does, or a network file system cannot tell
        return True
    finally:
        os.close(handle)
    return False
