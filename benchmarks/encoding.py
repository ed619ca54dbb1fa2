"""Encoding beside a plain product and a top-k, its memory beside its result, the atlas beside both.

    python benchmarks/encoding.py [--samples 16384 --inputs 768 --latents 12288 --k 32]
                                  [--atlas 16000x384x1024 …] [--file-gigabytes 2] [--rounds 5]

Goals: sparse codes within 1.1 of `x @ W.T` and `torch.topk`, dense ones within 1.3; the dense
result at most 1.1 times its own size at its peak; a file of 2 GB encoded in under 1 GB; the atlas
in at most twice the encoding. Ways take turns, and medians are compared. Random weights and
samples: the time does not depend on what was learned. CPU seconds are those of all threads
together, which tell more than the clock where a machine has other work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from simplecell.cli.code_files import encode_file
from simplecell.data import ArraySource
from simplecell.explorer.make.atlas import build_atlas
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.encoding import dense_codes, sparse_codes
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained
from simplecell.training.prepared import identity
from simplecell.training.weights import initialise

ROWS = 4096
"""Samples at a time of the plain way."""
FEW = 256
"""Latents of the model that encodes a large file."""


def samples(n: int, n_inputs: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, n_inputs), dtype=np.float32)


def model_of(n_inputs: int, n_latents: int, k: int) -> Trained:
    model = Autoencoder(n_inputs, n_latents, activation="topk", output="linear", k=k)
    initialise(model, 0, "transpose")
    return Trained(model, identity(n_inputs), Recipe.load("topk"), {})


def plain(trained: Trained, x: np.ndarray, dense: bool) -> object:
    """What one would write: the product, the k largest, and where wanted an array of all codes."""
    weights, k = trained.model.encoder.detach(), trained.model.activation.k
    rows = torch.from_numpy(x)
    whole = torch.zeros(len(x), len(weights)) if dense else None
    found = []
    for first in range(0, len(x), ROWS):
        values, latents = (rows[first : first + ROWS] @ weights.T).topk(k, dim=1, sorted=False)
        if whole is None:
            found.append((values, latents))
        else:
            whole[first : first + ROWS].scatter_(1, latents, values.relu())
    return found if whole is None else whole


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median (seconds, CPU seconds) of each way, which take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            started, cpu = time.perf_counter(), time.process_time()
            way()
            if turn:
                taken[name].append((time.perf_counter() - started, time.process_time() - cpu))
    return {
        name: (statistics.median(t for t, _ in both), statistics.median(c for _, c in both))
        for name, both in taken.items()
    }


def encoding(args: argparse.Namespace) -> list[str]:
    """Rows of the table of times."""
    trained, x = model_of(args.inputs, args.latents, args.k), samples(args.samples, args.inputs)
    source = ArraySource(x)
    ways = {
        "product and top-k": lambda: plain(trained, x, dense=False),
        "simplecell, sparse": lambda: sparse_codes(trained, source),
        "product, top-k, scatter": lambda: plain(trained, x, dense=True),
        "simplecell, dense": lambda: dense_codes(trained, source),
    }
    found = in_turn(ways, args.rounds)
    base = found["product and top-k"]
    return [
        f"| {name} | {wall:.2f} | {cpu:.2f} | {wall / base[0]:.2f} | {cpu / base[1]:.2f} |"
        for name, (wall, cpu) in found.items()
    ]


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux counts the parent's memory in a child's ru_maxrss
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of_result(args: argparse.Namespace) -> dict[str, float]:
    """What `transform` to a dense array adds to the process at its peak, and the array alone."""
    trained = model_of(args.inputs, args.latents, args.k)
    source = ArraySource(samples(args.samples, args.inputs))
    # Once on a few samples, so that what libraries keep is counted with them and not with the rest.
    sparse_codes(trained, ArraySource(samples(64, args.inputs)))
    before = peak()
    whole = dense_codes(trained, source)
    return {"result": whole.nbytes / 2**20, "added": peak() - before}


def run_of(folder: Path, x: np.ndarray, n_latents: int, k: int) -> Run:
    """A run of a few steps on samples, which stay beside it."""
    np.save(folder / "x.npy", x)
    settings = ["train.max_samples=5000", f"model.n_latents={n_latents}", f"model.target_l0={k}"]
    session = begin(folder / "x.npy", folder / "run", Recipe.load("topk"), settings=settings)
    for _ in session.records():
        pass
    session.finish()
    return Run(folder / "run")


def memory_of_file(args: argparse.Namespace) -> dict[str, float]:
    """The whole process while it encodes a file to a file."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder, n = Path(name), int(args.file_gigabytes * 1e9 / 4 / args.inputs)
        piece = samples(ROWS, args.inputs)
        run_of(folder, piece, FEW, args.k)
        rows = np.lib.format.open_memmap(folder / "large.npy", "w+", np.float32, (n, args.inputs))
        for first in range(0, n, ROWS):
            rows[first : first + ROWS] = piece[: n - first]
        rows.flush()
        told = [sys.executable, __file__, "--child", "encode", "--folder", name]
        found: dict[str, float] = json.loads(subprocess.check_output(told))
        return found


