"""Today's sparse autoencoders as scikit-learn transformers: those that are steered to an l0."""

from __future__ import annotations

from typing import Any

from simplecell.errors import unknown
from simplecell.estimators.modern_coat import ModernCoat, one_of
from simplecell.sparse_coding.settings import real

FORMS = {"scaled": False, "unit_norm": True}


class L1SparseAutoencoder(ModernCoat):
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


class JumpReLUSparseAutoencoder(ModernCoat):
    """A sparse autoencoder whose latents are active above thresholds of their own, learned.

    Source: Rajamanoharan et al. 2024b. Differs: see `simplecell.activations`. Recipe `jumprelu`.

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


class GatedSparseAutoencoder(ModernCoat):
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
