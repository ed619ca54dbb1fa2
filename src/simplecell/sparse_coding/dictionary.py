"""The objective, its gradients, and the dictionary step."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.errors import DivergedError, UsageError
from simplecell.measures import squared_error, squared_weights
from simplecell.sparse_coding.penalties import Penalty, Smooth
from simplecell.sparse_coding.settings import whole


def objective(
    x: Tensor, codes: Tensor, dictionary: Tensor, penalty: Penalty, gamma: float = 0.0
) -> Tensor:
    """J, see the top of this module."""
    fit = squared_error(codes @ dictionary, x) / 2
    return fit + penalty.value(codes).mean() + gamma / 2 * squared_weights(dictionary)


def code_gradient(x: Tensor, codes: Tensor, dictionary: Tensor, penalty: Smooth) -> Tensor:
    """∂J/∂s, [B, M]: `((s A − x) Aᵀ + α s ∘ Vᵀ (V s² + ε)^−½) / B`."""
    return ((codes @ dictionary - x) @ dictionary.T + penalty.gradient(codes)) / len(x)


def dictionary_gradient(x: Tensor, codes: Tensor, dictionary: Tensor, gamma: float) -> Tensor:
    """∂J/∂A, [M, D]: `sᵀ (s A − x) / B + γ A`."""
    return codes.T @ (codes @ dictionary - x) / len(x) + gamma * dictionary


def solve_dictionary(x: Tensor, codes: Tensor, gamma: float) -> Tensor:
    """The dictionary that minimises J for these codes: `A = (sᵀ s + γ B I)⁻¹ sᵀ x`, [M, D].

    By Cholesky in float64 with one refinement; the result has the precision of x.
    Source: UFLDL, Sparse coding. Exact.

    Raises: UsageError for γ = 0 and codes that leave the dictionary undetermined.
    """
    s, target = codes.double(), x.double()
    gram, pull = s.T @ s / len(x), s.T @ target / len(x)
    gram.diagonal().add_(gamma)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        if not torch.isfinite(gram).all():
            raise DivergedError("the codes left the finite numbers; scale the data (preprocess)")
        raise UsageError(f"gamma is {gamma}, and some latents are never used: take gamma above 0")
    solution = torch.cholesky_solve(pull, factor)
    solution += torch.cholesky_solve(pull - gram @ solution, factor)
    return solution.to(x.dtype)


def improve_atoms(gram: Tensor, pull: Tensor, dictionary: Tensor, sweeps: int = 1) -> Tensor:
    """Lower `½⟨A, gram A⟩ − ⟨A, pull⟩` over atoms in the unit ball, one atom at a time, [M, D].

    With gram `sᵀs` [M, M] and pull `sᵀx` [M, D] that is the residual; each atom's own minimum is
    exact. Latents without activity keep their atoms. Source: Mairal et al. 2009, algorithm 2.
    Exact.
    """
    atoms = dictionary.clone()
    active = (gram.diagonal() > 1e-12 * gram.diagonal().amax()).nonzero()[:, 0].tolist()
    for _ in range(sweeps):
        for j in active:
            atom = atoms[j] + (pull[j] - gram[j] @ atoms) / gram[j, j]
            atoms[j] = atom / atom.norm().clamp_min(1.0)
    return atoms


def random_dictionary(n_latents: int, n_inputs: int, seed: int) -> Tensor:
    """Atoms [M, D] of unit length and random direction, float64: a pure function of the seed."""
    whole("n_latents", n_latents)
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(n_latents, n_inputs, generator=generator, dtype=torch.float64)
    return atoms / atoms.norm(dim=1, keepdim=True)
