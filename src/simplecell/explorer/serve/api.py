"""From a request to its answer: no sockets, and nothing a GET could change.

A page and its data share an address: whoever asks for JSON gets data, everybody else the page.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from simplecell.errors import DataError, RunError, SimplecellError, UsageError, WriteError
from simplecell.explorer.make.contents import Told
from simplecell.explorer.serve.embed import Embedder
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import (
    MEDIA,
    SECURITY,
    Answer,
    Refused,
    Request,
    answer,
    as_file,
    as_json,
    as_refusal,
    check_body,
    check_origin,
    check_token,
)
from simplecell.explorer.serve.view import RunView

STATIC = Path(__file__).parents[1] / "static"
SHELL = "index.html"
_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Route:
    """What an address stands for."""

    act: Callable[[Request], Answer]
    writes: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Those it takes."""
        return ("POST",) if self.writes else ("GET", "HEAD")


class Api:
    """Answers requests about a library of runs, to those who know the token.

    Args:
        library: the runs.
        token: the first part of every address.
        static: the folder of the page's files; the package's own unless given.
        embedder: makes rows of texts that a person types.
    """

    def __init__(
        self,
        library: Library,
        token: str,
        *,
        static: Path | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.library, self.token, self.embedder = library, token, embedder
        self._folder = static or STATIC
        files = (path for path in self._folder.rglob("*") if path.is_file())
        names = {path.relative_to(self._folder).as_posix(): path for path in files}
        self._static = {
            name: path for name, path in names.items() if path.suffix in MEDIA and name != SHELL
        }

    def refuse(self, request: Request) -> Answer | None:
        """What can be said before a body is read: an answer that is no, or None."""
        found = self._careful(request, lambda: self._route(request))
        return found if isinstance(found, Answer) else None

    def answer(self, request: Request) -> Answer:
        """The answer; of a request that is refused, why."""
        return self._careful(request, lambda: self._route(request).act(request))

    def _careful(self, request: Request, work: Callable[[], _Found]) -> _Found | Answer:
        """Whatever goes wrong becomes a sentence that says nothing of this machine."""
        try:
            return work()
        except Refused as refused:
            return as_refusal(request, refused)
        except (RunError, WriteError) as error:
            return as_refusal(request, Refused(500, self._plain(error)))
        except (UsageError, DataError) as error:
            return as_refusal(request, Refused(400, self._plain(error)))
        except MemoryError:
            return as_refusal(request, Refused(500, "there is not enough memory for this"))
        except OSError:
            return as_refusal(request, Refused(500, "a file of the run cannot be read"))
        except Exception:
            _log.exception("a request could not be answered")
            return as_refusal(request, Refused(500, "internal error; please report it"))

    def _plain(self, error: SimplecellError) -> str:
        sentence = str(error)
        for shown in self.library:
            sentence = shown.plain(sentence)
        return sentence

    def _route(self, request: Request) -> Route:
        check_origin(request)
        if request.path == "/favicon.ico":
            segments = ["favicon.ico"]
        else:
            first, *segments = request.segments or [""]
            check_token(self.token, first)
        route = self._find(segments)
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            raise Refused(405, f"this address takes {allowed} alone", allow=allowed)
        if route.writes:
            check_body(request)
        return route

    def _find(self, segments: list[str]) -> Route:
        match segments:
            case []:
                return self._page(self.library.rows)
            case ["favicon.ico"]:
                return Route(lambda _: Answer(204, {**SECURITY, "cache-control": "no-cache"}))
            case ["static", *parts]:
                return Route(partial(self._file_of_page, "/".join(parts)))
            case [name, *rest]:
                return self._find_in(self.library.find(name), rest)
        raise _nothing()

    def _find_in(self, shown: RunView, segments: list[str]) -> Route:
        library = self.library
        match segments:
            case []:
                return self._page(shown.overview)
            case ["latent", number]:
                find = partial(shown.number, number)
                return self._page(lambda: shown.latent(find()), find)
            case ["latent", number, "note"]:
                return Route(partial(_note, shown, shown.number(number)), writes=True)
            case ["latent", number, "name"]:
                return Route(partial(_name, shown, shown.number(number)), writes=True)
            case ["playground"]:
                return self._page(partial(self._playground, shown))
            case ["data"]:
                return self._page(shown.data)
            case ["training"]:
                return self._page(shown.training)
            case ["compare"]:
                return self._page(_no_other)  # the page itself asks for the other run
            case ["compare", other]:
                compare = partial(library.compare, shown)
                return self._page(lambda: compare(library.find(other)), lambda: library.find(other))
            case ["similar", number]:
                similar = partial(library.similar, shown, shown.number(number))
                return Route(lambda _: as_json(similar()))
            case ["map", "latent", number]:
                return Route(partial(self._code, shown, shown.number(number)))
            case ["map", "sample", number]:
                return Route(lambda _: as_json(library.sample(shown, number)))
            case ["contrast"]:
                return Route(lambda request: as_json(library.contrast(shown, _body(request))), True)
            case ["play"]:
                return Route(lambda request: as_json(library.play(shown, _body(request))), True)
            case ["embed"]:
                return Route(partial(self._embed, shown), True)
            case ["files", *parts]:
                return Route(partial(_file_of_run, shown, "/".join(parts)))
        raise _nothing()

    def _page(self, data: Callable[[], object], find: Callable[[], object] | None = None) -> Route:
        """What `data` gives, or the page around it; where `find` is refused the page says so."""

        def act(request: Request) -> Answer:
            if request.wants_json:
                return as_json(data())
            try:
                if find is not None:
                    find()
            except Refused as refused:
                return self._shell(refused.status)
            return self._shell()

        return Route(act)

    def _shell(self, status: int = 200) -> Answer:
        try:
            text = (self._folder / SHELL).read_text(encoding="utf-8")
        except OSError:
            raise Refused(
                500, "the page is missing from this installation; install it again"
            ) from None
        return answer(status, MEDIA[".html"], shell(text, f"/{self.token}/").encode())

    def _playground(self, shown: RunView) -> Told:
        play = shown.playground()
        return {**play, "embeds": True} if self.embedder else play

    def _embed(self, shown: RunView, request: Request) -> Answer:
        if self.embedder is None:
            raise Refused(404, "texts are embedded when explore has --embed MODULE:FUNCTION")
        text = _body(request).get("text")
        return as_json({"x": self.embedder.row(text, self.library.width(shown))})

    def _code(self, shown: RunView, latent: int, request: Request) -> Answer:
        tag = f"{_plain_key(shown)}-map-latent-{latent}"
        return as_file(request, self.library.code(shown, latent), ".bin", tag)

    def _file_of_page(self, name: str, request: Request) -> Answer:
        path = self._static.get(name)
        if path is None:
            raise _nothing()
        content = path.read_bytes()
        return as_file(request, content, path.suffix, hashlib.sha256(content).hexdigest()[:32])


def shell(text: str, base: str) -> str:
    """The page with the address that it lives under; its script and style are found from there."""
    for attribute in ("src", "href"):
        for start in ("./static/", "/static/", "static/"):
            text = text.replace(f'{attribute}="{start}', f'{attribute}="{base}static/')
    return text.replace('data-base="/"', f'data-base="{base}"')


def _file_of_run(shown: RunView, name: str, request: Request) -> Answer:
    content, tag = shown.file(name), f"{_plain_key(shown)}-{name}"
    return as_file(request, content, f".{name.rpartition('.')[2]}", tag)


def _plain_key(shown: RunView) -> str:
    """The key of an atlas as a header may hold it."""
    return "".join(letter for letter in shown.key[:32] if letter.isascii() and letter.isalnum())


def _note(shown: RunView, latent: int, request: Request) -> Answer:
    text = _body(request).get("text")
    if not isinstance(text, str):
        raise Refused(400, 'the body must be such as {"text": "likes vertical edges"}')
    return as_json({"note": shown.write_note(latent, text)})


def _name(shown: RunView, latent: int, request: Request) -> Answer:
    text = _body(request).get("name")
    if not isinstance(text, str):
        raise Refused(400, 'the body must be such as {"name": "vertical edge"}')
    return as_json({"name": shown.write_name(latent, text)})


def _body(request: Request) -> dict[str, object]:
    """The JSON object in the body."""
    try:
        value = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON (which has no NaN and no Infinity)") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def _no_other() -> NoReturn:
    raise Refused(404, "two runs are compared; name the other one: compare/NAME")


def _nothing() -> Refused:
    return Refused(404, "this address does not exist")
