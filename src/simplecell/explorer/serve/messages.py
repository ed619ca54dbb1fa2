"""What a browser asks and what it is told; what is refused before anything is looked up."""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SECURITY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer, errors too."""
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".bin": "application/octet-stream",
    ".txt": "text/plain; charset=utf-8",
}
"""Kinds of files that are served, by suffix; others are not."""


def data_url(suffix: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(content).decode()}"


class Refused(Exception):  # noqa: N818
    """An answer that is no: its status, and a sentence for whoever asked."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


@dataclass(frozen=True)
class Request:
    """One question of a browser."""

    method: str
    path: str
    """As it was sent: still percent-encoded, without the part behind '?'."""
    headers: Sequence[tuple[str, str]] = ()
    """Names in lower case."""
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for one, value in self.headers if one == name]

    def header(self, name: str) -> str:
        """A header, "" where there is none."""
        return ", ".join(self.all(name)).strip()

    @property
    def wants_json(self) -> bool:
        """Whether data are asked for, and not the page that shows them."""
        accept = self.header("accept").lower()
        return "application/json" in accept and "text/html" not in accept

    @property
    def wants_page(self) -> bool:
        """Whether a person would read the answer."""
        return "text/html" in self.header("accept").lower()

    @property
    def segments(self) -> list[str]:
        """The path between its slashes, decoded once; a slash at the end says nothing.

        Raises:
            Refused: when it is no UTF-8.
        """
        parts = self.path.removeprefix("/").split("/")
        try:
            return [unquote(part, errors="strict") for part in (parts if parts[-1] else parts[:-1])]
        except UnicodeDecodeError:
            raise Refused(404, "this address does not exist") from None


@dataclass(frozen=True)
class Answer:
    """What a browser is told."""

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: SECURITY)
    body: bytes = b""


def answer(status: int, media: str, body: bytes, **headers: str) -> Answer:
    """An answer with every header that each must have; not to be kept unless `headers` say so."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    kept = {"content-type": media, "cache-control": "no-store", "vary": "accept"}
    return Answer(status, {**SECURITY, **kept, **more}, body)


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    """A value as JSON; nothing but ASCII, so that names that are no Unicode pass as well."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return answer(status, MEDIA[".json"], text.encode("ascii"), **headers)


def as_page(sentence: str, status: int, **headers: str) -> Answer:
    """A page of a few words."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>simplecell</title>'
        f"</head><body><h1>simplecell</h1><p>{html.escape(sentence)}</p></body></html>\n"
    )
    return answer(status, MEDIA[".html"], text.encode(errors="replace"), **headers)


def as_file(request: Request, content: bytes, suffix: str, tag: str) -> Answer:
    """A file's bytes, or 304 when the browser has the ones with this tag."""
    headers = {"cache_control": "no-cache", "etag": f'"{tag}"'}
    known = [one.strip().removeprefix("W/") for one in request.header("if-none-match").split(",")]
    if f'"{tag}"' in known or "*" in known:
        return answer(304, MEDIA[suffix], b"", **headers)
    return answer(200, MEDIA[suffix], content, **headers)


def as_refusal(request: Request, refused: Refused) -> Answer:
    """A refusal in the form that was asked for."""
    sentence, status = str(refused), refused.status
    if request.wants_page:
        return as_page(sentence, status, **refused.headers)
    return as_json({"error": sentence}, status, **refused.headers)


MOST_BODY = 2**20
"""Bytes that a request may carry."""
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
SAME_SITE = ("", "same-origin", "none")


def check_origin(request: Request) -> None:
    """Refuse questions that come from other pages, or under another name.

    A foreign `Host` is a page of a stranger whose name was pointed at this machine (DNS
    rebinding); a foreign `Origin` is one that asks across sites.

    Raises:
        Refused: 400 or 403.
    """
    hosts = request.all("host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Refused(
            400,
            "this page answers to the names 127.0.0.1, localhost and [::1] alone; "
            "open the address that simplecell printed",
        )
    mine = f"http://{hosts[0]}".lower()
    if any(origin.lower() != mine for origin in request.all("origin")):
        raise Refused(403, "another page asked; only the explorer's own pages may")
    if request.method == "POST" and request.header("sec-fetch-site").lower() not in SAME_SITE:
        raise Refused(403, "another site asked; only the explorer's own pages may write")


def check_token(token: str, found: str) -> None:
    """Refuse whoever does not know the address, in a time that tells nothing.

    Raises:
        Refused: 403.
    """
    if not secrets.compare_digest(token.encode(), found.encode(errors="replace")):
        raise Refused(
            403,
            "this address lacks its key; open the whole address that simplecell printed when it "
            "started (it is another one at each start)",
        )


def check_body(request: Request) -> None:
    """Refuse a body by what its headers say of it.

    Raises:
        Refused: 413 or 415.
    """
    if max(_length(request), len(request.body)) > MOST_BODY:
        raise too_large()
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the body must be JSON, with Content-Type: application/json")


def may_be_long(request: Request) -> bool:
    """Whether a body over the limit may follow the headers."""
    return bool(request.all("transfer-encoding")) or _length(request) > MOST_BODY


def _length(request: Request) -> int:
    """Bytes that the headers promise; what is no number counts as too many."""
    length = request.header("content-length") or "0"
    return int(length) if re.fullmatch("[0-9]{1,12}", length, re.ASCII) else MOST_BODY + 1


def too_large() -> Refused:
    """A body over the limit."""
    return Refused(413, f"the body is larger than {MOST_BODY:,} bytes; send less")
