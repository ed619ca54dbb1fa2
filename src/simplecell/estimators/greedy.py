"""Layers trained one on the codes of the other, or kept as they were trained before."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from simplecell.data import ArraySource, Source
from simplecell.errors import DataError, UsageError
from simplecell.estimators.contract import ROWS, Array
from simplecell.estimators.fitting import ClassicTransformer
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.preprocess.chain import Preprocess
from simplecell.run.build import build
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained
from simplecell.training.prepared import to_model
from simplecell.training.trainer import Record

STILL = 1e-3  # standard deviation below which a code says nothing
STILL_FITTED = (
    "layers are fitted already and are trained anew, as scikit-learn has it (layer {}); to keep "
    "what they learned, give sklearn.frozen.FrozenEstimator(layer) in the place of each"
)


class Greedy:
    """Trains a stack of layers, each on the codes of the one before.

    Args:
        recipes: one a layer, any row of the family; only the first may prepare its data, for the
            codes in between are the network's own.
        kept: by number from 1, layers that are trained already: copied, and not trained.

    Attributes:
        layers: those trained so far.
        preprocess: the preparation of the data, once the first layer has begun.
        codes: of the last layer trained, [n, M], or None.
        notes: sentences on what was chosen and found.

    Raises:
        UsageError: for no recipes.
    """

    def __init__(
        self, recipes: Sequence[Recipe], kept: Mapping[int, Trained] | None = None
    ) -> None:
        if not recipes:
            raise UsageError("a stack needs at least one layer")
        first, *others = recipes
        self.recipes = [first, *(recipe.changed({"preprocess.steps": []}) for recipe in others)]
        self.kept = kept or {}
        self.layers: list[Autoencoder] = []
        self.preprocess: Preprocess | None = None
        self.notes: list[str] = []
        self.codes: Array | None = None

    def run(self, source: Source) -> Iterator[tuple[int, Record]]:
        """Train every layer for its recipe's steps: its number from 1, and a record a step."""
        for number, recipe in enumerate(self.recipes, start=1):
            if number in self.kept:
                self._keep(number, source)
            else:
                yield from self._train(number, recipe, source)
            source = ArraySource(self._coded(number, source))

    def _train(self, number: int, recipe: Recipe, source: Source) -> Iterator[tuple[int, Record]]:
        built = build(recipe, source)
        self._chain = built.preprocess
        if number == 1:
            self.preprocess, self.notes = built.preprocess, built.notes
        for record in built.trainer.run(source, built.recipe.n_steps):
            yield number, record
        layer = built.trainer.model
        assert isinstance(layer, Autoencoder)
        self.layers.append(layer)

    def _keep(self, number: int, source: Source) -> None:
        trained = self.kept[number]
        if source.n_inputs != trained.preprocess.n_inputs:
            raise DataError(
                f"layer {number} was trained on {trained.preprocess.n_inputs} inputs, but "
                f"{source.n_inputs} come from below it; give layers that fit on one another"
            )
        self._chain = trained.preprocess
        if number == 1:
            self.preprocess = trained.preprocess
        layer = copy.deepcopy(trained.model)
        assert isinstance(layer, Autoencoder)
        self.layers.append(layer)

    def _coded(self, number: int, source: Source) -> Array:
        """The codes [n, M] of the newest layer."""
        self.codes = encoded(self.layers[-1], self._chain, source)
        if float(self.codes.std(0).max()) < STILL:
            self.notes.append(
                f"the codes of layer {number} hardly vary, so nothing above it can learn: use "
                "a smaller weight_decay, or a larger target"
            )
        return self.codes


@torch.no_grad()
def encoded(model: Model, preprocess: Preprocess, source: Source) -> Array:
    """The codes [n, M] of a source, in the model's precision."""
    parts = []
    for x, _ in source.batches(ROWS):
        code = model.encode(to_model(x, preprocess, model.like))[1]
        parts.append(code.dense.cpu().numpy())
    return np.concatenate(parts)


def kept_layer(number: int, frozen: FrozenEstimator) -> Trained:
    """What a frozen estimator learned, as the layer of that number.

    Raises:
        UsageError: for one that is not fitted, is no autoencoder of one layer, or prepares codes.
    """
    layer = frozen.estimator
    if not isinstance(layer, ClassicTransformer) or not hasattr(layer, "_trained"):
        raise UsageError(
            f"layer {number} is a frozen {type(layer).__name__}; a fitted estimator is needed "
            "there, such as FrozenEstimator(SparseAutoencoder(n_latents=200).fit(X))"
        )
    trained = layer._trained
    if number > 1 and trained.preprocess.steps:
        kinds = ", ".join(str(step["kind"]) for step in trained.preprocess.steps)
        raise UsageError(
            f"layer {number} prepares what it sees ({kinds}), but it sees the codes of the layer "
            "below; fit it to these with preprocess=None"
        )
    return trained
