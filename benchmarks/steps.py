"""One training step on the CPU, beside sae-lens, dictionary-learning, eai-sparsify, overcomplete.

    python benchmarks/steps.py                          all sizes, both tiers, all peers
    python benchmarks/steps.py --sizes 384x6144 --peers ""

Every side is a process of its own, in an environment that this script makes (`.venv-bench-*`, torch
2.13.0; what does not install or import is named and left out). The sides take turns, step by step
and round by round, so that the machine's drift falls on all alike; only one works at a time. All
get the same samples, N(0, I), B 2048, k 32, two threads. Each does its whole step as its users run
it: forward, backward, Adam, statistics, unit norm where it has one. What differs:

    simplecell   AuxK on (nothing is dead yet), firing statistics, unit norm, its trainer's own Adam
    sae-lens     `SAETrainer`'s step: Adam, gradient clipping, AuxK and statistics of its own
    dictionary-learning   each trainer's `update`: clipping, unit norm, Adam
    sparsify     `SparseCoder` with fused Adam, projection and unit norm as its trainer calls them
    overcomplete its model, its loss, Adam
    plain        dense autograd of a few lines with fused Adam: no statistics, no unit norm

The unit is the encoder's product, `[B, D] x [D, M]`, measured in the same rounds. L1 is measured at
half of all latents active (as it starts) and at 2 % (a bias that leaves so many), JumpReLU and
Gated at about k: simplecell's cost depends on how many are active, and the peers' does not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import step_peers

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
PEERS = {
    "sae-lens": "sae-lens==6.54.12",
    "dictionary-learning": "dictionary-learning==0.1.0",
    "sparsify": "eai-sparsify==1.3.3",
    "overcomplete": "overcomplete==0.3.0",
}
BATCH, K = 2048, 32
KINDS = ("TopK", "BatchTopK", "JumpReLU", "L1", "L1 dense", "Gated", "Matryoshka")
OURS = ("simplecell, compiled", "simplecell, torch")
WIDTHS = (16, 8, 4, 2, 1)
"""Matryoshka's parts: M over these."""


# What a worker does: `made[kind](D, M)` gives a step, which takes samples [B, D].


