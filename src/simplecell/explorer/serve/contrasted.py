"""Points picked on a map, against the others or against more that are picked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from simplecell.explain.contrast import Contrast, of_codes
from simplecell.explain.explanation import SURE
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.make.samples import evenly
from simplecell.explorer.serve.messages import Refused
from simplecell.run.directory import finite

MOST_SAMPLES = 10_000
"""Of a side that are looked at, evenly spread: an answer comes within a second."""
TOLD = 60
"""Latents of an answer, the surest first."""
FIGURES = ("auc", "auc_low", "auc_high", "q", "held_out_auc", "odds_ratio", "lift")
Chosen = NDArray[np.bool_]
Points = NDArray[np.int64]


def contrasted(
    kept: KeptCodes, n_points: int, sparse: bool, question: Mapping[str, object]
) -> dict[str, object]:
    """What sets the points of question["rows"] apart from those of question["against"].

    Both are a bit a point, the first point in the lowest bit of the first byte, in base64;
    "against" may be null for all others.

    Raises:
        Refused: 400, for whatever is not as needed.
        DataError: for too few samples on a side.
    """
    first = _points("rows", question.get("rows"), n_points)
    other = question.get("against")
    second = ~first if other is None else _points("against", other, n_points)
    if (first & second).any():
        raise Refused(
            400,
            f"{int((first & second).sum())} samples are on both sides; each may be on one side "
            "only",
        )
    places = [np.flatnonzero(side[kept.points]) for side in (first, second)]
    used = [place[evenly(len(place), MOST_SAMPLES)] for place in places]
    both = np.union1d(*used)
    codes, inside = kept.codes[both], np.isin(both, used[0])
    names = "the samples picked", "the others" if other is None else "the second samples picked"
    found = of_codes(codes, inside, names, on_off=sparse)
    return {
        "picked": [int(first.sum()), int(second.sum())],
        "used": [len(place) for place in used],
        "n_seen": found.n_seen,
        "n_held_out": found.n_held_out,
        **_counted(found),
        "latents": _told(found, [_activity(codes[side], sparse) for side in (inside, ~inside)]),
    }


def _activity(codes: csr_array, sparse: bool) -> NDArray[np.floating]:
    """The share of samples [n, M] for which each latent is active, or its mean code; [M]."""
    counted = np.bincount(codes.indices, None if sparse else codes.data, codes.shape[1])
    return np.asarray(counted / codes.shape[0])


def _points(name: str, bits: object, n_points: int) -> Chosen:
    """Which points are meant, [P]."""
    n_bytes = -(-n_points // 8)
    if not isinstance(bits, str):
        raise Refused(400, f"{name} must be base64 of a bit for each of {n_points} points")
    try:
        found = base64.b64decode(bits, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, f"{name} is no base64") from None
    if len(found) != n_bytes:
        raise Refused(400, f"{name} has {len(found)} bytes, but {n_points} points take {n_bytes}")
    each = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little").astype(bool)
    if each[n_points:].any():
        raise Refused(400, f"{name} names points that do not exist: there are {n_points}")
    return each[:n_points]


def _counted(found: Contrast) -> dict[str, int]:
    """How many latents are discoveries, and how many of these hold on held-out samples."""
    sure = np.nan_to_num(found.columns["q"], nan=1.0) <= SURE
    return {"found": int(sure.sum()), "holding": int((sure & found.columns["holds"]).sum())}


def _told(found: Contrast, sides: list[NDArray[np.floating]]) -> list[dict[str, object]]:
    """The surest latents; `sides` [M] is how often, or how strongly, each is active on a side."""
    columns = {name: found.columns[name] for name in FIGURES if name in found.columns}
    lines: list[dict[str, object]] = []
    for i, latent in enumerate(found.columns["latent"][:TOLD].tolist()):
        if not np.isfinite(found.columns["p"][i]):
            break  # those that were not tested come last
        line: dict[str, object] = {name: _short(values[i]) for name, values in columns.items()}
        line |= {"latent": latent, "holds": bool(found.columns["holds"][i])}
        lines.append(line | {"sides": [_short(side[latent]) for side in sides]})
    return lines


def _short(value: float) -> float | None:
    return finite(float(f"{float(value):.4g}"))
