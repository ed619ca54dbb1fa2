"""Nearest rows by sparse codes beside dense vectors: recall, bytes a row, time a query.

    python benchmarks/nearest.py FOLDER [--l0 8 32] [--latents 1024] [--queries 500] [--samples N]

FOLDER has reuters_lsa128.npz and imdb_ppmi_words_20000x100.npz. The truth are the ten rows of
largest cosine to each of some rows, by the float32 vectors; recall@10 is how many of them a way
finds. Bytes are those of lists and lengths, or of the vectors. A query is one row alone, on one
thread, median. PCA is cut to as many numbers as the codes have bytes for, in float32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from simplecell import Index, TopKSparseAutoencoder

N = 10
SETS = {"reuters": "reuters_lsa128.npz", "words": "imdb_ppmi_words_20000x100.npz"}
Answer = Callable[[np.ndarray], np.ndarray]
"""The ten nearest rows of each of some rows, given by number."""


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-30)


def dense(x: np.ndarray) -> Answer:
    """scikit-learn's brute force over vectors of length 1, the row itself left out."""
    x = unit(x).astype(np.float32)
    near = NearestNeighbors(n_neighbors=N + 1, algorithm="brute", metric="euclidean").fit(x)

    def asked(rows: np.ndarray) -> np.ndarray:
        found = near.kneighbors(x[rows], return_distance=False)
        return np.array(
            [[j for j in one if j != i][:N] for i, one in zip(rows, found, strict=True)]
        )

    return asked


def without_itself(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The first ten of the found rows of each, the row itself left out."""
    return np.array([[j for j in one if j != i][:N] for i, one in zip(rows, found, strict=True)])


def eight_bits(x: np.ndarray) -> np.ndarray:
    """Each row in steps of 1/127 of its largest number, and back: one byte a number, four a row."""
    step = np.abs(x).max(1, keepdims=True) / 127
    return np.round(x / step) * step


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(set(one) & set(other)) / N for one, other in pairs]))


def a_query(ask: Answer, rows: np.ndarray) -> float:
    """Milliseconds of one row alone, median."""
    spent = []
    for row in rows:
        started = time.perf_counter()
        ask(np.array([row]))
        spent.append(1000 * (time.perf_counter() - started))
    return statistics.median(spent)


def by_codes(index: Index, codes: object) -> Answer:
    def asked(rows: np.ndarray) -> np.ndarray:
        found = index.nearest(codes[rows], N + 1).rows  # type: ignore[index]
        return np.array(
            [[j for j in one if j != i][:N] for i, one in zip(rows, found, strict=True)]
        )

    return asked


def ways(x: np.ndarray, asked: argparse.Namespace) -> dict[str, tuple[float, Answer]]:
    """(bytes a row, how it answers) of each way."""
    n, width = x.shape
    found: dict[str, tuple[float, Answer]] = {
        "dense float32": (4 * width, dense(x)),
        "dense float16": (2 * width, dense(unit(x).astype(np.float16).astype(np.float32))),
        "dense int8": (width + 4, dense(eight_bits(unit(x)))),
    }
    for l0 in asked.l0:
        sae = TopKSparseAutoencoder(
            asked.latents, k=l0, max_samples=asked.samples, sparse_output=True, random_state=0
        ).fit(x)
        with tempfile.TemporaryDirectory() as folder:
            sae.index(x).save(Path(folder) / "f.npz")
            index = Index.open(Path(folder) / "f.npz")
        size, codes = index.n_bytes / n, sae.transform(x)
        found[f"codes, l0 {l0}"] = size, by_codes(index, codes)
        recon = sae.inverse_transform(codes)
        found[f"reconstructions, l0 {l0} (not stored: codes decoded)"] = size, dense(recon)
        m = min(width, int(size // 4))
        pca = PCA(m, svd_solver="full").fit(x)
        found[f"PCA, {m} × float32"] = 4 * m, dense(pca.inverse_transform(pca.transform(x)))
        m8 = min(width, int(size) - 4)
        pca = PCA(m8, svd_solver="full").fit(x)
        found[f"PCA, {m8} × int8"] = (
            m8 + 4,
            dense(pca.inverse_transform(eight_bits(pca.transform(x)))),
        )
    return found


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told.add_argument("folder", type=Path)
    told.add_argument("--l0", type=int, nargs="*", default=[8, 32])
    told.add_argument("--latents", type=int, default=1024)
    told.add_argument("--queries", type=int, default=500)
    told.add_argument("--samples", type=int, default=2_000_000)
    asked = told.parse_args()
    torch.set_num_threads(1)
    print("| data | way | bytes a row | recall@10 | ms a query |\n|---|---|---|---|---|")
    for name, file in SETS.items():
        x = np.load(asked.folder / file, allow_pickle=False)["emb"].astype(np.float32)
        rows = np.random.default_rng(0).choice(len(x), asked.queries, replace=False)
        truth = dense(x)(rows)
        for way, (size, ask) in ways(x, asked).items():
            share, spent = recall(ask(rows), truth), a_query(ask, rows[:50])
            print(f"| {name} | {way} | {size:.0f} | {share:.3f} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
