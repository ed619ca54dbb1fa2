"""What is minimised: a weighted sum of terms. A new term is one class and one row of `TERMS`."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from simplecell.errors import UsageError, choice
from simplecell.model.autoencoder import Model
from simplecell.training.sparse_terms import L0, L1, AuxK, Gate, Nested, PreAct
from simplecell.training.term import Term
from simplecell.training.terms import (
    KL,
    CrossEntropy,
    Decay,
    GaussianKL,
    Reconstruction,
    Softmax,
)

_ALL: tuple[type[Term], ...] = (
    *(Reconstruction, CrossEntropy, Softmax, KL, GaussianKL, Decay),
    *(L1, L0, AuxK, PreAct, Gate, Nested),
)
TERMS = {term.kind: term for term in _ALL}


def _term(kind: str, values: Mapping[str, object]) -> Term:
    choice("term", kind, TERMS)
    made: Callable[..., Term] = TERMS[kind]
    fields = {field.name for field in dataclasses.fields(TERMS[kind])}
    for name in values:
        choice(f"key of term '{kind}'", name, fields)
    return made(**values)


class Objective:
    """A weighted sum of terms; terms of weight 0 are left out.

    >>> Objective.classic(weight_decay=1e-4, sparsity_weight=3.0, target=0.01).table()["kl"]
    {'weight': 3.0, 'target': 0.01}
    """

    def __init__(self, terms: Mapping[str, Mapping[str, object]]) -> None:
        self.terms = tuple(_term(kind, values) for kind, values in terms.items())
        self.active = tuple(term for term in self.terms if term.weight)
        if not self.active:
            raise UsageError("an objective needs at least one term with a weight above 0")

    @classmethod
    def classic(cls, *, weight_decay: float, sparsity_weight: float, target: float) -> Objective:
        """The notes' objective by the notes' letters: λ, β, ρ."""
        terms: dict[str, dict[str, float]] = {"reconstruction": {"weight": 0.5}}
        if sparsity_weight:
            terms["kl"] = {"weight": sparsity_weight, "target": target}
        terms["decay"] = {"weight": weight_decay / 2}
        return cls(terms)

    def table(self) -> dict[str, dict[str, object]]:
        """The terms as a recipe writes them."""
        return {term.kind: dataclasses.asdict(term) for term in self.terms}

    def find(self, kind: str) -> Term | None:
        """The active term of that kind, or None."""
        return next((term for term in self.active if term.kind == kind), None)

    @property
    def target(self) -> float | None:
        """The wanted average activation, or None."""
        term = self.find("kl")
        return term.target if isinstance(term, KL) else None

    def check(self, model: Model) -> None:
        """Raise UsageError where a term has no meaning for that model."""
        for term in self.active:
            term.check(model)

    def cost(
        self,
        terms: Mapping[str, Tensor],
        factors: Mapping[str, float | Tensor] | None = None,
        of: Sequence[Term] | None = None,
    ) -> Tensor:
        """The weighted sum of unweighted values; `factors` are on the weights of single terms.

        `of` says which terms, where not all that are active are meant.
        """
        factors = factors or {}
        return functools.reduce(
            operator.add,
            (
                term.weight * factors.get(term.kind, 1.0) * terms[term.kind]
                for term in (self.active if of is None else of)
            ),
        )
