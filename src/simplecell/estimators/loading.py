"""A run directory as the estimator that could have made it, and would make it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simplecell.errors import RunError, UsageError
from simplecell.estimators import classic, modern
from simplecell.estimators.contract import ModelTransformer
from simplecell.estimators.fitting import RecipeTransformer
from simplecell.estimators.parameters import read
from simplecell.estimators.stacked import STACKED, StackedAutoencoder
from simplecell.interop.conversion import opened
from simplecell.run.directory import Run
from simplecell.run.progress import say
from simplecell.run.recipe import Recipe, flat
from simplecell.run.trained import Trained

MANY = 2**20
"""Samples that a converted model is taken to have seen, of which nobody knows the number."""
BY_ACTIVATION: dict[object, type[RecipeTransformer]] = {
    "topk": modern.TopKSparseAutoencoder,
    "abstopk": modern.TopKSparseAutoencoder,
    "batchtopk": modern.TopKSparseAutoencoder,
    "jumprelu": modern.JumpReLUSparseAutoencoder,
    "gated": modern.GatedSparseAutoencoder,
}


def load(path: str | Path, **given: object) -> ModelTransformer:
    """A fitted estimator from a run directory, made by `save` or by the command line.

    Its parameters say what the run was asked for, and `settings` what no parameter says: a clone
    fitted to the same rows becomes the same, bit for bit, or says why it cannot.

    A model of another library is opened as well (docs/interop.md), and what it was recognised as
    is said on standard error; `given` are what its files do not say, such as `k=32`.

    Raises:
        RunError: for a directory that is no run or known model, is damaged or of a newer format.
        UsageError: for what the files of another library do not say and `given` should.
    """
    run = Run(path)
    origin = opened(path, given)
    trained, foreign = origin.trained, origin.foreign
    if foreign is None:
        requested = run.requested(trained.info)
        say(*trained.names.told)
    else:
        say(f"'{path}': {origin.words}", *foreign.told)
        requested = Recipe.from_table(trained.info["requested"])
    try:
        estimator = as_asked(requested, trained)
    except UsageError as error:
        raise RunError(f"'{path}' is damaged: its run.json asks for {error}") from error
    estimator.n_features_in_ = trained.preprocess.n_inputs
    if trained.input_names is not None:
        estimator.feature_names_in_ = np.array(trained.input_names, dtype=object)
    estimator._take(trained)
    return estimator


def kind_of(recipe: Recipe) -> type[RecipeTransformer]:
    """The estimator for a recipe."""
    if "gaussian_kl" in recipe.objective:
        return classic.VariationalAutoencoder
    if recipe.train.corruption != "none":
        return classic.DenoisingAutoencoder
    if "nested" in recipe.objective:
        return modern.MatryoshkaSparseAutoencoder
    if isinstance(recipe.model.activation, str) and recipe.model.activation in BY_ACTIVATION:
        return BY_ACTIVATION[recipe.model.activation]
    if "l1" in recipe.objective:
        return modern.L1SparseAutoencoder
    return classic.SparseAutoencoder if "kl" in recipe.objective else classic.CompressionAutoencoder


def as_asked(requested: Recipe, trained: Trained) -> ModelTransformer:
    """An estimator, not fitted, with the parameters and settings that ask for a run."""
    data = trained.info["data"]
    n_samples = data["n_samples"] + data["n_held_out"] or MANY
    if requested.model.init == STACKED:
        return StackedAutoencoder.of_run(requested, n_samples)
    kind = kind_of(requested)
    found = read(requested, kind._get_param_names())
    kind._adjust_back(found, requested, n_samples)
    estimator = kind(**found)
    settings = left_over(requested, estimator._recipe(n_samples))
    if data["kind"] == "patches":
        settings["data.kind"] = "patches"
    if trained.target_preprocess is not None:
        settings["data.targets"] = requested.data.targets or "those of fit"
    estimator.settings = settings or None
    return estimator


def left_over(requested: Recipe, said: Recipe) -> dict[str, object]:
    """What a recipe says otherwise than the parameters, by key; how files are read is left out."""
    wanted, had = flat(requested.table()), flat(said.table())
    others = ("data.held_out", "data.whiten")
    settings: dict[str, object] = {
        key: value
        for key, value in wanted.items()
        if had.get(key) != value and (key in others or not key.startswith("data."))
    }
    terms, own = (
        [(kind, *values) for kind, values in one.objective.items()] for one in (requested, said)
    )
    if terms != own:
        # A cost is a sum, whose bits depend on its order: other terms are said as a whole.
        settings = {k: v for k, v in settings.items() if not k.startswith("objective.")}
        settings["objective"] = requested.objective
    return settings
