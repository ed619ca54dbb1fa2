"""Refining: the dictionary of a trained model moved by exact codes, not by its encoder's guesses.

A round is one step of alternating minimisation: exact codes of the samples, then each atom in turn
takes its best place for these codes. Gradients through an encoder cannot get there: what the
encoder misses teaches the atoms wrongly.
Source: Engan, Aase & Husøy 1999, and Mairal et al. 2009 (algorithm 2), of the dictionary step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Model
from simplecell.model.exact import SUITED, Exact, alpha_for, suited

PER_LATENT = 10
"""Samples of a round for each latent, at most."""
_LEAST, _CHOSEN_BY = 4096, 512
"""Samples of a round that are never too many; and those by which α is chosen."""
_AT_ONCE = 2**22
"""Numbers of a batch of codes."""
_SWEEPS = 2


def check_refined(model: Model, solver: str) -> None:
    """Raise UsageError unless the dictionary of a model can be refined while it trains."""
    if solver != "adam":
        raise UsageError("optim.refine is for mini-batches; use solver 'adam'")
    try:
        inner = suited(model)
    except UsageError as error:
        raise UsageError(
            f"optim.refine lets exact codes move the dictionary, and these are for {SUITED}; leave "
            "it out, or take such a recipe (topk)"
        ) from error
    if inner.tied:
        raise UsageError(
            "optim.refine moves the dictionary and leaves the encoder to follow, but a tied model "
            "has one matrix for both; use tied=False"
        )


def samples_of_round(source: Source, n_latents: int) -> Source:
    """Those that a round learns from: all, or evenly spread ones where there are very many."""
    return sampled(source, max(_LEAST, PER_LATENT * n_latents))


@torch.no_grad()
def refine(model: Model, x: Tensor) -> float:
    """One round over prepared samples x [B, D]; atoms keep their lengths. Returns its α.

    As many latents are active, mean over samples, as the encoder leaves active. Deterministic.

    Raises:
        UsageError: for a model that has no exact codes (`model.exact.suited`).
    """
    inner = suited(model)
    some = x[:: max(1, len(x) // _CHOSEN_BY)]
    alpha = alpha_for(inner, some, float(inner.encode(some)[1].l0().double().mean()))
    exact, lengths = Exact(inner, alpha), inner.decoder.norm(dim=1)
    n_latents, n_inputs = inner.decoder.shape
    gram = x.new_zeros(n_latents, n_latents, dtype=torch.float64)
    pull = x.new_zeros(n_latents, n_inputs, dtype=torch.float64)
    rest = x.new_zeros(n_inputs, dtype=torch.float64)
    for part in x.split(max(1, _AT_ONCE // n_latents)):
        code = (exact.encode(part)[1].dense * lengths).double()
        centred = (part - inner.offset).double()
        gram.addmm_(code.T, code)
        pull.addmm_(code.T, centred)
        rest += (centred - code @ (inner.decoder / lengths[:, None]).nan_to_num(0).double()).sum(0)
    unit = (inner.decoder / lengths[:, None]).nan_to_num(0).double()
    atoms = improve_atoms(gram, pull, unit, sweeps=_SWEEPS)
    atoms /= atoms.norm(dim=1, keepdim=True).clamp_min(1e-12)
    inner.decoder.copy_(atoms * lengths.double()[:, None])
    inner.offset.add_((rest / len(x)).to(x.dtype))
    return alpha


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
