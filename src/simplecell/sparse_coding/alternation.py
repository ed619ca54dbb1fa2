"""Training by alternating minimisation: the dictionary step, and an iterator of records."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import DataError, DivergedError, UsageError, real, whole
from simplecell.model.code_step import Encoded, Penalty, Projection, Smooth, encode
from simplecell.model.measures import squared_error, squared_weights
from simplecell.preprocess.chain import Preprocess
from simplecell.sparse_coding.path import Path
from simplecell.training.dictionary_step import MEMORY, improve_atoms
from simplecell.training.prepared import identity, to_model
from simplecell.training.renewal import shared_directions, spent
from simplecell.training.trainer import Record

IDLE = 1e-6  # an atom is idle when its energy is below this share of the mean of all
RENEWED_BY = 2**24  # numbers in the codes by which latents begin anew: the search holds ten such


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


def random_dictionary(n_latents: int, n_inputs: int, seed: int) -> Tensor:
    """Atoms [M, D] of unit length and random direction, float64: a pure function of the seed."""
    whole("n_latents", n_latents)
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(n_latents, n_inputs, generator=generator, dtype=torch.float64)
    return atoms / atoms.norm(dim=1, keepdim=True)


class Alternation:
    """Alternating minimisation: codes for a batch, then the dictionary for these codes.

    With γ the dictionary is solved for on each batch alone, as in the notes' program. Without it
    the atoms lie in the unit ball: about the last 10 M samples count, or the batch alone if it is
    larger, and each atom in turn takes its best place. An idle atom takes the direction of a
    sample that is rebuilt worst.

    Args:
        dictionary: where to start, [M, D], on its device; changed in place.
        penalty: `L1` or `Smooth`.
        gamma: γ, or None for the unit ball. Solved to convergence, γ lets most latents die that
            the ball keeps: a short atom needs large codes, which cost more, which shortens it.
        path: where given, α falls to the penalty's own along it, memory grows, and latents that
            stand for nothing of their own begin anew; with the unit ball and no groups.
        preprocess: fitted preparation of raw rows.
        batch_size: samples a step; batch t is a function of (seed, t) only.
        code_iter, tol: of `encode`.

    Source: UFLDL, Sparse coding (γ); Mairal et al. 2009 (ball). Differs: see `encode`; memory,
    idle atoms.
    """

    def __init__(
        self,
        dictionary: Tensor,
        penalty: Penalty,
        *,
        gamma: float | None = None,
        path: Path | None = None,
        preprocess: Preprocess | None = None,
        batch_size: int = 2000,
        seed: int = 0,
        code_iter: int = 50,
        tol: float = 1e-3,
    ) -> None:
        whole("batch_size", batch_size)
        whole("code_iter", code_iter)
        real("tol", tol)
        if gamma is not None:
            real("gamma", gamma)
        self.dictionary = dictionary
        self._end = penalty.to(dictionary) if isinstance(penalty, Smooth) else penalty
        self.gamma, self.path = gamma, path
        self.preprocess = preprocess or identity(dictionary.shape[1])
        self.batch_size, self.seed, self.code_iter, self.tol = batch_size, seed, code_iter, tol
        self.n_steps = 0
        if path is not None:
            self._check_path(path)
        n_latents, n_inputs = dictionary.shape
        self.gram = dictionary.new_zeros(n_latents, n_latents, dtype=torch.float64)
        self.pull = dictionary.new_zeros(n_latents, n_inputs, dtype=torch.float64)

    def _check_path(self, path: Path) -> None:
        path.alpha(self._end.alpha, 0)
        if self.gamma is not None:
            raise UsageError(
                "alpha_start is for atoms in the unit ball, but gamma is given; leave one of "
                "them out"
            )
        if isinstance(self._end, Smooth) and self._end.groups is not None:
            raise UsageError(
                "alpha_start begins latents anew that are alike, but those of a neighbourhood are "
                "meant to be; leave one of the two out"
            )

    @property
    def penalty(self) -> Penalty:
        """What a code costs in the next step."""
        if self.path is None:
            return self._end
        return replace(self._end, alpha=self.path.alpha(self._end.alpha, self.n_steps))

    def run(self, source: Source, steps: int) -> Iterator[Record]:
        """Train until `steps` steps are done in all, one record a step.

        Raises:
            DivergedError: when the cost leaves the finite numbers; the dictionary is then that of
                the step before.
        """
        batches = source.batches(self.batch_size, seed=self.seed, start=self.n_steps)
        while self.n_steps < steps:
            if self.path is not None and self.path.renews(self.n_steps):
                self.renew(source)
            x, _ = next(batches)
            yield self.step(to_model(x, self.preprocess, self.dictionary))

    @torch.no_grad()
    def step(self, x: Tensor, project: Projection | None = None) -> Record:
        """One step on prepared samples x [B, D]; cost and terms are those after it.

        Where `project` leaves parts of x unseen, the present reconstruction stands in for them:
        the dictionary step then still lowers the error on what was seen.
        """
        started = time.perf_counter()
        codes = self.encode(x, project).codes
        if project is not None:
            rebuilt = codes @ self.dictionary
            x = rebuilt + project(x - rebuilt, torch.arange(len(x), device=x.device))
        solved = self._solve(x, codes)
        terms = {
            "reconstruction": squared_error(codes @ solved, x),
            "sparsity": self.penalty.value(codes).mean(),
            "decay": squared_weights(solved),
        }
        cost = (
            terms["reconstruction"] / 2
            + terms["sparsity"]
            + (self.gamma or 0.0) / 2 * terms["decay"]
        )
        if not math.isfinite(float(cost)):
            raise DivergedError(
                f"sparse coding diverged in step {self.n_steps + 1}: the cost is {float(cost)}; "
                "scale the data (preprocess), or raise alpha"
            )
        self.dictionary.copy_(solved)
        self.n_steps += 1
        seconds = time.perf_counter() - started
        return Record(self.n_steps, cost, terms, codes.abs().mean(0), None, seconds)

    def encode(
        self, x: Tensor, project: Projection | None = None, *, start: Tensor | None = None
    ) -> Encoded:
        """Codes of prepared samples with the present dictionary, as training takes them."""
        return encode(
            x,
            self.dictionary,
            self.penalty,
            project=project,
            start=start,
            max_iter=self.code_iter,
            tol=self.tol,
        )

    def _solve(self, x: Tensor, codes: Tensor) -> Tensor:
        if self.gamma is not None:
            atoms = solve_dictionary(x, codes, self.gamma)
            energy = atoms.square().sum(1)
        else:
            memory = MEMORY if self.path is None else self.path.memory(MEMORY, self.n_steps)
            keep = max(0.0, 1 - len(x) / (memory * len(self.dictionary)))
            s, target = codes.double(), x.double()
            self.gram.mul_(keep).addmm_(s.T, s)
            self.pull.mul_(keep).addmm_(s.T, target)
            atoms = improve_atoms(self.gram, self.pull, self.dictionary.double()).to(x)
            energy = self.gram.diagonal()
        idle = energy <= IDLE * energy.mean()
        if bool(idle.any()):
            self._revive(atoms, idle, x - codes @ atoms)
        return atoms

    def _revive(self, atoms: Tensor, idle: Tensor, residual: Tensor) -> None:
        """Idle atoms, as many as there are samples, get a direction and the others' mean length."""
        which = idle.nonzero()[: len(residual), 0]
        worst = residual[residual.square().sum(1).topk(len(which)).indices]
        length = atoms[~idle].norm(dim=1).mean() if bool((~idle).any()) else 1.0
        atoms[which] = worst * (length / worst.norm(dim=1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def renew(self, source: Source) -> int:
        """Latents that stand for nothing of their own take directions that samples share; how many.

        Judged by at most 10 M samples, evenly spread: what the atoms that stay leave over of them
        is where new ones begin.
        """
        n_latents = len(self.dictionary)
        few = sampled(source, max(1, min(MEMORY * n_latents, RENEWED_BY // n_latents)))
        batches = few.batches(self.batch_size)
        x = torch.cat([to_model(part, self.preprocess, self.dictionary) for part, _ in batches])
        codes, one_sided = self.encode(x).codes, self.penalty.positive
        squares = codes.double().square()
        unit = self.dictionary / self.dictionary.norm(dim=1, keepdim=True).clamp_min(1e-12)
        anew = spent(unit, squares.sum(0), squares.square().sum(0), one_sided=one_sided)
        if not bool(anew.any()):
            return 0
        kept = self.dictionary.clone()
        self.dictionary[anew] = 0
        left = x - self.encode(x, start=codes.masked_fill(anew, 0)).codes @ self.dictionary
        fresh = shared_directions(left, int(anew.sum()), one_sided=one_sided)
        which = anew.nonzero()[: len(fresh), 0]
        self.dictionary.copy_(kept)[which] = fresh
        self.gram[which] = self.gram[:, which] = 0
        self.pull[which] = 0
        return len(which)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as tensors."""
        state = {name: getattr(self, name).clone() for name in ("dictionary", "gram", "pull")}
        return {**state, "n_steps": torch.tensor(self.n_steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up where `state_dict` left: what follows is the same, bit for bit."""
        if state["dictionary"].shape != self.dictionary.shape:
            raise DataError(
                f"the state's dictionary has shape {tuple(state['dictionary'].shape)}, but this "
                f"one {tuple(self.dictionary.shape)}; it belongs to other settings"
            )
        for name in ("dictionary", "gram", "pull"):
            getattr(self, name).copy_(state[name])
        self.n_steps = int(state["n_steps"])
