"""Up to which density an L1 step over entries costs less than a dense one: both ways in turns.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/crossover.py
    SIMPLECELL_NATIVE=0 python benchmarks/crossover.py      without the compiled library

The latents' biases bring about the density; two threads; medians of five.
"""

from __future__ import annotations

import statistics
import time

import torch

from simplecell.model import native, selection
from simplecell.model.autoencoder import Autoencoder
from simplecell.training.objective import Objective
from simplecell.training.trainer import Trainer
from simplecell.training.weights import initialise

N_INPUTS, N_LATENTS, BATCH, ROUNDS = 384, 6144, 1024, 5
BIASES = (-2.05, -1.64, -1.28, -0.84)
TERMS = {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}}
WAYS = {"entries": 1.0, "dense": 0.0}
"""What `CROSSOVER` is set to, so that a step takes this way."""


def trainer_of(bias: float) -> Trainer:
    model = Autoencoder(N_INPUTS, N_LATENTS, activation="relu", output="linear", pre_bias=True)
    initialise(model, 0, "transpose")
    with torch.no_grad():
        model.bias.fill_(bias)
    return Trainer(model, Objective(TERMS), solver="adam", learning_rate=1e-7)


def main() -> None:
    torch.set_num_threads(2)
    x = torch.randn(BATCH, N_INPUTS, generator=torch.Generator().manual_seed(0))
    print(f"{native.tier().name}\n| density | entries, ms | dense, ms |\n|---|---|---|")
    for bias in BIASES:
        trainers = {way: trainer_of(bias) for way in WAYS}
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        density = 0.0
        for _ in range(ROUNDS + 1):
            for way, crossover in WAYS.items():
                selection.CROSSOVER = crossover
                started = time.perf_counter()
                record = trainers[way].step(x)
                taken[way].append(time.perf_counter() - started)
                density = float(record.l0) / N_LATENTS
        entries, dense = (1e3 * statistics.median(times[1:]) for times in taken.values())
        print(f"| {density:.1%} | {entries:.0f} | {dense:.0f} |", flush=True)


if __name__ == "__main__":
    main()
