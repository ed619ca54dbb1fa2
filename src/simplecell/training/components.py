"""Principal components as the atoms of a model: moments batch by batch, one spectrum at the end."""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.preprocess.affine import PCA
from simplecell.preprocess.moments import Moments
from simplecell.training.objective import Objective
from simplecell.training.state import State, taken


class Components:
    """Takes in every sample once, in float64, and sets the weights after the last.

    `code = U (x − mean)`, `recon = Uᵀ code + mean`: U [M, D] are the eigenvectors of the covariance
    with the largest eigenvalues, largest first, and the mean is the offset. No other linear code of
    M numbers has a smaller squared error. Source: Baldi & Hornik 1989. Exact; signs as in
    `preprocess.affine.PCA`.

    Args:
        model: tied, linear at both ends, its offset subtracted before the encoder.
        objective: the squared error alone, which is what components make smallest.

    Raises:
        UsageError: for another model or objective, or more latents than inputs.
    """

    def __init__(self, model: Model, objective: Objective) -> None:
        self.model, self.moments = _fit_for(model, objective), Moments(full=True)
        self.converged, self.n_evaluations = False, 0
        with torch.no_grad():  # a training cut off has no components, not random ones
            for parameter in model.parameters():
                parameter.zero_()

    def take(self, x: Tensor, n_samples: int) -> Tensor:
        """Take in prepared samples [B, D] in float64, of so many in all.

        The mean squared error so far: that of the mean alone, and after the last sample that of the
        components, *prepared input unit squared*, as `model.measures.squared_error`.
        """
        self.moments.add(x)
        if self.moments.count < n_samples:
            return self.moments.variance.sum()
        return self._solve()

    @torch.no_grad()
    def _solve(self) -> Tensor:
        self.moments.check()
        step = PCA("pca", {"n_components": self.model.n_latents})
        mean, components, _, values = step.solve(self.moments)
        self.model.encoder.copy_(components)
        self.model.offset.copy_(mean)
        self.converged = True
        return values[len(components) :].sum()

    def live_state(self) -> dict[str, Tensor | list[Tensor]]:
        """What goes on from a checkpoint: the moments so far, and nothing once they are used."""
        state: dict[str, Tensor | list[Tensor]] = {"solved": torch.tensor(int(self.converged))}
        if not self.converged:
            state.update(self.moments.state())
        return state

    def load_state_dict(self, state: State, prefix: str) -> None:
        """Take up where `live_state` left. Raises DataError for a tensor that does not fit."""
        self.converged = bool(taken(state, f"{prefix}solved", (), torch.int64))
        if self.converged or f"{prefix}count" not in state:
            return
        found = {"count": taken(state, f"{prefix}count", (), torch.int64)}
        for name, shape in Moments.form(self.model.n_inputs).items():
            found[name] = taken(state, f"{prefix}{name}", shape, torch.float64)
        self.moments = Moments.from_state(found)


def _fit_for(model: Model, objective: Objective) -> Autoencoder:
    """The model, where components can be its atoms. Raises UsageError."""
    alone = [term.kind for term in objective.active] == ["reconstruction"]
    linear = model.activation.kind == "identity" and model.output == "linear"
    tied = isinstance(model, Autoencoder) and model.tied and model.pre_bias
    if not (alone and linear and tied and isinstance(model, Autoencoder)):
        raise UsageError(
            "optim.kind=pca makes principal components, which are a model with "
            "model.activation=identity, model.output=linear, model.tied=true, model.pre_bias=true "
            "and the term reconstruction alone; take --recipe pca, or another optim.kind"
        )
    if model.n_latents > model.n_inputs:
        raise UsageError(
            f"PCA was asked for {model.n_latents} components, but prepared samples have "
            f"{model.n_inputs} inputs; ask for fewer (model.n_latents)"
        )
    return model
