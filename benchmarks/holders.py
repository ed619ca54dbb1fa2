"""What a process holds of a dictionary: alone, as one of two holders of latents, and by FSDP2.

    python benchmarks/holders.py

Parameters with moments, what of the dictionary is there during a forward pass, and the peak of
memory beyond what the process took before it made the model: a few steps, two processes by gloo.
`fully_shard` is of a textbook module, whose dense gradients of codes are in its peak.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from simplecell.distributed import Alone, joined
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.memory import resident
from simplecell.training.objective import Objective
from simplecell.training.trainer import Trainer
from simplecell.training.weights import initialise

N_INPUTS, N_LATENTS, BATCH, K, STEPS = 256, 65_536, 256, 32, 4
WAYS = {"alone": 1, "holders": 2, "fully_shard": 2}


class Plain(nn.Module):
    """A textbook TopK autoencoder, one module, which notes what it sees of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Parameter(0.01 * torch.randn(N_LATENTS, N_INPUTS))
        self.decoder = nn.Parameter(0.01 * torch.randn(N_LATENTS, N_INPUTS))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen = sum(parameter.nbytes for parameter in self.parameters())
        values, latents = (x @ self.encoder.T).topk(K, dim=1)
        return nn.functional.embedding_bag(
            latents, self.decoder, per_sample_weights=values.relu(), mode="sum"
        )


def ours(ranks: Alone, x: Tensor) -> tuple[int, int]:
    """Bytes of parameters with moments, and of the dictionary in use, after steps of ours."""
    kind = {"activation": "topk", "output": "linear", "k": K, "pre_bias": True}
    model = Autoencoder(N_INPUTS, N_LATENTS, holders=ranks.size, **kind)
    initialise(model, 0, "transpose", ranks=ranks)
    terms = {"reconstruction": {"weight": 1.0}}
    trainer = Trainer(model, Objective(terms), solver="adam", unit_norm=True)
    trainer.join(ranks)
    for _ in range(STEPS):
        trainer.step(x)
    kept = [trainer.flat, *trainer.solver.state_dict().values()]
    return sum(part.nbytes for part in kept), sum(matrix.nbytes for matrix in model.matrices())


def theirs(model: nn.Module, x: Tensor) -> int:
    """Bytes of parameters with moments after steps of PyTorch's `fully_shard` and Adam."""
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    adam = torch.optim.Adam(model.parameters())
    for _ in range(STEPS):
        adam.zero_grad()
        (model(x) - x).square().sum(1).mean().backward()
        adam.step()
    kept = [*model.parameters(), *(part for one in adam.state.values() for part in one.values())]
    return sum(getattr(part, "_local_tensor", part).nbytes for part in kept)


def measure(way: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(BATCH, N_INPUTS, generator=torch.Generator().manual_seed(0))
    with joined() as ranks:
        if way == "fully_shard":
            theirs(nn.Linear(2, 2), torch.zeros(4, 2))  # what it imports on its first step
        before = resident()
        if way == "fully_shard":
            model = Plain()
            kept, seen = theirs(model, x), model.seen
        else:
            kept, seen = ours(ranks, x)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        words = " | ".join(f"{number / 1e6:.0f}" for number in (kept, seen, peak))
        print(f"| {way}, process {ranks.rank} | {words} |", flush=True)
        ranks.wait()


def main() -> None:
    print(f"D {N_INPUTS}, M {N_LATENTS}, B {BATCH}, k {K}, torch {torch.__version__}\n")
    print("| | parameters and moments, MB | dictionary in a forward pass, MB | peak, MB |")
    print("|---|---|---|---|", flush=True)
    for way, size in WAYS.items():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        job = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in job.items()}}
        started = [
            subprocess.Popen([sys.executable, __file__, way], env={**environment, "RANK": str(r)})
            for r in range(size)
        ]
        if any(process.wait() for process in started):
            raise SystemExit(f"{way} failed")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
