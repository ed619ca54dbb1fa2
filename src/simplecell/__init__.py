"""simplecell: learn, see and use sparse features of unlabelled data.

A *source* feeds a *model*, an *objective* judges it, a *trainer* moves it, a *run* remembers it,
and *faces* show it. The rooms, from the ground up (their files: docs/architecture.md):

    errors         what a caller may catch, and checks of parameters
    tier           which way sums are made on the CPU
    distributed    processes that train one model together
    data           where samples come from: a source of anything
    preprocess     how samples are prepared: centering, scaling, PCA, whitening
    model          what is trained: activations, autoencoders, deep networks
    training       what moves a model: objective, gradients, solvers, trainer
    run            what was asked and what happened: recipe, session, directory
    sparse_coding  dictionaries without an encoder, and pictures restored by them
    harvesting     activations of any torch module
    doctor         what looks wrong, and the cure
    viz            arrays in, picture out
    explain        which latents go with a target, and whether that holds
    explorer       a run in the browser
    interop        other systems' formats and conventions
    estimators     scikit-learn's contract
    hub            runs to the Hugging Face hub and back
    reproduce      the field's headline results, measured
    cli            verbs

Names load when they are first used: the import itself is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "SparseAutoencoder": "estimators",
    "CompressionAutoencoder": "estimators",
    "ConvolvedFeatures": "estimators",
    "DenoisingAutoencoder": "estimators",
    "VariationalAutoencoder": "estimators",
    "TopKSparseAutoencoder": "estimators",
    "L1SparseAutoencoder": "estimators",
    "JumpReLUSparseAutoencoder": "estimators",
    "GatedSparseAutoencoder": "estimators",
    "MatryoshkaSparseAutoencoder": "estimators",
    "SparseCoding": "estimators",
    "StackedAutoencoder": "estimators",
    "StackedClassifier": "estimators",
    "Whitening": "estimators",
    "PatchScaling": "estimators",
    "load": "estimators",
    "Autoencoder": "model.autoencoder",
    "Objective": "training.objective",
    "Trainer": "training.trainer",
    "Recipe": "run.recipe",
    "Preprocess": "preprocess.chain",
    "as_source": "data",
    "activations": "harvesting.activations",
    "harvest": "harvesting.writing",
    "attach": "harvesting.splicing",
    "loss_recovered": "harvesting.recovered",
    "check_gradient": "training.gradient_check",
    "evaluate": "run.evaluate",
    "Index": "explain.index",
    "SimplecellError": "errors",
}

_ROOMS = ("viz", "hub")
"""Rooms that are used by their names: `simplecell.viz.curve`."""

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("simplecell")
    if name in _ROOMS:
        return import_module(f"simplecell.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'simplecell' has no attribute '{name}'")
    return getattr(import_module(f"simplecell.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS, "__version__"]
