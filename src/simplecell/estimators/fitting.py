"""Estimators whose parameters are a recipe: fitted by the one trainer, whole or in parts."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, validate_data

from simplecell.data import ArraySource, Source, split
from simplecell.data.rows import Paired
from simplecell.errors import UsageError
from simplecell.estimators.contract import DOOR, ModelTransformer
from simplecell.run.build import Built, build
from simplecell.run.progress import TrainingProgress
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import read_targets, with_prepared_targets
from simplecell.training.prepared import to_model
from simplecell.training.trainer import Trainer


class RecipeTransformer(ModelTransformer):
    """A recipe trained by the one trainer; a subclass says how its parameters are a recipe."""

    _trainer: Trainer | dict[str, torch.Tensor] | None = None
    course = 0
    """Steps of the whole training, as `partial_fit` tells the trainer, which cannot know them."""

    def _recipe(self, n_samples: int, solver: str | None = None) -> Recipe:
        """The parameters as a recipe; this is where they are checked."""
        raise NotImplementedError

    def _suited_to(self, recipe: Recipe, source: Source) -> Recipe:
        """The recipe with what the estimator itself takes from the data."""
        return recipe

    def _in_parts(self, recipe: Recipe) -> Recipe:
        """The recipe as `partial_fit` follows it."""
        return dataclasses.replace(recipe, optim=dataclasses.replace(recipe.optim, kind="adam"))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored.

        Raises:
            ValueError: for data or parameters that cannot be used.
            DivergedError: when training leaves the finite numbers.
        """
        return self._fit(X)

    def _fit(self, X: Any, targets: Any = None) -> Self:
        """`fit`; of a transcoder `targets` are what it reconstructs."""
        X = validate_data(self, X, **DOOR)
        recipe = self._recipe(X.shape[0])
        source: Source = ArraySource(X)
        if targets is not None:
            source = Paired(source, as_targets(targets, source))
        held_out: Source | None = None
        if self.early_stopping:
            source, held_out = split(source, self.validation_fraction, recipe.train.seed)
        built = build(self._suited_to(recipe, source), source)
        steps, curve = built.recipe.n_steps, []
        chain, like = built.target_preprocess, built.trainer.model.like
        pairs = with_prepared_targets(source, chain, like)
        with TrainingProgress(steps, quiet=not self.verbose) as progress:
            for record in built.trainer.run(pairs, steps, held_out=held_out):
                curve.append(record.cost)
                progress.show(record)
        self._keep(built, source)
        self.cost_curve_ = torch.stack(curve).double().cpu().numpy()
        self._trainer = None
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Update with X [n_samples, n_features]: Adam over batches of `batch_size`, in order.

        The first call fixes the preparation from its X. The average activation that the KL term
        looks at is a running one over about the last 20/target samples.
        """
        first = not hasattr(self, "n_features_in_")
        X = validate_data(self, X, reset=first, **DOOR)
        source: Source = ArraySource(X)
        fresh = self._in_parts(self._recipe(X.shape[0], solver="adam"))
        built = build(self._suited_to(fresh, source), source) if first else self._again()
        trainer, size = built.trainer, min(self.batch_size, X.shape[0])
        costs = []
        for x, _ in source.batches(size):
            prepared = to_model(x, built.preprocess, trainer.model.like)
            costs.append(trainer.step(prepared, steps=self.course).cost)
            trainer.n_steps += 1
        trainer.check_finite()
        self._keep(built, source)
        self.cost_curve_ = torch.stack(costs).double().cpu().numpy()
        self._trainer = trainer
        return self

    def _again(self) -> Built:
        """The trainer of the last `partial_fit`, or one that starts from the fitted weights."""
        trained = self._trained
        if trained.target_preprocess is not None:
            raise UsageError(
                "a transcoder is not fitted in parts; call fit(X, targets=...) with all samples"
            )
        recipe, trainer = self._in_parts(trained.recipe), self._trainer
        if not isinstance(trainer, Trainer):
            state, trainer = trainer, recipe.trainer(trained.preprocess)
            trainer.model.load_tensors(trained.model.tensors())
            if state is not None:
                trainer.load_state_dict(state)
        return Built(recipe, trained.preprocess, trainer, [])

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__().copy()
        if isinstance(state.get("_trainer"), Trainer):
            state["_trainer"] = state["_trainer"].state_dict()
        return state


def as_targets(targets: Any, source: Source) -> Source:
    """Targets [n, D'] of the samples of a source, dense or SciPy sparse.

    Raises:
        ValueError: when they are not numbers, not finite, or not one row a sample.
    """
    checked = check_array(targets, input_name="targets", **DOOR)
    return read_targets(ArraySource(checked, name="the targets"), source.n_samples)


class ClassicTransformer(RecipeTransformer):
    """What the classic estimators share; a subclass says its parameters and terms."""

    schedule = "constant"

    def _terms(self) -> dict[str, dict[str, float]]:
        raise NotImplementedError

    def _model(self) -> dict[str, Any]:
        """The [model] table."""
        return {
            "n_latents": plain_sizes(self.n_latents),
            "activation": self.activation,
            "output": self.output,
            "tied": bool(self.tied),
        }

    def _noise(self) -> dict[str, Any]:
        """What the [train] table says of corruption."""
        return {}

    def _recipe(self, n_samples: int, solver: str | None = None) -> Recipe:
        """The parameters as a recipe; this is where they are checked."""
        solver = solver or self.solver
        if self.max_iter < 1 or self.batch_size < 1:
            raise UsageError(
                f"max_iter is {self.max_iter} and batch_size {self.batch_size}; "
                "both must be at least 1"
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        batch_size = min(self.batch_size, n_samples)
        trained_on = n_samples * (1 - self.validation_fraction * bool(self.early_stopping))
        passes = max(1, int(trained_on) // batch_size) if solver == "adam" else 1
        steps = self.preprocess
        return Recipe.from_table(
            {
                "data": {"kind": "array"},
                "preprocess": {"steps": [] if steps is None else steps},
                "model": self._model(),
                "objective": self._terms(),
                "optim": {
                    "kind": solver,
                    "tolerance": float(self.tol),
                    "learning_rate": float(self.learning_rate),
                    "schedule": self.schedule,
                    "batch_size": batch_size,
                },
                "train": {
                    **self._noise(),
                    "steps": plain_sizes(self.max_iter) * passes,
                    "seed": seed,
                    "patience": self.n_iter_no_change if self.early_stopping else 0,
                    "dtype": self.dtype,
                    "device": self.device,
                },
            }
        )


def plain_sizes(sizes: Any) -> Any:
    """NumPy integers as Python's own, and a sequence as a list, as a recipe holds them."""
    if isinstance(sizes, np.integer):
        return int(sizes)
    if isinstance(sizes, list | tuple | np.ndarray):
        return [plain_sizes(size) for size in sizes]
    return sizes
