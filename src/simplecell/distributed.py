"""Several processes that train one model: the only file that knows of ranks.

Every process holds the whole model and a part of each batch. What is learned from a batch as a
whole is made here of the parts: `Ranks` does it by PyTorch's own collectives, and `Alone`, which
stands in its place where there is one process, is the identity. Nobody asks which one it has.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from simplecell.errors import LostError, SimplecellError, UsageError

PATIENCE = timedelta(hours=24)
"""For the first process, which reads all samples before the others train: whoever started them
ends them when one dies."""
Call = TypeVar("Call", bound=Callable[..., Any])


class Alone:
    """One process: each function is the identity."""

    size, rank = 1, 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, prints, and counts what counts once."""
        return self.rank == 0

    def admit(self, device: torch.device) -> None:
        """Raise UsageError where these processes cannot train on such a device."""

    def part(self, n: int) -> slice:
        """Which of n samples are this process's own; those of all follow one another."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, own: Tensor) -> Tensor:
        """The sum over processes of a tensor of one shape."""
        return own

    def add(self, total: Tensor) -> None:
        """The same, in place."""

    def count(self, own: int) -> int:
        """The sum over processes of a whole number."""
        return own

    def most(self, own: int) -> int:
        """The largest over processes of a whole number."""
        return own

    def first(self, own: float) -> float:
        """The number that the first process has."""
        return own

    def mean(self, rows: Tensor) -> Tensor:
        """The mean over the samples of all processes, of rows [B, …].

        Its gradient is that of the mean of one's own rows: weighted by their share of all samples,
        as a `Look` weighs them, the gradients of all processes add up to that of the mean.
        """
        return rows.mean(0)

    def log_mean(self, own: Tensor, n_samples: int) -> Tensor:
        """`log mean exp` over the samples of all processes, of that over n_samples of one's own."""
        return own

    def least(self, own: Tensor) -> Tensor:
        """One's own numbers where none of another process is smaller, else 0; equals share."""
        return own

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows [n, …] of all processes below one another; n may differ."""
        return rows

    def rivals(self, own: Tensor, count: int) -> Tensor:
        """Numbers [n] among which are the `count` largest that any process has."""
        return own

    def drawn(self, like: Tensor, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """One's own part of what is drawn for the samples of all, [B, …] as `like`."""
        return draw(tuple(like.shape))

    def told(self, say: Callable[[], Any]) -> Any:
        """What the first process says: numbers, texts, lists and tables, as in JSON."""
        return say()

    def handed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors that the first process has; the others' own are not looked at."""
        return tensors

    def agree(self, flat: Tensor) -> None:
        """Raise SimplecellError unless all processes hold the same bits."""

    def wait(self) -> None:
        """Until all processes are here."""


ALONE = Alone()


def _collective(call: Call) -> Call:
    """A death among the processes as an error of ours."""

    @functools.wraps(call)
    def made(*given: Any, **named: Any) -> Any:
        try:
            return call(*given, **named)
        except RuntimeError as error:  # torch has no name of its own for what gloo finds
            if "out of memory" in str(error):
                raise
            raise LostError(
                "another process of this job ended before its work was done; what it said tells "
                "why, and the same command goes on from the last checkpoint"
            ) from error

    return made  # type: ignore[return-value]


class Ranks(Alone):
    """Several processes, after `torch.distributed` was set up: see `joined`."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def admit(self, device: torch.device) -> None:
        if device.type not in ("cpu", "cuda"):
            raise UsageError(
                f"the device is '{device.type}', and processes train together on CPUs or CUDA GPUs "
                "alone; use one process, or --set train.device=cpu"
            )
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        if device.type == "cuda" and here > torch.cuda.device_count():
            raise UsageError(
                f"{here} processes of this machine need a GPU each, and it has "
                f"{torch.cuda.device_count()}; use fewer, or --set train.device=cpu"
            )

    def sum(self, own: Tensor) -> Tensor:
        total = own.detach().clone()
        self.add(total)
        return total

    @_collective
    def add(self, total: Tensor) -> None:
        dist.all_reduce(total)

    def count(self, own: int) -> int:
        return int(self.sum(torch.tensor(own)))

    @_collective
    def most(self, own: int) -> int:
        found = torch.tensor(own)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    @_collective
    def first(self, own: float) -> float:
        found = torch.tensor(own, dtype=torch.float64)
        dist.broadcast(found, 0)
        return float(found)

    def mean(self, rows: Tensor) -> Tensor:
        whole = self.sum(rows.detach().sum(0)) / self.count(len(rows))
        found: Tensor = _Instead.apply(rows.mean(0), whole)
        return found

    def log_mean(self, own: Tensor, n_samples: int) -> Tensor:
        weighted = own.detach() + math.log(n_samples / self.count(n_samples))
        return self.gathered(weighted[None]).logsumexp(0)

    @_collective
    def least(self, own: Tensor) -> Tensor:
        least = own.detach().clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        mine = (own.detach() == least).to(own.dtype)
        return own * mine / self.sum(mine)

    @_collective
    def gathered(self, rows: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        most = max(map(int, counts))
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])

    def rivals(self, own: Tensor, count: int) -> Tensor:
        return self.gathered(own.topk(min(count, len(own)), sorted=False).values)

    def drawn(self, like: Tensor, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        n_samples = self.count(len(like))
        return draw((n_samples, *like.shape[1:]))[self.part(n_samples)]

    def told(self, say: Callable[[], Any]) -> Any:
        return json.loads(self._heard(json.dumps(say()).encode() if self.leads else b""))

    @_collective
    def _heard(self, text: bytes) -> bytes:
        length = torch.tensor(len(text))
        dist.broadcast(length, 0)
        held = torch.empty(int(length), dtype=torch.uint8)
        if self.leads:
            held.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(held, 0)
        return bytes(held.tolist())

    @_collective
    def handed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        forms = self.told(
            lambda: [[name, str(t.dtype), list(t.shape)] for name, t in tensors.items()]
        )
        found = {}
        for name, dtype, shape in forms:
            if self.leads:
                found[name] = tensors[name].detach().cpu().contiguous()
            else:
                found[name] = torch.empty(shape, dtype=getattr(torch, dtype.partition(".")[2]))
            dist.broadcast(found[name], 0)
        return found

    def agree(self, flat: Tensor) -> None:
        bits = flat.detach().view(torch.int32 if flat.element_size() == 4 else torch.int64)
        found = self.gathered(bits.sum(dtype=torch.int64)[None])
        if not bool((found == found[0]).all()):
            raise SimplecellError(
                f"the {self.size} processes no longer hold the same weights; train on machines of "
                "one kind, from the last checkpoint (say the same again)"
            )

    @_collective
    def wait(self) -> None:
        dist.barrier()


class _Instead(torch.autograd.Function):
    """The value of the second, the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, whole: Tensor) -> Tensor:
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@contextlib.contextmanager
def joined() -> Iterator[Alone]:
    """The processes of this job, as `torchrun` or `--processes` started them; else `ALONE`.

    A machine's processes share its threads and its GPUs.

    Raises:
        UsageError: for an environment that names no complete job.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if lacking:
        raise UsageError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(lacking)} not set; start "
            "the processes with torchrun, or unset WORLD_SIZE"
        )
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    _connect(backend)
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()


@_collective
def _connect(backend: str) -> None:
    dist.init_process_group(backend, timeout=PATIENCE)
