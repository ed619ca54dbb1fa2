"""Adam with a schedule, and atoms held at length 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from simplecell.errors import UsageError, choice
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.native.update import Moved, Pace
from simplecell.training.state import State, taken_like
from simplecell.training.steering import SCHEDULES

_BETA1, _EPSILON = 0.9, 1e-8


def check_pace(learning_rate: float, schedule: str, beta2: float) -> None:
    """Raise UsageError unless Adam can move at this pace."""
    choice("schedule", schedule, SCHEDULES)
    if not 0 < learning_rate < float("inf"):
        raise UsageError(f"learning_rate is {learning_rate}; it must be above 0")
    if not 0 <= beta2 < 1:
        raise UsageError(f"beta2 is {beta2}; it must be at least 0 and less than 1")


class Adam:
    """torch's Adam over the flat vector, with a schedule; one `advance` is one update.

    Source: Kingma & Ba 2015. Exact (torch).
    """

    converged = False
    """It never says so itself."""

    def __init__(
        self,
        flat: Tensor,
        grad: Tensor,
        *,
        learning_rate: float,
        schedule: str = "constant",
        beta2: float = 0.999,
    ) -> None:
        check_pace(learning_rate, schedule, beta2)
        self.beta2 = beta2
        self.learning_rate, self.schedule = learning_rate, SCHEDULES[schedule]
        self.parameter = nn.Parameter(flat)
        self.parameter.grad = grad
        self._state: dict[str, Tensor] = {}

    @property
    def n_evaluations(self) -> int:
        """Gradients that it has moved along."""
        return int(self._state.get("step", 0))

    @torch.no_grad()
    def advance(self, progress: float) -> None:
        """Move the parameters along the gradient; `progress` is 0 at the start and 1 at the end."""
        state = self._state or self._begin()
        assert self.parameter.grad is not None, "flatten was not called"
        # The function beneath torch.optim.Adam: making one of those imports for two seconds.
        adam(
            [self.parameter],
            [self.parameter.grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            beta1=_BETA1,
            beta2=self.beta2,
            lr=self.learning_rate * self.schedule(progress),
            weight_decay=0.0,
            eps=_EPSILON,
            maximize=False,
        )

    def pace(self, progress: float) -> Pace:
        """Count one more update, which somebody else makes, and say how far it goes."""
        state = self._state or self._begin()
        state["step"] += 1
        count = float(state["step"])
        rate = self.learning_rate * self.schedule(progress) / (1 - _BETA1**count)
        return Pace(_BETA1, self.beta2, rate, (1 - self.beta2**count) ** -0.5, _EPSILON)

    def moved(self, parameter: Tensor) -> Moved:
        """A parameter that lies in the flat vector, and its moments."""
        return Moved(
            parameter, *(self._part(name, parameter) for name in ("exp_avg", "exp_avg_sq"))
        )

    def _part(self, name: str, parameter: Tensor) -> Tensor:
        start, size = parameter.storage_offset(), parameter.numel()
        return self._state[name][start : start + size].view_as(parameter)

    def _begin(self) -> dict[str, Tensor]:
        """Moments 0, and a count of none in the type that the fused update asks for."""
        self._state = {
            "step": torch.zeros((), dtype=torch.float32, device=self.parameter.device),
            "exp_avg": torch.zeros_like(self.parameter),
            "exp_avg_sq": torch.zeros_like(self.parameter),
        }
        return self._state

    def forget(self, parameter: Tensor, rows: Tensor) -> None:
        """Moments 0 for some rows of a parameter that lies in the flat vector."""
        for name in self._state.keys() - {"step"}:
            self._part(name, parameter)[rows] = 0

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and count, as tensors; nothing before the first step."""
        return dict(self._state)

    def live_state(self) -> dict[str, Tensor | list[Tensor]]:
        """The same, typed as a part of what a trainer writes."""
        return {**self._state}

    def load_state_dict(self, state: State, prefix: str = "") -> None:
        """Take up where `state_dict` left; names begin with the prefix.

        Raises:
            DataError: for a tensor that is missing or of another form.
        """
        names = ("step", "exp_avg", "exp_avg_sq")
        self._state = {}
        if not any(prefix + name in state for name in names):
            return
        here = self.parameter.device  # a checkpoint is read on the CPU
        for name, begun in zip(names, self._begin().values(), strict=True):
            begun.copy_(taken_like(state, prefix + name, begun).to(here))


_PIECE = 512
"""Atoms that are projected at once."""


class UnitNorm:
    """Atoms held at length 1: the gradient along each is taken out, and each step put right.

    They are brought there at once. Order: `project`, the optimiser's step, `renormalise`.
    Source: Bricken et al. 2023, appendix (Adam under a constraint). Exact.
    """

    @classmethod
    def of(cls, model: Model) -> UnitNorm:
        """For the atoms of a model. Raises UsageError where encoder and decoder share them."""
        if not isinstance(model, Autoencoder) or model.tied:
            raise UsageError(
                "unit_norm is for an autoencoder of one layer with a decoder of its own, not for "
                "tied or deep ones"
            )
        return cls(model.decoder)

    def __init__(self, atoms: nn.Parameter) -> None:
        self.atoms = atoms
        self.renormalise()

    @torch.no_grad()
    def project(self) -> None:
        """Leave of the gradient [M, D] what turns atoms."""
        assert self.atoms.grad is not None, "flatten was not called"
        # By pieces that stay in a processor's cache: a whole product would be written to memory and
        # back. A GPU would spend its time on beginning one piece after the other.
        size = _PIECE if self.atoms.device.type == "cpu" else len(self.atoms)
        pieces = zip(self.atoms.grad.split(size), self.atoms.split(size), strict=True)
        for grad, atoms in pieces:
            along = (grad * atoms).sum(1, keepdim=True)
            grad.addcmul_(along, atoms, value=-1)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Bring the atoms [M, D] back to length 1."""
        lengths = self.atoms.norm(dim=1, keepdim=True)
        self.atoms.div_(lengths.clamp_min(torch.finfo(self.atoms.dtype).tiny))
