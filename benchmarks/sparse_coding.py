"""Sparse coding against scikit-learn at equal objective, interleaved in one run.

    python benchmarks/sparse_coding.py [IMAGES.mat] [--rounds 3]

8×8 patches without their mean, 121 atoms in the unit ball, α = 0.2. Each measurement runs in a
process of its own, the ways in turn. Without IMAGES.mat the pictures are made (dead leaves).

Learning: seconds and the lasso objective of 500 held-out patches, solved to a gap of 1e-6 by the
same judge for all, after two passes over 20,000 patches by scikit-learn's
`MiniBatchDictionaryLearning` and after six of ours; and when ours first is as low. Judging is not
timed. For one thread each set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.

Encoding: 5,000 held-out patches with one dictionary; seconds, and how far the mean objective lies
above the optimum. scikit-learn: `SparseCoder` by coordinate descent and by LARS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LEARNERS = ("simplecell", "scikit-learn lars", "scikit-learn cd")
ENCODERS = ("simplecell f32", "simplecell f64", "scikit-learn lars", "scikit-learn cd")
ATOMS, PATCH, ALPHA, JUDGED = 121, 8, 0.2, 500
STEPS = {"simplecell": 60, "scikit-learn lars": 20, "scikit-learn cd": 20}
BATCH = {"simplecell": 2000, "scikit-learn lars": 256, "scikit-learn cd": 256}


def prepare(pictures: str | None, out: Path) -> None:
    """Patches to learn from and to encode, and a dictionary, as one file."""
    import torch

    from simplecell.data import as_source, dead_leaves
    from simplecell.sparse_coding import L1, Alternation, random_dictionary

    data, whiten = (pictures, "none") if pictures else (dead_leaves(4, 256), "1/f")
    source = as_source(
        data, kind="patches", patch=PATCH, whiten=whiten, n_patches=20_000, held_out=0.25
    )
    train, held = (s.read(slice(0, s.n_samples)) for s in (source, source.held_out))
    train, held = (x - x.mean(1, keepdims=True) for x in (train, held))
    training = Alternation(random_dictionary(ATOMS, PATCH**2, 1).float(), L1(ALPHA))
    for start in range(0, 20_000, 2000):
        training.step(torch.from_numpy(train[start : start + 2000]))
    np.savez(out, train=train, held=held, dictionary=training.dictionary.numpy())


def learn(way: str, x: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """(Seconds so far, dictionary) at some steps of a training."""
    kept, seconds, every = [], 0.0, 2 if way == "simplecell" else 5
    step = our_step(x) if way == "simplecell" else their_step(way, x)
    for number in range(1, STEPS[way] + 1):
        started = time.perf_counter()
        dictionary = step(number)
        seconds += time.perf_counter() - started
        if number % every == 0:
            kept.append((seconds, np.array(dictionary, float)))
    return kept


def our_step(x):
    """One step of ours, as the estimator takes it."""
    from simplecell.data import ArraySource
    from simplecell.sparse_coding import L1, Alternation, random_dictionary

    start = random_dictionary(ATOMS, PATCH**2, 0).float()
    training = Alternation(start, L1(ALPHA), code_iter=50, batch_size=BATCH["simplecell"])
    records = training.run(ArraySource(x), STEPS["simplecell"])

    def step(number):
        next(records)
        return training.dictionary.numpy()

    return step


def their_step(way, x):
    """A tenth of a pass of scikit-learn's online learning, in its own batches."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    learner = MiniBatchDictionaryLearning(
        ATOMS, alpha=ALPHA, batch_size=256, fit_algorithm=way.split()[1], random_state=0
    )
    order = np.random.default_rng(0)

    def step(number):
        rows = order.permutation(len(x))[:2048]
        for start in range(0, 2048, 256):
            learner.partial_fit(x[rows[start : start + 256]])
        return learner.components_

    return step


