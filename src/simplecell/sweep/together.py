"""Trainings in turn that read together.

The models take their steps in turn, and those that want the same samples share one reading
(`data.shared`). Each has its own run directory, and is bit for bit what training it alone makes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplecell.data import PatchSource, Skipped, Source
from simplecell.data.shared import shared
from simplecell.errors import DivergedError, RunError
from simplecell.recipe import Recipe
from simplecell.run import Run
from simplecell.session import Session, begin, default_recipe
from simplecell.sweep.plan import Planned, plan
from simplecell.sweep.table import group_of, row_of
from simplecell.train import Record


@dataclass
class Member:
    """One model of a sweep."""

    planned: Planned
    session: Session
    error: str | None = None

    @property
    def open(self) -> bool:
        """Whether its figures are still to come."""
        return self.error is None and not self.session.done

    def finish(self, status: str) -> None:
        """Save and measure; a model that diverged says so in its row."""
        try:
            self.session.finish(status)
            self.session.done = status == "finished"
        except DivergedError as error:
            self.error = str(error)

    def release(self) -> None:
        """Let another process train it."""
        if self.session.lock is not None:
            self.session.lock.release()

    def row(self) -> dict[str, Any]:
        """Its line of the table."""
        return row_of(self.planned, self.session, self.error)


@dataclass
class Sweep:
    """Several trainings in turn; `records()` trains, `finish()` sums up.

    Made by `begin_sweep`. Whoever loops over the records may stop at any of them and call
    `finish("interrupted")`: every model keeps what it reached, and goes on when the same is said
    again.
    """

    members: list[Member]
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def n_steps(self) -> int:
        """Steps of all models together."""
        return sum(member.session.recipe.n_steps for member in self.members)

    @property
    def n_done(self) -> int:
        """Those that are done."""
        return sum(member.session.trainer.n_steps for member in self.members)

    @property
    def diverged(self) -> list[str]:
        """Names of the models that failed."""
        return [member.planned.name for member in self.members if member.error]

    def records(self) -> Generator[Record]:
        """Train every model to its length; the step of a record counts those of all models.

        The models that are furthest behind go first, so that those cut off apart come together
        and read together.
        """
        with contextlib.ExitStack() as stack:
            live = {
                i: stack.enter_context(contextlib.closing(self.members[i].session.records()))
                for i in self._in_turn()
            }
            while live:
                now = min(self.members[i].session.trainer.n_steps for i in live)
                for i in [i for i in live if self.members[i].session.trainer.n_steps == now]:
                    record = self._step(self.members[i], live[i])
                    if record is None:
                        del live[i]
                    else:
                        yield record._replace(step=self.n_done)

    def _step(self, member: Member, records: Generator[Record]) -> Record | None:
        try:
            record = next(records, None)
        except DivergedError as error:
            member.error = str(error)
            return None
        if record is None:
            member.finish("finished")
        return record

    def _in_turn(self) -> list[int]:
        """The unfinished, those with one order of the data next to one another."""
        first: dict[Any, int] = {}
        for i, member in enumerate(self.members):
            recipe = member.session.recipe
            first.setdefault(_order(recipe), i)
        waiting = [i for i, member in enumerate(self.members) if member.open]
        return sorted(waiting, key=lambda i: first[_order(self.members[i].session.recipe)])

    def finish(self, status: str = "finished") -> dict[str, Any]:
        """Save and measure whatever is not yet; the table of the sweep, ready for JSON."""
        for member in self.members:
            if member.open:
                member.finish(status)
        rows = [member.row() for member in self.members]
        return {"models": rows, "groups": self._groups(rows)}

    def _groups(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Models that differ in their seed alone; none without seeds."""
        names = [member.planned.group for member in self.members]
        groups = []
        for name in dict.fromkeys(name for name in names if name is not None):
            mine = [i for i, other in enumerate(names) if other == name]
            sessions = [self.members[i].session for i in mine]
            groups.append(group_of(name, [rows[i] for i in mine], sessions))
        return groups

    def points(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
        """Each row as a point of the front, and what is across: "l0" or "mean activation".

        A row without figures is no point. Held-out fvu is up, training fvu where nothing was
        held out.
        """
        sparse = all(member.session.trainer.model.activation.sparse for member in self.members)
        across = "l0" if sparse else "mean_activation"
        points = []
        for member, row in zip(self.members, rows, strict=True):
            up = row["fvu"] if row["fvu_held_out"] is None else row["fvu_held_out"]
            if up is not None and row[across] is not None:
                place = {"line": member.planned.line, "label": member.planned.label}
                points.append({**place, "x": row[across], "y": up})
        return points, across.replace("_", " ")


def begin_sweep(
    data: Any,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    grid: Sequence[str] = (),
    seeds: int | None = None,
    settings: Sequence[str] = (),
    restart: bool = False,
) -> Sweep:
    """Start a sweep on `data`, its runs in `out`, or go on where the same call was cut off.

    `grid` holds `table.key=V1,V2,…` for each key that varies; all combinations are trained, each
    with `seeds` seeds from the recipe's own on. Every model keeps its prepared held-out samples,
    and with L-BFGS its prepared training samples, in memory, as a single training does.

    Raises:
        UsageError: a key or a value that does not fit, more than 64 models, or settings other
            than those that a run was begun with.
        DataError, RunError: as `session.begin` does.
    """
    if Run(out).exists:
        raise RunError(f"'{out}' is a run; a sweep needs a folder of its own: choose another --out")
    if Path(out).is_file():
        raise RunError(f"'{out}' is a file; a sweep needs a folder: choose another --out")
    notes: list[str] = []
    if recipe is None:
        recipe, notes = default_recipe(data, settings)
    sources: dict[str, Source] = {}
    members: list[Member] = []
    fresh: list[Run] = []
    try:
        for one in plan(recipe.changed(settings), grid, seeds):
            source, place = _open(data, one.recipe, sources), Path(out) / one.name
            new = not Run(place).exists
            session = begin(data, place, one.recipe, restart=restart, source=source)
            fresh += [session.run] if new else []
            members.append(Member(one, session))
    except BaseException:
        for member in members:
            member.release()
        for run in fresh:  # all of a sweep begin, or none
            run.remove()
        with contextlib.suppress(OSError):
            Path(out).rmdir()
        raise
    notes += [note for member in members for note in member.session.notes]
    skipped = {file: None for source in sources.values() for file in source.skipped}
    return Sweep(members, list(dict.fromkeys(notes)), list(skipped))


def _open(data: Any, recipe: Recipe, sources: dict[str, Source]) -> Source:
    """The source of a recipe, opened once for all that read the same.

    Random patches are drawn by the seed; anything else is the same for every seed.
    """
    same = json.dumps(dataclasses.asdict(recipe.data), sort_keys=True)
    mine = f"{same} {recipe.train.seed}"
    found = sources.get(same) or sources.get(mine)
    if found is None:
        found = shared(recipe.source(data))
        sources[mine if isinstance(found, PatchSource) else same] = found
    return found


def _order(recipe: Recipe) -> tuple[str, int, int]:
    """Recipes that agree in this want the same batches."""
    data = json.dumps(dataclasses.asdict(recipe.data), sort_keys=True)
    return data, recipe.train.seed, recipe.optim.batch_size
