"""Latents dealt to processes: which trainings can be, and what each holds of a state.

The whole state is that of one process: parameters lie in one vector, matrix after matrix, and of
each matrix the latents of the first process come first. Checkpoints hold it so, and go on with any
number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from simplecell.errors import DataError, UsageError
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.training.objective import Objective
from simplecell.training.state import State, Stored

CODES = ("topk", "abstopk", "batchtopk", "relu")
"""Whose thresholds are one number, or follow from the codes."""
TERMS = ("reconstruction", "l1", "auxk", "preact")
"""Which are sums over latents, and say so."""
VECTORS = ("flat", "best_flat", "optimiser.exp_avg", "optimiser.exp_avg_sq")
"""Of a state: what has a number for each parameter."""
OF_LATENTS = ("silent",)
"""What has one for each latent."""


def refuse_undealt(
    model: Model, objective: Objective, solver: str, resample: int, refine: int = 0
) -> None:
    """Raise UsageError where not every part of a training can be made of parts of the latents."""
    if model.holders == 1:
        return
    others = [f"'{term.kind}'" for term in objective.active if term.kind not in TERMS]
    codes, wrong = model.activation.kind, ""
    if solver != "adam":
        wrong = f"optim.kind={solver}"
    elif codes not in CODES:
        wrong = f"model.activation={codes}"
    elif others:
        wrong = f"the term {others[0]}"
    elif resample:
        wrong = "optim.resample"
    elif refine:
        wrong = "optim.refine"
    elif not isinstance(model, Autoencoder) or model.tied:
        wrong = "a model that is tied or deep"
    if wrong:
        raise UsageError(
            f"train.shard=latents is for {', '.join(CODES[:-1])} and {CODES[-1]} codes with Adam, "
            f"the terms {', '.join(TERMS)}, and neither resampling nor refining; this recipe has "
            f"{wrong}: leave that out, or train with train.shard=samples"
        )


class Layout:
    """Where the parts of holders of latents lie in the state of them all."""

    def __init__(self, model: Autoencoder) -> None:
        self.holders = model.holders
        sections = [(p.numel(), p is not model.offset) for p in model.parameters()]
        self._sections = dict.fromkeys(VECTORS, sections)
        self._sections |= {name: [(model.n_latents, True)] for name in OF_LATENTS}
        """Numbers that one process has of each, and whether others have more of it."""

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of a state is in parts; others are alike in all processes."""
        return name in self._sections

    def length(self, name: str) -> int:
        """Numbers of all processes, *count*."""
        return sum(n * (self.holders if dealt else 1) for n, dealt in self._sections[name])

    def spans(self, name: str, rank: int) -> Iterator[slice]:
        """Where the numbers of a process lie among those of all, in the order of its own."""
        start = 0
        for n, dealt in self._sections[name]:
            first = start + n * rank * dealt
            yield slice(first, first + n)
            start += n * (self.holders if dealt else 1)

    def own(self, name: str) -> Iterator[tuple[slice, bool]]:
        """Sections of a process's own numbers, and whether other processes have others there."""
        start = 0
        for n, dealt in self._sections[name]:
            yield slice(start, start + n), dealt
            start += n

    def check(self, state: Stored) -> None:
        """Raise DataError where a state has them of another number of latents."""
        for name in self._sections:
            if name in state and state.shape(name) != [self.length(name)]:
                raise DataError(
                    f"its tensor '{name}' is of shape {state.shape(name)}, and "
                    f"[{self.length(name)}] is needed; it belongs to another recipe"
                )


class _OwnPart(Mapping[str, Tensor]):
    """What the first of several holders has of a state, each tensor read when it is asked for."""

    def __init__(self, state: Stored, layout: Layout) -> None:
        layout.check(state)
        self.state, self.layout = state, layout

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.layout:
            return self.state[name]
        if name not in self.state:
            raise KeyError(name)
        return torch.cat([self.state.span(name, span) for span in self.layout.spans(name, 0)])


def layout_of(model: Model) -> Layout | None:
    """Of a model whose latents are dealt, else None."""
    if model.holders > 1 and isinstance(model, Autoencoder):
        return Layout(model)
    return None


def own_part(state: Stored, model: Model) -> State:
    """Of a stored state what belongs to the model of the first process: all, unless it is dealt.

    Raises:
        DataError: for a state of other sizes.
    """
    layout = layout_of(model)
    return state if layout is None else _OwnPart(state, layout)
