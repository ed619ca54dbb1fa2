"""Several processes that train one model: the only file that knows of ranks.

Either samples are dealt to them or latents. Of `Ranks` every process holds the whole model and a
part of each batch; of `Holders` every process sees the whole batch and holds a part of the latents,
with their rows of all matrices. What is learned from a batch, or from all latents, as a whole is
made here of the parts by PyTorch's own collectives. `Alone`, which stands in their place where
there is one process, is the identity. Nobody asks which one it has.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from simplecell.errors import LostError, SimplecellError, UsageError

PATIENCE = timedelta(hours=24)
"""For the first process, which reads all samples before the others train: whoever started them
ends them when one dies."""
PIECE = 2**22
"""Numbers that go from one process to another at once, *count*."""
Call = TypeVar("Call", bound=Callable[..., Any])


class Alone:
    """One process: each function is the identity."""

    size, rank = 1, 0
    holders = 1
    """Processes that latents are dealt to; each has as many."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, prints, and counts what counts once."""
        return self.rank == 0

    @property
    def sharers(self) -> int:
        """Processes that samples are dealt to."""
        return self.size

    def of_latents(self) -> Alone:
        """The same processes where latents are dealt to them, and samples are not."""
        return self

    def admit(self, device: torch.device) -> None:
        """Raise UsageError where these processes cannot train on such a device."""

    def part(self, n: int) -> slice:
        """Which of n samples are this process's own; those of all follow one another."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, own: Tensor) -> Tensor:
        """The sum over processes of a tensor of one shape."""
        return own

    def add(self, total: Tensor) -> None:
        """Make the parts of a gradient that processes have the whole of it, in place."""

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

    def entries(self, own: int) -> int:
        """Of codes, in all, where `own` are those of one's own samples and latents."""
        return own

    def smallest(self, own: Tensor) -> Tensor:
        """The smallest of a number of codes, 0-d, of one's own samples and latents."""
        return own

    def rivals(self, own: Tensor, count: int) -> Tensor:
        """Numbers [n] among which are the `count` largest that any process has."""
        return own

    def drawn(self, like: Tensor, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """One's own part of what is drawn for the samples of all, [B, …] as `like`."""
        return draw(tuple(like.shape))

    def all_latents(self, own: int) -> int:
        """How many latents there are, of which a process has so many."""
        return own * self.holders

    def total(self, own: Tensor) -> Tensor:
        """The sum over all latents, of that over one's own; its gradient is that of one's own.

        What is made of it each process makes alike, so that it is the whole gradient.
        """
        return own

    def once(self, parameter: Tensor) -> Tensor:
        """One that every holder of latents has, with a gradient in the first process alone."""
        return parameter

    def latents(self, own: Tensor) -> Tensor:
        """Numbers of all latents [M, …], of those of one's own."""
        return own

    def any(self, own: Tensor) -> bool:
        """Whether one of all latents is so, bool [M]."""
        return bool(own.any())

    def leading(self, own: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Which of numbers [B, c] are among the k largest of each sample, bool [B, c]; the least
        of these [B, 1]. The c, at most k, are the largest of one's own latents."""
        return torch.ones_like(own, dtype=torch.bool), own.amin(1, keepdim=True)

    def rivals_of_latents(self, own: Tensor, count: int) -> Tensor:
        """Numbers [n] among which are the `count` largest of all latents, for the same samples."""
        return own

    def says(self, own: bool) -> bool:
        """One's own word where each may act by itself; the first one's where all must at once."""
        return own

    def collected(self, own: Tensor) -> Iterator[Tensor]:
        """The numbers [n] of each holder of latents one after the other, piece by piece, where the
        first asks; the others give theirs, and get nothing."""
        yield own

    def deal(self, pieces: Iterable[Tensor], rank: int) -> None:
        """Send pieces to another process, which is `dealt` pieces of the same sizes."""

    def dealt(self, pieces: Iterable[Tensor]) -> None:
        """Fill pieces with what the first process deals to this one."""

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

    def of_latents(self) -> Alone:
        return Holders()

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
        return self._summed(own)

    def _summed(self, own: Tensor) -> Tensor:
        total = own.detach().clone(memory_format=torch.contiguous_format)
        self.add(total)
        return total

    @_collective
    def add(self, total: Tensor) -> None:
        dist.all_reduce(total)

    def count(self, own: int) -> int:
        return self.entries(own)

    def entries(self, own: int) -> int:
        return int(self._summed(torch.tensor(own)))

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

    def gathered(self, rows: Tensor) -> Tensor:
        return torch.cat(self._stacked(rows))

    @_collective
    def _stacked(self, rows: Tensor) -> list[Tensor]:
        """The rows [n, …] of each process; n may differ."""
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        most = max(map(int, counts))
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return [part[: int(n)] for part, n in zip(parts, counts, strict=True)]

    @_collective
    def smallest(self, own: Tensor) -> Tensor:
        least = own.detach().clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return least

    def rivals(self, own: Tensor, count: int) -> Tensor:
        return torch.cat(self._stacked(own.topk(min(count, len(own)), sorted=False).values))

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
        found = torch.cat(self._stacked(bits.sum(dtype=torch.int64)[None]))
        if not bool((found == found[0]).all()):
            raise SimplecellError(
                f"the {self.size} processes no longer hold the same weights; train on machines of "
                "one kind, from the last checkpoint (say the same again)"
            )

    @_collective
    def wait(self) -> None:
        dist.barrier()

    def deal(self, pieces: Iterable[Tensor], rank: int) -> None:
        for piece in pieces:
            self._sent(piece, rank)

    def dealt(self, pieces: Iterable[Tensor]) -> None:
        for piece in pieces:
            piece.copy_(self._received(piece, 0))

    @_collective
    def _sent(self, piece: Tensor, rank: int) -> None:
        dist.send(piece.detach().cpu().contiguous(), rank)

    @_collective
    def _received(self, like: Tensor, rank: int) -> Tensor:
        found = torch.empty_like(like, device="cpu")
        dist.recv(found, rank)
        return found


class Holders(Ranks):
    """Processes that hold a part of the latents each, as many all of them, and see all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.holders = self.size

    # As to samples each is alone.
    sum, count, mean, log_mean = Alone.sum, Alone.count, Alone.mean, Alone.log_mean
    least, gathered, drawn = Alone.least, Alone.gathered, Alone.drawn

    @property
    def sharers(self) -> int:
        return 1

    def of_latents(self) -> Alone:
        return self

    def part(self, n: int) -> slice:
        return slice(0, n)

    def total(self, own: Tensor) -> Tensor:
        whole = self._summed(own)
        found: Tensor = _Instead.apply(own, whole) if own.requires_grad else whole
        return found

    def once(self, parameter: Tensor) -> Tensor:
        return parameter if self.leads else parameter.detach()

    @_collective
    def latents(self, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    def any(self, own: Tensor) -> bool:
        return bool(self.most(int(own.any())))

    def leading(self, own: Tensor, k: int) -> tuple[Tensor, Tensor]:
        parts = self._stacked(own.T.contiguous())
        rivals = torch.cat(parts).T.contiguous()
        # Every process looks at the same numbers: of equal ones all leave out the same.
        found = rivals.topk(min(k, rivals.shape[1]), dim=1, sorted=False)
        among = torch.zeros_like(rivals, dtype=torch.bool).scatter_(1, found.indices, True)
        first = sum(map(len, parts[: self.rank]))
        mine = among[:, first : first + own.shape[1]]
        return mine, found.values.amin(1, keepdim=True)

    def rivals_of_latents(self, own: Tensor, count: int) -> Tensor:
        return self.rivals(own, count)

    def says(self, own: bool) -> bool:
        return bool(self.first(float(own)))

    def collected(self, own: Tensor) -> Iterator[Tensor]:
        for rank in range(self.size):
            for piece in own.split(PIECE):
                if self.leads:
                    yield piece if rank == self.rank else self._received(piece, rank)
                elif rank == self.rank:
                    self._sent(piece, 0)


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
