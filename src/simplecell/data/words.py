"""Word vectors: text of word2vec, GloVe and fastText, and word2vec's binary. The word is the id.

Words may hold any byte but a line's end, even spaces, so numbers are counted from the right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simplecell.data.binary import most_of, opened, take
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.rows import Array, Meta
from simplecell.errors import DataError

_HEADER = re.compile(rb"\s*(\d{1,10})\s+(\d{1,7})\s*")
_FASTTEXT = (793712314).to_bytes(4, "little")
_LOOKED_AT = 50
_LONGEST_WORD = 2**16


def are_word_vectors(start: bytes) -> bool:
    """Whether the first lines of a text are a word and numbers, the words all different.

    The last of them may be cut off.
    """
    lines = [line for line in start.split(b"\n")[: _LOOKED_AT + 1] if line.strip()]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    body = [line.split() for line in (lines[1:] if header else lines)][:_LOOKED_AT]
    body = body[:-1] if len(body) > 1 and len(body[-1]) < len(body[0]) else body
    if not body or len(body[0]) < 2 or (header and len(body[0]) - 1 != int(header[2])):
        return False
    words = [row[0] for row in body]
    alike = {len(row) for row in body} == {len(body[0])} and len(set(words)) == len(words)
    if header:
        return alike and all(map(_is_number, body[0][1:]))
    return (
        alike
        and not any(map(_is_number, words))
        and all(all(map(_is_number, row[1:])) for row in body)
    )


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in (b"nan", b"inf", b"infinity")


def read_word_text(path: Path, options: Options) -> Loaded:
    """Vectors [n, D] of a text with a word and its numbers a line, with a first line "n D" or not.

    Raises DataError, naming the line, for another number of numbers than in the first.
    """
    with opened(path) as stream:
        lines = bytes(take(stream, path.name, most_of(path))).split(b"\n")
    header = _HEADER.fullmatch(lines[0])
    start = 1 if header else 0
    rows = [(i, line.rstrip()) for i, line in enumerate(lines[start:], start + 1) if line.strip()]
    if not rows:
        raise DataError(f"{path.name} is empty: a word and its numbers a line are needed")
    n_inputs = int(header[2]) if header else len(rows[0][1].split()) - 1
    if header and int(header[1]) != len(rows):
        raise DataError(
            f"{path.name} declares {int(header[1])} words, but {len(rows)} are there; it is cut "
            "off, or its first line is wrong"
        )
    words, data = [], np.empty((len(rows), n_inputs), np.float32)
    for row, (number, line) in enumerate(rows):
        word, data[row] = _parsed(line, n_inputs, number, path.name)
        words.append(word)
    return _named(data, words, path.name)


def _parsed(line: bytes, n_inputs: int, number: int, name: str) -> tuple[str, Array]:
    cells = line.rsplit(None, n_inputs)
    values: Array = np.empty(0)
    try:
        values = np.array(cells[1:], dtype="S").astype(np.float32)
    except ValueError:
        values = np.empty(0)  # said below
    if len(cells) != n_inputs + 1 or len(values) != n_inputs:
        raise DataError(
            f"line {number} of {name} is no word and {n_inputs} numbers, as the first is: "
            f"{line[:40].decode('utf-8', 'replace')!r}"
        )
    return cells[0].decode("utf-8", "replace"), values


def read_word_binary(path: Path, options: Options) -> Loaded:
    """Vectors [n, D] of word2vec's binary: a line "n D", then each word, a space, and D float32."""
    with opened(path) as stream:
        data = bytes(take(stream, path.name, most_of(path)))
    header = _HEADER.match(data.partition(b"\n")[0])
    if data[:4] == _FASTTEXT:
        raise DataError(f"{path.name} is a model of fastText; save its vectors as text (.vec)")
    if header is None:
        raise DataError(
            f"{path.name} is not of word2vec, whose first line says how many words of how many "
            "numbers follow; no other .bin is known"
        )
    n_words, n_inputs = int(header[1]), int(header[2])
    if n_words * (4 * n_inputs + 1) > len(data) or not n_inputs:
        raise DataError(
            f"{path.name} is cut off: {n_words} words of {n_inputs} numbers are declared, "
            f"{len(data)} bytes are there"
        )
    words, vectors = _unpacked(data, data.index(b"\n") + 1, (n_words, n_inputs), path.name)
    return _named(vectors, words, path.name)


def _unpacked(data: bytes, at: int, shape: tuple[int, int], name: str) -> tuple[list[str], Array]:
    words, vectors = [], np.empty(shape, np.float32)
    for row in range(shape[0]):
        end = data.find(b" ", at, at + _LONGEST_WORD)
        after = end + 1 + 4 * shape[1]
        if end < 0 or after > len(data):
            raise DataError(f"{name} is cut off at word {row} of {shape[0]}")
        words.append(data[at:end].lstrip(b"\n").decode("utf-8", "replace"))
        vectors[row] = np.frombuffer(data, "<f4", shape[1], end + 1)
        at = after
    return words, vectors


def _named(data: Array, words: Sequence[str], name: str) -> Loaded:
    note = f"{name} is read as {len(words)} words of {data.shape[1]} inputs; the word is the id"
    return Loaded(data, records=Meta(len(words), lambda i: {"id": words[i]}), notes=[note])
