"""Today's sparse autoencoders as scikit-learn transformers: one recipe each, and sparse codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

from scipy.sparse import csr_array, csr_matrix
from sklearn import get_config

from simplecell.data import Source
from simplecell.errors import UsageError, choice, switch, whole
from simplecell.estimators.fitting import RecipeTransformer
from simplecell.estimators.parameters import Steps, automatic, positive
from simplecell.model.autoencoder import Model
from simplecell.model.exact import Exact
from simplecell.preprocess.chain import Preprocess
from simplecell.run.encoding import alpha_on, sparse_codes
from simplecell.run.evaluate import Figures
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained
from simplecell.training.trainer import Trainer

CODES = ("encoder", "exact")


@dataclass(eq=False, repr=False)
class ModernTransformer(RecipeTransformer):
    """A named recipe behind scikit-learn's contract; a subclass says which, and what it changes."""

    _: KW_ONLY
    target_l0: float | str = "auto"
    max_samples: int | str = "auto"
    batch_size: int = 512
    learning_rate: float | str = "auto"
    preprocess: Steps = ("center", "scale")
    sparse_output: bool = False
    codes: str = "encoder"
    alpha: float | str = "auto"

    course = 1
    named: ClassVar[str]
    """The recipe, unless `_basis` chooses."""
    instead: ClassVar[str | None] = None
    """The parameter that may be given in the place of target_l0, if there is one."""
    cure = "allow more active latents (target_l0), or train longer (max_samples)"

    def _basis(self) -> Recipe:
        return Recipe.load(self.named)

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        value = getattr(self, self.instead) if self.instead else None
        if value is not None and self.target_l0 != "auto":
            raise UsageError(
                f"{self.instead} is {value!r} and target_l0 {self.target_l0!r}, but either says "
                "how sparse codes are; give one of the two"
            )

    def _in_use(
        self, model: Model, preprocess: Preprocess, recipe: Recipe, source: Source
    ) -> Model:
        """The encoder, or what makes exact codes, as few of them active as the encoder's."""
        choice("codes", self.codes, CODES)
        automatic(positive)("alpha", self.alpha)
        if self.codes == "encoder":
            return model
        wanted = None if isinstance(self.alpha, str) else float(self.alpha)
        self.alpha_ = wanted or alpha_on(source, model, preprocess)
        return Exact(model, self.alpha_)

    def _take(self, trained: Trained) -> None:
        if self.codes == "exact" and hasattr(self, "alpha_"):
            trained.info["exact_alpha"] = self.alpha_
        elif "exact_alpha" in trained.info:  # as a run has it that is loaded
            self.codes, self.alpha_ = "exact", trained.info["exact_alpha"]
        super()._take(trained)

    def _on_device(self) -> Trained:
        trained = super()._on_device()
        choice("codes", self.codes, CODES)
        if self.codes == "encoder":
            return trained
        alpha = getattr(self, "alpha_", None) if isinstance(self.alpha, str) else self.alpha
        if alpha is None:
            raise UsageError(
                'codes is "exact", but this was fitted with the encoder\'s codes, so that no alpha '
                "was chosen; fit it again, or say alpha=… as well"
            )
        return replace(trained, model=Exact(trained.model, alpha))

    def _in_parts(self, recipe: Recipe) -> Recipe:
        """A constant learning rate: nobody knows how many parts will come."""
        return recipe.changed({"optim.schedule": "constant"})

    def _steer(self, trainer: Trainer) -> None:
        trainer.n_steps = int(self._trained.info["n_iter"])
        super()._steer(trainer)

    def _judge(self, figures: Figures) -> None:
        super()._judge(figures)
        self.l0_, self.density_ = figures.l0, figures.density

    def _iterations(self, trained: Trained) -> int:
        return int(trained.info["n_iter"])

    def _coded(self, source: Source) -> Any:
        """Dense, or CSR from the non-zero values of each batch."""
        switch("sparse_output", self.sparse_output)
        if not self.sparse_output:
            return super()._coded(source)
        self._refuse_frames()
        modern = get_config().get("sparse_interface") == "sparray"
        kind = csr_array if modern else csr_matrix
        rows = sparse_codes(self._on_device(), source)
        return kind(
            (rows.values.numpy(), rows.indices.numpy(), rows.offsets.numpy()),
            shape=(source.n_samples, self._n_features_out),
        )

    def _refuse_frames(self) -> None:
        """Raise UsageError where data frames are asked for as well."""
        chosen = getattr(self, "_sklearn_output_config", {})
        asked = chosen.get("transform", get_config()["transform_output"])
        if asked != "default":
            raise UsageError(
                f"{asked} data frames cannot hold sparse codes; set sparse_output=False, or "
                "leave the frames by set_output(transform='default')"
            )


