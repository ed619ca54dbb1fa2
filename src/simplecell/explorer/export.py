"""What the explorer shows as files that need no server: a folder, or one HTML file.

A site opens from `file://`, where browsers run no module scripts and allow no `fetch`: it has one
classic script, and its data are script files that call `simplecellData`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simplecell.errors import RunError
from simplecell.explorer.bundle import bundle
from simplecell.explorer.library import Library
from simplecell.explorer.messages import MEDIA, Refused
from simplecell.explorer.shown import Shown
from simplecell.explorer.swap import replacing_folder

STATIC = Path(__file__).parent / "static"
CHUNK = 32
"""Latents in one script file."""
MOST_COMPARED = 8
"""Runs up to which every two are compared."""
FILES = "'self' file:"
"""Not every browser counts the files beside a file as its own."""
POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src {images} data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
_SCRIPT = re.compile(r'[ \t]*<script\b[^>]*\bsrc="static/app\.js"[^>]*></script>\n?')
_STYLE = re.compile(r'[ \t]*<link rel="stylesheet" href="static/([\w.-]+)">\n?')
_ICON = re.compile(r'href="static/([\w.-]+\.svg)"')

Runs = Library | Iterable[str | Path]


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
    data: dict[str, Any] = {}
    for _, values in _data(library, copies=False):
        data |= values
    for shown in _drawn(library):
        data |= {f"{shown.name}/files/{name}": _url(shown, name) for name in _pictures(shown)}
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in _styles())
    given = f"globalThis.simplecellGiven = [{_script_json(data)}];"
    # A script ends at the first of these, wherever they stand; in strings \\/ and \\! are / and !.
    program = bundle(STATIC, "app.js").replace("</script", "<\\/script").replace("<!--", "<\\!--")
    scripts = "".join(f"<script>{script}</script>\n" for script in (given, program))
    icon = base64.b64encode((STATIC / "icon.svg").read_bytes()).decode()
    sources = {"script": _hashes([given, program]), "style": _hashes([style]), "images": ""}
    text = _ICON.sub(f'href="data:image/svg+xml;base64,{icon}"', _shell("page", sources))
    # Not by `re.sub` or templates: the data may hold anything.
    head, _, rest = text.partition("</head>")
    body, _, end = rest.rpartition("</body>")
    return f"{head}<style>{style}</style>\n</head>{body}{scripts}</body>{end}"


def _library(runs: Runs) -> Library:
    return runs if isinstance(runs, Library) else Library.open(runs)


def _drawn(library: Library) -> list[Shown]:
    """The runs that have an atlas.

    Raises:
        RunError: when there is none.
    """
    shown = [one for one in library if (one.atlas / "atlas.json").is_file()]
    if not shown:
        raise RunError("none of these runs has an atlas yet; open it once: simplecell explore RUN")
    return shown


def _site(library: Library) -> Iterator[tuple[str, bytes]]:
    """Every file of the site: its name and its bytes."""
    sources = {"script": FILES, "style": FILES, "images": FILES}
    text = _ICON.sub(r'href="\1"', _shell("export", sources))
    links = "".join(f'<link rel="stylesheet" href="{name}">\n' for name in _styles())
    script = '<script defer src="app.js"></script>\n'
    yield "index.html", text.replace("</head>", f"{links}{script}</head>").encode()
    yield "app.js", bundle(STATIC, "app.js").encode()
    for name in (*_styles(), "icon.svg"):
        yield name, (STATIC / name).read_bytes()
    for name, values in _data(library):
        yield f"data/{name}", f"simplecellData({_script_json(values)});\n".encode("ascii")
    for shown in _drawn(library):
        for name in _pictures(shown):
            yield f"data/{shown.name}/files/{name}", shown.file(name)


def _data(library: Library, copies: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Script files below data/ and what each holds: {path: value}, as a server would answer.

    `copies` are photographs once more, as bytes: a page may not read back a picture of a file.
    """
    drawn = _drawn(library)
    yield "runs.js", {"": {"runs": [shown.row() for shown in drawn]}}
    for shown in drawn:
        for name, values in _data_of(shown, copies):
            yield f"{shown.name}/{name}", values
    if len(drawn) <= MOST_COMPARED:
        yield from _comparisons(library, drawn)


def _data_of(shown: Shown, copies: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    run, atlas = shown.name, {**shown.overview(), "writable": False}
    play = shown.playground()
    yield "atlas.js", {f"{run}/": atlas}
    yield "data.js", {f"{run}/data": shown.data()}
    yield "training.js", {f"{run}/training": shown.training()}
    yield "playground.js", {f"{run}/playground": play}
    for start in range(0, atlas["n_latents"], CHUNK):
        latents = range(start, min(start + CHUNK, atlas["n_latents"]))
        lines = {f"{run}/latent/{latent}": shown.latent(latent) for latent in latents}
        yield f"latents-{start // CHUNK}.js", lines
    binary = ["columns.bin", "samples.bin", *(["weights.bin"] if play["here"] else [])]
    named = {name: name for name in binary}
    if copies and play["input"] == "patches":
        photos = [name for name in _pictures(shown) if name.startswith("photos/")]
        named |= {name.replace("/", "-") + ".bin": name for name in photos}
    for name, file in named.items():
        yield f"{name}.js", {f"{run}/files/{name}": base64.b64encode(shown.file(file)).decode()}


def _comparisons(library: Library, drawn: list[Shown]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every two runs over the same inputs."""
    for first, second in itertools.permutations(drawn, 2):
        with contextlib.suppress(Refused):
            values = library.compare(first, second)
            path = f"{first.name}/compare/{second.name}"
            yield f"{first.name}/compare-{second.name}.js", {path: values}


def _pictures(shown: Shown) -> list[str]:
    return sorted(name for name in shown.files() if not name.endswith(".bin"))


def _url(shown: Shown, name: str) -> str:
    media = MEDIA[Path(name).suffix]
    return f"data:{media};base64,{base64.b64encode(shown.file(name)).decode()}"


def _script_json(value: Any) -> str:
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
