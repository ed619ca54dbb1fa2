"""A session that several processes share: the first begins it, reads and writes the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from simplecell.distributed import Alone
from simplecell.model.autoencoder import Model
from simplecell.preprocess.chain import Preprocess
from simplecell.run.begin import refuse_other_data, session_on, with_kernels_of
from simplecell.run.build import Built, open_data
from simplecell.run.directory import Run
from simplecell.run.info import Info
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import target_steps
from simplecell.run.session import Session

Tensors = Mapping[str, Tensor]


class Unwritten(Run):
    """The run of a process that does not lead: nothing is written."""

    def describe(self, info: Info) -> None:
        pass

    def log(self, lines: Iterable[Mapping[str, object]]) -> None:
        pass

    def checkpoint(
        self, model: Model, step: int, state: Mapping[str, Tensor | list[Tensor]]
    ) -> None:
        pass

    def keep_checkpoints(self, number: int) -> None:
        pass


def shared(ranks: Alone, make: Callable[[], Session], data: object = None) -> Session:
    """The session that `make` gives in the first process, in all of them.

    The others hear of recipe, preparation, weights and moments; the samples they open themselves:
    at `data`, or where the run's own are.

    Raises:
        DataError: when a process finds other samples than the first.
    """
    if ranks.size == 1:
        return make()
    session = make() if ranks.leads else None
    told = ranks.told(lambda: _told(session))
    tensors = [ranks.handed(part) for part in (_tensors(session) if session else ({},) * 3)]
    if session is None:
        session = _followed(told, tensors, data)
    session.info["software"]["processes"] = ranks.size
    session.trainer.join(ranks)
    return session


def _told(session: Session | None) -> dict[str, object]:
    assert session is not None, "the first process has one"
    return {
        "run": str(session.run.path),
        "info": session.info,
        "recipe": session.recipe.table(),
        "seconds": session.seconds,
        "done": session.done,
    }


def _tensors(session: Session) -> tuple[Tensors, Tensors, Tensors]:
    """Of the trainer, of the preparation and, for a transcoder, of that of its targets."""
    chain = session.target_preprocess
    of_targets = {} if chain is None else chain.state()
    return session.trainer.state_dict(), session.trainer.preprocess.state(), of_targets


def _followed(told: Mapping[str, object], tensors: list[Tensors], data: object) -> Session:
    """A session by what the first process says of it."""
    info: Info = told["info"]  # type: ignore[assignment]
    recipe = Recipe.from_table(told["recipe"])  # type: ignore[arg-type]
    torch.set_num_threads(info["software"]["threads"])
    with_kernels_of(info)
    run = Unwritten(str(told["run"]))
    requested = run.requested(info)
    data = info["data"]["path"] if data is None else data
    source, held_out = open_data(data, requested)
    refuse_other_data(run, info, data, source, requested)
    state, prepared, of_targets = tensors
    steps = recipe.preprocess.steps
    assert not isinstance(steps, str), "a run's own recipe is resolved"
    chain = Preprocess.from_state(steps, prepared)
    target = Preprocess.from_state(target_steps(recipe), of_targets) if of_targets else None
    n_outputs = None if target is None else target.n_outputs
    trainer = recipe.trainer(chain, state.get("center.0"), n_outputs)
    trainer.load_state_dict(state)
    built = Built(recipe, chain, trainer, [], target)
    session = session_on(run, built, info, source, held_out, [])
    session.seconds, session.done = float(told["seconds"]), bool(told["done"])  # type: ignore[arg-type]
    return session
