"""Sparse, compressing, denoising and variational autoencoders as scikit-learn transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from simplecell.errors import UsageError, unknown
from simplecell.estimators.fitting import ClassicTransformer, plain_sizes


class SparseAutoencoder(ClassicTransformer):
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
        model_, preprocess_: the `simplecell.Autoencoder` and its fitted preparation.
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


class CompressionAutoencoder(ClassicTransformer):
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


def _decay(weight_decay: float) -> dict[str, float]:
    return {"weight": float(weight_decay) / 2}


LIKELIHOODS = {"bernoulli": "sigmoid", "gaussian": "linear"}


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
        dtype, random_state, device, verbose, early_stopping …: as in `SparseAutoencoder`.

    Attributes are those of `SparseAutoencoder`; `transform` encodes samples as they are.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> ae = DenoisingAutoencoder(n_latents=30, max_iter=5, random_state=0).fit(X)
    >>> ae.inverse_transform(ae.transform(X)).shape
    (1797, 64)
    """

    solver, tol, tied = "adam", 0.0, False

    def __init__(
        self,
        n_latents: Any = 100,
        *,
        corruption: str = "mask",
        corruption_level: float = 0.3,
        weight_decay: float = 0.0,
        activation: Any = "sigmoid",
        output: str = "sigmoid",
        preprocess: Any = "auto",
        max_iter: int = 100,
        batch_size: int = 100,
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
        self.corruption = corruption
        self.corruption_level = corruption_level
        self.weight_decay = weight_decay
        self.activation = activation
        self.output = output
        self.preprocess = preprocess
        self.max_iter = max_iter
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
        return {
            "reconstruction": {"weight": 0.5},
            "decay": {"weight": float(self.weight_decay) / 2},
        }

    def _noise(self) -> dict[str, Any]:
        return {"corruption": self.corruption, "corruption_level": float(self.corruption_level)}


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
        dtype, random_state, device, verbose, early_stopping …: as in `SparseAutoencoder`.

    `transform` gives the mean of each sample's code.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> vae = VariationalAutoencoder(n_latents=2, max_iter=5, random_state=0).fit(X)
    >>> vae.sample(3).shape
    (3, 64)
    """

    solver, tol, tied, schedule = "adam", 0.0, False, "linear"

    def __init__(
        self,
        n_latents: int = 2,
        *,
        hidden: Any = (200,),
        likelihood: str = "bernoulli",
        beta: float = 1.0,
        activation: str = "tanh",
        preprocess: Any = "auto",
        center: bool = True,
        max_iter: int = 50,
        batch_size: int = 100,
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
        self.hidden = hidden
        self.likelihood = likelihood
        self.beta = beta
        self.activation = activation
        self.preprocess = preprocess
        self.center = center
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.dtype = dtype
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> NDArray[np.float64]:
        """New samples [n_samples, n_features]: decodings of codes drawn from N(0, I).

        They are means of p(x | code), in the units of the data.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise UsageError(f"n_samples is {n_samples}; it must be at least 1")
        shape = (n_samples, self._trained.model.n_latents)
        return self.inverse_transform(check_random_state(random_state).standard_normal(shape))

    def _model(self) -> dict[str, Any]:
        if self.likelihood not in LIKELIHOODS:
            raise unknown("likelihood", self.likelihood, LIKELIHOODS)
        hidden = plain_sizes(list(np.atleast_1d(np.asarray(self.hidden, dtype=object))))
        return {
            "n_latents": [*hidden, plain_sizes(self.n_latents)],
            "activation": [*[self.activation] * len(hidden), "gaussian"],
            "output": LIKELIHOODS[self.likelihood],
            "center": bool(self.center),
        }

    def _terms(self) -> dict[str, dict[str, float]]:
        bernoulli = self.likelihood == "bernoulli"
        data: dict[str, dict[str, float]] = (
            {"cross_entropy": {"weight": 1.0}} if bernoulli else {"reconstruction": {"weight": 0.5}}
        )
        return {**data, "gaussian_kl": {"weight": float(self.beta)}}
