"""A sweep of 8 models on one pass against 8 single trainings, interleaved in one process.

    python benchmarks/sweep.py [--rounds 3] [--photographs 60]

Data are made in a temporary folder. Ways, in all of which reading costs more than training:

    photographs       JPEG files of 1.5 megapixels, whitened 1/f: 10,000 patches for 8 targets ρ
    slow rows         an array whose rows take 50 µs each to arrive, as from a network's disk;
                      small enough to be kept in memory after the first reading
    slow, not kept    the same, taken for too large to keep: batches alone are shared

Each round trains the sweep and the 8 models one by one, in an order that alternates, and compares
every weight. Printed are medians of seconds, their ratio, and that of the reading alone.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simplecell.data import ArraySource, dead_leaves, shared
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe
from simplecell.run.sweep import begin_sweep, plan

SECONDS_A_ROW = 50e-6
TARGETS = "objective.kl.target=0.01,0.015,0.02,0.03,0.04,0.05,0.07,0.1"
SPARSITIES = "model.target_l0=1,2,3,4,6,8,12,16"
CLASSIC = ["train.steps=10", "model.n_latents=25", "data.patch=8"]
MODERN = ["train.steps=200", "optim.batch_size=256", "model.n_latents=64"]


class Slow(ArraySource):
    """An array whose rows take their time."""

    spent = 0.0

    def read(self, rows: Any) -> Any:
        x = super().read(rows)
        started = time.perf_counter()
        time.sleep(SECONDS_A_ROW * len(x))
        Slow.spent += time.perf_counter() - started
        return x


def photographs(folder: Path, count: int) -> str:
    """A folder of JPEG files, 1500 × 1000 pixels, no two alike."""
    folder.mkdir()
    tile = dead_leaves(4, 512, seed=0)
    tile = (255 * (tile - tile.min()) / (tile.max() - tile.min())).astype(np.uint8)
    for i in range(count):
        parts = np.random.default_rng(i).integers(0, 4, 6)
        rows = [np.concatenate([tile[k] for k in parts[j : j + 3]], axis=1) for j in (0, 3)]
        picture = np.roll(np.concatenate(rows), 37 * i, axis=(0, 1))[:1000, :1500]
        Image.fromarray(picture).save(folder / f"{i:03d}.jpg", quality=90)
    return str(folder)


def together(data: Any, out: Path, recipe: Recipe, grid: str) -> dict[str, Path]:
    """The models of a sweep: name and run."""
    sweep = begin_sweep(data, out, recipe, grid=[grid])
    for _ in sweep.records():
        pass
    return {row["name"]: Path(row["run"]) for row in sweep.finish()["models"]}


def one_by_one(data: Any, out: Path, recipe: Recipe, grid: str) -> dict[str, Path]:
    """The same models, each trained alone."""
    runs = {}
    for one in plan(recipe, [grid]):
        session = begin(data, out / one.name, one.recipe)
        for _ in session.records():
            pass
        session.finish()
        runs[one.name] = out / one.name
    return runs


def digests(runs: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of every model's weights."""
    return {
        name: hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
        for name, run in runs.items()
    }


def compare(name: str, data: Any, recipe: Recipe, grid: str, rounds: int) -> None:
    """Print one line of the table."""
    ways = {"sweep": together, "singles": one_by_one}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    waited: dict[str, list[float]] = {way: [] for way in ways}
    for i in range(rounds):
        found = {}
        for way in list(ways)[:: 1 if i % 2 else -1]:
            with tempfile.TemporaryDirectory() as out:
                Slow.spent, started = 0.0, time.perf_counter()
                runs = ways[way](data, Path(out), recipe, grid)
                seconds[way].append(time.perf_counter() - started)
                waited[way].append(Slow.spent)
                found[way] = digests(runs)
        if found["sweep"] != found["singles"]:
            raise SystemExit(f"{name}: the models differ")
    mine, theirs = (statistics.median(seconds[way]) for way in ways)
    wait = " and ".join(f"{statistics.median(waited[way]):.1f}" for way in ways)
    print(
        f"{name:<16} sweep {mine:7.2f} s   8 singles {theirs:7.2f} s   ratio {mine / theirs:.2f}"
        f"   equal weights   (of it waiting for rows: {wait} s)",
        flush=True,
    )


def main() -> None:
    """Run all ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photographs", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = photographs(Path(folder) / "photographs", asked.photographs)
        edges = Recipe.load("edges").changed(CLASSIC)
        compare("photographs", pictures, edges, TARGETS, asked.rounds)
    rows = Slow(np.random.default_rng(0).standard_normal((20_000, 32)).astype(np.float32))
    topk = Recipe.load("topk").changed(MODERN)
    compare("slow rows", rows, topk, SPARSITIES, asked.rounds)
    shared.KEPT_BYTES = 0
    compare("slow, not kept", rows, topk, SPARSITIES, asked.rounds)


if __name__ == "__main__":
    main()
