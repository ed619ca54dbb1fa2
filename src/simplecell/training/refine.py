"""Refining: the dictionary of a trained model moved by exact codes, not by its encoder's guesses.

A round is one step of alternating minimisation: exact codes of the samples, then each atom in turn
takes its best place for these codes. Gradients through an encoder cannot get there: what the
encoder misses teaches the atoms wrongly.
Source: Engan, Aase & Husøy 1999, and Mairal et al. 2009 (algorithm 2), of the dictionary step;
Aharon, Elad & Bruckstein 2006 of replacing atoms that are not used or alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.exact import SUITED, Exact, alpha_for, refitted, suited
from simplecell.model.pursuit import pursued

SEEDED, SETTLED = 4, 0.75
"""Latents begin anew in one round of so many, and in none after this share of them."""
PER_LATENT = 10
"""Samples of a round for each latent, at most."""
_LEAST, _CHOSEN_BY = 4096, 256
"""Samples of a round that are never too many; and those by which α is chosen."""
_AT_ONCE = 2**22
"""Numbers of a batch of codes."""
_SWEEPS = 2
_ROUGHLY, _ITERATIONS, _NEARLY = 1e-4, 200, 0.1
"""Of the lasso in a round, which another one follows: its gap, its steps, how near to l0."""
_SPARE = 1.5
"""Latents that the lasso leaves active for each that is kept."""
FIXED = ("topk", "abstopk")
"""Codes that keep k latents of each sample."""
_NEAR, _ALIKE, _TRIED = 0.9, 0.5, 20
"""Cosines from which on atoms are one, and two directions to begin at too alike; rows looked at for
each that is wanted."""
_FEW, _PURSUED = 4, 64
"""Active latents up to which a pursuit is all that is tried, since it erred least wherever it was
looked at; and up to which it is tried at all: its cost grows with their square."""


def check_refined(model: Model, solver: str) -> None:
    """Raise UsageError unless the dictionary of a model can be refined while it trains."""
    try:
        inner = suited(model)
    except UsageError as error:
        raise UsageError(
            f"optim.refine lets exact codes move the dictionary, and these are for {SUITED}; leave "
            "it out, or take such a recipe (topk)"
        ) from error
    if solver != "adam":
        raise UsageError(
            f"optim.refine is for mini-batches, but optim.kind is {solver}; set optim.kind=adam"
        )
    if inner.tied:
        raise UsageError(
            "optim.refine moves the dictionary and leaves the encoder to follow, but a tied model "
            "has one matrix for both; use tied=False"
        )


def samples_of_round(source: Source, n_latents: int) -> Source:
    """Those that a round learns from: all, or evenly spread ones where there are very many."""
    return sampled(source, max(_LEAST, PER_LATENT * n_latents))


@torch.no_grad()
def refine(model: Model, x: Tensor, *, reseed: bool = True) -> None:
    """One round over prepared samples x [B, D]; atoms keep their lengths.

    As many latents are active as the encoder leaves active, a mean over samples, or of each sample
    where codes have a k. With `reseed` a latent that is not active for any sample, or shares its
    atom with one that is more, and the weakest of the others, begin anew at what is left of samples
    that are rebuilt badly: alternation parts no latent that stands for two things. Deterministic.

    Raises:
        UsageError: for a model that has no exact codes (`model.exact.suited`).
    """
    inner = suited(model)
    encode = _encoder(inner, x[:: max(1, len(x) // _CHOSEN_BY)])
    lengths = inner.decoder.norm(dim=1)
    unit = _unit(inner)
    n_latents, n_inputs = unit.shape
    gram = x.new_zeros(n_latents, n_latents, dtype=torch.float64)
    pull = x.new_zeros(n_latents, n_inputs, dtype=torch.float64)
    left = []
    for part in x.split(max(1, _AT_ONCE // n_latents)):
        code, centred = encode(part), part - inner.offset
        gram.addmm_(code.double().T, code.double())
        pull.addmm_(code.double().T, centred.double())
        left.append(centred - code @ unit)
    rest = torch.cat(left)
    atoms = improve_atoms(gram, pull, unit.double(), sweeps=_SWEEPS)
    atoms /= atoms.norm(dim=1, keepdim=True).clamp_min(1e-12)
    if reseed:
        _begin_anew(inner, atoms, gram.diagonal(), rest)
    inner.decoder.copy_(atoms * lengths.double()[:, None])
    inner.offset.add_(rest.double().mean(0).to(x.dtype))


def _encoder(inner: Autoencoder, some: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes codes of a round on unit atoms, [B, M].

    Where k latents are kept of each sample, a pursuit finds them if they are very few; else they
    are the largest of the lasso's or those of the pursuit, whichever err less on some samples.
    """
    wanted = float(inner.encode(some)[1].l0().double().mean())
    if inner.activation.kind not in FIXED:
        return _by_lasso(inner, some, wanted, None)
    k = max(1, round(wanted))
    tried = [] if k > _PURSUED else [_by_pursuit(inner, k)]
    if k > _FEW:
        tried.append(_by_lasso(inner, some, wanted, k))
    unit = _unit(inner)

    def error(encode: Callable[[Tensor], Tensor]) -> float:
        return float((some - inner.offset - encode(some) @ unit).square().sum())

    return tried[0] if len(tried) == 1 else min(tried, key=error)


