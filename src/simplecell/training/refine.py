"""Refining: the dictionary of a trained model moved by exact codes, not by its encoder's guesses.

A round is one step of alternating minimisation: exact codes of the samples, then each atom in turn
takes its best place for these codes. Gradients through an encoder cannot get there: what the
encoder misses teaches the atoms wrongly.
Source: Engan, Aase & Husøy 1999, and Mairal et al. 2009 (algorithm 2), of the dictionary step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.code_step import L1, encode
from simplecell.model.exact import SUITED, alpha_for, refitted, suited
from simplecell.model.pursuit import pursued
from simplecell.training.dictionary_step import improve_atoms, memory
from simplecell.training.renewal import LOOSE, SETTLED, shared_directions, spent

Encode = Callable[[Tensor, Tensor], Tensor]
"""Centred samples [B, D] and unit atoms [M, D] to codes [B, M]."""
SEEDED, SEEDED_UNTIL = 4, 0.75
"""Latents begin anew in one round of so many, and in none after this share of them."""
PER_LATENT = 10
"""Samples of a round for each latent, at most."""
_LEAST, _CHOSEN_BY = 4096, 256
"""Samples of a round that are never too many; and those by which α is chosen."""
_AT_ONCE = 2**22
"""Numbers of a batch of codes."""
_SWEEPS = 2
_LOOSE, _KEPT = 0.75, 0.5
"""Share of all rounds in which codes are loose; what a dictionary step keeps of those before it."""
_FASTER, _FAST = 1e-3, 80
"""Of the lasso then: its gap, and its steps."""
_ROUGHLY, _ITERATIONS, _NEARLY = 1e-4, 200, 0.1
"""Of the lasso in a round, which another one follows: its gap, its steps, how near to l0."""
_SPARE = 1.5
"""Latents that the lasso leaves active for each that is kept."""
FIXED = ("topk", "abstopk")
"""Codes that keep k latents of each sample."""
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
def refine(model: Model, x: Tensor, *, progress: float = 1.0, reseed: bool = True) -> None:
    """One round over prepared samples x [B, D]; atoms keep their lengths.

    As many latents are active as the encoder leaves active, a mean over samples, or of each sample
    where codes have a k. Before three quarters of the `progress` of all rounds, from 0 to 1, codes
    are a lasso's with half as many again, and atoms move several times in a round, by the last
    samples alone: from poor atoms this finds far more than k latents of all samples at once. With
    `reseed` latents that stand for nothing of their own begin anew at what many samples have left
    over (`training.renewal`): alternation parts no latent that stands for two things.
    Deterministic.

    Raises:
        UsageError: for a model that has no exact codes (`model.exact.suited`).
    """
    inner = suited(model)
    some = x[:: max(1, len(x) // _CHOSEN_BY)]
    loose = progress < _LOOSE and not _few(inner, some)
    encode = _loosely(inner, some) if loose else _as_kept(inner, some)
    step = math.ceil(memory(progress) * inner.n_latents * (1 - _KEPT)) if loose else len(x)
    sums = _Sums(inner, encode)
    for part in _spread(x - inner.offset, step):
        sums.forget(_KEPT)
        sums.take(part)
        sums.improve(sweeps=1 if loose else _SWEEPS)
    if reseed:
        _begin_anew(inner, sums, x, LOOSE if loose else SETTLED)
    inner.decoder.copy_(sums.atoms * inner.decoder.norm(dim=1, dtype=torch.float64)[:, None])
    inner.offset.add_((sums.left / len(x)).to(x.dtype))


@torch.no_grad()
def turn_encoder(model: Model, x: Tensor) -> None:
    """Let the encoder start from the atoms again, where codes keep k latents of each sample and
    those of the transpose err less on prepared samples x [B, D] than its own do.

    A dictionary that moved far leaves its encoder where it was; one that moved a little does not.
    Other codes have thresholds that hang on the scale of each row; their encoder stays.
    """
    inner = suited(model)
    if inner.activation.kind not in FIXED:
        return
    before = inner.encoder.clone(), inner.bias.clone()
    own = _error(inner, x)
    inner.encoder.copy_(_unit(inner) * inner.encoder.norm(dim=1).median())
    inner.bias.zero_()
    if own <= _error(inner, x):
        inner.encoder.copy_(before[0])
        inner.bias.copy_(before[1])


def _error(inner: Autoencoder, x: Tensor) -> float:
    return float((inner.decode_raw(inner.encode(x)[1]) - x).double().square().sum())


def _spread(x: Tensor, step: int) -> list[Tensor]:
    """Parts of about `step` rows, each from all over x: neighbours in a file may be alike."""
    parts = max(1, round(len(x) / step))
    return [x[first::parts] for first in range(parts)]


class _Sums:
    """Unit atoms [M, D] in float64, and what the dictionary step needs of codes and samples."""

    def __init__(self, inner: Autoencoder, encode: Encode) -> None:
        self.atoms, self.encode = _unit(inner).double(), encode
        n_latents, n_inputs = self.atoms.shape
        self.gram = self.atoms.new_zeros(n_latents, n_latents)
        self.pull = torch.zeros_like(self.atoms)
        self.left = self.atoms.new_zeros(n_inputs)
        self.energy, self.fourth = self.atoms.new_zeros(2, n_latents)

    def forget(self, kept: float) -> None:
        self.gram *= kept
        self.pull *= kept

    def take(self, x: Tensor) -> None:
        atoms = self.atoms.to(x)
        for part in x.split(max(1, _AT_ONCE // len(atoms))):
            found = self.encode(part, atoms)
            self.left += (part - found @ atoms).double().sum(0)
            code, squares = found.double(), found.double().square()
            self.gram.addmm_(code.T, code)
            self.pull.addmm_(code.T, part.double())
            self.energy += squares.sum(0)
            self.fourth += squares.square().sum(0)

    def improve(self, sweeps: int) -> None:
        self.atoms = improve_atoms(self.gram, self.pull, self.atoms, sweeps=sweeps)
        self.atoms /= self.atoms.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _begin_anew(inner: Autoencoder, sums: _Sums, x: Tensor, least: float) -> None:
    """Give latents that do nothing of their own directions that samples share, in place."""
    atoms, one_sided = sums.atoms, inner.activation.one_sided
    idle = spent(atoms, sums.energy, sums.fourth, one_sided=one_sided, least=least)
    idle[torch.where(idle, torch.inf, sums.energy).argmin()] = True
    others = atoms.masked_fill(idle[:, None], 0).to(x)
    parts = (x - inner.offset).split(max(1, _AT_ONCE // len(atoms)))
    left = torch.cat([part - sums.encode(part, others) @ others for part in parts])
    fresh = shared_directions(left, int(idle.sum()), one_sided=one_sided).double()
    which = idle.nonzero()[: len(fresh), 0]
    atoms[which] = fresh
    encoder = inner.encoder
    encoder[which] = fresh.to(encoder) * encoder.norm(dim=1).median()
    if not inner.activation.owns_bias:
        inner.bias[which] = 0


def _active(inner: Autoencoder, some: Tensor) -> float:
    """Latents that the encoder leaves active, mean over samples."""
    return float(inner.encode(some)[1].l0().double().mean())


def _few(inner: Autoencoder, some: Tensor) -> bool:
    """Whether samples have so few active latents that loose codes would not be worth while."""
    return round(_active(inner, some)) <= _FEW


def _loosely(inner: Autoencoder, some: Tensor) -> Encode:
    """A lasso whose codes have more active latents than will be kept, and stay as small as it has
    them: atoms that are still far from the truth share what a sample is made of."""
    penalty = _penalty(inner, some, _SPARE * _active(inner, some))

    def code(x: Tensor, atoms: Tensor) -> Tensor:
        return encode(x, atoms, penalty, max_iter=_FAST, tol=_FASTER).codes

    return code


def _as_kept(inner: Autoencoder, some: Tensor) -> Encode:
    """Codes with as many active latents as there will be, on unit atoms.

    Where k latents are kept of each sample, a pursuit finds them if they are very few; else they
    are the largest of the lasso's or those of the pursuit, whichever err less on some samples.
    """
    wanted = _active(inner, some)
    if inner.activation.kind not in FIXED:
        return _by_lasso(inner, some, wanted, None)
    k = max(1, round(wanted))
    tried = [] if k > _PURSUED else [_by_pursuit(k, positive=inner.activation.one_sided)]
    if k > _FEW:
        tried.append(_by_lasso(inner, some, _SPARE * wanted, k))
    unit, centred = _unit(inner), some - inner.offset

    def error(code: Encode) -> float:
        return float((centred - code(centred, unit) @ unit).square().sum())

    return tried[0] if len(tried) == 1 else min(tried, key=error)


def _by_pursuit(k: int, *, positive: bool) -> Encode:
    def code(x: Tensor, atoms: Tensor) -> Tensor:
        found = pursued(x, atoms, k, positive=positive)
        return refitted(x, atoms, found) if positive else found

    return code


def _by_lasso(inner: Autoencoder, some: Tensor, wanted: float, k: int | None) -> Encode:
    """`wanted` active, mean over samples, or the k largest of them; how much by least squares."""
    penalty, positive = _penalty(inner, some, wanted), inner.activation.one_sided

    def code(x: Tensor, atoms: Tensor) -> Tensor:
        found = encode(x, atoms, penalty, max_iter=_ITERATIONS, tol=_ROUGHLY).codes
        found = refitted(x, atoms, found, positive=positive)
        if k is None:
            return found
        most = found.abs().topk(k, dim=1).indices
        kept = torch.zeros_like(found).scatter(1, most, found.gather(1, most))
        return refitted(x, atoms, kept, positive=positive)

    return code


def _penalty(inner: Autoencoder, some: Tensor, wanted: float) -> L1:
    alpha = alpha_for(inner, some, wanted, near=_NEARLY, max_iter=_ITERATIONS)
    return L1(alpha, positive=inner.activation.one_sided)


def _unit(inner: Autoencoder) -> Tensor:
    """Atoms of length 1, [M, D]; those of length 0 stay."""
    return (inner.decoder / inner.decoder.norm(dim=1)[:, None]).nan_to_num(0)
