"""Training on data larger than memory: peak memory, and the rate beside that from memory.

    python benchmarks/out_of_core.py FOLDER [--size 10] [--memory 1GB] [--in-memory 4]

Writes an array of random numbers of that many GB (float32, 768 columns) into FOLDER, drops it from
the page cache and trains on it by `simplecell train --memory`, then on its first GB from memory,
each in a process of its own, --rounds times in turn. The rate is that of the steps after the first
tenth; peak memory is what the system says of the whole process. The array is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, TYPE = 768, np.dtype(np.float32)
BATCH = 2048
SETTINGS = [
    "model.n_latents=1536",
    "model.target_l0=32",
    f"optim.batch_size={BATCH}",
    "train.device=cpu",
]
GB = 10**9


def make(path: Path, size: float) -> int:
    """An array of so many GB of normal numbers; its rows."""
    n_rows = int(size * GB) // (COLUMNS * TYPE.itemsize)
    draw, told = np.random.default_rng(0), np.lib.format.dtype_to_descr(TYPE)
    header = {"descr": told, "fortran_order": False, "shape": (n_rows, COLUMNS)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, 8192):
            rows = min(8192, n_rows - start), COLUMNS
            file.write(draw.standard_normal(rows, dtype=TYPE).tobytes())
    return n_rows


def drop(path: Path) -> None:
    """Let the system forget what it read of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def child(data: Path, out: Path, steps: int, memory: str, rows: int) -> None:
    """One training as the command line does it; its figures as JSON. From memory where rows > 0."""
    from simplecell.doctor import Doctor
    from simplecell.run.begin import begin
    from simplecell.run.recipe import Recipe

    started = time.perf_counter()
    given: Any = data
    if rows:
        given = np.fromfile(data, TYPE, rows * COLUMNS, offset=_offset(data)).reshape(rows, -1)
    session = begin(
        given,
        out,
        Recipe.load("topk"),
        settings=[*SETTINGS, f"train.steps={steps}", f'train.memory="{memory}"'],
        restart=True,
    )
    Doctor(session)
    begun = time.perf_counter()
    for record in session.records():
        if record.step == steps // 10:
            first, processor = time.perf_counter(), time.process_time()
    ended, samples = time.perf_counter(), (steps - steps // 10) * BATCH
    used = time.process_time() - processor
    session.finish()
    found = {
        "rows a second": samples / (ended - first),
        "rows a CPU second": samples / used,
        "peak MB": peak(),
        "begin s": begun - started,
        "train s": ended - begun,
        "finish s": time.perf_counter() - ended,
    }
    print(json.dumps(found))


def peak() -> float:
    """The most memory that this process held, MB; not that of the process that it began as."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    told = dict(line.split(":", 1) for line in lines)
    return int(told["VmHWM"].split()[0]) * 1024 / 1e6


def _offset(path: Path) -> int:
    return int(np.load(path, mmap_mode="r").offset)


def run(data: Path, out: Path, steps: int, memory: str, rows: int) -> dict[str, float]:
    """A training in a process of its own."""
    drop(data)
    told = [str(data), str(out), str(steps), memory, str(rows)]
    done = subprocess.run(
        [sys.executable, __file__, "--child", *told], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    print(f"{'memory' if rows else 'file':7}", _line(found), flush=True)
    return found


def _line(found: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:,.0f}" for name, value in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=float, default=10, help="GB of the array")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--in-memory", type=float, default=4, help="GB of it held in memory")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    free = shutil.disk_usage(asked.folder).free / GB
    if free < asked.size + 1:
        sys.exit(f"{asked.folder} has {free:.0f} GB free; say a smaller --size")
    data, out = asked.folder / "random.npy", asked.folder / "run"
    try:
        n_rows = make(data, asked.size)
        rows = int(asked.in_memory * GB) // (COLUMNS * TYPE.itemsize)
        print(
            f"{date.today()}  {platform.processor() or platform.machine()}, {os.cpu_count()} cores;"
            f" {n_rows:,} x {COLUMNS} {TYPE.name}, {asked.size:g} GB; --memory {asked.memory};"
            f" {rows:,} rows from memory"
        )
        files, memories = [], []
        for _ in range(asked.rounds):
            files.append(run(data, out, asked.steps, asked.memory, 0))
            memories.append(run(data, out, asked.steps, "auto", rows))
    finally:
        data.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
    for name in ("rows a second", "rows a CPU second"):
        ratio = _median(files, name) / _median(memories, name)
        print(f"{name}: {100 * ratio:.0f} % of the rate from memory")
    print(f"peak memory from the file: {max(one['peak MB'] for one in files):,.0f} MB")


def _median(found: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        data, out, steps, memory, rows = sys.argv[2:]
        child(Path(data), Path(out), int(steps), memory, int(rows))
    else:
        main()
