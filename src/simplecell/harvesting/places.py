"""Places in a network: a module by its name, its output or its input, and a path into that."""

from __future__ import annotations

import copy
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from simplecell.errors import UsageError

_GLOB = re.compile(r"[*?\[]")
_SHOWN = 3


class Taken(NamedTuple):
    """What is found at a place: a tensor (perhaps nested) or a packed sequence, and its path."""

    value: Any
    path: tuple[str, ...]
    others: list[str]
    """Paths of further tensors beside it, where nobody said which is meant."""


@dataclass(frozen=True)
class Place:
    """One place in a network."""

    layer: str
    """As it is asked for: NAME, NAME:input, NAME:output.PATH."""
    name: str
    module: nn.Module
    side: str = "output"
    path: tuple[str, ...] = ()
    time_first: bool = False
    """Whether samples are the second axis, as in torch's recurrent modules by default."""

    def take(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Taken:
        """What a call of the module has at this place. Raises UsageError where no tensor is."""
        if self.side == "output":
            found: Any = output
        else:
            found = {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}
        for depth, key in enumerate(self.path):
            found = _inside(self, found, key, self.path[:depth])
        if _holds_rows(found):
            return Taken(found, self.path, [])
        below = list(_tensors(found))
        named = [self.path + path for path, _ in below]
        if not below or (isinstance(found, Mapping) and self.side == "output" and len(below) > 1):
            raise self._no_tensor(found, named)
        others = [".".join(path) for path in named[1:]]
        return Taken(below[0][1], named[0], others)

    def _no_tensor(self, found: Any, named: Sequence[tuple[str, ...]]) -> UsageError:
        known = ", ".join(f"'{self.name}:{self.side}.{'.'.join(path)}'" for path in named)
        what = f"a {type(found).__name__} of several tensors" if named else _described(found)
        do = f"say which: {known}" if named else "harvest another layer"
        return UsageError(f"the {self.side} of layer '{self.name}' is {what}; {do}")


def places(model: nn.Module, layers: Any) -> list[Place]:
    """The places that layers name, in their order.

    A layer is a name of `named_modules()` ("" is the whole model), or a glob of names in which `*`
    does not cross a dot and `**` does; behind it may stand `:input` or `:output`, and a path into
    tuples and dictionaries (`lstm:output.1.0`, `block:input.hidden_states`). A module of the model
    means itself.

    Raises:
        UsageError: for a name that the model does not have.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    alone = isinstance(layers, str | nn.Module) or not isinstance(layers, Iterable)
    asked = [_name_of(model, layer) for layer in ([layers] if alone else layers)]
    if not asked:
        raise UsageError("no layer was named; give a name of model.named_modules()")
    found: dict[str, Place] = {}
    for layer in asked:
        name, _, rest = layer.partition(":")
        side, *path = rest.split(".") if rest else ["output"]
        if side not in ("input", "output"):
            raise UsageError(
                f"layer '{layer}' ends in ':{rest}'; ':input' or ':output' is needed, and a path "
                "into it, as in ':output.0'"
            )
        for one in _named(name, modules):
            spec = f"{one}:{rest}" if rest else one
            late = any(is_time_first(modules[above]) for above in _chain(one))
            found[spec] = Place(spec, one, modules[one], side, tuple(path), late)
    return list(found.values())


def is_one(layers: Any) -> bool:
    """Whether this can only mean a single layer: a name or a module, and no glob or list."""
    return isinstance(layers, nn.Module) or (isinstance(layers, str) and not _GLOB.search(layers))


def _name_of(model: nn.Module, layer: Any) -> str:
    """A layer as it is named, also where it came as a module of the model."""
    if isinstance(layer, str):
        return layer
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return name
    what = f"a {type(layer).__name__}"
    what += ", which is no module of this model" if isinstance(layer, nn.Module) else ""
    raise UsageError(f"the layer is {what}; a name of model.named_modules() is needed")


def _chain(name: str) -> list[str]:
    """A name and those of the modules that it is in."""
    parts = name.split(".") if name else []
    return [".".join(parts[:depth]) for depth in range(len(parts), -1, -1)]


def above(name: str) -> list[str]:
    """The modules that a module is in, the nearest first."""
    return _chain(name)[1:]


def is_time_first(module: nn.Module) -> bool:
    """Whether a module has samples second: torch's recurrent ones and transformers by default."""
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention | nn.Transformer):
        return not module.batch_first
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return not module.self_attn.batch_first
    if isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
        return len(module.layers) > 0 and is_time_first(module.layers[0])
    return False


def _named(name: str, modules: Mapping[str, nn.Module]) -> list[str]:
    """The modules that a name or a glob means."""
    if name in modules:
        return [name]
    if _GLOB.search(name):
        pattern = re.compile(_pattern(name))
        matched = [one for one in modules if pattern.fullmatch(one)]
        if matched:
            return matched
    near = difflib.get_close_matches(name, modules, n=_SHOWN, cutoff=0.5)
    near += [one for one in modules if one.rpartition(".")[2] == name and one not in near]
    guess = f"; did you mean {' or '.join(map(repr, near[:_SHOWN]))}?" if near else ";"
    kind = "matches the glob" if _GLOB.search(name) else "is called"
    raise UsageError(
        f"no module of the model {kind} '{name}'{guess} (it has {len(modules) - 1} modules, which "
        "model.named_modules() lists)"
    )