def encode_here(args: argparse.Namespace) -> dict[str, float]:
    """`simplecell encode`, in this process."""
    folder = Path(args.folder)
    encode_file(Run(folder / "run").load(), folder / "large.npy", str(folder / "codes.npy"))
    return {"file": (folder / "large.npy").stat().st_size / 1e6, "peak": peak()}


def atlas(size: str, k: int, rounds: int) -> str:
    """A row of the table of atlases: encoding, the pass over samples, the whole atlas."""
    n, n_inputs, n_latents = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = run_of(folder, samples(n, n_inputs), n_latents, k)
        trained = run.load()
        source = all_data(trained)
        passes: list[float] = []

        def built() -> None:
            started = time.process_time()
            for path in (run.path / "atlas").glob("atlas.json"):
                path.unlink()  # without it the atlas is made again
            for share in build_atlas(run, trained, source):
                if share <= 0.8:
                    last = time.process_time() - started
            passes.append(last)

        ways = {"encoding": lambda: sparse_codes(trained, source), "atlas": built}
        found = in_turn(ways, rounds)
    one, whole, survey = found["encoding"][1], found["atlas"][1], statistics.median(passes[1:])
    ratios = f"{survey / one:.2f} | {whole / one:.2f} | {whole / n / n_latents * 1e9:.0f}"
    return f"| {size.replace('x', ' × ')} | {one:.2f} | {survey:.2f} | {whole:.2f} | {ratios} |"


def in_child(what: str, args: argparse.Namespace) -> dict[str, float]:
    """A measure of memory in a process of its own."""
    told = [sys.executable, __file__, "--child", what]
    told += ["--folder", args.folder] if args.folder else []
    for name in ("samples", "inputs", "latents", "k", "file_gigabytes"):
        told += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    found: dict[str, float] = json.loads(subprocess.check_output(told))
    return found


CHILDREN = {"result": memory_of_result, "file": memory_of_file, "encode": encode_here}


def report(args: argparse.Namespace) -> None:
    say = lambda *lines: print(*lines, sep="\n", flush=True)  # noqa: E731
    cores, threads = os.cpu_count(), torch.get_num_threads()
    say(
        "# Encoding\n",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {cores} cores, {threads} threads, "
        f"torch {torch.__version__}, NumPy {np.__version__}, `python benchmarks/encoding.py "
        f"{' '.join(sys.argv[1:])}`\n",
    )
    if "encode" in args.only:
        say(
            f"{args.samples} samples × {args.inputs} inputs, {args.latents} latents, k {args.k}; "
            "ratios to the first row:\n",
            "| way | s | CPU s | ratio | ratio of CPU |",
            "|---|---|---|---|---|",
            *encoding(args),
        )
    if "memory" in args.only:
        found = in_child("result", args)
        say(
            f"\nThe dense result has {found['result']:.0f} MB; the process grew by "
            f"{found['added']:.0f} MB at its peak: {found['added'] / found['result']:.2f} times."
        )
    if "file" in args.only:
        found = in_child("file", args)
        say(
            f"\nA file of {found['file']:.0f} MB was encoded ({FEW} latents) by a process of "
            f"{found['peak']:.0f} MB at its peak."
        )
    if "atlas" in args.only:
        say(
            "\nThe atlas, CPU seconds; samples × inputs × latents:\n",
            "| size | encoding | its pass | all of it | pass / encoding | atlas / encoding | "
            "ns a sample and latent |",
            "|---|---|---|---|---|---|---|",
        )
        for size in args.atlas:
            say(atlas(size, args.k, args.rounds))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=16_384)
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--latents", type=int, default=12_288)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--atlas", nargs="*", default=["16000x384x1024", "64000x384x4096"])
    parser.add_argument("--file-gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", help="where the large file is put for a while")
    parts = ["encode", "memory", "file", "atlas"]
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--child", choices=[*CHILDREN], help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.child:
        print(json.dumps(CHILDREN[args.child](args)))
    else:
        report(args)


if __name__ == "__main__":
    main()
