"""A model in use, batch after batch: no array of `[B, M]` is made anew for each."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.model.autoencoder import Layer, Model, Output
from simplecell.model.codes import Codes

_NUMBERS = 2**22
"""Of a batch, where that is enough samples: what a processor's caches still help with."""
_SAMPLES, _MOST_SAMPLES = 1024, 8192
"""Below the former the product of samples and encoder loses up to a third of its speed."""
_MOST_NUMBERS = 2**24


class Passes:
    """What one model makes of samples; `pre` and the code are good until the next call.

    Wide codes cost a new array of `[B, M]` a batch otherwise, and the system as long to hand it
    out, page by page, as a tenth of the product that fills it.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._buffer: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Samples to take at a time, *count*."""
        widest = max(self.model.n_inputs, self.model.n_latents)
        enough = min(_SAMPLES, _MOST_NUMBERS // widest)
        return max(1, min(max(_NUMBERS // widest, enough), _MOST_SAMPLES))

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Codes]:
        """(pre, code) of x [B, D], as the model's own `encode` in use."""
        model = self.model
        if not isinstance(model, Layer):
            return model.encode(x)
        model.check_width(x)
        x = model.centered(x)
        if self._buffer is None or len(self._buffer) < len(x):
            self._buffer = x.new_empty(len(x), len(model.encoder))
        pre = model.projected(x, self._buffer[: len(x)])
        return pre, model.activation(pre)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Output:
        """As the model's own `forward` in use."""
        pre, code = self.encode(x)
        raw = self.model.decode_raw(code)
        return Output(pre, code, self.model.finish(raw), raw)
