"""Today's sparse autoencoders as scikit-learn transformers: one recipe each, and sparse codes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.sparse import csr_array, csr_matrix
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from simplecell.data import ArraySource, Source
from simplecell.errors import UsageError, real, switch, unknown, whole
from simplecell.estimators.contract import DOOR, ROWS
from simplecell.estimators.fitting import RecipeTransformer, as_targets, plain_sizes
from simplecell.run.build import Built, new_pairs
from simplecell.run.evaluate import Figures
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import EXPANSION, resolve
from simplecell.run.trained import Trained

BATCH_ENTRIES = 2**26
"""Most numbers before the activation, samples times latents, that are held at a time."""
MISSED = 0.1
"""Distance of l0 from its target, relative, that is told."""
positive = partial(real, above=0)


class ModernTransformer(RecipeTransformer):
    """A named recipe behind scikit-learn's contract; a subclass says which, and what it changes."""

    solver, course = "adam", 1
    early_stopping = False
    named: ClassVar[str]
    """The recipe, unless `_named` chooses."""
    cure = "allow more active latents (target_l0), or train longer (max_samples)"
    _steering: torch.Tensor | None = None
    """The state of `fit`'s controller, from which `partial_fit` goes on."""

    def __init__(
        self,
        n_latents: int | str = "auto",
        *,
        target_l0: float | str = "auto",
        max_samples: int | str = "auto",
        batch_size: int = 512,
        learning_rate: float | str = "auto",
        preprocess: Any = ("center", "scale"),
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        sparse_output: bool = False,
        verbose: bool = False,
    ) -> None:
        self.n_latents = n_latents
        self.target_l0 = target_l0
        self.max_samples = max_samples
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.preprocess = preprocess
        self.dtype = dtype
        self.random_state = random_state
        self.device = device
        self.sparse_output = sparse_output
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, targets: Any = None) -> Self:
        """Learn from X [n_samples, n_features], dense or SciPy sparse; y is ignored.

        With `targets` [n_samples, n_outputs] this is a transcoder, which reconstructs these from
        X: `inverse_transform` and `atoms` are then in their units. They are prepared by the same
        "center", "scale" or "standardize" as X, fitted to them, and held in memory.

        Raises:
            ValueError: for data, targets or parameters that cannot be used.
            DivergedError: when training leaves the finite numbers.

        Warns:
            ConvergenceWarning: when the latents active are not as many as were asked for.
        """
        self._fit(X, targets)
        wanted, l0 = self._trained.recipe.target_l0, self.l0_
        if wanted and l0 is not None and abs(l0 - wanted) > MISSED * wanted:
            warnings.warn(
                f"l0 is {l0:.3g}, but target_l0 is {wanted:g}; train for longer (max_samples), or "
                "ask for as many as these data give",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def score(self, X: Any, y: Any = None, *, targets: Any = None) -> float:
        """1 − fvu: the fraction of the variance of prepared X that is reproduced; 1 is best.

        Of a transcoder: that of the prepared `targets` of X, which are needed.
        """
        if targets is None:
            return super().score(X, y)
        check_is_fitted(self)
        source = ArraySource(validate_data(self, X, reset=False, **DOOR))
        return self._scored(new_pairs(self._trained, source, as_targets(targets, source)))

    def _named(self) -> str:
        return self.named

    def _wanted(self) -> Any:
        """`target_l0` as the recipe takes it; 0 where a weight is given in its place."""
        return _auto("target_l0", self.target_l0, positive, float)

    def _size(self) -> Any:
        """`n_latents` as the recipe takes it."""
        return _auto("n_latents", self.n_latents, whole, int)

    def _change(self, tables: dict[str, Any]) -> None:
        """What else a subclass says in the recipe's tables."""

    def _recipe(self, n_samples: int, solver: str | None = None) -> Recipe:
        whole("batch_size", self.batch_size)
        tables = Recipe.load(self._named()).table()
        steps = [] if self.preprocess is None else self.preprocess
        tables["preprocess"]["steps"] = steps if isinstance(steps, str) else list(steps)
        tables["model"] |= {"n_latents": self._size(), "target_l0": self._wanted()}
        tables["optim"] |= {
            "batch_size": min(int(self.batch_size), n_samples),
            "learning_rate": _auto("learning_rate", self.learning_rate, positive, float),
        }
        tables["train"] |= {
            "max_samples": _auto("max_samples", self.max_samples, whole, int),
            "seed": int(check_random_state(self.random_state).randint(2**31 - 1)),
            "dtype": self.dtype,
            "device": self.device,
        }
        self._change(tables)
        return Recipe.from_table(tables)

    def _suited_to(self, recipe: Recipe, source: Source) -> Recipe:
        """As many latents, and no more of them active, as suit what was given instead."""
        model = recipe.model
        if model.n_latents == "auto" and model.target_l0 == 0:
            model = dataclasses.replace(model, n_latents=EXPANSION * source.n_inputs)
        elif isinstance(model.n_latents, int) and model.target_l0 == "auto":
            most = float(model.n_latents)
            chosen = min(most, resolve(recipe, source)[0].target_l0)
            model = dataclasses.replace(model, target_l0=chosen)
        return dataclasses.replace(recipe, model=model)

    def _in_parts(self, recipe: Recipe) -> Recipe:
        """A constant learning rate: nobody knows how many parts will come."""
        optim = dataclasses.replace(recipe.optim, schedule="constant")
        return dataclasses.replace(recipe, optim=optim)

    def _again(self) -> Built:
        fresh = self._trainer is None
        built = super()._again()
        if fresh:
            built.trainer.n_steps = int(self._trained.info["n_iter"])
            controller = built.trainer.controller
            if controller is not None and self._steering is not None:
                controller.state = self._steering.to(controller.state)
        return built

    def _keep(self, built: Built, source: Source) -> None:
        controller = built.trainer.controller
        self._steering = None if controller is None else controller.state.cpu().clone()
        super()._keep(built, source)

    def _judge(self, figures: Figures) -> None:
        super()._judge(figures)
        self.l0_, self.density_ = figures.l0, figures.density

    def _iterations(self, trained: Trained) -> int:
        return int(trained.info["n_iter"])

    @property
    def _n_rows(self) -> int:
        return max(1, min(ROWS, BATCH_ENTRIES // self._n_features_out))

    def _codes(self, trained: Trained, source: Source) -> Any:
        """Dense, or CSR from the non-zero values of each batch."""
        switch("sparse_output", self.sparse_output)
        if not self.sparse_output:
            return super()._codes(trained, source)
        self._refuse_frames()
        parts = [trained.encode_sparse(x) for x, _ in source.batches(self._n_rows)]
        values, latents = (torch.cat([part[i] for part in parts]).numpy() for i in (0, 1))
        counts = torch.cat([part.offsets.diff() for part in parts]).numpy()
        offsets = np.concatenate([[0], counts.cumsum()])
        modern = get_config().get("sparse_interface") == "sparray"
        kind = csr_array if modern else csr_matrix
        return kind((values, latents, offsets), shape=(len(counts), trained.model.n_latents))

    def _refuse_frames(self) -> None:
        """Raise UsageError where data frames are asked for as well."""
        chosen = getattr(self, "_sklearn_output_config", {})
        asked = chosen.get("transform", get_config()["transform_output"])
        if asked != "default":
            raise UsageError(
                f"{asked} data frames cannot hold sparse codes; set sparse_output=False, or "
                "leave the frames by set_output(transform='default')"
            )


def _auto(
    name: str, value: Any, check: Callable[[str, Any], None], kind: Callable[[Any], Any]
) -> Any:
    """A number of its plain kind, or the word "auto"."""
    if isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, str):
        raise UsageError(f'{name} is {value!r}; a number or "auto" is needed')
    check(name, value)
    return kind(value)


def one_of(target_l0: Any, **other: Any) -> None:
    """Raise UsageError where both target_l0 and what stands in its place are given."""
    (name, value), *_ = other.items()
    if value is not None and not (isinstance(target_l0, str) and target_l0 == "auto"):
        raise UsageError(
            f"{name} is {value!r} and target_l0 {target_l0!r}, but either says how sparse codes "
            "are; give one of the two"
        )


class TopKSparseAutoencoder(ModernTransformer):
    """A sparse autoencoder that keeps the k largest latents of each sample.

    Source: Gao et al. 2024 (TopK, AuxK for dead latents); Bussmann et al. 2024 (`batchwise`).
    Exact, save what `simplecell.model.activations` says. Recipes `topk` and `batchtopk`.

    Args:
        n_latents: M; "auto" is 8 for each input.
        k: active latents a sample, *count*. It and target_l0 say the same: give one of them.
        target_l0: as k; "auto" is a quarter of the inputs, at most 32.
        batchwise: k is a mean over a batch, so that easy samples get fewer latents and hard ones
            more; `transform` then keeps what lies above a threshold learned in training.
        max_samples: length of the training, *samples seen*; "auto" is two million, or all of the
            data once where there are more.
        batch_size, learning_rate: of Adam; "auto" follows from M.
        preprocess: a list of steps; ("center", "scale") suits embeddings and activations. None
            does nothing.
        dtype: precision of training, "float32" or "float64".
        random_state: None, int or RandomState.
        device: "auto", "cpu", "cuda", …
        sparse_output: `transform` gives a SciPy CSR matrix, and the dense one is never made.
        verbose: progress on standard error.

    Attributes:
        components_: the dictionary, [n_latents, n_prepared] (decoder rows, prepared units).
        encoder_, bias_, offset_: the other weights; threshold_ for `batchwise`.
        model_, preprocess_: the `simplecell.Autoencoder` and its fitted preparation.
        l0_: active latents a sample, *count*, mean over the training samples.
        density_: share of the training samples for which each latent is active, [n_latents].
        mean_activation_: mean code of each latent, [n_latents].
        fvu_: fraction of variance unexplained on the training samples.
        cost_curve_: the cost at each update.
        n_iter_: updates done.
        notes_: sentences on what was chosen and found.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> sae = TopKSparseAutoencoder(
    ...     128, k=8, max_samples=20_000, sparse_output=True, random_state=0
    ... )
    >>> codes = sae.fit_transform(X)
    >>> codes.shape, int((codes != 0).sum(axis=1).max())
    ((1797, 128), 8)
    """

    def __init__(
        self,
        n_latents: int | str = "auto",
        *,
        k: float | None = None,
        target_l0: float | str = "auto",
        batchwise: bool = False,
        max_samples: int | str = "auto",
        batch_size: int = 512,
        learning_rate: float | str = "auto",
        preprocess: Any = ("center", "scale"),
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        sparse_output: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_latents,
            target_l0=target_l0,
            max_samples=max_samples,
            batch_size=batch_size,
            learning_rate=learning_rate,
            preprocess=preprocess,
            dtype=dtype,
            random_state=random_state,
            device=device,
            sparse_output=sparse_output,
            verbose=verbose,
        )
        self.k = k
        self.batchwise = batchwise

    def _named(self) -> str:
        switch("batchwise", self.batchwise)
        return "batchtopk" if self.batchwise else "topk"

    def _wanted(self) -> Any:
        one_of(self.target_l0, k=self.k)
        if self.k is None:
            return super()._wanted()
        (positive if self.batchwise else whole)("k", self.k)
        return float(self.k)


class MatryoshkaSparseAutoencoder(ModernTransformer):
    """A sparse autoencoder whose first latents already reconstruct: coarse first, then fine.

    Codes are those of `TopKSparseAutoencoder(batchwise=True)`; the cost is the mean squared error
    of what the first m_1, m_2, … latents give. Source: Bussmann et al. 2025. Differs: a mean over
    widths where the paper has a sum. Recipe `matryoshka`.

    Args:
        n_latents: M; "auto" is the last of the widths, or 8 for each input.
        widths: m_1 < m_2 < … < M, *counts*; "auto" is M/2 and M.
        k, target_l0: active latents a sample, mean over a batch; give one of them.

    The other parameters, and the attributes, are those of `TopKSparseAutoencoder`.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> sae = MatryoshkaSparseAutoencoder(widths=(16, 128), k=8, max_samples=20_000, random_state=0)
    >>> sae.fit_transform(X).shape
    (1797, 128)
    """

    named = "matryoshka"

    def __init__(
        self,
        n_latents: int | str = "auto",
        *,
        widths: Sequence[int] | str = "auto",
        k: float | None = None,
        target_l0: float | str = "auto",
        max_samples: int | str = "auto",
        batch_size: int = 512,
        learning_rate: float | str = "auto",
        preprocess: Any = ("center", "scale"),
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        sparse_output: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_latents,
            target_l0=target_l0,
            max_samples=max_samples,
            batch_size=batch_size,
            learning_rate=learning_rate,
            preprocess=preprocess,
            dtype=dtype,
            random_state=random_state,
            device=device,
            sparse_output=sparse_output,
            verbose=verbose,
        )
        self.widths = widths
        self.k = k

    def _wanted(self) -> Any:
        one_of(self.target_l0, k=self.k)
        if self.k is None:
            return super()._wanted()
        positive("k", self.k)
        return float(self.k)

    def _size(self) -> Any:
        size, widths = super()._size(), plain_sizes(self.widths)
        return widths[-1] if size == "auto" and isinstance(widths, list) and widths else size

    def _change(self, tables: dict[str, Any]) -> None:
        tables["objective"]["nested"]["widths"] = plain_sizes(self.widths)


FORMS = {"scaled": False, "unit_norm": True}


class L1SparseAutoencoder(ModernTransformer):
    """A sparse autoencoder of ReLU codes with an L1 penalty, whose weight `target_l0` sets.

    `J = mean ‖recon − x‖² + λ Σ_j code_j ‖atom_j‖`. Source: Bricken et al. 2023 ("unit_norm");
    Anthropic, Circuits Updates April 2024 ("scaled"). Exact, save the controller of λ. Recipe `l1`.

    Args:
        form: "scaled" leaves the length of atoms free and counts it in the penalty; "unit_norm"
            holds it at 1.
        target_l0: active latents a sample, *count*; λ is moved until training ends there. "auto"
            is a quarter of the inputs, at most 32.
        l1_weight: λ, fixed; give it or target_l0.

    The other parameters, and the attributes, are those of `TopKSparseAutoencoder`.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> sae = L1SparseAutoencoder(128, l1_weight=0.5, max_samples=20_000, random_state=0).fit(X)
    >>> sae.transform(X).shape
    (1797, 128)
    """

    named = "l1"

    def __init__(
        self,
        n_latents: int | str = "auto",
        *,
        form: str = "scaled",
        target_l0: float | str = "auto",
        l1_weight: float | None = None,
        max_samples: int | str = "auto",
        batch_size: int = 512,
        learning_rate: float | str = "auto",
        preprocess: Any = ("center", "scale"),
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        sparse_output: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_latents,
            target_l0=target_l0,
            max_samples=max_samples,
            batch_size=batch_size,
            learning_rate=learning_rate,
            preprocess=preprocess,
            dtype=dtype,
            random_state=random_state,
            device=device,
            sparse_output=sparse_output,
            verbose=verbose,
        )
        self.form = form
        self.l1_weight = l1_weight

    def _wanted(self) -> Any:
        one_of(self.target_l0, l1_weight=self.l1_weight)
        return super()._wanted() if self.l1_weight is None else 0.0

    def _change(self, tables: dict[str, Any]) -> None:
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        tables["optim"]["unit_norm"] = FORMS[self.form]
        weigh(tables, self.l1_weight)


class JumpReLUSparseAutoencoder(ModernTransformer):
    """A sparse autoencoder whose latents are active above thresholds of their own, learned.

    Source: Rajamanoharan et al. 2024b. Differs: see `simplecell.model.activations`. Recipe
    `jumprelu`.

    Args:
        target_l0: active latents a sample, *count*, at which training ends. "auto" is a quarter of
            the inputs, at most 32.

    The other parameters, and the attributes, are those of `TopKSparseAutoencoder`; threshold_ is
    [n_latents], scale_ the root mean square of the prepared inputs.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> sae = JumpReLUSparseAutoencoder(128, target_l0=8, max_samples=20_000, random_state=0)
    >>> sae.fit_transform(X).shape
    (1797, 128)
    """

    named = "jumprelu"


class GatedSparseAutoencoder(ModernTransformer):
    """A sparse autoencoder that learns whether a latent is active apart from how much.

    Source: Rajamanoharan et al. 2024a. Exact, save the controller of the L1 term. Recipe `gated`.

    Args:
        target_l0: active latents a sample, *count*; the weight of the L1 term is moved until
            training ends there. "auto" is a quarter of the inputs, at most 32.
        l1_weight: of the L1 term, fixed; give it or target_l0.

    The other parameters, and the attributes, are those of `TopKSparseAutoencoder`; gate_bias_,
    magnitude_bias_ and log_scale_, each [n_latents], stand in the place of bias_.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> sae = GatedSparseAutoencoder(128, target_l0=8, max_samples=20_000, random_state=0)
    >>> sae.fit_transform(X).shape
    (1797, 128)
    """

    named = "gated"

    def __init__(
        self,
        n_latents: int | str = "auto",
        *,
        target_l0: float | str = "auto",
        l1_weight: float | None = None,
        max_samples: int | str = "auto",
        batch_size: int = 512,
        learning_rate: float | str = "auto",
        preprocess: Any = ("center", "scale"),
        dtype: str = "float32",
        random_state: Any = None,
        device: str = "auto",
        sparse_output: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_latents,
            target_l0=target_l0,
            max_samples=max_samples,
            batch_size=batch_size,
            learning_rate=learning_rate,
            preprocess=preprocess,
            dtype=dtype,
            random_state=random_state,
            device=device,
            sparse_output=sparse_output,
            verbose=verbose,
        )
        self.l1_weight = l1_weight

    def _wanted(self) -> Any:
        one_of(self.target_l0, l1_weight=self.l1_weight)
        return super()._wanted() if self.l1_weight is None else 0.0

    def _change(self, tables: dict[str, Any]) -> None:
        weigh(tables, self.l1_weight)


def weigh(tables: dict[str, Any], l1_weight: float | None) -> None:
    """Fix the weight of the l1 term, where one is given."""
    if l1_weight is not None:
        real("l1_weight", l1_weight)
        tables["objective"]["l1"]["weight"] = float(l1_weight)
