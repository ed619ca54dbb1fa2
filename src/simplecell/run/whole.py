"""A trained model as one torch module: tensors in the user's units in, codes out, and back."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from simplecell.errors import DataError
from simplecell.model.codes import Codes

if TYPE_CHECKING:
    from simplecell.run.trained import Trained


class WholeModel(nn.Module):
    """Preparation and autoencoder as one: `codes = encode(x)`, `recon = decode(codes)`.

    Tensors of any leading shape and any floating-point precision, on the device of the module;
    what comes back has the precision of what went in, and gradients flow through. It computes in
    the module's own precision (`.double()`, `.bfloat16()` change it), and prepares samples and
    gives units back in the finer of both, at least float32. The weights are copies, which ask for
    no gradient until `requires_grad_()` says so: of x without one, codes have no history.

    Args:
        trained: what a run or a fitted estimator holds.
        dtype: to compute in.

    Raises:
        DataError: by each method, for a tensor of another width, type or device.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> model = TopKSparseAutoencoder(32, k=4, max_samples=5000, random_state=0).fit(X).model
    >>> model.encode(torch.zeros(2, 5, 64, dtype=torch.bfloat16)).shape
    torch.Size([2, 5, 32])
    """

    def __init__(self, trained: Trained, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.autoencoder = copy.deepcopy(trained.model).to(dtype).requires_grad_(False)
        self.preprocess = trained.preprocess
        self.recon_preprocess = trained.recon_preprocess

    @property
    def n_inputs(self) -> int:
        """D, numbers of a sample."""
        return self.preprocess.n_inputs

    @property
    def n_latents(self) -> int:
        """M."""
        return self.autoencoder.n_latents

    @property
    def n_outputs(self) -> int:
        """Numbers of a reconstruction: D, or those of a transcoder's targets."""
        return self.recon_preprocess.n_inputs

    @property
    def dtype(self) -> torch.dtype:
        """The precision that it computes in."""
        return self.autoencoder.like.dtype

    def encode(self, x: Tensor) -> Tensor:
        """Codes [..., M] of samples [..., D], dense."""
        rows = self._rows(x, self.n_inputs, "samples", "inputs")
        prepared = self.preprocess.apply(rows).x.to(self.dtype).contiguous()
        codes = self.autoencoder.encode(prepared)[1].dense
        return codes.to(x.dtype).reshape(*x.shape[:-1], self.n_latents)

    def decode(self, codes: Tensor) -> Tensor:
        """Samples [..., D] of codes [..., M]; a transcoder's are in the units of its targets.

        What a sample carried itself (its own mean, of `remove_dc`) is 0: codes do not hold it.
        """
        rows = self._rows(codes, self.n_latents, "codes", "latents")
        recon = self.autoencoder.decode(Codes(rows.to(self.dtype))).to(rows.dtype)
        samples = self.recon_preprocess.invert(recon).to(codes.dtype)
        return samples.reshape(*codes.shape[:-1], self.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`decode(encode(x))`, [..., D]."""
        return self.decode(self.encode(x))

    def atoms(self) -> Tensor:
        """What a code of 1 of each latent alone adds to a sample, in its units, [M, D].

        Before the output function: exact where that is linear.
        """
        atoms = self.autoencoder.atoms()
        return self.recon_preprocess.atoms(atoms.to(self._fine(atoms.dtype))).to(self.dtype)

    def _fine(self, dtype: torch.dtype) -> torch.dtype:
        """Cast first, a column at 1.7e9 ± 1 would be rounded before its mean is gone."""
        return torch.promote_types(torch.promote_types(dtype, self.dtype), torch.float32)

    def _rows(self, x: Tensor, width: int, what: str, of: str) -> Tensor:
        """[..., width] as rows [B, width], in the precision of the preparation."""
        if not isinstance(x, Tensor):
            raise DataError(
                f"the {what} are a {type(x).__name__}; a torch tensor is needed, as "
                "torch.as_tensor gives (an estimator's transform takes arrays)"
            )
        if x.ndim < 1 or x.shape[-1] != width or not x.is_floating_point():
            raise DataError(
                f"the {what} are a tensor of shape {tuple(x.shape)} and {x.dtype}, but this model "
                f"has {width} {of}: floating-point numbers of shape (…, {width}) are needed"
            )
        place = self.autoencoder.like.device
        if x.device != place:
            raise DataError(
                f"the {what} are on {x.device} and this model is on {place}; move one of them "
                "with .to()"
            )
        return x.reshape(-1, width).to(self._fine(x.dtype))