@dataclass(eq=False, repr=False)
class TopKSparseAutoencoder(ModernTransformer):
    """A sparse autoencoder that keeps the k largest latents of each sample.

    Source: Gao et al. 2024 (TopK, AuxK for dead latents); Bussmann et al. 2024 (`batchwise`);
    arXiv 2510.00404 (`signed`). Exact, save what `simplecell.model.activations` says. Recipes
    `topk`, `batchtopk` and `abstopk`.

    Args:
        n_latents: M; "auto" is 8 for each input, no more than samples from 1,024 on.
        k: active latents a sample, *count*. It and target_l0 say the same: give one of them.
        target_l0: as k; "auto" is a quarter of the inputs, at most 32.
        batchwise: k is a mean over a batch, so that easy samples get fewer latents and hard ones
            more; `transform` then keeps what lies above a threshold learned in training.
        signed: the k latents of largest size, with their signs: for signals and other sums of
            things that come either way round, which else take two latents each. Recipe `abstopk`.
        max_samples: length of the training, *samples seen*; "auto" is two million, or all of the
            data once where there are more.
        batch_size, learning_rate: of Adam; "auto" follows from M.
        preprocess: a list of steps; ("center", "scale") suits embeddings and activations. None
            does nothing.
        dtype: precision of training, "float32" or "float64".
        random_state: an integer is the seed, as `train.seed` of a recipe; None or a RandomState
            draws one.
        device: "auto", "cpu", "cuda", …
        sparse_output: `transform` gives a SciPy CSR matrix, and the dense one is never made.
        codes: "encoder" is one product a sample. "exact" finds the code of least error on the
            learned dictionary by some hundred: `min ½‖x − recon‖² + α Σ code ‖atom‖` over codes
            of at least 0 (`signed`: over all, |code| in the sum). Training, pictures and the
            explorer are as before.
        alpha: α of exact codes; "auto" leaves as many latents active as the encoder does, mean
            over (some of) the training samples.
        verbose: progress on standard error.
        settings: keys of the recipe that no parameter has, as in `SparseAutoencoder`.

    Attributes:
        components_: the dictionary, [n_latents, n_prepared] (decoder rows, prepared units).
        encoder_, bias_, offset_: the other weights; threshold_ for `batchwise`.
        model_, preprocess_: the `simplecell.Autoencoder` and its fitted preparation.
        alpha_: α, of exact codes.
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

    instead = "k"

    _: KW_ONLY
    k: float | None = None
    batchwise: bool = False
    signed: bool = False

    @property
    def _kind(self) -> str:
        """The activation, which is the recipe's name as well."""
        return "abstopk" if self.signed else "batchtopk" if self.batchwise else "topk"

    def _basis(self) -> Recipe:
        return Recipe.load(self._kind)

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        if self.signed and self.batchwise:
            raise UsageError(
                "signed=True keeps the k latents of each sample that are largest in size, and "
                "batchwise=True k a sample on average; give one of the two"
            )
        said["model.activation"] = self._kind  # which either of both says
        if self.k is not None and not self.batchwise:
            whole("k", self.k)


@dataclass(eq=False, repr=False)
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

    named, instead = "matryoshka", "k"

    _: KW_ONLY
    widths: Sequence[int] | str = "auto"
    k: float | None = None

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        widths = said["objective.nested.widths"]
        if said["model.n_latents"] == "auto" and isinstance(widths, list) and widths:
            said["model.n_latents"] = widths[-1]


@dataclass(eq=False, repr=False)
class WeighedTransformer(ModernTransformer):
    """What an L1 term keeps sparse, by a weight that moves, or by one that is fixed."""

    instead = "l1_weight"

    _: KW_ONLY
    l1_weight: float | None = None

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        if self.l1_weight is not None:
            said["model.target_l0"] = 0.0

    @classmethod
    def _adjust_back(cls, found: dict[str, Any], recipe: Recipe, n_samples: int) -> None:
        if recipe.model.target_l0:
            found.pop("l1_weight", None)


@dataclass(eq=False, repr=False)
class L1SparseAutoencoder(WeighedTransformer):
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

    _: KW_ONLY
    form: str = "scaled"


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


class GatedSparseAutoencoder(WeighedTransformer):
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
