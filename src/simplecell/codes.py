"""What an activation gives: the code of a batch of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codes:
    """The code of B samples over M latents.

    Terms, measures and decoders use only the methods below, so that a sparse
    layout can stand beside the dense one without anything else knowing.
    """

    dense: Tensor
    """[B, M]."""

    def mean(self) -> Tensor:
        """Mean code of each latent over the samples, [M]."""
        return self.dense.mean(0)

    def l0(self) -> Tensor:
        """Active (non-zero) latents of each sample, *count*, [B].

        A sigmoid code is never zero: this is of use for codes with exact zeros only.
        """
        return torch.count_nonzero(self.dense, dim=1)

    def abs_sum(self) -> Tensor:
        """Sum of |code| of each sample, [B]."""
        return self.dense.abs().sum(1)

    def decode(self, dictionary: Tensor) -> Tensor:
        """`code @ dictionary`, [B, D_out], for a dictionary [M, D_out]."""
        return self.dense @ dictionary

    def prefix(self, width: int) -> Codes:
        """The code of the first `width` latents."""
        return Codes(self.dense[:, :width])
