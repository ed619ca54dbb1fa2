"""The trainer: an iterator of records. Whoever loops decides what to do with them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import Subset, sampled, targets_of
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, DivergedError, UsageError, choice
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.codes import Codes
from simplecell.model.measures import LogMean, average_activation, merge_means
from simplecell.model.products import tf32
from simplecell.preprocess.chain import Preprocess
from simplecell.training.adam import Adam, UnitNorm, check_pace
from simplecell.training.best import Best
from simplecell.training.components import Components
from simplecell.training.gradients import Chunks, Evaluation, Gradient, Whole
from simplecell.training.lbfgs import LBFGS
from simplecell.training.objective import Objective
from simplecell.training.parts import refuse_undealt
from simplecell.training.prepared import (
    EVERYTHING,
    JUDGED,
    Corruption,
    Prepared,
    Room,
    RowNumbers,
    dealt,
    identity,
    prepared_once,
    targets_in_memory,
    to_model,
)
from simplecell.training.refine import check_refined, refit_encoder, round_at, samples_of_round
from simplecell.training.refine import refine as refine_dictionary
from simplecell.training.state import State, all_finite, stacked, taken, taken_like
from simplecell.training.steering import Controller, l0_of, warm_up
from simplecell.training.term import Moment
from simplecell.training.update import Update
from simplecell.training.weights import draw_anew, flatten

SOLVERS = ("lbfgs", "adam", "pca")
NO_CORRUPTION = Corruption()
MIDST = 0.5
OPTIMISER = "optimiser."
"""How names of the optimiser's tensors begin."""


class Record(NamedTuple):
    """What one step did. Tensors stay where they are: `float()` is what waits for a GPU."""

    step: int
    cost: Tensor
    terms: dict[str, Tensor]
    mean_activation: Tensor
    held_out_cost: float | None
    seconds: float
    l0: Tensor | None = None
    """Active latents a sample of the batch, *count*; None for codes that are never 0."""


def _check(
    model: Model,
    objective: Objective,
    solver: str,
    corrupted: bool,
    unit_norm: bool,
    target_l0: float | None,
) -> None:
    """UsageError unless these settings fit together."""
    choice("solver", solver, SOLVERS)
    if solver == "lbfgs" and (corrupted or model.draws_noise):
        what = "corrupted inputs" if corrupted else "passes that draw noise"
        raise UsageError(f"L-BFGS needs the same cost twice, but {what} differ; use 'adam'")
    if solver == "lbfgs" and not model.activation.smooth:
        raise UsageError(
            f"L-BFGS needs a smooth cost, but '{model.activation.kind}' codes jump; use 'adam'"
        )
    if solver == "lbfgs" and (unit_norm or target_l0):
        what = "model.target_l0" if target_l0 else "optim.unit_norm"
        raise UsageError(
            f"{what} is for mini-batches, and this recipe learns from all samples at once "
            "(optim.kind=lbfgs); take a recipe of sparse codes, such as topk, or optim.kind=adam"
        )
    if solver == "pca" and (corrupted or unit_norm or target_l0):
        given = {"train.corruption": corrupted, "optim.unit_norm": unit_norm}
        what = next((key for key, said in given.items() if said), "model.target_l0")
        raise UsageError(
            f"{what} has no meaning for principal components (optim.kind=pca), which follow from "
            "the data alone; leave it out"
        )
    if target_l0 and not (objective.find("l0") or objective.find("l1")):
        raise UsageError(
            "target_l0 is reached through an l1 or an l0 term, and the objective has neither"
        )


