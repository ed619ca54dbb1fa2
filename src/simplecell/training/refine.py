"""Refining: the dictionary of a trained model moved by exact codes, not by its encoder's guesses.

A round is one step of alternating minimisation: exact codes of the samples, then each atom in turn
takes its best place for these codes. Gradients through an encoder cannot get there: what the
encoder misses teaches the atoms wrongly.
Source: Engan, Aase & Husøy 1999, and Mairal et al. 2009 (algorithm 2), of the dictionary step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

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
_SEEDED, _SEEDED_UNTIL = 4, 0.75
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
_RIDGE, _STRETCHED = 0.1, 10.0
"""λ of the encoder's regression, relative; and the most that a row is stretched."""
FIXED = ("topk", "abstopk")
"""Codes that keep k latents of each sample."""
_FEW, _PURSUED = 4, 64
"""Active latents up to which no codes are loose and a pursuit is all that is tried, since it erred
least wherever it was looked at; and up to which it is tried at all: its cost grows as k²."""


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


class Round(NamedTuple):
    """Where one of the rounds stands: progress 0 … 1, whether latents begin anew, whether it is
    the last."""

    progress: float
    reseed: bool
    last: bool


def round_at(step: int, begin: int, end: int, rounds: int) -> Round | None:
    """The round that comes before a step, of so many evenly from `begin` to `end`; most have none.

    The last always has codes as they will be.
    """
    every, past = max(1, (end - begin) // rounds), step - begin
    if past < 0 or past % every or past // every >= rounds:
        return None
    done = past // every
    last = done == rounds - 1
    reseed = done % _SEEDED == _SEEDED - 1 and done < _SEEDED_UNTIL * rounds
    return Round(1.0 if last else done / rounds, reseed, last)


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
    some = _few_of(x)
    active = _active(inner, some)
    loose = progress < _LOOSE and round(active) > _FEW
    codes = (_loosely if loose else _as_kept)(inner, some, active)
    step = math.ceil(memory(progress) * inner.n_latents * (1 - _KEPT)) if loose else len(x)
    sums = _Sums(inner, codes)
    for part in _spread(x - inner.offset, step):
        sums.forget(_KEPT)
        sums.take(part)
        sums.improve(sweeps=1 if loose else _SWEEPS)
    if reseed:
        _begin_anew(inner, sums, x, LOOSE if loose else SETTLED)
    inner.decoder.copy_(sums.atoms * inner.decoder.norm(dim=1, dtype=torch.float64)[:, None])
    inner.offset.add_((sums.left / len(x)).to(x.dtype))


@torch.no_grad()
def refit_encoder(model: Model, x: Tensor) -> None:
    """The encoder that guesses exact codes best, of prepared x [B, D], where codes have a k.

    `E = (C + λ tr(C)/D I)⁻¹ P`, C the covariance of what the encoder sees and P its covariance
    with exact codes, each row then stretched until its latent varies as its code does; biases
    bring the means together. Gradients, which go on from there, do not bring an encoder back that
    a dictionary has moved away from. Source: Hoerl & Kennard 1970, ridge regression. Differs: λ is
    relative. Codes without a k have thresholds that hang on the encoder that is there: it stays.
    """
    inner = suited(model)
    if inner.activation.kind not in FIXED:
        return
    some = _few_of(x)
    codes, unit = _as_kept(inner, some, _active(inner, some)), _unit(inner)
    lengths, mean = inner.decoder.norm(dim=1).clamp_min(1e-12), inner.centered(x).double().mean(0)
    covariance = mean.new_zeros(len(mean), len(mean))
    shared, sums, squares = mean.new_zeros(len(mean), len(unit)), *mean.new_zeros(2, len(unit))
    for part in x.split(max(1, _AT_ONCE // len(unit))):
        code = (codes(part - inner.offset, unit) / lengths).double()
        seen = inner.centered(part).double() - mean
        covariance.addmm_(seen.T, seen, alpha=1 / len(x))
        shared.addmm_(seen.T, code, alpha=1 / len(x))
        sums += code.sum(0) / len(x)
        squares += code.square().sum(0) / len(x)
    ridge = (_RIDGE * covariance.diagonal().mean() + 1e-30) * torch.eye(len(mean)).to(covariance)
    rows = torch.linalg.solve(covariance + ridge, shared)
    guessed = (rows * (covariance @ rows)).sum(0)
    varied = (squares - sums.square()).clamp_min(0)
    rows *= (varied / guessed.clamp_min(1e-30)).sqrt().clamp(max=_STRETCHED)
    inner.encoder.copy_(rows.T)
    inner.bias.copy_(sums - mean @ rows)


def _few_of(x: Tensor) -> Tensor:
    return x[:: max(1, len(x) // _CHOSEN_BY)]


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


def _loosely(inner: Autoencoder, some: Tensor, active: float) -> Encode:
    """A lasso whose codes have more active latents than will be kept, and stay as small as it has
    them: atoms that are still far from the truth share what a sample is made of."""
    penalty = _penalty(inner, some, _SPARE * active)

    def code(x: Tensor, atoms: Tensor) -> Tensor:
        return encode(x, atoms, penalty, max_iter=_FAST, tol=_FASTER).codes

    return code


def _as_kept(inner: Autoencoder, some: Tensor, wanted: float) -> Encode:
    """Codes with as many active latents as there will be, on unit atoms.

    Where k latents are kept of each sample, a pursuit finds them if they are very few; else they
    are the largest of the lasso's or those of the pursuit, whichever err less on some samples.
    """
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