def encode(way: str, x: np.ndarray, dictionary: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds, and the codes."""
    if way.startswith("simplecell"):
        import torch

        from simplecell.sparse_coding import L1
        from simplecell.sparse_coding import encode as ours

        kind = torch.float32 if way.endswith("32") else torch.float64
        rows, atoms = torch.from_numpy(x).to(kind), torch.from_numpy(dictionary).to(kind)

        def job():
            return ours(rows, atoms, L1(ALPHA), tol=1e-4).codes.numpy()
    else:
        from sklearn.decomposition import SparseCoder

        coder = SparseCoder(
            dictionary.astype(float),
            transform_algorithm="lasso_" + way.split()[1],
            transform_alpha=ALPHA,
        )
        x = x.astype(float)

        def job():
            return coder.transform(x)

    job()
    started = time.perf_counter()
    codes = job()
    return time.perf_counter() - started, codes


def lasso(x: np.ndarray, codes: np.ndarray, dictionary: np.ndarray) -> float:
    """Mean of `½‖x − s A‖² + α Σ|s|`, in float64."""
    x, codes, dictionary = (a.astype(float) for a in (x, codes, dictionary))
    error = ((x - codes @ dictionary) ** 2).sum(1) / 2
    return float((error + ALPHA * np.abs(codes).sum(1)).mean())


def optimum(x: np.ndarray, dictionary: np.ndarray) -> float:
    """The lasso objective at codes whose duality gap is below 1e-6 of ½‖x‖²."""
    import torch

    from simplecell.sparse_coding import L1
    from simplecell.sparse_coding import encode as ours

    rows, atoms = torch.from_numpy(x).double(), torch.from_numpy(dictionary).double()
    return lasso(x, ours(rows, atoms, L1(ALPHA), tol=1e-6, max_iter=5000).codes.numpy(), dictionary)


def one(job: str, way: str, file: str):
    """One measurement; objectives are judged after the clock has stopped."""
    data = np.load(file)
    if job == "learn":
        kept = learn(way, data["train"])
        held = data["held"][:JUDGED]
        return [(seconds, optimum(held, dictionary)) for seconds, dictionary in kept]
    held, dictionary = data["held"], data["dictionary"]
    seconds, codes = encode(way, held, dictionary)
    return seconds, lasso(held, codes, dictionary) / optimum(held, dictionary) - 1


def apart(job: str, way: str, *files: str):
    """One measurement in a fresh process, each way in the environment that its user would have."""
    command = [sys.executable, __file__, *files, "--job", job, "--way", way]
    environment = dict(os.environ)
    if way.startswith("simplecell"):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def show_learning(curves: dict[str, list]) -> None:
    """What each ends with, and after how many seconds ours is as low; the medians."""
    print(f"\n{'learning':<24}{'s':>8}{'objective':>11}{'ours as low after s':>21}")
    for way in LEARNERS:
        seconds, final = (
            statistics.median(c) for c in zip(*(r[-1] for r in curves[way]), strict=True)
        )
        ours = [next((s for s, j in c if j <= final), float("inf")) for c in curves["simplecell"]]
        print(f"{way:<24}{seconds:>8.2f}{final:>11.4f}{statistics.median(ours):>21.2f}")


def show_encoding(figures: dict[str, list]) -> None:
    """Seconds and distance from the optimum, the medians."""
    print(f"\n{'encoding 5,000 patches':<48}{'s':>8}{'above the optimum':>20}")
    for way in ENCODERS:
        seconds, above = (statistics.median(column) for column in zip(*figures[way], strict=True))
        print(f"{way:<48}{seconds:>8.3f}{above:>20.1e}")


def main() -> None:
    """Run everything and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="?", help="IMAGES.mat")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", choices=["learn", "encode"], help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(one(asked.job, asked.way, asked.pictures)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "patches.npz")
        prepare(asked.pictures, file)
        results: dict[str, dict[str, list]] = {"learn": {}, "encode": {}}
        for _ in range(asked.rounds):
            for job, ways in (("learn", LEARNERS), ("encode", ENCODERS)):
                for way in ways:
                    found = apart(job, way, str(file))
                    results[job].setdefault(way, []).append(found)
                    print(f"  {job} {way}", found[-1], file=sys.stderr)
    show_learning(results["learn"])
    show_encoding(results["encode"])


if __name__ == "__main__":
    main()
