"""The classic autoencoders as scikit-learn transformers."""

from __future__ import annotations

from typing import Any

from simplecell.estimators.fitting import AutoencoderCoat


class SparseAutoencoder(AutoencoderCoat):
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


class CompressionAutoencoder(AutoencoderCoat):
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
