"""Progress on standard error: a bar on a terminal, a line now and then elsewhere; clean stops."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simplecell.data import Skipped
from simplecell.data.unseen import seen
from simplecell.distributed import ALONE, Alone
from simplecell.run.session import Session
from simplecell.run.sweep import Sweep
from simplecell.training.trainer import Record

LINE_SECONDS = 5.0
STEADY = 10
"""Steps after which the pace says how long the rest takes."""


class Stop:
    """Set by the first Ctrl-C or SIGTERM; the loop looks at it after each record."""

    code = 0


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Let a loop end where its state is whole; a second signal stops at once."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if stop.code:
            raise KeyboardInterrupt
        stop.code = 128 + number
        with contextlib.suppress(RuntimeError):  # the signal came in the middle of another print
            print("stopping after this step; once more to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TrainingProgress:
    """Cost, its parts, mean activation, rate and time left of a training."""

    def __init__(
        self,
        steps: int,
        done: int = 0,
        *,
        weights: Mapping[str, float] | None = None,
        quiet: bool = False,
        instead: str = "",
    ) -> None:
        self.weights, self.instead = weights or {}, instead
        self.steps, self.first, self.started = steps, done, time.perf_counter()
        self.last = self.started
        self.console = Console(stderr=True, highlight=False)
        self.bar: Progress | None = None
        self.quiet = quiet
        if self.console.is_terminal and not quiet:
            self.bar = Progress(
                TextColumn("step {task.completed}/{task.total}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[words]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task("", total=steps, completed=done, words="")

    def __enter__(self) -> TrainingProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, record: Record) -> None:
        """Show a record, if it is time to."""
        now = time.perf_counter()
        if self.quiet or now - self.last < (0.2 if self.bar is not None else LINE_SECONDS):
            return
        self.last = now
        rate = (record.step - self.first) / (now - self.started)
        words = f"{self.instead or _words(record, self.weights)}  {rate:.3g} steps/s"
        if self.bar is not None:
            self.bar.update(self.task, completed=record.step, words=words)
        else:
            left = f"  {_duration((self.steps - record.step) / rate)} left"
            known = record.step - self.first >= STEADY  # the first steps are the slowest
            self.console.print(
                f"step {record.step}/{self.steps}  {words}{left if known else ''}", soft_wrap=True
            )


def _duration(seconds: float) -> str:
    if seconds < 300:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def follow_share(words: str, shares: Iterable[float]) -> None:
    """Go through shares of some work that are done (0–1): a bar on a terminal, else a line now and
    then."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        columns = TextColumn(words), BarColumn(bar_width=24), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            for share in shares:
                bar.update(task, completed=share)
        return
    started = last = time.perf_counter()
    for share in shares:
        now = time.perf_counter()
        if share > 0 and now - last > LINE_SECONDS:
            last, left = now, (now - started) * (1 - share) / share
            done = f"{100 * share:.0f} %"
            console.print(f"{words}  {done}  {_duration(left)} left", soft_wrap=True)


def follow(session: Session) -> tuple[dict[str, Any], int]:
    """Train a session with progress; its result, and 130 or 143 where a signal ended it."""
    recipe, done = session.recipe, session.trainer.n_steps
    weights = {name: term["weight"] for name, term in recipe.objective.items()}
    progress = TrainingProgress(recipe.n_steps, done, weights=weights)
    return _follow(session, progress, session.trainer.ranks)


def follow_sweep(sweep: Sweep) -> tuple[dict[str, Any], int]:
    """Train a sweep with progress; its table, and 130 or 143 where a signal ended it."""
    # Records come from all models in turn: no cost stands for them.
    words = f"{len(sweep.members)} models"
    return _follow(sweep, TrainingProgress(sweep.n_steps, sweep.n_done, instead=words))


def _follow(
    work: Session | Sweep, progress: TrainingProgress, ranks: Alone = ALONE
) -> tuple[dict[str, Any], int]:
    code = 0
    with stop_signals() as stop, progress, contextlib.closing(work.records()) as records:
        for record in records:
            progress.show(record)
            if code := ranks.most(stop.code):  # a signal may reach one process before another
                break
    return work.finish("interrupted" if code else "finished"), code


def _words(record: Record, weights: Mapping[str, float]) -> str:
    terms = "  ".join(
        f"{name} {weights.get(name, 1.0) * float(value):.4g}"
        for name, value in record.terms.items()
        if name != "l0"  # its cost would be taken for the number of active latents
    )
    if record.l0 is not None:
        terms += f"  l0 {float(record.l0):.4g}"
    mean = float(record.mean_activation.mean())
    return f"cost {float(record.cost):.5g}  {terms}  mean activation {mean:.4f}"


def say(*sentences: str) -> None:
    """Sentences for the person, on standard error."""
    for sentence in sentences:
        print(seen(sentence), file=sys.stderr)


def say_skipped(skipped: Iterable[Skipped]) -> None:
    """The files that were not used, named and counted, on standard error."""
    files = list(skipped)
    for one in files:
        say(f"skipped {one.file}: {one.reason}")
    if files:
        say(f"{len(files)} file{'s' * (len(files) > 1)} skipped; the rest is used")
