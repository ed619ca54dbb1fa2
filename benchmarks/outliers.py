"""Rare rows told from normal ones: `score_samples` beside IsolationForest and the error of PCA.

    python benchmarks/outliers.py [--data FOLDER] [--seeds 5] [--sets cancer wine …]

Half of the normal rows are learned from; the other half and all rare rows are judged: area under
the ROC curve and average precision, mean and spread over seeds (of the split and of the training).
Every way gets standardised columns; of scikit-learn its defaults. FOLDER has the files of NSL-KDD
and ECG5000 (KDDTrain+_20Percent.txt.gz, kdd_field_names.csv, ECG5000_TRAIN.txt.gz); without it the
sets that scikit-learn brings are measured alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from simplecell import SparseAutoencoder, TopKSparseAutoencoder

Pair = tuple[np.ndarray, np.ndarray]
"""Normal rows and rare ones."""
RETAINED = 0.9
"""Of the variance, by the components that PCA keeps."""


def cancer() -> Pair:
    x, y = load_breast_cancer(return_X_y=True)
    return x[y == 1], x[y == 0]


def wine() -> Pair:
    x, y = load_wine(return_X_y=True)
    return x[y != 2], x[y == 2]


def digit(which: int) -> Callable[[], Pair]:
    def rows() -> Pair:
        x, y = load_digits(return_X_y=True)
        return x[y != which], x[y == which]

    return rows


def kdd(folder: Path) -> Pair:
    table = pd.read_csv(folder / "KDDTrain+_20Percent.txt.gz", header=None)
    inputs = pd.get_dummies(table.iloc[:, :41], columns=[1, 2, 3]).to_numpy(np.float64)
    normal = (table[41] == "normal").to_numpy()
    return inputs[normal], inputs[~normal]


def heartbeats(folder: Path) -> Pair:
    table = np.loadtxt(folder / "ECG5000_TRAIN.txt.gz")
    return table[table[:, 0] == 1, 1:], table[table[:, 0] != 1, 1:]


def sets(folder: Path | None) -> dict[str, Callable[[], Pair]]:
    known: dict[str, Callable[[], Pair]] = {"cancer": cancer, "wine": wine}
    known |= {f"digit-{k}": digit(k) for k in (0, 1, 4, 8)}
    if folder is not None:
        for name, read in (("nsl-kdd", kdd), ("ecg5000", heartbeats)):
            known[name] = lambda read=read: read(folder)  # type: ignore[misc]
    return known


def topk(x: np.ndarray, seed: int) -> TopKSparseAutoencoder:
    """As many active latents and latents as suit so few columns; all else as it comes."""
    n_inputs = x.shape[1]
    return TopKSparseAutoencoder(
        min(256, 4 * n_inputs),
        k=min(8, max(2, n_inputs // 8)),
        preprocess=["standardize"],
        max_samples=200_000,
        random_state=seed,
    ).fit(x)


def classic(x: np.ndarray, seed: int) -> SparseAutoencoder:
    return SparseAutoencoder(
        min(100, 2 * x.shape[1]),
        target=0.1,
        output="linear",
        preprocess=["standardize"],
        max_iter=100,
        random_state=seed,
    ).fit(x)


def isolation(x: np.ndarray, seed: int) -> IsolationForest:
    return IsolationForest(random_state=seed).fit(x)


class Components:
    """Minus the squared error of PCA on standardised columns."""

    def __init__(self, x: np.ndarray, seed: int) -> None:
        self.scaler = StandardScaler().fit(x)
        self.pca = PCA(RETAINED, svd_solver="full").fit(self.scaler.transform(x))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        z = self.scaler.transform(x)
        recon = self.pca.inverse_transform(self.pca.transform(z))
        return -((z - recon) ** 2).sum(1)


WAYS = {
    "TopK": topk,
    "sigmoid + KL": classic,
    "IsolationForest": isolation,
    "PCA error": Components,
}


def measured(pair: Pair, seeds: int) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
    """For each way, (AUC, average precision, seconds) of each seed."""
    normal, rare = pair
    for name, way in WAYS.items():
        found = []
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(normal))
            seen, new = (normal[part] for part in np.array_split(order, 2))
            judged = np.concatenate([new, rare])
            is_rare = np.arange(len(judged)) >= len(new)
            started = time.perf_counter()
            oddness = -way(seen, seed).score_samples(judged)
            seconds = time.perf_counter() - started
            figures = roc_auc_score(is_rare, oddness), average_precision_score(is_rare, oddness)
            found.append((*map(float, figures), seconds))
        yield name, found


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told.add_argument("--data", type=Path, default=None)
    told.add_argument("--seeds", type=int, default=5)
    told.add_argument("--sets", nargs="*", default=None)
    asked = told.parse_args()
    print("| data | normal + rare | " + " | ".join(WAYS) + " |")
    print("|---|---|" + "---|" * len(WAYS))
    for name, read in sets(asked.data).items():
        if asked.sets and name not in asked.sets:
            continue
        pair = read()
        cells, seconds = [], []
        for _, found in measured(pair, asked.seeds):
            (auc, precision, took), spread = np.mean(found, 0), np.std(found, 0)
            cells.append(f"{auc:.3f} ± {spread[0]:.3f}, {precision:.3f}")
            seconds.append(f"{took:.1f}")
        counts = f"{len(pair[0])} + {len(pair[1])}"
        print(f"| {name} | {counts} | {' | '.join(cells)} |", flush=True)
        print(f"<!-- seconds: {', '.join(seconds)} -->", flush=True)


if __name__ == "__main__":
    main()
