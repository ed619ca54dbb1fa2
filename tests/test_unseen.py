"""Signs that nobody sees are shown: in terminals, tables, pages of Python and of the browser."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from browser import go, serving
from simplecell.cli import run_command_line
from simplecell.data.unseen import UNSEEN, seen, seen_in_json

pytest_plugins = ["browser_fixtures"]

TURNED, HIDDEN = "\u202egpj.exe\u202c", "a\u200bb\ufeff\x1b[31m\x07"
"""A title that reads backwards; one with spaces of no width, and what colours a terminal."""
FINE = "naïve שלום مرحبا\u200f 👩\u200d👩\u200d👧 می\u200cخواهم\ttab\nline"


def test_each_such_sign_is_written_as_python_writes_it():
    assert seen(TURNED) == r"\u202egpj.exe\u202c"
    assert seen(HIDDEN) == r"a\u200bb\ufeff\x1b[31m\x07"
    assert seen("\u2066x\u2069\U000e0041\udc80") == r"\u2066x\u2069\U000e0041\udc80"
    assert seen(FINE) == FINE


def test_json_says_the_same_without_them():
    table = {TURNED: [HIDDEN, FINE, "\U000e0041\x7f\x9b"]}
    text = seen_in_json(json.dumps(table, ensure_ascii=False))
    assert not UNSEEN.search(text)
    assert json.loads(text) == table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on rows whose titles and kinds hold such signs."""
    place = tmp_path_factory.mktemp("unseen")
    random = np.random.default_rng(0)
    with open(place / "x.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "a", "b", "c", "d", "kind"])
        for i, row in enumerate(random.normal(size=(80, 4))):
            kind = [TURNED, HIDDEN][int(row[0] > 0)]
            table.writerow([f"{kind} {i}", *(f"{value:.4f}" for value in row), kind])
    words = ["train", str(place / "x.csv"), "--out", str(place / "run"), "--recipe", "topk"]
    words += ["--set", "data.id=id", "--records", "kind", "--set", "model.n_latents=6"]
    words += ["--set", "model.target_l0=2", "--set", "train.steps=20"]
    assert not run_command_line(words)
    return place


def test_no_verb_prints_them_and_none_is_in_a_page(folder, capsys):
    run, data = str(folder / "run"), str(folder / "x.csv")
    asked = ["explain", run, data, "--target", "kind"]
    for words in (
        asked,
        [*asked, "--json"],
        [*asked, "--out", str(folder / "e.html")],
        [*asked[:3], "--target", TURNED],
        ["features", run, data, "--out", str(folder / "f.jsonl"), "--target", "kind"],
        ["report", run, "--out", str(folder / "r.html")],
        ["index", run, data, "--out", str(folder / "i.npz")],
        ["index", str(folder / "i.npz"), "--latent", "1"],
        ["info", run],
    ):
        capsys.readouterr()
        run_command_line(words)
        for text in capsys.readouterr():
            assert not UNSEEN.search(text), (words, UNSEEN.search(text))
    capsys.readouterr()
    assert not run_command_line(asked)
    assert r"\u202egpj.exe\u202c" in capsys.readouterr().out
    for name in ("e.html", "r.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not UNSEEN.search(text)
        assert "gpj.exe" in text


@pytest.fixture
def address(folder, capsys):
    assert not run_command_line(["explore", str(folder / "run"), "--export", str(folder / "site")])
    with serving(folder / "run") as found:
        yield f"{found}run/"


def test_the_browser_shows_them_written_out(folder, address, page):
    for path in ("", "latent/1", "data"):
        go(page, address + path)
        page.locator("main .page").wait_for()
        text = page.evaluate("document.documentElement.innerHTML")
        assert not UNSEEN.search(text), path
    assert re.search(r"\\u202egpj\.exe\\u202c|a\\u200bb\\ufeff", text)


def test_an_exported_site_does_so_too(folder, address, visit):
    page = visit((folder / "site" / "index.html").as_uri() + "#/run/data")
    page.locator("main .page:not([aria-busy])").wait_for()
    text = page.evaluate("document.documentElement.innerHTML")
    assert not UNSEEN.search(text)
    assert re.search(r"\\u202egpj|a\\u200bb\\ufeff", text)
