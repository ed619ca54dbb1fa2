"""How weights begin, lie in one flat vector, and are drawn anew where a latent is dead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from simplecell.distributed import ALONE, Alone
from simplecell.errors import choice
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.training.adam import Adam

STARTS = ("uniform", "transpose")


ROWS = 4096
"""Rows that are drawn at once, a multiple of 16: torch draws normal numbers by so many, and blocks
of them are then the same numbers as all rows in one."""


@torch.no_grad()
def initialise(
    model: Model, seed: int, start: str = "uniform", length: float = 1.0, ranks: Alone = ALONE
) -> None:
    """Starting weights; a pure function of the seed.

    "uniform": every entry uniform in ±√(6/(n_in + n_out + 1)). Source: UFLDL, exercise Sparse
    autoencoder (`initializeParameters`). Exact. "transpose": atoms in random directions, `length`
    long, and the encoder their copy. Source: Gao et al. 2024, section 2.4. Exact.
    Biases are 0. Every layer in turn, from the input to the code; drawn in float64 on the CPU, so
    that precision and device change no draw. Where latents are dealt to `ranks`, all of them are
    drawn, and one's own kept.

    Raises:
        UsageError: for an unknown start.
    """
    choice("start", start, STARTS)
    generator = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        if not layer.activation.owns_bias:
            layer.bias.zero_()
        if isinstance(layer, Autoencoder):
            layer.offset.zero_()
        if start == "transpose" and isinstance(layer, Autoencoder):
            _transpose(layer, generator, length, ranks)
            continue
        n_latents = layer.n_latents * layer.holders
        radius = math.sqrt(6 / (layer.n_inputs + n_latents + 1))
        for matrix in layer.matrices():
            for shape, rows in _blocks(matrix, layer.holders, ranks):
                draw = torch.rand(shape, generator=generator, dtype=torch.float64)
                rows.put((2 * draw - 1) * radius)


def _transpose(layer: Autoencoder, generator: torch.Generator, length: float, ranks: Alone) -> None:
    same = layer.decoder.shape == layer.encoder.shape
    for matrix in (layer.encoder,) if same else (layer.encoder, layer.decoder):
        for shape, rows in _blocks(matrix, layer.holders, ranks):
            draw = torch.randn(shape, generator=generator, dtype=torch.float64)
            rows.put(draw * (length / draw.norm(dim=1, keepdim=True)))
    if same:
        layer.decoder.copy_(layer.encoder)


class _Block(NamedTuple):
    """Some of the rows that are drawn; in `matrix` those of them that are one's own."""

    matrix: Tensor
    first: int

    def put(self, rows: Tensor) -> None:
        """Take one's own of the rows."""
        self.matrix.copy_(rows[self.first : self.first + len(self.matrix)])


def _blocks(matrix: Tensor, holders: int, ranks: Alone) -> Iterator[tuple[tuple[int, int], _Block]]:
    """The shape of each block of rows that are drawn for a matrix, and where they go."""
    n_rows = len(matrix) * holders
    mine = len(matrix) * ranks.rank if holders > 1 else 0
    start = 0
    for end in (*range(ROWS, n_rows - ROWS + 1, ROWS), n_rows):
        first = min(max(start, mine), end)
        own = matrix[max(0, start - mine) : max(0, end - mine)]
        yield (end - start, matrix.shape[1]), _Block(own, first - start)
        start = end


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


ENCODER_LENGTH = 0.2
"""Of a new latent, as a multiple of the mean length of those alive."""


@torch.no_grad()
def draw_anew(
    model: Autoencoder,
    adam: Adam,
    dead: Tensor,
    x: Tensor,
    generator: torch.Generator,
    ranks: Alone = ALONE,
) -> None:
    """Give each dead latent the direction of a sample of x [B, D], drawn by squared error.

    The atom becomes `(x − center)/‖x − center‖` times the mean length of living atoms, the encoder
    row the same direction times 0.2 of the mean length of living rows, the biases 0; Adam's moments
    of all of these become 0. `dead` is bool [M]. Of a batch that processes share x is one's own
    part, and all draw alike.
    Source: Bricken et al. 2023, appendix "Neuron resampling". Differs: drawn from one batch, the
    center is taken off, as the encoder does, and atoms need not have length 1.
    """
    chosen = dead.nonzero()[:, 0]
    if not len(chosen) or model.tied or model.decoder.shape != model.encoder.shape:
        return
    errors = ranks.gathered((model(x).recon - x).square().sum(1))
    x = ranks.gathered(x)
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
