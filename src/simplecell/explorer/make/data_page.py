"""The data page: samples by how badly they are reconstructed, and what the preparation does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.errors import DataError
from simplecell.explorer.make.contents import Columns, DataPage, Judged, Told
from simplecell.explorer.make.samples import Samples, Values, as_text, evenly
from simplecell.explorer.make.sprites import sample_as_tile
from simplecell.explorer.make.survey import Survey
from simplecell.model.passes import Passes
from simplecell.run.directory import finite
from simplecell.run.trained import Trained
from simplecell.training.prepared import prepare, to_model

WORST, EVEN = 60, 140
KEPT_NUMBERS = 2**20
"""Of samples kept for the playground, *count*: 4 MB."""
BINS = 40
MOST_COLUMNS = 8
"""Told of a sample: those that err most."""
MIXING = {"pca", "pca_whiten", "zca_whiten"}
"""Steps after which a column is no longer one of the data: errors then count in its units."""
WIDEST_SPECTRUM, SPECTRUM_ROWS = 1024, 5000


def data_page(
    trained: Trained, source: Source, samples: Samples, survey: Survey
) -> tuple[DataPage, Values]:
    """data.json, and the raw values [n, D] of its samples."""
    rows, groups = _chosen(source, survey)
    values = source.read(rows)
    records = samples.records(rows)
    draw = _drawn(trained, samples, values)
    measured = trained.target_preprocess is None
    mean = float(survey.errors.mean(dtype=np.float64)) or 1.0
    listed: list[Judged] = []
    for i, row in enumerate(rows.tolist()):
        error = float(survey.errors[row])
        one: Judged = {
            "at": i,
            "group": groups[i],
            "sample": records[row],
            "error": float(f"{error:.5g}") if measured else None,
            "share": float(f"{error / mean:.5g}") if measured else None,
        }
        draw(i, one)
        listed.append(one)
    if samples.drawn_as == "tokens":
        for one in listed:
            row = one["sample"]["row"]
            found = samples.contexts([(0, row)])[0, row]
            tokens: list[tuple[str, float]] = [(text, 0) for text, _ in found["tokens"]]
            one["sample"] |= {"tokens": tokens, "at": found["at"]}
    table: DataPage = {
        "samples": listed,
        "errors": _histogram(survey.errors) if measured else None,
        "steps": [*_of_whole_pictures(trained), *trained.preprocess.steps],
        "spectrum": _spectrum(trained, source),
        "notes": [*trained.preprocess.report(), *source.notes],
        "skipped": [{"file": one.file, "reason": one.reason} for one in source.skipped],
    }
    return table, values


def _of_whole_pictures(trained: Trained) -> list[Told]:
    """What was done to pictures before they were cut."""
    data = trained.recipe.data
    if data.whiten == "none":
        return []
    return [{"kind": "whiten_1_over_f", "cutoff": data.cutoff}]


def _chosen(source: Source, survey: Survey) -> tuple[NDArray[np.int64], list[str]]:
    """Rows of the worst samples and of others evenly spread, by falling error."""
    most = max(8, min(WORST + EVEN, KEPT_NUMBERS // source.n_inputs))
    worst = np.argsort(-survey.errors, kind="stable")[: max(1, most * WORST // (WORST + EVEN))]
    even = evenly(source.n_samples, most - len(worst))
    rows = np.unique(np.concatenate([worst, even]))
    rows = rows[np.argsort(-survey.errors[rows], kind="stable")]
    bad = set(worst.tolist())
    return rows, ["worst" if row in bad else "spread" for row in rows.tolist()]


def _histogram(errors: NDArray[np.float32]) -> dict[str, list[float]]:
    low, high = float(errors.min()), float(errors.max())
    if not math.isfinite(high):
        raise DataError(
            "squared errors are too large for float32; scale the data first (preprocess.steps)"
        )
    wide = high - low > 1e-4 * high
    counts, edges = np.histogram(errors, BINS, None if wide else (0, 2 * high or 1))
    return {"edges": [float(f"{edge:.5g}") for edge in edges], "counts": counts.tolist()}


def _drawn(trained: Trained, samples: Samples, values: Values) -> Callable[[int, Judged], None]:
    """Puts beside sample i what became of it: pictures, or the columns that err most."""
    prepared, back = _through(trained, values)
    shape = samples.source.shape
    picture = samples.drawn_as == "picture"
    columns: list[Columns] = []
    if back is not None and not picture:
        mixed = MIXING & {step["kind"] for step in trained.preprocess.steps}
        off = back.recon - values if mixed else back.prepared - prepared
        columns = _columns(samples, values, back.recon, np.abs(off))

    def draw(i: int, one: Judged) -> None:
        if columns:
            one["columns"] = columns[i]
        if picture and back is not None:
            one["recon"] = as_text(_in_range_of(values[i], back.recon[i], shape))
        if picture and prepared.shape[1] == samples.source.n_inputs:
            one["prepared"] = as_text(sample_as_tile(prepared[i], shape))

    return draw


class _Back(NamedTuple):
    """What a model gives back of samples: as it was prepared, and in the units of the data."""

    prepared: NDArray[np.float64]
    recon: NDArray[np.float64]


@torch.no_grad()
def _through(trained: Trained, values: Values) -> tuple[NDArray[np.float64], _Back | None]:
    """Prepared samples, and what comes back of them: nothing of a transcoder."""
    model = trained.model
    parts: list[list[NDArray[np.float64]]] = []
    passes = Passes(model)
    size = passes.n_rows
    for first in range(0, len(values), size):
        prepared, carried = prepare(values[first : first + size], trained.preprocess, model.like)
        found = [prepared]
        if trained.target_preprocess is None:
            recon = passes.forward(prepared.to(model.like).contiguous()).recon
            found += [recon, trained.preprocess.invert(recon.to(prepared), carried)]
        parts.append([one.cpu().double().numpy() for one in found])
    whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return whole[0], _Back(*whole[1:]) if len(whole) > 1 else None


def _columns(samples: Samples, values: Values, recon: Values, errors: Values) -> list[Columns]:
    """Of each sample the columns of the largest errors: name, value and reconstruction."""
    names, short = samples.names, samples.short
    order = np.argsort(-errors, axis=1, kind="stable")[:, :MOST_COLUMNS].tolist()
    return [
        [(names[j], finite(short(x[j], j)), finite(short(back[j], j))) for j in places]
        for x, back, places in zip(values, recon, order, strict=True)
    ]


def _in_range_of(
    x: Values, recon: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    low, high = float(x.min()), float(x.max())
    grey = (recon - low) / (high - low) if high > low else np.full_like(recon, 0.5)
    return np.rint(255 * grey.clip(0, 1)).astype(np.uint8).reshape(shape)


def _spectrum(trained: Trained, source: Source) -> dict[str, list[float]] | None:
    """Eigenvalues of the covariance, raw and prepared, falling; None for very wide samples.

    Of evenly spread samples, 5,000 at most.
    """
    if source.n_inputs > WIDEST_SPECTRUM or source.n_samples < 2:
        return None
    raw = source.read(evenly(source.n_samples, SPECTRUM_ROWS))
    prepared = to_model(raw, trained.preprocess, torch.zeros(1, dtype=torch.float64))
    return {"raw": _eigenvalues(torch.as_tensor(raw)), "prepared": _eigenvalues(prepared)}


def _eigenvalues(x: Tensor) -> list[float]:
    values = torch.linalg.eigvalsh(torch.cov(x.double().T).reshape(x.shape[1], -1)).flip(0)
    return [float(f"{max(0.0, float(value)):.5g}") for value in values]
