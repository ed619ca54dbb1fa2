"""The one table of parameters: what an estimator is told, as a recipe says it, and back.

`said_by` walks it from an estimator to a recipe, `read` from a recipe to an estimator.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from simplecell.errors import UsageError, choice, real, switch, whole
from simplecell.run.recipe import Recipe, flat
from simplecell.run.schema import Data

Check = Callable[[str, object], None]
Steps = Sequence[str | Mapping[str, object]] | str | None
"""Steps of a preparation, "auto", or None for none."""
Sizes = int | str | Sequence[int]
"""A number of latents, "auto", or one number a layer of a deep network."""
Randomness = int | np.integer | np.random.RandomState | None
positive = partial(real, above=0)


def seed_of(random_state: Randomness) -> int:
    """The seed that a `random_state` means: an integer is one, all else draws one."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def plain(value: object) -> object:
    """NumPy's numbers as Python's own, and sequences as lists, as a recipe holds them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def kept(value: object) -> object:
    """A recipe's value as a parameter: a sequence that nobody can change by accident."""
    return tuple(value) if isinstance(value, list) else value


def automatic(check: Check) -> Check:
    """The check of a number that may be left to the data by the word "auto"."""

    def checked(name: str, value: object) -> None:
        if isinstance(value, str):
            if value != "auto":
                raise UsageError(f'{name} is {value!r}; a number or "auto" is needed')
            return
        check(name, value)

    return checked


def sizes(name: str, value: object) -> None:
    """Raises UsageError unless this is a size or "auto"; the recipe judges sequences of them."""
    if not isinstance(value, list | tuple | np.ndarray):
        automatic(whole)(name, value)


def anything(name: str, value: object) -> None:
    """What the recipe itself judges."""


@dataclass(frozen=True)
class Parameter:
    """How a recipe says what an estimator's parameter says."""

    key: str
    check: Check = anything
    there: Callable[[Any], object] = plain
    """The parameter as the recipe has it."""
    back: Callable[[Any], object] | None = kept
    """The recipe's value as the parameter, if it passes `check`; None: another one says it."""
    optional: bool = False
    """Whether None says nothing."""


def words(key: str, meanings: dict[str, object]) -> Parameter:
    """A parameter that is one of a few words, each of which means a value of the recipe."""

    said = {meaning: word for word, meaning in meanings.items()}
    return Parameter(key, partial(choice, known=meanings), meanings.__getitem__, said.get)


PARAMETERS = {
    "n_latents": Parameter("model.n_latents", sizes),
    "activation": Parameter("model.activation"),
    "batchwise": Parameter(
        "model.activation",
        switch,
        {False: "topk", True: "batchtopk"}.__getitem__,
        {"topk": False, "batchtopk": True}.get,
    ),
    "signed": Parameter(
        "model.activation",
        switch,
        {False: "topk", True: "abstopk"}.__getitem__,
        {"topk": False, "batchtopk": False, "abstopk": True}.get,
    ),
    "output": Parameter("model.output"),
    "likelihood": words("model.output", {"bernoulli": "sigmoid", "gaussian": "linear"}),
    "tied": Parameter("model.tied", there=bool),
    "center": Parameter("model.center", there=bool),
    "target_l0": Parameter("model.target_l0", automatic(positive)),
    "k": Parameter("model.target_l0", positive, back=None, optional=True),
    "preprocess": Parameter(
        "preprocess.steps", there=lambda steps: [] if steps is None else plain(steps)
    ),
    "target": Parameter("objective.kl.target"),
    "sparsity_weight": Parameter("objective.kl.weight"),
    "weight_decay": Parameter(
        "objective.decay.weight", real, lambda both: float(both) / 2, lambda half: 2 * half
    ),
    "beta": Parameter("objective.gaussian_kl.weight"),
    "l1_weight": Parameter("objective.l1.weight", real, optional=True),
    "widths": Parameter("objective.nested.widths"),
    "solver": Parameter("optim.kind"),
    "tol": Parameter("optim.tolerance"),
    "batch_size": Parameter("optim.batch_size", whole),
    "learning_rate": Parameter("optim.learning_rate", automatic(positive)),
    "form": words("optim.unit_norm", {"scaled": False, "unit_norm": True}),
    "max_iter": Parameter("train.steps", whole),
    "max_samples": Parameter("train.max_samples", automatic(whole)),
    "validation_fraction": Parameter("data.held_out"),
    "n_iter_no_change": Parameter("train.patience"),
    "corruption": Parameter("train.corruption"),
    "corruption_level": Parameter("train.corruption_level"),
    "random_state": Parameter("train.seed", there=seed_of),
    "dtype": Parameter("train.dtype"),
    "device": Parameter("train.device"),
}
"""By name. Where a recipe counts otherwise (steps for passes), the estimator puts it right."""


def said_by(told: Mapping[str, object]) -> dict[str, object]:
    """What a recipe says where an estimator was told these parameters, by recipe key.

    Raises:
        UsageError: for one that is not what it must be.
    """
    said = {}
    for name, parameter in PARAMETERS.items():
        if name in told and not (parameter.optional and told[name] is None):
            parameter.check(name, told[name])
            said[parameter.key] = parameter.there(told[name])
    return said


def read(recipe: Recipe, names: Container[str]) -> dict[str, Any]:
    """Those of the named parameters that say what the recipe says."""
    values, found = flat(recipe.table()), {}
    for name, parameter in PARAMETERS.items():
        if name in names and parameter.back is not None and parameter.key in values:
            value = parameter.back(values[parameter.key])
            with contextlib.suppress(UsageError):
                parameter.check(name, value)
                found[name] = value
    return found


def refuse_reading(data: Data) -> None:
    """Raises UsageError for what is done to pictures and files, and not to rows."""
    if data.kind == "patches" or data.whiten != "none":
        asked = "data.kind=patches" if data.kind == "patches" else f"data.whiten={data.whiten}"
        raise UsageError(
            f"settings say {asked}, but X holds rows, one a sample, and no pictures to cut or "
            "whiten; train on the pictures (simplecell train), or leave the key out and give "
            "rows that are prepared"
        )
    own = {"kind": "auto", "held_out": Data().held_out, "targets": None, "block": "auto"}
    rest = dataclasses.replace(data, **own)  # type: ignore[arg-type]
    for key, value in vars(rest).items():
        if value != getattr(Data(), key):
            raise UsageError(
                f"settings name data.{key}, which says how a file is read, but X holds rows that "
                "are read already; leave it out"
            )


@dataclass(eq=False, repr=False)
class Shared:
    """The parameters of every estimator that is a recipe."""

    n_latents: Sizes = "auto"
    _: KW_ONLY
    preprocess: Steps = "auto"
    batch_size: int = 1000
    learning_rate: float | str = 1e-3
    dtype: str = "float32"
    random_state: Randomness = None
    device: str = "auto"
    verbose: bool = False
    settings: Mapping[str, object] | None = None
