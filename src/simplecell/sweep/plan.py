"""From `--grid KEY=V1,V2` and `--seeds N` to one recipe and one name for each model of a sweep."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplecell.errors import UsageError
from simplecell.recipe import Recipe

MOST_MODELS = 64
SEED = "train.seed"
_OPENING, _CLOSING, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True)
class Planned:
    """One model to train."""

    name: str
    """What varies, as the name of its folder: "seed=2 target_l0=16"."""
    varied: dict[str, Any]
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
    count = 1
    for values in axes.values():
        count *= len(values)
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
    recipe: Recipe, axes: Mapping[str, Any], words: Mapping[str, str], along: str, seeds: int | None
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


def _value(recipe: Recipe, key: str) -> Any:
    """What the recipe took the value for: 16 may have become 16.0."""
    place: Any = recipe.table()
    for part in key.split("."):
        place = place[part]
    return place


def _word(value: Any) -> str:
    """A value as part of a file's name."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return "-".join(_word(item) for item in value)
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-.") or "-"


def _short_names(keys: Mapping[str, Any]) -> dict[str, str]:
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


def _along(axes: Mapping[str, Any], seeds: int | None) -> str:
    """The key along which a line of the front runs: the first that moves sparsity."""
    keys = [key for key in axes if key != SEED or seeds is None]
    moving = [key for key in keys if key.startswith("objective.") or key == "model.target_l0"]
    return next(iter([*moving, *keys]), "")