def simplecell_sides() -> dict[str, Callable[[int, int], Callable[[Any], object]]]:
    import torch

    from simplecell.model.autoencoder import Autoencoder
    from simplecell.training.objective import Objective
    from simplecell.training.trainer import Trainer
    from simplecell.training.weights import initialise

    def made(
        terms: dict,
        start: float | None = None,
        widths: bool = False,
        unit: bool = True,
        **model: Any,
    ) -> Callable[[int, int], Callable[[Any], object]]:
        def build(n_inputs: int, n_latents: int) -> Callable[[Any], object]:
            one = Autoencoder(n_inputs, n_latents, output="linear", pre_bias=True, **model)
            initialise(one, 0, "transpose")
            own = dict(one.named_parameters()) | dict(one.activation.named_parameters())
            if start is not None:
                with torch.no_grad():
                    own["gate_bias" if "gate_bias" in own else "bias"].fill_(start)
            objective = {"reconstruction": {"weight": 1.0}} | terms
            if widths:
                objective = {"nested": {"weight": 1.0, "widths": [n_latents // w for w in WIDTHS]}}
            trainer = Trainer(
                one, Objective(objective), solver="adam", learning_rate=1e-4, unit_norm=unit
            )

            def step(x: Any) -> object:
                found = trainer.step(x)
                trainer.n_steps += 1
                return found

            return step

        return build

    auxk = {"auxk": {"weight": 1 / 32}}
    l1, target = {"l1": {"weight": 0.1}}, {"l0": {"weight": 1.0, "target": float(K)}}
    return {
        "TopK": made(auxk, activation="topk", k=K),
        "BatchTopK": made(auxk, activation="batchtopk", k=K),
        "JumpReLU": made(target, activation="jumprelu", threshold=2.6),
        "L1": made(l1, start=-2.05, unit=False, activation="relu"),
        "L1 dense": made(l1, unit=False, activation="relu"),
        "Gated": made(l1 | {"gate": {"weight": 1.0}}, start=-2.5, unit=False, activation="gated"),
        "Matryoshka": made(auxk, widths=True, activation="topk", k=K),
    }


def plain_sides() -> dict[str, Callable[[int, int], Callable[[Any], object]]]:
    import torch
    from torch import nn

    def build(n_inputs: int, n_latents: int) -> Callable[[Any], object]:
        encoder, decoder = nn.Linear(n_inputs, n_latents), nn.Linear(n_latents, n_inputs)
        parameters = [*encoder.parameters(), *decoder.parameters()]
        adam = torch.optim.Adam(parameters, lr=1e-4, fused=True)

        def step(x: Any) -> object:
            values, places = encoder(x - decoder.bias).topk(K, dim=1, sorted=False)
            code = x.new_zeros(len(x), n_latents).scatter(1, places, values.relu())
            loss = (decoder(code) - x).square().sum(1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            return loss

        return step

    return {"TopK": build}


def work(side: str) -> None:
    """Answer one JSON line with another: build, step, and the product alone."""
    import resource

    import torch

    torch.set_num_threads(2)
    if side in PEERS:
        made = step_peers.PEERS[side](BATCH, K, WIDTHS)
    else:
        made = {"product": dict, "plain": plain_sides}.get(side, simplecell_sides)()
    step: Callable[[Any], object] | None = None
    batches: list[Any] = []
    print(json.dumps({"kinds": list(made), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "build":
            n_inputs, n_latents = asked["size"]
            generator = torch.Generator().manual_seed(0)
            batches = [torch.randn(BATCH, n_inputs, generator=generator) for _ in range(4)]
            if side == "product":
                encoder, out = torch.randn(n_latents, n_inputs), torch.empty(BATCH, n_latents)
                step = lambda x, e=encoder, o=out: torch.mm(x, e.T, out=o)  # noqa: E731
            else:
                step = made[asked["kind"]](n_inputs, n_latents)
            answer: dict[str, float] = {}
        elif asked["do"] == "step":
            assert step is not None
            started = time.perf_counter()
            step(batches[asked["i"] % 4])
            answer = {"seconds": time.perf_counter() - started}
        else:
            step = None
            answer = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}
        print(json.dumps(answer), flush=True)


class Side:
    """A worker, and what it took."""

    def __init__(self, name: str, python: str) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "2",
            "MKL_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "SIMPLECELL_NATIVE": "0" if name == "simplecell, torch" else "1",
        }
        if name in OURS:
            environment |= {"PYTHONPATH": str(ROOT / "src"), "MKL_CBWR": "AVX2,STRICT"}
        command = [python, str(Path(__file__).resolve()), "--worker", name]
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.kinds: list[str] = self._answer()["kinds"]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # a peer may print as it goes
                return json.loads(line)
        raise RuntimeError(self.process.stderr.read().strip().splitlines()[-1])

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self._answer()


def environment_of(peer: str, requirement: str) -> str:
    """The interpreter of a peer's environment, made where it is not there."""
    folder = Path(f".venv-bench-{requirement.split('=')[0]}").resolve()
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making {folder.name} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", TORCH, requirement]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"does not install: {done.stderr.strip().splitlines()[-1]}")
        # PyPI's torchvision is made for another torch than this, and then nothing imports.
        remove = [str(python), "-m", "pip", "uninstall", "-q", "-y", "torchvision"]
        subprocess.run(remove, capture_output=True, check=True)
        (folder / "ready").touch()
    return str(python)


def started(sides: dict[str, str]) -> list[Side]:
    """A worker for each side; those that do not start are named."""
    workers = []
    for name, python in sides.items():
        try:
            workers.append(Side(name, python))
        except RuntimeError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
    return workers


def measure(kind: str, size: tuple[int, int], workers: list[Side], rounds: int) -> list[str]:
    """Lines of a table: median milliseconds, multiples of the product, peak memory so far."""
    taken: dict[str, list[float]] = {}
    for worker in list(workers):
        if worker.name == "product" or kind in worker.kinds:
            try:
                worker.ask(do="build", kind=kind, size=size)
                taken[worker.name] = []
            except RuntimeError as error:
                print(f"{worker.name}, {kind}: left out: {error}", file=sys.stderr)
                workers.remove(worker)
    for i in range(rounds + 2):
        for worker in [one for one in workers if one.name in taken]:
            try:
                taken[worker.name].append(worker.ask(do="step", i=i)["seconds"])
            except RuntimeError as error:
                print(f"{worker.name}, {kind}: left out: {error}", file=sys.stderr)
                workers.remove(worker)
    product = statistics.median(taken["product"][2:])
    lines = []
    for worker in [one for one in workers if one.name in taken]:
        median, peak = statistics.median(taken[worker.name][2:]), worker.ask(do="rest")["peak"]
        row = f"| {kind} {size[0]}x{size[1]} | {worker.name} | {1e3 * median:.0f} "
        told = f"{peak:.0f}" if kind == "TopK" else ""  # later ones had others in memory before
        lines.append(f"{row}| {median / product:.2f} | {told} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", default="384x6144,768x12288")
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help="those after TopK: first size only"
    )
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker)
        return
    sides = {"product": sys.executable, **{name: sys.executable for name in OURS}}
    sides["plain"] = sys.executable
    for peer in filter(None, asked.peers.split(",")):
        try:
            sides[peer] = environment_of(peer, PEERS[peer])
        except RuntimeError as error:
            print(f"{peer}: {error}", file=sys.stderr)
    print(f"{processor()}, {os.cpu_count()} cores, {TORCH}, {datetime.date.today()}\n")
    print("| step | side | ms | x product | peak MB |\n|---|---|---|---|---|")
    for n, size in enumerate(asked.sizes.split(",")):
        n_inputs, n_latents = map(int, size.split("x"))
        workers = started(sides)
        for kind in asked.kinds.split(","):
            if n == 0 or kind == "TopK":
                lines = measure(kind, (n_inputs, n_latents), workers, asked.rounds)
                print("\n".join(lines), flush=True)
        for worker in workers:
            worker.process.kill()


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


if __name__ == "__main__":
    main()
