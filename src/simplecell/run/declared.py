"""What activations and terms declare of their settings, told without torch.

Names, types and defaults stand where the classes are, and nowhere else. Where these are loaded they
are asked; else their source is read: to import it is to wait seconds for torch, which whoever
mistyped a key of a recipe should not.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_type_hints

from simplecell.errors import choice

ACTIVATIONS, TERMS = "simplecell.model.activations", "simplecell.training.objective"
FILES = {
    ACTIVATIONS: ("model/activations.py", "model/selective.py"),
    TERMS: ("training/terms.py", "training/sparse_terms.py"),
}
"""Where the classes of a table stand."""
NAMES = {"Literal": Literal}
"""What the type of a setting may be made of, beside Python's own."""
NO_SETTINGS = ("n_latents", "dtype")
"""Keywords of every activation, which the layer gives."""


def settings_of(kind: str) -> tuple[str, ...]:
    """The names of an activation's own settings. Raises UsageError for an unknown activation."""
    if ACTIVATIONS in sys.modules:
        names: tuple[str, ...] = sys.modules[ACTIVATIONS].settings_of(kind)
        return names
    choice("activation", kind, _written(ACTIVATIONS))
    return tuple(_written(ACTIVATIONS)[kind].keywords)


def recipe_settings() -> dict[str, Any]:
    """The keys of [model] that are settings of some activation, and their types."""
    types: dict[str, Any] = {}
    if ACTIVATIONS in sys.modules:
        return types | sys.modules[ACTIVATIONS].recipe_settings()
    for one in _written(ACTIVATIONS).values():
        for name, kind in _evaluated(one.keywords).items():
            if name != one.attributes.get("counts"):
                types[name] = types.get(name, kind) | kind
    return types


def stated_settings() -> dict[str, object]:
    """The settings that every recipe states, with their defaults."""
    found: dict[str, object] = {}
    if ACTIVATIONS in sys.modules:
        return found | sys.modules[ACTIVATIONS].stated_settings()
    for one in _written(ACTIVATIONS).values():
        found |= {name: one.defaults[name] for name in one.attributes.get("stated", ())}
    return found


def term_settings() -> dict[str, dict[str, Any]]:
    """The keys of each term of an objective, and their types, by the kind of the term."""
    if TERMS not in sys.modules:
        return {kind: _evaluated(one.fields) for kind, one in _written(TERMS).items()}
    return {kind: field_types(term) for kind, term in sys.modules[TERMS].TERMS.items()}


def field_types(cls: type) -> dict[str, Any]:
    """The types of a dataclass' fields."""
    hints = get_type_hints(cls)
    return {key.name: hints[key.name] for key in dataclasses.fields(cls)}


@dataclass(frozen=True)
class Written:
    """A class as its source has it."""

    attributes: dict[str, Any]
    """What its body sets to plain values."""
    fields: dict[str, ast.expr]
    """Types of what its body declares: a dataclass' fields."""
    keywords: dict[str, ast.expr]
    """Types of what its constructor takes by keyword alone."""
    defaults: dict[str, object]
    """Of these, where they are plain."""


@cache
def _written(module: str) -> dict[str, Written]:
    """The classes of a table that have a kind, by this."""
    package = resources.files("simplecell")
    texts = [package.joinpath(file).read_text(encoding="utf-8") for file in FILES[module]]
    lines = [line for text in texts for line in ast.parse(text).body]
    found: dict[str, Written] = {}
    for line in lines:
        if isinstance(line, ast.ClassDef):
            above = [found[name] for base in line.bases if (name := ast.unparse(base)) in found]
            found[line.name] = _read(line, above)
    return {one.attributes["kind"]: one for one in found.values() if "kind" in one.attributes}


def _read(cls: ast.ClassDef, above: list[Written]) -> Written:
    """A class, with what it has of the classes above it but their fields."""
    attributes: dict[str, Any] = {}
    fields: dict[str, ast.expr] = {}
    keywords: dict[str, ast.expr] = {}
    defaults: dict[str, object] = {}
    for one in above:
        attributes |= one.attributes
        keywords |= one.keywords
        defaults |= one.defaults
    for line in cls.body:
        if isinstance(line, ast.Assign):
            attributes |= _assigned(line.targets[0], line.value)
        elif isinstance(line, ast.AnnAssign):
            fields[ast.unparse(line.target)] = line.annotation
        elif isinstance(line, ast.FunctionDef) and line.name == "__init__":
            told = zip(line.args.kwonlyargs, line.args.kw_defaults, strict=True)
            own = [pair for pair in told if pair[0].arg not in NO_SETTINGS]
            keywords |= {word.arg: word.annotation for word, _ in own if word.annotation}
            defaults |= {word.arg: _plain(default) for word, default in own}
    return Written(attributes, fields, keywords, defaults)


def _assigned(target: ast.expr, value: ast.expr) -> dict[str, object]:
    """Names and plain values of `a = 1`, or of `a, b = 1, 2`."""
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(target.elts, value.elts, strict=True))
    return {ast.unparse(name): _plain(one) for name, one in pairs}


def _evaluated(annotations: dict[str, ast.expr]) -> dict[str, Any]:
    said = {name: ast.unparse(one) for name, one in annotations.items()}
    return get_type_hints(type("Settings", (), {"__annotations__": said}), NAMES)


def _plain(value: ast.expr | None) -> object:
    """A literal; None for whatever must be computed."""
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None
