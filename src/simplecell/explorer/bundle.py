"""ES modules as one classic script: browsers run no module scripts from `file://`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simplecell.errors import RunError

_IMPORT = re.compile(
    r'^import \{((?:\s*[\w$]+\s*,)*\s*[\w$]+\s*,?\s*)\} from "\./([\w.-]+\.js)";[ \t]*\n?',
    re.MULTILINE | re.ASCII,
)
_EXPORT = re.compile(
    r"^export ((?:async function|function|class|const)[ \t]*\*?[ \t]*)([\w$]+)",
    re.MULTILINE | re.ASCII,
)
_STRANGE = re.compile(
    r"^(?:import|export)\b.*|^(?:(?:const|let|var)\b[^;]*=[ \t]*)?await\b.*"
    r"|^(?![ \t]*(?:\*|//|/\*)).*\bimport[ \t]*[(.].*",
    re.MULTILINE,
)


@dataclass(frozen=True)
class _Module:
    name: str
    body: str
    """Without its imports, and with exports as plain declarations."""
    imports: list[tuple[str, list[str]]]
    """(module, names) as they stand in the file."""
    exports: list[str]


def bundle(folder: Path, entry: str) -> str:
    """The module `entry` of a folder and all that it imports, as one script.

    Each module becomes a function that runs once, those it imports first. Understood are
    `import { a, b } from "./x.js";` and `export` before a function, class or const, at the start
    of a line; no module may import itself by way of others.

    Raises:
        RunError: for a module that is missing or written in another way.
    """
    modules = list(_in_order(folder, entry, {}, []))
    numbers = {module.name: number for number, module in enumerate(modules)}
    known = {module.name: module for module in modules}
    for module in modules:
        _check_names(module, known)
    wrapped = "".join(_wrapped(module, numbers) for module in modules)
    return f'"use strict";\n(() => {{\n{wrapped}}})();\n'


def _in_order(
    folder: Path, name: str, seen: dict[str, bool], above: list[str]
) -> Iterator[_Module]:
    """Modules, each after those that it imports."""
    if name in above:
        circle = " → ".join([*above[above.index(name) :], name])
        raise RunError(f"modules import each other in a circle, which cannot be bundled: {circle}")
    if seen.setdefault(name, False):
        return
    seen[name] = True
    module = _read(folder / name)
    for other, _ in module.imports:
        yield from _in_order(folder, other, seen, [*above, name])
    yield module


def _read(path: Path) -> _Module:
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise RunError(
            f"the page's module {path.name} cannot be read: {error.strerror}; "
            "install simplecell again"
        ) from error
    imports = [(found[2], _names(found[1])) for found in _IMPORT.finditer(text)]
    exports = [found[2] for found in _EXPORT.finditer(text)]
    body = _EXPORT.sub(r"\1\2", _IMPORT.sub("", text))
    strange = _STRANGE.search(body)
    if strange:
        raise RunError(
            f"{path.name} cannot be bundled: '{strange[0].strip()[:80]}' is none of the forms that "
            'are understood (import { a, b } from "./x.js"; export function, class or const)'
        )
    return _Module(path.name, body, imports, exports)


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,]+", text) if name]


def _check_names(module: _Module, known: dict[str, _Module]) -> None:
    for other, names in module.imports:
        for name in names:
            if name not in known[other].exports:
                raise RunError(
                    f"{module.name} imports '{name}' from {other}, which does not export it"
                )


def _wrapped(module: _Module, numbers: dict[str, int]) -> str:
    taken = "".join(
        f"const {{ {', '.join(names)} }} = module{numbers[other]};\n"
        for other, names in module.imports
    )
    given = ", ".join(module.exports)
    return (
        f"// {module.name}\nconst module{numbers[module.name]} = (() => {{\n"
        f"{taken}{module.body.strip()}\nreturn {{ {given} }};\n}})();\n"
    )
