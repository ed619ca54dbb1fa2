"""Codes of a map's samples as an exported site carries them: by latents, and small."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.make.samples import evenly

MOST_SAMPLES = 2**16
"""Told apart by 16 bits."""
MOST_ENTRIES = 2**21
"""Of a site, *count*: 8.4 MB at 4 bytes each, 11.2 MB in base64."""
LATENTS = 32
"""In one shard."""
FINEST = 2**15 - 1
"""Steps from 0 to a latent's largest code."""


class ShardedSamples(TypedDict):
    """Of which points the shards hold codes."""

    samples: int
    points: str | None
    """Their numbers, uint32 in base64; None where they are all points of the map."""


class CodeShard(TypedDict):
    """Entries of some latents, one latent after the other."""

    ends: list[int]
    """Where each latent's entries end."""
    scales: list[float]
    """What a step of each latent's values is worth."""
    places: str
    """Which of the samples an entry is of, uint16 in base64, ascending in each latent."""
    values: str
    """Codes in steps, int16 in base64."""


class CodeShards:
    """Kept codes, thinned evenly to what a site may hold.

    Args:
        kept: codes of points of a map.
        n_points: of the map, *count*.
        most: entries, *count*.
    """

    def __init__(self, kept: KeptCodes, n_points: int, most: int = MOST_ENTRIES) -> None:
        self.chosen = _fitting(kept, most)
        self.points = kept.points[self.chosen]
        self.n_points = n_points
        self.codes: csc_array = kept.codes[self.chosen].tocsc()

    def told(self) -> ShardedSamples:
        """What a page needs beside the shards."""
        whole = len(self.points) == self.n_points
        return {
            "samples": len(self.points),
            "points": None if whole else _base64(self.points.astype("<u4")),
        }

    def __iter__(self) -> Iterator[CodeShard]:
        """The shards, the first latents first; each holds 32, the last one what is left."""
        codes = self.codes
        codes.sort_indices()
        for first in range(0, codes.shape[1], LATENTS):
            starts = codes.indptr[first : first + LATENTS + 1]
            entries = slice(int(starts[0]), int(starts[-1]))
            values, ends = codes.data[entries].astype(np.float64), starts[1:] - starts[0]
            scales = np.zeros(len(ends))
            latents = np.repeat(np.arange(len(ends)), np.diff(starts))
            np.maximum.at(scales, latents, np.abs(values) / FINEST)
            steps = np.divide(
                values, scales[latents], out=np.zeros_like(values), where=scales[latents] > 0
            )
            yield {
                "ends": ends.tolist(),
                "scales": scales.tolist(),
                "places": _base64(codes.indices[entries].astype("<u2")),
                "values": _base64(np.rint(steps).astype("<i2")),
            }


def _fitting(kept: KeptCodes, most: int) -> NDArray[np.int64]:
    """Which of the kept samples are taken: as many as their entries allow, evenly spread."""
    n, counts = len(kept.points), np.diff(kept.codes.indptr)
    fitting = min(n, MOST_SAMPLES, int(most / max(1.0, float(counts.mean()) if n else 1.0)))
    chosen = evenly(n, max(1, fitting))
    while len(chosen) > 1 and int(counts[chosen].sum()) > most:
        chosen = evenly(n, len(chosen) - max(1, len(chosen) // 16))
    return chosen


def _base64(values: NDArray[np.generic]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
