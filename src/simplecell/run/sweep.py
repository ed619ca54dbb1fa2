"""Several models on one pass over the data: a grid of settings, seeds, a run for each model.

The models take their steps in turn, and those that want the same samples share one reading
(`data.shared`). Each has its own run directory, and is bit for bit what training it alone makes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import re
import statistics
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplecell.data import PatchSource, Skipped, Source
from simplecell.data.shared import shared
from simplecell.errors import DivergedError, RunError, UsageError
from simplecell.model.matching import nearest
from simplecell.run.begin import begin, default_recipe
from simplecell.run.directory import Run, reported_pca
from simplecell.run.recipe import Recipe
from simplecell.run.session import Session
from simplecell.training.trainer import Record

MOST_MODELS = 64
SEED = "train.seed"
MEASURED = ("fvu", "fvu_held_out", "l0", "dead", "mean_activation")
_OPENING, _CLOSING, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True)
class Planned:
    """One model to train."""

    name: str
    """What varies, as the name of its folder: "seed=2 target_l0=16"."""
    varied: dict[str, object]
    """Value of each key that varies, the seed among them."""
    recipe: Recipe
    group: str | None
    """Name without the seed, where --seeds asked for several; else None."""
    label: str
    """Value along its line of the front."""
    line: str
    """What else varies, the seed apart: models that agree in it share a line."""


def plan(recipe: Recipe, grid: Sequence[str], seeds: int | None = None) -> list[Planned]:
    """Every combination of the grid's values, each with every seed.

    Raises:
        UsageError: for a key or a value that does not fit, a key said twice, nothing to vary,
            two models of one name, or more than 64 models.
    """
    axes = _axes(grid, seeds, recipe.train.seed)
    count = math.prod(len(values) for values in axes.values())
    if count > MOST_MODELS:
        raise _too_many(count)
    words = _short_names(axes)
    along = _along(axes, seeds)
    models: dict[str, Planned] = {}
    for texts in itertools.product(*axes.values()):
        pairs = zip(axes, texts, strict=True)
        changed = recipe.changed([f"{key}={text}" for key, text in pairs])
        one = _planned(changed, axes, words, along, seeds)
        if one.name in models:
            raise UsageError(
                f"two models of this sweep would be called '{one.name}'; give each value once"
            )
        models[one.name] = one
    return list(models.values())


def _too_many(count: int) -> UsageError:
    return UsageError(
        f"this sweep would have {count} models; at most {MOST_MODELS} are trained together: "
        "split the grid into several sweeps"
    )


def _axes(grid: Sequence[str], seeds: int | None, seed: int) -> dict[str, list[str]]:
    """The texts of each key's values; the seeds last, so that one group stands together."""
    axes: dict[str, list[str]] = {}
    for said in grid:
        key, equals, text = said.partition("=")
        key, values = key.strip(), _split(text)
        if not equals or "." not in key:
            raise UsageError(
                f"grid '{said}' is not of the form table.key=V1,V2, "
                "for instance model.target_l0=16,32"
            )
        if not all(values):
            raise UsageError(f"grid '{said}' has an empty value; give values, a comma between two")
        if key in axes:
            raise UsageError(f"grid has '{key}' twice; give all of its values at once")
        axes[key] = values
    if seeds is not None:
        if seeds < 1 or SEED in axes:
            wrong = f"seeds is {seeds}" if seeds < 1 else f"seeds came with a grid of {SEED}"
            raise UsageError(f"{wrong}; give at least one seed, in one of the two ways")
        if seeds > MOST_MODELS:
            raise _too_many(seeds)
        axes[SEED] = [str(seed + i) for i in range(seeds)]
    if not axes:
        raise UsageError("nothing varies; give --grid table.key=V1,V2 or --seeds N")
    return axes


def _split(text: str) -> list[str]:
    """Values between commas; those inside brackets and quotes do not count."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter == "," and not depth and not quote:
            parts.append("")
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        else:
            depth += (letter in _OPENING) - (letter in _CLOSING)
        parts[-1] += letter
    return [part.strip() for part in parts]


def _planned(
    recipe: Recipe,
    axes: Mapping[str, object],
    words: Mapping[str, str],
    along: str,
    seeds: int | None,
) -> Planned:
    values = {key: _value(recipe, key) for key in axes}
    said = {key: f"{words[key]}={_word(values[key])}" for key in axes}
    others = [key for key in axes if key != SEED or seeds is None]
    first = [SEED] if SEED in axes and seeds is not None else []
    return Planned(
        name=" ".join(said[key] for key in [*first, *others]),
        varied=values,
        recipe=recipe,
        group=None if seeds is None else " ".join(said[key] for key in others),
        label=said[along] if along in others else "",
        line=" ".join(said[key] for key in others if key != along),
    )


def _value(recipe: Recipe, key: str) -> object:
    """What the recipe took the value for: 16 may have become 16.0."""
    place: Any = recipe.table()
    for part in key.split("."):
        place = place[part]
    return place


def _word(value: object) -> str:
    """A value as part of a file's name."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return "-".join(_word(item) for item in value)
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-.") or "-"


