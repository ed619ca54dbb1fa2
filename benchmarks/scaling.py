"""What a TopK step costs as D, M, B and k grow, beside the product that cannot be avoided.

    python benchmarks/scaling.py [--out docs/results/scaling] [--rounds 5]

One of the four grows, the others stay at D 384, M 6144, B 1024, k 32. Each size is a process of its
own, so that its peak memory is its own; within it the product `[B, D] x [D, M]` and the step take
turns. Two threads. Writes OUT.json and OUT.png.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE = {"D": 384, "M": 6144, "B": 1024, "k": 32}
GROWING = {
    "D": (96, 192, 384, 768, 1536),
    "M": (1536, 3072, 6144, 12288, 24576),
    "B": (256, 512, 1024, 2048, 4096),
    "k": (4, 16, 64, 256, 512),
}
WORDS = {"D": "inputs D", "M": "latents M", "B": "batch B", "k": "active latents k"}


def one(size: dict[str, int], rounds: int) -> dict[str, float]:
    """Median milliseconds of a step and of the product, and peak MB, in this process."""
    import torch

    from simplecell.model.autoencoder import Autoencoder
    from simplecell.training.objective import Objective
    from simplecell.training.trainer import Trainer
    from simplecell.training.weights import initialise

    torch.set_num_threads(2)
    n_inputs, n_latents, batch, k = size["D"], size["M"], size["B"], size["k"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = Autoencoder(n_inputs, n_latents, activation="topk", k=k, output="linear", pre_bias=True)
    initialise(model, 0, "transpose")
    terms = {"reconstruction": {"weight": 1.0}, "auxk": {"weight": 1 / 32}}
    trainer = Trainer(
        model, Objective(terms), solver="adam", unit_norm=True, batch_size=batch, learning_rate=1e-4
    )
    x, out = torch.randn(batch, n_inputs), torch.empty(batch, n_latents)
    taken: dict[str, list[float]] = {"step": [], "product": []}
    peak = before
    for i in range(rounds + 2):
        started = time.perf_counter()
        trainer.step(x)
        taken["step"].append(time.perf_counter() - started)
        if i == 1:  # weights, moments and a step's own, before the product has its buffer
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        torch.mm(x, model.encoder.detach().T, out=out)
        taken["product"].append(time.perf_counter() - started)
    found = {name: 1e3 * statistics.median(times[2:]) for name, times in taken.items()}
    return found | {"memory": (peak - before) / 1e3}


def measured(size: dict[str, int], rounds: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--size", json.dumps(size), "--rounds", str(rounds)]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(told.stdout)
    return found


def draw(found: dict[str, list[dict[str, float]]], path: Path, machine: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(15, 7), constrained_layout=True)
    for column, (name, rows) in enumerate(found.items()):
        at = [row[name] for row in rows]
        above, below = axes[0, column], axes[1, column]
        above.plot(at, [row["step"] for row in rows], "o-", label="step")
        above.plot(at, [row["product"] for row in rows], "s--", label="the product alone")
        for place, row in zip(at, rows, strict=True):
            above.annotate(
                f"{row['step'] / row['product']:.2f}×",
                (place, row["step"]),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        weights = [4 * 4 * 2 * row["D"] * row["M"] / 1e6 for row in rows]
        below.plot(
            at, [row["memory"] for row in rows], "o-", label="peak, torch itself not counted"
        )
        below.plot(at, weights, "s--", label="weights, gradient, two moments")
        for axis in (above, below):
            axis.set(xscale="log", yscale="log", xlabel=WORDS[name])
            axis.set_xticks(at, [f"{value:,}" for value in at])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("ms a step")
    axes[1, 0].set_ylabel("memory, MB")
    axes[0, 0].legend()
    axes[1, 0].legend()
    others = ", ".join(f"{name} {value:,}" for name, value in BASE.items())
    figure.suptitle(f"One TopK step; what does not grow: {others}. {machine}")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="docs/results/scaling")
    asked = parser.parse_args()
    if asked.size:
        print(json.dumps(one(json.loads(asked.size), asked.rounds)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in GROWING.items():
        found[name] = []
        for value in values:
            size = BASE | {name: value}
            row = size | measured(size, asked.rounds)
            found[name].append(row)
            print(name, value, {key: round(row[key], 1) for key in ("step", "product", "memory")})
    machine = f"{os.cpu_count()} cores, {datetime.date.today()}"
    Path(f"{asked.out}.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")
    draw(found, Path(f"{asked.out}.png"), machine)


if __name__ == "__main__":
    main()
