"""`--processes N`: one command as several processes of this machine, started again when one dies.

PyTorch's collectives join them (`distributed`); here they are only started and watched. torchrun's
own `--max-restarts` is not used: after a kill its new round was seen not to come about.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.distributed import Alone

RELAUNCHES = 10
"""Deaths after which nothing is started any more."""
GRACE = 10.0
"""Seconds in which the others may find out that one is gone, and end by themselves."""
WATCHED = "SIMPLECELL_WATCHED"
"""In the environment of processes that `watch` started."""


@contextlib.contextmanager
def together(
    context: typer.Context, processes: int | None, *, out: Path | None = None
) -> Iterator[Alone]:
    """The processes that do a verb's work; what they share of it says `distributed`.

    Where `processes` asks for several, they are started here, and this one only watches them.
    `out` is the run that `--restart` begins anew: once, however often they are started.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if processes is not None and processes > 1 and size == 1:
        raise typer.Exit(watch(list(context.obj), processes, out))
    if processes is not None and processes != size:
        raise UsageError(
            f"--processes is {processes}, but this job has {size} (WORLD_SIZE); leave one out"
        )
    from simplecell.distributed import joined

    with joined() as ranks, _heard(ranks):
        yield ranks


@contextlib.contextmanager
def _heard(ranks: Alone) -> Iterator[None]:
    """Only the first process prints; errors, which leave this place, are said by all."""
    with contextlib.ExitStack() as stack:
        if not ranks.leads:
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
            stack.enter_context(contextlib.redirect_stderr(nothing))
        yield


def speaks() -> bool:
    """Whether it is this process that says that another is gone."""
    return WATCHED not in os.environ and os.environ.get("RANK", "0") == "0"


def refuse_pipes(ranks: Alone, data: str) -> None:
    """Raise UsageError for standard input, which one process alone can read."""
    if data == "-" and ranks.size > 1:
        raise UsageError(
            f"DATA is -, and {ranks.size} processes cannot all read standard input; give a file"
        )


def watch(words: list[str], size: int, out: Path | None = None) -> int:
    """Run a command as `size` processes until it is done; its exit code.

    One that a signal killed takes the others with it, and all start again: a training goes on from
    its checkpoint. One that ended with an error of its own ends the command.
    """
    started = time.time()
    for left in range(RELAUNCHES, -1, -1):
        code = _Job(words, size).wait()
        if code >= 0:
            return code
        name = signal.Signals(-code).name
        if left:
            print(f"a process was killed ({name}); starting all again", file=sys.stderr)
        if out is not None and _begun(out, started):
            words = [word for word in words if word != "--restart"]
    print(
        f"simplecell: {RELAUNCHES + 1} times a process was killed ({name}); look for what ends "
        "them (memory?), then say the same again",
        file=sys.stderr,
    )
    return 1


def _begun(out: Path, started: float) -> bool:
    try:
        return (out / "run.json").stat().st_mtime >= started - 1
    except OSError:
        return False


class _Job:
    """The processes of one start."""

    def __init__(self, words: list[str], size: int) -> None:
        self.stopped = False
        common = _environment(size)
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-m", "simplecell", *words],
                stdin=subprocess.DEVNULL,
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                start_new_session=True,  # Ctrl-C comes to this process, which hands it on
            )
            for rank in range(size)
        ]

    def wait(self) -> int:
        """The exit code of the first of them that failed; minus the signal that killed one."""
        with self._forwarded():
            while not self._over():
                time.sleep(0.05)
            codes = self._ended()
        died = [code for code in codes if code is not None and code < 0]
        if died and not self.stopped:
            return died[0]
        # Those that only lost another end with 1, the least of all codes.
        return max((code for code in codes if code is not None), default=0)

    def _over(self) -> bool:
        codes = [worker.poll() for worker in self.workers]
        return None not in codes or any(codes)

    def _ended(self) -> list[int | None]:
        """How each ended by itself; None where it had to be ended."""
        end = time.monotonic() + GRACE
        while any(worker.poll() is None for worker in self.workers):
            if time.monotonic() > end and not self.stopped:
                break
            time.sleep(0.02)
        codes = [worker.poll() for worker in self.workers]
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        return codes

    @contextlib.contextmanager
    def _forwarded(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM go to every process, each of which ends where its state is whole."""

        def forward(number: int, frame: FrameType | None) -> None:
            self.stopped = True
            for worker in self.workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.send_signal(number)

        numbers = (signal.SIGINT, signal.SIGTERM)
        before: dict[int, Callable[..., object] | int | None] = {
            number: signal.signal(number, forward) for number in numbers
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _environment(size: int) -> Mapping[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return {
        **os.environ,
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(max(1, threads // size)),
        WATCHED: "1",
    }
