"""A real browser for tests: Debian's chromium through playwright; skipped where either is missing.

A test module says `pytest_plugins = ["browser_fixtures"]` and takes `page`, which the tests of a
process take turns with; `visit` for pages in a browser profile of their own; or `chromium` itself.
All that a page logs as an error, and all that it asks of another machine, fails its test.

The pages are of `runs`, made once for all processes of a test session, at the address `site`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from browser import PATIENCE, WIDE, new_page, serving
from play_runs import explorable
from simplecell.explorer.export import STATIC

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_closing = contextlib.ExitStack()
_open: dict[str, object] = {}
"""What this process has open: the browser, and pages that its tests take turns with."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem):
    """Close the browser after the last test in a row that takes it.

    While playwright runs, no other test may run an event loop: a fixture of the session would keep
    it too long, and one of a module would start it twice.
    """
    if "chromium" not in getattr(nextitem, "fixturenames", ()):
        _closing.close()
        _open.clear()


@pytest.fixture
def chromium():
    """The browser, from playwright's synchronous interface."""
    if "browser" not in _open:
        playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        if path is None:
            pytest.skip("chromium is not installed: apt-get install chromium")
        playwright.expect.set_options(timeout=PATIENCE)
        driver = _closing.enter_context(playwright.sync_playwright())
        _open["browser"] = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        _closing.callback(_open["browser"].close)
    return _open["browser"]


@pytest.fixture
def visit(chromium):
    """`visit(address, **options)` opens a page, closed and judged after the test."""
    pages = []
    with contextlib.ExitStack() as stack:

        def open_page(address, **options):
            page = new_page(chromium, stack, **options)
            pages.append(page)
            page.goto(address)
            return page

        yield open_page
        assert [wrong for page in pages for wrong in page.watch.wrong] == []


@pytest.fixture
def page(chromium):
    """One page that the tests take turns with; `go` opens an address in it."""
    if "page" not in _open:
        _open["page"] = new_page(chromium, _closing)
    page = _open["page"]
    yield page
    page.unroute_all()
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    wrong, page.watch.wrong = page.watch.wrong, []
    assert wrong == []


@pytest.fixture
def modules(chromium):
    """A page that is empty, and may import the pages' modules: `import("/play/engine.js")`."""
    if "modules" not in _open:
        page = _open["modules"] = new_page(chromium, _closing)
        page.route("http://localhost/**", _module)
        page.goto("http://localhost/")
    return _open["modules"]


def _module(route):
    name = urlsplit(route.request.url).path[1:]
    if name:
        route.fulfill(path=STATIC / name, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><title>.</title>", content_type="text/html")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Small runs of every kind of data, by their names; the first process makes them for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "explorable"
    with _alone(folder.with_suffix(".lock")):
        if not (folder / "made").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            explorable(folder)
            (folder / "made").touch()
    return {name: folder / name for name in ("edges", "again", "digits", "table", "acts")}


@contextlib.contextmanager
def _alone(path: Path):
    """No other process is in here at the same time."""
    import fcntl  # there is none on Windows, where no test comes here

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def site(runs):
    """The address of the pages about all runs."""
    with serving(*runs.values()) as address:
        yield address
