"""Trainings killed (SIGKILL) at random moments and begun again: do they end in the same bits?

    python benchmarks/kills.py [--kills 20] [--seed 0]

TopK and JumpReLU by Adam, and KL sparsity by L-BFGS, each from one array in memory and from a
folder of shards: six trainings. Each is first left alone; then `simplecell train` is killed at a
random moment and said again, until it was killed so many times, and then left to finish.
`model.safetensors` must be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SETTINGS = {
    "TopK": ["--recipe", "topk", "--set", "model.n_latents=512", "--set", "train.steps=1200"],
    "JumpReLU": [
        "--recipe",
        "jumprelu",
        "--set",
        "model.n_latents=512",
        "--set",
        "train.steps=900",
    ],
    "KL, L-BFGS": [
        *("--recipe", "table", "--set", "model.n_latents=64", "--set", "train.steps=150"),
        *("--set", "optim.kind=lbfgs", "--set", "data.kind=array"),
    ],
}
N_SAMPLES, N_INPUTS, N_SHARDS = 20_000, 64, 5
EARLIEST = 2.0
"""Seconds: until then a process only imports."""


def data_in(folder: Path) -> dict[str, Path]:
    """Rows made of few planted atoms: one file, and the same as shards."""
    draw = np.random.default_rng(0)
    atoms = draw.normal(size=(200, N_INPUTS))
    code = draw.exponential(size=(N_SAMPLES, 200)) * (draw.random((N_SAMPLES, 200)) < 0.03)
    x = (code @ atoms + 0.05 * draw.normal(size=(N_SAMPLES, N_INPUTS))).astype("f4")
    np.save(folder / "rows.npy", x)
    (folder / "shards").mkdir()
    for i, part in enumerate(np.array_split(x, N_SHARDS)):
        np.save(folder / "shards" / f"part-{i}.npy", part)
    return {"in memory": folder / "rows.npy", "shards": folder / "shards"}


def train(data: Path, run: Path, settings: list[str]) -> subprocess.Popen[bytes]:
    # What would be written every ten seconds is written all the time: more moments to be hit.
    program = (
        "import simplecell.run.session as session, sys; session.CHECKPOINT_SECONDS = 0.2;"
        "from simplecell.__main__ import main; sys.argv[0] = 'simplecell'; main()"
    )
    command = [sys.executable, "-c", program, "train", str(data), "--out", str(run), *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> None:
    error = process.communicate()[1].decode()
    if process.returncode:
        raise SystemExit(f"a training failed ({process.returncode}): {error[-400:]}")


def proved(
    name: str, where: str, data: Path, folder: Path, kills: int, draw: random.Random
) -> bool:
    """Whether a training that is killed so often ends as one that is left alone."""
    whole, cut = folder / "whole", folder / "cut"
    started = time.perf_counter()
    finished(train(data, whole, SETTINGS[name]))
    length = time.perf_counter() - started
    done, early = 0, 0
    while done < kills:
        process = train(data, cut, SETTINGS[name])
        try:
            process.wait(draw.uniform(EARLIEST, max(length, EARLIEST + 1)))
            early += 1  # it was quicker: begin anew
            shutil.rmtree(cut)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
    finished(train(data, cut, SETTINGS[name]))
    same = (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    print(f"| {name} | {where} | {done} | {early} | {'yes' if same else 'NO'} |", flush=True)
    shutil.rmtree(whole)
    shutil.rmtree(cut)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    print("| training | data | kills | finished before one | same bits |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        good = [
            proved(name, where, data, folder, asked.kills, draw)
            for where, data in data_in(folder).items()
            for name in SETTINGS
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