def _short_names(keys: Mapping[str, object]) -> dict[str, str]:
    """The end of each key that no other key of the grid has."""
    short = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
        others = [other for other in keys if other != key]
        short[key] = next(
            (end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)),
            key,
        )
    return short


def _along(axes: Mapping[str, object], seeds: int | None) -> str:
    """The key along which a line of the front runs: the first that moves sparsity."""
    keys = [key for key in axes if key != SEED or seeds is None]
    moving = [key for key in keys if key.startswith("objective.") or key == "model.target_l0"]
    return next(iter([*moving, *keys]), "")


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
        """Its line of the table, ready for JSON; figures are None where training diverged.

        `l0` (*count*), `dead` (*fraction*) and `mean_activation` are of the held-out samples where
        there are any.
        """
        info = self.session.info
        figures = None if self.error else info["figures"]
        held = figures and figures["held_out"]
        best = held or figures
        return {
            "name": self.planned.name,
            "run": str(self.session.run.path),
            "varied": self.planned.varied,
            "status": info["status"],
            "error": self.error,
            "n_iter": info["n_iter"],
            "seconds": round(info["seconds"], 3),
            "n_latents": self.session.trainer.model.n_latents,
            "fvu": figures and figures["fvu"],
            "fvu_held_out": held and held["fvu"],
            "l0": best and best["l0"],
            "dead": best and best["dead"],
            "mean_activation": best and best["mean_activation"]["mean"],
        }


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
        first: dict[tuple[str, int, int], int] = {}
        for i, member in enumerate(self.members):
            first.setdefault(_order(member.session.recipe), i)
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

    def baseline(self) -> list[dict[str, Any]]:
        """PCA with as many components as each model has active latents, as points of a front."""
        found: dict[int, float] = {}
        for member in self.members:
            figures = None if member.error else member.session.info["figures"]
            told = None if figures is None else reported_pca(member.session.info)
            if told is not None and figures and figures["l0"] is not None:
                fewest = told["fvu"][0]
                found[fewest["components"]] = fewest["fvu"]
        return [
            {"line": "PCA, as many components", "label": f"{number}", "x": number, "y": left}
            for number, left in sorted(found.items())
            if left is not None
        ]


def begin_sweep(
    data: object,
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
    sources: dict[str, Source] = {}
    if recipe is None:
        recipe, notes, opened = default_recipe(data, settings)
        if opened is not None:
            sources[_reading(recipe.changed(settings))] = shared(opened)
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


def _open(data: object, recipe: Recipe, sources: dict[str, Source]) -> Source:
    """The source of a recipe, opened once for all that read the same.

    Random patches are drawn by the seed; anything else is the same for every seed.
    """
    same = _reading(recipe)
    mine = f"{same} {recipe.train.seed}"
    found = sources.get(same) or sources.get(mine)
    if found is None:
        found = shared(recipe.source(data))
        sources[mine if isinstance(found, PatchSource) else same] = found
    return found


def _reading(recipe: Recipe) -> str:
    """The [data] table as text."""
    return json.dumps(dataclasses.asdict(recipe.data), sort_keys=True)


def _order(recipe: Recipe) -> tuple[str, int, int]:
    """Recipes that agree in this want the same batches."""
    return _reading(recipe), recipe.train.seed, recipe.optim.batch_size


def group_of(
    name: str, rows: Sequence[Mapping[str, Any]], sessions: Sequence[Session]
) -> dict[str, Any]:
    """Mean and spread over seeds of rows with figures; the spread is the sample's, by n − 1."""
    done = [row for row in rows if row["error"] is None]
    columns = {key: [row[key] for row in done if row[key] is not None] for key in MEASURED}
    return {
        "name": name,
        "varied": {key: value for key, value in rows[0]["varied"].items() if key != SEED},
        "n_models": len(done),
        "mean": {key: statistics.fmean(v) if v else None for key, v in columns.items()},
        "std": {key: statistics.stdev(v) if len(v) > 1 else None for key, v in columns.items()},
        "stability": stability(
            [one for one, row in zip(sessions, rows, strict=True) if row["error"] is None]
        ),
    }


def stability(sessions: Sequence[Session]) -> float | None:
    """How alike dictionaries are: 1 is the same atoms, in any order; None for less than two.

    The mean, over all pairs of models, of the mean maximal cosine between their atoms in input
    units, both ways. Source: ours, of Sharkey, Braun & Millidge 2022's mean maximal cosine.
    """
    dictionaries = [
        (one.target_preprocess or one.trainer.preprocess).atoms(
            one.trainer.model.atoms().detach().double().cpu()
        )
        for one in sessions
    ]
    # Where codes may be negative, or a bias undoes a sign, an atom and its opposite are one.
    signed = all(one.trainer.model.activation.one_sided for one in sessions)
    found = []
    for first, second in itertools.combinations(dictionaries, 2):
        near = nearest(first, second, signed=signed)
        found.append((near.mean_max_first + near.mean_max_second) / 2)
    return statistics.fmean(found) if found else None
