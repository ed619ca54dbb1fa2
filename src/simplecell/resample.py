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

    The atom becomes `(x − center)/‖x − center‖`, the encoder row the same times 0.2 of the mean
    length of living rows, the bias 0; Adam's moments of all of these become 0. `dead` is bool [M].
    Source: Bricken et al. 2023, appendix "Neuron resampling". Differs: drawn from one batch, and
    the center is taken off, as the encoder does.
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
    changed = [model.decoder, model.encoder]
    if not model.activation.owns_bias:
        model.bias[chosen] = 0
        changed.append(model.bias)
    for parameter in changed:
        adam.forget(parameter, chosen)
