"""What a recipe leaves to the data: every "auto" replaced, and a sentence on each choice.

A transcoder is an autoencoder whose target is another signal than its inputs, such as what a layer
of a network makes of them: rows y [n, D'] of the samples x [n, D], read and prepared here.
Source: Dunefsky et al. 2024.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simplecell.data import ArraySource, Source, as_source
from simplecell.data.order import block_of
from simplecell.data.rows import Paired, Survey, survey, targets_of
from simplecell.errors import DataError, UsageError
from simplecell.model.activations import ACTIVATIONS, OUTPUT_BOUNDS
from simplecell.preprocess.chain import Preprocess
from simplecell.run.recipe import Recipe, whole
from simplecell.run.schema import Model, Optim, Preparation, Train
from simplecell.training.objective import Objective
from simplecell.training.prepared import fitted, to_model

EXPANSION = 8
MANY_LATENTS = 1024
"""Where nobody says how many, there are no more latents than samples from here on: of 20,000 genes
in 3,000 cells eight for each gene would be 160,000, for 206 GB."""
RATE = 1e-3
"""Of Adam for 2¹⁴ latents. Source: Gao et al. 2024, section 2.4, for the square root; the number is
ours: trainings here are a thousand times shorter, and err a third less at five times theirs.
"""
MANY_ROWS, MANY_INPUTS = 2000, 16
"""From which size on an array is taken for embeddings: below, classic codes learn more."""
FASTEST = 0.02
LEAST_SAMPLES = 2_000_000
MOST_PASSES = 100
"""Of small data, in the place of that many samples: more learn single rows by heart."""
FEWEST_STEPS, FEWEST_STEERED, ENOUGH_STEPS = 250, 500, 2000
"""Of data so small that a hundred passes are fewer steps than these: two steps for each sample, but
no fewer than the first, or the second where a controller has to find an l0, and no more than the
last. Of 200 planted samples of 20 inputs held-out fvu is 0.39 after 400 steps and 0.65 after 2,000,
the mean cosine of true atoms with the nearest found 0.75 and 0.78; of 500 samples 0.32 and 0.39
after 1,000 and 2,000, and 0.89 and 0.90: a longer training finds a little more, and invents more.
"""
MOST_SILENCE = 10_000_000


def resolve(
    recipe: Recipe, source: Source, found: Survey | None = None
) -> tuple[Recipe, list[str]]:
    """Every "auto" replaced by what suits these data, and sentences on what was chosen.

    For samples that come with targets this is a transcoder. `found` is what a reading of the data
    told already.
    """
    recipe, notes = (recipe, []) if targets_of(source) is None else as_transcoder(recipe)
    low, high = 0.0, 1.0
    if recipe.preprocess.steps == "auto":
        _, low, high = found or survey(source)
    model, steps = recipe.model, recipe.preprocess.steps
    if model.output == "auto":
        output = "sigmoid" if low >= 0 and high <= 1 else "linear"
        model = dataclasses.replace(model, output=output)
        notes.append(f"output: {output}, since the data lie in {low:.4g} … {high:.4g}")
    if steps == "auto":
        steps, chosen = automatic_steps(model.output, low, high)
        notes += chosen
    model, chosen = _sizes(recipe, model, source)
    notes += chosen
    optim, train = _rate_and_length(recipe, model, source)
    if recipe.train.steps != "auto" and recipe.train.max_samples != "auto":
        notes.append(
            f"train.max_samples is not looked at, since train.steps says {recipe.train.steps} "
            "(train.steps=auto leaves the length to max_samples)"
        )
    block = block_of(source.n_inputs) if recipe.data.block == "auto" else recipe.data.block
    resolved = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, block=block),
        model=model,
        preprocess=Preparation(steps=Preprocess(steps).steps),
        objective=_terms(recipe, model),
        optim=optim,
        train=train,
    )
    # As the file will be read again: 1 and 1.0 are the same to a recipe, and not to its bytes.
    return Recipe.from_table(resolved.table()), notes


def _sizes(recipe: Recipe, model: Model, source: Source) -> tuple[Model, list[str]]:
    """M and the wanted l0."""
    notes, n_inputs = [], source.n_inputs
    if recipe.optim.kind == "pca" and model.target_l0:
        raise UsageError(
            "model.target_l0 has no meaning for principal components (optim.kind=pca), all of "
            "which are active; leave it out, and say how many there are by model.n_latents"
        )
    if model.target_l0 == "auto":
        most = min(32, model.n_latents) if isinstance(model.n_latents, int) else 32
        model = dataclasses.replace(model, target_l0=float(min(most, max(1, n_inputs // 4))))
        notes.append(f"target_l0: {model.target_l0:g} active latents a sample")
    if model.n_latents == "auto":
        sparse = Objective(recipe.objective).target is not None
        n_latents = 2 * n_inputs if sparse else max(1, n_inputs // 2)
        if model.target_l0 or "l1" in recipe.objective:
            n_latents = EXPANSION * n_inputs
        most = max(MANY_LATENTS, source.n_samples)
        if recipe.optim.kind == "pca":  # no more directions vary
            most = max(1, source.n_samples - 1)
        few = f" and {source.n_samples} samples" if n_latents > most else ""
        n_latents = max(min(n_latents, most), math.ceil(float(model.target_l0)))
        model = dataclasses.replace(model, n_latents=n_latents)
        notes.append(f"latents: {n_latents}, for {n_inputs} inputs{few}")
    _check_reach(model)
    if recipe.optim.kind == "pca":
        _check_components(model, source)
    return model, notes


def _check_components(model: Model, source: Source) -> None:
    """There are no more components than inputs, nor than samples."""
    most = min(source.n_inputs, source.n_samples)
    if isinstance(model.n_latents, int) and model.n_latents > most:
        raise UsageError(
            f"PCA was asked for {model.n_latents} components, but there are {source.n_inputs} "
            f"inputs and {source.n_samples} samples; ask for at most {most} (model.n_latents)"
        )


def _check_reach(model: Model) -> None:
    """More latents cannot be active than there are; codes that have a k say so of it."""
    n_latents, wanted = model.n_latents, model.target_l0
    if not isinstance(n_latents, int) or not _is_steered(model):
        return
    if float(wanted) > n_latents:
        raise UsageError(
            f"target_l0 is {float(wanted):g}, but the model has {n_latents} latents; ask for "
            "fewer that are active, or give it more latents"
        )


def _rate_and_length(recipe: Recipe, model: Model, source: Source) -> tuple[Optim, Train]:
    """Learning rate, length, and when a latent is dead."""
    optim, train = recipe.optim, recipe.train
    sizes = model.n_latents if isinstance(model.n_latents, list) else [model.n_latents]
    n_latents = max(1, *(size for size in sizes if isinstance(size, int)), 1)
    rate, dead, batch = optim.learning_rate, optim.dead_after, optim.batch_size
    if rate == "auto":
        rate = learning_rate(n_latents)
    if dead == "auto":
        seldom = 20 * n_latents / (float(model.target_l0) or n_latents)
        dead = min(MOST_SILENCE, int(max(10 * batch, source.n_samples // 20, seldom)))
    most = train.max_samples
    if optim.kind == "pca":
        train = dataclasses.replace(train, steps=_steps_of_pass(recipe, source.n_samples))
    if train.steps == "auto":
        if most == "auto":
            most = _length(min(batch, source.n_samples), source.n_samples, _is_steered(model))
        steps = math.ceil(whole(most, "train.max_samples") / min(batch, source.n_samples))
        train = dataclasses.replace(train, steps=steps)
    optim = dataclasses.replace(optim, learning_rate=rate, dead_after=whole(dead, "dead_after"))
    return optim, train


def _steps_of_pass(recipe: Recipe, n_samples: int) -> int:
    """Batches of one pass over all samples. Raises UsageError where another length is said."""
    train, n_steps = recipe.train, -(-n_samples // recipe.optim.batch_size)
    said = {
        "train.patience": train.patience > 0,
        "train.max_samples": train.max_samples != "auto",
        "train.steps": train.steps != "auto" and train.steps < n_steps,
    }
    for key in (key for key, wrong in said.items() if wrong):
        raise UsageError(
            f"{key} is said, but PCA reads each of the {n_samples} samples once (optim.kind=pca), "
            f"{n_steps} batches of {recipe.optim.batch_size}; leave it out"
        )
    return n_steps


def _is_steered(model: Model) -> bool:
    """Whether training must find what gives the wanted l0, which k of topk codes say at once."""
    one = ACTIVATIONS.get(model.activation) if isinstance(model.activation, str) else None
    return one is None or one.counts is None


def _length(batch: int, n_samples: int, steered: bool) -> int:
    """Samples of a training, where nobody says how many."""
    fewest = FEWEST_STEERED if steered else FEWEST_STEPS
    steps = min(max(fewest, 2 * n_samples), ENOUGH_STEPS)
    few = max(MOST_PASSES * n_samples, steps * batch)
    return max(min(LEAST_SAMPLES, few), n_samples)


def learning_rate(n_latents: int) -> float:
    """Adam's for M latents, where nobody says another."""
    return round(min(FASTEST, RATE / math.sqrt(n_latents / 2**14)), 6)