class Trainer:
    """Moves a model down its objective.

    Args:
        model: initialised, on its device.
        objective: what to minimise.
        preprocess: fitted preparation of raw rows.
        solver: "lbfgs" (all samples in every step, the notes' own) or "adam" (mini-batches; KL
            then uses a running average of the codes, since a batch's mean is biased), or "pca"
            (no descent: principal components, from one pass over batches in their order).
        learning_rate, schedule, beta2: for "adam".
        batch_size: for "adam" and "pca".
        seed, block: the order of the mini-batches, as `Source.batches` takes them.
        tolerance: "lbfgs" stops when the cost falls by a smaller fraction.
        patience: held-out checks without improvement before stopping; 0 never stops early.
        corruption: noise on the inputs; "adam" only.
        unit_norm: hold atoms at length 1; "adam" only.
        target_l0: active latents a sample that ReLU, gated and JumpReLU codes are brought to, by
            the weight of their l1 term, or the push of their l0 term; "adam" only.
        dead_after: samples in which a latent was silent for it to count as dead.
        resample: how many times, evenly over the first half, dead latents are drawn anew.
        refine: how many times, evenly over the third quarter, exact codes move the dictionary
            (`training.refine`), which gradients leave alone from half of the training on; the
            encoder learns from it to the end. "adam" only.
        tf32: on a GPU, multiply matrices in TF32; "adam" only. What a product chose is computed
            anew in float32, and thresholds, weights and moments are float32 in any case.
        room: what may be held of samples; of "lbfgs" the last digits depend on its chunks.

    Raises:
        UsageError: for settings that do not exist or do not fit together.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        preprocess: Preprocess | None = None,
        *,
        solver: str = "lbfgs",
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        beta2: float = 0.999,
        batch_size: int = 1000,
        seed: int = 0,
        block: int | None = None,
        tolerance: float = 1e-9,
        patience: int = 0,
        corruption: Corruption = NO_CORRUPTION,
        unit_norm: bool = False,
        target_l0: float | None = None,
        dead_after: int = 10_000_000,
        resample: int = 0,
        refine: int = 0,
        tf32: bool = True,
        fast: bool = True,
        room: Room = EVERYTHING,
    ) -> None:
        refuse_undealt(model, objective, solver, resample, refine)
        _check(model, objective, solver, bool(corruption), unit_norm, target_l0)
        if refine:
            check_refined(model, solver)
        check_pace(learning_rate, schedule, beta2)
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        self.model, self.objective, self.ranks = model, objective, ALONE
        self.preprocess = preprocess or identity(model.n_inputs)
        self.batch_size, self.seed, self.block = batch_size, seed, block
        self.corruption, self.room = corruption, room
        self.flat, self.grad = flatten(model)
        self.alike, self.summed = self.flat, self.grad
        """What all processes hold alike, and the gradient that they add up."""
        self.gradient = Gradient(model, objective, fast=fast)
        self.chunks: Prepared | None = None
        """All training samples, for "lbfgs"."""
        self.held: Prepared | None = None
        """The held-out samples that are judged."""
        self.running: LogMean | None = None
        self.best = Best(model, self.flat, patience)
        self.n_steps = 0
        self.stopped: str | None = None
        self.solver: LBFGS | Adam | Components
        if solver == "lbfgs":
            self.solver = LBFGS(self.flat, self.grad, self._evaluate, tolerance=tolerance)
        elif solver == "pca":
            self.solver = Components(model, objective)
        else:
            self.solver = Adam(
                self.flat, self.grad, learning_rate=learning_rate, schedule=schedule, beta2=beta2
            )
        self.unit_norm = UnitNorm.of(model) if unit_norm else None
        self.update: Update | None = None
        if fast and isinstance(self.solver, Adam):
            self.update = Update.of(self.gradient, self.solver, unit=unit_norm)
        self.dead_after, self.resample, self.tf32 = dead_after, resample, tf32
        self.refine = refine
        self.silent = torch.zeros(model.n_latents, dtype=torch.int64, device=self.flat.device)
        """Samples since each latent was active."""
        moves = "l0" if objective.find("l0") else "l1"
        self.controller = Controller(target_l0, moves, self.flat) if target_l0 else None

    def join(self, ranks: Alone) -> None:
        """Train with other processes, each of which has a part of every batch, or of the latents.

        Raises:
            UsageError: for batches of fewer samples than there are processes, and for a device on
                which they cannot train together.
        """
        ranks.admit(self.flat.device)
        if self.model.holders > 1 and isinstance(self.model, Autoencoder):
            ranks, offset = ranks.of_latents(), self.model.offset
            assert offset.grad is not None, "flatten was not called"
            self.alike, self.summed = offset.detach(), offset.grad
        if self.batch_size < ranks.sharers and isinstance(self.solver, Adam):
            raise UsageError(
                f"batch_size is {self.batch_size}, and {ranks.sharers} processes need a sample "
                "each; use larger batches or fewer processes"
            )
        self.ranks = self.model.ranks = self.model.activation.ranks = ranks

    @property
    def n_evaluations(self) -> int:
        """Costs and gradients computed so far."""
        return self.solver.n_evaluations

    def run(
        self,
        source: Source,
        steps: int,
        *,
        held_out: Source | None = None,
    ) -> Iterator[Record]:
        """Train until `steps` steps are done in all, one record a step.

        Targets that come with the samples (`data.rows.Paired`) are prepared already, and are held
        in memory, as are those of the held-out samples.
        Stops earlier when converged or out of patience; `stopped` then says why. Breaking out of
        the loop is safe: the model is always that of the last record.

        Raises:
            DivergedError: when the cost or the parameters leave the finite numbers.
            DataError: for a transcoder whose samples come without targets.
        """
        for part in (source, held_out):
            if part is not None and targets_of(part) is None and self.model.n_outputs is not None:
                raise DataError(
                    "a transcoder reconstructs something else than its inputs; give the targets of "
                    "training and held-out samples as well"
                )
        held = None
        if held_out is not None:
            settling, judged = self.held_apart(held_out)
            self.held = held = self.looked_at(judged)
            if settling is not judged:
                held = self.looked_at(settling)
        evaluations = self._evaluations(source, steps)
        # Between looks at the held-out samples: 10 full batches, or one pass.
        whole = isinstance(self.solver, LBFGS)
        every = 10 if whole else max(1, source.n_samples // self.batch_size)
        while self.n_steps < steps and self.stopped is None:
            started = time.perf_counter()
            evaluation = next(evaluations)
            self.n_steps += 1
            if self.n_steps % 20 == 0 or self.n_steps == 1:
                self.check_finite(evaluation)
                self.ranks.agree(self.alike)
            held_out_cost = None
            if held is not None and (self.n_steps % every == 0 or self.n_steps == steps):
                held_out_cost = self._hold(held, self.n_steps / steps)
            self._judge()
            seconds = time.perf_counter() - started
            cost, terms, mean = evaluation[:3]
            yield Record(self.n_steps, cost, terms, mean, held_out_cost, seconds, evaluation.l0)
        self.best.undo_calibration()  # a second one starts from what training left as well
        self.best.bring_back()
        if held is not None and self.model.activation.sparse:
            self.best.calibrate(held, self.controller.target if self.controller else None)

    def held_apart(self, held_out: Source) -> tuple[Source, Source]:
        """Held-out samples that thresholds and coefficients are settled by, and those judged.

        Every other one each, since a threshold meets its target on the samples that set it; all of
        them are both where they settle nothing, or are fewer than four. Of very many, some that are
        evenly spread over them.
        """
        held_out = sampled(held_out, JUDGED)
        settles = self.model.activation.calibrates or self.controller is not None
        if not settles or held_out.n_samples < 4:
            return held_out, held_out
        places = np.arange(held_out.n_samples)
        return Subset(held_out, places[::2]), Subset(held_out, places[1::2])

    def looked_at(self, source: Source, ranks: Alone = ALONE) -> Prepared:
        """Samples that are judged, and not learned from; by several processes, if they share."""
        return Prepared(source, self.preprocess, self.model, look=True, room=self.room, ranks=ranks)

    def _hold(self, held: Prepared, progress: float) -> float:
        """The cost of the held-out samples, and what is learned from them."""
        # Every process measures all of them; where these differ by a bit, the first decides.
        cost = self.ranks.first(float(self.value(held).cost))
        self.best.look(cost)
        if self.controller is not None:
            l0 = self.ranks.first(l0_of(self.model, held)[0])
            self.controller.observe_new(l0, progress)
        return cost

    def _judge(self) -> None:
        """Whether there is a reason to stop."""
        if self.solver.converged:
            self.stopped = "converged"
        elif self.best.exhausted:
            self.stopped = "early"

    def check_finite(self, evaluation: Evaluation | None = None) -> None:
        """Raise DivergedError if the parameters, or the cost, are not finite."""
        cost = 0.0 if evaluation is None else float(evaluation.cost)
        if not math.isfinite(cost) or not self.finite(self.flat):
            raise DivergedError(
                f"training diverged by step {self.n_steps}: the cost is {cost}; "
                "lower the learning rate, or scale the data (preprocess)"
            )

    def finite(self, *tensors: Tensor) -> bool:
        """Whether tensors that belong to the latents are, those of other processes as well."""
        return not self.ranks.any(torch.tensor(not all(map(all_finite, tensors))))

    def _evaluate(self) -> Evaluation:
        assert self.chunks is not None
        evaluation = self.gradient(self.chunks)
        self.ranks.add(self.summed)
        return evaluation

    def _evaluations(self, source: Source, steps: int) -> Iterator[Evaluation]:
        """One a step, without end."""
        if isinstance(self.solver, LBFGS):
            self.chunks = Prepared(
                source, self.preprocess, self.model, room=self.room, ranks=self.ranks
            )
            self.solver.point = None
            while True:
                yield self.solver.advance()
        if isinstance(self.solver, Components):
            yield from self._taken_in(self.solver, source)
            return
        targets = targets_in_memory(source, self.flat)
        ready = prepared_once(source, self.preprocess, self.flat, self.room)
        mine = dealt(source, self.ranks)
        order = mine if ready is None else RowNumbers(source)
        batches = order.batches(
            self.batch_size, seed=self.seed, start=self.n_steps, block=self.block
        )
        for x, rows in batches:
            places = torch.as_tensor(rows[self.ranks.part(len(rows))])
            prepared = to_model(x, self.preprocess, self.flat) if ready is None else ready[places]
            target = None if targets is None else targets[places]
            self._refine(source, steps)
            yield self.step(prepared, target, steps=steps)

    def _taken_in(self, solver: Components, source: Source) -> Iterator[Evaluation]:
        """One pass, a batch a step; samples are prepared in float64, whatever the model is in."""
        mean = torch.zeros(self.model.n_latents, dtype=torch.float64)  # of centred codes
        for x, _ in source.batches(self.batch_size, start=self.n_steps):
            prepared = self.preprocess.apply(torch.tensor(x).double()).x
            terms = {"reconstruction": solver.take(prepared, source.n_samples)}
            yield Evaluation(self.objective.cost(terms), terms, mean)

    def step(self, x: Tensor, target: Tensor | None = None, *, steps: int = 0) -> Evaluation:
        """One Adam update on the prepared samples x [B, D]; the evaluation before it.

        With other processes, x is one's own part of the batch that they share.
        `steps` is the length of the whole training, for what moves while it goes on; 0: nobody
        knows, and all stands as in its midst.

        Noise is a pure function of the seed and the number of the step.
        """
        if not isinstance(self.solver, Adam):
            raise UsageError("L-BFGS needs all samples at once; use solver 'adam' for single steps")
        generator = self._generator() if self._draws else None
        self.best.undo_calibration()
        target = x if target is None else target
        if generator is not None and self.corruption:
            x = self.corruption(x, generator, self.ranks)
        self.observe(x)
        progress = self.n_steps / steps if steps else MIDST
        batch, moment = Whole(x, target, self.ranks), self._moment(generator, progress)
        frozen = self._frozen(steps)
        evaluation = self._move(self.solver, batch, moment, progress, frozen)
        l0 = self._learn_from(evaluation.codes, batch.n_samples, steps)
        if generator is not None:
            self._resample(self.solver, x, steps, generator)
        return evaluation._replace(codes=None, l0=l0)

    def _frozen(self, steps: int) -> bool:
        """Whether the dictionary is left alone by gradients, since it is refined."""
        return bool(self.refine and steps) and self.n_steps >= steps // 2

    def _refine(self, source: Source, steps: int) -> None:
        """Let exact codes move the dictionary where it is time to."""
        if not self._frozen(steps) or not isinstance(self.model, Autoencoder):
            return
        begin, end = steps // 2, steps - steps // 4
        if isinstance(self.solver, Adam) and self.n_steps == begin:  # what moved it moves on else
            for parameter in (self.model.decoder, self.model.offset):
                self.solver.forget(parameter, torch.ones(len(parameter), dtype=torch.bool))
        if (now := round_at(self.n_steps, begin, end, self.refine)) is None:
            return
        self.best.undo_calibration()
        some = samples_of_round(source, self.model.n_latents)
        x = to_model(some.read(slice(0, some.n_samples)), self.preprocess, self.flat)
        refine_dictionary(self.model, x, progress=now.progress, reseed=now.reseed)
        if now.last:
            refit_encoder(self.model, x)

    def _move(
        self, adam: Adam, batch: Whole, moment: Moment, progress: float, frozen: bool
    ) -> Evaluation:
        """One update of the parameters; the evaluation before it.

        Where the dictionary is `frozen` its gradient, and that of the offset, are 0.
        """
        one = None
        with tf32(self.tf32, self.flat.device):
            if self.update is not None and not frozen:
                one = self.update.sparse.before(batch.x)
                if evaluation := self.update(one, batch, moment, progress):
                    return evaluation
            evaluation = self.gradient(batch, moment, one)
        self.ranks.add(self.summed)
        if frozen and isinstance(self.model, Autoencoder):
            for parameter in (self.model.decoder, self.model.offset):
                if parameter.grad is not None:
                    parameter.grad.zero_()
        unit_norm = None if frozen else self.unit_norm
        if unit_norm is not None:
            unit_norm.project()
        adam.advance(progress)
        if unit_norm is not None:
            unit_norm.renormalise()
        return evaluation

    def _moment(self, generator: torch.Generator | None, progress: float) -> Moment:
        steered = self.controller.moment(progress) if self.controller else warm_up(progress)
        # Before so many samples were seen none can be dead: no term need wait for a device's word.
        seen = self.n_steps * self.batch_size
        dead = self.silent >= self.dead_after if seen >= self.dead_after else None
        known: dict[str, Any] = {"average": self.running, "generator": generator, "dead": dead}
        return dataclasses.replace(steered, ranks=self.ranks, **known)

    def _learn_from(self, codes: Codes | None, n_samples: int, steps: int) -> Tensor | None:
        """Take in the codes of a step: thresholds, dead latents, the controller; their l0."""
        if codes is None or not self.model.activation.sparse:
            return None
        self.model.activation.observe(codes)
        active = self.ranks.sum(codes.active())
        self.silent = torch.where(active > 0, 0, self.silent + n_samples)
        l0 = self.ranks.total(active.sum().double()) / n_samples
        if self.controller is not None:
            self.controller.observe(l0, self.n_steps / steps if steps else MIDST)
        return l0

    def _resample(self, adam: Adam, x: Tensor, steps: int, generator: torch.Generator) -> None:
        """Draw dead latents anew where it is time to."""
        every = steps // (2 * self.resample) if self.resample else 0
        now = self.n_steps + 1
        if not every or now % every or now > every * self.resample:
            return
        dead = self.silent >= self.dead_after
        if isinstance(self.model, Autoencoder):
            draw_anew(self.model, adam, dead, x, generator, self.ranks)
        self.silent = torch.where(dead, 0, self.silent)

    @property
    def _draws(self) -> bool:
        """Whether a step draws numbers: a generator costs a tenth of a step on a small table."""
        return bool(self.corruption) or self.model.draws_noise or bool(self.resample)

    def _generator(self) -> torch.Generator:
        words = np.random.SeedSequence([self.seed, self.n_steps]).generate_state(1, np.uint64)
        return torch.Generator(self.flat.device).manual_seed(int(words[0] >> np.uint64(1)))

    @property
    def _averages(self) -> bool:
        """Whether it keeps a running average of the codes: of single batches' means none."""
        needed = self.objective.target is not None and self.model.activation.gain is not None
        return needed and isinstance(self.solver, Adam)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Bring the running average activation up to date: about the last 20/ρ samples count."""
        target, gain = self.objective.target, self.model.activation.gain
        if not self._averages or target is None or gain is None:
            return
        own = average_activation(self.model.encode(x)[0], gain)
        batch = LogMean(*(self.ranks.log_mean(part, len(x)) for part in own))
        share = min(1.0, self.ranks.count(len(x)) * target / 20)
        self.running = batch if self.running is None else merge_means(self.running, batch, share)

    def value(self, chunks: Chunks) -> Evaluation:
        """The cost without its gradient, the weights as they stand by now."""
        factors = {} if self.controller is None else self.controller.factors
        return self.gradient.value(chunks, Moment(factors=factors))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the rest of the training depends on, as tensors."""
        return {name: stacked(part) for name, part in self.live_state().items()}

    def live_state(self) -> dict[str, Tensor | list[Tensor]]:
        """The same without a copy of what the optimiser keeps, a history as a list of its rows.

        For writing at once: the next step changes it.
        """
        activation = self.model.activation
        state = {f"{OPTIMISER}{name}": part for name, part in self.solver.live_state().items()}
        state |= {"flat": self.flat.clone(), "n_steps": torch.tensor(self.n_steps)}
        state |= self.best.state_dict()
        state |= {name: center.clone() for name, center in self._centers().items()}
        for name, buffer in activation.named_buffers():
            state[f"activation.{name}"] = buffer.clone()
        if self.running is not None:
            state["running"] = torch.stack(list(self.running))
        if activation.sparse:
            state["silent"] = self.silent.clone()
        if self.controller is not None:
            state["controller"] = self.controller.state.clone()
        return state

    def load_state_dict(self, state: State) -> None:
        """Take up where `state_dict` left: what follows is the same, bit for bit.

        Raises:
            DataError: for a tensor that is missing or of another form, as one that belongs to a
                model of another size.
        """
        if "flat" in state and state["flat"].shape != self.flat.shape:
            raise DataError(
                f"the state holds {len(state['flat'])} parameters, but this model has "
                f"{len(self.flat)}; it belongs to another recipe"
            )
        self.flat.copy_(taken_like(state, "flat", self.flat))
        self.n_steps = int(taken(state, "n_steps", (), torch.int64))
        if self.n_steps < 0:
            raise DataError(f"its tensor 'n_steps' is {self.n_steps}, and a count is needed")
        self.best.load_state_dict(state)
        self._load_around(state)
        if self.n_steps and isinstance(self.solver, Adam):  # else it has moments, and no count
            taken(state, f"{OPTIMISER}step", (), torch.float32)
        self.solver.load_state_dict(state, OPTIMISER)
        self._judge()

    def _load_around(self, state: State) -> None:
        """What the parameters and the optimiser do not hold."""
        for k, layer in enumerate(self.model.layers):
            if layer.centred:
                layer.set_center(taken_like(state, f"center.{k}", layer.center))
        for name, buffer in self.model.activation.named_buffers():
            buffer.copy_(taken_like(state, f"activation.{name}", buffer))
        if self._averages and self.n_steps:
            pair = taken(state, "running", (2, self.model.n_latents), self.flat.dtype)
            self.running = LogMean(*pair.to(self.flat))
        if self.model.activation.sparse:
            self.silent = taken_like(state, "silent", self.silent).to(self.silent)
        if self.controller is not None:
            own = self.controller.state
            self.controller.state = taken_like(state, "controller", own).to(own)

    def _centers(self) -> dict[str, Tensor]:
        layers = enumerate(self.model.layers)
        return {f"center.{k}": layer.center for k, layer in layers if layer.centred}
