"""Autoencoders trained one on the codes of the other, then fine-tuned as one network."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from simplecell.build import Built
from simplecell.data import ArraySource
from simplecell.deep import DeepAutoencoder
from simplecell.errors import UsageError
from simplecell.estimators.classic import SparseAutoencoder
from simplecell.estimators.coat import DOOR, Coat
from simplecell.estimators.fitting import AutoencoderCoat, plain_sizes
from simplecell.preprocess import Preprocess
from simplecell.progress import TrainingProgress
from simplecell.recipe import Recipe
from simplecell.stack import Greedy
from simplecell.train import Trainer


class StackCoat(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both stacks share: the greedy training, and the tables of the fine-tuning."""

    def _train_layers(self, X: NDArray[Any]) -> Greedy:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        layers = list(self.layers) if np.iterable(self.layers) else [self.layers]
        recipes = [self._layer(k, layer)._recipe(len(X)) for k, layer in enumerate(layers)]
        recipes = [
            dataclasses.replace(r, train=dataclasses.replace(r.train, seed=seed + k))
            for k, r in enumerate(recipes)
        ]
        for number, recipe in enumerate(recipes, start=1):
            self._check_layer(number, recipe)
        for number, (below, above) in enumerate(itertools.pairwise(recipes), start=2):
            if above.model.output not in ("auto", below.model.activation):
                raise UsageError(
                    f"layer {number} gives '{above.model.output}' outputs, but it has to reproduce "
                    f"'{below.model.activation}' codes; make the two the same"
                )
        greedy = Greedy(recipes)
        steps = sum(recipe.n_steps for recipe in recipes)
        with TrainingProgress(steps, quiet=not self.verbose) as progress:
            for number, record in greedy.run(ArraySource(X)):
                done = sum(recipe.n_steps for recipe in recipes[: number - 1])
                progress.show(record._replace(step=done + record.step))
        return greedy

    def _layer(self, k: int, layer: Any) -> AutoencoderCoat:
        """The estimator of one layer: the one given, or one with that many latents."""
        if isinstance(layer, AutoencoderCoat):
            if isinstance(layer._model()["n_latents"], list):
                raise UsageError(
                    f"layer {k + 1} is a {type(layer).__name__} of several layers; a layer of a "
                    "stack is one layer"
                )
            return layer
        if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
            raise UsageError(
                f"layers holds {layer!r}; a layer is a number of latents, or an estimator such as "
                "SparseAutoencoder(n_latents=200)"
            )
        return SparseAutoencoder(
            n_latents=int(layer),
            target=self.target,
            sparsity_weight=self.sparsity_weight,
            weight_decay=self.weight_decay,
            activation=self.activation,
            output=self.output if k == 0 else self.activation,
            preprocess=self.preprocess if k == 0 else None,
            max_iter=self.max_iter,
            dtype=self.dtype,
            device=self.device,
        )

    def _check_layer(self, number: int, recipe: Recipe) -> None:
        """What a layer given as an estimator must not ask for."""
        wrong = {
            "tied weights, which fine-tuning would pull apart": recipe.model.tied,
            "early stopping, which a stack does not do": recipe.train.patience,
            "a preparation, but only the first layer sees the data": number > 1
            and recipe.preprocess.steps not in ("auto", []),
        }
        for what, asked in wrong.items():
            if asked:
                raise UsageError(f"layer {number} asks for {what}; leave it out")

    def _fine_tune(
        self, trainer: Trainer, X: NDArray[Any], targets: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Move all weights at once; the costs."""
        steps, costs = self._steps(len(X)), []
        with TrainingProgress(steps, quiet=not self.verbose) as progress:
            for record in trainer.run(ArraySource(X), steps, targets=targets):
                costs.append(record.cost)
                progress.show(record)
        return costs

    def _optim(self, n_samples: int) -> dict[str, Any]:
        return {
            "kind": self.solver,
            "learning_rate": float(self.learning_rate),
            "schedule": "linear",
            "batch_size": min(plain_sizes(self.batch_size), n_samples),
        }

    def _steps(self, n_samples: int) -> int:
        if self.fine_tune_iter < 0 or self.batch_size < 1:
            raise UsageError(
                f"fine_tune_iter is {self.fine_tune_iter} and batch_size {self.batch_size}; "
                "at least 0 and 1 are needed"
            )
        passes = max(1, n_samples // self.batch_size) if self.solver == "adam" else 1
        return int(self.fine_tune_iter) * passes


class StackedAutoencoder(Coat, StackCoat):
    """Autoencoders trained one on the codes of the other, then fine-tuned as one deep network.

    Source: UFLDL, Stacked autoencoders. Exact; the fine-tuning minimises reconstruction, KL
    sparsity of the innermost code and decay of every matrix.

    Args:
        layers: from the input to the code; each a number of latents, or an estimator of the
            family (`SparseAutoencoder`, `CompressionAutoencoder`, `DenoisingAutoencoder`).
        target, sparsity_weight, weight_decay, activation, max_iter: of the layers given as
            numbers, as in `SparseAutoencoder`.
        output: of the first layer; the others reproduce codes.
        preprocess: of the data, as in `SparseAutoencoder`.
        solver: of the fine-tuning: "lbfgs", all samples in each of `fine_tune_iter` iterations, or
            "adam", `fine_tune_iter` passes over mini-batches, the learning rate falling over the
            last fifth.
        fine_tune_iter: 0 leaves the layers as they were trained one by one.
        batch_size, learning_rate: of "adam".
        dtype, random_state, device, verbose: as in `SparseAutoencoder`.

    Attributes:
        model_: the `simplecell.deep.DeepAutoencoder`. `save` keeps it with the settings of the
            fine-tuning; how each layer was trained before is not kept.
        components_: [n_latents, n_prepared], what a code of 1 adds before the output function.
        fvu_, mean_activation_, n_iter_, cost_curve_, notes_: as in `SparseAutoencoder`, of the
            fine-tuning.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> stack = StackedAutoencoder((40, 20), max_iter=20, fine_tune_iter=5, random_state=0).fit(X)
    >>> stack.transform(X).shape
    (1797, 20)
    """

    def __init__(
        self,
        layers: Any = (50, 25),
        *,
        target: float = 0.1,
        sparsity_weight: float = 3.0,
        weight_decay: float = 1e-4,
        activation: str = "sigmoid",
        output: str = "sigmoid",
        preprocess: Any = "auto",
        max_iter: int = 200,
        solver: str = "lbfgs",
        fine_tune_iter: int = 200,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.layers = layers
        self.target = target
        self.sparsity_weight = sparsity_weight
        self.weight_decay = weight_decay
        self.activation = activation
        self.output = output
        self.preprocess = preprocess
        self.max_iter = max_iter
        self.solver = solver
        self.fine_tune_iter = fine_tune_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dtype = dtype
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored."""
        X = dense(validate_data(self, X, **DOOR), self.dtype)
        steps = self._steps(len(X))
        greedy = self._train_layers(X)
        assert greedy.preprocess is not None
        network = DeepAutoencoder(greedy.layers)
        recipe = self._deep_recipe(network, greedy.preprocess, len(X), steps)
        trainer = recipe.trainer(greedy.preprocess)
        trainer.model.load_tensors(network.tensors())
        costs = self._fine_tune(trainer, X)
        self._keep(Built(recipe, greedy.preprocess, trainer, greedy.notes), ArraySource(X))
        self.cost_curve_ = np.array([float(cost) for cost in costs])
        return self

    def _deep_recipe(
        self, network: DeepAutoencoder, preprocess: Preprocess, n_samples: int, steps: int
    ) -> Recipe:
        kl = {"weight": float(self.sparsity_weight), "target": float(self.target)}
        sparse = self.sparsity_weight and network.activation.gain is not None
        return Recipe.from_table(
            {
                "data": {"kind": "array"},
                "preprocess": {"steps": preprocess.steps},
                "model": {
                    "n_latents": [layer.n_latents for layer in network.layers],
                    "activation": [layer.activation.kind for layer in network.layers],
                    "output": network.output,
                },
                "objective": {
                    "reconstruction": {"weight": 0.5},
                    **({"kl": kl} if sparse else {}),
                    "decay": {"weight": float(self.weight_decay) / 2},
                },
                "optim": self._optim(n_samples),
                "train": {"steps": max(1, steps), "dtype": self.dtype, "device": self.device},
            }
        )


def dense(X: Any, dtype: str) -> NDArray[Any]:
    """X as a dense array of that precision: codes of inner layers are dense anyway."""
    X = X.toarray() if hasattr(X, "toarray") else X
    return np.ascontiguousarray(X, dtype=np.float64 if dtype == "float64" else np.float32)
