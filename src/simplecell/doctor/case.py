"""A finished training as the doctor looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simplecell.feed import Prepared
from simplecell.session import Session
from simplecell.settle import l0_of

LATENTS = 2048
"""Latents that are compared with all others, so that a wide dictionary costs seconds, not hours."""


@dataclass(frozen=True)
class Case:
    """A finished training of codes with exact zeros, and what its latents do."""

    session: Session
    n_samples: int
    density: NDArray[np.float64]
    """Share of the training samples for which each latent is active, [M]."""
    l0: float
    error: float
    """The standard error of l0."""
    blame: str
    """The cure of badly prepared inputs, which are then the likely cause of all else; or ""."""

    @property
    def every(self) -> int:
        """Every how many-th living latent is compared with all others."""
        return max(1, -(-int((self.density > 0).sum()) // LATENTS))

    @cached_property
    def cosines(self) -> NDArray[np.float64]:
        """Of living latents' atoms, [m, M']: all against all, or every some of them where M' is
        large; 0 with themselves."""
        living = np.flatnonzero(self.density)
        atoms = self.session.trainer.model.atoms().cpu()[living].double()
        atoms = torch.nn.functional.normalize(atoms, dim=1)
        cosines = (atoms[:: self.every] @ atoms.T).numpy()
        rows = np.arange(len(cosines))
        cosines[rows, rows * self.every] = 0
        return cosines

    def weight_of(self, term: str) -> float:
        """Of a term of the objective; 0 where it has none."""
        return float(self.terms.get(term, {}).get("weight", 0))

    @property
    def terms(self) -> dict[str, dict[str, Any]]:
        """Of the objective."""
        return self.session.recipe.objective


def l0_of_new(session: Session, trained: float) -> tuple[float, float]:
    """(l0, its standard error) of held-out samples, which target_l0 is about, or of training."""
    trainer = session.trainer
    if session.held_out is None:
        return trained, 0.0
    held = Prepared(session.held_out, trainer.preprocess, trainer.model)
    return l0_of(trainer.model, held)
