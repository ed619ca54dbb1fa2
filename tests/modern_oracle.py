"""The modern family's codes and terms in plain float64 NumPy, sample by sample, from the papers."""

from __future__ import annotations

import numpy as np


def code_of(kind, pre, own):
    """Codes [B, M] in training; `own` holds the activation's numbers."""
    code = np.zeros_like(pre)
    if kind == "topk":
        for i, row in enumerate(pre):
            for j in sorted(range(len(row)), key=lambda j: -row[j])[: own["k"]]:
                code[i, j] = max(row[j], 0.0)
    elif kind == "abstopk":
        for i, row in enumerate(pre):
            for j in sorted(range(len(row)), key=lambda j: -abs(row[j]))[: own["k"]]:
                code[i, j] = row[j]
    elif kind == "batchtopk":
        order = sorted(np.ndindex(pre.shape), key=lambda place: -pre[place])
        for place in order[: round(own["k"] * len(pre))]:
            code[place] = max(pre[place], 0.0)
    elif kind == "jumprelu":
        code = np.where(pre > own["threshold"], pre, 0.0)
    elif kind == "gated":
        size = np.maximum(np.exp(own["log_scale"]) * pre + own["magnitude_bias"], 0.0)
        code = np.where(pre + own["gate_bias"] > 0, size, 0.0)
    else:
        code = np.maximum(pre, 0.0)
    return code


def squared(recon, target):
    """Mean over samples of the squared error, summed over inputs."""
    return float(np.mean([np.sum((r - t) ** 2) for r, t in zip(recon, target, strict=True)]))


def variance(target):
    return squared(np.broadcast_to(target.mean(0), target.shape), target)


def l1(soft, decoder):
    lengths = [np.sqrt(np.sum(atom**2)) for atom in decoder]
    return float(
        np.mean([sum(abs(c) * n for c, n in zip(row, lengths, strict=True)) for row in soft])
    )


def l0(code, target, wanted, *, push=0.0, ease=1.0):
    active = np.mean([np.count_nonzero(row) for row in code])
    return variance(target) * (active / (wanted * ease) - 1 + push) ** 2


def auxk(pre, error, dead, decoder, target, k, *, signed=False):
    """`error` is e, held fixed."""
    guess = np.zeros_like(error)
    numbers = np.flatnonzero(dead)
    for i, row in enumerate(pre):
        for j in sorted(numbers, key=lambda j: -(abs(row[j]) if signed else row[j]))[:k]:
            guess[i] += (row[j] if signed else max(row[j], 0.0)) * decoder[j]
    left, all_of_it = np.sum((error - guess) ** 2), np.sum((error - error.mean(0)) ** 2)
    return variance(target) * left / all_of_it


def preact(pre, thresholds, dead, decoder, target, *, signed=False):
    pre, total = np.abs(pre) if signed else pre, 0.0
    for j in np.flatnonzero(dead):
        length = np.sqrt(np.sum(decoder[j] ** 2))
        total += length * min(np.maximum(thresholds[:, j] - pre[:, j], 0.0))
    return np.sqrt(variance(target)) * total / len(dead)


def nested(code, decoder, offset, target, widths):
    costs = [squared(code[:, :m] @ decoder[:m] + offset, target) for m in widths]
    return float(np.mean(costs))
