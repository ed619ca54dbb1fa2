"""What a person or a language model needs to name each latent: samples, inputs, a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simplecell.data import Source
from simplecell.data.rows import Record
from simplecell.errors import UsageError
from simplecell.explain.answer import Samples, going_with, probed
from simplecell.explain.explanation import Explanation
from simplecell.explain.ranks import Ranks
from simplecell.run.names import numbered
from simplecell.run.storage import check_place, replacing, writing
from simplecell.run.trained import Trained
from simplecell.viz.files import save
from simplecell.viz.grid import side_by_side, tiles

TOP = 8
QUANTILES = (0.9, 0.75, 0.5, 0.25, 0.1)
"""Of the codes of the samples in which a latent is active: where its examples are taken."""
MOST_INPUTS, MOST_VALUES, LONGEST_VALUE = 8, 64, 2000
SIDE = 64
"""Of a tile, *screen pixels*, about."""
FILE = "features.jsonl"


def features(
    trained: Trained, source: Source, samples: Samples, answer: Explanation | None = None
) -> Iterator[dict[str, Any]]:
    """One object a latent, ready for JSON.

    `active` samples and the `largest` code; `top`, the samples with the largest codes, and
    `examples` at quantiles of the codes above them, each with its record and, of up to 64 named
    inputs, their values; `inputs`, the correlations of the code with the named inputs that go with
    it most; and its rows of an `answer`, if there is one, as `effects`.

    Raises:
        DataError: as reading samples does.
    """
    ranks = Ranks.of(samples.codes.tocsc())
    told = _inputs(samples)
    effects = {} if answer is None else _by_latent(answer)
    for latent, name in enumerate(samples.names):
        rows = ranks.top(latent, samples.codes.shape[0])
        values = samples.codes[rows][:, [latent]].toarray()[:, 0]
        found: dict[str, Any] = {"latent": latent, "name": name}
        if samples.on_off:
            found["active"] = len(rows)
        found["largest"] = float(values[0]) if len(rows) else 0.0
        found["top"] = _examples(source, rows[:TOP], values[:TOP])
        rest, at = rows[TOP:], {}
        for quantile in QUANTILES if len(rest) else ():
            at[quantile] = min(len(rest) - 1, int((1 - quantile) * len(rest)))
        places = np.array(list(at.values()), dtype=np.int64)
        examples = _examples(source, rest[places], values[TOP:][places])
        found["examples"] = [
            {"quantile": quantile, **one} for quantile, one in zip(at, examples, strict=True)
        ]
        if told is not None:
            found["inputs"] = told[latent]
        if answer is not None:
            found["effects"] = effects[latent]
        yield found


def _inputs(samples: Samples) -> list[dict[str, float]] | None:
    if samples.input_names is None:
        return None
    rows = probed(samples, np.arange(samples.codes.shape[0]))
    codes, inputs = samples.codes[rows].tocsc(), samples.inputs(rows)
    return going_with(codes, inputs, samples.input_names, MOST_INPUTS)


def _examples(
    source: Source, rows: NDArray[np.int64], codes: NDArray[np.float64]
) -> list[dict[str, Any]]:
    if not len(rows):
        return []
    names = source.input_names or []
    values: list[list[float]] = [[]] * len(rows)
    if 0 < len(names) <= MOST_VALUES:
        values = source.read(rows).tolist()
    found = []
    for code, record, own in zip(codes.tolist(), source.about(rows), values, strict=True):
        one: dict[str, Any] = {"code": float(f"{code:.6g}"), **_plain(record)}
        if own:
            one["values"] = dict(zip(names, own, strict=True))
        found.append(one)
    return found


def _plain(record: Record) -> dict[str, Any]:
    """A record as JSON holds it; long texts cut, which three dots say."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str) and len(value) > LONGEST_VALUE:
            value = value[:LONGEST_VALUE] + "…"
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        known = value is None or isinstance(value, str | int | float | bool | list | dict)
        found[str(name)] = value if known else str(value)
    return found


def _by_latent(answer: Explanation) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    beside = {"latent", "name", "active", "top", "inputs"}
    for row in answer.table()["latents"]:
        kept = {name: value for name, value in row.items() if name not in beside}
        found.setdefault(row["latent"], []).append(kept)
    return found


def write_features(
    out: Path, trained: Trained, source: Source, samples: Samples, answer: Explanation | None = None
) -> tuple[Path, int]:
    """Write F.jsonl; or into a folder features.jsonl, and of pictures one a latent beside it.

    A picture shows what excites the latent most, then its top samples. Gives the file, and how
    many pictures there are.

    Raises:
        UsageError: for a file of another suffix.
        WriteError: when they cannot be written.
    """
    alone = out.suffix.lower() == ".jsonl"
    if not alone and (out.suffix or out.is_file()):
        raise UsageError(f"--out is '{out}'; a folder, or a file that ends in .jsonl, is needed")
    if not alone:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    else:
        check_place(out)
    draws = not alone and len(source.shape) > 1
    directions = trained.latents().numpy() if draws else None
    place = out if alone else out / FILE
    with replacing(place) as file:
        for one in features(trained, source, samples, answer):
            if directions is not None:
                one["picture"] = f"{numbered(one['latent'])}.png"
                _draw(out / one["picture"], directions[one["latent"]], one["top"], source)
            file.write((json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return place, 0 if directions is None else len(samples.names)


def _draw(
    path: Path, direction: NDArray[np.float64], top: list[dict[str, Any]], source: Source
) -> None:
    zoom, parts = max(1, SIDE // source.shape[0]), [(direction[None], True)]
    if top:
        rows = np.array([one["row"] for one in top])
        parts.append((source.read(rows).astype(np.float64), False))
    drawn = [
        tiles(*side_by_side(part, source.shape), columns=len(part), zoom=zoom, signed=signed)
        for part, signed in parts
    ]
    strip = Image.new(drawn[-1].mode, (sum(one.width for one in drawn), drawn[0].height))
    at = 0
    for one in drawn:
        strip.paste(one, (at, 0))
        at += one.width
    save(strip, path)
