"""Is `target_l0` kept on samples that no part of a training saw?

    python benchmarks/fronts/rows.py DATA WORK/rows
    python benchmarks/target_l0.py WORK/rows [--data words] [--l0 8 16 32] [--variants l1 gated]

Recipes as they are, trained as `simplecell train` does, a tenth of the training rows held out; l0
is then that of `evaluate` on the rows that rows.py held back. The goal is 5 %.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.data import as_source, split
from simplecell.run.build import build
from simplecell.run.evaluate import evaluate
from simplecell.run.recipe import Recipe

VARIANTS = ("topk", "batchtopk", "jumprelu", "gated", "l1", "matryoshka")
SAMPLES = {"activations": 2_000_000, "reuters": 1_000_000, "words": 1_000_000}


def measured(rows: Path, name: str, variant: str, l0: int) -> dict[str, Any]:
    """One training and its l0 on rows held back."""
    with np.load(rows / f"{name}.npz", allow_pickle=False) as archive:
        whole, fresh = as_source(archive["train"]), as_source(archive["held"])
    source, held_out = split(whole, 0.1, seed=0)
    settings = [f"model.target_l0={l0}", f"train.max_samples={SAMPLES[name]}"]
    built = build(Recipe.load(variant).changed(settings), source)
    for _ in built.trainer.run(source, built.recipe.n_steps, held_out=held_out):
        pass
    found = evaluate(built.trainer.model, built.preprocess, fresh)
    assert found.l0 is not None
    line = {"data": name, "variant": variant, "target_l0": l0, "l0": round(found.l0, 2)}
    return {**line, "off": round(found.l0 / l0 - 1, 4), "fvu": round(found.fvu, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--data", nargs="*", choices=[*SAMPLES], default=[*SAMPLES])
    parser.add_argument("--l0", nargs="*", type=int, default=[8, 16, 32])
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    asked = parser.parse_args()
    for name in asked.data:
        for l0 in asked.l0:
            for variant in asked.variants:
                print(json.dumps(measured(asked.rows, name, variant, l0)), flush=True)


if __name__ == "__main__":
    main()
