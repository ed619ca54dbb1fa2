"""One pass of a model with ears in it: what its modules gave at that moment, copied at once.

Hooks stand on the modules themselves, and only while a pass runs: they come behind every edit that
was attached before, and nothing is left of them when somebody stops in the middle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from simplecell.errors import UsageError
from simplecell.harvesting.inputs import Call, Given, run
from simplecell.harvesting.places import Place, Taken, inside_compiled, never_fires


class _Enough(BaseException):
    """Ends a pass behind the last wanted layer; no `except Exception` of a model stops it."""


class Heard:
    """What each place gave in one pass: a list a place, one entry a call."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        self.calls: list[list[Taken]] = [[] for _ in places]

    @property
    def counts(self) -> list[int]:
        """Calls of each place."""
        return [len(calls) for calls in self.calls]


def in_train_mode(model: nn.Module) -> bool:
    """Whether any of its modules is; an exported program has one mode for good, and no flag."""
    exported = "eval" in vars(model)  # in its own way, which raises; torch.fx is slow to import
    return not exported and any(module.training for module in model.modules())


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and without gradients; every submodule's own flag is put back."""
    before = [(module, module.training) for module in model.modules()]
    if in_train_mode(model):
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in before:
            module.training = training


def listen(
    model: nn.Module,
    places: Sequence[Place],
    given: Given,
    call: Call | None = None,
    *,
    stop: bool = False,
) -> Heard:
    """One pass over a batch. `stop`: no further than the first call of the last place.

    Raises:
        UsageError: for a layer that refuses hooks.
    """
    heard = Heard(places)

    def note(k: int, taken: Taken) -> None:
        heard.calls[k].append(taken._replace(value=_copy(taken.value)))
        if stop and all(heard.calls):
            raise _Enough

    with contextlib.ExitStack() as hooks, evaluating(model):
        for k, place in enumerate(heard.places):
            hooks.callback(_hooked(model, place, lambda taken, k=k: note(k, taken)).remove)  # type: ignore[misc]
        with contextlib.suppress(_Enough):
            run(model, given, call)
    return heard


def count(model: nn.Module, places: Sequence[Place], given: Given, call: Call | None) -> list[int]:
    """How often a pass calls each module; 0 for those that refuse hooks."""
    counts = [0] * len(places)

    def counter(k: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            counts[k] += 1

        return hook

    with contextlib.ExitStack() as hooks, evaluating(model):
        for k, place in enumerate(places):
            with contextlib.suppress(RuntimeError, AttributeError):  # scripted modules refuse
                hooks.callback(place.module.register_forward_hook(counter(k)).remove)
        run(model, given, call)
    return counts


def refuse_silent(model: nn.Module, heard: Heard, given: Given, call: Call | None) -> None:
    """Raise UsageError for a place that a whole pass did not call, with the nearest that works."""
    for place, calls in zip(heard.places, heard.calls, strict=True):
        if not calls:
            raise _silent(model, place, given, call)


def refuse_compiled(model: nn.Module, places: Sequence[Place]) -> None:
    """Raise UsageError for a layer inside of a compiled module.

    Before the first pass: the compiler would keep a hook that is there then, and never look again.
    """
    for place in places:
        why = inside_compiled(place, model)
        if why:
            raise UsageError(f"layer '{place.name}' never calls hooks that are added now: {why}")


def _silent(model: nn.Module, place: Place, given: Given, call: Call | None) -> UsageError:
    rest = never_fires(place, model, lambda every: count(model, every, given, call))
    kind = type(place.module).__name__
    return UsageError(
        f"layer '{place.name}' ({kind}) was not called in a whole pass of the model, so nothing of "
        f"it can be read or edited (its weights are used directly, it is in a traced or exported "
        f"program, or not part of this pass): {rest}"
    )


def _hooked(model: nn.Module, place: Place, note: Callable[[Taken], None]) -> Any:
    """A hook that reads a place. Its module's own edits came before it."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        note(place.take(args, kwargs, None))

    def after(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        note(place.take(args, kwargs, output))

    return hooked(place, before, after)


def hooked(place: Place, before: Callable[..., Any], after: Callable[..., Any]) -> Any:
    """A hook on what a place is given, or gives. Raises UsageError for a module that takes none."""
    try:
        if place.side == "input":
            return place.module.register_forward_pre_hook(before, with_kwargs=True)
        return place.module.register_forward_hook(after, with_kwargs=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise UsageError(
            f"layer '{place.name}' is a {type(place.module).__name__}, which takes no hooks "
            f"({str(error).splitlines()[0]}); give the model as it was before it was scripted"
        ) from error


def _copy(value: Any) -> Any:
    """A copy of its own memory: a later in-place ReLU changes what is only referred to."""
    if isinstance(value, PackedSequence):
        return PackedSequence(
            value.data.detach().clone(),
            value.batch_sizes,
            value.sorted_indices,
            value.unsorted_indices,
        )
    tensor: Tensor = value.detach()
    if tensor.ndim == 4 and not tensor.is_nested:
        # Rows of maps [B, C, h, w] are places: laid out so, they need no second copy.
        return tensor.clone(memory_format=torch.channels_last)
    return tensor.clone()
