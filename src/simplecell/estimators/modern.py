"""Today's sparse autoencoders as scikit-learn transformers: those that keep k latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simplecell.estimators.fitting import plain_sizes
from simplecell.estimators.modern_coat import ModernCoat, one_of, positive
from simplecell.sparse_coding.settings import switch, whole


class TopKSparseAutoencoder(ModernCoat):
    """A sparse autoencoder that keeps the k largest latents of each sample.

    Source: Gao et al. 2024 (TopK, AuxK for dead latents); Bussmann et al. 2024 (`batchwise`).
    Exact, save what `simplecell.activations` says. Recipes `topk` and `batchtopk`.

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


class MatryoshkaSparseAutoencoder(ModernCoat):
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
