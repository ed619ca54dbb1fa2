"""Samples as a person sees them: a picture in its photograph, a row, a text, a token in context."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simplecell.data import PatchSource, Source
from simplecell.explorer.sprites import sample_as_tile
from simplecell.feed import to_model
from simplecell.trained import Trained

TEXTS = ("text", "body", "sentence", "word", "title")
WIDE, SHOWN_COLUMNS = 32, 16
LONGEST_TEXT, LONGEST_VALUE = 600, 200
CONTEXT = 10
"""Tokens shown before and after one."""
MOST_PHOTOS, PHOTO_SIDE = 400, 640
AT_ONCE = 8192

Rows = NDArray[np.int64]


def look_of(source: Source) -> str:
    """How samples are drawn: "picture", "tokens", "text" or "row"."""
    if len(source.shape) > 1:
        return "picture"
    record = source.about(np.array([0]))[0]
    if "token" in record:
        return "tokens"
    if any(isinstance(record.get(name), str) for name in TEXTS):
        return "text"
    return "row"


class Samples:
    """The samples of a source as JSON records, and the photographs that they were cut from."""

    def __init__(self, trained: Trained, source: Source) -> None:
        self.trained, self.source = trained, source
        self.look = look_of(source)
        self.names = source.input_names or [f"x{i}" for i in range(source.n_inputs)]
        self.photos: dict[str, int] = {}
        self.photo_scale: dict[str, int] = {}
        self._middle = self._spread_of_columns() if self.look == "row" else None

    def _spread_of_columns(self) -> tuple[NDArray[Any], NDArray[Any]]:
        n = self.source.n_samples
        x = self.source.read(np.unique(np.linspace(0, n - 1, min(n, 1000)).astype(np.int64)))
        return x.mean(0), x.std(0)

    def records(self, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Row number → record, for every row asked for."""
        wanted = np.unique(np.fromiter(rows, dtype=np.int64))
        found = {}
        for first in range(0, len(wanted), AT_ONCE):
            part = wanted[first : first + AT_ONCE]
            values, about = self.source.read(part), self.source.about(part)
            for row, x, record in zip(part.tolist(), values, about, strict=True):
                found[row] = self._record(row, x, record)
        return found

    def _record(self, row: int, x: NDArray[Any], about: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {"row": row}
        if self.look == "picture":
            record["pixels"] = as_text(sample_as_tile(x.astype(np.float64), self.source.shape))
            self._place(record, about)
        elif self.look == "row":
            record["values"] = self._values(x)
        elif self.look == "text":
            self._text(record, about)
        taken = {"text", "body", "title"} if self.look == "text" else set()
        record["about"] = {k: _short(v) for k, v in about.items() if k not in taken}
        return record

    def _place(self, record: dict[str, Any], about: dict[str, Any]) -> None:
        """The photograph that a patch was cut from."""
        if not isinstance(self.source, PatchSource):
            return
        name = about["file"]
        if name not in self.photos and len(self.photos) < MOST_PHOTOS:
            self.photos[name], self.photo_scale[name] = len(self.photos), about.get("scale", 1)
        if name in self.photos:
            side = self.source.shape[0] * about.get("scale", 1)
            place = {"top": about["top"], "left": about["left"], "side": side}
            record["photo"] = {"photo": self.photos[name], **place}

    def _values(self, x: NDArray[Any]) -> list[list[Any]]:
        """Columns and values; of wide rows those farthest from the usual, in deviations."""
        order = np.arange(len(x))
        if len(x) > WIDE and self._middle is not None:
            mean, deviation = self._middle
            far = np.abs(x - mean) / np.maximum(deviation, 1e-12)
            order = np.argsort(-far, kind="stable")[:SHOWN_COLUMNS]
        return [[self.names[i], float(f"{x[i]:.6g}")] for i in order]

    def _text(self, record: dict[str, Any], about: dict[str, Any]) -> None:
        found = [name for name in TEXTS if isinstance(about.get(name), str)]
        body = about[found[0]]
        if "title" in found and found[0] != "title":
            record["title"] = about["title"][:LONGEST_VALUE]
        record["text"] = body[:LONGEST_TEXT] + ("…" if len(body) > LONGEST_TEXT else "")

    def save_photos(self) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        """The photographs met so far, as the manifest holds them, and their files."""
        told, files = [], {}
        for name, number in self.photos.items():
            assert isinstance(self.source, PatchSource)
            picture = self.source.photograph(name)
            width, height = picture.size
            picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=80)
            files[f"photos/{number}.jpg"] = file.getvalue()
            place = {
                "name": name,
                "width": width,
                "height": height,
                "scale": self.photo_scale[name],
            }
            told.append({**place, "file": f"photos/{number}.jpg"})
        return told, files

    @torch.no_grad()
    def contexts(self, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Any]]:
        """(latent, row) → the tokens around that row, each with the latent's code there."""
        pairs = list(pairs)
        around = {row: self._around(row) for row in {row for _, row in pairs}}
        needed = np.unique(np.concatenate([np.asarray(rows) for rows in around.values()]))
        latents = np.unique(np.fromiter((latent for latent, _ in pairs), dtype=np.int64))
        place = {int(row): i for i, row in enumerate(needed)}
        column = {int(latent): i for i, latent in enumerate(latents)}
        codes = np.zeros((len(needed), len(latents)), dtype=np.float16)
        texts: list[str] = []
        model = self.trained.model
        size = max(1, 2**22 // model.n_latents)
        for first in range(0, len(needed), size):
            part = needed[first : first + size]
            x = to_model(self.source.read(part), self.trained.preprocess, model.like)
            dense = model.encode(x)[1].dense[:, torch.as_tensor(latents)]
            codes[first : first + size] = dense.cpu().numpy()
            texts += [str(record.get("token", "")) for record in self.source.about(part)]
        return {
            (latent, row): {
                "tokens": [
                    [texts[place[r]], float(f"{codes[place[r], column[latent]]:.4g}")]
                    for r in around[row]
                ],
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


def _document(record: dict[str, Any]) -> Any:
    return record.get("document", record.get("file"))


def _follows(about: list[dict[str, Any]], i: int, step: int) -> bool:
    """Whether token i stands right beside the one before, where records have row or position."""
    mine, other = about[i], about[i - step]
    return all(
        mine[name] - other[name] == step
        for name in ("row", "position")
        if isinstance(mine.get(name), int) and isinstance(other.get(name), int)
    )


def as_text(pixels: NDArray[np.uint8]) -> str:
    """Base64, as pages read it."""
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return value[:LONGEST_VALUE] + "…"
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
