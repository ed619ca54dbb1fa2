"""The pages' words: one table a part of the pages, each key in English and in Chinese."""

from __future__ import annotations

import json
import re
from collections import Counter

from simplecell.explorer.export import STATIC

TABLES = sorted(STATIC.glob("lib/words-*.js"))
FILES = [path for path in STATIC.rglob("*.js") if path not in TABLES]


def entries():
    """(key, [English, Chinese]) of all tables, which are JSON but for their last comma."""
    for path in TABLES:
        text = path.read_text(encoding="utf-8")
        table = re.search(r"= (\{.*),\n\};\n$", text, re.DOTALL)[1] + "}"
        yield from json.loads(table, object_pairs_hook=list)


def said():
    """Keys as the code writes them, and patterns of those that it puts together."""
    keys, patterns = set(), set()
    areas = "|".join({key.partition(".")[0] for key, _ in entries()})
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        keys |= set(re.findall(rf'"((?:{areas})\.[a-z0-9_.]+)"', text))
        keys |= set(re.findall(r'\bt\("([^"]+)"', text))
        for made in re.findall(rf"`((?:{areas})\.[^`]*)`", text):
            fixed = re.split(r"\$\{[^}]*\}", made)
            patterns.add("[a-z0-9_.]*".join(map(re.escape, fixed)))
    return keys, patterns


def test_every_word_has_two_languages_with_the_same_blanks():
    assert not [key for key, many in Counter(key for key, _ in entries()).items() if many > 1]
    for key, pair in entries():
        assert len(pair) == 2, key
        assert all(word.strip() for word in pair), key
        english, chinese = (set(re.findall(r"\{\w+\}", word)) for word in pair)
        assert english == chinese, key


def test_every_word_that_is_said_is_there_and_no_other():
    known = {key for key, _ in entries()}
    keys, patterns = said()
    assert keys - known == set()
    for pattern in patterns:
        assert any(re.fullmatch(pattern, key) for key in known), pattern
    whole = re.compile("|".join(patterns))
    unsaid = {key for key in known - keys if not whole.fullmatch(key)}
    assert {key for key in unsaid if key.removesuffix(".one") not in keys} == set()
