"""Codes of samples that stay at hand beside the atlas, by their entries alone: codes.npz."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from simplecell.errors import RunError
from simplecell.explorer.make.samples import evenly
from simplecell.model.codes import Codes, Rows

FILE = "codes.npz"
MOST_ENTRIES = 2**24
"""Of all samples that are kept, *count*: 134 MB at 8 bytes each."""


@dataclass(frozen=True)
class KeptCodes:
    """Codes [K, M] of K points of a map: of all, or of some evenly spread."""

    points: NDArray[np.int64]
    """[K], ascending."""
    codes: csr_array

    @classmethod
    def read(cls, path: Path) -> KeptCodes:
        """As `CodesWriter` writes them.

        Raises:
            RunError: when the file is missing or damaged.
        """
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                shape = tuple(file["shape"].tolist())
                parts = file["values"], file["latents"].astype(np.int32), file["offsets"]
                codes = csr_array(parts, shape=shape)
                codes.check_format(full_check=True)
                if len(file["points"]) != shape[0]:
                    raise ValueError(f"{len(file['points'])} points for {shape[0]} codes")
                return cls(file["points"], codes)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"'{path}' is damaged: {error}; remove the atlas, and it is made again"
            ) from error

    def column(self, latent: int, n_points: int) -> NDArray[np.float32]:
        """The code of one latent at each point, [n], NaN where none is kept."""
        found = np.full(n_points, np.nan, dtype="<f4")
        own = np.zeros(len(self.points), dtype=np.float32)
        entries = np.flatnonzero(self.codes.indices == latent)
        rows = np.searchsorted(self.codes.indptr, entries, side="right") - 1
        own[rows] = self.codes.data[entries]
        found[self.points] = own
        return found


class CodesWriter:
    """Takes down the codes of a map's points while a pass goes over them.

    Args:
        n_points: of the map, *count*.
        n_latents: M.
        per_sample: entries of a sample, *count*, as far as one knows before the pass.
        sparse: whether codes are exactly 0 where a latent is inactive.
    """

    def __init__(self, n_points: int, n_latents: int, per_sample: float, sparse: bool) -> None:
        self.n_latents, self.sparse = n_latents, sparse
        most = int(MOST_ENTRIES / max(1.0, per_sample))
        self.points = evenly(n_points, max(1, min(n_points, most)))
        self._parts: list[csr_array] = []

    def add(self, code: Codes, places: NDArray[np.int64], points: NDArray[np.int64]) -> None:
        """Take in the samples at `places` of a batch, which are these `points`, ascending."""
        kept = places[np.isin(points, self.points, assume_unique=True)]
        if len(kept):
            self._parts.append(entries(code, kept, self.sparse))

    def write(self, folder: Path) -> dict[str, int]:
        """codes.npz; samples, entries and bytes that it holds."""
        whole = vstack(self._parts, format="csr")
        # 65,536 latents are told apart by 16 bits
        narrow = np.uint16 if self.n_latents <= 2**16 else np.int32
        with open(folder / FILE, "wb") as file:
            np.savez(
                file,
                shape=np.array(whole.shape),
                points=self.points,
                values=whole.data,
                latents=whole.indices.astype(narrow),
                offsets=whole.indptr.astype(np.int64),
            )
        size = (folder / FILE).stat().st_size
        return {"samples": len(self.points), "entries": int(whole.nnz), "bytes": size}


def entries(code: Codes, places: NDArray[np.int64], sparse: bool) -> csr_array:
    """Codes of some samples of a batch, [k, M] float32."""
    if not sparse:
        return csr_array(code.dense[torch.as_tensor(places)].float().cpu().numpy())
    found = Rows(*(part.cpu() for part in code.rows()))
    latents = found.indices.numpy().astype(np.int32)
    parts = found.values.float().numpy(), latents, found.offsets.numpy()
    whole = csr_array(parts, shape=(code.n_samples, code.n_latents))
    return whole if len(places) == code.n_samples else whole[places]
