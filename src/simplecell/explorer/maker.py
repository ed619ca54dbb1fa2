"""What an atlas consists of: pictures, binary columns and JSON, written into one folder."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.explorer.labels import Labels, find_labels
from simplecell.explorer.looks import Words, columns_of, tags_of
from simplecell.explorer.play import write_play
from simplecell.explorer.samples import Samples
from simplecell.explorer.sprites import sheets, weights_as_tiles
from simplecell.explorer.survey import BINS, SPREAD, Survey
from simplecell.explorer.worst import data_page
from simplecell.matching import nearest_within
from simplecell.recipe import Recipe
from simplecell.story import finite
from simplecell.trained import Trained

FORMAT = 1
EDITION = 2
"""Of what stands in the files, where their format stays: an atlas of another is made again."""


class Maker:
    """Writes one atlas into a folder."""

    def __init__(self, trained: Trained, source: Source, key: str, folder: Path) -> None:
        self.trained, self.source = trained, source
        self.key, self.folder = key, folder
        self.samples = Samples(trained, source)
        picture = self.samples.look == "picture"
        self.shape = source.shape if picture else (source.n_inputs,)
        self.labels: Labels = find_labels(source)
        self.survey = Survey(trained, source, self.labels)

    def make(self) -> Iterator[float]:
        """The share that is done: the pass is four fifths of it."""
        for done in self.survey.run():
            yield 0.8 * done / self.source.n_samples
        self._weights()
        yield 0.82
        words = yield from self._details()
        low, high = self._data()
        yield 0.97
        write_play(self.trained, self.folder, low, high)
        photos, files = self.samples.save_photos()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        self._manifest(words, photos)

    def _weights(self) -> None:
        """What each latent likes, in the units that are drawn."""
        trained, shape = self.trained, self.shape
        kinds = {step["kind"] for step in trained.preprocess.steps}
        directions = trained.latents()
        if len(shape) == 1 and kinds == {"standardize"}:  # units would hide what matters
            directions = trained.model.directions().double().cpu()
        self.directions: NDArray[np.float64] = directions.numpy()
        tiles = None
        if self.samples.look in ("picture", "row"):
            tiles = weights_as_tiles(self.directions, shape)
        self.sheets = None if tiles is None else sheets(tiles)
        for k, content in enumerate(self.sheets.files if self.sheets else []):
            (self.folder / f"sprites-{k}.png").write_bytes(content)

    def _details(self) -> Generator[float, None, Words]:
        """details.jsonl; returns the words that stand for each latent."""
        m = self.trained.model.n_latents
        chosen = [self._examples(latent) for latent in range(m)]
        wanted = {row for top, spread in chosen for _, row, _ in itertools.chain(top, spread)}
        records = self.samples.records(wanted)
        contexts: dict[tuple[int, int], dict[str, Any]] = {}
        if self.samples.look == "tokens":
            pairs = (
                (i, row) for i, both in enumerate(chosen) for part in both for _, row, _ in part
            )
            contexts = self.samples.contexts(pairs)
        yield 0.88
        words = Words(self.trained, self.labels, self.survey, self.directions, self.samples)
        together = dict(self.survey.together())
        atoms = self.trained.model.atoms().cpu()
        near = nearest_within(atoms, 8)
        with open(self.folder / "details.jsonl", "w", encoding="utf-8") as file:
            for i in range(m):
                top, spread = (
                    [_example(records, contexts, i, *one) for one in part] for part in chosen[i]
                )
                line = {
                    "latent": i,
                    "top": top,
                    "spread": spread,
                    "nearest": [{"latent": j, "cosine": round(c, 4)} for j, c in near[i]],
                    "together": [
                        {"latent": j, "correlation": round(r, 4)} for j, r in together.get(i, [])
                    ],
                    "labels": words.labels(i),
                    "inputs": words.inputs(i),
                }
                words.note(i, line)
                file.write(json.dumps(line, ensure_ascii=True, allow_nan=False) + "\n")
        yield 0.95
        return words

    def _examples(self, latent: int) -> tuple[list[Any], list[Any]]:
        """(strongest, spread over quantiles) of a latent, each (code, row, quantile or None)."""
        values, rows = self.survey.top.of(latent)
        top = [(float(v), int(row), None) for v, row in zip(values, rows, strict=True)]
        values, rows = self.survey.drawn.of(latent)
        order = np.argsort(values, kind="stable")
        if not len(order):
            return top, []
        places = np.unique(np.linspace(0, len(order) - 1, SPREAD).astype(int))
        share = places / max(1, len(order) - 1)
        spread = [
            (float(values[order[p]]), int(rows[order[p]]), round(float(q), 3))
            for p, q in zip(places, share, strict=True)
        ]
        return top, spread

    def _data(self) -> tuple[float, float]:
        """data.json and samples.bin; the least and largest value seen there."""
        table, kept = data_page(self.trained, self.source, self.samples, self.survey)
        _write_json(self.folder / "data.json", table)
        kept.astype("<f4").tofile(self.folder / "samples.bin")
        return float(kept.min()), float(kept.max())

    def _manifest(self, words: Words, photos: list[dict[str, Any]]) -> None:
        survey, trained = self.survey, self.trained
        columns = columns_of(trained, survey, self.directions, self.shape)
        with open(self.folder / "columns.bin", "wb") as file:
            for values in columns.values():
                file.write(np.asarray(values, dtype="<f4").tobytes())
            file.write(survey.histograms.counts.numpy().astype("<f4").tobytes())
        info, activation = trained.info, trained.model.activation
        density = columns.get("density")
        figures = {name: value for name, value in (info.get("figures") or {}).items()}
        _, _, l0, _ = survey.activity.means()
        figures |= {"fvu": survey.fvu, "l0": l0, "n_samples": self.source.n_samples}
        figures["dead"] = None  # a sigmoid is never quite silent
        if density is not None and activation.sparse:
            figures["dead"] = float((density == 0).mean())
        elif density is not None:
            figures["silent"] = float((density == 0).mean())
        manifest = {
            "format": FORMAT,
            "edition": EDITION,
            "key": self.key,
            "look": self.samples.look,
            "shape": [int(side) for side in self.shape],
            "n_inputs": self.source.n_inputs,
            "n_latents": trained.model.n_latents,
            "n_samples": self.source.n_samples,
            "input_names": self.source.input_names,
            "activation": activation.kind,
            "sparse": activation.sparse,
            "bounds": activation.bounds,
            "transcoder": trained.target_preprocess is not None,
            "recipe": _without_folders(trained.recipe).text(),
            "figures": _finite(figures),
            "findings": (info.get("figures") or {}).get("findings") or [],
            "status": info["status"],
            "n_iter": info["n_iter"],
            "columns": list(columns),
            "histogram": {"bins": BINS},
            "tags": tags_of(words, trained.model.n_latents),
            "sprites": None if self.sheets is None else self.sheets.table(),
            "labels": self.labels.table(),
            "photos": photos,
            "sizes": {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            },
        }
        _write_json(self.folder / "atlas.json", manifest)


def _example(
    records: dict[int, dict[str, Any]],
    contexts: dict[tuple[int, int], dict[str, Any]],
    latent: int,
    value: float,
    row: int,
    quantile: float | None,
) -> dict[str, Any]:
    sample = records[row] | contexts.get((latent, row), {})
    example: dict[str, Any] = {"value": float(f"{value:.5g}"), "sample": sample}
    return example if quantile is None else {**example, "quantile": quantile}


def _without_folders(recipe: Recipe) -> Recipe:
    """The recipe with the names of files alone: pages and sites are shown to others."""
    data = recipe.data
    meta, targets = (path and Path(path).name for path in (data.meta, data.targets))
    return dataclasses.replace(recipe, data=dataclasses.replace(data, meta=meta, targets=targets))


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return value


def _write_json(path: Path, table: Any) -> None:
    path.write_text(json.dumps(table, allow_nan=False), encoding="utf-8")
