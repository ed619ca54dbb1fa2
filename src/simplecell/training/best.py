"""What held-out samples decide: when training stops, which weights stay, where thresholds end."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from simplecell.model.autoencoder import Model
from simplecell.training.prepared import Prepared
from simplecell.training.state import State, taken, taken_like
from simplecell.training.steering import calibrate


class Best:
    """The parameters with the lowest held-out cost so far, and those before the calibration.

    Args:
        model: its parameters views of `flat` already.
        flat: all parameters, [n].
        patience: looks without a lower cost after which training stops; 0: it never does, and no
            parameters are kept.
    """

    def __init__(self, model: Model, flat: Tensor, patience: int) -> None:
        self.model, self.patience = model, patience
        self.cost, self.stalled = math.inf, 0
        own = dict(model.activation.named_buffers())
        trained = own | dict(model.activation.named_parameters())
        self._learned = {"best_flat": flat, **{f"best.{name}": own[name] for name in own}}
        self._calibrated = {f"unsettled.{name}": trained[name] for name in trained}
        self._kept: dict[str, Tensor] = {}
        """Copies of these, by the names that checkpoints have for them."""

    @property
    def exhausted(self) -> bool:
        """Whether training is to stop."""
        return 0 < self.patience <= self.stalled

    def look(self, cost: float) -> None:
        """Take in the cost of the held-out samples."""
        if cost >= self.cost or math.isnan(cost):
            self.stalled += 1
            return
        self.cost, self.stalled = cost, 0
        if self.patience:
            self._keep(self._learned)

    def bring_back(self) -> None:
        """The best parameters, at the end; those of the last step where none are kept."""
        if self.patience and "best_flat" in self._kept:
            self._restore(self._learned)

    def calibrate(self, held: Prepared, wanted: float | None) -> None:
        """Let held-out samples set the thresholds, to `wanted` active latents a sample."""
        self._keep(self._calibrated)
        calibrate(self.model, held, wanted)

    def undo_calibration(self) -> None:
        """Training goes on from where it left, not from what the held-out samples made of it."""
        if self._calibrated.keys() <= self._kept.keys():
            self._restore(self._calibrated)
            for name in self._calibrated:
                del self._kept[name]

    def _keep(self, live: Mapping[str, Tensor]) -> None:
        self._kept |= {name: value.detach().clone() for name, value in live.items()}

    @torch.no_grad()
    def _restore(self, live: Mapping[str, Tensor]) -> None:
        for name, value in live.items():
            value.copy_(self._kept[name])

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that later looks depend on, as tensors."""
        calibrated = self._calibrated.keys() <= self._kept.keys()
        seen = torch.tensor([self.cost, self.stalled, calibrated], dtype=torch.float64)
        return {"best": seen, **{name: value.clone() for name, value in self._kept.items()}}

    def load_state_dict(self, state: State) -> None:
        """Take up where `state_dict` left.

        Raises:
            DataError: for a tensor that is missing or of another form.
        """
        told = 2 if "best" in state and state["best"].shape == (2,) else 3  # earlier versions
        self.cost, stalled, *calibrated = taken(state, "best", (told,), torch.float64).tolist()
        self.stalled, self._kept = int(stalled), {}
        due = self._learned if self.patience and math.isfinite(self.cost) else {}
        if any(calibrated) or any(name in state for name in self._calibrated):
            due = due | self._calibrated
        for name, like in due.items():
            self._kept[name] = taken_like(state, name, like).to(like, copy=True)
