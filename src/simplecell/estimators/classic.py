"""The classic autoencoders as scikit-learn transformers."""

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

from simplecell.data import ArraySource, Source, split
from simplecell.errors import UsageError
from simplecell.evaluate import evaluate
from simplecell.progress import TrainingProgress
from simplecell.recipe import Recipe
from simplecell.run import Run, Trained, about_data, about_software
from simplecell.session import Built, build
from simplecell.train import Trainer, resolve_device, to_model
from simplecell.viz.portrait import FILES, picture_of_rows

DOOR: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}
ROWS = 8192


class _ClassicAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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
        if run.exists:
            run.clear()
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
        rows = (trained.latents() if what == "latents" else trained.atoms()).numpy()
        names = getattr(self, "feature_names_in_", None)
        layout = shape or self._shape(trained, names)
        if math.prod(layout) != rows.shape[1]:
            raise UsageError(
                f"shape {layout} needs {math.prod(layout)} inputs a sample; "
                f"there are {rows.shape[1]}"
            )
        title = FILES[what].removesuffix(".png")
        return picture_of_rows(rows, layout, None if names is None else list(names), title)

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
        self.notes_ = built.notes

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


class SparseAutoencoder(_ClassicAutoencoder):
    """The notes' sparse autoencoder: codes whose average activation is held at `target`.

    `J = ½ mean ‖recon − x‖² + (λ/2) Σ w² + β Σ_j KL(ρ ‖ ρ̂_j)`. The defaults are the notes'
    exercise. Source: UFLDL, Autoencoders and sparsity. Exact.

    Args:
        n_latents: M, more or fewer than inputs.
        target: ρ, wanted average activation, *fraction 0–1*.
        sparsity_weight: β; 0 leaves the KL term out.
        weight_decay: λ, on both matrices and not on biases.
        activation: of the code, "sigmoid" or "tanh" ("relu" and "identity" with β = 0).
        output: "sigmoid", "tanh" or "linear".
        tied: one matrix for both directions.
        preprocess: "auto" maps data outside a bounded output's range to its inner 80 %, says so in
            `notes_`, and leaves other data alone; None does nothing; or a list of steps such as
            ["standardize"] or ["remove_dc", "patch_range"].
        solver: "lbfgs", all samples in every iteration, or "adam", mini-batches.
        max_iter: iterations of "lbfgs", passes over the data of "adam".
        tol: "lbfgs" stops when the cost falls by a smaller fraction of itself.
        batch_size, learning_rate: of "adam" and `partial_fit`.
        early_stopping: hold out `validation_fraction` of the samples, stop after
            `n_iter_no_change` looks (every ten iterations, or every pass) without improvement.
        dtype: precision of training, "float32" or "float64".
        random_state: None, int or RandomState.
        device: "auto", "cpu", "cuda", …
        verbose: progress on standard error.

    Attributes:
        components_: the dictionary, [n_latents, n_prepared] (decoder rows, prepared units).
        encoder_, bias_, offset_: the other weights.
        mean_activation_: [n_latents], bounded codes mapped to [0, 1].
        fvu_: fraction of variance unexplained on the training samples.
        cost_curve_: the cost at each iteration.
        n_iter_: iterations (passes, for "adam") done.
        notes_: sentences on what was chosen and found.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> codes = SparseAutoencoder(n_latents=100, target=0.1, random_state=0).fit_transform(X)
    >>> codes.shape
    (1797, 100)
    """

    def __init__(
        self,
        n_latents: int = 25,
        *,
        target: float = 0.01,
        sparsity_weight: float = 3.0,
        weight_decay: float = 1e-4,
        activation: str = "sigmoid",
        output: str = "sigmoid",
        tied: bool = False,
        preprocess: Any = "auto",
        solver: str = "lbfgs",
        max_iter: int = 400,
        tol: float = 1e-9,
        batch_size: int = 1000,
        learning_rate: float = 1e-3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.n_latents = n_latents
        self.target = target
        self.sparsity_weight = sparsity_weight
        self.weight_decay = weight_decay
        self.activation = activation
        self.output = output
        self.tied = tied
        self.preprocess = preprocess
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.dtype = dtype
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _terms(self) -> dict[str, dict[str, float]]:
        kl = {"weight": float(self.sparsity_weight), "target": float(self.target)}
        return {"reconstruction": {"weight": 0.5}, "kl": kl, "decay": _decay(self.weight_decay)}


class CompressionAutoencoder(_ClassicAutoencoder):
    """An autoencoder that compresses: fewer latents than inputs, no sparsity.

    `J = ½ mean ‖recon − x‖² + (λ/2) Σ w²`. With activation="identity" and output="linear" its
    optimum spans PCA's subspace. Parameters and attributes are those of `SparseAutoencoder`.
    Source: UFLDL, Autoencoders and sparsity; Baldi & Hornik 1989. Exact.

    >>> import numpy as np
    >>> X = np.eye(4)
    >>> CompressionAutoencoder(n_latents=2, random_state=0).fit(X).transform(X).shape
    (4, 2)
    """

    def __init__(
        self,
        n_latents: int = 2,
        *,
        weight_decay: float = 1e-5,
        activation: str = "sigmoid",
        output: str = "sigmoid",
        tied: bool = False,
        preprocess: Any = "auto",
        solver: str = "lbfgs",
        max_iter: int = 400,
        tol: float = 1e-9,
        batch_size: int = 1000,
        learning_rate: float = 1e-3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.n_latents = n_latents
        self.weight_decay = weight_decay
        self.activation = activation
        self.output = output
        self.tied = tied
        self.preprocess = preprocess
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.dtype = dtype
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _terms(self) -> dict[str, dict[str, float]]:
        return {"reconstruction": {"weight": 0.5}, "decay": _decay(self.weight_decay)}


def load(path: str | Path) -> SparseAutoencoder | CompressionAutoencoder:
    """A fitted estimator from a run directory, made by `save` or by the command line.

    Raises:
        RunError: for a directory that is no run, is damaged or of a newer format.
    """
    trained = Run(path).load()
    recipe = trained.recipe
    kind = SparseAutoencoder if "kl" in recipe.objective else CompressionAutoencoder
    parameters: dict[str, Any] = {
        **dataclasses.asdict(recipe.model),
        "preprocess": recipe.preprocess.steps,
        "solver": recipe.optim.kind,
        "tol": recipe.optim.tolerance,
        "batch_size": recipe.optim.batch_size,
        "learning_rate": recipe.optim.learning_rate,
        "max_iter": recipe.train.steps,
        "dtype": recipe.train.dtype,
        "random_state": recipe.train.seed,
        "device": recipe.train.device,
        "weight_decay": 2 * recipe.objective.get("decay", {}).get("weight", 0.0),
    }
    if kind is SparseAutoencoder:
        parameters["target"] = recipe.objective["kl"]["target"]
        parameters["sparsity_weight"] = recipe.objective["kl"]["weight"]
    estimator = kind(**parameters)
    estimator.n_features_in_ = trained.preprocess.n_inputs
    if trained.input_names is not None:
        estimator.feature_names_in_ = np.array(trained.input_names, dtype=object)
    estimator._take(trained)
    estimator._trainer = None
    return estimator


def _decay(weight_decay: float) -> dict[str, float]:
    return {"weight": float(weight_decay) / 2}


def _plain(number: Any) -> Any:
    """A NumPy integer as Python's own, as a recipe holds it."""
    return int(number) if isinstance(number, np.integer) else number
