"""Autoencoders trained one on the codes of the other, then fine-tuned as one network.

Each layer is trained alone on the codes of the one before; then all of them become one deep
network, or a classifier, whose fine-tuning moves every weight at once.
Source: UFLDL, Stacked autoencoders. Exact.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from simplecell.data import ArraySource, Source
from simplecell.data.rows import Paired
from simplecell.errors import UsageError, choice, real, whole
from simplecell.estimators.classic import SparseAutoencoder
from simplecell.estimators.contract import (
    ROWS,
    Array,
    ModelTransformer,
    follow,
    input_names,
    layout_of,
)
from simplecell.estimators.door import DOOR, refuse_overflow, source_of, validate_data
from simplecell.estimators.fitting import ClassicTransformer, batches
from simplecell.estimators.greedy import STILL_FITTED, Greedy, kept_layer
from simplecell.estimators.parameters import Randomness, Steps, read, said_by, seed_of
from simplecell.model.autoencoder import Layer
from simplecell.model.deep import Classifier, DeepAutoencoder, exciting
from simplecell.preprocess.chain import Preprocess
from simplecell.run.build import Built
from simplecell.run.progress import TrainingProgress
from simplecell.run.recipe import DTYPES, Recipe
from simplecell.run.trained import Trained
from simplecell.training.objective import Objective
from simplecell.training.prepared import resolve_device, to_model
from simplecell.training.trainer import Trainer
from simplecell.viz.portrait import picture_of_rows

STACKED = "stacked"
"""`model.init` of a stack's run: its weights started from layers trained one by one."""
OF_LAYERS = (
    *("target", "sparsity_weight", "weight_decay", "activation", "output"),
    *("preprocess", "max_iter", "dtype", "device"),
)
"""Parameters of a stack that are those of each layer given as a number."""
LayerSizes = int | Sequence[int | ClassicTransformer | FrozenEstimator] | None


