"""A run directory as the estimator that could have made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simplecell.estimators.classic import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from simplecell.estimators.contract import ModelTransformer
from simplecell.estimators.modern import (
    GatedSparseAutoencoder,
    JumpReLUSparseAutoencoder,
    L1SparseAutoencoder,
    MatryoshkaSparseAutoencoder,
    ModernTransformer,
    TopKSparseAutoencoder,
)
from simplecell.estimators.stacked import StackedAutoencoder
from simplecell.model.activations import activation
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

BY_ACTIVATION: dict[Any, type[ModernTransformer]] = {
    "topk": TopKSparseAutoencoder,
    "batchtopk": TopKSparseAutoencoder,
    "jumprelu": JumpReLUSparseAutoencoder,
    "gated": GatedSparseAutoencoder,
}


def load(path: str | Path) -> ModelTransformer:
    """A fitted estimator from a run directory, made by `save` or by the command line.

    Raises:
        RunError: for a directory that is no run, is damaged or of a newer format.
    """
    trained = Run(path).load()
    recipe = trained.recipe
    kind = kind_of(recipe)
    known = kind._get_param_names()
    found = parameters(recipe, trained.info["data"]["n_samples"])
    if kind is StackedAutoencoder:
        found |= of_stack(recipe)
    if issubclass(kind, ModernTransformer):
        found |= of_modern(recipe, trained.info["data"]["n_samples"])
    estimator = kind(**{k: v for k, v in found.items() if k in known})
    estimator.n_features_in_ = trained.preprocess.n_inputs
    if trained.input_names is not None:
        estimator.feature_names_in_ = np.array(trained.input_names, dtype=object)
    estimator._take(trained)
    return estimator


def kind_of(recipe: Recipe) -> type[ModelTransformer]:
    """The estimator for a recipe."""
    if "gaussian_kl" in recipe.objective:
        return VariationalAutoencoder
    if recipe.train.corruption != "none":
        return DenoisingAutoencoder
    if isinstance(recipe.model.n_latents, list):
        return StackedAutoencoder
    if "nested" in recipe.objective:
        return MatryoshkaSparseAutoencoder
    if recipe.model.activation in BY_ACTIVATION:
        return BY_ACTIVATION[recipe.model.activation]
    if "l1" in recipe.objective:
        return L1SparseAutoencoder
    return SparseAutoencoder if "kl" in recipe.objective else CompressionAutoencoder


def of_stack(recipe: Recipe) -> dict[str, Any]:
    """The parameters of a stack: its layers, and the fine-tuning; the greedy part is not kept."""
    sizes, kinds = recipe.model.n_latents, recipe.model.activation
    assert isinstance(sizes, list)
    fresh = {"max_iter": StackedAutoencoder().max_iter}
    if isinstance(kinds, str) or len(set(kinds)) == 1:
        return fresh | {"layers": tuple(sizes)}
    outputs = [recipe.model.output, *(activation(kind).output or "linear" for kind in kinds)]
    layers = zip(sizes, kinds, outputs, strict=False)
    made = [CompressionAutoencoder(n, activation=f, output=g) for n, f, g in layers]
    return fresh | {"layers": made, "activation": kinds[0]}


def of_modern(recipe: Recipe, n_samples: int) -> dict[str, Any]:
    """What only today's sparse autoencoders are told; max_samples as the steps done count them."""
    model, optim, terms = recipe.model, recipe.optim, recipe.objective
    size, most = min(optim.batch_size, n_samples), recipe.train.max_samples
    told = isinstance(most, int) and -(-most // size) == recipe.n_steps
    return {
        "target_l0": recipe.target_l0 or "auto",
        "l1_weight": None if recipe.target_l0 else terms.get("l1", {}).get("weight"),
        "form": "unit_norm" if optim.unit_norm else "scaled",
        "batchwise": model.activation == "batchtopk",
        "widths": tuple(terms.get("nested", {}).get("widths", ())),
        "max_samples": most if told else size * recipe.n_steps,
    }


def parameters(recipe: Recipe, n_samples: int) -> dict[str, Any]:
    """Every parameter that a recipe determines, by the names that estimators use.

    Estimators count passes over the `n_samples` where Adam's recipe counts steps.
    """
    model, optim, train = recipe.model, recipe.optim, recipe.train
    a_pass = max(1, n_samples // optim.batch_size) if optim.kind == "adam" else 1
    iterations = max(1, round(recipe.n_steps / a_pass))
    kl = recipe.objective.get("kl", {})
    sizes = model.n_latents if isinstance(model.n_latents, list) else [model.n_latents]
    kinds = model.activation if isinstance(model.activation, list) else [model.activation]
    variational = "gaussian_kl" in recipe.objective
    return {
        "n_latents": sizes[-1] if variational else model.n_latents,
        "hidden": tuple(sizes[:-1]),
        "activation": kinds[0] if len(set(kinds)) == 1 or variational else model.activation,
        "output": model.output,
        "tied": model.tied,
        "center": model.center,
        "preprocess": recipe.preprocess.steps,
        "likelihood": "bernoulli" if "cross_entropy" in recipe.objective else "gaussian",
        "beta": recipe.objective.get("gaussian_kl", {}).get("weight", 1.0),
        "target": kl.get("target", 0.1),
        "sparsity_weight": kl.get("weight", 0.0),
        "weight_decay": 2 * recipe.objective.get("decay", {}).get("weight", 0.0),
        "corruption": train.corruption,
        "corruption_level": train.corruption_level,
        "solver": optim.kind,
        "tol": optim.tolerance,
        "batch_size": optim.batch_size,
        "learning_rate": optim.learning_rate,
        "max_iter": iterations,
        "fine_tune_iter": iterations,
        "dtype": train.dtype,
        "random_state": train.seed,
        "device": train.device,
    }
