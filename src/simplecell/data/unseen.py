"""Signs that nobody sees, shown: controls, and what turns the order of the text around it.

A title with an escape sequence steers a terminal, one with U+202E reads backwards, a name may hide
spaces of no width. Wherever text of the data is shown, such a sign stands as it is written in
Python: `\\x1b`, `\\u202e`. Pages do the same (`explorer/static/lib/store.js`).
"""

from __future__ import annotations

import json
import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tabs and ends of lines
    "\u00ad\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""Joiners (U+200C, U+200D) and marks of direction (U+200E, U+200F, U+061C) are none: scripts and
emoji are written with them, and they turn nothing around."""


def seen(text: str) -> str:
    """The text with every sign that nobody sees written out."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def seen_in_json(text: str) -> str:
    """JSON that says the same, without such signs."""
    return UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def shown_in_page(value: object) -> object:
    """What a template shows: text as it is seen."""
    return seen(value) if type(value) is str else value