def classifier(
    layers: Sequence[Layer], codes: Array, labels: NDArray[np.int64], weight_decay: float
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
    codes: Array, labels: NDArray[np.int64], weight_decay: float
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


@dataclass(eq=False, repr=False)
class StackTransformer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both stacks share: the greedy training, and the tables of the fine-tuning."""

    layers: LayerSizes = (50, 25)
    _: KW_ONLY
    target: float = 0.1
    sparsity_weight: float = 3.0
    weight_decay: float = 1e-4
    activation: str = "sigmoid"
    output: str = "sigmoid"
    preprocess: Steps = "auto"
    max_iter: int = 200
    solver: str = "lbfgs"
    fine_tune_iter: int = 200
    batch_size: int = 100
    learning_rate: float = 1e-3
    dtype: str = "float32"
    random_state: Randomness = None
    device: str = "auto"
    verbose: bool = False

    def _train_layers(self, X: Array, seed: int) -> tuple[Greedy, Preprocess, Array]:
        """The trained layers, the preparation of X, and the codes [n, M] of the last layer."""
        self._steps(len(X))  # wrong parameters are told of before the layers are trained
        recipes, kept = self._recipes(len(X), seed), self._kept()
        self._warn_of_what_is_lost()
        greedy = Greedy(recipes, kept)
        lengths = [0 if k in kept else recipe.n_steps for k, recipe in enumerate(recipes, 1)]
        with TrainingProgress(sum(lengths), quiet=not self.verbose) as progress:
            for number, record in greedy.run(ArraySource(X)):
                done = sum(lengths[: number - 1])
                progress.show(record._replace(step=done + record.step))
        assert greedy.preprocess is not None
        assert greedy.codes is not None
        return greedy, greedy.preprocess, greedy.codes

    def _recipes(self, n_samples: int, seed: int) -> list[Recipe]:
        """One a layer, each the seed's next; this is where they are checked."""
        if self.layers is None:
            raise UsageError(
                "a run keeps a stack's network and its fine-tuning, and not how each layer was "
                "trained before; say it by layers, and by max_iter, target … where they are numbers"
            )
        layers, kept = self._given(), self._kept()
        recipes = [
            kept[k + 1].recipe
            if k + 1 in kept
            else self._layer(k, layer)._recipe(n_samples).changed({"train.seed": seed + k})
            for k, layer in enumerate(layers)
        ]
        for number, (layer, recipe) in enumerate(zip(layers, recipes, strict=True), start=1):
            self._check_layer(number, layer, recipe, number in kept)
        for number, (below, above) in enumerate(itertools.pairwise(recipes), start=2):
            if above.model.output not in ("auto", below.model.activation):
                raise UsageError(
                    f"layer {number} gives '{above.model.output}' outputs, but it has to reproduce "
                    f"'{below.model.activation}' codes; make the two the same"
                )
        return recipes

    def _given(self) -> list[object]:
        return list(self.layers) if isinstance(self.layers, Iterable) else [self.layers]

    def _kept(self) -> dict[int, Trained]:
        """Layers that stay as they were trained, by number from 1."""
        choice("dtype", self.dtype, DTYPES)
        kept = {}
        for k, one in enumerate(self._given(), start=1):
            if isinstance(one, FrozenEstimator):
                found = kept_layer(k, one)
                model = found.model_in(getattr(torch, self.dtype))
                kept[k] = dataclasses.replace(found, model=model)
        return kept

    def _warn_of_what_is_lost(self) -> None:
        """Estimators given as parameters are trained by `fit`, as everywhere in scikit-learn."""
        numbered = enumerate(self._given(), start=1)
        fitted = (
            k
            for k, one in numbered
            if isinstance(one, ClassicTransformer) and hasattr(one, "_trained")
        )
        lost = [str(k) for k in fitted]
        if lost:
            warnings.warn(STILL_FITTED.format(", ".join(lost)), UserWarning, stacklevel=4)

    def _layer(self, k: int, layer: object) -> ClassicTransformer:
        """The estimator of one layer: the one given, or one with that many latents."""
        if isinstance(layer, ClassicTransformer):
            return layer
        if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
            raise UsageError(
                f"layers holds {layer!r}; a layer is a number of latents, or an estimator such as "
                "SparseAutoencoder(n_latents=200)"
            )
        told = {name: getattr(self, name) for name in OF_LAYERS}
        above = {"output": self.activation, "preprocess": None} if k else {}
        return SparseAutoencoder(int(layer), **told | above)

    def _check_layer(self, number: int, layer: object, recipe: Recipe, kept: bool) -> None:
        """What a layer given as an estimator must not ask for, or a kept one have asked for."""
        if isinstance(recipe.model.n_latents, list):
            raise UsageError(
                f"layer {number} is a {type(layer).__name__} of several layers; a layer of a "
                "stack is one layer"
            )
        wrong = {
            "tied weights, which fine-tuning would pull apart": recipe.model.tied,
            "early stopping, which a stack does not do": recipe.train.patience and not kept,
            "held-out samples, which a stack does not have": recipe.data.held_out and not kept,
            "a preparation, but only the first layer sees the data": number > 1
            and recipe.preprocess.steps not in ("auto", []),
        }
        for what, asked in wrong.items():
            if asked:
                raise UsageError(f"layer {number} asks for {what}; leave it out")

    def _fine_tune(self, trainer: Trainer, source: Source) -> None:
        """Move all weights at once."""
        steps = self._steps(source.n_samples)
        records = trainer.run(source, steps)
        self.cost_curve_ = follow(records, steps, verbose=self.verbose)

    def _steps(self, n_samples: int) -> int:
        whole("fine_tune_iter", self.fine_tune_iter, least=0)
        whole("batch_size", self.batch_size)
        passes = batches(n_samples, self.batch_size, n_samples) if self.solver == "adam" else 1
        return int(self.fine_tune_iter) * passes


class StackedAutoencoder(ModelTransformer, StackTransformer):
    """Autoencoders trained one on the codes of the other, then fine-tuned as one deep network.

    Source: UFLDL, Stacked autoencoders. Exact; the fine-tuning minimises reconstruction, KL
    sparsity of the innermost code and decay of every matrix.

    Args:
        layers: from the input to the code; each a number of latents, or an estimator of the
            family (`SparseAutoencoder`, `CompressionAutoencoder`, `DenoisingAutoencoder`). An
            estimator is trained by `fit`, also one that is fitted already, which warns; one inside
            `sklearn.frozen.FrozenEstimator` is not, and the stack begins with its weights. They
            are copies: the fine-tuning does not move the estimator's own.
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
        model_: the `simplecell.model.deep.DeepAutoencoder`. `save` keeps it with the settings of
            the fine-tuning; how each layer was trained before is not kept.
        components_: [n_latents, n_prepared], what a code of 1 adds before the output function.
        fvu_, mean_activation_, n_iter_, cost_curve_, notes_: as in `SparseAutoencoder`, of the
            fine-tuning.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> stack = StackedAutoencoder((40, 20), max_iter=20, fine_tune_iter=5, random_state=0).fit(X)
    >>> stack.transform(X).shape
    (1797, 20)
    """

    def fit(self, X: object, y: object = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored."""
        rows = dense(validate_data(self, X, **DOOR))
        seed = seed_of(self.random_state)
        greedy, preprocess, _ = self._train_layers(rows, seed)
        network = DeepAutoencoder(greedy.layers)
        recipe = self._deep_recipe(network, preprocess, seed, len(rows))
        trainer = recipe.trainer(preprocess)
        trainer.model.load_tensors(network.tensors())
        self._fine_tune(trainer, ArraySource(rows))
        recipe = recipe.changed({"model.init": STACKED})
        built = Built(recipe, preprocess, trainer, greedy.notes)
        self._keep(built, recipe, source_of(self, rows))
        return self

    def _deep_recipe(
        self, network: DeepAutoencoder, preprocess: Preprocess, seed: int, n_samples: int
    ) -> Recipe:
        """The fine-tuning."""
        told = {"random_state": seed, "preprocess": preprocess.steps, "output": network.output}
        said = said_by(self.get_params(deep=False) | told)
        sparse = self.sparsity_weight and network.activation.gain is not None
        terms = {"reconstruction": {"weight": 0.5}, "kl": {}, "decay": {}}
        if not sparse:
            del terms["kl"], said["objective.kl.weight"], said["objective.kl.target"]
        said |= {
            "data.kind": "array",
            "data.held_out": 0.0,
            "model.n_latents": [layer.n_latents for layer in network.layers],
            "model.activation": [layer.activation.kind for layer in network.layers],
            "optim.schedule": "linear",
            "optim.batch_size": min(int(self.batch_size), n_samples),
            "train.steps": max(1, self._steps(n_samples)),
        }
        return Recipe.from_table({"objective": terms}).changed(said)

    @classmethod
    def of_run(cls, recipe: Recipe, n_samples: int) -> StackedAutoencoder:
        """A stack with the fine-tuning of a run, which does not keep how layers were trained."""
        found = {"sparsity_weight": 0.0} | read(recipe, {*cls._get_param_names()} - {"max_iter"})
        found["activation"], optim = (*recipe.model.activation, "sigmoid")[0], recipe.optim
        passes = batches(n_samples, optim.batch_size, n_samples) if optim.kind == "adam" else 1
        return cls(None, fine_tune_iter=recipe.n_steps // passes, **found)


def dense(X: Any) -> Array:
    """X as a dense array, in its precision until it is prepared: inner codes are dense anyway."""
    return np.ascontiguousarray(X.toarray() if hasattr(X, "toarray") else X)


@dataclass(eq=False, repr=False)
class StackedClassifier(ClassifierMixin, StackTransformer):  # type: ignore[misc]
    """Autoencoders trained one on the codes of the other, under a softmax; then all fine-tuned.

    The gradient of the softmax's cross-entropy reaches every layer; weight decay acts on the
    softmax weights alone. Source: UFLDL, Fine-tuning stacked autoencoders. Exact, save that the
    softmax has offsets.

    Args:
        softmax_decay: λ of the softmax weights; all others are those of `StackedAutoencoder`.

    Attributes:
        classes_: class labels.
        model_: the `simplecell.model.deep.Classifier`; greedy_model_: before the fine-tuning.
        n_iter_: fine-tuning steps; cost_curve_: of the fine-tuning.
        notes_: sentences on what was chosen and found.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> stack = StackedClassifier((60, 40), max_iter=60, fine_tune_iter=60, random_state=0)
    >>> bool(stack.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9)
    True
    """

    _: KW_ONLY
    softmax_decay: float = 1e-4

    def fit(self, X: object, y: object) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse, and labels y [n_samples].

        Raises:
            ValueError: for data, labels or parameters that cannot be used.
        """
        real("softmax_decay", self.softmax_decay)
        rows, classes = validate_data(self, X, y, **DOOR)
        check_classification_targets(classes)
        encoder = LabelEncoder().fit(classes)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise UsageError(
                f"y has one class, '{self.classes_[0]}'; a classifier needs two or more"
            )
        labels = np.asarray(encoder.transform(classes), dtype=np.int64)
        rows = dense(rows)
        seed = seed_of(self.random_state)
        greedy, preprocess, codes = self._train_layers(rows, seed)
        network = classifier(greedy.layers, codes, labels, self.softmax_decay)
        self.greedy_model_ = copy.deepcopy(network).cpu()
        trainer = self._softmax_trainer(network, preprocess, len(rows), seed)
        wanted = ArraySource(one_hot(labels, len(self.classes_)).numpy())
        self._fine_tune(trainer, Paired(ArraySource(rows), wanted))
        trainer.check_finite()
        self._preprocess = preprocess
        # A copy: the trained one's parameters are views of the trainer's vector.
        self.model_ = copy.deepcopy(network).cpu()
        self.n_iter_ = max(1, trainer.n_steps)
        self.notes_ = list(greedy.notes)
        return self

    def predict(self, X: object) -> Array:
        """The most probable class of each sample, [n_samples]."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: object) -> Array:
        """Probabilities of `classes_`, [n_samples, n_classes]."""
        check_is_fitted(self)
        return self._pass(X, lambda network, x: network(x).recon)

    def encode(self, X: object) -> Array:
        """Codes [n_samples, n_latents] of the last layer."""
        check_is_fitted(self)
        return self._pass(X, lambda network, x: network.encode(x)[1].dense)

    def plot(
        self, *, shape: tuple[int, ...] | None = None, layer: int | None = None
    ) -> Image.Image:
        """A picture of what excites each latent of a layer, as `StackedAutoencoder.plot`."""
        check_is_fitted(self)
        network, chain, n_inputs = self.model_, self._preprocess, self._preprocess.n_inputs
        number = len(network.layers) if layer is None else layer
        jacobian = chain.pixels(torch.eye(chain.n_outputs, dtype=torch.float64))
        rows = exciting(network.upto(number), jacobian).double().cpu().numpy()
        names = input_names(self)
        title = f"What excites each latent of layer {number}"
        return picture_of_rows(rows, layout_of(shape, n_inputs, names), names, title)

    @torch.no_grad()
    def _pass(self, X: object, function: Callable[[Classifier, Tensor], Tensor]) -> Array:
        rows = validate_data(self, X, reset=False, **DOOR)
        source = ArraySource(rows)
        network = self.model_.to(resolve_device(self.device))
        if rows.dtype == np.float64:
            network = copy.deepcopy(network).double()
        parts = [
            function(network, to_model(x, self._preprocess, network.like)).cpu().numpy()
            for x, _ in source.batches(ROWS)
        ]
        return refuse_overflow(np.concatenate(parts))

    def _softmax_trainer(
        self, network: Classifier, preprocess: Preprocess, n_samples: int, seed: int
    ) -> Trainer:
        terms = {"softmax": {"weight": 1.0}, "decay": {"weight": float(self.softmax_decay) / 2}}
        return Trainer(
            network,
            Objective(terms),
            preprocess,
            solver=self.solver,
            learning_rate=float(self.learning_rate),
            schedule="linear",
            batch_size=min(int(self.batch_size), n_samples),
            seed=seed,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
