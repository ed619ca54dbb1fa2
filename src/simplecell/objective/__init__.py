"""What training minimises: a weighted sum of terms, each called with one `Look`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import UsageError, unknown
from simplecell.model import Model
from simplecell.objective.classic import (
    KL,
    CrossEntropy,
    Decay,
    GaussianKL,
    Reconstruction,
    Softmax,
)
from simplecell.objective.look import Look, Term
from simplecell.objective.modern import L0, L1, AuxK, Gate, Nested, PreAct

__all__ = [
    "KL",
    "L0",
    "L1",
    "NO_FACTORS",
    "TERMS",
    "AuxK",
    "CrossEntropy",
    "Decay",
    "Gate",
    "GaussianKL",
    "Look",
    "Nested",
    "Objective",
    "PreAct",
    "Reconstruction",
    "Softmax",
    "Term",
    "value",
]

TERMS: dict[str, type[Term]] = {
    "reconstruction": Reconstruction,
    "cross_entropy": CrossEntropy,
    "softmax": Softmax,
    "kl": KL,
    "gaussian_kl": GaussianKL,
    "decay": Decay,
    "l1": L1,
    "l0": L0,
    "auxk": AuxK,
    "preact": PreAct,
    "gate": Gate,
    "nested": Nested,
}


NO_FACTORS: Mapping[str, float | Tensor] = MappingProxyType({})


class Objective:
    """A weighted sum of terms; terms of weight 0 are left out.

    >>> Objective.classic(weight_decay=1e-4, sparsity_weight=3.0, target=0.01).table()["kl"]
    {'weight': 3.0, 'target': 0.01}
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]]) -> None:
        for kind, values in terms.items():
            if kind not in TERMS:
                raise unknown("term", kind, TERMS)
            fields = {field.name for field in dataclasses.fields(TERMS[kind])}
            for name in values:
                if name not in fields:
                    raise unknown(f"key of term '{kind}'", name, fields)
        self.terms = tuple(TERMS[kind](**values) for kind, values in terms.items())
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

    def table(self) -> dict[str, dict[str, Any]]:
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
        self, terms: Mapping[str, Any], factors: Mapping[str, float | Tensor] = NO_FACTORS
    ) -> Any:
        """The weighted sum of unweighted values; `factors` are on the weights of single terms."""
        return sum(
            term.weight * factors.get(term.kind, 1.0) * terms[term.kind] for term in self.active
        )

    def __call__(self, look: Look) -> dict[str, Tensor]:
        """The unweighted value of every active term."""
        return {term.kind: term(look) for term in self.active}


def value(objective: Objective, model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The cost over the samples x [B, D], all at once; differentiable. The tests' oracle."""
    objective.check(model)
    look = Look(x, target, model(x, training=True), model)
    return torch.as_tensor(objective.cost(objective(look)))
