"""How weights begin: initialisation, and one flat vector of all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from simplecell.errors import unknown
from simplecell.model import Autoencoder, Model

STARTS = ("uniform", "transpose")


@torch.no_grad()
def initialise(model: Model, seed: int, start: str = "uniform", length: float = 1.0) -> None:
    """Starting weights; a pure function of the seed.

    "uniform": every entry uniform in ±√(6/(n_in + n_out + 1)). Source: UFLDL, exercise Sparse
    autoencoder (`initializeParameters`). Exact. "transpose": atoms in random directions, `length`
    long, and the encoder their copy. Source: Gao et al. 2024, section 2.4. Exact.
    Biases are 0. Every layer in turn, from the input to the code; drawn in float64 on the CPU, so
    that precision and device change no draw.

    Raises:
        UsageError: for an unknown start.
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    generator = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        if not layer.activation.owns_bias:
            layer.bias.zero_()
        if isinstance(layer, Autoencoder):
            layer.offset.zero_()
        if start == "transpose" and isinstance(layer, Autoencoder):
            _transpose(layer, generator, length)
            continue
        radius = math.sqrt(6 / (layer.n_inputs + layer.n_latents + 1))
        for matrix in layer.matrices():
            draw = torch.rand(matrix.shape, generator=generator, dtype=torch.float64)
            matrix.copy_((2 * draw - 1) * radius)


def _transpose(layer: Autoencoder, generator: torch.Generator, length: float) -> None:
    draw = torch.randn(layer.encoder.shape, generator=generator, dtype=torch.float64)
    layer.encoder.copy_(draw * (length / draw.norm(dim=1, keepdim=True)))
    if layer.decoder.shape == layer.encoder.shape:
        layer.decoder.copy_(layer.encoder)
        return
    draw = torch.randn(layer.decoder.shape, generator=generator, dtype=torch.float64)
    layer.decoder.copy_(draw * (length / draw.norm(dim=1, keepdim=True)))


def flatten(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Lay all parameters, and their gradients, in one vector each; they become views of it."""
    parameters = list(model.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat[start:end].view_as(parameter)
        parameter.grad = grad[start:end].view_as(parameter)
        start = end
    return flat, grad
