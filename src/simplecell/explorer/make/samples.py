"""Samples as a person sees them: a picture in its photograph, a row, a text, a token in context;
and what is known about them that latents can be held against: classes, topics, kinds."""

from __future__ import annotations

import base64
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from simplecell.data import PatchSource, Source
from simplecell.data.photographs import HasPhotographs, photographs_of
from simplecell.data.rows import Record
from simplecell.explorer.make.contents import Context, Photo, Sample, Told
from simplecell.explorer.make.digits import orders, written
from simplecell.explorer.make.ranking import largest
from simplecell.explorer.make.sprites import sample_as_tile
from simplecell.model.passes import Passes
from simplecell.run.trained import Trained
from simplecell.training.prepared import to_model

TEXTS = ("text", "body", "sentence", "word", "title")
WIDE, SHOWN_COLUMNS = 32, 16
LONGEST_TEXT, LONGEST_VALUE, LONGEST_NAME, MOST_FIELDS, MOST_VALUES = 600, 200, 60, 40, 20
CONTEXT = 10
"""Tokens shown before and after one."""
MOST_PHOTOS, PHOTO_SIDE = 400, 640
"""Photographs of patches, and their longer side in pixels."""
MOST_PICTURES, LEAST_SIDE = 10_000, 64
"""Pictures of rows that a model made; the more there are, the smaller is each."""
AT_ONCE = 2048

Values = NDArray[np.floating]
Named = tuple[str, int | None]
"""A picture, by its file and its page."""
BOX = ("top", "left", "height", "width")
"""Where in a picture a row is from, in its pixels."""


