"""Codes of so many latents, found one after another: orthogonal matching pursuit, in batches."""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 1e-10
"""On the squares of atoms of length 1, so that two equal ones can be told apart from an error."""
_AT_ONCE = 2**22
"""Numbers of the atoms that a batch has chosen."""


@torch.no_grad()
def pursued(x: Tensor, atoms: Tensor, k: int, *, positive: bool) -> Tensor:
    """The code of at most k latents of each sample, [B, M], on atoms of length 1 (or 0).

    x [B, D], atoms [M, D]. The latent whose atom correlates most with what is left comes next, by
    size unless codes are `positive`; all of them are then found anew by least squares. A sample
    that no atom points to any more is done.

    Source: Pati, Rezaiifar & Krishnaprasad 1993. Exact; `positive` is the choice of Bruckstein,
    Elad & Zibulevsky 2008, which leaves it to the caller to refit what came out below 0.
    """
    rows = max(1, _AT_ONCE // (k * x.shape[1]))
    return torch.cat([_pursued(part, atoms, k, positive) for part in x.split(rows)])


def _pursued(x: Tensor, atoms: Tensor, k: int, positive: bool) -> Tensor:
    chosen = torch.empty(len(x), 0, dtype=torch.int64, device=x.device)
    taken, values, rest = x.new_empty(len(x), 0), x.new_empty(len(x), 0), x
    for _ in range(min(k, *atoms.shape)):
        pull = rest @ atoms.T
        pull = (pull if positive else pull.abs()).scatter_(1, chosen, 0)
        most, latent = pull.max(dim=1, keepdim=True)
        chosen = torch.cat([chosen, latent], dim=1)
        taken = torch.cat([taken, (most > 0).to(x)], dim=1)
        mine = atoms[chosen] * taken[:, :, None]
        values = _least_squares(mine, x)
        rest = x - (values[:, None] @ mine)[:, 0]
    return x.new_zeros(len(x), len(atoms)).scatter_add_(1, chosen, values * taken)


def _least_squares(atoms: Tensor, x: Tensor) -> Tensor:
    """The weights [B, k] of each sample's own atoms [B, k, D]."""
    gram = atoms @ atoms.mT
    gram.diagonal(dim1=1, dim2=2).add_(_RIDGE if x.dtype == torch.float64 else 1e-6)
    pull = atoms @ x[:, :, None]
    return torch.cholesky_solve(pull, torch.linalg.cholesky(gram))[:, :, 0]
