"""Figures of each row: what `evaluate --rows` writes, batch after batch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from simplecell.cli.row_names import identifier
from simplecell.data import Source
from simplecell.data.rows import Record
from simplecell.data.spreadsheet import harmless_row
from simplecell.errors import UsageError
from simplecell.run.evaluate import Figures
from simplecell.run.normality import Normality, judged
from simplecell.run.storage import replacing
from simplecell.run.trained import Trained
from simplecell.training.prepared import Prepared

FORMS = (".csv", ".jsonl")
PLACES = ("file", "top", "left")
"""What names a patch."""
Line = dict[str, Any]


def form_of(out: Path) -> str:
    """The suffix that says how rows are written. Raises UsageError for another."""
    suffix = out.suffix.lower()
    if suffix not in FORMS:
        raise UsageError(f"--rows writes {' or '.join(FORMS)}, and '{out}' is neither")
    return suffix


def write_rows(
    out: Path, trained: Trained, source: Source, figures: Figures, normal: Normality | None
) -> None:
    """One line a row, in their order: what it is called, its error, and how normal it is.

    `squared_error` is `‖x − recon‖²` (prepared), `fvu` it over `‖x − mean x‖²`, the mean that of
    all rows of the `figures`; `l0` its active latents, `score` as `run.normality` has it. What has
    no meaning is left empty.
    """
    lines = _lines(trained, source, figures, normal)
    write = {".csv": _csv, ".jsonl": _jsonl}[form_of(out)]
    with replacing(out) as file:
        write(file, lines)


def _lines(
    trained: Trained, source: Source, figures: Figures, normal: Normality | None
) -> Iterator[Line]:
    assert figures.mean is not None, "a pass over samples has one"
    model, start = trained.model, 0
    samples = Prepared(source, trained.preprocess, model, keep=False)
    named = _names(source)
    for target, one in judged(model, samples):
        stop = start + len(target)
        variance = (target.double() - figures.mean.to(target.device)).square().sum(1)
        share = torch.where(variance > 0, one.error / variance, torch.nan)
        counted = one.code.l0() if model.activation.sparse else None
        score = None if normal is None else normal.score(one)
        columns = {"squared_error": one.error, "fvu": share, "l0": counted, "score": score}
        listed = {name: _plain(column, len(target)) for name, column in columns.items()}
        for k, record in enumerate(source.about(slice(start, stop))):
            told = {"row": start + k, **named(record)}
            yield told | {name: column[k] for name, column in listed.items()}
        start = stop


def _plain(column: torch.Tensor | None, n: int) -> list[float | int | None]:
    """Numbers, None for what is not known."""
    if column is None:
        return [None] * n
    values = column.tolist()
    return [None if isinstance(one, float) and not np.isfinite(one) else one for one in values]


def _names(source: Source) -> Callable[[Record], Mapping[str, object]]:
    """What each record says of the row's name: where a patch is from, or an identifier."""
    first = source.about(slice(0, 1))[0]
    if source.kind == "patches":
        return lambda record: {name: record.get(name) for name in PLACES}
    known = [str(name) for name in first if name not in ("row", "label")]
    name = identifier(source, known)
    return lambda record: {} if name is None else {name: record.get(name)}


def _csv(file: IO[bytes], lines: Iterator[Line]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    table = csv.writer(text)
    for number, line in enumerate(lines):
        if not number:
            table.writerow(harmless_row(line))
        cells = ("" if value is None else value for value in line.values())
        table.writerow(harmless_row(cells))
    text.detach()


def _jsonl(file: IO[bytes], lines: Iterator[Line]) -> None:
    for line in lines:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, default=str)
        file.write(f"{text}\n".encode())
