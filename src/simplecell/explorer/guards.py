"""What is refused before anything is looked up: strangers' pages, wrong keys, large bodies."""

from __future__ import annotations

import re
import secrets

from simplecell.explorer.messages import Refused, Request

MOST_BODY = 2**20
"""Bytes that a request may carry."""
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
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


def is_token(token: str) -> bool:
    """Whether it can stand in an address as it is."""
    return _TOKEN.fullmatch(token) is not None
