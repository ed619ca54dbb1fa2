"""The map: samples and latents in two dimensions, and what they may be coloured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import vstack
from torch import Tensor

from simplecell.data import Source
from simplecell.explorer.make.contents import MapField, MapLayout, MapPage
from simplecell.explorer.make.fields import OTHER, UNKNOWN, Field, fields_of
from simplecell.explorer.make.kept_codes import CodesWriter, entries
from simplecell.explorer.make.neighbours import MOST_NEIGHBOURS, embedded
from simplecell.explorer.make.plane import Plane, spanned
from simplecell.explorer.make.samples import evenly
from simplecell.model.codes import Codes
from simplecell.model.passes import Passes
from simplecell.run.trained import Trained
from simplecell.training.prepared import to_model

MOST_POINTS = 1_000_000
FITTED, FITTED_NUMBERS = 5000, 2**23
"""Samples that planes are found on, and numbers of their prepared inputs at most."""
COMPONENTS = 50
"""Principal components that neighbours are looked for in, as openTSNE and UMAP advise."""


class Map:
    """Where the samples of a source lie; `add` is called for every batch of a pass over it.

    Planes are found on a few thousand samples, evenly spread, so that the pass itself brings
    every sample there. `layout` is "umap" or "tsne" for one more, over at most 100,000 samples.

    Raises:
        UsageError: for a layout that is not known or whose library is not installed.
    """

    def __init__(self, trained: Trained, source: Source, layout: str = "pca") -> None:
        self.trained, self.layout = trained, layout
        most = MOST_POINTS if layout == "pca" else MOST_NEIGHBOURS
        self.rows = evenly(source.n_samples, most)
        self.whole = len(self.rows) == source.n_samples
        self.source, n = source, len(self.rows)
        per_sample = self._fit(evenly(source.n_samples, FITTED))
        self.places = {name: np.zeros((n, 2), dtype=np.float32) for name in ("inputs", "codes")}
        wide = COMPONENTS if layout != "pca" else 0
        self.components = np.zeros((n, min(wide, self._wide)), dtype=np.float32)
        self.fields: list[Field] = fields_of(source, n)
        sparse = trained.model.activation.sparse
        self.codes = CodesWriter(n, trained.model.n_latents, per_sample, sparse)

    @torch.no_grad()
    def _fit(self, rows: NDArray[np.int64]) -> float:
        """Find the planes; entries of a code, *count*, mean over these samples."""
        model, preprocess = self.trained.model, self.trained.preprocess
        most = max(100, FITTED_NUMBERS // max(model.n_inputs, 1))
        rows = rows[evenly(len(rows), most)]
        passes, inputs, codes = Passes(model), [], []
        for first in range(0, len(rows), passes.n_rows):
            raw = self.source.read(rows[first : first + passes.n_rows])
            x = to_model(raw, preprocess, model.like)
            pre, code = passes.encode(x)
            # What is not finite is named by the pass, which sees all samples.
            finite = torch.isfinite(x).all(1) & torch.isfinite(pre).all(1)
            fine = finite.nonzero()[:, 0].cpu().numpy()
            inputs.append(x.double().cpu().numpy()[fine])
            codes.append(entries(code, fine, model.activation.sparse))
        found = vstack(codes, format="csr")
        prepared = np.concatenate(inputs)
        self._wide = min(prepared.shape)
        n_directions = 2 if self.layout == "pca" else max(2, min(COMPONENTS, self._wide))
        self.inputs = Plane.of(prepared, n_directions)
        self.coded = Plane.of(found.astype(np.float64))
        self._inputs, self._codes = (p.tensors(model.like) for p in (self.inputs, self.coded))
        return float(found.nnz / max(1, found.shape[0]))

    def add(self, x: Tensor, code: Codes, rows: NDArray[np.int64]) -> None:
        """Take in a batch of prepared samples [B, D], which are these rows, in order."""
        first, last = np.searchsorted(self.rows, (rows[0], rows[-1] + 1))
        if first == last:
            return
        here, chosen = slice(first, last), self.rows[first:last] - rows[0]
        directions, along = self._inputs
        placed = (x @ directions - along).cpu().numpy()[chosen]
        self.places["inputs"][here] = placed[:, :2]
        if self.components.size:
            self.components[here] = placed[:, : self.components.shape[1]]
        directions, along = self._codes
        self.places["codes"][here] = (code.decode(directions) - along).cpu().numpy()[chosen]
        self.codes.add(code, chosen, np.arange(first, last))
        if self.fields:
            records = self.source.about(self.rows[here])
            for field in self.fields:
                field.put(int(first), [record.get(field.name) for record in records])

    def write(self, folder: Path, errors: NDArray[np.float32] | None) -> MapPage:
        """The files of the map; `errors` [n] of all samples are one more field."""
        shares = {"inputs": self.inputs.shares[:2], "codes": self.coded.shares}
        layouts = [
            _layout(folder, name, spanned(places), shares[name])
            for name, places in self.places.items()
        ]
        if self.layout != "pca":
            found = embedded(self.components, self.layout)
            layouts.insert(0, _layout(folder, self.layout, spanned(found), None))
        if not self.whole:
            (folder / "map-rows.bin").write_bytes(self.rows.astype("<u4").tobytes())
        fields = [_field(folder, k, field) for k, field in enumerate(self.fields)]
        if errors is not None:
            error = Field("error", None, len(self.rows))
            error.values[:] = errors[self.rows]
            fields.append({**_field(folder, len(fields), error), "own": True})
        return {
            "n_points": len(self.rows),
            "rows": None if self.whole else "map-rows.bin",
            "layouts": layouts,
            "latents": self._latents(folder),
            "fields": fields,
            "codes": self.codes.write(folder),
        }

    def _latents(self, folder: Path) -> MapLayout:
        """Where atoms lie, each of length 1: their directions count."""
        whole = self.trained.model.atoms().detach().double().cpu()
        atoms = torch.nn.functional.normalize(whole, dim=1).numpy()
        plane = Plane.of(atoms)
        places = (atoms - plane.mean) @ plane.directions.T
        return _layout(folder, "latents", spanned(places), plane.shares)


def _layout(
    folder: Path, name: str, places: NDArray[np.float32], shares: tuple[float, ...] | None
) -> MapLayout:
    (folder / f"map-{name}.bin").write_bytes(places.astype("<f4").tobytes())
    return {"name": name, "file": f"map-{name}.bin", "shares": list(shares) if shares else None}


def _field(folder: Path, number: int, field: Field) -> MapField:
    name, values = f"map-field-{number}.bin", field.values
    (folder / name).write_bytes(values.tobytes())
    told: MapField = {"name": field.name, "file": name, "classes": field.classes, "ends": None}
    if field.classes is None:
        known = values[np.isfinite(values)]
        told["ends"] = [float(known.min()), float(known.max())] if len(known) else None
        told["unknown"] = int(len(values) - len(known))
    else:
        told["counts"] = np.bincount(values, minlength=OTHER)[: len(field.classes)].tolist()
        told["other"] = int((values == OTHER).sum())
        told["unknown"] = int((values == UNKNOWN).sum())
    return told
