"""A stack of autoencoders under a softmax, fine-tuned from end to end."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from simplecell.ascent import exciting
from simplecell.data import ArraySource
from simplecell.deep import Classifier
from simplecell.errors import UsageError
from simplecell.estimators.coat import DOOR, ROWS
from simplecell.estimators.stacked import StackCoat, dense
from simplecell.feed import resolve_device, to_model
from simplecell.objective import Objective
from simplecell.preprocess import Preprocess
from simplecell.stack import classifier, one_hot
from simplecell.train import Trainer
from simplecell.viz.portrait import picture_of_rows


class StackedClassifier(ClassifierMixin, StackCoat):  # type: ignore[misc]
    """Autoencoders trained one on the codes of the other, under a softmax; then all fine-tuned.

    The gradient of the softmax's cross-entropy reaches every layer; weight decay acts on the
    softmax weights alone. Source: UFLDL, Fine-tuning stacked autoencoders. Exact, save that the
    softmax has offsets.

    Args:
        softmax_decay: λ of the softmax weights; all others are those of `StackedAutoencoder`.

    Attributes:
        classes_: class labels.
        model_: the `simplecell.deep.Classifier`; greedy_model_: before the fine-tuning.
        n_iter_: fine-tuning steps; cost_curve_: of the fine-tuning.
        notes_: sentences on what was chosen and found.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> stack = StackedClassifier((60, 40), max_iter=60, fine_tune_iter=60, random_state=0)
    >>> bool(stack.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9)
    True
    """

    def __init__(
        self,
        layers: Any = (50, 25),
        *,
        target: float = 0.1,
        sparsity_weight: float = 3.0,
        weight_decay: float = 1e-4,
        softmax_decay: float = 1e-4,
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
        self.softmax_decay = softmax_decay
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

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse, and labels y [n_samples].

        Raises:
            ValueError: for data, labels or parameters that cannot be used.
        """
        if not 0 <= self.softmax_decay < math.inf:
            raise UsageError(f"softmax_decay is {self.softmax_decay}; it must be 0 or more")
        X, y = validate_data(self, X, y, **DOOR)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise UsageError(
                f"y has one class, '{self.classes_[0]}'; a classifier needs two or more"
            )
        labels = np.asarray(encoder.transform(y), dtype=np.int64)
        X = dense(X, self.dtype)
        self._steps(len(X))
        greedy = self._train_layers(X)
        assert greedy.preprocess is not None
        assert greedy.codes is not None
        network = classifier(greedy.layers, greedy.codes, labels, self.softmax_decay)
        self.greedy_model_ = copy.deepcopy(network).cpu()
        trainer = self._softmax_trainer(network, greedy.preprocess, len(X))
        costs = self._fine_tune(trainer, X, one_hot(labels, len(self.classes_)))
        trainer.check_finite()
        self._preprocess = greedy.preprocess
        # A copy: the trained one's parameters are views of the trainer's vector.
        self.model_ = copy.deepcopy(network).cpu()
        self.cost_curve_ = np.array([float(cost) for cost in costs])
        self.n_iter_ = max(1, trainer.n_steps)
        self.notes_ = list(greedy.notes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each sample, [n_samples]."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of `classes_`, [n_samples, n_classes]."""
        check_is_fitted(self)
        return self._pass(X, lambda network, x: network(x).recon)

    def encode(self, X: Any) -> NDArray[Any]:
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
        side = math.isqrt(n_inputs)
        layout = shape or ((side, side) if side * side == n_inputs and side >= 4 else (n_inputs,))
        if math.prod(layout) != n_inputs:
            raise UsageError(
                f"shape {layout} needs {math.prod(layout)} inputs a sample; there are {n_inputs}"
            )
        names = getattr(self, "feature_names_in_", None)
        title = f"What excites each latent of layer {number}"
        return picture_of_rows(rows, layout, None if names is None else list(names), title)

    @torch.no_grad()
    def _pass(self, X: Any, function: Callable[[Classifier, Tensor], Tensor]) -> NDArray[Any]:
        X = validate_data(self, X, reset=False, **DOOR)
        source = ArraySource(X)
        network = self.model_.to(resolve_device(self.device))
        if X.dtype == np.float64:
            network = copy.deepcopy(network).double()
        parts = [
            function(network, to_model(x, self._preprocess, network.like)).cpu().numpy()
            for x, _ in source.batches(ROWS)
        ]
        return np.concatenate(parts)

    def _softmax_trainer(
        self, network: Classifier, preprocess: Preprocess, n_samples: int
    ) -> Trainer:
        terms = {"softmax": {"weight": 1.0}, "decay": {"weight": float(self.softmax_decay) / 2}}
        optim = self._optim(n_samples)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        solver = optim.pop("kind")
        return Trainer(network, Objective(terms), preprocess, solver=solver, seed=seed, **optim)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
