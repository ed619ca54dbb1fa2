"""Progress on standard error: a bar on a terminal, a line now and then elsewhere; clean stops."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simplecell.data import Skipped
from simplecell.session import Session
from simplecell.sweep import Sweep
from simplecell.train import Record

LINE_SECONDS = 5.0
SETTLED = 10
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            left = f"  {(self.steps - record.step) / rate:.0f} s left"
            known = record.step - self.first >= SETTLED  # the first steps are the slowest
            self.console.print(
                f"step {record.step}/{self.steps}  {words}{left if known else ''}", soft_wrap=True
            )


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
            console.print(f"{words}  {100 * share:.0f} %  {left:.0f} s left", soft_wrap=True)


def follow(session: Session) -> tuple[dict[str, Any], int]:
    """Train a session with progress; its result, and 130 or 143 where a signal ended it."""
    with (
        stop_signals() as stop,
        TrainingProgress(
            session.recipe.n_steps,
            session.trainer.n_steps,
            weights={name: term["weight"] for name, term in session.recipe.objective.items()},
        ) as bar,
        contextlib.closing(session.records()) as records,
    ):
        for record in records:
            bar.show(record)
            if stop.code:
                break
    return session.finish("interrupted" if stop.code else "finished"), stop.code


def follow_sweep(sweep: Sweep) -> tuple[dict[str, Any], int]:
    """Train a sweep with progress; its table, and 130 or 143 where a signal ended it."""
    with (
        stop_signals() as stop,
        # Records come from all models in turn: no cost stands for them.
        TrainingProgress(
            sweep.n_steps, sweep.n_done, instead=f"{len(sweep.members)} models"
        ) as bar,
        contextlib.closing(sweep.records()) as records,
    ):
        for record in records:
            bar.show(record)
            if stop.code:
                break
    return sweep.finish("interrupted" if stop.code else "finished"), stop.code


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
        print(sentence, file=sys.stderr)


def say_skipped(skipped: Iterable[Skipped]) -> None:
    """The files that were not used, named and counted, on standard error."""
    files = list(skipped)
    for one in files:
        say(f"skipped {one.file}: {one.reason}")
    if files:
        say(f"{len(files)} file{'s' * (len(files) > 1)} skipped; the rest is used")


def figures_table(result: dict[str, Any]) -> str:
    """The result of a training as text: training samples beside held-out ones."""
    held = result.get("held_out") or {}
    mean, target = result["mean_activation"], result["mean_activation"].get("target")
    rows = [("", "training", "held out")]
    rows.append(("samples", f"{result['n_samples']}", _cell(held.get("n_samples"), "d")))
    rows.append(("cost", f"{result['cost']:.5g}", _cell(held.get("cost"), ".5g")))
    rows.append(("fvu", _cell(result["fvu"], ".4f"), _cell(held.get("fvu"), ".4f")))
    other = held.get("mean_activation") or {}
    for name, form in (("l0", ".2f"), ("dead", ".3f")):
        if result.get(name) is not None:
            rows.append((name, _cell(result[name], form), _cell(held.get(name), form)))
    for name in ("min", "mean", "max"):
        rows.append((f"activation {name}", f"{mean[name]:.4f}", _cell(other.get(name), ".4f")))
    if target is not None:
        rows.append(("  its target", f"{target:.4g}", f"{target:.4g}"))
    lines = [f"{name:<18}{left:>12}{right:>12}" for name, left, right in rows]
    ended = f"{result['n_latents']} latents, {result['n_iter']} steps ({result['stopped']}), "
    return "\n".join([*lines, ended + f"{result['seconds']:.1f} s"])


def evaluation_table(result: dict[str, Any]) -> str:
    """The figures of `simplecell evaluate` as text, each with its formula in words."""
    fvu = _cell(result["fvu"], ".4f")
    rows = [
        ("samples", f"{result['n_samples']}"),
        (
            "fvu",
            f"{fvu}   fraction of variance unexplained: "
            "sum of squared errors / sum of squared deviations from the mean",
        ),
    ]
    if result["density"] is not None:
        active = "active latents per sample (not 0; if bounded, above mid-range)"
        rows += [
            ("l0", f"{result['l0']:.3f}   {active}"),
            ("dead", f"{result['dead']:.3f}   fraction of latents never that active"),
            (
                "code l1",
                f"{result['code_l1']:.4g}   sum of |code| over the latents, mean over samples",
            ),
        ]
    named = {
        "mean_activation": "mean code of each latent; if bounded, mapped to 0 ... 1",
        "coherence": "largest |cosine| of each atom with another",
        "density": "fraction of samples for which each latent is active",
    }
    for name, words in named.items():
        if result[name] is not None:
            rows.append((name.replace("_", " "), f"{_ends(result[name])} the {words}"))
    lines = [f"{name:<18}{words}" for name, words in rows]
    if result["density"] is None:
        return "\n".join([*lines, "no l0, dead, code l1, density: these codes are never 0"])
    return "\n".join([*lines, "latents by density", *_bars(result["histogram"])])


def comparison_table(result: dict[str, Any]) -> str:
    """What two runs share, as text: the figures of `simplecell compare`."""
    runs, pairs = result["runs"], "of the one-to-one pairs with the largest sum of cosines"
    sides = [(result["mean_max"][side], result["only"][side]) for side in ("first", "second")]
    kind = "cosine" if result["signed"] else "|cosine|"
    rows = [
        ("", ["first", "second"], ""),
        ("latents", [f"{run['n_latents']}" for run in runs], ""),
        ("figures of", [run["samples"] or "–" for run in runs], ""),
        ("fvu", [_cell(run["fvu"], ".4f") for run in runs], "fraction of variance unexplained"),
        ("l0", [_cell(run["l0"], ".3f") for run in runs], "active latents of a sample, mean"),
        (f"mean max {kind}", [f"{best:.4f}" for best, _ in sides], "of an atom's nearest"),
        ("only here", [f"{only}" for _, only in sides], f"atoms with every {kind} below 0.5"),
    ]
    lines = [f"first: {runs[0]['run']}", f"second: {runs[1]['run']}"]
    lines += [
        f"{name:<18}{left:>12}{right:>12}   {words}".rstrip() for name, (left, right), words in rows
    ]
    if result["mean_cosine"] is None:
        return "\n".join([*lines, "too many atoms for one-to-one pairs: each one's nearest only"])
    lines.append(f"{'mean ' + kind:<18}{result['mean_cosine']:>12.4f}   {pairs}")
    lines.append(f"{'share >= 0.9':<18}{result['share']:>12.4f}   {pairs}")
    return "\n".join(lines)


def _ends(ends: Mapping[str, float]) -> str:
    return f"{ends['min']:.4f} / {ends['mean']:.4f} / {ends['max']:.4f}   min / mean / max of"


def _bars(bins: Sequence[Mapping[str, float]], width: int = 40) -> list[str]:
    """A line a bin of density; the longest bar has `width` signs, a bin of one latent one."""
    most = max(1, *(row["latents"] for row in bins))
    lines = []
    for row in bins:
        low, high, latents = row["from"], row["to"], row["latents"]
        name = "0 (dead)" if not high else f"{low:g} to {high:g}" if low else f"below {high:g}"
        name = name.replace("e-0", "e-")
        bar = "#" * math.ceil(width * latents / most)
        lines.append(f"  {name:<16}{latents:>7}  {bar}".rstrip())
    return lines


def _cell(value: Any, form: str) -> str:
    return "–" if value is None else format(value, form)
