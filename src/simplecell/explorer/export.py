"""What the explorer shows as files that need no server: a folder, or one HTML file.

A site opens from `file://`, where browsers run no module scripts and allow no `fetch`: it has one
classic script, and its data are script files that call `simplecellData`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import itertools
import json
import posixpath
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simplecell.data import Source
from simplecell.errors import RunError
from simplecell.explorer.make.atlas import build_atlas
from simplecell.explorer.make.code_shards import MOST_ENTRIES, CodeShards
from simplecell.explorer.replace_folder import replacing_folder
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import Refused, data_url
from simplecell.explorer.serve.view import RunView
from simplecell.run.directory import Run
from simplecell.run.progress import follow_share
from simplecell.run.storage import write_whole

_IMPORT = re.compile(
    r'^import \{((?:\s*[\w$]+\s*,)*\s*[\w$]+\s*,?\s*)\} from "(\.\.?/[\w./-]+\.js)";[ \t]*\n?',
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
    modules: dict[str, _Module] = {}
    _add(modules, folder, entry, [])
    numbers = {name: number for number, name in enumerate(modules)}
    wrapped = "".join(_wrapped(module, numbers) for module in modules.values())
    return f'"use strict";\n(() => {{\n{wrapped}}})();\n'


def _add(modules: dict[str, _Module], folder: Path, name: str, above: list[str]) -> None:
    """Put a module behind those that it imports; `above` are those that led to it."""
    if name in above:
        circle = " → ".join([*above[above.index(name) :], name])
        raise RunError(f"modules import each other in a circle, which cannot be bundled: {circle}")
    if name in modules:
        return
    module = _read(folder, name)
    for other, names in module.imports:
        _add(modules, folder, other, [*above, name])
        for one in names:
            if one not in modules[other].exports:
                raise RunError(f"{name} imports '{one}' from {other}, which does not export it")
    modules[name] = module


def _read(folder: Path, name: str) -> _Module:
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise RunError(
            f"the page's module {name} cannot be read: {error.strerror}; install simplecell again"
        ) from error
    beside = posixpath.dirname(name)
    imports = [
        (posixpath.normpath(posixpath.join(beside, found[2])), re.findall(r"[\w$]+", found[1]))
        for found in _IMPORT.finditer(text)
    ]
    exports = [found[2] for found in _EXPORT.finditer(text)]
    body = _EXPORT.sub(r"\1\2", _IMPORT.sub("", text))
    strange = _STRANGE.search(body)
    if strange:
        raise RunError(
            f"{name} cannot be bundled: '{strange[0].strip()[:80]}' is none of the forms that "
            'are understood (import { a, b } from "./x.js"; export function, class or const)'
        )
    return _Module(name, body, imports, exports)


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


STATIC = Path(__file__).parent / "static"
CHUNK = 32
"""Latents in one script file."""
FEW = 2**18
"""Entries of codes in one HTML file, *count*: 1.4 MB, since a notebook keeps it in itself."""
MOST_COMPARED = 8
"""Runs up to which every two are compared."""
FILES = "'self' file:"
"""Not every browser counts the files beside a file as its own."""
POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src {images} data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
_SCRIPT = re.compile(r'[ \t]*<script\b[^>]*\bsrc="static/app\.js"[^>]*></script>\n?')
_STYLE = re.compile(r'[ \t]*<link rel="stylesheet" href="static/([\w./-]+)">\n?')
_ICON = re.compile(r'href="static/([\w.-]+\.svg)"')

Runs = Library | Iterable[str | Path]
Script = tuple[str, dict[str, object]]
"""The name of a script file, and what it holds: {path: value}, as a server would answer."""


def export(runs: Runs, folder: str | Path) -> Path:
    """Write a site of the runs (whose atlases are there) into `folder`, and return its index.html.

    The folder appears when all of it is written. An older export there is replaced.

    Raises:
        RunError: when no run has an atlas, or one is damaged.
        UsageError: for a folder that holds anything but an export of ours.
        WriteError: when it cannot be written.
    """
    library, folder = _library(runs), Path(folder).resolve()
    with replacing_folder(folder) as fresh:
        for name, content in _site(library):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
    return folder / "index.html"


def page(runs: Runs) -> str:
    """The same as one HTML file: script, style, data and pictures stand in it.

    Raises:
        RunError: when no run has an atlas, or one is damaged.
    """
    library = _library(runs)
    drawn = _drawn(library)
    data: dict[str, object] = {}
    for _, values in _data(library, drawn, copies=False):
        data |= values
    for shown in drawn:
        for name in _pictures(shown):
            data[f"{shown.name}/files/{name}"] = data_url(Path(name).suffix, shown.file(name))
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in _styles())
    given = f"globalThis.simplecellGiven = [{_script_json(data)}];"
    # A script ends at the first of these, wherever they stand; in strings \\/ and \\! are / and !.
    program = bundle(STATIC, "app.js").replace("</script", "<\\/script").replace("<!--", "<\\!--")
    scripts = "".join(f"<script>{script}</script>\n" for script in (given, program))
    icon = data_url(".svg", (STATIC / "icon.svg").read_bytes())
    sources = {"script": _hashes([given, program]), "style": _hashes([style]), "images": ""}
    text = _ICON.sub(f'href="{icon}"', _shell("page", sources))
    # Not by `re.sub` or templates: the data may hold anything.
    head, _, rest = text.partition("</head>")
    body, _, end = rest.rpartition("</body>")
    return f"{head}<style>{style}</style>\n</head>{body}{scripts}</body>{end}"


def _library(runs: Runs) -> Library:
    return runs if isinstance(runs, Library) else Library.open(runs)


def _drawn(library: Library) -> list[RunView]:
    """The runs that have an atlas.

    Raises:
        RunError: when there is none.
    """
    drawn = [shown for shown in library if shown.has_atlas]
    if not drawn:
        raise RunError("none of these runs has an atlas yet; open it once: simplecell explore RUN")
    return drawn


def _site(library: Library) -> Iterator[tuple[str, bytes]]:
    """Every file of the site: its name and its bytes."""
    drawn, sources = _drawn(library), {"script": FILES, "style": FILES, "images": FILES}
    text = _ICON.sub(r'href="\1"', _shell("export", sources))
    links = "".join(f'<link rel="stylesheet" href="{name}">\n' for name in _styles())
    script = '<script defer src="app.js"></script>\n'
    yield "index.html", text.replace("</head>", f"{links}{script}</head>").encode()
    yield "app.js", bundle(STATIC, "app.js").encode()
    for name in (*_styles(), "icon.svg"):
        yield name, (STATIC / name).read_bytes()
    for name, values in _data(library, drawn, copies=True):
        yield f"data/{name}", f"simplecellData({_script_json(values)});\n".encode("ascii")
    for shown in drawn:
        for name in _pictures(shown):
            yield f"data/{shown.name}/files/{name}", shown.file(name)


def _data(library: Library, drawn: list[RunView], copies: bool) -> Iterator[Script]:
    """Script files below data/.

    `copies` are photographs once more, as bytes: a page may not read back a picture of a file.
    """
    yield "runs.js", {"": {"runs": [shown.row() for shown in drawn]}}
    for shown in drawn:
        for name, values in itertools.chain(
            _data_of(shown, copies), _codes_of(library, shown, MOST_ENTRIES if copies else FEW)
        ):
            yield f"{shown.name}/{name}", values
    if len(drawn) <= MOST_COMPARED:
        yield from _comparisons(library, drawn)


def _data_of(shown: RunView, copies: bool) -> Iterator[Script]:
    run, n_latents, play = shown.name, shown.manifest["n_latents"], shown.playground()
    yield "atlas.js", {f"{run}/": {**shown.overview(), "writable": False}}
    yield "data.js", {f"{run}/data": shown.data()}
    yield "training.js", {f"{run}/training": shown.training()}
    yield "playground.js", {f"{run}/playground": play}
    for start in range(0, n_latents, CHUNK):
        latents = range(start, min(start + CHUNK, n_latents))
        yield (
            f"latents-{start // CHUNK}.js",
            {f"{run}/latent/{latent}": shown.latent(latent) for latent in latents},
        )
    binary = ["columns.bin", "samples.bin", *(["weights.bin"] if play["here"] else [])]
    binary += shown.map_files()
    targets = shown.manifest.get("targets")
    binary += ["targets.bin"] if targets and targets["tested"] else []
    named = {name: name for name in binary}
    if copies and play["input"] == "patches":
        photos = [name for name in _pictures(shown) if name.startswith("photos/")]
        named |= {name.replace("/", "-") + ".bin": name for name in photos}
    for name, file in named.items():
        yield f"{name}.js", {f"{run}/files/{name}": base64.b64encode(shown.file(file)).decode()}


def _codes_of(library: Library, shown: RunView, most: int) -> Iterator[Script]:
    """The codes that colour a map, of as many samples as these entries allow."""
    if not shown.map_files():
        return
    shards = CodeShards(library.kept(shown), shown.map["n_points"], most)
    path = f"{shown.name}/map/codes"
    yield "codes.js", {path: shards.told()}
    for k, shard in enumerate(shards):
        yield f"codes-{k}.js", {f"{path}/{k}": shard}


def _comparisons(library: Library, drawn: list[RunView]) -> Iterator[Script]:
    """Of every two runs over the same inputs."""
    for first, second in itertools.permutations(drawn, 2):
        with contextlib.suppress(Refused):
            values = library.compare(first, second)
            path = f"{first.name}/compare/{second.name}"
            yield f"{first.name}/compare-{second.name}.js", {path: values}


def _pictures(shown: RunView) -> list[str]:
    return sorted(name for name in shown.files() if not name.endswith(".bin"))


def _script_json(value: object) -> str:
    """JSON that is also a script, inside or outside of HTML: ASCII, and no "<"."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _shell(mode: str, sources: dict[str, str]) -> str:
    """index.html for that mode, without its script and styles, with its policy in it."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    text, scripts = _SCRIPT.subn("", text)
    text = _STYLE.sub("", text).replace('data-mode="server"', f'data-mode="{mode}"')
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(**sources)}">'
    charset = '<meta charset="utf-8">'
    if scripts != 1 or charset not in text or f'data-mode="{mode}"' not in text:
        raise RunError("the page of this installation is damaged; install simplecell again")
    return text.replace(charset, f"{charset}\n{policy}", 1)


def _styles() -> list[str]:
    """The style sheets that index.html names, in its order."""
    return _STYLE.findall((STATIC / "index.html").read_text(encoding="utf-8"))


def _hashes(texts: list[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


HEIGHT = 760


@dataclass(frozen=True, repr=False)
class Page:
    """The explorer of one model as a single HTML text; a notebook shows it where it stands."""

    html: str
    height: int = HEIGHT
    """Of the frame in a notebook, *pixels*."""

    def save(self, path: str | Path) -> None:
        """Write it as a file that any browser opens. Raises WriteError when that fails."""
        write_whole(Path(path), self.html.encode())

    def _repr_html_(self) -> str:
        # Sandboxed: the page computes, but reaches neither the notebook nor the network.
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(self.html)}" '
            f'style="width:100%;height:{self.height}px;border:0" title="simplecell explorer">'
            "</iframe>"
        )

    def __repr__(self) -> str:
        return f"Page of {len(self.html) / 2**20:.1f} MB; show it in a notebook, or .save(path) it"


def page_of(save: Callable[[Path], None], source: Source, name: str) -> Page:
    """The page of a model that `save` writes as a run directory, over the samples of `source`."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / name)
        save(run.path)
        follow_share(f"looking at {name}", build_atlas(run, run.load(), source))
        return Page(page(Library([run])))
