"""Latents that stand for nothing of their own, and where they begin anew.

Alternation leaves a latent where it is: one that stands for a single sample rebuilds that sample
better than any other atom would, and is never asked for anything else; of two that are alike each
takes half. What many samples have left over is a better place.
Source: Aharon, Elad & Bruckstein 2006, of replacing atoms that are not used or alike; the power
method on the fourth moment by which independent sources are found (Hyvärinen 1999, its cubic
contrast) of what takes their place.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 0.3
"""What a latent must do by itself, as a share of what the median of all does."""
_OWN, _SHARED = 2.0, 4.0
"""Samples that a latent stands for: below the first it is renewed, from the second on a direction
is worth a latent."""
_ALIKE = 0.5
"""Cosine from which on two directions are too alike to begin at both."""
_TRIED, _POWERS = 20, 8
"""Rows looked at for each direction that is wanted, and steps towards what they share."""


def samples_of(energy: Tensor, fourth: Tensor) -> Tensor:
    """`(Σ s²)² / Σ s⁴` of each latent: the number of samples that its activity is spread over.

    >>> s = torch.tensor([[3.0, 1.0], [0.0, 1.0]])
    >>> samples_of(s.square().sum(0), (s**4).sum(0)).tolist()
    [1.0, 2.0]
    """
    return energy.square() / fourth.clamp_min(torch.finfo(fourth.dtype).tiny)


def spent(atoms: Tensor, energy: Tensor, fourth: Tensor, *, one_sided: bool) -> Tensor:
    """Which latents stand for nothing of their own, [M]: in effect active for one sample alone, or
    with little energy that the atom of a stronger one would not take over: `Σ s² (1 − cos²)`.

    Args:
        atoms: of unit length, [M, D].
        energy, fourth: `Σ s²` and `Σ s⁴` over samples, [M].
        one_sided: codes are of one sign, so that opposite atoms are two.
    """
    cosines = atoms @ atoms.T
    cosines = (cosines.clamp_min(0) if one_sided else cosines).fill_diagonal_(0)
    weaker = energy[:, None] < energy[None, :]
    weaker |= (energy[:, None] == energy[None, :]) & torch.ones_like(weaker).triu(1)
    own = energy * (1 - (cosines * weaker).square().amax(1))
    return (own <= _LEAST * own.median()) | (samples_of(energy, fourth) < _OWN)


def shared_directions(rest: Tensor, wanted: int, *, one_sided: bool) -> Tensor:
    """Unit directions that several rows of rest [B, D] share, no two alike, [wanted or fewer, D].

    From the largest rows, `v ← Σ_i (r_i · v)³ r_i`: what one row has alone loses at each step to
    what many have. Those that rows lean to most, by the fourth power, come first.
    """
    tiny = torch.finfo(rest.dtype).tiny
    sizes = rest.norm(dim=1)
    rows = sizes.argsort(descending=True, stable=True)[: _TRIED * wanted]
    rows = rows[sizes[rows] > 0]
    if not len(rows):
        return rest[:0]
    found = rest[rows] / sizes[rows, None]
    # Rows longer than half of these count as one of them: a single huge row would draw all to it.
    usual = sizes[rows].median()
    rest = rest / torch.maximum(sizes, usual)[:, None]
    for _ in range(_POWERS):
        found = _leaning(found, rest, one_sided) ** 3 @ rest
        found /= found.norm(dim=1, keepdim=True).clamp_min(tiny)
    squares = _leaning(found, rest, one_sided).square()
    fourth = squares.square().sum(1)
    shared = samples_of(squares.sum(1), fourth) >= _SHARED
    best = fourth.argsort(descending=True, stable=True)
    return _apart(found[best[shared[best]]], wanted, one_sided)


def _leaning(directions: Tensor, rest: Tensor, one_sided: bool) -> Tensor:
    """How far each row goes each way, [directions, B]."""
    along = directions @ rest.T
    return along.clamp_min_(0) if one_sided else along


def _apart(directions: Tensor, wanted: int, one_sided: bool) -> Tensor:
    """The first of directions [n, D] that are like none before them, [wanted or fewer, D]."""
    cosines = directions @ directions.T
    near = (cosines if one_sided else cosines.abs()) > _ALIKE
    taken: list[int] = []
    for place in range(len(directions)):
        if len(taken) == wanted:
            break
        if not bool(near[place, taken].any()):
            taken.append(place)
    return directions[taken]
