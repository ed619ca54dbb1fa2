"""A real browser for tests: Debian's chromium through playwright; skipped where either is missing.

A test module says `pytest_plugins = ["browser"]` and takes `chromium`, or `visit` for pages that
must log no error and ask no other machine.
"""

from __future__ import annotations

import contextlib
import shutil
from urllib.parse import urlsplit

import pytest

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSIDE = ("127.0.0.1", "localhost", "[::1]", "")
"""Hosts that a page may ask; a file, data or a blob has none."""
PATIENCE = 15_000
"""Milliseconds to wait for what must come."""


# Of a module, not of the session: while playwright runs, no other test may run an event loop.
@pytest.fixture(scope="module")
def chromium():
    """The browser, from playwright's synchronous interface."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


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


@contextlib.contextmanager
def watched(browser, **options):
    """A page in a context of its own; what went wrong in it fails the test at the end."""
    context = browser.new_context(**{"locale": "en-US", **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watch = Watch(page)
    page.watch = watch
    try:
        yield page
        assert watch.wrong == []
    finally:
        context.close()


@pytest.fixture
def visit(chromium):
    """`visit(address, **options)` opens a watched page, closed and judged after the test."""
    with contextlib.ExitStack() as stack:

        def open_page(address, **options):
            page = stack.enter_context(watched(chromium, **options))
            page.goto(address)
            return page

        yield open_page
