"""One of several processes that train every row of a table together: `rank_worker.py X.npy OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from simplecell.distributed import ALONE, joined
from simplecell.run.build import build, open_data
from simplecell.run.recipe import Recipe
from test_family import BATCH, ROWS

STEPS = 10
LATE = [f"optim.dead_after={BATCH}", "data.held_out=0.2"]
SHARED = {
    # Of two latents drawn from one sample, rounding decides which is among the k largest; and
    # principal components are one process's affair.
    **{
        name: (row.recipe, row.all_settings)
        for name, row in ROWS.items()
        if "anew" not in name and row.recipe != "pca"
    },
    "drawn anew": (
        "gated",
        [*ROWS["gated"].all_settings, *LATE, "optim.resample=2", "model.n_latents=128"],
    ),
    "preact": (
        "gated",
        [*ROWS["gated"].all_settings, *LATE, "objective.preact.weight=1.0", "model.n_latents=128"],
    ),
    "auxk": ("batchtopk", [*ROWS["batchtopk"].all_settings, *LATE, "model.n_latents=128"]),
    "noise": ("denoise", [*ROWS["denoise"].all_settings, "train.corruption=gaussian"]),
    "patience": ("jumprelu", [*ROWS["jumprelu"].all_settings, *LATE, "train.patience=1"]),
    "autograd": ("table", [*ROWS["table"].all_settings, "model.n_latents=[16, 8]"]),
}
"""A recipe with settings each: what two processes make of it one process makes as well."""


def trained(name, path, ranks=ALONE, dtype="float64"):
    """All that a training knows in the end, and the cost of each step."""
    recipe, settings = SHARED[name]
    chosen = Recipe.load(recipe).changed([*settings, f"train.dtype={dtype}"])
    modern = isinstance(chosen.train.steps, str)
    length = f"train.max_samples={STEPS * BATCH}" if modern else f"train.steps={STEPS}"
    chosen = chosen.changed([length])
    source, held_out = open_data(path, chosen)
    trainer = build(chosen, source).trainer
    trainer.join(ranks)
    records = list(trainer.run(source, STEPS, held_out=held_out))
    told = {
        "costs": torch.stack([record.cost for record in records]),
        "terms": torch.stack([value for record in records for value in record.terms.values()]),
        "mean": torch.stack([record.mean_activation for record in records]),
    }
    return {**trainer.state_dict(), **told}


def main(path, out):
    torch.set_num_threads(1)
    with joined() as ranks:
        for name in SHARED:
            save_file(trained(name, path, ranks), Path(out) / f"{name}.{ranks.rank}")
        for name in ("batchtopk", "table"):
            found = trained(name, path, ranks, "float32")
            save_file(found, Path(out) / f"{name} float32.{ranks.rank}")


if __name__ == "__main__":
    main(*sys.argv[1:])
