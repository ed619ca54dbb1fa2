"""A whole step of Adam in the compiled library, for sparse codes and a squared error.

    delta = 2 w/B (recon − target),   owed = ⟨delta, atom⟩ + l1 ‖atom‖        over samples
    ∇encoder = Σ owed · x,   ∇decoder = Σ code · delta,   Adam, unit norm     over latents

The gradient of a latent is made and used while its rows are at hand, and is never written. Terms
about dead latents are as ever, and theirs is added. What this is not for goes the way of
`gradients` and `adam`, to which it is equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.model import kernels, native
from simplecell.model.autoencoder import Output
from simplecell.model.codes import SparseCodes
from simplecell.model.entries import Pass
from simplecell.model.native.update import Residuals, adam, residuals, update
from simplecell.model.places import Places
from simplecell.training.adam import Adam
from simplecell.training.gradients import Evaluation, Gradient, Whole
from simplecell.training.objective import Objective
from simplecell.training.term import Look, Moment

_CODES = ("relu", "topk", "batchtopk")
"""Activations whose values are ReLU's, with no parameter of their own."""
_OF_DEAD = ("auxk", "preact")
"""Terms that are 0 while no latent is dead."""


class _Sums(NamedTuple):
    """Over the entries: what the codes of each latent add up to, and what is owed to it, [M]."""

    codes: Tensor
    owed: Tensor


class Update:
    """Moves a model by one step, where it can; else the model is left as it is."""

    @classmethod
    def of(cls, gradient: Gradient, solver: Adam, *, unit: bool) -> Update | None:
        """For what a gradient is of, or None: it and the optimiser must do."""
        model, kinds = gradient.model, {term.kind for term in gradient.objective.active}
        if (
            gradient.sparse is None
            or gradient.sparse.model.tied
            or model.output != "linear"
            or model.activation.kind not in _CODES
            or not {"reconstruction"} <= kinds <= {"reconstruction", "l1", *_OF_DEAD}
        ):
            return None
        return cls(gradient.sparse, gradient.objective, solver, unit)

    def __init__(
        self, sparse: kernels.Sparse, objective: Objective, solver: Adam, unit: bool
    ) -> None:
        self.sparse, self.model, self.objective = sparse, sparse.model, objective
        self.solver, self.unit = solver, unit

    @torch.no_grad()
    def __call__(
        self, one: Pass, batch: Whole, moment: Moment, progress: float
    ) -> Evaluation | None:
        """The evaluation before the step; None where the plain way has to be taken.

        That is without a compiled library, with other processes, and for codes too dense. `one`
        is what `kernels.Sparse.before` gave for x.
        """
        library = native.library(one.pre, one.x, batch.target)
        if library is None or batch.ranks.size > 1:
            return None
        places = self.model.activation.places(one.pre, training=True)
        if places is None:
            return None
        lengths = self.model.decoder.norm(dim=1) if self.objective.find("l1") else None
        penalty = self._weight("l1", moment) / len(batch.x)
        scale = 2 * self._weight("reconstruction", moment) / len(batch.x)
        pull = None if lengths is None else penalty * lengths
        found = residuals(
            library, places, one.pre, one.decoder, self.model.offset, batch.target, scale, pull
        )
        sums = _Sums(places.sums(found.values), places.sums(found.owed))
        terms = {"reconstruction": found.squares.sum() / len(batch.x)}
        stretch = None
        if lengths is not None:
            terms["l1"] = (sums.codes.double() @ lengths.double()) / len(batch.x)
            if not self.unit:  # of unit norm nothing along the atom is left
                stretch = torch.where(lengths > 0, penalty * sums.codes / lengths, 0.0)
        codes = SparseCodes(found.values, places)
        of_dead, added = self._of_dead(one, codes, batch, moment, found.deltas / scale)
        terms |= of_dead
        self._move(library, one, found, places, sums, stretch, added, progress)
        cost = self.objective.cost(terms, moment.factors)
        return Evaluation(cost, terms, sums.codes / len(batch.x), codes)

    def _weight(self, kind: str, moment: Moment) -> float:
        term = self.objective.find(kind)
        return 0.0 if term is None else float(term.weight * moment.factors.get(kind, 1.0))

    def _of_dead(
        self, one: Pass, codes: SparseCodes, batch: Whole, moment: Moment, residual: Tensor
    ) -> tuple[dict[str, Tensor], bool]:
        """Terms about dead latents, and whether their gradients are in the parameters' `.grad`."""
        active = [term for term in self.objective.active if term.kind in _OF_DEAD]
        values = {term.kind: residual.new_zeros((), dtype=torch.float64) for term in active}
        if not active or moment.dead is None or not bool(moment.dead.any()):
            return values, False
        recon = batch.target + residual
        output = Output(one.pre, codes, recon, recon, one)
        with torch.enable_grad():
            look = Look(batch.x, batch.target, output, self.model, **vars(moment))
            found = {term.kind: term(look) for term in active}
            loss = self.objective.cost(values | found, moment.factors, of=active)
        self.sparse.backward(loss, output, add=False)
        return {kind: value.detach().double() for kind, value in found.items()}, True

    def _move(
        self,
        library: native.Library,
        one: Pass,
        found: Residuals,
        places: Places,
        sums: _Sums,
        stretch: Tensor | None,
        added: bool,
        progress: float,
    ) -> None:
        model, pace = self.model, self.solver.pace(progress)
        of_offset = found.deltas.sum(0)
        if model.pre_bias:  # by the encoder as it still is
            of_offset -= sums.owed @ one.encoder
        encoder, decoder = (
            self.solver.moved(matrix)._replace(more=matrix.grad if added else None)
            for matrix in (model.encoder, model.decoder)
        )
        update(
            *(library, places, found, one.x, encoder, decoder, pace),
            unit=self.unit,
            stretch=stretch,
        )
        for parameter, grad in ((model.bias, sums.owed), (model.offset, of_offset)):
            if added and parameter.grad is not None:
                grad = grad + parameter.grad
            adam(library, self.solver.moved(parameter), grad, pace)
