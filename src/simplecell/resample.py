"""Dead latents drawn anew, in the direction of samples that are reconstructed badly."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.model import Autoencoder
from simplecell.optim import Adam

ENCODER_LENGTH = 0.2
"""Of a new latent, as a multiple of the mean length of those alive."""


@torch.no_grad()
def resample(
    model: Autoencoder, adam: Adam, dead: Tensor, x: Tensor, generator: torch.Generator
) -> None:
    """Give each dead latent the direction of a sample of x [B, D], drawn by squared error.

    The atom becomes `(x − center)/‖x − center‖` times the mean length of living atoms, the encoder
    row the same direction times 0.2 of the mean length of living rows, the biases 0; Adam's moments
    of all of these become 0. `dead` is bool [M].
    Source: Bricken et al. 2023, appendix "Neuron resampling". Differs: drawn from one batch, the
    center is taken off, as the encoder does, and atoms need not have length 1.
    """
    chosen = dead.nonzero()[:, 0]
    if not len(chosen) or model.tied or model.decoder.shape != model.encoder.shape:
        return
    errors = (model(x).recon - x).square().sum(1)
    if not float(errors.sum()) > 0:
        return
    drawn = torch.multinomial(errors, len(chosen), replacement=True, generator=generator)
    rows = x[drawn] - model.center
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    alive = model.encoder[~dead].norm(dim=1)
    length = ENCODER_LENGTH * (alive.mean() if len(alive) else 1.0)
    model.decoder[chosen] = rows * model.decoder[~dead].norm(dim=1).mean() if len(alive) else rows
    model.encoder[chosen] = rows * length
    owns = model.activation.owns_bias
    biases = list(model.activation.parameters()) if owns else [model.bias]
    for bias in biases:
        bias[chosen] = 0
    for parameter in (model.decoder, model.encoder, *biases):
        adam.forget(parameter, chosen)
