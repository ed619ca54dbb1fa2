"""What each of several processes writes of a run: the first all of it, the others nothing.

Where latents are dealt to processes, the first writes the state and the weights of all of them, as
the files of any other run: the others hand their numbers over piece by piece as it comes to them,
and beside its own part it holds one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from simplecell.distributed import Alone
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.run.directory import Run
from simplecell.run.info import Info
from simplecell.run.normality import Normality
from simplecell.run.storage import Part, Pieces, in_order, write_tensors
from simplecell.training.parts import Layout

DEALT = ("encoder", "bias", "decoder")
"""Weights of which each holder has its own latents'."""


class Unwritten(Run):
    """The run of a process that does not lead: nothing is written."""

    def describe(self, info: Info) -> None:
        pass

    def log(self, lines: Iterable[Mapping[str, object]]) -> None:
        pass

    def checkpoint(self, model: Model, step: int, state: Mapping[str, Part]) -> None:
        pass

    def keep_checkpoints(self, number: int) -> None:
        pass

    def write_normal(self, normal: Normality | None) -> None:
        pass


class Collected(Run):
    """The run of the first of several holders of latents, with which the others save as well."""

    def __init__(self, run: Run, model: Autoencoder, ranks: Alone) -> None:
        super().__init__(run.path)
        self.parts = _Parts(model, ranks)

    def checkpoint(self, model: Model, step: int, state: Mapping[str, Part]) -> None:
        super().checkpoint(model, step, self.parts.of_state(state))

    def write_model(self, model: Model) -> None:
        write_tensors(self.path / "model.safetensors", self.parts.of_weights(model))


class Given(Unwritten):
    """The run of one of the others, which gives its part of what the first writes."""

    def __init__(self, run: Run, model: Autoencoder, ranks: Alone) -> None:
        super().__init__(run.path)
        self.parts = _Parts(model, ranks)

    def checkpoint(self, model: Model, step: int, state: Mapping[str, Part]) -> None:
        for tensors in (self.parts.of_state(state), self.parts.of_weights(model)):
            for part in in_order(tensors).values():
                for _ in part.pieces:
                    pass


class _Parts:
    """The tensors of all holders, of which this process has its part."""

    def __init__(self, model: Autoencoder, ranks: Alone) -> None:
        self.layout, self.ranks = Layout(model), ranks

    def of_state(self, state: Mapping[str, Part]) -> dict[str, Part]:
        return {name: self._of_state(name, part) for name, part in state.items()}

    def _of_state(self, name: str, own: Part) -> Part:
        if name not in self.layout or not isinstance(own, Tensor):
            return own
        return Pieces(own.dtype, (self.layout.length(name),), self._sections(name, own))

    def _sections(self, name: str, own: Tensor) -> Iterator[Tensor]:
        for span, dealt in self.layout.own(name):
            if dealt:
                yield from self.ranks.collected(own[span])
            else:
                yield own[span]

    def of_weights(self, model: Model) -> dict[str, Part]:
        found: dict[str, Part] = {}
        for name, own in model.tensors().items():
            found[name] = own
            if name in DEALT:
                shape = (len(own) * self.ranks.holders, *own.shape[1:])
                found[name] = Pieces(own.dtype, shape, self.ranks.collected(own.reshape(-1)))
        return found
