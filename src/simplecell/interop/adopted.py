"""A model of another library as a trained one of ours, with a history that says where it is from.

What is not known is left out: there are no training data, no figures and no log, and beyond the
model the recipe says how one like it would be trained here, not how this one was.
"""

from __future__ import annotations

from pathlib import Path

import torch

from simplecell.errors import DataError, RunError, UsageError
from simplecell.interop.foreign import Foreign
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.directory import about_software
from simplecell.run.info import Info
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import learning_rate
from simplecell.run.trained import Trained

RECIPES = {
    "relu": "l1",
    "topk": "topk",
    "abstopk": "abstopk",
    "batchtopk": "batchtopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
}
"""The recipe that trains such codes here."""
UNIT = 1e-3


def adopted(foreign: Foreign, path: str | Path) -> Trained:
    """The model with an empty preparation, and the run that keeps it.

    Raises:
        RunError: when its tensors do not fit one another.
    """
    n_latents, n_inputs = foreign.weights["encoder"].shape
    n_outputs = foreign.weights["decoder"].shape[1] if foreign.transcoder else None
    requested = _recipe(foreign)
    recipe = requested.changed(
        {
            "optim.learning_rate": learning_rate(n_latents),
            "model.target_l0": float(foreign.k or 0),
        }
    )
    try:
        model = recipe.build_model(n_inputs, n_outputs)
        assert isinstance(model, Autoencoder)
        model.load_tensors(_tensors(foreign, model))
    except (DataError, UsageError) as error:
        raise RunError(f"'{path}' does not fit together: {error}") from error
    outputs = None if n_outputs is None else _untouched(n_outputs)
    info = _info(foreign, path, requested, recipe, n_inputs)
    return Trained(model, _untouched(n_inputs), recipe, info, outputs)


def _tensors(foreign: Foreign, model: Autoencoder) -> dict[str, torch.Tensor]:
    """The weights in the model's precision, with what no other library has."""
    found = {name: t.to(model.like.dtype) for name, t in foreign.weights.items()}
    if foreign.activation == "jumprelu":  # the unit of its bandwidth, which only training needs
        found["scale"] = torch.ones((), dtype=model.like.dtype)
    return found


def _recipe(foreign: Foreign) -> Recipe:
    """The recipe that makes such a model, everything that nobody knows "auto"."""
    weights = foreign.weights
    name = "matryoshka" if foreign.widths else RECIPES[foreign.activation]
    double = weights["encoder"].dtype == torch.float64
    says: dict[str, object] = {
        "model.n_latents": len(weights["encoder"]),
        "model.pre_bias": "center" not in weights,
        "preprocess.steps": [],
        "data.held_out": 0.0,
        "train.dtype": "float64" if double else "float32",
    }
    if not _unit(weights["decoder"]):  # as training goes on, it would cut them to length 1 at once
        says["optim.unit_norm"] = False
    if foreign.k is not None:
        says["model.target_l0"] = float(foreign.k)
    if foreign.widths:
        says["objective.nested.widths"] = foreign.widths
    return Recipe.load(name).changed(says)


def _unit(atoms: torch.Tensor) -> bool:
    """Whether all atoms have length 1."""
    return bool(((atoms.double().norm(dim=1) - 1).abs() < UNIT).all())


def _untouched(n_inputs: int) -> Preprocess:
    """A preparation of no steps."""
    return Preprocess.from_state([], {"n_inputs": torch.tensor(float(n_inputs)).double()})


def _info(
    foreign: Foreign, path: str | Path, requested: Recipe, recipe: Recipe, n_inputs: int
) -> Info:
    """run.json of a model that was not trained here."""
    return {
        "status": "converted",
        "software": about_software(torch.get_num_threads(), "cpu"),
        "seed": requested.train.seed,
        "data": {
            "path": None,
            "fingerprint": None,
            "kind": "array",
            "shape": [n_inputs],
            "input_names": None,
            "columns": None,
            "n_samples": 0,
            "n_held_out": 0,
            "notes": [],
            "skipped": [],
        },
        "requested": requested.table(),
        "resolved": recipe.table(),
        "n_iter": 0,
        "seconds": 0.0,
        "figures": None,
        "converted": {
            "kind": foreign.kind,
            "path": str(Path(path).resolve()),
            "transcoder": foreign.transcoder,
            "told": foreign.told,
            "lost": foreign.lost,
            "metadata": foreign.metadata,
        },
    }
