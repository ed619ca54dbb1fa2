"""The classic training against plain float64 NumPy + SciPy, interleaved in one run.

    python benchmarks/classic.py [IMAGES.mat] [--rounds 3]

Each training runs in a process of its own, the ways in turn, round after round: the machine's
drift falls on all of them alike. Without IMAGES.mat the pictures are made (dead leaves). Ways:

    simplecell        as the command line runs it: float32, our kernels and L-BFGS
    simplecell f64    the same in float64
    simplecell, 1 …   the same in float32 on one thread
    numpy             plain float64 NumPy + scipy.optimize L-BFGS-B, as installed
    numpy, 1 thread   the same with NumPy's and SciPy's thread pools held at 1
    numpy, 2 threads  … at 2

Beside the seconds on the wall stand those of the processors: on a machine that others use too, the
former say little, and the latter, on one thread, hardly depend on the others.

Then one cost-and-gradient evaluation of a 784-196-784 net on 10,000 samples, as a share of the
matrix-product rates (2048³, float32) that torch and NumPy reach in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from simplecell.__main__ import reproducible_products

WAYS = (
    "simplecell",
    "simplecell f64",
    "simplecell, 1 thread",
    "numpy",
    "numpy, 1 thread",
    "numpy, 2 threads",
)
STEPS, LATENTS, PATCH, DECAY, SPARSITY, TARGET = 400, 25, 8, 1e-4, 3.0, 0.01


def patches(pictures: str | None, seed: int = 0):
    """10,000 prepared 8×8 patches, float64 [10000, 64]."""
    import torch

    from simplecell.data import as_source, dead_leaves
    from simplecell.preprocess.chain import Preprocess

    data, whiten = (pictures, "none") if pictures else (dead_leaves(4, 256), "1/f")
    source = as_source(data, kind="patches", patch=PATCH, whiten=whiten, held_out=0, seed=seed)
    x = torch.from_numpy(source.read(slice(0, source.n_samples))).double()
    return Preprocess(["remove_dc", "patch_range"]).fit(lambda: [x]).apply(x).x


def seconds() -> tuple[float, float]:
    """Of the wall's clock and of the processors'."""
    return time.perf_counter(), time.process_time()


def with_simplecell(x, dtype: str) -> tuple[tuple[float, float], object]:
    """Seconds of 400 iterations, and the parameters."""
    import torch

    from simplecell.model.autoencoder import Autoencoder
    from simplecell.training.gradients import Gradient, Whole
    from simplecell.training.lbfgs import LBFGS
    from simplecell.training.objective import Objective
    from simplecell.training.weights import flatten, initialise

    kind = {"float32": torch.float32, "float64": torch.float64}[dtype]
    model = Autoencoder(PATCH**2, LATENTS, dtype=kind)
    objective = Objective.classic(weight_decay=DECAY, sparsity_weight=SPARSITY, target=TARGET)
    x = x.to(kind)
    started = seconds()
    initialise(model, 0)
    flat, grad = flatten(model)
    gradient, whole = Gradient(model, objective), Whole(x)
    lbfgs = LBFGS(flat, grad, lambda: gradient(whole), tolerance=0)
    for _ in range(STEPS):
        lbfgs.advance()
    took = since(started)
    tensors = model.tensors()
    names = ("encoder", "decoder", "bias", "offset")
    return took, [tensors[name].double().numpy() for name in names]


def since(started: tuple[float, float]) -> tuple[float, float]:
    """Seconds of both clocks from then to now."""
    now = seconds()
    return now[0] - started[0], now[1] - started[1]


def with_numpy(x, threads: int | None) -> tuple[tuple[float, float], object]:
    """The same by the tests' own NumPy oracle and SciPy."""
    import contextlib

    import numpy as np
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    oracle = plain()
    shapes = [(LATENTS, PATCH**2), (LATENTS, PATCH**2), (LATENTS,), (PATCH**2,)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def unroll(theta):
        return [p.reshape(s) for p, s in zip(np.split(theta, ends[:-1]), shapes, strict=True)]

    def cost(theta):
        value, gradient = oracle(*unroll(theta), x, **SETTINGS)
        return value, np.concatenate([part.ravel() for part in gradient])

    radius = np.sqrt(6 / (PATCH**2 + LATENTS + 1))
    start = np.random.default_rng(0).uniform(-radius, radius, int(ends[-1]))
    start[ends[1] :] = 0
    options = {"maxiter": STEPS, "maxfun": 10 * STEPS, "ftol": 0, "gtol": 0}
    held = threadpool_limits(threads) if threads else contextlib.nullcontext()
    with held:
        started = seconds()
        found = minimize(cost, start, jac=True, method="L-BFGS-B", options=options)
        return since(started), unroll(found.x)


SETTINGS = {
    "activation": "sigmoid",
    "output": "sigmoid",
    "decay": DECAY,
    "sparsity": SPARSITY,
    "target": TARGET,
}


def plain():
    """The plain NumPy cost and gradient: the oracle of the tests."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from oracle import classic

    return classic


def one(way: str, pictures: str | None) -> dict[str, float]:
    """One training: seconds, and the final cost evaluated in float64."""
    import torch

    x = patches(pictures)
    if way.startswith("simplecell"):
        if "1 thread" in way:
            torch.set_num_threads(1)
        took, parts = with_simplecell(x, "float64" if "f64" in way else "float32")
    else:
        threads = {"numpy": None, "numpy, 1 thread": 1, "numpy, 2 threads": 2}[way]
        took, parts = with_numpy(x.numpy(), threads)
    cost = float(plain()(*parts, x.numpy(), **SETTINGS)[0])
    return {"seconds": took[0], "cpu": took[1], "cost": cost}


def evaluation_rate() -> dict[str, float]:
    """GFLOP/s of a 784-196-784 evaluation and of the best 2048³ product, interleaved."""
    import numpy as np
    import torch

    from simplecell.model.autoencoder import Autoencoder
    from simplecell.training.gradients import Gradient, Whole
    from simplecell.training.objective import Objective
    from simplecell.training.weights import flatten, initialise

    n, inputs, latents, side = 10_000, 784, 196, 2048
    model = Autoencoder(inputs, latents)
    initialise(model, 0)
    flatten(model)
    objective = Objective.classic(weight_decay=3e-3, sparsity_weight=3.0, target=0.1)
    gradient, whole = Gradient(model, objective), Whole(torch.rand(n, inputs))
    a = torch.rand(side, side)
    b = a.numpy()
    jobs = {
        "evaluation": (lambda: gradient(whole), 5 * 2 * n * inputs * latents),
        "torch": (lambda: a @ a, 2 * side**3),
        "numpy": (lambda: np.matmul(b, b), 2 * side**3),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(9):
        for name, (job, _) in jobs.items():
            time.sleep(0.3)  # the pool of the job before spins on for a while
            job()
            started = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - started)
    return {n: jobs[n][1] / statistics.median(t[1:]) / 1e9 for n, t in times.items()}


def main() -> None:
    """Run everything and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="?", help="IMAGES.mat")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=[*WAYS, "rate"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(
            json.dumps(evaluation_rate() if asked.one == "rate" else one(asked.one, asked.pictures))
        )
        return
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(asked.rounds):
        for way in WAYS:
            results[way].append(apart(way, asked.pictures))
            print(f"  {way}: {results[way][-1]}", file=sys.stderr)
    ours = statistics.median(r["seconds"] for r in results["simplecell"])
    print(
        f"{'400 iterations, 64-25-64, 10,000 patches':<42}"
        f"{'median s':>9}{'ratio':>7}{'CPU s':>8}{'cost':>9}"
    )
    for way in WAYS:
        took, cpu, cost = (
            statistics.median(r[figure] for r in results[way])
            for figure in ("seconds", "cpu", "cost")
        )
        print(f"{way:<42}{took:>9.2f}{took / ours:>7.1f}{cpu:>8.2f}{cost:>9.5f}")
    rates = apart("rate", None)
    shares = ", ".join(
        f"{rates['evaluation'] / rates[name]:.0%} of {name}'s ({rates[name]:.0f})"
        for name in ("torch", "numpy")
    )
    print(
        f"\n784-196-784, 10,000 samples: {rates['evaluation']:.0f} GFLOP/s; of the product of two "
        f"2048² matrices, {shares}"
    )


def apart(way: str, pictures: str | None) -> dict[str, float]:
    """One measurement in a fresh process, in the environment that its user would have."""
    environment = dict(os.environ)
    if way.startswith("simplecell") or way == "rate":
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "MKL_CBWR": reproducible_products()}
    command = [sys.executable, __file__, *([pictures] if pictures else []), "--one", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
