"""Whether recipe.toml still says what a run began with: weights, moments and log belong to that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simplecell.preprocess.chain import Preprocess
from simplecell.run.info import Info
from simplecell.run.recipe import Recipe, flat

STEPS = "train.steps"
CHOSEN = (STEPS, "model.pre_bias", "objective.l0.target")
"""What a resolved recipe may say otherwise than the one that was asked for, "auto" apart."""

BLOCK = "data.block"
KEPT = ("optim.kind", "optim.batch_size", "optim.schedule")


def edits(info: Info, found: Recipe) -> list[str]:
    """Keys of recipe.toml that differ from run.json, as `table.key: run.json, recipe.toml`.

    Runs of earlier versions remember what was asked for alone: of these, what was left to the data
    is not compared.

    Raises:
        UsageError: when run.json holds no recipe.
    """
    told = info.get("resolved")
    if told is None:
        return _differences(_asked(info), _stated(found))
    kept = Recipe.from_table(told)
    if _cut_short(info, kept, found):
        found = found.changed({STEPS: kept.train.steps})
    return kept.differences(found)


def at_odds(asked: Recipe, found: Recipe) -> list[str]:
    """The same of what no recipe leaves to the data, so that both must say it whatever wrote them:
    how data are read, and how batches follow one another."""
    mine, theirs = flat(asked.table()), flat(found.table())
    if mine[BLOCK] == "auto":  # the one key of [data] that a run resolves
        mine[BLOCK] = theirs[BLOCK]
    keys = (key for key in sorted(mine | theirs) if key.startswith(("data.", *KEPT)))
    return _differences({key: mine.get(key) for key in keys}, theirs)


def _cut_short(info: Info, kept: Recipe, found: Recipe) -> bool:
    """Whether the process died between the two files, when the run was told to go on for longer."""
    mine, theirs = kept.train.steps, found.train.steps
    numbers = isinstance(mine, int) and isinstance(theirs, int)
    return info["status"] == "running" and numbers and theirs < mine  # type: ignore[operator]


def _asked(info: Info) -> dict[str, Any]:
    """What was asked for, as far as it names a value."""
    asked = _stated(Recipe.from_table(info["requested"]))
    return {key: v for key, v in asked.items() if v != "auto" and key not in CHOSEN}


def _stated(recipe: Recipe) -> dict[str, Any]:
    steps = recipe.preprocess.steps
    told = flat(recipe.table())
    return told if isinstance(steps, str) else told | {"preprocess.steps": Preprocess(steps).steps}


def _differences(asked: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    pairs = ((key, json.dumps(v), json.dumps(found.get(key))) for key, v in asked.items())
    return [f"{key}: {mine}, {theirs}" for key, mine, theirs in pairs if mine != theirs]
