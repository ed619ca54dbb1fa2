"""What to do, as text: strict TOML ⇄ objects, and the named recipes that ship with the package."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import tomli_w

from simplecell.errors import UsageError, choice
from simplecell.run.schema import (
    Auto,
    Data,
    Model,
    Optim,
    Preparation,
    Train,
    build_table,
    build_terms,
    check_table,
)

if TYPE_CHECKING:
    from torch import Tensor

    from simplecell.data import Source
    from simplecell.distributed import Alone
    from simplecell.model.autoencoder import Autoencoder
    from simplecell.model.deep import DeepAutoencoder
    from simplecell.preprocess.chain import Preprocess
    from simplecell.training.prepared import Room
    from simplecell.training.trainer import Trainer

# What needs torch is imported where it is needed: a mistake is told without waiting for it.

SHORT = 0.1
"""Length of atoms at the start where it is free. Source: Anthropic, April 2024."""
LONG = 10_000_000
Number = TypeVar("Number", int, float)
DTYPES = ("float32", "float64")
"""Names of torch's types that a model may be in."""


@dataclass(frozen=True)
class Recipe:
    """Six tables that say everything that training needs, data apart."""

    data: Data = field(default_factory=Data)
    preprocess: Preparation = field(default_factory=Preparation)
    model: Model = field(default_factory=Model)
    objective: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"reconstruction": {"weight": 0.5}}
    )
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)

    @classmethod
    def from_table(cls, tables: Mapping[str, object]) -> Recipe:
        """A recipe from nested tables.

        Raises:
            UsageError: for an unknown table, key or kind (the nearest known one is named), or a
                value of the wrong type.
        """
        built: dict[str, Any] = {}
        for name, values in tables.items():
            choice("recipe table", name, TABLES)
            if not isinstance(values, Mapping):
                raise UsageError(f"recipe: '{name}' must be a table; got {values!r}")
            if name == "objective":
                built[name] = build_terms(values)
            else:
                built[name] = build_table(name, TABLES[name], values)
        recipe = cls(**built)
        choice("train.dtype", recipe.train.dtype, DTYPES)
        recipe._check_values()
        return recipe

    def _check_values(self) -> None:
        """What terms and steps themselves refuse."""
        from simplecell.preprocess.chain import Preprocess
        from simplecell.training.objective import Objective

        Objective(self.objective)
        if self.preprocess.steps != "auto":
            Preprocess(self.preprocess.steps)

    @classmethod
    def load(cls, name: str | Path) -> Recipe:
        """A named recipe, or a TOML file (anything with a suffix or a slash is a file)."""
        path = Path(name)
        if path.suffix or len(path.parts) > 1:
            if not os.path.isfile(path):
                raise UsageError(
                    f"recipe file '{path}' does not exist; recipes: {', '.join(names())}"
                )
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"recipe file '{path}' cannot be read: {error}") from error
            return cls.from_text(text, str(path))
        choice("recipe", str(name), names())
        return cls.from_text(_shipped(str(name)), str(name))

    @classmethod
    def from_text(cls, text: str, where: str) -> Recipe:
        """A recipe from TOML text; `where` names it in errors."""
        try:
            return cls.from_table(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"recipe '{where}' is not valid TOML: {error}") from error

    def table(self) -> dict[str, dict[str, Any]]:
        """The six tables; keys without a value are left out, as TOML has none."""
        tables = {**dataclasses.asdict(self), "model": self.model.keys()}
        return {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in tables.items()
        }

    def text(self) -> str:
        """The recipe as TOML; reading it back gives the same recipe."""
        return tomli_w.dumps(self.table())

    def changed(self, settings: Iterable[str] | Mapping[str, object]) -> Recipe:
        """The recipe with settings applied: `table.key=value`, values as TOML writes them.

        Or a mapping of keys to values; a key that is a table alone stands for all of it.

        Raises:
            UsageError: for a setting without '=', an unknown key or a wrong value.
        """
        tables = self.table()
        pairs = settings.items() if isinstance(settings, Mapping) else map(_parsed, settings)
        for key, value in pairs:
            _put(tables, key, value)
        return Recipe.from_table(tables)

    def differences(self, other: Recipe) -> list[str]:
        """Keys whose values differ, as `table.key: mine, theirs`."""
        mine, theirs = (
            {key: json.dumps(value) for key, value in flat(recipe.table()).items()}
            for recipe in (self, other)
        )
        return [
            f"{key}: {mine.get(key, 'unset')}, {theirs.get(key, 'unset')}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]

    def source(self, data: object, **more: object) -> Source:
        """The source that the [data] table makes of `data` (a path or an array)."""
        from simplecell.data import as_source

        told = {**dataclasses.asdict(self.data), "seed": self.train.seed, **more}
        del told["targets"]  # what a transcoder gives: rows of another file
        del told["block"]  # the order of samples is the trainer's
        return as_source(data, **told)

    @property
    def n_steps(self) -> int:
        """The length of the training; a recipe that still says "auto" has none."""
        return whole(self.train.steps, "train.steps")

    def trainer(
        self,
        preprocess: Preprocess,
        center: Tensor | None = None,
        n_outputs: int | None = None,
        room: Room | None = None,
        ranks: Alone | None = None,
    ) -> Trainer:
        """A trainer with an initialised model behind a fitted preparation.

        `center` [D'] is a mean, for a model that subtracts it; `n_outputs` a transcoder's width,
        `room` what may be held of samples (None: as much as there is). `ranks` are the processes
        that it will join: where latents are dealt to them it has its own of these.
        """
        from simplecell.distributed import ALONE
        from simplecell.training.objective import Objective
        from simplecell.training.prepared import EVERYTHING, Corruption, resolve_device
        from simplecell.training.trainer import Trainer
        from simplecell.training.weights import initialise

        ranks = ranks or ALONE
        model = self.build_model(preprocess.n_outputs, n_outputs, self.holders(ranks))
        train, optim = self.train, self.optim
        length = 1.0 if optim.unit_norm else SHORT
        initialise(model, train.seed, self.model.init, length, ranks)
        if center is not None:
            model.layers[0].set_center(center)
        return Trainer(
            model.to(resolve_device(train.device)),
            Objective(self.objective),
            preprocess,
            solver=optim.kind,
            learning_rate=whole(optim.learning_rate, "optim.learning_rate"),
            schedule=optim.schedule,
            beta2=optim.beta2,
            batch_size=optim.batch_size,
            tolerance=optim.tolerance,
            seed=train.seed,
            block=None if self.data.block == "auto" else self.data.block,
            patience=train.patience,
            corruption=Corruption(train.corruption, train.corruption_level),
            unit_norm=optim.unit_norm,
            target_l0=None if model.activation.counts else self.target_l0 or None,
            dead_after=LONG if optim.dead_after == "auto" else optim.dead_after,
            resample=optim.resample,
            refine=optim.refine,
            tf32=train.tf32,
            room=room or EVERYTHING,
        )

    @property
    def target_l0(self) -> float:
        """Active latents wanted of a sample; 0: nothing is."""
        return whole(self.model.target_l0, "model.target_l0")

    def holders(self, ranks: Alone) -> int:
        """Of these processes, those that latents are dealt to: all of them, or one."""
        return ranks.size if self.train.shard == "latents" else 1

    def build_model(
        self, n_inputs: int, n_outputs: int | None = None, holders: int = 1
    ) -> Autoencoder | DeepAutoencoder:
        """The model, its weights still zero; with n_outputs a transcoder.

        Where latents are dealt to several holders, the share of one.
        """
        import torch

        from simplecell.model.autoencoder import Autoencoder
        from simplecell.model.deep import DeepAutoencoder

        asked, dtype = self.model, getattr(torch, self.train.dtype)
        sizes = asked.n_latents
        deep = isinstance(sizes, list)
        if holders > 1 and deep:
            raise UsageError(
                "train.shard=latents is for one layer; leave it out with a list of n_latents"
            )
        if asked.tied and deep:
            raise UsageError("model.tied is for one layer; leave it out with a list of n_latents")
        if asked.center and asked.pre_bias:
            raise UsageError(
                "model.center subtracts the mean of the inputs, and model.pre_bias an offset that "
                "begins there and is learned; leave one of them out"
            )
        if not isinstance(sizes, list):
            sizes = [whole(sizes, "model.n_latents")]
        if isinstance(asked.activation, str) and not deep:
            model: Autoencoder | DeepAutoencoder = Autoencoder(
                n_inputs,
                sizes[0],
                activation=asked.activation,
                output=asked.output,
                tied=asked.tied,
                pre_bias=asked.pre_bias,
                n_outputs=n_outputs,
                dtype=dtype,
                holders=holders,
                **self._settings(asked.activation),
            )
        else:
            model = DeepAutoencoder.of_sizes(
                n_inputs,
                whole_numbers(sizes) if deep else sizes,
                activation=asked.activation,
                output=asked.output,
                tied=asked.tied,
                dtype=dtype,
                **asked.settings,
            )
            model = model if deep else model.layers[0]
        model.layers[0].centred = asked.center
        return model

    def _settings(self, kind: str) -> dict[str, object]:
        """What the activation is told."""
        from simplecell.model.activations import ACTIVATIONS, settings_of

        told, known = self.model.settings, settings_of(kind)
        counts = ACTIVATIONS[kind].counts
        wanted: dict[str, object] = {counts: self.target_l0} if counts else {}
        return wanted | {name: told[name] for name in known if name in told}


def check_settings(settings: Iterable[str]) -> None:
    """Raise UsageError for a setting whose key does not exist, or whose value is of another type.

    Before anything is opened, and whatever recipe they will change: `Recipe.changed` checks what
    belongs together.
    """
    tables = Recipe().table()
    for key, value in map(_parsed, settings):
        _put(tables, key, value)
    for name, values in tables.items():
        if name == "objective":
            build_terms(values)
        else:
            check_table(name, TABLES[name], values)


TABLES = get_type_hints(Recipe)
"""The type of each table, by its name."""


def whole(value: Number | Auto, name: str) -> Number:
    """A number of a resolved recipe. Raises UsageError for "auto"."""
    if isinstance(value, str):
        raise UsageError(f"{name} is {value!r}; a number is needed")
    return value


def whole_numbers(sizes: list[int]) -> list[int]:
    """The sizes of a deep network's layers. Raises UsageError for anything else in the list."""
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise UsageError(
            f"model.n_latents is {list(sizes)!r}; a list holds the latents of each layer, "
            "whole numbers of at least 1"
        )
    return list(sizes)


def names() -> list[str]:
    """The recipes that ship with the package."""
    files = resources.files("simplecell").joinpath("recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def headline(name: str) -> str:
    """The first line of a named recipe: what it is for."""
    return _shipped(name).splitlines()[0].removeprefix("# ")


def _shipped(name: str) -> str:
    file = resources.files("simplecell").joinpath("recipes", f"{name}.toml")
    return file.read_text(encoding="utf-8")


def _parsed(setting: str) -> tuple[str, object]:
    """Key and value of `table.key=value`."""
    key, equals, text = setting.partition("=")
    if not equals or "." not in key:
        raise UsageError(
            f"setting '{setting}' is not of the form table.key=value, "
            "for instance model.n_latents=256"
        )
    return key.strip(), _value(text.strip())


def _put(tables: dict[str, dict[str, Any]], path: object, value: object) -> None:
    """Set what lies at `table.key` to a value; a whole table where the path is its name."""
    name, *keys = str(path).split(".")
    choice("recipe table", name, TABLES)
    if not keys:
        if not isinstance(value, Mapping):
            raise UsageError(
                f"setting '{name}' is {value!r}; a table is needed, or a key in it such as "
                "model.n_latents"
            )
        tables[name] = dict(value)
        return
    place = tables[name]
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise UsageError(f"setting '{path}': '{key}' is not a table")
    place[keys[-1]] = value


def _value(text: str) -> object:
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by `table.key`."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
