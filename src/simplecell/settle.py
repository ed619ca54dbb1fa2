"""The number of active latents on samples that were not trained on, and how it is set right.

A dictionary fits the samples it learned from better than others, and in small data new samples
excite more latents: on 16,000 embeddings a twelfth more. What is promised (`target_l0`) is promised
of new samples, so where a training has held-out ones they have the last word. Source: ours.
"""

from __future__ import annotations

import math

import torch

from simplecell.feed import Prepared
from simplecell.model import Model

NUMBERS = 2**24
"""Values before the activation that are looked at, at most, *count*."""


@torch.no_grad()
def l0_of(model: Model, held: Prepared) -> tuple[float, float]:
    """Active latents a sample in use, *count*: mean over the held-out samples, standard error."""
    counts = torch.cat([model.encode(x)[1].l0().double() for x, _ in held])
    return float(counts.mean()), float(counts.std(correction=0)) / math.sqrt(len(counts))


@torch.no_grad()
def settle(model: Model, held: Prepared, wanted: float | None = None) -> None:
    """Let the activation set its thresholds by held-out samples, to `wanted` active latents."""
    most = max(1, NUMBERS // model.n_latents)
    rows, count = [], 0
    for x, _ in held:
        rows.append(model.encode(x[: most - count])[0])
        count += len(rows[-1])
        if count >= most:
            break
    model.activation.settle(torch.cat(rows), wanted)
