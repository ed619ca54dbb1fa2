"""The hot path of the modern rows: one product of samples and encoder, the rest over entries.

    pre = (x − center) @ encoderᵀ + bias                       the one product [B, D] × [D, M]
    recon = Σ code · atom                                      over the entries of each sample
    ∂/∂code = ⟨∂/∂recon, atom⟩                                 over entries
    ∇decoder = Σ code · ∂/∂recon,  ∇encoder = Σ ∂/∂pre · x     over the entries of each latent

Terms of an objective look at an `Output` as ever, and autograd runs through them: what it finds
at entries, samples and outputs is small. Where a code has no places, or too many for this to be
worth while, the same pass is dense, without a product for what the offset does before the encoder.
The plain pass of `Autoencoder` stays as the tests' oracle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.model.autoencoder import Autoencoder, Output
from simplecell.model.codes import Codes
from simplecell.model.entries import Pass


class Sparse:
    """Forward and back through one autoencoder with sparse codes; a buffer is all that it keeps."""

    def __init__(self, model: Autoencoder) -> None:
        self.model = model
        self._buffer: Tensor | None = None

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, one: Pass | None = None
    ) -> Output:
        """As `model(x, training=True)`, x [B, D]; `pre` is overwritten by the next call.

        `one` is what `before` gave for x, if it was called already.
        """
        model = self.model
        one = self.before(x) if one is None else one
        places = model.activation.places(one.pre, training=True)
        pre: Tensor = one.pre
        code: Codes
        if places is None:
            pre = one.whole()
            code = model.activation(pre, training=True, generator=generator)
        else:
            code = model.activation.at(one.at(places), places, one.ledger)
        raw = model.decode_raw(code)
        return Output(pre, code, model.finish(raw), raw, one)

    @torch.no_grad()
    def before(self, x: Tensor) -> Pass:
        """The product, and what the way back needs; `pre` is overwritten by the next call."""
        model = self.model
        model.check_width(x)
        x = model.centered(x)
        if self._buffer is None or self._buffer.shape[0] < len(x):
            self._buffer = x.new_empty(len(x), model.n_latents)
        pre = model.projected(x, self._buffer[: len(x)])
        bias = None if model.activation.owns_bias else model.bias
        offset = model.offset if model.pre_bias else None
        return Pass(pre, x, model.encoder, model.decoder, bias, offset)

    def backward(self, loss: Tensor, output: Output, *, add: bool) -> None:
        """Fill every parameter's `.grad`, which must be there, or add to it."""
        assert output.by is not None, "this output is not from `forward`"
        matrices = self.model.matrices()
        grads = [matrix.grad for matrix in matrices]
        for matrix in matrices:
            matrix.grad = None  # autograd then hands over what it made, instead of adding it
        if not add:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()
        if loss.requires_grad:
            loss.backward()
        for matrix, grad in zip(matrices, grads, strict=True):
            assert grad is not None, "parameters need .grad buffers: see weights.flatten"
            dense, matrix.grad = matrix.grad, grad
            if dense is not None:
                grad.add_(dense) if add else grad.copy_(dense)
            output.by.ledger.settle(matrix, grad, add=add or dense is not None)
