"""Sparse, compressing, denoising and variational autoencoders as scikit-learn transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from simplecell.errors import whole
from simplecell.estimators.contract import Array
from simplecell.estimators.fitting import ClassicTransformer
from simplecell.estimators.parameters import Randomness, Sizes, plain
from simplecell.run.recipe import Recipe


@dataclass(eq=False, repr=False)
class SolvedTransformer(ClassicTransformer):
    """What L-BFGS minimises, unless the solver is "adam"."""

    _: KW_ONLY
    weight_decay: float = 1e-4
    output: str = "sigmoid"
    tied: bool = False
    solver: str = "lbfgs"
    tol: float = 1e-9


@dataclass(eq=False, repr=False)
class SparseAutoencoder(SolvedTransformer):
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
        random_state: an integer is the seed, as `train.seed` of a recipe; None or a RandomState
            draws one.
        device: "auto", "cpu", "cuda", …
        verbose: progress on standard error.
        settings: keys of the recipe that no parameter has, in the words of the command line's
            `--set`, such as {"optim.resample": 2, "objective.auxk.weight": 0.0}; they override
            what the parameters say. A table without a key, such as "objective", is all of it.

    Attributes:
        components_: the dictionary, [n_latents, n_prepared] (decoder rows, prepared units).
        encoder_, bias_, offset_: the other weights.
        model_, preprocess_: the `simplecell.Autoencoder` and its fitted preparation.
        mean_activation_: [n_latents], bounded codes mapped to [0, 1].
        fvu_: fraction of variance unexplained on the training samples.
        cost_curve_: the cost at each iteration.
        n_iter_: iterations (passes, for "adam") done.
        notes_: sentences on what was chosen and found.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> sae = SparseAutoencoder(n_latents=100, target=0.1, max_iter=50, random_state=0)
    >>> sae.fit_transform(X).shape
    (1797, 100)
    """

    _: KW_ONLY
    target: float = 0.01
    sparsity_weight: float = 3.0

    def _terms(self) -> dict[str, dict[str, float]]:
        return {"reconstruction": {"weight": 0.5}, "kl": {}, "decay": {}}


@dataclass(eq=False, repr=False)
class CompressionAutoencoder(SolvedTransformer):
    """An autoencoder that compresses: fewer latents than inputs, no sparsity.

    `J = ½ mean ‖recon − x‖² + (λ/2) Σ w²`. With activation="identity" and output="linear" its
    optimum spans PCA's subspace. Parameters and attributes are those of `SparseAutoencoder`.
    Source: UFLDL, Autoencoders and sparsity; Baldi & Hornik 1989. Exact.

    >>> import numpy as np
    >>> X = np.eye(4)
    >>> CompressionAutoencoder(n_latents=2, random_state=0).fit(X).transform(X).shape
    (4, 2)
    """

    n_latents: Sizes = 2
    _: KW_ONLY
    weight_decay: float = 1e-5


@dataclass(eq=False, repr=False)
class DenoisingAutoencoder(ClassicTransformer):
    """An autoencoder that restores clean samples from damaged ones.

    `J = ½ mean ‖recon(x̃) − x‖² + (λ/2) Σ w²`, x̃ a fresh damaged copy of x at every step.
    Source: Vincent et al. 2008. Exact, save that the loss is squared error.

    Args:
        n_latents: M, or a sequence for a deep network.
        corruption: "mask" (an input becomes 0 with probability `corruption_level`) or "gaussian"
            (noise of that standard deviation), on prepared samples.
        weight_decay: λ.
        activation, output, preprocess: as in `SparseAutoencoder`.
        max_iter: passes over the data. batch_size, learning_rate: of Adam.
        dtype, random_state, device, verbose, settings, early_stopping …: as in `SparseAutoencoder`.

    Attributes are those of `SparseAutoencoder`; `transform` encodes samples as they are.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> ae = DenoisingAutoencoder(n_latents=30, max_iter=5, random_state=0).fit(X)
    >>> ae.inverse_transform(ae.transform(X)).shape
    (1797, 64)
    """

    n_latents: Sizes = 100
    _: KW_ONLY
    corruption: str = "mask"
    corruption_level: float = 0.3
    weight_decay: float = 0.0
    output: str = "sigmoid"
    max_iter: int = 100
    batch_size: int = 100


@dataclass(eq=False, repr=False)
class VariationalAutoencoder(ClassicTransformer):
    """A deep autoencoder whose code is a Gaussian drawn near N(0, I): it can make new samples.

    `J = −E log p(x | code) + β KL(q(code | x) ‖ N(0, I))`, the negative ELBO for β = 1.
    Source: Kingma & Welling 2013. Exact (one draw a sample).

    Args:
        n_latents: M of the code.
        hidden: latents of the layers between, from the input inwards; () for none.
        likelihood: "bernoulli" (sigmoid output, cross-entropy; "auto" preparation brings other
            data into [0.1, 0.9]) or "gaussian" (linear output, variance 1).
        beta: weight of the KL term.
        activation: of the layers between.
        preprocess: as in `SparseAutoencoder`.
        center: subtract the mean of the data before the encoder.
        max_iter: passes over the data. batch_size, learning_rate: of Adam; the rate falls over
            the last fifth.
        dtype, random_state, device, verbose, settings, early_stopping …: as in `SparseAutoencoder`.

    `transform` gives the mean of each sample's code.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> vae = VariationalAutoencoder(n_latents=2, max_iter=5, random_state=0).fit(X)
    >>> vae.sample(3).shape
    (3, 64)
    """

    n_latents: Sizes = 2
    _: KW_ONLY
    hidden: int | Sequence[int] = (200,)
    likelihood: str = "bernoulli"
    beta: float = 1.0
    activation: str = "tanh"
    center: bool = True
    max_iter: int = 50
    batch_size: int = 100

    schedule = "linear"

    def sample(self, n_samples: int = 1, *, random_state: Randomness = None) -> Array:
        """New samples [n_samples, n_features]: decodings of codes drawn from N(0, I).

        They are means of p(x | code), in the units of the data.
        """
        check_is_fitted(self)
        whole("n_samples", n_samples)
        shape = (n_samples, self._trained.model.n_latents)
        return self.inverse_transform(check_random_state(random_state).standard_normal(shape))

    def _terms(self) -> dict[str, dict[str, float]]:
        if self.likelihood == "bernoulli":
            return {"cross_entropy": {"weight": 1.0}, "gaussian_kl": {}}
        return {"reconstruction": {"weight": 0.5}, "gaussian_kl": {}}

    def _adjust(self, said: dict[str, object], n_samples: int) -> None:
        super()._adjust(said, n_samples)
        hidden = [plain(size) for size in np.atleast_1d(np.asarray(self.hidden, dtype=object))]
        said["model.n_latents"] = [*hidden, said["model.n_latents"]]
        said["model.activation"] = [*[self.activation] * len(hidden), "gaussian"]

    @classmethod
    def _adjust_back(cls, found: dict[str, Any], recipe: Recipe, n_samples: int) -> None:
        super()._adjust_back(found, recipe, n_samples)
        if isinstance(recipe.model.n_latents, list) and recipe.model.n_latents:
            *hidden, found["n_latents"] = recipe.model.n_latents
            found["hidden"] = tuple(hidden)
        between = {*recipe.model.activation[:-1]}
        del found["activation"]
        if isinstance(recipe.model.activation, list) and len(between) == 1:
            found["activation"] = between.pop()
