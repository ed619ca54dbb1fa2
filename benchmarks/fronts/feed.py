"""What every peer script shares: its arguments, the order of the rows, and what it hands back.

Needs NumPy and torch only, so that it imports inside each library's own environment. Shapes:
N training rows, H held rows, B batch, D inputs, M latents.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

COEFFICIENT_VARIANTS = ("l1", "gated")
CHUNK = 4096


@dataclass
class Trained:
    """A finished training, in raw units: how to encode, how to decode, and what was set."""

    encode: Callable[[Tensor], Tensor]  # [B, D] to [B, M], as the library does at inference
    decode: Callable[[Tensor], Tensor]  # [B, M] to [B, D]
    decoder: Tensor  # [M, D]
    seconds: float
    settings: dict[str, Any]


def arguments(variants: tuple[str, ...], description: str) -> argparse.Namespace:
    """The command line of a peer script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", choices=variants, required=True)
    parser.add_argument("--l0", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--latents", type=int, required=True)
    parser.add_argument("--lr-times", type=float, default=1.0, help="factor on the library's rate")
    parser.add_argument("--coefficient", type=float, help="of l1 and gated: given, or sought")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="to try one")
    return parser.parse_args()


class Feed:
    """The training rows in seeded order: permutation after permutation, in full batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        with np.load(args.rows, allow_pickle=False) as archive:
            self.train = torch.from_numpy(archive["train"])
            self.held = torch.from_numpy(archive["held"])
        self.batch, self.seed = args.batch, args.seed
        self.steps = args.samples // args.batch
        self.extra = {k: float(v) for k, v in (pair.split("=") for pair in args.set)}
        torch.manual_seed(args.seed)

    def order(self) -> Iterator[np.ndarray]:
        """The row numbers of step after step [B], without end, the same for every library."""
        rng = np.random.default_rng(self.seed)
        order = np.empty(0, dtype=np.int64)
        while True:
            while len(order) < self.batch:
                order = np.concatenate([order, rng.permutation(len(self.train))])
            yield order[: self.batch]
            order = order[self.batch :]

    def __iter__(self) -> Iterator[Tensor]:
        """Batches [B, D] without end, each its own copy."""
        for numbers in self.order():
            yield self.train[torch.from_numpy(numbers)]


def codes(trained: Trained, x: Tensor) -> Iterator[Tensor]:
    """The codes of the rows of x, chunk by chunk [CHUNK, M]."""
    with torch.no_grad():
        for rows in x.split(CHUNK):
            yield trained.encode(rows)


def held_l0(trained: Trained, feed: Feed) -> float:
    """The mean number of non-zero latents of a held row."""
    return sum(int((z != 0).sum()) for z in codes(trained, feed.held)) / len(feed.held)


def save(out: Path, trained: Trained, feed: Feed) -> None:
    """Encode the held and the training rows and write all that the comparison needs."""
    with torch.no_grad():
        recon = torch.cat([trained.decode(z) for z in codes(trained, feed.held)])
    fired = sum((z != 0).sum(0) for z in codes(trained, feed.train))
    np.savez(
        out,
        recon=recon.float().numpy(),
        l0=held_l0(trained, feed),
        density=(fired / len(feed.train)).float().numpy(),
        decoder=trained.decoder.detach().float().numpy(),
        seconds=trained.seconds,
        settings=json.dumps(trained.settings),
    )


def seek(
    target: float, first: float, train: Callable[[float], float], rounds: int = 10
) -> tuple[float, float]:
    """The coefficient whose l0 meets the target within 3 %, and that l0.

    The l0 falls with the coefficient. Doubling or halving brackets the target, then the bracket is
    halved in the logarithm.
    """
    low = high = None
    coefficient, best = first, (first, float("inf"))
    for _ in range(rounds):
        l0 = train(coefficient)
        if abs(np.log(max(l0, 1e-3) / target)) < abs(np.log(max(best[1], 1e-3) / target)):
            best = (coefficient, l0)
        if abs(l0 / target - 1) < 0.03:
            break
        low, high = (coefficient, high) if l0 > target else (low, coefficient)
        if low is None or high is None:
            coefficient *= 3 if high is None else 1 / 3
        else:
            coefficient = float(np.sqrt(low * high))
    return best


def run(
    variants: tuple[str, ...],
    train: Callable[[argparse.Namespace, Feed], Trained],
    description: str,
) -> None:
    """Train one variant, seeking its coefficient first where it has one and none was given."""
    args = arguments(variants, description)
    if args.variant in COEFFICIENT_VARIANTS and args.coefficient is None:
        args.coefficient = sought(args, train)
    trained, feed = timed(args, train)
    save(args.out, trained, feed)
    print(f"l0 {held_l0(trained, feed):.2f}, {trained.seconds:.1f} s, {trained.settings}")


def timed(
    args: argparse.Namespace, train: Callable[[argparse.Namespace, Feed], Trained]
) -> tuple[Trained, Feed]:
    """A training with the seconds it took and the settings that every library has."""
    feed = Feed(args)
    start = time.perf_counter()
    trained = train(args, feed)
    trained.seconds = trained.seconds or time.perf_counter() - start
    trained.settings |= {"lr_times": args.lr_times, "coefficient": args.coefficient} | feed.extra
    return trained, feed


def sought(args: argparse.Namespace, train: Callable[[argparse.Namespace, Feed], Trained]) -> float:
    """The coefficient found by short trainings of a seventh of the length."""
    short = argparse.Namespace(**vars(args))
    short.samples = args.samples // 7

    def l0_of(coefficient: float) -> float:
        short.coefficient = coefficient
        trained, feed = timed(short, train)
        return held_l0(trained, feed)

    return seek(args.l0, 1.0, l0_of)[0]