def _terms(recipe: Recipe, model: Model) -> dict[str, dict[str, Any]]:
    """The objective with every value, M and the wanted l0 in their places."""
    terms = {kind: dict(values) for kind, values in recipe.objective.items()}
    if "l0" in terms and model.target_l0:
        terms["l0"]["target"] = float(model.target_l0)
    n_latents = model.n_latents
    if terms.get("nested", {}).get("widths") == "auto" and isinstance(n_latents, int):
        terms["nested"]["widths"] = sorted({max(1, n_latents // 2), n_latents})
    return Objective(terms).table()


def suited(kind: str, n_samples: int = 0, n_inputs: int = 0) -> tuple[str, str]:
    """The recipe for data given without one, and the reason."""
    if kind == "patches":
        return "edges", "pictures: edges from 10×10 patches after 1/f whitening"
    if kind == "pictures":
        return "strokes", "small pictures: each one a sample, as the notes do with digits"
    if kind == "array" and n_samples >= MANY_ROWS and n_inputs >= MANY_INPUTS:
        return "topk", (
            f"an array of {n_samples} rows and {n_inputs} columns, as embeddings and activations "
            "are: a few active latents a sample, of 8 for each input"
        )
    return "table", "rows of numbers: columns standardised, a linear decoder"


def kind_of(source: Source) -> str:
    """The kind that a recipe is chosen by: a table of numbers alone is the array that it holds."""
    if source.kind != "table" or source.columns is None:
        return source.kind
    words = any(column["kind"] == "category" for column in source.columns["columns"])
    return "table" if words else "array"


def automatic_steps(output: str, low: float, high: float) -> tuple[list[Any], list[str]]:
    """Preparation for data in low … high, so that a bounded output can reach them."""
    bounds = OUTPUT_BOUNDS.get(output)
    if bounds is None or (bounds[0] <= low and high <= bounds[1]):
        return [], []
    width = bounds[1] - bounds[0]
    ends = {"low": round(bounds[0] + 0.1 * width, 6), "high": round(bounds[1] - 0.1 * width, 6)}
    note = (
        f"range: {output} outputs reach {bounds[0]:g} … {bounds[1]:g} and the data lie in "
        f"{low:.4g} … {high:.4g}, so they are mapped to {ends['low']:g} … {ends['high']:g}"
    )
    return [{"kind": "range", **ends}], [note]


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
    preprocess = fitted(target_steps(recipe), targets)
    return preprocess, [f"targets: {line}" for line in preprocess.report()]


def with_prepared_targets(source: Source, preprocess: Preprocess | None, like: Tensor) -> Source:
    """The samples with their targets as a model is to give them, [n, D'], in memory.

    As they are, where no targets come with them.
    """
    targets = targets_of(source)
    if preprocess is None or targets is None:
        return source
    parts = [to_model(y, preprocess, like) for y, _ in targets.batches(8192)]
    return Paired(source, ArraySource(torch.cat(parts).cpu().numpy()))


def with_targets(source: Source, recipe: Recipe) -> Source:
    """The samples with the targets that the recipe names, if it does.

    Raises:
        DataError: when they cannot be read, or are not one row a sample.
        UsageError: for patches, which are drawn and have no rows of their own.
    """
    path = recipe.data.targets
    if path is None:
        return source
    if source.kind == "patches":
        raise UsageError(
            "targets are one row a sample, and patches are drawn from pictures, so that no row "
            "belongs to one; cut them first, and give them as an array"
        )
    return Paired(source, read_targets(path, source.n_samples))


def read_targets(data: object, n_samples: int) -> Source:
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
