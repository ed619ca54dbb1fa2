"""One training of one run: its loop, log, checkpoints and summary.

Which readings of the training samples a run needs, its steps apart: one that checks all of them,
before anything is written, and tells range and fingerprint (`data.rows.survey`), and the moments of
columns where the preparation begins with them; one for each step whose moments do not follow from
those before it; one for the mean of
what is prepared, and one for its size, where the model asks for them; the doctor's look at a few
thousand rows, at both ends, rather than to hold 128 MB in between; one for the last cost, figures
and covariance together; and one of 8,192 rows that says what is normal. Of the held-out samples:
the same check, and one that keeps them prepared.
With L-BFGS the steps together are one reading, which serves the last figures as well.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from simplecell.data import Source
from simplecell.data.rows import sampled
from simplecell.errors import DivergedError
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.moments import Moments
from simplecell.run.baseline import MODEST_INPUTS, MOST_INPUTS, moments_of, of_components
from simplecell.run.directory import Run, finite, line_of
from simplecell.run.evaluate import Figures, judge, spread
from simplecell.run.info import FinalFigures, Info, OfComponents, StepLog
from simplecell.run.normality import Normality, normality
from simplecell.run.recipe import Recipe
from simplecell.run.storage import Lock
from simplecell.training.gradients import Evaluation
from simplecell.training.prepared import JUDGED, Prepared
from simplecell.training.trainer import OPTIMISER, Record, Trainer

CHECKPOINT_SECONDS = 2.0
MAX_LOGGED = 2000


@dataclass
class Session:
    """One training of one run; `records()` trains, `finish()` sums up.

    Made by `begin` or `resume`. Whoever loops over the records may stop at any of them and call
    `finish("interrupted")`: what was reached is kept and can be continued.
    """

    run: Run
    recipe: Recipe
    info: Info
    trainer: Trainer
    source: Source
    held_out: Source | None
    target_preprocess: Preprocess | None = None
    """Of a transcoder: the preparation of what it gives, which the targets of both went through."""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False
    lock: Lock | None = None
    doctor: Callable[[Session, Figures], list[dict[str, str]]] | None = None
    """Asked at the end; what it finds is kept with the figures. None: nobody looks."""

    @property
    def requested(self) -> dict[str, dict[str, object]]:
        """The recipe's tables as they were asked for."""
        return self.info["requested"]

    def story(self) -> list[StepLog]:
        """What the log tells of the training so far."""
        return [
            StepLog(line["step"], line["mean_activation"]["mean"], line.get("held_out_cost"))
            for line in self.run.records()
        ]

    def records(self) -> Generator[Record]:
        """Train to the recipe's length; log and checkpoint on the way."""
        steps = self.recipe.n_steps
        stride = 1 if self.recipe.optim.kind == "lbfgs" else max(1, steps // MAX_LOGGED)
        waiting: list[dict[str, object]] = []
        started, last, spent = time.perf_counter() - self.seconds, time.perf_counter(), 0.0
        try:
            for record in self.trainer.run(self.source, steps, held_out=self.held_out):
                now = time.perf_counter()
                self.seconds = now - started
                if record.step % stride == 0 or record.held_out_cost is not None:
                    waiting.append(line_of(record, self.seconds))
                left = time.perf_counter()
                yield record
                away = time.perf_counter() - left  # others' time: a sweep trains in turns
                started, last, now = started + away, last + away, now + away
                # A checkpoint may take a tenth of the time at most.
                due = now - last > max(CHECKPOINT_SECONDS, 10 * spent)
                if self.trainer.ranks.says(due):
                    self.run.log(waiting)
                    waiting.clear()
                    self.save()
                    last = time.perf_counter()
                    spent = last - now
        except DivergedError:
            self.run.log(waiting)
            self._close("diverged")
            raise
        finally:
            self.run.log(waiting)
            waiting.clear()

    def save(self) -> None:
        """A checkpoint.

        Raises:
            DivergedError: when weights or moments are not finite; the checkpoint before stays.
        """
        self.trainer.check_finite()
        state = self.trainer.live_state()
        own = [part for name, part in state.items() if name.startswith(OPTIMISER)]
        moments = [part if isinstance(part, list) else [part] for part in own]
        if not self.trainer.finite(*itertools.chain.from_iterable(moments)):
            raise DivergedError(
                f"training diverged by step {self.trainer.n_steps}: the gradients are too large "
                "to be squared; lower the learning rate, or scale the data (preprocess)"
            )
        self.run.checkpoint(self.trainer.model, self.trainer.n_steps, state)

    def finish(self, status: str = "finished") -> dict[str, Any]:
        """Checkpoint, figures on training and held-out samples, run.json; the result table.

        Raises:
            DivergedError: when weights or cost are not finite; the last good checkpoint stays.
        """
        try:
            self.save()
            self.info["figures"] = self._figures(status)
            self.run.write_normal(self._normal() if status == "finished" else None)
        except DivergedError:
            self._close("diverged")
            raise
        self._close(status)
        if status == "finished":  # which others there are is a matter of the clock
            self.run.keep_checkpoints(1)
        return self.result()

    def result(self) -> dict[str, Any]:
        """The figures as `simplecell train --json` prints them."""
        return {
            "run": str(self.run.path),
            "status": self.info["status"],
            "seconds": round(self.info["seconds"], 3),
            **(self.info["figures"] or {}),
            "skipped": self.info["data"]["skipped"],
        }

    def _close(self, status: str) -> None:
        self.info |= {
            "status": status,
            "stopped": self.trainer.stopped,
            "n_iter": self.trainer.n_steps,
            "seconds": self.seconds,
        }
        self.run.describe(self.info)
        if self.lock is not None:
            self.lock.release()

    def _figures(self, status: str) -> FinalFigures:
        samples = self._samples(self.trainer.chunks, self.source)
        cost, figures = self._measure(samples)
        learned = self._moments(samples)
        n_latents = self.trainer.ranks.all_latents(self.trainer.model.n_latents)
        target = self.trainer.objective.target
        table: FinalFigures = {
            "cost": float(cost.cost),
            "terms": {name: float(value) for name, value in cost.terms.items()},
            "mean_activation": {**spread(figures.mean_activation), "target": target},
            "fvu": finite(figures.fvu),
            "l0": figures.l0,
            "dead": figures.dead,
            "n_iter": self.trainer.n_steps,
            "n_evaluations": self.trainer.n_evaluations,
            "stopped": self.trainer.stopped or ("steps" if status == "finished" else status),
            "n_latents": n_latents,
            "n_samples": figures.n_samples,
            "pca": _by_pca(learned, learned, n_latents, figures),
            "held_out": None,
            "findings": None if self.doctor is None else self.doctor(self, figures),
        }
        if self.held_out is not None:
            judged = self.trainer.held_apart(self.held_out)[1]
            samples = self._samples(self.trainer.held, judged)
            cost, figures = self._measure(samples)
            of_held = None if learned is None else self._moments(samples)
            table["held_out"] = {
                "cost": float(cost.cost),
                "fvu": finite(figures.fvu),
                "l0": figures.l0,
                "dead": figures.dead,
                "mean_activation": spread(figures.mean_activation),
                "n_samples": figures.n_samples,
                "pca": _by_pca(learned, of_held, n_latents, figures),
            }
        return table

    def _normal(self) -> Normality | None:
        """What is normal; nobody knows who has a part of the latents, or does not write."""
        trainer = self.trainer
        if trainer.model.holders > 1 or not trainer.ranks.leads:
            return None
        return normality(trainer.model, trainer.preprocess, self.source)

    def _samples(self, ready: Prepared | None, source: Source) -> Prepared:
        """Samples that training left `ready`, or some that are read once for all figures."""
        return ready or self.trainer.looked_at(sampled(source, JUDGED), self.trainer.ranks)

    def _moments(self, samples: Prepared) -> Moments | None:
        """What PCA beside the run is made of."""
        free = self.recipe.train.memory == "auto"
        return moments_of(samples, MOST_INPUTS if free else MODEST_INPUTS)

    def _measure(self, samples: Prepared) -> tuple[Evaluation, Figures]:
        """Their cost and figures."""
        cost = self.trainer.value(samples)
        self.trainer.check_finite(cost)
        return cost, judge(self.trainer.model, samples)


def _by_pca(
    learned: Moments | None, judged: Moments | None, n_latents: int, figures: Figures
) -> list[OfComponents] | None:
    """What components leave unexplained, where the samples have moments."""
    if learned is None or judged is None:
        return None
    return of_components(learned, judged, n_latents, figures.l0)
