"""The six tables of a recipe: their keys, the defaults, and the checks of what a file says."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from simplecell.data.options import Reading
from simplecell.errors import UsageError, choice
from simplecell.run.declared import (
    field_types,
    recipe_settings,
    settings_of,
    stated_settings,
    term_settings,
)
from simplecell.run.sizes import bytes_of

Auto = Literal["auto"]
"""What is left to the data."""
Table = TypeVar("Table")


@dataclass(frozen=True)
class Data(Reading):
    """Where samples come from; the keywords of `as_source`.

    With `targets`, a file of one row a sample, a transcoder is trained: it reconstructs these.
    `block` is how many consecutive rows are moved as one where samples are shuffled ("auto": 2²⁰
    numbers); the order of the samples depends on it and on the seed, and on nothing else.
    """

    targets: str | None = None
    block: int | Auto = "auto"


@dataclass(frozen=True)
class Preparation:
    """Steps of `Preprocess`, or "auto": the data's range mapped to the output's where needed."""

    steps: str | list[Any] = "auto"


@dataclass(frozen=True)
class Model:
    """The autoencoder; n_latents "auto" is twice the inputs, or half of them without sparsity.

    A list of n_latents makes a deep network, whose `activation` is one name for all layers or a
    list with one for each. `center` subtracts the mean of the data before the encoder; what is
    reconstructed keeps it; with `pre_bias` it is the offset that is subtracted, which begins at
    that mean (of a linear output) and is learned. `target_l0` is how many latents may be active a
    sample ("auto": a quarter of the inputs, at most 32; 0: whatever the weights of the terms lead
    to): the k of topk, abstopk and batchtopk codes. `settings` are what the activation's class
    declares, each a key of [model]. `init` is how weights start: "uniform", or
    "transpose" (unit atoms in random directions, the encoder their copy); "stacked" in the run of a
    `StackedAutoencoder`, whose layers were trained one by one before, which no recipe says.
    """

    n_latents: int | Auto | list[int] = 25
    activation: str | list[str] = "sigmoid"
    output: str = "sigmoid"
    tied: bool = False
    center: bool = False
    pre_bias: bool = False
    target_l0: float | Auto = 0.0
    settings: dict[str, object] = field(default_factory=stated_settings)
    init: str = "uniform"

    def __post_init__(self) -> None:
        kinds = [self.activation] if isinstance(self.activation, str) else self.activation
        for name in self.settings.keys() - stated_settings().keys():
            if not any(name in settings_of(kind) for kind in kinds):
                raise UsageError(
                    f"model.{name} is no setting of '{', '.join(kinds)}' codes; leave it out"
                )

    def keys(self) -> dict[str, object]:
        """What a recipe writes: the settings among the others."""
        keys: dict[str, object] = {}
        for name, value in vars(self).items():
            keys |= self.settings if name == "settings" else {name: value}
        return keys


@dataclass(frozen=True)
class Optim:
    """How the weights move.

    learning_rate "auto" follows from the number of latents; `beta2` is Adam's memory of squared
    gradients. `unit_norm` holds atoms at length 1.
    A latent is dead that was silent for `dead_after` samples ("auto": a twentieth of the data, and
    long enough for what is wanted of it); `resample` times in the first half dead latents are
    drawn anew. `refine` times in the third quarter exact codes move the dictionary, which gradients
    leave alone from half of the training on.
    """

    kind: str = "lbfgs"
    tolerance: float = 1e-9
    learning_rate: float | Auto = 1e-3
    schedule: str = "constant"
    beta2: float = 0.999
    batch_size: int = 1000
    unit_norm: bool = False
    dead_after: int | Auto = "auto"
    resample: int = 0
    refine: int = 0


SHARDS = ("samples", "latents")


@dataclass(frozen=True)
class Train:
    """How long, from which seed, in which precision; patience 0 never stops early.

    steps "auto" are as many as `max_samples` give; max_samples "auto" is two million, or the data
    once where there are more. `corruption` ("mask" or "gaussian", of `corruption_level`) is noise
    on the inputs alone. `tf32` lets a GPU round the factors of Adam's matrix products to 10 bits.
    `shard` says what is dealt to several processes: "samples", each batch, or "latents", for a
    dictionary too large for one of them.
    `memory`, such as "1GB", is what the process may take of the machine's
    memory ("auto": all); what is learned does not depend on it, save the last digits of L-BFGS,
    whose sums go over larger or smaller chunks.
    """

    steps: int | Auto = 400
    max_samples: int | Auto = "auto"
    seed: int = 0
    patience: int = 0
    corruption: str = "none"
    corruption_level: float = 0.3
    dtype: str = "float32"
    device: str = "auto"
    tf32: bool = True
    shard: str = "samples"
    memory: str = "auto"

    def __post_init__(self) -> None:
        choice("train.shard", self.shard, SHARDS)
        if self.memory != "auto":
            bytes_of(self.memory)


LEAST = {
    "train.steps": 1,
    "train.max_samples": 1,
    "train.patience": 0,
    "train.seed": 0,
    "data.block": 1,
    "optim.tolerance": 0,
    "optim.dead_after": 1,
    "optim.resample": 0,
    "optim.refine": 0,
    "model.target_l0": 0,
}
MOST_ITEMS = 100
MOST = {"train.seed": 2**63 - 1}
"""Limits of numbers that nothing else checks; whole numbers end at 2³¹ − 1."""


def build_table(name: str, table: type[Table], values: Mapping[str, object]) -> Table:
    """A table from its keys. Raises UsageError for a key or a value that does not fit."""
    built = check_table(name, table, values)
    if table is Model:
        told = {key: built.pop(key) for key in recipe_settings() if key in built}
        built["settings"] = stated_settings() | told
    return table(**built)


def check_table(name: str, table: type, values: Mapping[str, object]) -> dict[str, Any]:
    """The values as their keys take them. Raises UsageError for a key or a value that is wrong."""
    return _read(f"[{name}]", name, _types(table), values)


def build_terms(values: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The [objective] table: one table a term. Raises UsageError for what does not fit."""
    terms: dict[str, dict[str, object]] = {}
    known = term_settings()
    for kind, term in values.items():
        choice("term", kind, known)
        if not isinstance(term, Mapping):
            raise UsageError(
                f"recipe: objective.{kind} must be a table such as {{ weight = 1.0 }}; "
                f"got {reprlib.repr(term)}"
            )
        types = known[kind]
        terms[kind] = _read(f"term '{kind}'", f"objective.{kind}", types, term, IN_TERMS)
    return terms


