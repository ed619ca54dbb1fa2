"""The data page: samples by how badly they are reconstructed, and what the preparation does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.data import Source
from simplecell.errors import DataError
from simplecell.explorer.samples import Samples, as_text
from simplecell.explorer.sprites import sample_as_tile
from simplecell.explorer.survey import Survey
from simplecell.feed import to_model
from simplecell.trained import Trained

WORST, EVEN = 60, 140
KEPT_NUMBERS = 2**20
"""Of samples kept for the playground, *count*: 4 MB."""
BINS = 40
WIDEST_SPECTRUM, SPECTRUM_ROWS = 1024, 5000


def data_page(
    trained: Trained, source: Source, samples: Samples, survey: Survey
) -> tuple[dict[str, Any], NDArray[Any]]:
    """data.json, and the raw values [n, D] of its samples."""
    rows, groups = _chosen(source, survey)
    values = source.read(rows)
    records = samples.records(rows)
    pictures = _pictures(trained, source, values) if samples.look == "picture" else {}
    measured = trained.target_preprocess is None
    mean = float(survey.errors.mean(dtype=np.float64)) or 1.0
    listed: list[dict[str, Any]] = []
    for i, row in enumerate(rows.tolist()):
        error = float(survey.errors[row])
        one: dict[str, Any] = {"at": i, "group": groups[i], "sample": records[row]}
        one["error"] = float(f"{error:.5g}") if measured else None
        one["share"] = float(f"{error / mean:.5g}") if measured else None
        listed.append(one | {name: texts[i] for name, texts in pictures.items()})
    if samples.look == "tokens":
        for one in listed:
            row = one["sample"]["row"]
            found = samples.contexts([(0, row)])[0, row]
            one["sample"] |= found | {"tokens": [[text, 0] for text, _ in found["tokens"]]}
    table = {
        "samples": listed,
        "errors": _histogram(survey.errors) if measured else None,
        "steps": [*_of_whole_pictures(trained), *trained.preprocess.steps],
        "spectrum": _spectrum(trained, source),
        "notes": [*trained.preprocess.report(), *source.notes],
        "skipped": [{"file": one.file, "reason": one.reason} for one in source.skipped],
    }
    return table, values


def _of_whole_pictures(trained: Trained) -> list[dict[str, Any]]:
    """What was done to pictures before they were cut."""
    data = trained.recipe.data
    if data.whiten == "none":
        return []
    return [{"kind": "whiten_1_over_f", "cutoff": data.cutoff}]


def _chosen(source: Source, survey: Survey) -> tuple[NDArray[np.int64], list[str]]:
    """Rows of the worst samples and of others evenly spread, by falling error."""
    n = source.n_samples
    most = max(8, min(WORST + EVEN, KEPT_NUMBERS // source.n_inputs))
    worst = np.argsort(-survey.errors, kind="stable")[: max(1, most * WORST // (WORST + EVEN))]
    even = np.unique(np.linspace(0, n - 1, min(n, most - len(worst))).astype(np.int64))
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


@torch.no_grad()
def _pictures(trained: Trained, source: Source, values: NDArray[Any]) -> dict[str, list[str]]:
    """Reconstructions, in the samples' own range of brightness, and the prepared samples."""
    model, shape = trained.model, source.shape
    raw = torch.tensor(values).to(model.like)
    prepared, carried = trained.preprocess.apply(raw)
    found: dict[str, list[str]] = {}
    if trained.target_preprocess is None:
        recon = model(prepared).recon
        back = trained.preprocess.invert(recon, carried).cpu().double().numpy()
        found["recon"] = [
            as_text(_in_range_of(x, one, shape)) for x, one in zip(values, back, strict=True)
        ]
    if prepared.shape[1] == source.n_inputs:
        rows = prepared.cpu().double().numpy()
        found["prepared"] = [as_text(sample_as_tile(one, shape)) for one in rows]
    return found


def _in_range_of(
    x: NDArray[Any], recon: NDArray[np.float64], shape: tuple[int, ...]
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
    n = min(source.n_samples, SPECTRUM_ROWS)
    raw = source.read(np.unique(np.linspace(0, source.n_samples - 1, n).astype(np.int64)))
    prepared = to_model(raw, trained.preprocess, torch.zeros(1, dtype=torch.float64))
    return {"raw": _eigenvalues(torch.as_tensor(raw)), "prepared": _eigenvalues(prepared)}


def _eigenvalues(x: Tensor) -> list[float]:
    values = torch.linalg.eigvalsh(torch.cov(x.double().T).reshape(x.shape[1], -1)).flip(0)
    return [float(f"{max(0.0, float(value)):.5g}") for value in values]
