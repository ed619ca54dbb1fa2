"""Greedy training layer by layer, and what stands on top: one deep network, or a classifier.

Each layer is trained alone on the codes of the one before; then all of them become one network,
whose fine-tuning moves every weight at once. Source: UFLDL, Stacked autoencoders. Exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.build import Built, build
from simplecell.data import ArraySource, Source
from simplecell.deep import Classifier
from simplecell.errors import UsageError
from simplecell.feed import to_model
from simplecell.model import Autoencoder, Layer
from simplecell.preprocess import Preprocess
from simplecell.recipe import Recipe
from simplecell.train import Record

ROWS = 8192
STILL = 1e-3  # standard deviation below which a code says nothing


class LayerRecord(NamedTuple):
    """A record of the training of one layer, counted from 1."""

    layer: int
    record: Record


class Greedy:
    """Trains a stack of layers, each on the codes of the one before.

    Args:
        recipes: one a layer, any row of the family; only the first may prepare its data, for the
            codes in between are the network's own.

    Attributes:
        layers: those trained so far.
        preprocess: the preparation of the data, once the first layer has begun.
        codes: of the last layer trained, [n, M], or None.
        notes: sentences on what was chosen and found.

    Raises:
        UsageError: for no recipes.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        if not recipes:
            raise UsageError("a stack needs at least one layer")
        first, *others = recipes
        alone = [dataclasses.replace(r, preprocess=_no_preparation(r)) for r in others]
        self.recipes = [first, *alone]
        self.layers: list[Autoencoder] = []
        self.preprocess: Preprocess | None = None
        self.notes: list[str] = []
        self.codes: NDArray[Any] | None = None

    def run(self, source: Source) -> Iterator[LayerRecord]:
        """Train every layer for its recipe's steps, one record a step."""
        for number, recipe in enumerate(self.recipes, start=1):
            built = build(recipe, source)
            if number == 1:
                self.preprocess, self.notes = built.preprocess, built.notes
            for record in built.trainer.run(source, built.recipe.n_steps):
                yield LayerRecord(number, record)
            layer = built.trainer.model
            assert isinstance(layer, Autoencoder)
            self.layers.append(layer)
            self.codes = encoded(built, source)
            if float(self.codes.std(0).max()) < STILL:
                self.notes.append(
                    f"the codes of layer {number} hardly vary, so nothing above it can learn: use "
                    "a smaller weight_decay, or a larger target"
                )
            source = ArraySource(self.codes)


@torch.no_grad()
def encoded(built: Built, source: Source) -> NDArray[Any]:
    """The codes [n, M] of a source, in the model's precision."""
    model = built.trainer.model
    parts = []
    for x, _ in source.batches(ROWS):
        code = model.encode(to_model(x, built.preprocess, model.like))[1]
        parts.append(code.dense.cpu().numpy())
    return np.concatenate(parts)


def classifier(
    layers: Sequence[Layer], codes: NDArray[Any], labels: NDArray[np.int64], weight_decay: float
) -> Classifier:
    """Encoding layers under a softmax that is fitted to their codes: before fine-tuning.

    Args:
        layers: from the input to the code; they are copied, without their decoders.
        codes: [n, M] of the last layer.
        labels: [n], class numbers from 0.
        weight_decay: λ of `(1/n) Σ cross-entropy + (λ/2) Σ θ²`.
    """
    weights, offset = softmax_regression(codes, labels, weight_decay)
    model = Classifier([encoding_half(layer) for layer in layers], weights.shape[1])
    with torch.no_grad():
        model.decoder.copy_(weights)
        model.offset.copy_(offset)
    return model.to(layers[-1].like.device)


def softmax_regression(
    codes: NDArray[Any], labels: NDArray[np.int64], weight_decay: float
) -> tuple[Tensor, Tensor]:
    """Weights [M, K] and offsets [K] of scikit-learn's multinomial logistic regression.

    Its C is 1 / (λ n). Of two classes scikit-learn keeps the difference w of their weights: as
    ±w/2 they are decayed half as much, so C is 2 / (λ n).
    Source: UFLDL, Softmax regression. Differs: with offsets, undecayed.
    """
    from sklearn.linear_model import LogisticRegression

    two = len(np.unique(labels)) == 2
    C = np.inf if weight_decay == 0 else (1 + two) / (weight_decay * len(codes))
    fitted = LogisticRegression(C=C, max_iter=1000, tol=1e-4).fit(codes, labels)
    weights, offset = fitted.coef_.T, fitted.intercept_
    if two:
        weights, offset = np.hstack([-weights, weights]) / 2, np.hstack([-offset, offset]) / 2
    return torch.from_numpy(weights), torch.from_numpy(offset)


@torch.no_grad()
def encoding_half(layer: Layer) -> Layer:
    """A copy of a layer without its decoder."""
    half = Layer(
        layer.n_inputs, layer.n_latents, activation=layer.activation.kind, dtype=layer.like.dtype
    )
    kept = layer.tensors()
    half.load_tensors({name: kept[name] for name in half.weights()})
    return half.to(layer.like.device)


def one_hot(labels: NDArray[np.int64], n_classes: int) -> Tensor:
    """[n, K], the targets of a classifier."""
    return torch.nn.functional.one_hot(torch.from_numpy(labels), n_classes)


def _no_preparation(recipe: Recipe) -> Any:
    return dataclasses.replace(recipe.preprocess, steps=[])
