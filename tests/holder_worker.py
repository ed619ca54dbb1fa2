"""One of two processes that hold half of the latents each: `holder_worker.py X.npy OUT`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from simplecell.distributed import ALONE, joined
from simplecell.run.begin import begin, resume
from simplecell.run.build import build, open_data
from simplecell.run.recipe import Recipe
from simplecell.run.together import shared
from simplecell.training.prepared import to_model
from test_family import BATCH, ROWS

STEPS = 20
FEW = [f"train.steps={STEPS}", "train.dtype=float64", "data.held_out=0.2"]
WIDE = ["model.n_latents=128", f"optim.dead_after={BATCH}"]
DEALT = {
    "topk": ("topk", [*ROWS["topk"].all_settings, *FEW, *WIDE]),
    "as many as half": ("topk", [*ROWS["topk"].all_settings, *FEW, "model.target_l0=20"]),
    "signed": ("abstopk", [*ROWS["topk"].all_settings, *FEW, *WIDE]),
    "preact": (
        "topk",
        [*ROWS["topk"].all_settings, *FEW, *WIDE, "objective.preact.weight=0.25"],
    ),
    "batchtopk": ("batchtopk", [*ROWS["batchtopk"].all_settings, *FEW, *WIDE]),
    "patience": ("batchtopk", [*ROWS["batchtopk"].all_settings, *FEW, "train.patience=1"]),
    "noise": ("topk", [*ROWS["topk"].all_settings, *FEW, "train.corruption=gaussian"]),
    "steered": ("l1", [*ROWS["l1, scaled"].all_settings, *FEW, "optim.unit_norm=true"]),
}
"""A recipe with settings each: what two holders of latents make of it one process makes as well."""


def trainer_of(name, path, ranks=ALONE):
    """A trainer, its samples, and those held out."""
    recipe, settings = DEALT[name]
    chosen = Recipe.load(recipe).changed([*settings, "train.shard=latents"])
    source, held_out = open_data(path, chosen)
    trainer = build(chosen, source, ranks=ranks).trainer
    trainer.join(ranks)
    return trainer, source, held_out


def trained(name, path, ranks=ALONE, fast=True):
    """What a process knows after a training, and the costs; codes and recon of new samples."""
    trainer, source, held_out = trainer_of(name, path, ranks)
    if not fast:
        trainer.gradient.sparse = None
    records = list(trainer.run(source, STEPS, held_out=held_out))
    new = to_model(held_out.read(slice(0, 100)), trainer.preprocess, trainer.flat)
    with torch.no_grad():
        output = trainer.model(new)
    judged = [r.held_out_cost for r in records if r.held_out_cost is not None]
    return {
        **trainer.state_dict(),
        "costs": torch.stack([record.cost for record in records]),
        "terms": torch.stack([value for record in records for value in record.terms.values()]),
        "mean": torch.stack([record.mean_activation for record in records]),
        "l0": torch.stack([record.l0 for record in records]),
        "held": torch.tensor(judged, dtype=torch.float64),
        "codes": output.code.dense.contiguous(),
        "recon": output.recon,
    }


def went_on(path, out, ranks):
    """A run as it is, and one that was interrupted and gone on with."""
    recipe, settings = DEALT["batchtopk"]
    settings = [*settings, "train.shard=latents", "train.dtype=float32"]
    for name, last in (("whole", STEPS), ("halved", 9)):
        begun = functools.partial(begin, path, out / name, Recipe.load(recipe), settings=settings)
        session = shared(ranks, lambda ranks, begun=begun: begun(ranks=ranks))
        for record in session.records():  # to its end, where thresholds are settled
            if record.step == last < STEPS:
                break
        session.finish("finished" if last == STEPS else "interrupted")
    session = shared(ranks, lambda ranks: resume(out / "halved", ranks=ranks))
    assert session.trainer.n_steps == 9
    assert len(list(session.records())) == STEPS - 9
    session.finish()


def main(path, out):
    torch.set_num_threads(1)
    with joined() as ranks:
        went_on(path, Path(out), ranks)
        for name in DEALT:
            save_file(trained(name, path, ranks), Path(out) / f"{name}.{ranks.rank}")
        plain = trained("topk", path, ranks, fast=False)
        save_file(plain, Path(out) / f"plain.{ranks.rank}")


if __name__ == "__main__":
    main(*sys.argv[1:])
