"""What a transcoder reconstructs: rows y [n, D'] of the samples x [n, D], read and prepared.

A transcoder is an autoencoder whose target is another signal than its inputs, such as what a layer
of a network makes of them. Source: Dunefsky et al. 2024.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simplecell.activations import OUTPUT_BOUNDS
from simplecell.data import Source, as_source, split
from simplecell.errors import DataError, UsageError
from simplecell.feed import to_model
from simplecell.preprocess import Preprocess
from simplecell.recipe import Recipe

STEPS = ("center", "scale", "standardize")
"""Steps of the inputs that their targets are prepared by as well; the others look for structure, or
drop some of it, and a target is to be given whole."""


def as_transcoder(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe for a transcoder, and sentences on what was changed.

    Raises:
        UsageError: for what only an autoencoder has.
    """
    model, notes = recipe.model, []
    if model.output == "auto":
        model = dataclasses.replace(model, output="linear")
    if model.output in OUTPUT_BOUNDS and model.output != "linear":
        raise UsageError(
            f"{model.output} outputs do not reach every value, and the targets of a transcoder may "
            "have any; set model.output=linear"
        )
    if isinstance(model.n_latents, list):
        raise UsageError("a transcoder has one layer; give model.n_latents as one number")
    if recipe.optim.resample:
        raise UsageError(
            "optim.resample draws latents from samples that are reconstructed badly, and a "
            "transcoder reconstructs no samples; set it to 0"
        )
    if model.pre_bias:
        model = dataclasses.replace(model, pre_bias=False)
        notes.append(
            "pre_bias: off, since a transcoder reconstructs something else than its inputs"
        )
    return dataclasses.replace(recipe, model=model), notes


def target_steps(recipe: Recipe) -> list[dict[str, Any]]:
    """The preparation of the targets, from that of the inputs in a resolved recipe."""
    return [step for step in Preprocess(recipe.preprocess.steps).steps if step["kind"] in STEPS]


def fit_targets(recipe: Recipe, targets: Source) -> tuple[Preprocess, list[str]]:
    """The preparation of the training targets, of a resolved recipe; sentences on it."""
    preprocess = Preprocess(target_steps(recipe)).fit(
        lambda: (torch.from_numpy(y) for y, _ in targets.batches(8192))
    )
    return preprocess, [f"targets: {line}" for line in preprocess.report()]


def prepare_targets(
    preprocess: Preprocess | None, targets: Source | None, like: Tensor
) -> Tensor | None:
    """All targets as a model is to give them, [n, D'], in memory; None where there are none."""
    if preprocess is None or targets is None:
        return None
    return torch.cat([to_model(y, preprocess, like) for y, _ in targets.batches(8192)])


def open_targets(
    recipe: Recipe, source: Source, held_out: Source | None
) -> tuple[Source | None, Source | None]:
    """The targets of training and held-out samples, split as these were; None without any.

    Raises:
        DataError: when they cannot be read, or are not one row a sample.
        UsageError: for patches, which are drawn and have no rows of their own.
    """
    path = recipe.data.targets
    if path is None:
        return None, None
    if source.kind == "patches":
        raise UsageError(
            "targets are one row a sample, and patches are drawn from pictures, so that no row "
            "belongs to one; cut them first, and give them as an array"
        )
    targets = read_targets(path, source.n_samples + (held_out.n_samples if held_out else 0))
    return split(targets, recipe.data.held_out, recipe.train.seed)


def read_targets(data: Any, n_samples: int) -> Source:
    """Targets of so many samples, from a file or an array.

    Raises:
        DataError: when they cannot be read, or are not one row a sample.
    """
    if isinstance(data, str | Path) and not Path(data).exists():
        raise DataError(f"the targets '{data}' do not exist; give a file of one row a sample")
    targets = as_source(data, kind="array")
    if targets.n_samples != n_samples:
        of = f" of '{data}'" if isinstance(data, str | Path) else ""
        raise DataError(
            f"the targets{of} have {targets.n_samples} rows, but there are {n_samples} samples; "
            "one row a sample is needed, in their order"
        )
    return targets
