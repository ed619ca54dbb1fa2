"""Our recipes on the same rows as the peers, one line of JSON a training.

    python benchmarks/fronts/ours.py WORK [--results WORK/ours.jsonl]

WORK holds `rows/` (from rows.py). The recipes as they are, but for target_l0, the seed and the
number of samples, which is the peers' own. Figures are of `evaluate` on the held rows, as the run
would be used; fvu by the peers' formula, in raw units. May be stopped and started at will.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import simplecell
from simplecell.data import as_source
from simplecell.run.build import build
from simplecell.run.evaluate import evaluate
from simplecell.run.recipe import Recipe

VARIANTS = ("topk", "batchtopk", "jumprelu", "gated", "l1", "matryoshka")
DATA = {"activations": 2_000_000, "reuters": 1_000_000, "words": 1_000_000}
L0S = {0: (16, 32, 8), 1: (16, 32), 2: (16, 32)}


def train(rows: Path, variant: str, l0: int, seed: int, samples: int) -> dict[str, Any]:
    """One training, judged on the held rows."""
    with np.load(rows, allow_pickle=False) as archive:
        source, held = as_source(archive["train"]), archive["held"]
    settings = [f"model.target_l0={l0}", f"train.seed={seed}", f"train.max_samples={samples}"]
    started = time.perf_counter()
    built = build(Recipe.load(variant).changed(settings), source)
    for _ in built.trainer.run(source, built.recipe.n_steps):
        pass
    seconds = time.perf_counter() - started
    model, preprocess = built.trainer.model, built.preprocess
    figures = evaluate(model, preprocess, as_source(held))
    density = evaluate(model, preprocess, source).density
    with torch.no_grad():
        recon = preprocess.invert(model(preprocess.apply(torch.from_numpy(held)).x).recon).double()
    x = held.astype(np.float64)
    error = np.square(recon.numpy() - x).sum() / np.square(x - x.mean(0)).sum()
    return {
        "version": simplecell.__version__,
        "l0": figures.l0,
        "fvu": float(error),
        "dead": None if density is None else float((density == 0).mean()),
        "seconds": round(seconds, 1),
        "samples": samples,
        "batch": built.recipe.optim.batch_size,
        "latents": model.n_latents,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    results = args.results or args.work / "ours.jsonl"
    done = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    seen = {(r["data"], r["variant"], r["l0_asked"], r["seed"]) for r in done}
    for seed, data in itertools.product(L0S, DATA):
        for l0, variant in itertools.product(L0S[seed], VARIANTS):
            if (data, variant, l0, seed) in seen:
                continue
            named = {"library": "simplecell", "variant": variant, "data": data}
            named |= {"l0_asked": l0, "seed": seed}
            line = named | train(args.work / "rows" / f"{data}.npz", variant, l0, seed, DATA[data])
            print(json.dumps(line), flush=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
