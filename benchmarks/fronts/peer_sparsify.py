"""One training with eai-sparsify (1.3): its Trainer on a model that only looks rows up.

    python peer_sparsify.py ROWS.npz OUT.npz --variant topk --l0 32 --latents 512 …

Its Trainer trains on the output of a module of a language model. Here the model is one embedding
whose table is the training rows, and a sequence of token ids is a batch of row numbers. All else is
its own: Signum in its schedule-free form at 5e-3/√(M/2^14), FVU loss, the offset from the mean of
the first batch, unit-norm decoder, no scaling of the inputs; the saved checkpoint is read back.
AuxK is off by default there; here it is on with α = 1/32, Gao et al.'s value, and a latent counts
as dead after 5 % of the samples instead of 10 million.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from feed import Feed, Trained, run
from sparsify import SparseCoderConfig, TrainConfig, Trainer
from sparsify.sparse_coder import SparseCoder
from torch import Tensor, nn

HOOK = "rows"


class Lookup(nn.Module):
    """As much of a language model as the Trainer asks for."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Embedding.from_pretrained(rows)
        self.config = SimpleNamespace(num_hidden_layers=1)
        self.device = rows.device
        self.dummy_inputs = {"ids": torch.zeros(1, 1, dtype=torch.long)}

    @property
    def base_model(self) -> Lookup:
        return self

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows(ids)


class Numbers(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The row numbers of step after step, as sequences of token ids [B]."""

    def __init__(self, feed: Feed) -> None:
        order = feed.order()
        self.batches = [torch.from_numpy(next(order)) for _ in range(feed.steps)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.batches[index]}


def settings_of(args: argparse.Namespace, feed: Feed) -> dict[str, Any]:
    optimizer, rate = ("adam", 2e-4) if args.variant == "topk-adam" else ("signum", 5e-3)
    return {
        "optimizer": optimizer,
        "lr": rate / (args.latents / 2**14) ** 0.5 * args.lr_times,
        "lr_warmup_steps": feed.steps // 20,
        "auxk_alpha": feed.extra.get("auxk", 1 / 32),
        "dead_feature_threshold": int(0.05 * feed.steps * args.batch),
    }


def train(args: argparse.Namespace, feed: Feed) -> Trained:
    settings = settings_of(args, feed)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            SparseCoderConfig(num_latents=args.latents, k=args.l0),
            batch_size=1,
            hookpoints=[HOOK],
            init_seeds=[args.seed],
            log_to_wandb=False,
            save_every=2 * feed.steps,
            save_dir=folder,
            run_name="run",
            **settings,
        )
        trainer = Trainer(config, Numbers(feed), Lookup(feed.train))
        start = time.perf_counter()
        trainer.fit()
        seconds = time.perf_counter() - start
        coder = SparseCoder.load_from_disk(Path(folder) / "run" / HOOK)

    def encode(x: Tensor) -> Tensor:
        top = coder.encode(x)
        return torch.zeros(len(x), args.latents).scatter_(1, top.top_indices, top.top_acts)

    def decode(z: Tensor) -> Tensor:
        return coder.decode(*z.topk(args.l0))

    return Trained(encode, decode, coder.W_dec, seconds, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(("topk", "topk-adam"), train, (__doc__ or "").splitlines()[0])
