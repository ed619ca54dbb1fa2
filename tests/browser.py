"""What tests do with a browser: open a page, go about in it, and note what goes wrong there."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.server import Server

INSIDE = ("127.0.0.1", "localhost", "[::1]", "")
"""Hosts that a page may ask; a file, data or a blob has none."""
PATIENCE = 15_000
"""Milliseconds to wait for what must come."""
WIDE = {"width": 1280, "height": 800}


class Watch:
    """What went wrong in a page: errors in its console, requests that leave this machine."""

    def __init__(self, page) -> None:
        self.wrong: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    def _heard(self, message) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request) -> None:
        if (urlsplit(request.url).hostname or "") not in INSIDE:
            self.wrong.append(f"left this machine: {request.url}")


def new_page(browser, stack, **options):
    """A page in a context of its own, closed with the stack."""
    context = browser.new_context(**{"locale": "en-US", "viewport": WIDE, **options})
    stack.callback(context.close)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.watch = Watch(page)
    return page


TURN = """(address) => {
  document.activeElement?.blur();
  document.querySelector("main .page").dataset.old = "";
  history.pushState({}, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}"""
DRAWN = "main .page:not([aria-busy]):not([data-old])"


def go(page, address):
    """Open an address; on the server that the page is on, as a link within the page would."""
    within = page.url.split("/")[:4] == address.split("/")[:4]
    if within and page.locator("main .page").count():
        page.evaluate(TURN, address)
    else:
        page.goto(address)
    page.locator(DRAWN).wait_for()
    return page


@contextlib.contextmanager
def serving(*paths, **options):
    """The address of the pages about runs; options are those of the server."""
    server = Server(Library.open(paths), **options)
    try:
        yield server.start()
    finally:
        server.stop()
