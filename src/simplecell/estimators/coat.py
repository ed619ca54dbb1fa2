"""The coat that every autoencoder wears for scikit-learn; a subclass says parameters and terms."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from simplecell.build import Built, build
from simplecell.data import ArraySource, Source, split
from simplecell.errors import UsageError
from simplecell.evaluate import evaluate
from simplecell.progress import TrainingProgress
from simplecell.recipe import Recipe
from simplecell.run import Run
from simplecell.story import about_data, about_software
from simplecell.train import Trainer, resolve_device, to_model
from simplecell.trained import Trained
from simplecell.viz.portrait import picture

DOOR: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}
ROWS = 8192
USELESS = 0.99  # fvu from which a code says next to nothing of its samples


class AutoencoderCoat(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both classic estimators share; a subclass says its parameters and terms."""

    _trained: Trained
    _trainer: Trainer | dict[str, torch.Tensor] | None

    def _terms(self) -> dict[str, dict[str, float]]:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored.

        Raises:
            ValueError: for data or parameters that cannot be used.
            DivergedError: when training leaves the finite numbers.
        """
        X = validate_data(self, X, **DOOR)
        recipe = self._recipe(X.shape[0])
        source: Source = ArraySource(X)
        held_out: Source | None = None
        if self.early_stopping:
            source, held_out = split(source, self.validation_fraction, recipe.train.seed)
        built = build(recipe, source)
        curve = []
        with TrainingProgress(recipe.train.steps, quiet=not self.verbose) as progress:
            for record in built.trainer.run(source, recipe.train.steps, held_out=held_out):
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
        fresh = self._recipe(X.shape[0], solver="adam")
        built = build(fresh, source) if first else self._again()
        trainer, size = built.trainer, min(self.batch_size, X.shape[0])
        costs = []
        for x, _ in source.batches(size):
            prepared = to_model(x, built.preprocess, trainer.model.bias)
            costs.append(trainer.step(prepared).cost)
            trainer.n_steps += 1
        trainer.check_finite()
        self._keep(built, source)
        self.cost_curve_ = torch.stack(costs).double().cpu().numpy()
        self._trainer = trainer
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Codes [n_samples, n_latents] of X, in float32 if X is float32, else in float64."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **DOOR)
        trained = self._on_device()
        return np.concatenate([trained.encode(x) for x, _ in ArraySource(X).batches(ROWS)])

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """Samples [n_samples, n_features] in the units of the data, of codes X [n, n_latents]."""
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32])
        trained = self._on_device()
        parts = [X[i : i + ROWS] for i in range(0, len(X), ROWS)]
        return np.concatenate([trained.decode(part) for part in parts])

    def score(self, X: Any, y: Any = None) -> float:
        """1 − fvu: the fraction of the variance of prepared X that is reproduced; 1 is best."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **DOOR)
        trained = self._on_device()
        return 1 - evaluate(trained.model, trained.preprocess, ArraySource(X)).fvu

    def save(self, path: str | Path) -> None:
        """Write a run directory that `simplecell.load` and the command line open.

        Raises:
            RunError: when something else than a run lies there.
            WriteError: when it cannot be written.
        """
        check_is_fitted(self)
        run, trained = Run(path), self._trained
        run.refuse_strangers()
        run.begin(trained.recipe, trained.info, trained.preprocess)
        run.write_model(trained.model)

    def plot(self, what: str = "latents", *, shape: tuple[int, ...] | None = None) -> Image.Image:
        """A picture of what excites each latent ("latents") or of what each adds ("atoms").

        `shape` is how one sample is laid out, (h, w) or (h, w, 3); found out for square grey
        pictures. Samples that are no pictures are drawn by their strongest inputs.
        """
        check_is_fitted(self)
        if what not in ("latents", "atoms"):
            raise UsageError(f"plot draws 'latents' or 'atoms', not {what!r}")
        trained = self._trained
        layout = shape or self._shape(trained, getattr(self, "feature_names_in_", None))
        if math.prod(layout) != trained.preprocess.n_inputs:
            raise UsageError(
                f"shape {layout} needs {math.prod(layout)} inputs a sample; "
                f"there are {trained.preprocess.n_inputs}"
            )
        return picture(trained, what, layout)

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _shape(self, trained: Trained, names: Any) -> tuple[int, ...]:
        n_inputs = trained.preprocess.n_inputs
        side = math.isqrt(n_inputs)
        if len(trained.shape) > 1 or names is not None or side * side != n_inputs or side < 4:
            return trained.shape
        return side, side

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
                "model": {
                    "n_latents": _plain(self.n_latents),
                    "activation": self.activation,
                    "output": self.output,
                    "tied": bool(self.tied),
                },
                "objective": self._terms(),
                "optim": {
                    "kind": solver,
                    "tolerance": float(self.tol),
                    "learning_rate": float(self.learning_rate),
                    "batch_size": batch_size,
                },
                "train": {
                    "steps": _plain(self.max_iter) * passes,
                    "seed": seed,
                    "patience": self.n_iter_no_change if self.early_stopping else 0,
                    "dtype": self.dtype,
                    "device": self.device,
                },
            }
        )

    def _keep(self, built: Built, source: Source) -> None:
        """Take over what was learned: NumPy attributes, and a compact copy on the CPU."""
        trainer, recipe = built.trainer, built.recipe
        model = recipe.build_model(trainer.model.n_inputs)
        model.load_tensors(trainer.model.tensors())
        figures = evaluate(model, built.preprocess, source)
        info: dict[str, Any] = {
            "status": "finished",
            "stopped": trainer.stopped,
            "software": about_software(torch.get_num_threads(), str(trainer.flat.device)),
            "seed": recipe.train.seed,
            "data": about_data(None, source, None),
            "requested": recipe.table(),
            "n_iter": trainer.n_steps,
            "seconds": 0.0,
            "figures": None,
        }
        names = getattr(self, "feature_names_in_", None)
        info["data"]["input_names"] = None if names is None else [str(name) for name in names]
        self._take(Trained(model, built.preprocess, recipe, info))
        self.fvu_ = figures.fvu
        self.mean_activation_ = figures.mean_activation
        self.notes_ = list(built.notes)
        if figures.fvu > USELESS:
            self.notes_.append(
                f"{figures.fvu:.1%} of the variance is unexplained: for tables and embeddings try "
                "preprocess=['standardize'], output='linear' and a larger target"
            )

    def _take(self, trained: Trained) -> None:
        """The public fitted attributes of a trained model."""
        tensors = trained.model.tensors()
        self._trained = trained
        self.encoder_ = tensors["encoder"].numpy().copy()
        self.components_ = tensors.get("decoder", tensors["encoder"]).numpy().copy()
        self.bias_ = tensors["bias"].numpy().copy()
        self.offset_ = tensors["offset"].numpy().copy()
        recipe, steps = trained.recipe, int(trained.info["n_iter"])
        if recipe.optim.kind == "adam" and self.solver == "adam":
            steps = max(1, steps * recipe.optim.batch_size // trained.info["data"]["n_samples"])
        self.n_iter_ = steps

    def _again(self) -> Built:
        """The trainer of the last `partial_fit`, or one that starts from the fitted weights."""
        trained = self._trained
        recipe = dataclasses.replace(
            trained.recipe, optim=dataclasses.replace(trained.recipe.optim, kind="adam")
        )
        trainer = self._trainer
        if not isinstance(trainer, Trainer):
            state, trainer = trainer, recipe.trainer(trained.preprocess)
            trainer.model.load_tensors(trained.model.tensors())
            if state is not None:
                trainer.load_state_dict(state)
        return Built(recipe, trained.preprocess, trainer, [])

    def _on_device(self) -> Trained:
        device = resolve_device(self.device)
        if device.type == "cpu":
            return self._trained
        model = self._trained.recipe.build_model(self._trained.model.n_inputs)
        model.load_tensors(self._trained.model.tensors())
        return dataclasses.replace(self._trained, model=model.to(device))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__().copy()
        if isinstance(state.get("_trainer"), Trainer):
            state["_trainer"] = state["_trainer"].state_dict()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """scikit-learn's own view, and below it the picture once there is one."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "_trained"):
            buffer = io.BytesIO()
            self.plot().save(buffer, format="png")
            picture = base64.b64encode(buffer.getvalue()).decode()
            alt = "what excites each latent most"
            bundle["text/html"] += f'<img alt="{alt}" src="data:image/png;base64,{picture}">'
        return bundle


def _plain(number: Any) -> Any:
    """A NumPy integer as Python's own, as a recipe holds it."""
    return int(number) if isinstance(number, np.integer) else number
