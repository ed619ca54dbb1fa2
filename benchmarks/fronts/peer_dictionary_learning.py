"""One training with dictionary-learning (0.1): its trainSAE on rows instead of a buffer.

    python peer_dictionary_learning.py ROWS.npz OUT.npz --variant topk --l0 32 --latents 512 …

Its own trainers, optimisers, offsets (geometric median of the first batch) and AuxK; rates by its
own rule (2e-4/√(M/2^14) for the TopK kinds, 7e-5 jumprelu, 1e-3 l1, 5e-5 gated), inputs scaled to
a mean squared norm of 1, the rate falling over the last fifth as in its demo. Inference is the
saved file read back: by the threshold for BatchTopK and Matryoshka.
Changed for short runs: warm-up 5 % of the steps instead of 1,000 (sparsity too, instead of 2,000),
threshold tracking from half of the run with β 0.99 instead of 0.999 from step 1,000, and a latent
dead after 5 % of the samples instead of 10 million, which its trainers keep as an attribute.
Changed in its favour: JumpReLU's bandwidth is 0.03 instead of 0.001, which these inputs rarely hit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dictionary_learning.dictionary import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE, BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import (
    MatryoshkaBatchTopKSAE,
    MatryoshkaBatchTopKTrainer,
)
from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer
from dictionary_learning.training import trainSAE
from feed import Feed, Trained, run

TRAINERS: dict[str, tuple[Any, Any]] = {
    "topk": (TopKTrainer, AutoEncoderTopK),
    "batchtopk": (BatchTopKTrainer, BatchTopKSAE),
    "matryoshka": (MatryoshkaBatchTopKTrainer, MatryoshkaBatchTopKSAE),
    "jumprelu": (JumpReluTrainer, JumpReluAutoEncoder),
    "l1": (StandardTrainerAprilUpdate, AutoEncoder),
    "gated": (GatedSAETrainer, GatedAutoEncoder),
}
RATE = {"jumprelu": 7e-5, "l1": 1e-3, "gated": 5e-5}


def own_options(args: argparse.Namespace, feed: Feed) -> dict[str, Any]:
    """The options that only this variant has, and its rate."""
    early = feed.steps // 20
    rate = RATE.get(args.variant, 2e-4 / (args.latents / 2**14) ** 0.5) * args.lr_times
    if args.variant in ("l1", "gated"):
        return {"lr": rate, "l1_penalty": args.coefficient, "sparsity_warmup_steps": early}
    if args.variant == "jumprelu":
        options = {"lr": rate, "target_l0": args.coefficient, "sparsity_warmup_steps": early}
        return options | {
            "bandwidth": feed.extra.get("bandwidth", 0.03),
            "sparsity_penalty": feed.extra.get("penalty", 1.0),
        }
    options = {"lr": rate, "k": args.l0, "threshold_beta": 0.99}
    options["threshold_start_step"] = feed.steps // 2
    if args.variant == "matryoshka":
        options["group_fractions"] = [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    return options


def maker(trainer_class: Any, dead_after: int) -> Callable[..., Any]:
    """The trainer with its patience for dead latents set, which has no argument."""

    def make(**options: Any) -> Any:
        trainer = trainer_class(**options)
        trainer.dead_feature_threshold = dead_after
        return trainer

    return make


def read_back(model_class: Any, file: Path) -> Any:
    if model_class is AutoEncoder:
        return AutoEncoder.from_pretrained(file, normalize_decoder=False)
    return model_class.from_pretrained(file)


def decoder_of(model: Any) -> torch.Tensor:
    """The atoms [M, D] of either of its two layouts."""
    return model.W_dec if hasattr(model, "W_dec") else model.decoder.weight.T


def train(args: argparse.Namespace, feed: Feed) -> Trained:
    if args.variant == "jumprelu" and args.coefficient is None:
        args.coefficient = float(args.l0)
    trainer_class, model_class = TRAINERS[args.variant]
    options = own_options(args, feed)
    schedule = {"warmup_steps": feed.steps // 20, "decay_start": feed.steps * 4 // 5}
    dead_after = int(feed.extra.get("dead", 0.05) * feed.steps * args.batch)
    config = {
        "trainer": maker(trainer_class, dead_after),
        "dict_class": model_class,
        "activation_dim": feed.train.shape[1],
        "dict_size": args.latents,
        "steps": feed.steps,
        "layer": 0,
        "lm_name": "rows",
        "device": "cpu",
        "seed": args.seed,
        **schedule,
        **options,
    }
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        trainSAE(
            feed, [config], feed.steps, save_dir=folder, normalize_activations=True, device="cpu"
        )
        seconds = time.perf_counter() - start
        model = read_back(model_class, Path(folder) / "trainer_0" / "ae.pt")
    settings = options | schedule | {"dead_after": dead_after, "normalize_activations": True}
    return Trained(model.encode, model.decode, decoder_of(model), seconds, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(tuple(TRAINERS), train, (__doc__ or "").splitlines()[0])
