"""The six tables of a recipe: their keys, the defaults, and the checks of what a file says."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from simplecell.data.options import Reading
from simplecell.errors import UsageError, unknown
from simplecell.training.objective import TERMS


@dataclass(frozen=True)
class Data(Reading):
    """Where samples come from; the keywords of `as_source`.

    With `targets`, a file of one row a sample, a transcoder is trained: it reconstructs these.
    """

    targets: str | None = None


@dataclass(frozen=True)
class Preparation:
    """Steps of `Preprocess`, or "auto": the data's range mapped to the output's where needed."""

    steps: str | list[Any] = "auto"


@dataclass(frozen=True)
class Model:
    """The autoencoder; n_latents "auto" is twice the inputs, or half of them without sparsity.

    A list of n_latents makes a deep network, whose `activation` is one name for all layers or a
    list with one for each. `center` subtracts the mean of the data before the encoder; what is
    reconstructed keeps it; with `pre_bias` it is the offset that is subtracted. `target_l0` is how
    many latents may be active a sample ("auto": a quarter of the inputs, at most 32; 0: whatever
    the weights of the terms lead to): the k of topk and batchtopk codes. `bandwidth` is that of
    jumprelu codes. `init` is how weights start: "uniform", or "transpose" (unit atoms in random
    directions, the encoder their copy).
    """

    n_latents: int | str | list[int] = 25
    activation: str | list[str] = "sigmoid"
    output: str = "sigmoid"
    tied: bool = False
    center: bool = False
    pre_bias: bool = False
    target_l0: float | str = 0.0
    bandwidth: float = 0.5
    init: str = "uniform"


@dataclass(frozen=True)
class Optim:
    """How the weights move.

    learning_rate "auto" follows from the number of latents; `beta2` is Adam's memory of squared
    gradients. `unit_norm` holds atoms at length 1.
    A latent is dead that was silent for `dead_after` samples ("auto": a twentieth of the data, and
    long enough for what is wanted of it); `resample` times in the first half dead latents are
    drawn anew.
    """

    kind: str = "lbfgs"
    tolerance: float = 1e-9
    learning_rate: float | str = 1e-3
    schedule: str = "constant"
    beta2: float = 0.999
    batch_size: int = 1000
    unit_norm: bool = False
    dead_after: int | str = "auto"
    resample: int = 0


@dataclass(frozen=True)
class Train:
    """How long, from which seed, in which precision; patience 0 never stops early.

    steps "auto" are as many as `max_samples` give; max_samples "auto" is two million, or the data
    once where there are more. `corruption` ("mask" or "gaussian", of `corruption_level`) is noise
    on the inputs alone.
    """

    steps: int | str = 400
    max_samples: int | str = "auto"
    seed: int = 0
    patience: int = 0
    corruption: str = "none"
    corruption_level: float = 0.3
    dtype: str = "float32"
    device: str = "auto"


TABLES: dict[str, type] = {
    "data": Data,
    "preprocess": Preparation,
    "model": Model,
    "objective": dict,
    "optim": Optim,
    "train": Train,
}


def build_table(name: str, table: type, values: Mapping[str, object]) -> object:
    """A table from its keys. Raises UsageError for a key or a value that does not fit."""
    types = get_type_hints(table)
    built = dict(values)
    for key, value in values.items():
        if key not in types:
            raise unknown(f"key of [{name}]", key, types)
        allowed = get_args(types[key]) or (types[key],)
        plain = tuple(getattr(kind, "__origin__", kind) for kind in allowed)
        wide = (*plain, int) if float in plain else plain
        wrong_bool = isinstance(value, bool) and bool not in plain
        items = [kind for outer in allowed for kind in get_args(outer) if kind is not Any]
        wrong_item = isinstance(value, list) and any(type(v) not in items for v in value if items)
        automatic = f"{name}.{key}" in AUTOMATIC
        wrong_word = automatic and isinstance(value, str) and value != "auto"
        if not isinstance(value, wide) or wrong_bool or wrong_item or wrong_word:
            wanted = " or ".join(
                '"auto"' if automatic and kind is str else _word(kind)
                for kind in allowed
                if kind is not type(None)
            )
            raise UsageError(f"recipe: {name}.{key} must be {wanted}; got {reprlib.repr(value)}")
        if value == "":
            raise UsageError(f"recipe: {name}.{key} is empty; give a value, or leave the key out")
        if isinstance(value, list) and items:
            _check_items(f"{name}.{key}", value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_range(f"{name}.{key}", value)
            real = float in plain and int not in plain
            built[key] = float(value) if real else value  # 3 and 3.0 are no change
    return table(**built)


def _check_items(name: str, values: list[object]) -> None:
    if len(values) > MOST_ITEMS:
        raise UsageError(
            f"recipe: {name} has {len(values)} entries; at most {MOST_ITEMS} are taken"
        )
    for value in values:
        if isinstance(value, int):
            _check_range(name, value)


def _word(kind: Any) -> str:
    """A type as a sentence names it: "int", "list of int"."""
    items = [item.__name__ for item in get_args(kind) if item is not Any]
    return f"list of {items[0]}" if items else getattr(kind, "__origin__", kind).__name__


def build_terms(name: str, table: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The [objective] table: one table a term. Raises UsageError for what does not fit."""
    for kind, term in values.items():
        if kind not in TERMS:
            raise unknown("term", kind, TERMS)
        if not isinstance(term, Mapping):
            raise UsageError(
                f"recipe: {name}.{kind} must be a table such as {{ weight = 1.0 }}; "
                f"got {reprlib.repr(term)}"
            )
        for key, value in term.items():
            if key == "widths":
                _check_widths(f"{name}.{kind}.widths", value)
                continue
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise UsageError(
                    f"recipe: {name}.{kind}.{key} must be a number; got {reprlib.repr(value)}"
                )
            _check_range(f"{name}.{kind}.{key}", value)
    return {
        kind: {key: value if key == "widths" else float(value) for key, value in term.items()}
        for kind, term in values.items()
    }


def _check_widths(name: str, value: object) -> None:
    if value == "auto":
        return
    if not isinstance(value, list) or any(type(width) is not int for width in value):
        raise UsageError(
            f'recipe: {name} must be "auto" or a list of int; got {reprlib.repr(value)}'
        )
    _check_items(name, value)


AUTOMATIC = (
    "model.n_latents",
    "model.target_l0",
    "optim.learning_rate",
    "optim.dead_after",
    "train.steps",
    "train.max_samples",
)
"""Numbers that may be left to the data by the one word "auto"."""
LEAST = {
    "train.steps": 1,
    "train.max_samples": 1,
    "train.patience": 0,
    "train.seed": 0,
    "optim.tolerance": 0,
    "optim.dead_after": 1,
    "optim.resample": 0,
    "model.target_l0": 0,
}
MOST_ITEMS = 100
MOST = {"train.seed": 2**63 - 1}
"""Limits of numbers that nothing else checks; whole numbers end at 2³¹ − 1."""


def _check_range(name: str, value: float) -> None:
    if not (isinstance(value, int) or math.isfinite(value)):
        raise UsageError(f"recipe: {name} is {value}; a finite number is needed")
    least, most = LEAST.get(name, -math.inf), MOST.get(name, 2**31 - 1)
    if value < least or (isinstance(value, int) and value > most):
        needed = f"at least {least}" if value < least else f"at most {most}"
        raise UsageError(f"recipe: {name} is {reprlib.repr(value)}; {needed} is needed")
