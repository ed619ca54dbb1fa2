"""A session that several processes share: the first begins it, reads and writes the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from simplecell.distributed import PIECE, Alone
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.begin import refuse_other_data, session_on, with_kernels_of
from simplecell.run.build import Built, open_data
from simplecell.run.info import Info
from simplecell.run.memory import room_of
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import target_steps
from simplecell.run.session import Session
from simplecell.run.written import Collected, Given, Unwritten
from simplecell.training.parts import layout_of
from simplecell.training.trainer import Trainer

Tensors = Mapping[str, Tensor]


def shared(ranks: Alone, make: Callable[[Alone], Session], data: object = None) -> Session:
    """The session that `make` gives in the first process, in all of them.

    The others hear of recipe, preparation, weights and moments; the samples they open themselves:
    at `data`, or where the run's own are. Where latents are dealt to them each has its own, drawn
    or from the checkpoint, and all of them write it.

    Raises:
        DataError: when a process finds other samples than the first.
    """
    if ranks.size == 1:
        return make(ranks)
    session = make(ranks) if ranks.leads else None
    told = ranks.told(lambda: _told(session))
    tensors = [ranks.handed(part) for part in (_tensors(session) if session else ({},) * 3)]
    if session is None:
        session = _followed(told, tensors, data, ranks)
    elif told["dealt"]:
        _deal(session, told["dealt"], ranks)
    session.info["software"]["processes"] = ranks.size
    session.trainer.join(ranks)
    model = session.trainer.model
    if model.holders > 1 and isinstance(model, Autoencoder):
        written = Collected if ranks.leads else Given
        session.run = written(session.run, model, session.trainer.ranks)
    return session


def _told(session: Session | None) -> dict[str, object]:
    assert session is not None, "the first process has one"
    return {
        "run": str(session.run.path),
        "info": session.info,
        "recipe": session.recipe.table(),
        "seconds": session.seconds,
        "done": session.done,
        "dealt": _dealt_of(session),
    }


def _dealt_of(session: Session) -> list[str]:
    """What the checkpoint that a session goes on from has of each holder of latents."""
    layout = layout_of(session.trainer.model)
    if layout is None or session.done:
        return []
    return [name for name in session.run.last_checkpoint() or () if name in layout]


def _deal(session: Session, names: list[str], ranks: Alone) -> None:
    """Send each of the other holders its own part of these, as it is read."""
    state, layout = session.run.last_checkpoint(), layout_of(session.trainer.model)
    assert state is not None, "these names are from it"
    assert layout is not None, "they are those of one"
    for rank in range(1, ranks.size):
        spans = ((name, span) for name in names for span in layout.spans(name, rank))
        ranks.deal((state.span(name, one) for name, span in spans for one in _cut(span)), rank)


def _dealt(trainer: Trainer, names: list[str], ranks: Alone) -> dict[str, Tensor]:
    """One's own part of these, as the first process sends it."""
    layout, found = layout_of(trainer.model), dict[str, Tensor]()
    assert layout is not None, "latents are dealt"
    for name in names:
        own = found[name] = torch.empty_like(trainer.silent if name == "silent" else trainer.flat)
        ranks.dealt(own[one] for span, _ in layout.own(name) for one in _cut(span))
    return found


def _cut(span: slice) -> Iterator[slice]:
    """The same numbers in pieces."""
    for start in range(span.start, span.stop, PIECE):
        yield slice(start, min(start + PIECE, span.stop))


def _tensors(session: Session) -> tuple[Tensors, Tensors, Tensors]:
    """Of the trainer, of the preparation and, for a transcoder, of that of its targets."""
    chain, trainer = session.target_preprocess, session.trainer
    of_targets = {} if chain is None else chain.state()
    state, layout = trainer.state_dict(), layout_of(trainer.model)
    if layout is not None:
        state = {name: tensor for name, tensor in state.items() if name not in layout}
        state["offset"] = trainer.model.get_parameter("offset")
    return state, trainer.preprocess.state(), of_targets


def _followed(
    told: Mapping[str, object], tensors: list[Tensors], data: object, ranks: Alone
) -> Session:
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
    room = room_of(recipe, chain.n_outputs, source, n_outputs, recipe.holders(ranks))
    trainer = recipe.trainer(chain, state.get("center.0"), n_outputs, room, ranks)
    if "offset" in state:  # of latents that are dealt: its own were drawn just now
        trainer.model.get_parameter("offset").data.copy_(state["offset"])
        dealt = _dealt(trainer, told["dealt"], ranks)  # type: ignore[arg-type]
        state = {**trainer.state_dict(), **state, **dealt}
    trainer.load_state_dict(state)
    built = Built(recipe, chain, trainer, [], target)
    session = session_on(run, built, info, source, held_out, [])
    session.seconds, session.done = float(told["seconds"]), bool(told["done"])  # type: ignore[arg-type]
    return session
