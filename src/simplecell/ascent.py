"""What a latent looks for, where no formula says it: found by climbing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from simplecell.model import Model


def exciting(
    model: Model, jacobian: Tensor | None = None, *, radius: float = 1.0, steps: int = 100
) -> Tensor:
    """The input u of length ≤ `radius` that excites each latent most, [M, D]; found by ascent.

    Maximises the latent before its activation, over the ball around the model's origin, from the
    gradient there: projected steps of falling length, the best point kept. For one layer this is
    the closed form `w / ‖w‖`. Source: UFLDL, Visualizing a trained autoencoder (the problem; the
    notes give no method for deeper layers).

    Args:
        jacobian: J [D', D] of the preparation; u is then in raw units and the model sees u Jᵀ.
        radius: length of the input (input unit).
        steps: of the ascent (count).
    """
    like = model.like
    width = model.n_inputs if jacobian is None else jacobian.shape[1]
    forth = None if jacobian is None else jacobian.to(like).T

    def climb(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.detach().requires_grad_()
        with torch.enable_grad():
            pre = model.encode(u if forth is None else u @ forth)[0]
            height = pre[:, : model.n_latents].diagonal()
            slope = torch.autograd.grad(height.sum(), u)[0]
        return height.detach(), slope

    u = like.new_zeros(model.n_latents, width)
    best = u
    highest, slope = climb(u)
    for k in range(steps + 1):
        stride = radius * (1 + math.cos(math.pi * k / (steps + 1))) / 2
        u = _into_ball(u + stride * normalize(slope), radius)
        height, slope = climb(u)
        better = height > highest
        best = torch.where(better[:, None], u, best)
        highest = torch.maximum(highest, height)
    return best


def _into_ball(u: Tensor, radius: float) -> Tensor:
    return u * (radius / u.norm(dim=1, keepdim=True).clamp_min(radius))
