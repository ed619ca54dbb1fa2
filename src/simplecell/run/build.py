"""From a recipe and data to everything that trains; and data read again as a run's own were."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from simplecell.data import Source, split
from simplecell.data.rows import Named, Paired, Survey, targets_of
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.moments import Moments
from simplecell.run.memory import check_preparation, room_of
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import (
    fit_targets,
    read_targets,
    resolve,
    with_prepared_targets,
    with_targets,
)
from simplecell.run.storage import kind_of
from simplecell.run.trained import Trained
from simplecell.training.prepared import fitted, pieces
from simplecell.training.trainer import Trainer


@dataclass(frozen=True)
class Built:
    """A recipe with nothing left to choose, and what it makes of a source."""

    recipe: Recipe
    preprocess: Preprocess
    trainer: Trainer
    notes: list[str]
    target_preprocess: Preprocess | None = None
    """Of a transcoder: the preparation of what it reconstructs."""


def build(
    requested: Recipe,
    source: Source,
    found: Survey | None = None,
    moments: Moments | None = None,
    ranks: Alone = ALONE,
) -> Built:
    """Resolve the recipe on the data, fit the preparation, initialise model and trainer.

    Samples that come with targets make a transcoder. `found` and `moments` are what a reading of
    the data told already, `ranks` the processes that the trainer will join.

    Raises:
        UsageError: for a recipe that names targets, without them.
    """
    targets = targets_of(source)
    if targets is None and requested.data.targets is not None:
        raise UsageError(
            "the recipe names targets (data.targets), and none came; open them too, or leave the "
            "key out"
        )
    recipe, notes = resolve(requested, source, found)
    steps = recipe.preprocess.steps
    assert not isinstance(steps, str)
    check_preparation(recipe, source.n_inputs)
    preprocess = fitted(steps, source, moments)
    notes += preprocess.report()
    of_targets = None
    if targets is not None:
        of_targets, said = fit_targets(recipe, targets)
        notes += said
    trainer = trainer_on(source, recipe, preprocess, of_targets, ranks)
    return Built(recipe, preprocess, trainer, notes, of_targets)


def trainer_on(
    source: Source,
    recipe: Recipe,
    preprocess: Preprocess,
    target_preprocess: Preprocess | None = None,
    ranks: Alone = ALONE,
) -> Trainer:
    """A trainer with an initialised model, and what of it is measured on the samples.

    `ranks` are the processes that it will join; nothing is asked of them yet.

    Raises:
        UsageError: for a training that takes more memory than the machine has, or that no other
            process can share.
    """
    if recipe.optim.kind == "pca" and ranks.size > 1:
        raise UsageError(
            "principal components (optim.kind=pca) are made by one process, on all of its cores; "
            "leave --processes out"
        )
    n_outputs = None if target_preprocess is None else target_preprocess.n_outputs
    room = room_of(recipe, preprocess.n_outputs, source, n_outputs, recipe.holders(ranks))
    center = mean(source, preprocess) if recipe.model.center else None
    trainer = recipe.trainer(preprocess, center, n_outputs, room, ranks)
    model = trainer.model
    if isinstance(model, Autoencoder) and model.pre_bias and not preprocess.centred:
        _start_at_the_mean(model, source, preprocess)
    if recipe.model.activation == "jumprelu":
        trainer.model.activation.set_scale(size(source, preprocess))
    return trainer


@torch.no_grad()
def _start_at_the_mean(model: Autoencoder, source: Source, preprocess: Preprocess) -> None:
    """From zero, latents would be spent on the mean until the offset had learned it."""
    if model.output == "linear":  # others add the offset before they bend
        model.offset.copy_(mean(source, preprocess))


def mean(source: Source, preprocess: Preprocess) -> Tensor:
    """The mean of the prepared samples, [D'], float64."""
    total = torch.zeros(preprocess.n_outputs, dtype=torch.float64)
    for x in pieces(source):
        total += preprocess.apply(x).x.double().sum(0)
    return total / source.n_samples


def size(source: Source, preprocess: Preprocess) -> float:
    """Root mean square of the prepared inputs; 1 where they are all 0."""
    total = 0.0
    for x in pieces(source):
        total += float(preprocess.apply(x).x.double().square().mean(1).sum())
    return math.sqrt(total / source.n_samples) or 1.0


def new_data(trained: Trained, data: object, meta: str | Path | None = None) -> Source:
    """Other data as this run's own were read: the same columns, a grid of patches of pictures.

    `meta` is a file of records about these samples.

    Raises:
        DataError: when the samples are of another width, or lack an input that has a name.
    """
    columns = trained.info["data"]["columns"]
    # The encoding knows the label column; the records of meta are the training samples'.
    more = {"columns": columns, "label": None, "meta": meta, "sampling": "tiles"}
    source = trained.recipe.source(data, **more)
    names = trained.input_names
    if columns is None and names and source.input_names not in (None, names):
        source = Named(source, names)  # genes of another order, say
    if source.n_inputs != trained.preprocess.n_inputs:
        raise DataError(
            f"the data have {source.n_inputs} inputs per sample, but this run was trained on "
            f"{trained.preprocess.n_inputs}; give data of the same kind"
        )
    return source


def new_pairs(trained: Trained, source: Source, targets: object) -> Source:
    """Samples with what a transcoder is to give of each, prepared; as they are for no targets.

    Raises:
        DataError: when they cannot be read, are not one row a sample or of another width.
        UsageError: for a run that is no transcoder.
    """
    if targets is None:
        return source
    if trained.target_preprocess is None:
        raise UsageError("this run reconstructs its inputs and needs no targets; leave them out")
    read = read_targets(targets, source.n_samples)
    wanted = trained.target_preprocess.n_inputs
    if read.n_inputs != wanted:
        raise DataError(
            f"the targets have {read.n_inputs} columns, but this transcoder was trained on "
            f"{wanted}; give targets of the same kind"
        )
    pairs, like = Paired(source, read), trained.model.like
    return with_prepared_targets(pairs, trained.target_preprocess, like)


def training_data(trained: Trained) -> Source:
    """The samples that the run was trained on, read again.

    Raises:
        DataError: when they are gone or no longer the same.
    """
    return _read_again(trained, None)[1]


def all_data(trained: Trained, data: object = None, meta: str | Path | None = None) -> Source:
    """The run's data read again, held-out samples among them, or other `data` of the same kind.

    `meta` is a file of records about the samples; the recipe's own unless given.

    Raises:
        DataError: for data or a meta file that are gone, no longer the same or of another width.
    """
    if data is not None:
        return new_data(trained, data, meta)
    return _read_again(trained, meta or trained.recipe.data.meta)[0]


def _read_again(trained: Trained, meta: str | Path | None) -> tuple[Source, Source]:
    """(all samples, those of training)."""
    path, converted = trained.info["data"]["path"], trained.info.get("converted")
    if converted:
        raise DataError(
            f"this run was converted ({converted['kind']}), and what it was trained on is not "
            "known; give samples with --data"
        )
    if path is None:
        raise DataError("this run was trained on data given in memory, which are gone")
    refuse_pipe(path)
    whole = trained.recipe.source(path, meta=meta)
    source = split(whole, trained.recipe.data.held_out, trained.info["seed"])[0]
    if source.fingerprint() != trained.info["data"]["fingerprint"]:
        raise DataError(
            f"the data at '{path}' have changed since this run was trained on them; "
            "put them back, or train anew"
        )
    return whole, source


def refuse_pipe(path: str) -> None:
    """Raise DataError if what a run remembers of its data is a pipe or a device by now.

    One who names a pipe wants it read; a run that somebody else made must not have us wait.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # whoever reads it says so
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(
            f"'{path}', the data of this run, is {kind_of(mode)}, and a file or a folder is "
            "needed to read them again; put them back, or give them with --data"
        )


def open_data(data: object, recipe: Recipe) -> tuple[Source, Source | None]:
    """The training samples and the held-out ones, with their targets where the recipe has any."""
    whole = with_targets(recipe.source(data), recipe)
    return split(whole, recipe.data.held_out, recipe.train.seed)