def drawn_as(source: Source) -> str:
    """How samples are drawn: "picture", "tokens", "text" or "row"."""
    if len(source.shape) == 2 or source.shape[2:] in ((1,), (3,)):
        return "picture"
    if len(source.shape) > 1:  # channels that are no colours
        return "row"
    if any("token" in one for one in probe(source)):
        return "tokens"
    return "text" if text_fields(source) else "row"


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers 0 … n − 1, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def by_value(values: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    """At most so many places in rising values [n], evenly spread over what these are."""
    if len(values) <= most:
        return np.arange(len(values))
    taken: list[int] = []
    for apart in np.abs(values - np.linspace(values[0], values[-1], most)[:, None]):
        apart[taken] = np.inf
        taken.append(int(apart.argmin()))
    return np.sort(taken)


def probe(source: Source) -> list[Record]:
    """Records of some samples, evenly spread."""
    return source.about(evenly(source.n_samples, 100))


def text_fields(source: Source) -> list[str]:
    """The fields that hold texts, the one to read first."""
    records = probe(source)
    return [name for name in TEXTS if any(isinstance(one.get(name), str) for one in records)]


class Samples:
    """The samples of a source as JSON records, and the photographs that they were cut from."""

    def __init__(self, trained: Trained, source: Source) -> None:
        self.trained, self.source = trained, source
        self.drawn_as = drawn_as(source)
        self.names = source.input_names or [f"x{i}" for i in range(source.n_inputs)]
        self.texts = text_fields(source) if self.drawn_as == "text" else []
        self.photos: dict[Named, tuple[int, int]] = {}
        """Number and scale of each by its name and page."""
        self.pictures = None if self.drawn_as == "picture" else photographs_of(source)
        """What shows the pictures that rows were made of."""
        if self.pictures is not None and not self._first_is_there(self.pictures):
            source.notes.append(
                "the pictures that rows were made of are not where they were, and are not shown"
            )
            self.pictures = None
        if self.drawn_as != "picture":
            some = source.read(evenly(source.n_samples, 1000))
            self.digits = written(some, self.names)
            """Of columns that need more than pages usually write."""
            self._digits = np.clip(5 + orders(some), 6, 17)
            # Squares of numbers near the end of float32 are beyond it; the survey names such rows.
            some = some.astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                self._usual = some.mean(0), some.std(0)

    def records(self, rows: Iterable[int]) -> dict[int, Sample]:
        """Row number → record, for every row asked for."""
        wanted = np.unique(np.fromiter(rows, dtype=np.int64))
        found = {}
        for first in range(0, len(wanted), AT_ONCE):
            part = wanted[first : first + AT_ONCE]
            values, about = self.source.read(part), self.source.about(part)
            told = self._values(values) if self.drawn_as == "row" else itertools.repeat([])
            for row, x, own, record in zip(part.tolist(), values, told, about, strict=False):
                found[row] = self._record(row, x, own, record)
        return found

    def _record(self, row: int, x: Values, told: list[tuple[str, float]], about: Record) -> Sample:
        record: Sample = {"row": row}
        if self.drawn_as == "picture":
            record["pixels"] = as_text(sample_as_tile(x.astype(np.float64), self.source.shape))
            self._place(record, about)
        elif self.drawn_as == "row":
            record["values"] = told
        elif self.drawn_as == "text":
            self._text(record, about)
        if self.pictures is not None:
            self._part(record, about)
        taken = {"text", "body", "title"} if self.drawn_as == "text" else set()
        record["about"] = {
            str(name)[:LONGEST_NAME]: cleaned(value)
            for name, value in list(about.items())[:MOST_FIELDS]
            if name not in taken
        }
        return record

    def _place(self, record: Sample, about: Record) -> None:
        """The photograph that a patch was cut from."""
        if not isinstance(self.source, PatchSource):
            return
        name, scale = (about["file"], about.get("page")), about.get("scale", 1)
        if len(self.photos) < MOST_PHOTOS:
            self.photos.setdefault(name, (len(self.photos), scale))
        if name in self.photos:
            side, number = self.source.shape[0] * scale, self.photos[name][0]
            top, left = about["top"], about["left"]
            record["photo"] = {"photo": number, "top": top, "left": left, "side": side}

    def _part(self, record: Sample, about: Record) -> None:
        """The picture that a row was made of, and which part of it, where rows are of parts."""
        name = named(about)
        if name is None:
            return
        if len(self.photos) < MOST_PICTURES:
            self.photos.setdefault(name, (len(self.photos), 1))
        if name in self.photos:
            place = record["photo"] = {"photo": self.photos[name][0]}
            box: list[Any] = [about.get(key) for key in BOX]
            if all(isinstance(side, int | float) for side in box):
                place["top"], place["left"], place["height"], place["width"] = box

    def _first_is_there(self, pictures: HasPhotographs) -> bool:
        names = [name for one in probe(self.source) if (name := named(one)) is not None]
        return any(pictures.photograph(*name) is not None for name in names[:3])

    def _values(self, x: Values) -> list[list[tuple[str, float]]]:
        """Columns and values of each row [B, D]; of wide rows those farthest from the usual, in
        deviations."""
        width = x.shape[1]
        order = np.broadcast_to(np.arange(width), x.shape)
        if width > WIDE:
            mean, deviation = self._usual
            order = largest(np.abs(x - mean) / np.maximum(deviation, 1e-12), SHOWN_COLUMNS)
        # Lists, since NumPy's own numbers take three times as long to be written.
        taken = np.take_along_axis(x, order, 1).tolist()
        return [
            [(self.names[i], self.short(value, i)) for i, value in zip(places, own, strict=True)]
            for places, own in zip(order.tolist(), taken, strict=True)
        ]

    def short(self, value: float, column: int) -> float:
        """A value of a column, without digits that tell nothing."""
        return float(f"{value:.{self._digits[column]}g}")

    def _text(self, record: Sample, about: Record) -> None:
        body = plain_text(about.get(self.texts[0]))
        if "title" in self.texts[1:]:
            record["title"] = plain_text(about.get("title"))[:LONGEST_VALUE]
        record["text"] = body[:LONGEST_TEXT] + ("…" if len(body) > LONGEST_TEXT else "")

    def save_photos(self, folder: Path) -> list[Photo]:
        """Write the photographs met so far; these as the manifest holds them."""
        told: list[Photo] = []
        shown = self.source if isinstance(self.source, PatchSource) else self.pictures
        side = self._side()
        for place, (number, scale) in self.photos.items():
            picture = None if shown is None else shown.photograph(*place)
            if picture is None:
                picture = Image.new("L", (PHOTO_SIDE, PHOTO_SIDE), 128)  # gone since it was named
            width, height = picture.size
            picture.thumbnail((side, side))
            path = f"photos/{number}.jpg"
            picture.save(folder / path, quality=80)
            told.append(
                {
                    "name": photo_name(place),
                    "width": width,
                    "height": height,
                    "scale": scale,
                    "file": path,
                }
            )
        return told

    def _side(self) -> int:
        """The longer side of photographs, in pixels: of many together as much as of a few."""
        share = math.sqrt(min(1.0, MOST_PHOTOS / max(1, len(self.photos))))
        return max(LEAST_SIDE, round(PHOTO_SIDE * share))

    @torch.no_grad()
    def contexts(self, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Context]:
        """(latent, row) → the tokens around that row, each with the latent's code there."""
        pairs = list(pairs)
        around = {row: self._around(row) for row in {row for _, row in pairs}}
        needed = np.unique(np.concatenate([np.asarray(rows) for rows in around.values()]))
        place = {int(row): i for i, row in enumerate(needed)}
        wanted = [(place[r], latent) for latent, row in pairs for r in around[row]]
        spots = np.array(wanted, dtype=np.int64).reshape(-1, 2)
        codes = np.zeros(len(spots), dtype=np.float32)
        texts: list[str] = []
        passes = Passes(self.trained.model)
        size = passes.n_rows
        for first in range(0, len(needed), size):
            part = needed[first : first + size]
            like = passes.model.like
            code = passes.encode(to_model(self.source.read(part), self.trained.preprocess, like))[1]
            here = (spots[:, 0] >= first) & (spots[:, 0] < first + size)
            samples, latents = torch.from_numpy(spots[here]).to(like.device).T
            codes[here] = code.read(samples - first, latents).float().cpu().numpy()
            texts += [plain_text(record.get("token")) for record in self.source.about(part)]
        values = iter(codes.tolist())
        return {
            (latent, row): {
                "tokens": [(texts[place[r]], float(f"{next(values):.4g}")) for r in around[row]],
                "at": around[row].index(row),
            }
            for latent, row in pairs
        }

    def _around(self, row: int) -> list[int]:
        """The rows of the same document near one, in order."""
        first, last = max(0, row - CONTEXT), min(self.source.n_samples, row + CONTEXT + 1)
        rows = list(range(first, last))
        about = self.source.about(np.array(rows))
        own, at = _document(about[row - first]), row - first
        keep = [at]
        for step in (-1, 1):
            i = at + step
            while 0 <= i < len(rows) and _document(about[i]) == own and _follows(about, i, step):
                keep.append(i)
                i += step
        return [rows[i] for i in sorted(keep)]


def named(record: Record) -> Named | None:
    """The picture that a record names."""
    file, page = record.get("file"), record.get("page")
    return (file, page if isinstance(page, int) else None) if isinstance(file, str) else None


def _document(record: Record) -> object:
    return record.get("document", record.get("sample", record.get("file")))


def _follows(about: list[Record], i: int, step: int) -> bool:
    """Whether token i stands right beside the one before, where records have row or position."""
    mine, other = about[i], about[i - step]
    return all(
        mine[name] - other[name] == step
        for name in ("row", "position")
        if isinstance(mine.get(name), int) and isinstance(other.get(name), int)
    )


def photo_name(place: Named) -> str:
    """What a photograph is called: its file, and which page of it."""
    return place[0] if place[1] is None else f"{place[0]}, page {place[1]}"


def as_text(pixels: NDArray[np.uint8]) -> str:
    """Base64, as pages read it."""
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def plain_text(value: object) -> str:
    """A record's value as text; nothing where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).encode("utf-8", "replace").decode()


def cleaned(value: object, depth: int = 3) -> object:
    """What JSON can hold of any value that a record may have, cut to a length one reads."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [cleaned(one, depth - 1) for one in list(value)[:MOST_VALUES]]
    if isinstance(value, Mapping) and depth:
        parts = list(value.items())[:MOST_VALUES]
        return {str(name)[:LONGEST_NAME]: cleaned(one, depth - 1) for name, one in parts}
    text = plain_text(value)
    return text[:LONGEST_VALUE] + ("…" if len(text) > LONGEST_VALUE else "")


FAVOURITES = ("label", "labels", "topics", "topic", "class", "category", "target", "kind")
PLACES = {
    "row",
    "file",
    "page",
    "top",
    "left",
    "scale",
    "position",
    "document",
    "token",
    "text",
    "title",
    "sample",
    "call",
    "batch",
    "number",
    "y",
    "x",
    "place",
    "height",
    "width",
    "special",
}
PROBED, MOST_LABEL_VALUES, LONGEST = 2000, 64, 80


class Labels:
    """A field of the records about samples, whose values repeat.

    `values` are the different ones, the most frequent first; a sample may have several.
    """

    def __init__(self, name: str, values: list[str], source: Source) -> None:
        self.name, self.values, self.source = name, values, source
        self.counts = np.zeros(len(values), dtype=np.int64)
        """Samples of each label among those asked for so far, [L]."""

    def members(self, rows: NDArray[np.int64]) -> Tensor:
        """1 where sample i has label l, else 0: [B, L] float32. What was asked for is counted."""
        found = np.zeros((len(rows), len(self.values)), dtype=np.float32)
        if self.values:
            place = {value: k for k, value in enumerate(self.values)}
            for i, record in enumerate(self.source.about(rows)):
                for value in words_of(record.get(self.name)):
                    if value in place:
                        found[i, place[value]] = 1
        self.counts += found.sum(0).astype(np.int64)
        return torch.from_numpy(found)

    def table(self) -> Told | None:
        """As the manifest holds it; None without labels."""
        return {"name": self.name, "values": self.values} if self.values else None


def find_labels(source: Source) -> Labels:
    """The field of the records that reads like labels; without one, no values.

    A field counts when its values repeat: 2 to 64 of them, half as many as samples at most.
    """
    rows = evenly(source.n_samples, PROBED)
    counts: dict[str, Counter[str]] = {}
    for record in source.about(rows):
        for name, value in record.items():
            if name not in PLACES:
                counts.setdefault(name, Counter()).update(words_of(value))
    ranks = {name: rank for rank, name in enumerate(FAVOURITES)}
    # sorted is stable: names that are no favourites stay in their order
    fields = sorted(counts, key=lambda name: ranks.get(name, len(ranks)))
    for name in fields:
        n_values = len(counts[name])
        known = name in FAVOURITES
        if 2 <= n_values <= (len(rows) if known else min(MOST_LABEL_VALUES, len(rows) // 2)):
            return Labels(name, [v for v, _ in counts[name].most_common(MOST_LABEL_VALUES)], source)
    return Labels("", [], source)


def words_of(value: object) -> list[str]:
    """The labels in a record's value: a list's entries, else the value itself; no fractions."""
    found = []
    for entry in value if isinstance(value, list | tuple | set) else [value]:
        entry = entry.item() if isinstance(entry, np.generic) else entry
        if isinstance(entry, float) and entry.is_integer():
            entry = int(entry)  # 0.0 and 1.0 are classes, 0.37 is a measurement
        if isinstance(entry, str | int) and entry != "" and len(str(entry)) <= LONGEST:
            found.append(plain_text(entry))
    return found
