"""Every peer library, variant, data set and l0, one process at a time, into one results file.

    python benchmarks/fronts/queue_peers.py WORK [--results peers.jsonl]

WORK holds `rows/` (from rows.py) and one environment `venv-<library>` per peer; the results file
(default WORK/peers.jsonl) gets a JSON line per training and decides what is left to do, so the
queue can be stopped and started at will. Of each training WORK/out keeps all that it wrote.

Order: seed after seed; within a seed the variants with a set l0 before those with a coefficient.
Learning rate: our runs are far shorter than those that the libraries' rates were made for, so at
l0 32 and seed 0 each library, variant and data set climbs by factors of about 3, up or else down,
while its held fvu falls, from its own rate (`lr_times` 1) or from the best of a kin already
climbed; the best factor serves l0 16 and the other seeds. The choice looks at the held rows, in the
peer's favour. Last come the trainings at the libraries' own rates that the climbs left out.
l1 and gated seek their coefficient by short trainings; then they, and jumprelu its target, are
corrected in full length until the held l0 is within 5 %.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SET_L0 = ("topk", "topk-adam", "batchtopk", "matryoshka", "jumprelu")
BY_COEFFICIENT = ("l1", "gated")
# How the l0 answers to what is corrected: the sign of its slope in the logarithms.
CORRECTED = {"jumprelu": 1, "l1": -1, "gated": -1}
ALL = ("topk", "batchtopk", "matryoshka", "jumprelu", *BY_COEFFICIENT)
LIBRARIES: dict[str, tuple[str, ...]] = {
    "sae-lens": ALL,
    "dictionary-learning": ALL,
    "eai-sparsify": ("topk", "topk-adam"),
    "overcomplete": ("topk", "batchtopk"),
}
# Name: latents (8 per input), samples, batch.
DATA = {
    "activations": (512, 2_000_000, 1024),
    "reuters": (1024, 1_000_000, 512),
    "words": (800, 1_000_000, 512),
}
L0S, SEEDS = (32, 16), (0, 1, 2)
LADDER = (1 / 30, 0.1, 1 / 3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
TOLERANCE, CORRECTIONS = 0.05, 3
HERE = Path(__file__).parent

Line = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is compared: one point asked of one library."""

    library: str
    variant: str
    data: str
    l0: int
    seed: int

    @property
    def key(self) -> Line:
        named = {"library": self.library, "variant": self.variant, "data": self.data}
        return named | {"l0_asked": self.l0, "seed": self.seed}


