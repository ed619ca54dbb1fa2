"""One training with overcomplete (0.3): its train_sae on the rows.

    python peer_overcomplete.py ROWS.npz OUT.npz --variant topk --l0 32 --latents 512 …

As its README trains: the default linear encoder, Adam at 5e-4, gradients clipped, mean squared
error; with its own AuxK term (`top_k_auxiliary_loss`, penalty 0.1) and its own cosine schedule with
5 % warm-up. The library has no offset, so in its favour the rows are centred on the training mean
and scaled to unit mean variance here, and the mean is added back. Inference is `.eval()`:
BatchTopK by its running threshold. It pulls torchvision in for pictures' models only, whose wheel
does not load beside a CPU build of torch: an empty stand-in is imported in its place.
"""

from __future__ import annotations

import argparse
import sys
import time
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

sys.modules["torchvision"] = ModuleType("torchvision")
sys.modules["torchvision"].transforms = ModuleType("transforms")  # type: ignore[attr-defined]

from feed import Feed, Trained, run  # noqa: E402
from overcomplete.sae import BatchTopKSAE, CosineScheduler, TopKSAE, train_sae  # noqa: E402
from overcomplete.sae.losses import top_k_auxiliary_loss  # noqa: E402


def batches(feed: Feed, mean: Tensor, scale: Tensor) -> list[Tensor]:
    """All batches [B, D] of the run, centred and scaled."""
    rows = iter(feed)
    return [(next(rows) - mean) / scale for _ in range(feed.steps)]


def mse(x: Tensor, x_hat: Tensor, pre: Tensor, codes: Tensor, dictionary: Tensor) -> Tensor:
    """The README's criterion."""
    return (x - x_hat).square().mean()


def train(args: argparse.Namespace, feed: Feed) -> Trained:
    d = feed.train.shape[1]
    mean, scale = feed.train.mean(0), feed.train.var(0).mean().sqrt()
    model: Any
    if args.variant == "topk":
        model = TopKSAE(d, nb_concepts=args.latents, top_k=args.l0)
    else:  # its top_k counts over the whole batch
        model = BatchTopKSAE(d, nb_concepts=args.latents, top_k=args.l0 * args.batch)
    rate = 5e-4 * args.lr_times
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = CosineScheduler(optimizer, rate, rate / 100, feed.steps, feed.steps // 20)
    criterion = mse if feed.extra.get("mse") else top_k_auxiliary_loss
    data = batches(feed, mean, scale)
    start = time.perf_counter()
    train_sae(model, data, criterion, optimizer, schedule, nb_epochs=1, monitoring=0)
    seconds = time.perf_counter() - start
    model.eval()

    def encode(x: Tensor) -> Tensor:
        return model.encode((x - mean) / scale)[1]

    def decode(z: Tensor) -> Tensor:
        return model.decode(z) * scale + mean

    atoms = model.get_dictionary().detach() * scale
    settings = {"lr": rate, "criterion": criterion.__name__, "centred_and_scaled": True}
    return Trained(encode, decode, atoms, seconds, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(("topk", "batchtopk"), train, (__doc__ or "").splitlines()[0])