def _pattern(glob: str) -> str:
    """A regular expression for a glob over dotted names."""
    parts = re.split(r"(\*\*|\*|\?|\[[^\]]+\])", glob)
    meant = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return "".join(
        meant.get(part) or (part.replace("[!", "[^", 1) if i % 2 else re.escape(part))
        for i, part in enumerate(parts)
    )


def _inside(place: Place, found: Any, key: str, before: tuple[str, ...]) -> Any:
    """The part of a tuple, list or dictionary that a step of the path names."""
    entries = _entries(found)
    if key in entries:
        return entries[key]
    if isinstance(found, list | tuple) and key.lstrip("-").isdecimal():
        with_sign = str(len(found) + int(key))
        if with_sign in entries:
            return entries[with_sign]
    where = ".".join([f"{place.name}:{place.side}", *before])
    has = f"has {', '.join(entries)}" if entries else f"is {_described(found)}"
    raise UsageError(f"'{where}' {has}, and no '{key}'; say one that is there")


def _entries(found: Any) -> dict[str, Any]:
    if isinstance(found, Mapping):
        return {str(key): value for key, value in found.items()}
    if isinstance(found, PackedSequence):
        return {}
    if isinstance(found, list | tuple):
        return {str(i): value for i, value in enumerate(found)}
    return {}


def _holds_rows(found: Any) -> bool:
    return isinstance(found, PackedSequence) or (
        isinstance(found, Tensor) and (found.is_nested or found.is_floating_point())
    )


def _tensors(found: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The tensors of numbers inside, each with its path."""
    if _holds_rows(found):
        return [((), found)]
    inner = ((key, _tensors(value)) for key, value in _entries(found).items())
    return [((key, *path), tensor) for key, below in inner for path, tensor in below]


def _described(found: Any) -> str:
    whole = [part for part in _entries(found).values() if isinstance(part, Tensor)]
    if isinstance(found, Tensor) or whole:
        kinds = {str(part.dtype) for part in whole or [found]}
        return f"a tensor of {' and '.join(sorted(kinds))}, which is no activation"
    return "nothing" if found is None else f"a {type(found).__name__} without a tensor of numbers"


def replaced(found: Any, path: tuple[str, ...], value: Any) -> Any:
    """The same tuple, list or dictionary, of its own type, with another tensor at a path."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(found, Mapping):
        new: Any = copy.copy(found)
        new[key] = replaced(found[key], rest, value)
        return new
    place = range(len(found))[int(key)]
    parts = [replaced(part, rest, value) if i == place else part for i, part in enumerate(found)]
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return type(found)(*parts)
    return type(found)(parts)


def never_fires(place: Place, model: nn.Module, probe: Callable[[list[Place]], list[int]]) -> str:
    """The sentence on a layer whose module was not called; it names the nearest that is.

    `probe` runs the model and counts the calls of places.
    """
    every = places(model, ["", *(name for name, _ in model.named_modules() if name)])
    counts = dict(zip((one.name for one in every), probe(every), strict=True))
    chain = above(place.name)
    if isinstance(place.module, nn.ModuleList | nn.ModuleDict):
        own = [name for name in counts if name.startswith(f"{place.name}.")]
        chain = [*own, *chain]
    near = next((name for name in chain if counts.get(name)), None)
    if near is None:
        return (
            "no module above it calls hooks either; give the model as it was before it was traced, "
            "exported or compiled"
        )
    return f"the nearest that works is {_shown(near)}"


def inside_compiled(place: Place, model: nn.Module) -> str | None:
    """What to do about a layer inside of a compiled module, which never calls hooks added later."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name in reversed(_chain(place.name)):
        module, inner = modules[name], place.name.removeprefix(name).removeprefix(".")
        if inner and _is_compiled(module):
            rest = inner.removeprefix("_orig_mod").removeprefix(".")
            way = ".".join(["model", *([name] if name else []), "_orig_mod"])
            return (
                f"it is inside of a compiled module; the nearest that works is {_shown(name)}; or "
                f"give {way}, which is not compiled, and layer '{rest}'"
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            near = f"the nearest that works is {_shown(_chain(name)[1])}" if name else ""
            return (
                f"{_shown(name)} was compiled in place by .compile()"
                + (f"; {near}" if near else "")
                + "; or set its _compiled_call_impl to None, and it runs as it was"
            )
    return None


def _is_compiled(module: nn.Module) -> bool:
    """Whether this is what torch.compile makes; its compiler is not loaded for the question."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)


def _shown(name: str) -> str:
    return f"'{name}'" if name else "'' (the whole model)"
