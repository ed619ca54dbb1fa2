"""What a browser asks and what it is told: plain values, no sockets."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
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


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """A value as JSON; nothing but ASCII, so that names that are no Unicode pass as well."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return answer(status, MEDIA[".json"], text.encode("ascii"), **headers)


def as_page(title: str, sentence: str, status: int) -> Answer:
    """A page of a few words."""
    words = html.escape(sentence)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title></head><body><h1>{html.escape(title)}</h1><p>{words}</p></body></html>\n"
    )
    return answer(status, MEDIA[".html"], text.encode(errors="replace"))


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
        told = as_page("simplecell", sentence, status)
    else:
        told = as_json({"error": sentence}, status)
    return Answer(status, {**told.headers, **refused.headers}, told.body)
