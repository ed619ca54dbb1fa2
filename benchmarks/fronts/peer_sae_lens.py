"""One training with sae-lens (6.x): its SAETrainer on rows instead of a language model.

    python peer_sae_lens.py ROWS.npz OUT.npz --variant batchtopk --l0 32 --latents 512 …

As its documentation trains: Adam at 3e-4 (5e-5 for l1), no warm-up, the learning rate falling to
0 over the last fifth, l1 and gated coefficients warmed up over the first twentieth, inputs scaled
to a mean norm of √D. Inference is the saved inference model: BatchTopK and Matryoshka come back as
JumpReLU with their learnt threshold. Changed for short runs: a latent counts as dead after 5 % of
the steps instead of 1,000. Changed in its favour: JumpReLU pulls each row towards `target_l0`
(quadratic mode, bandwidth 0.05), and the documented strength of that pull, 5, costs it half of
what it can reach here; it is 0.02, and since the l0 then settles above its target, --coefficient
sets a lower target than the l0 asked for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
from feed import Feed, Trained, run
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

CLASSES: dict[str, tuple[Any, Any]] = {
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
    "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
    "l1": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig),
}
RATE = {"l1": 5e-5}


def own_options(args: argparse.Namespace, feed: Feed) -> dict[str, Any]:
    """The options that only this variant has."""
    m = args.latents
    if args.variant in ("l1", "gated"):
        return {"l1_coefficient": args.coefficient, "l1_warm_up_steps": feed.steps // 20}
    if args.variant == "jumprelu":
        return {
            "jumprelu_sparsity_loss_mode": "quadratic",
            "target_l0": args.coefficient,
            "l0_coefficient": feed.extra.get("l0_coefficient", 0.02),
            "jumprelu_bandwidth": feed.extra.get("bandwidth", 0.05),
            "jumprelu_init_threshold": feed.extra.get("threshold", 0.01),
            "l0_warm_up_steps": int(feed.extra.get("warm", 0) * feed.steps),
        }
    widths = {"matryoshka_widths": [m // 8, m // 4, m // 2, m]}
    return {"k": args.l0} | (widths if args.variant == "matryoshka" else {})


def train(args: argparse.Namespace, feed: Feed) -> Trained:
    if args.variant == "jumprelu" and args.coefficient is None:
        args.coefficient = float(args.l0)
    model_class, config_class = CLASSES[args.variant]
    options = own_options(args, feed)
    scaling = "none" if feed.extra.get("plain") else "expected_average_only_in"
    sae = model_class(
        config_class(
            d_in=feed.train.shape[1],
            d_sae=args.latents,
            normalize_activations=scaling,
            **options,
        )
    )
    rate = RATE.get(args.variant, 3e-4) * args.lr_times
    config = SAETrainerConfig(
        total_training_samples=feed.steps * args.batch,
        train_batch_size_samples=args.batch,
        lr=rate,
        lr_end=rate / 10,
        lr_decay_steps=feed.steps // 5,
        dead_feature_window=max(1, int(feed.extra.get("dead", 0.05) * feed.steps)),
        n_batches_for_norm_estimate=max(1, len(feed.train) // args.batch),
    )
    start = time.perf_counter()
    trained = SAETrainer(cfg=config, sae=sae, data_provider=iter(feed)).fit()
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        trained.save_inference_model(folder)
        ready = SAE.load_from_disk(folder)
    settings = options | {"lr": rate, "normalize_activations": scaling}
    settings["dead_feature_window"] = config.dead_feature_window
    return Trained(ready.encode, ready.decode, ready.W_dec, seconds, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(tuple(CLASSES), train, (__doc__ or "").splitlines()[0])
