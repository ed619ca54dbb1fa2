"""The autoencoder: one hidden layer, rows of both matrices belong to latents."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from simplecell.activations import OUTPUTS, activation
from simplecell.codes import Codes
from simplecell.errors import DataError, UsageError, unknown


class Output(NamedTuple):
    """What a forward pass gives: before the activation [B, M], the code, the reconstruction."""

    pre: Tensor
    code: Codes
    recon: Tensor


class Autoencoder(nn.Module):
    """One hidden layer; rows of both matrices belong to latents.

    `code = activation((x − center) @ encoder.T + bias)`,
    `recon = output(code @ decoder + offset)`.

    Args:
        n_inputs: D, inputs per sample.
        n_latents: M.
        activation: a name of `ACTIVATIONS`.
        output: "sigmoid", "tanh" or "linear".
        tied: one matrix for both directions, `decoder = encoder`.
        pre_bias: subtract `offset` before the encoder (`center` *is* `offset`); off in the
            classic rows, where center is 0: one vector for both costs edge detectors.
        dtype: torch.float32 or torch.float64.

    Weights are zero until `optim.initialise`. Source: UFLDL, Autoencoders and sparsity. Exact.

    Raises:
        UsageError: unknown names, or sizes that are not positive.
    """

    def __init__(
        self,
        n_inputs: int,
        n_latents: int,
        *,
        activation: str = "sigmoid",
        output: str = "sigmoid",
        tied: bool = False,
        pre_bias: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise unknown("output", output, OUTPUTS)
        if n_inputs < 1 or n_latents < 1:
            raise UsageError(
                f"an autoencoder needs at least one input and one latent; "
                f"got n_inputs={n_inputs}, n_latents={n_latents}"
            )
        self.activation = _activation(activation)
        self.output, self.tied, self.pre_bias = output, tied, pre_bias
        self.encoder = nn.Parameter(torch.zeros(n_latents, n_inputs, dtype=dtype))
        if not tied:
            self._decoder = nn.Parameter(torch.zeros(n_latents, n_inputs, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(n_latents, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(n_inputs, dtype=dtype))

    @property
    def decoder(self) -> nn.Parameter:
        """The dictionary [M, D]; the encoder itself when tied."""
        return self.encoder if self.tied else self._decoder

    @property
    def center(self) -> Tensor:
        """What is subtracted before the encoder, [D]."""
        return self.offset if self.pre_bias else torch.zeros_like(self.offset)

    @property
    def n_inputs(self) -> int:
        """D."""
        return self.encoder.shape[1]

    @property
    def n_latents(self) -> int:
        """M."""
        return self.encoder.shape[0]

    def encode(self, x: Tensor, *, training: bool = False) -> tuple[Tensor, Codes]:
        """(pre, code) of x [B, D].

        Raises:
            DataError: if x has another width.
        """
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise DataError(
                f"x has {x.shape[-1]} inputs per sample, but this model was built for "
                f"{self.n_inputs}; x.shape is {tuple(x.shape)}"
            )
        centred = x - self.offset if self.pre_bias else x
        pre = centred @ self.encoder.T + self.bias
        return pre, self.activation(pre, training=training)

    def decode(self, code: Codes) -> Tensor:
        """The reconstruction [B, D] of a code."""
        return OUTPUTS[self.output](code.decode(self.decoder) + self.offset)

    def forward(self, x: Tensor, *, training: bool = False) -> Output:
        """(pre, code, recon) of x [B, D]; changes nothing."""
        pre, code = self.encode(x, training=training)
        return Output(pre, code, self.decode(code))

    def tensors(self) -> dict[str, Tensor]:
        """The weights by the names they have on disk; a tied decoder is left out."""
        kept: dict[str, Tensor] = {
            "encoder": self.encoder,
            "bias": self.bias,
            "offset": self.offset,
        }
        if not self.tied:
            kept["decoder"] = self.decoder
        kept["center"] = self.center
        return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over weights that `tensors` gave.

        Raises:
            DataError: if one is missing or has another shape.
        """
        for name, mine in self.tensors().items():
            theirs = tensors.get(name)
            if theirs is None or theirs.shape != mine.shape:
                found = "missing" if theirs is None else f"of shape {tuple(theirs.shape)}"
                raise DataError(f"weights: '{name}' is {found}; needed {tuple(mine.shape)}")
            if name != "center":
                getattr(self, name).copy_(theirs)


_activation = activation
