"""A run directory, as the other formats are written: what `convert --to simplecell` makes."""

from __future__ import annotations

from pathlib import Path

from simplecell.interop.foreign import Evaluate, Given
from simplecell.interop.verify import ours
from simplecell.run.directory import Run
from simplecell.run.trained import Trained


def write(trained: Trained, path: Path, given: Given) -> list[str]:
    """The run that every verb opens. Raises RunError and WriteError as `Run.begin`."""
    run = Run(path)
    run.begin(trained.recipe, trained.info, trained.preprocess, trained.target_preprocess)
    run.write_model(trained.model)
    return []


def evaluator(path: Path) -> Evaluate:
    """The run as it is opened again."""
    return ours(Run(path).load())
