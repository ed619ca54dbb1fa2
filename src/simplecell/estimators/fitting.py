"""Estimators whose parameters are a recipe: fitted by the one trainer, whole or in parts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Self

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from simplecell.data import ArraySource, Source, split
from simplecell.data.rows import Paired
from simplecell.doctor import Finding, examine, examine_inputs
from simplecell.errors import UsageError
from simplecell.estimators.advice import Fit, in_python
from simplecell.estimators.contract import ModelTransformer, as_curve, follow
from simplecell.estimators.door import DOOR, check_array, source_given
from simplecell.estimators.parameters import (
    PARAMETERS,
    Shared,
    Sizes,
    plain,
    read,
    refuse_reading,
    said_by,
)
from simplecell.run.build import Built, build, new_pairs
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import read_targets, with_prepared_targets
from simplecell.training.prepared import to_model
from simplecell.training.trainer import Trainer


class RecipeTransformer(Shared, ModelTransformer):
    """A recipe trained by the one trainer; a subclass says which recipe its parameters change."""

    _trainer: Trainer | dict[str, torch.Tensor] | None = None
    _steering: torch.Tensor | None = None
    """The state of `fit`'s controller, from which `partial_fit` goes on."""
    _found: Sequence[str] = ()
    """What the doctor found in the last `fit`."""
    course = 0
    """Steps of the whole training, as `partial_fit` tells the trainer, which cannot know them."""

    def _basis(self) -> Recipe:
        """The recipe that parameters and settings change."""
        raise NotImplementedError

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        """Put right what the table of parameters cannot say of one alone."""
        said["optim.batch_size"] = min(int(self.batch_size), n_samples)

    @classmethod
    def _adjust_back(cls, found: dict[str, Any], recipe: Recipe, n_samples: int) -> None:
        """Put right what was read from a recipe, one parameter at a time."""

    def _recipe(self, n_samples: int, solver: str | None = None) -> Recipe:
        """The parameters as a recipe; this is where they are checked."""
        said: dict[str, object] = {"data.kind": "array", "data.held_out": 0.0}
        said |= said_by(self.get_params(deep=False))
        if solver is not None:
            said["optim.kind"] = solver
        self._adjust(said, n_samples)
        recipe = self._basis().changed(said)
        if self.settings is None:
            return recipe
        if not isinstance(self.settings, Mapping):
            raise UsageError(
                f"settings is {self.settings!r}; a mapping of recipe keys is needed, such as "
                '{"optim.resample": 2}'
            )
        recipe = recipe.changed({key: plain(value) for key, value in self.settings.items()})
        refuse_reading(recipe.data)
        return recipe

    def _in_parts(self, recipe: Recipe) -> Recipe:
        """The recipe as `partial_fit` follows it."""
        return recipe.changed({"optim.kind": "adam"})

    def fit(self, X: object, y: object = None, *, targets: object = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored.

        Of a path, or a source that lies in files, rows are read in chunks, and never all held.

        With `targets` [n_samples, n_outputs] this is a transcoder, which reconstructs these from
        X: `inverse_transform` and `atoms` are then in their units. They are prepared by the same
        "center", "scale" or "standardize" as X, fitted to them, and held in memory.

        Raises:
            ValueError: for data, targets or parameters that cannot be used.
            DivergedError: when training leaves the finite numbers.

        Warns:
            ConvergenceWarning: for whatever the doctor found, which `notes_` say as well: data that
                are not prepared, dead latents, an l0 that misses its target …
        """
        source = source_given(self, X, reset=True)
        recipe = self._recipe(source.n_samples)
        if targets is not None:
            source = Paired(source, as_targets(targets, source))
        elif recipe.data.targets is not None:
            raise UsageError(
                "data.targets makes this a transcoder, and X alone came; call fit(X, targets=Y), "
                "Y one row a sample, or leave the key out of settings"
            )
        # The targets of a later training are those that it is given, not a file.
        self._train(replace(recipe, data=replace(recipe.data, targets=None)), source)
        self._warn()
        return self

    def _warn(self) -> None:
        """Warn of what the doctor found; called by `fit` itself, for the stack's sake."""
        if self._found:
            warnings.warn("\n".join(self._found), ConvergenceWarning, stacklevel=3)

    def _advise(self, findings: Sequence[Finding]) -> None:
        """Keep what the doctor found, with its cures as parameters."""
        self._found = [in_python(finding.words, self._setting) for finding in findings]
        self.notes_ += self._found

    def _setting(self, key: str, value: object) -> str:
        """How this estimator is told what a recipe says by a key."""
        mine = self.get_params(deep=False)
        names = [name for name, one in PARAMETERS.items() if one.key == key and name in mine]
        found = read(self._trained.recipe.changed({key: value}), names)
        for name, said in found.items():
            return f"{name}={list(said) if isinstance(said, tuple) else said!r}"
        return f"settings={{{key!r}: {value!r}}}"

    def _train(self, recipe: Recipe, whole: Source) -> None:
        """The training of a run, without its directory."""
        source, held_out = split(whole, recipe.data.held_out, recipe.train.seed)
        built = build(recipe, source)
        trainer, steps = built.trainer, built.recipe.n_steps
        chain, like = built.target_preprocess, trainer.model.like
        pairs = with_prepared_targets(source, chain, like)
        held = None if held_out is None else with_prepared_targets(held_out, chain, like)
        fit = Fit(trainer, built.recipe, recipe.table(), pairs, held)
        early = examine_inputs(fit)
        records = fit.followed(trainer.run(pairs, steps, held_out=held))
        self.cost_curve_ = follow(records, steps, verbose=self.verbose)
        figures = self._keep(built, recipe, source, held_out=held_out)
        self._advise([*early, *examine(fit, figures)])
        self._trainer, controller = None, trainer.controller
        self._steering = None if controller is None else controller.state.cpu().clone()

    def score(self, X: object, y: object = None, *, targets: object = None) -> float:
        """1 − fvu: the fraction of the variance of prepared X that is reproduced; 1 is best.

        Where X has no variance: 1.0 if it is reproduced exactly, up to rounding, else 0.0. Of a
        transcoder: that of the prepared `targets` of X, which are needed.
        """
        if targets is None:
            return super().score(X, y)
        check_is_fitted(self)
        source = source_given(self, X, reset=False)
        return self._scored(new_pairs(self._trained, source, as_targets(targets, source)))

    def partial_fit(self, X: object, y: object = None) -> Self:
        """Update with X [n_samples, n_features]: Adam over batches of `batch_size`, in order.

        The first call fixes the preparation from its X. The average activation that the KL term
        looks at is a running one over about the last 20/target samples.
        """
        first = not hasattr(self, "n_features_in_")
        source = source_given(self, X, reset=True) if first else source_given(self, X, reset=False)
        requested = self._in_parts(self._recipe(source.n_samples, solver="adam"))
        size = min(requested.optim.batch_size, source.n_samples)
        if not first:
            requested = self._in_parts(Recipe.from_table(self._trained.info["requested"]))
        built = build(requested, source) if first else self._again()
        trainer, costs = built.trainer, []
        for x, _ in source.batches(size):
            prepared = to_model(x, built.preprocess, trainer.model.like)
            costs.append(trainer.step(prepared, steps=self.course).cost)
            trainer.n_steps += 1
        trainer.check_finite()
        self._keep(built, requested, source)
        self.cost_curve_ = as_curve(costs)
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
            if state is None:
                self._steer(trainer)
            else:
                trainer.load_state_dict(state)
        return Built(recipe, trained.preprocess, trainer, [])

    def _steer(self, trainer: Trainer) -> None:
        """Let a trainer that starts from fitted weights be steered on as these were."""
        controller = trainer.controller
        if controller is not None and self._steering is not None:
            controller.state = self._steering.to(controller.state)

    def __getstate__(self) -> dict[str, object]:
        state: dict[str, object] = super().__getstate__().copy()
        trainer = state.get("_trainer")
        if isinstance(trainer, Trainer):
            state["_trainer"] = trainer.state_dict()
        return state


def as_targets(targets: object, source: Source) -> Source:
    """Targets [n, D'] of the samples of a source, dense or SciPy sparse.

    Raises:
        ValueError: when they are not numbers, not finite, or not one row a sample.
    """
    checked = check_array(targets, input_name="targets", **DOOR)
    return read_targets(ArraySource(checked, name="the targets"), source.n_samples)


@dataclass(eq=False, repr=False)
class ClassicTransformer(RecipeTransformer):
    """What the classic estimators share: they count passes, and hold out samples to stop early."""

    n_latents: Sizes = 25
    _: KW_ONLY
    activation: str | list[str] = "sigmoid"
    max_iter: int = 400
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10

    solver = "adam"
    schedule: ClassVar[str] = "constant"

    def _terms(self) -> dict[str, dict[str, float]]:
        """The objective, its terms in order; parameters fill in the other numbers."""
        return {"reconstruction": {"weight": 0.5}, "decay": {}}

    def _basis(self) -> Recipe:
        optim = {"kind": "adam", "tolerance": 0.0, "schedule": self.schedule}
        return Recipe.from_table({"objective": self._terms(), "optim": optim})

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        if not self.early_stopping:
            said |= {"data.held_out": 0.0, "train.patience": 0}
        adam = said.get("optim.kind", "adam") == "adam"
        said["train.steps"] = int(self.max_iter) * (self._a_pass(n_samples) if adam else 1)

    def _a_pass(self, n_samples: int) -> int:
        """Steps of Adam in one pass."""
        trained_on = n_samples * (1 - self.validation_fraction * bool(self.early_stopping))
        return batches(trained_on, int(self.batch_size), n_samples)

    def _setting(self, key: str, value: object) -> str:
        if key != "train.steps" or not isinstance(value, int):
            return super()._setting(key, value)
        adam, n_samples = self._trained.recipe.optim.kind == "adam", self._trained.info["data"]
        return f"max_iter={-(-value // (self._a_pass(n_samples['n_samples']) if adam else 1))}"

    @classmethod
    def _adjust_back(cls, found: dict[str, Any], recipe: Recipe, n_samples: int) -> None:
        optim, train = recipe.optim, recipe.train
        trained_on: float = n_samples
        if train.patience:
            found["early_stopping"] = True
            trained_on *= 1 - recipe.data.held_out
        else:
            del found["n_iter_no_change"], found["validation_fraction"]
        if optim.kind == "adam" and "max_iter" in found:
            a_pass = batches(trained_on, optim.batch_size, n_samples)
            found["max_iter"] = max(1, found["max_iter"] // a_pass)


def batches(trained_on: float, batch_size: int, n_samples: int) -> int:
    """Of one pass over so many of the samples."""
    return max(1, int(trained_on) // max(1, min(batch_size, n_samples)))
