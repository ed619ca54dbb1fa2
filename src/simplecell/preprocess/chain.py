"""Preparation: a chain of named steps, fitted once, stored, reused on new data and undone.

A step is *per sample* (its statistic travels with the row) or one `Affine` map, fitted to the data
in a streaming float64 pass. Every moment divides by the number of samples m, as in the notes.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from simplecell.errors import DataError, RunError, UsageError, choice
from simplecell.preprocess.affine import (
    PCA,
    Affine,
    Center,
    PatchRange,
    PCAWhiten,
    Range,
    RemoveDC,
    Scale,
    Standardize,
    ZCAWhiten,
)
from simplecell.preprocess.moments import Moments

Step = RemoveDC | Affine
Said = Mapping[str, object]
"""A step as a recipe says it: its kind and its options."""
CHUNK = 8192  # rows held in float64 at a time while fitting


class Prepared(NamedTuple):
    """Prepared rows [B, D'] and what each per-sample step took from them ([B, 1] each)."""

    x: Tensor
    carried: tuple[Tensor, ...]


class Preprocess:
    """The chain of `steps` (names, or tables with a kind and options), in their order.

    `fit` once, then `apply` new rows [B, D] → [B, D'], and `invert` what a model gives back.

    >>> x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    >>> chain = Preprocess(["remove_dc", {"kind": "range", "low": 0}]).fit(lambda: [x])
    >>> chain.apply(x).x.tolist()[0]
    [0.0, 0.8999999761581421]

    Raises: UsageError for an unknown step or option.
    """

    def __init__(self, steps: Sequence[str | Said]) -> None:
        if isinstance(steps, str | Mapping):
            raise UsageError(f"steps is a list, such as ['center']; got {steps!r}")
        self._steps = [_build(step) for step in steps]
        self._n_inputs: int | None = None

    @property
    def steps(self) -> list[dict[str, str | float]]:
        """The steps with every option said, ready for a recipe."""
        return [{"kind": step.kind, **step.options} for step in self._steps]

    @property
    def last(self) -> Step | None:
        """The step whose output a model sees."""
        return self._steps[-1] if self._steps else None

    @property
    def fitted_steps(self) -> tuple[Step, ...]:
        """The steps themselves, with what they learned."""
        return tuple(self._steps)

    @property
    def fitted(self) -> bool:
        return self._n_inputs is not None

    @property
    def n_inputs(self) -> int:
        """D, columns of a raw row (count)."""
        if self._n_inputs is None:
            raise UsageError("this preparation is not fitted yet: call fit(batches) first")
        return self._n_inputs

    @property
    def n_outputs(self) -> int:
        """D', columns of a prepared row (count)."""
        width = self.n_inputs
        for step in self._steps:
            width = _width(step, width)
        return width

    @property
    def centred(self) -> bool:
        """Whether each prepared column has the mean 0 over the rows that this was fitted to."""
        at_zero = False
        for step in self._steps:
            if isinstance(step, Center | Standardize | PCA):
                at_zero = True
            elif isinstance(step, Range):  # the others are linear, and leave a mean of 0 there
                at_zero = False
        return at_zero

    @property
    def by_number(self) -> bool:
        """Whether a prepared number follows from one raw number alone, so that it is the same
        bit for bit whichever rows are prepared together."""
        return all(len(step.form.get("matrix", "DD")) < 2 for step in self._steps)

    def fit(self, batches: Callable[[], Iterable[Tensor]], moments: Moments | None = None) -> Self:
        """Learn each step; `batches()` gives a fresh pass over rows [B, D].

        One pass serves all steps up to one whose moments do not follow from those before it: after
        per-sample steps, clipping, or for the ends of columns that were scaled each by itself.
        `moments` are those of the raw rows, where somebody has read them already.

        Raises: DataError for data that are empty, not finite or of changing width, and where a
        step has no solution (`zca_whiten` with epsilon=0 and a singular covariance).
        """
        self._n_inputs, width = None, None if moments is None else len(moments.mean)
        with torch.inference_mode(False), torch.no_grad():
            for index, step in enumerate(self._steps):
                if not isinstance(step, Affine):
                    moments = None
                    continue
                if not step.can_solve(moments):
                    width, moments = self._read(batches, index)
                assert moments is not None
                step.fit(moments)
                moments = step.after(moments)
        self._n_inputs = width or _open(batches)[0]
        return self

    def _read(self, batches: Callable[[], Iterable[Tensor]], index: int) -> tuple[int, Moments]:
        """How wide raw rows are; the moments of what a step gets, in one pass over them."""
        width, rows = _open(batches)
        if index:
            rows = (_through(self._steps[:index], x.double())[0] for x in rows)
        return width, Moments(rows, full=self._wants_covariance(index))

    def _wants_covariance(self, index: int) -> bool:
        """Whether a step needs it, or one after it that the same pass may serve."""
        served = itertools.takewhile(lambda step: isinstance(step, Affine), self._steps[index:])
        return any(isinstance(step, Affine) and step.full for step in served)

    def raw_moments(self) -> Moments | None:
        """What to `add` raw rows to, for `fit`; None where these would not serve it."""
        first = self._steps[0] if self._steps else None
        useful = isinstance(first, Affine) and not self._wants_covariance(0)
        return Moments() if useful else None

    def apply(self, x: Tensor) -> Prepared:
        """Prepare rows [B, D] in their own dtype and on their own device; x stays as it is."""
        _check(x, self.n_inputs, "this model was built for")
        return Prepared(*_through(self._steps, x))

    def invert(self, x: Tensor, carried: Sequence[Tensor] | None = None) -> Tensor:
        """Rows [B, D'] back in input units [B, D], as far as mathematics allows.

        What clipping and dropped components took is gone; without `carried` (as `apply` gave it)
        every sample's own mean is taken as 0.
        """
        _check(x, self.n_outputs, "prepared rows have")
        left = [] if carried is None else list(carried)
        wanted = sum(isinstance(step, RemoveDC) for step in self._steps)
        if carried is not None and len(left) != wanted:
            raise UsageError(f"carried has {len(left)} statistics a row; the chain takes {wanted}")
        for step in reversed(self._steps):
            x = step.invert(x, left.pop() if isinstance(step, RemoveDC) and left else None)
        return x

    def pixels(self, rows: Tensor) -> Tensor:
        """rows @ J, J [D', D] the Jacobian of the chain: directions in raw input space [M, D].

        An encoder's rows [M, D'] become what excites each latent most: times the whitening
        matrix and not its inverse. Clipping is left out of J.
        """
        _check(rows, self.n_outputs, "prepared rows have")
        for step in reversed(self._steps):
            rows = step.pixels(rows)
        return rows

    def atoms(self, rows: Tensor) -> Tensor:
        """Decoder rows [M, D'] in input units [M, D]: the linear part of `invert`."""
        _check(rows, self.n_outputs, "prepared rows have")
        for step in reversed(self._steps):
            rows = step.atoms(rows)
        return rows

    def report(self) -> list[str]:
        """Sentences on what was found in the data."""
        return [line for step in self._steps if self.n_inputs for line in step.report()]

    def state(self) -> dict[str, Tensor]:
        """What was fitted, float64 copies: `n_inputs`, then `<step number>.<name>`."""
        state = {"n_inputs": torch.tensor(float(self.n_inputs), dtype=torch.float64)}
        for index, step in enumerate(self._steps):
            for name, value in step.tensors.items():
                state[f"{index}.{name}"] = value.clone(memory_format=torch.contiguous_format)
        return state

    @classmethod
    def from_state(cls, steps: Sequence[str | Said], tensors: Mapping[str, Tensor]) -> Self:
        """The fitted chain that `steps` and `state()` describe.

        Raises: RunError for a tensor that is missing, unknown, of a wrong shape or not finite.
        """
        chain = cls(steps)
        names = {f"{i}.{name}" for i, step in enumerate(chain._steps) for name in step.form}
        if odd := sorted((names | {"n_inputs"}) ^ set(tensors)):
            raise RunError(f"the preparation's tensors do not fit its steps: {', '.join(odd)}")
        _check_stored({"n_inputs": tensors["n_inputs"]}, {"n_inputs": ""}, 0)
        width = chain._n_inputs = int(tensors["n_inputs"])
        for index, step in enumerate(chain._steps):
            found = {f"{index}.{name}": tensors[f"{index}.{name}"] for name in step.form}
            _check_stored(found, step.form, width)
            if isinstance(step, Affine):
                step.keep({name.partition(".")[2]: t.clone() for name, t in found.items()})
            width = _width(step, width)
        return chain


def _width(step: Step, n_inputs: int) -> int:
    return len(step.tensors["matrix"]) if "K" in step.form.get("matrix", "") else n_inputs


def _through(steps: Iterable[Step], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    carried = []
    for step in steps:
        x, statistic = step.apply(x)
        if statistic is not None:
            carried.append(statistic)
    return x, tuple(carried)


def _open(batches: Callable[[], Iterable[Tensor]]) -> tuple[int, Iterator[Tensor]]:
    """How wide the rows are, and a pass over them in chunks."""
    rows = _checked(batches(), None, "the rows before had")
    first = next(rows, None)
    if first is None:
        raise DataError("there are no rows to fit the preparation on")
    if not first.shape[1]:
        raise DataError(f"x has samples but no inputs; x.shape is {tuple(first.shape)}")
    return first.shape[1], itertools.chain([first], rows)


def checked_rows(
    batches: Iterable[Tensor], width: int | None = None, whom: str = "the rows before had"
) -> Iterator[Tensor]:
    """Batches in float64 on the CPU, at most CHUNK rows each: finite, and of one width."""
    return (x.double() for x in _checked(batches, width, whom))


def _checked(batches: Iterable[Tensor], width: int | None, whom: str) -> Iterator[Tensor]:
    """The same in their own precision."""
    count = 0
    for batch in batches:
        _check(batch, width, whom)
        width = batch.shape[1]
        for x in torch.split(batch.detach(), CHUNK):
            if not _is_finite(x):
                row, column = (~torch.isfinite(x)).nonzero()[0].tolist()
                where = f"row {count + row}, column {column} (from 0) is {float(x[row, column])}"
                raise DataError(f"{where}; remove or fill values that are not finite")
            count += len(x)
            if len(x):
                yield x.cpu()


def _is_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite: both show in the ends, found in a tenth of the time."""
    return not x.numel() or bool(torch.isfinite(torch.stack(x.aminmax())).all())


def _check(x: Tensor, width: int | None, whom: str) -> None:
    shape = tuple(x.shape)
    if x.ndim != 2:
        raise DataError(f"x must have two axes, samples and inputs; x.shape is {shape}")
    if not x.is_floating_point():
        raise DataError(f"x must hold floating-point numbers, but is {x.dtype}; use x.float()")
    if width is not None and shape[1] != width:
        had = f"x has {shape[1]} inputs per sample, but {whom} {width}"
        raise DataError(f"{had}; x.shape is {shape}")


def _check_stored(found: Mapping[str, Tensor], form: Mapping[str, str], width: int) -> None:
    """RunError unless each tensor has the axes of `form`; K is what the matrix has."""
    axes = {"D": width, "K": 0}
    for (name, tensor), letters in zip(found.items(), form.values(), strict=True):
        if letters == "KD" and tensor.ndim == 2:
            axes["K"] = len(tensor)
        wanted = tuple(axes[letter] for letter in letters)
        if tuple(tensor.shape) != wanted:
            had = f"preparation tensor '{name}' has shape {tuple(tensor.shape)}"
            raise RunError(f"{had}, but its step needs {wanted}")
        if not torch.isfinite(tensor).all():
            raise RunError(f"preparation tensor '{name}' holds values that are not finite")


def _build(step: str | Said) -> Step:
    """A step from its name, or from a table with its name (`kind`) and options."""
    table = {"kind": step} if isinstance(step, str) else step
    if not isinstance(table, Mapping) or not isinstance(table.get("kind"), str):
        raise UsageError(f"a step is a name or a table with a kind, such as 'center'; got {step!r}")
    kind = str(table["kind"])
    choice("preparation step", kind, STEPS)
    options = dict(STEPS[kind].defaults)
    known = ["kind", *options, *(EITHER[name] for name in options if name in EITHER)]
    for name, value in table.items():
        choice(f"option of {kind}", name, known)
        if name != "kind":
            options[name] = _option(kind, name, value)
    for usual, other in EITHER.items():
        if other in options and usual in table:
            raise UsageError(f"{kind} takes {usual} or {other}, not both")
        if other in options:
            del options[usual]
    if "low" in options and not options["low"] < options["high"]:
        raise UsageError(f"{kind} needs low < high; got {options['low']} and {options['high']}")
    return STEPS[kind](kind, options)


def _option(kind: str, name: str, value: Any) -> float:
    convert, words, holds = OPTIONS[name]
    fits = isinstance(value, numbers.Integral if convert is int else numbers.Real)
    if not fits or isinstance(value, bool) or not holds(value):
        raise UsageError(f"{kind} needs {words} as {name}; got {value!r}")
    return convert(value)


STEPS: dict[str, type[RemoveDC] | type[Affine]] = {
    "remove_dc": RemoveDC,
    "patch_range": PatchRange,
    "range": Range,
    "center": Center,
    "scale": Scale,
    "standardize": Standardize,
    "pca": PCA,
    "pca_whiten": PCAWhiten,
    "zca_whiten": ZCAWhiten,
}

# Each option: its type, what it must be, in words and as a test.
OPTIONS: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "epsilon": (float, "a number of at least 0", lambda v: 0 <= v < math.inf),
    "relative": (float, "a number above 0", lambda v: 0 < v < math.inf),
    "retained": (float, "a fraction above 0 and up to 1", lambda v: 0 < v <= 1),
    "n_components": (int, "a whole number of at least 1", lambda v: v >= 1),
    "low": (float, "a finite number", math.isfinite),
    "high": (float, "a finite number", math.isfinite),
}

EITHER = {"retained": "n_components", "relative": "epsilon"}
"""Options that say the same in another way, which takes the place of the default."""
