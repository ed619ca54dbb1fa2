"""From a recipe and data to everything that trains; and data read again as a run's own were."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simplecell.data import Source, split
from simplecell.errors import DataError
from simplecell.preprocess import Preprocess
from simplecell.recipe import Recipe
from simplecell.resolve import resolve
from simplecell.train import Trainer
from simplecell.trained import Trained


@dataclass(frozen=True)
class Built:
    """A recipe with nothing left to choose, and what it makes of a source."""

    recipe: Recipe
    preprocess: Preprocess
    trainer: Trainer
    notes: list[str]


def build(requested: Recipe, source: Source) -> Built:
    """Resolve the recipe on the data, fit the preparation, initialise model and trainer."""
    recipe, notes = resolve(requested, source)
    steps = recipe.preprocess.steps
    assert not isinstance(steps, str)
    preprocess = Preprocess(steps).fit(
        lambda: (torch.from_numpy(x) for x, _ in source.batches(8192))
    )
    notes += preprocess.report()
    return Built(recipe, preprocess, trainer_on(source, recipe, preprocess), notes)


def trainer_on(source: Source, recipe: Recipe, preprocess: Preprocess) -> Trainer:
    """A trainer with an initialised model, and what of it is measured on the samples."""
    center = mean(source, preprocess) if recipe.model.center else None
    trainer = recipe.trainer(preprocess, center)
    if recipe.model.activation == "jumprelu":
        trainer.model.activation.set_scale(size(source, preprocess))
    return trainer


def mean(source: Source, preprocess: Preprocess) -> Tensor:
    """The mean of the prepared samples, [D'], float64."""
    total = torch.zeros(preprocess.n_outputs, dtype=torch.float64)
    for x, _ in source.batches(8192):
        total += preprocess.apply(torch.from_numpy(x)).x.double().sum(0)
    return total / source.n_samples


def size(source: Source, preprocess: Preprocess) -> float:
    """Root mean square of the prepared inputs; 1 where they are all 0."""
    total = 0.0
    for x, _ in source.batches(8192):
        total += float(preprocess.apply(torch.from_numpy(x)).x.double().square().mean(1).sum())
    return math.sqrt(total / source.n_samples) or 1.0


def new_data(trained: Trained, data: Any) -> Source:
    """Other data as this run's own were read: the same columns, a grid of patches of pictures.

    Raises:
        DataError: when the samples are of another width.
    """
    columns = trained.info["data"]["columns"]
    # The encoding knows the label column; the records of meta are the training samples'.
    more = {"columns": columns, "label": None, "meta": None, "sampling": "tiles"}
    source = trained.recipe.source(data, **more)
    if source.n_inputs != trained.preprocess.n_inputs:
        raise DataError(
            f"the data have {source.n_inputs} inputs per sample, but this run was trained on "
            f"{trained.preprocess.n_inputs}; give data of the same kind"
        )
    return source


def training_data(trained: Trained) -> Source:
    """The samples that the run was trained on, read again.

    Raises:
        DataError: when they are gone or no longer the same.
    """
    path = trained.info["data"]["path"]
    if path is None:
        raise DataError("this run was trained on data given in memory, which are gone")
    whole = trained.recipe.source(path, meta=None)
    source = split(whole, trained.recipe.data.held_out, trained.info["seed"])[0]
    if source.fingerprint() != trained.info["data"]["fingerprint"]:
        raise DataError(
            f"the data at '{path}' have changed since this run was trained on them; "
            "put them back, or train anew"
        )
    return source


def open_data(data: Any, recipe: Recipe) -> tuple[Source, Source | None]:
    """The training samples and the held-out ones."""
    whole = recipe.source(data)
    return split(whole, recipe.data.held_out, recipe.train.seed)