def _by_pursuit(inner: Autoencoder, k: int) -> Callable[[Tensor], Tensor]:
    unit, positive = _unit(inner), inner.activation.one_sided

    def encode(x: Tensor) -> Tensor:
        x = x - inner.offset
        code = pursued(x, unit, k, positive=positive)
        return refitted(x, unit, code) if positive else code

    return encode


def _by_lasso(
    inner: Autoencoder, some: Tensor, wanted: float, k: int | None
) -> Callable[[Tensor], Tensor]:
    """`wanted` active, mean over samples; or with k the largest of somewhat more."""
    wanted = wanted if k is None else _SPARE * wanted
    alpha = alpha_for(inner, some, wanted, near=_NEARLY, max_iter=_ITERATIONS)
    exact = Exact(inner, alpha, tolerance=_ROUGHLY, max_iter=_ITERATIONS)
    lengths, unit, positive = inner.decoder.norm(dim=1), _unit(inner), inner.activation.one_sided

    def encode(x: Tensor) -> Tensor:
        code = exact.encode(x)[1].dense * lengths
        if k is None:
            return code
        most = code.abs().topk(k, dim=1).indices
        kept = torch.zeros_like(code).scatter(1, most, code.gather(1, most))
        return refitted(x - inner.offset, unit, kept, positive=positive)

    return encode


def _unit(inner: Autoencoder) -> Tensor:
    """Atoms of length 1, [M, D]; those of length 0 stay."""
    return (inner.decoder / inner.decoder.norm(dim=1)[:, None]).nan_to_num(0)


def _begin_anew(inner: Autoencoder, atoms: Tensor, energy: Tensor, rest: Tensor) -> None:
    """Give latents that do nothing of their own the directions of what is left, [M, D] in place."""
    cosines = atoms @ atoms.T
    near = (cosines if inner.activation.one_sided else cosines.abs()).fill_diagonal_(0) > _NEAR
    weaker = energy[:, None] < energy[None, :]
    weaker |= (energy[:, None] == energy[None, :]) & near.triu(1)
    anew = (near & weaker).any(1) | (energy <= 0)
    anew[torch.where(anew, torch.inf, energy).argmin()] = True
    idle = anew.nonzero()[:, 0]
    fresh = _apart(rest, len(idle)).to(atoms)
    idle = idle[: len(fresh)]
    atoms[idle] = fresh
    encoder = inner.encoder
    encoder[idle] = fresh.to(encoder) * encoder.norm(dim=1).median()
    if not inner.activation.owns_bias:
        inner.bias[idle] = 0


def _apart(rest: Tensor, wanted: int) -> Tensor:
    """Directions of large rows of rest [B, D], no two of them alike, [wanted or fewer, D].

    Of the largest rows those first that others lean to most, by the fourth power: noise leans to
    none, and the largest row of all may be an outlier that nothing else is like.
    """
    sizes = rest.norm(dim=1)
    rows = sizes.argsort(descending=True, stable=True)[: _TRIED * wanted]
    rows = rows[sizes[rows] > 0]
    directions = rest[rows] / sizes[rows, None]
    shared = (directions @ rest.T).square_().square_().sum(1)
    found = rest.new_empty(0, rest.shape[1])
    for row in directions[shared.argsort(descending=True, stable=True)].split(1):
        if len(found) == wanted:
            break
        if not bool(((found @ row[0]).abs() > _ALIKE).any()):
            found = torch.cat([found, row])
    return found


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
