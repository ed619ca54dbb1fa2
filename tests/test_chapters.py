"""Every chapter of the docs runs: its snippets in order, in one namespace and an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHAPTERS = [page for page in sorted(DOCS.glob("*.md")) if SNIPPET.search(page.read_text("utf-8"))]


def snippets(page):
    """The code of each snippet, on the lines where it stands, so that errors name the place."""
    text = page.read_text("utf-8")
    for found in SNIPPET.finditer(text):
        above = text.count("\n", 0, found.start(1))
        yield compile("\n" * above + found[1], str(page), "exec")


@pytest.fixture
def texts(tmp_path):
    """What a chapter calls `texts.jsonl`: the paragraphs of all of them."""
    pages = "\n\n".join(page.read_text("utf-8") for page in sorted(DOCS.glob("*.md")))
    lines = [json.dumps({"text": part}) for part in pages.split("\n\n") if part.strip()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize("page", CHAPTERS, ids=[page.stem for page in CHAPTERS])
def test_chapter_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code in snippets(page):
        exec(code, names)


def test_every_picture_of_a_chapter_is_small_and_used():
    text = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))
    for picture in (DOCS / "images").glob("*.png"):
        assert picture.stat().st_size < 150_000, picture.name
        if picture.stem in {page.stem for page in CHAPTERS}:
            assert f"images/{picture.name}" in text, picture.name