def _read(
    whose: str,
    name: str,
    types: Mapping[str, Any],
    values: Mapping[str, object],
    words: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Values as the types of their keys take them; `words` name types in errors."""
    for key in values:
        choice(f"key of {whose}", key, types)
    return {key: _taken(f"{name}.{key}", types[key], value, words) for key, value in values.items()}


def _types(table: type) -> dict[str, Any]:
    """The types of a table's keys; those of [model] are the activations' settings as well."""
    types = field_types(table)
    if table is Model:
        del types["settings"]
        types |= recipe_settings()
    return types


IN_TERMS = {"float": "a number", "list of int": "a list of int"}


def _taken(name: str, kind: Any, value: object, words: Mapping[str, str] | None = None) -> Any:
    """The value as its key's type takes it. Raises UsageError where it does not fit."""
    kinds = [one for one in get_args(kind) or (kind,) if one is not NoneType]
    if not any(_fits(value, one) for one in kinds):
        known = words or {}
        wanted = " or ".join(known.get(_word(one), _word(one)) for one in kinds)
        raise UsageError(f"recipe: {name} must be {wanted}; got {reprlib.repr(value)}")
    if value == "":
        raise UsageError(f"recipe: {name} is empty; give a value, or leave the key out")
    items = value if isinstance(value, list) else [value]
    if len(items) > MOST_ITEMS:
        raise UsageError(f"recipe: {name} has {len(items)} entries; at most {MOST_ITEMS} are taken")
    for item in items:
        if isinstance(item, int | float) and not isinstance(item, bool):
            _check_range(name, item)
    # 3 and 3.0 are no change of a setting that takes fractions.
    return float(value) if float in kinds and type(value) is int else value


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of one of a key's types: true and 1 are not the same, 1 and 1.0 are."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(
            Any in get_args(kind) or type(item) in get_args(kind) for item in value
        )
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (float, int) if kind is float else kind)


def _word(kind: Any) -> str:
    """A type as a sentence names it: "int", "list of int", the one word that is taken."""
    if get_origin(kind) is Literal:
        return f'"{get_args(kind)[0]}"'
    items = [item.__name__ for item in get_args(kind) if item is not Any]
    return f"list of {items[0]}" if items else (get_origin(kind) or kind).__name__


def _check_range(name: str, value: float) -> None:
    if not (isinstance(value, int) or math.isfinite(value)):
        raise UsageError(f"recipe: {name} is {value}; a finite number is needed")
    least, most = LEAST.get(name, -math.inf), MOST.get(name, 2**31 - 1)
    if value < least or (isinstance(value, int) and value > most):
        needed = f"at least {least}" if value < least else f"at most {most}"
        raise UsageError(f"recipe: {name} is {reprlib.repr(value)}; {needed} is needed")