class Results:
    """The results file: lines read back, lines added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self.lines: list[Line] = [json.loads(line) for line in text.splitlines()]

    def add(self, line: Line) -> None:
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def of(self, **wanted: Any) -> list[Line]:
        return [x for x in self.lines if all(x[name] == value for name, value in wanted.items())]


def score(line: Line) -> float:
    """log fvu, put to the asked l0 by an assumed slope of −1.5, less a little for missing it."""
    ratio = math.log(max(line["l0"], 0.1) / line["l0_asked"])
    return math.log(float(line["fvu"])) + 1.5 * ratio + 0.5 * abs(ratio)


def miss(line: Line) -> float:
    return abs(float(line["l0"]) / float(line["l0_asked"]) - 1)


class Queue:
    def __init__(self, work: Path, results: Results) -> None:
        self.work, self.results = work, results
        self.held: dict[str, np.ndarray] = {}
        self.versions: dict[str, str] = {}
        self.failed: set[str] = set()

    def python(self, library: str) -> Path:
        return self.work / f"venv-{library}" / "bin" / "python"

    def script(self, library: str) -> Path:
        return HERE / f"peer_{library.removeprefix('eai-').replace('-', '_')}.py"

    def version(self, library: str) -> str:
        if library not in self.versions:
            ask = f"import importlib.metadata as m; print(m.version({library!r}))"
            command = [str(self.python(library)), "-c", ask]
            self.versions[library] = subprocess.check_output(command, text=True).strip()
        return self.versions[library]

    def fvu(self, data: str, recon: np.ndarray) -> float:
        """Σ(x − x̂)² / Σ(x − mean x)² over the held rows, float64."""
        if data not in self.held:
            with np.load(self.work / "rows" / f"{data}.npz", allow_pickle=False) as archive:
                self.held[data] = archive["held"].astype(np.float64)
        x = self.held[data]
        return float(((x - recon) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())

    def train(self, job: Job, lr_times: float, coefficient: float | None) -> Line | None:
        """One process; its line is added. None if it failed, with the reason in its log."""
        latents, samples, batch = DATA[job.data]
        name = f"{job.library}-{job.variant}-{job.data}-{job.l0}-{job.seed}-x{lr_times:.3g}"
        name += "" if coefficient is None else f"-c{coefficient:.4g}"
        if name in self.failed:
            return None
        out = self.work / "out" / f"{name}.npz"
        out.parent.mkdir(exist_ok=True)
        rows = self.work / "rows" / f"{job.data}.npz"
        command = ["nice", "-n", "10", self.python(job.library), self.script(job.library)]
        command += [rows, out, "--variant", job.variant, "--l0", job.l0, "--seed", job.seed]
        command += ["--samples", samples, "--batch", batch, "--latents", latents]
        command += ["--lr-times", lr_times]
        command += [] if coefficient is None else ["--coefficient", coefficient]
        quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        environment = os.environ | quiet | {"PYTHONDONTWRITEBYTECODE": "1"}
        with out.with_suffix(".log").open("w", encoding="utf-8") as log:
            run = subprocess.run(list(map(str, command)), stdout=log, stderr=log, env=environment)
        if run.returncode:
            self.failed.add(name)
            print(f"failed: {name}", file=sys.stderr, flush=True)
            return None
        return self.record(job, out, {"samples": samples, "batch": batch, "latents": latents})

    def record(self, job: Job, out: Path, sizes: Line) -> Line:
        with np.load(out, allow_pickle=False) as archive:
            settings = json.loads(str(archive["settings"]))
            measured = {
                "l0": round(float(archive["l0"]), 3),
                "fvu": self.fvu(job.data, archive["recon"].astype(np.float64)),
                "dead": float((archive["density"] == 0).mean()),
                "seconds": round(float(archive["seconds"]), 1),
            }
        set_here = {name: settings.pop(name) for name in ("lr_times", "coefficient")}
        line = job.key | {"version": self.version(job.library)} | measured | sizes | set_here
        line |= {"settings": settings, "file": out.name}
        self.results.add(line)
        return line

    def at(self, job: Job, lr_times: float, corrections: int = CORRECTIONS) -> Line | None:
        """The best line of a job at one rate, trained as far as it is missing.

        With a coefficient: trainings in full length until the l0 is met.
        """
        tries = self.results.of(**job.key, lr_times=lr_times)
        rounds = 1 + corrections if job.variant in CORRECTED else 1
        while len(tries) < rounds and not any(miss(x) < TOLERANCE for x in tries):
            line = self.train(job, lr_times, self.guess(job, lr_times))
            if line is None:
                break
            tries.append(line)
        return min(tries, key=miss) if tries else None

    def guess(self, job: Job, lr_times: float) -> float | None:
        """A coefficient from full trainings so far: the nearest l0, by the local slope.

        None where there are none, and for a variant without one.
        """
        if job.variant not in CORRECTED:
            return None
        asked = job.key
        del asked["l0_asked"], asked["seed"]
        known = self.results.of(**asked)
        near = [x for x in known if x["lr_times"] == lr_times] or known
        if not near:
            return None
        points = sorted(near, key=lambda x: abs(math.log(x["l0"] / job.l0)))
        tried = self.results.of(**job.key, lr_times=lr_times)
        if tried:
            points.insert(0, min(tried, key=miss))
        sign = CORRECTED[job.variant]
        slope = 1.0
        for other in points[1:]:
            steps = math.log(other["coefficient"] / points[0]["coefficient"])
            if abs(steps) > 0.02:
                slope = sign * math.log(other["l0"] / points[0]["l0"]) / steps
                break
        slope = sign * min(3.0, max(0.3, slope))
        return float(points[0]["coefficient"] * (job.l0 / points[0]["l0"]) ** (1 / slope))

    def best_rate(self, job: Job) -> float | None:
        """The factor on the library's rate that serves this library, variant and data set."""
        first = Job(job.library, job.variant, job.data, L0S[0], 0)
        start = LADDER.index(self.start_rate(first))
        best = self.at(first, LADDER[start], 0)
        if best is None:
            return None
        for step in (1, -1):
            rung, climbed = start + step, False
            while 0 <= rung < len(LADDER):
                line = self.at(first, LADDER[rung], 0)
                if line is None or not score(line) < score(best):
                    break
                best, climbed, rung = line, True, rung + step
            if climbed:
                break
        return float(best["lr_times"])

    def start_rate(self, first: Job) -> float:
        """Where the climb begins: at the best rate of the nearest kind already climbed, or at 1."""
        own = self.results.of(library=first.library, l0_asked=first.l0, seed=0)
        same = [x for x in own if x["variant"] == first.variant]
        here = [x for x in own if x["data"] == first.data and x["variant"] in SET_L0]
        for near in ([x for x in same if x["data"] != first.data], here):
            if near and first.variant in (*SET_L0, near[0]["variant"]):
                data, variant = near[0]["data"], near[0]["variant"]
                kind = [x for x in near if x["data"] == data and x["variant"] == variant]
                return float(min(kind, key=score)["lr_times"])
        return 1.0

    def jobs(self) -> Iterator[Job]:
        for seed in SEEDS:
            for variant in SET_L0 + BY_COEFFICIENT:
                for data in DATA:
                    for library, variants in LIBRARIES.items():
                        if variant in variants and self.script(library).exists():
                            yield from (Job(library, variant, data, l0, seed) for l0 in L0S)

    def own(self) -> None:
        """Every library at its own rate: a set l0 before a coefficient, seed after seed."""
        for seed in SEEDS:
            for variants in (SET_L0, BY_COEFFICIENT):
                for job in self.jobs():
                    if job.seed == seed and job.variant in variants:
                        self.at(job, 1.0, 1 if job.variant in SET_L0 else CORRECTIONS)

    def run(self) -> None:
        for job in self.jobs():
            rate = self.best_rate(job)
            if rate is not None:
                self.at(job, rate)
        for job in self.jobs():
            if job.seed == 0 and job.l0 == L0S[0]:
                self.at(job, 1.0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--own", action="store_true", help="own rates alone: hours, not days")
    args = parser.parse_args()
    with (args.work / "queue.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"A queue already works in {args.work}; stop it or wait for it.")
        queue = Queue(args.work, Results(args.results or args.work / "peers.jsonl"))
        if args.own:
            queue.own()
        else:
            queue.run()


if __name__ == "__main__":
    main()
