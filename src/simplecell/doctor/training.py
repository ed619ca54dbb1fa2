"""What a training that came to its end shows: latents, targets, samples learned by heart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.doctor.figures import apart, hidden
from simplecell.doctor.inputs import (
    ENTRIES,
    Finding,
    Training,
    length,
    setting,
    sizes,
    training_rows,
)
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.selective import JumpReLU
from simplecell.run.evaluate import Figures, evaluate, judge
from simplecell.run.resolve import learning_rate
from simplecell.training.steering import l0_of

LATENTS = 2048
"""Latents that are compared with all others, so that a wide dictionary costs seconds, not hours."""
MISSED = 0.05
"""Distance of l0 from its target, relative: what target_l0 promises."""
RAN_AWAY, L1_WEIGHT = 100.0, 1.0
"""Factor on the l1 weight, either way, with the target still not reached; and the weight of all
named recipes, from which the coefficient of prepared data is never that far."""
LONGER, FAR = 4, 6
"""Lengths of the training that brought l0 to its target in one go on planted data; and of what a
mean activation lacks at its last pace, for it slows down."""
HALF = 0.5
"""Share of the latents that are active where nothing holds them down: half of them, by symmetry."""
FIXED = ("topk", "abstopk")
"""Codes of which k latents are kept of each sample, and where fewer are active no more can be."""
KL = 2.0
"""Factor between mean activation and its target: reconstruction always pulls a little."""
KL_WEIGHT = 1.0
"""Weight of the kl term that has held the target in all of the named recipes."""
MOVING = 0.05
"""Share of itself by which a mean activation still fell in the last quarter: it is on its way."""
DEAD = 0.05
"""Share of the latents that may be dead: what the named recipes promise."""
AUXK, PREACT = 1 / 32, 1 / 4
"""Weights of the terms for dead latents: of the named recipes, the larger where they differ."""
SURPLUS = 0.5
"""Share of dead latents from which on there are too many: what revives them finds them no work."""
CARRIED = 0.85
"""Share of all activity that as many latents as the data fill carry: on planted data these are
most of the planted ones; with more of it some of the fewer latents died again."""
FAST = 2.0
"""Factor between the learning rate and what "auto" gives: at 2.5 an eighth of the latents died on
planted data, whatever else was done."""
COSINE, DUPLICATES = 0.99, 0.01
"""Atoms nearer than 8° are one feature; a hundredth of the latents may share theirs by chance."""
NEAR = 0.9
"""Cosine from which on latents count as one where duplicates are many: the number of features."""
OPPOSITE = 0.2
"""Share of the living latents with an opposite: on sums of signed atoms 0.36 to 0.69 of them, on
digits, tables, noise and patches of pictures 0.02 at most."""
STUCK = 0.5
"""Share of the thresholds that no sample comes near; dead latents alone are fewer."""
BANDWIDTH = 0.5
"""The default; from there on a threshold that nothing comes near is a dead latent's."""
WORSE = 2.0
"""Factor between the fvu of held-out samples and that of training ones."""
RISEN = 1.25
"""Factor between the held-out cost in the end and at its lowest: past what chance does."""
FEWEST = 100
"""Held-out samples from which on their cost says something."""


@dataclass(frozen=True)
class FinishedTraining:
    """A finished training of codes with exact zeros, and what its latents do."""

    session: Training
    n_samples: int
    density: NDArray[np.float64]
    """Share of the training samples for which each latent is active, [M]."""
    l0: float
    error: float
    """The standard error of l0."""
    blame: str
    """The cure of badly prepared inputs, which are then the likely cause of all else; or ""."""

    @property
    def every(self) -> int:
        """Every how many-th living latent is compared with all others."""
        return max(1, -(-int((self.density > 0).sum()) // LATENTS))

    @cached_property
    def cosines(self) -> NDArray[np.float64]:
        """Of living latents' atoms, [m, M']: all against all, or every some of them where M' is
        large; 0 with themselves."""
        living = np.flatnonzero(self.density)
        atoms = self.session.trainer.model.atoms().cpu()[living].double()
        atoms = torch.nn.functional.normalize(atoms, dim=1)
        cosines = (atoms[:: self.every] @ atoms.T).numpy()
        rows = np.arange(len(cosines))
        cosines[rows, rows * self.every] = 0
        return cosines

    def weight_of(self, term: str) -> float:
        """Of a term of the objective; 0 where it has none."""
        return float(self.terms.get(term, {}).get("weight", 0))

    @property
    def terms(self) -> dict[str, dict[str, float]]:
        """Of the objective."""
        return self.session.recipe.objective


def l0_of_new(session: Training, trained: float) -> tuple[float, float]:
    """(l0, its standard error) of held-out samples, which target_l0 is about, or of training."""
    trainer = session.trainer
    if session.held_out is None:
        return trained, 0.0
    judged = trainer.held_apart(session.held_out)[1]
    held = trainer.held or trainer.looked_at(judged)
    return l0_of(trainer.model, held)


def weight(case: FinishedTraining) -> list[Finding]:
    """An l1 weight of the user's own that switches everything off, or nothing."""
    if case.session.recipe.target_l0 or "l1" not in case.terms:
        return []
    if 1 <= case.l0 <= HALF * len(case.density):
        return []
    what = "switches nearly all latents off" if case.l0 < 1 else "leaves most latents on"
    words = (
        f"l0 is {case.l0:.3g}: an l1 weight of {case.terms['l1']['weight']:g} {what}; say how many "
        f"may be active, and the weight follows: {setting('model.target_l0', 'auto')} "
        f"{setting('objective.l1.weight', L1_WEIGHT)}"
    )
    return [Finding("saturated", words)]


def target(case: FinishedTraining) -> list[Finding]:
    """An l0 that is not what was asked for."""
    session, wanted, l0 = case.session, case.session.recipe.target_l0, case.l0
    if not wanted or abs(l0 - wanted) <= MISSED * wanted + 2 * case.error:
        return []
    state, coefficient = _coefficient(case)
    beyond = session.trainer.model.activation.kind in FIXED or wanted > HALF * len(case.density)
    if case.blame:
        cure = case.blame
    elif 1 <= l0 < wanted and beyond:
        cure = f"out of reach, so ask for less: {setting('model.target_l0', int(l0))}"
    else:
        cure = (
            coefficient or f"train for longer: {length(session, LONGER * session.recipe.n_steps)}"
        )
    return [Finding("saturated", f"l0 is {l0:.3g}, but target_l0 is {wanted:g}{state}; {cure}")]


def _coefficient(case: FinishedTraining) -> tuple[str, str]:
    """Where the controller has brought its coefficient, and the cure if that is out of bounds."""
    controller = case.session.trainer.controller
    if controller is None:
        return "", ""
    if "l1" not in controller.factors:
        return f" (the push of the l0 term stands at {float(controller.moment(1.0).push):.3g})", ""
    factor, weight = float(controller.factors["l1"]), float(case.terms["l1"]["weight"])
    words = f"{factor:.3g} times its weight"
    if 1 / RAN_AWAY <= factor <= RAN_AWAY:
        return f" (the coefficient of the l1 term stands at {words})", ""
    wrong = weight < L1_WEIGHT if factor > 1 else weight > L1_WEIGHT
    nearer = L1_WEIGHT if wrong else float(f"{weight * factor:.3g}")
    cure = f"begin nearer to where it went: {setting('objective.l1.weight', nearer)}"
    return f" (the coefficient of the l1 term ran away to {words})", cure


def activity(session: Training, figures: Figures) -> list[Finding]:
    """A mean activation that is not what the kl term asks for."""
    target, mean = session.trainer.objective.target, float(figures.mean_activation.mean())
    if target is None or target / KL <= mean <= KL * target:
        return []
    words = f"the mean activation is {mean:.3g}, but kl.target is {target:g}"
    missing = _missing_steps(session, target, mean)
    if missing:
        steps = setting("train.steps", session.recipe.n_steps + missing)
        words += f", and it is still on its way; train for longer: {steps}"
    else:
        weight = max(KL_WEIGHT, 10 * float(session.recipe.objective["kl"]["weight"]))
        words += (
            ": the kl term is too weak to hold it; raise its weight: "
            f"{setting('objective.kl.weight', weight)}"
        )
    return [Finding("saturated", words)]


def _missing_steps(session: Training, target: float, mean: float) -> int:
    """Steps that the mean activation needs at its last pace, `FAR` times over; or 0."""
    n_steps = session.trainer.n_steps
    story = [(line.step, line.mean_activation) for line in session.story()]
    late = [(step, value) for step, value in story if step >= 0.75 * n_steps]
    if len(late) < 2 or session.trainer.stopped == "converged":
        return 0
    (first, before), (last, after) = late[0], late[-1]
    moved = (before - after) if mean > target else (after - before)
    if moved <= MOVING * before:
        return 0
    return max(n_steps, math.ceil(FAR * abs(mean - target) * (last - first) / moved))


def dead(case: FinishedTraining) -> list[Finding]:
    """Latents that are active for no training sample."""
    n_dead, n_latents = int((case.density == 0).sum()), len(case.density)
    if n_dead <= DEAD * n_latents:
        return []
    words = (
        f"{n_dead} of {n_latents} latents are dead: active for none of the {case.n_samples} "
        "training samples"
    )
    return [Finding("dead", f"{words}; {case.blame or _revival(case)}")]


def _revival(case: FinishedTraining) -> str:
    """What brings dead latents back, or does without them."""
    if not (case.density > 0).any():
        return "nothing is ever active: see that the samples differ from each other"
    n_latents, rate = len(case.density), float(case.session.recipe.optim.learning_rate)
    if rate > FAST * learning_rate(n_latents):
        return f"the learning rate is high, lower it: {setting('optim.learning_rate', 'auto')}"
    if not case.weight_of("auxk"):
        weight = setting("objective.auxk.weight", AUXK)
        return f"let them learn from what is left: {weight}"
    if case.weight_of("preact") < PREACT and (case.density == 0).mean() < SURPLUS:
        weight = setting("objective.preact.weight", PREACT)
        return f"bring them nearer to their thresholds: {weight}"
    return _fewer(case)


def _fewer(case: FinishedTraining) -> str:
    """As many latents as there are features that carry most of all activity."""
    carried = np.sort(_features(case))[::-1].cumsum()
    n_latents = int((carried < CARRIED * carried[-1]).sum()) + 1
    n_latents = max(n_latents, math.ceil(case.session.recipe.target_l0))
    widths = f" {setting('objective.nested.widths', 'auto')}" if "nested" in case.terms else ""
    return (
        f"{n_latents} features carry {CARRIED:.0%} of all activity, so take fewer latents: "
        f"{setting('model.n_latents', n_latents)}{widths}"
    )


def _features(case: FinishedTraining) -> NDArray[np.float64]:
    """Activity of each feature, where latents near each other count as one.

    From the most active latent on, each takes those near it with it.
    """
    density = case.density[case.density > 0]
    every = case.every
    left, features = np.ones(len(density), dtype=bool), []
    for i in np.argsort(-density[::every]):
        if left[i * every]:
            mine = left & (case.cosines[i] > NEAR)
            mine[i * every] = True
            features.append(density[mine].sum())
            left &= ~mine
    # Latents that were not compared stand for features of their own.
    return np.array([*features, *density[left]])


def duplicates(case: FinishedTraining) -> list[Finding]:
    """Living latents that share an atom with another."""
    n_compared = len(case.cosines)
    shared = int((case.cosines > COSINE).any(1).sum())
    if shared < 2 or shared <= DUPLICATES * n_compared:
        return []
    words = (
        f"{shared} of {n_compared} living latents share their atom with another (cosine above "
        f"{COSINE:g}): one feature is counted twice"
    )
    return [Finding("duplicates", f"{words}; {case.blame or _fewer(case)}")]


def opposites(case: FinishedTraining) -> list[Finding]:
    """Living latents whose atom is the opposite of another's."""
    model, n_compared = case.session.trainer.model, len(case.cosines)
    paired = int((case.cosines < -NEAR).any(1).sum())
    if not model.activation.one_sided or paired < max(2.0, OPPOSITE * n_compared):
        return []
    words = (
        f"atoms come in opposite pairs: {paired} of {n_compared} living latents have an opposite "
        f"(cosine below {-NEAR:g}), so that what comes either way round takes two of them; double "
        "the latents, or take signed codes, one latent for both: "
    )
    wanted = case.session.recipe.target_l0
    if model.activation.kind in ("topk", "batchtopk") and wanted == int(wanted):
        return [Finding("opposites", words + setting("model.activation", "abstopk"))]
    return [Finding("opposites", words + "the recipe abstopk")]


@torch.no_grad()
def thresholds(session: Training, x: Tensor) -> list[Finding]:
    """JumpReLU thresholds that no sample comes near, and which therefore never move."""
    model = session.trainer.model
    activation = model.activation
    if not isinstance(activation, JumpReLU) or activation.relative_bandwidth >= BANDWIDTH:
        return []
    near = torch.zeros(model.n_latents, dtype=torch.bool, device=x.device)
    for part in torch.split(x, max(1, ENTRIES // model.n_latents)):
        pre = model.encode(part)[0]
        near |= ((pre - activation.threshold).abs() < activation.bandwidth / 2).any(0)
    stuck = int((~near).sum())
    if stuck <= STUCK * model.n_latents:
        return []
    words = (
        f"{stuck} of {model.n_latents} thresholds cannot move: none of {len(x)} samples comes "
        f"within half the bandwidth ({activation.relative_bandwidth:g}) of them; widen it: "
        f"{setting('model.bandwidth', BANDWIDTH)}"
    )
    return [Finding("thresholds", words)]


def new_samples(session: Training) -> Figures | None:
    """Figures of the held-out samples that are judged, where there are enough to say something."""
    trainer, held = session.trainer, session.held_out
    if held is None or held.n_samples < FEWEST // 10:
        return None
    if trainer.held is not None:  # prepared by the training that has just ended
        return judge(trainer.model, trainer.held)
    return evaluate(trainer.model, trainer.preprocess, trainer.held_apart(held)[1])


def overfit(session: Training, figures: Figures) -> list[Finding]:
    """Held-out samples worse than training ones: by heart where their cost has long been rising."""
    new = new_samples(session)
    if new is None or not math.isfinite(new.fvu):
        return []
    costs = [
        (line.held_out_cost, line.step)
        for line in session.story()
        if line.held_out_cost is not None
    ]
    enough = session.held_out is not None and session.held_out.n_samples >= FEWEST
    rising = enough and len(costs) >= 3 and costs[-1][0] > RISEN * min(costs)[0]
    if session.trainer.best.patience or not rising or not new.fvu > WORSE * figures.fvu:
        return apart(figures, new)
    lowest, step = min(costs)
    words = (
        f"the samples were learned by heart: fvu is {new.fvu:.3g} of held-out samples and "
        f"{figures.fvu:.3g} of training ones, and the held-out cost was lowest, {lowest:.4g}, at "
        f"step {step} (now {costs[-1][0]:.4g}); end there, take fewer latents, or "
        f"give it more data: {length(session, step)}"
    )
    return [Finding("overfit", words)]


def examine(session: Training, figures: Figures | None = None) -> list[Finding]:
    """What a training that came to its end shows; changes nothing.

    `figures` are those of the training samples; without them the data are read once more. A
    training that was cut off shows nothing yet. Only causes are told where they explain the rest.
    """
    trainer, model = session.trainer, session.trainer.model
    if trainer.stopped is None and trainer.n_steps < session.recipe.n_steps:
        return []
    if model.holders > 1:  # other processes have the other latents, and do not look with this one
        return []
    figures = figures or evaluate(model, trainer.preprocess, session.source)
    density, l0 = figures.density, figures.l0
    owned = hidden(figures, session.recipe.preprocess.steps, session.source.input_names)
    single = isinstance(model, Autoencoder) and model.activation.sparse
    if not single or density is None or l0 is None:
        return [*activity(session, figures), *overfit(session, figures), *owned]
    x = training_rows(session)
    unprepared = [finding.words.rpartition("; ")[2] for finding in sizes(session, x)]
    blame = f"the inputs are the likely cause, {unprepared[0]}" if unprepared else ""
    case = FinishedTraining(session, figures.n_samples, density, *l0_of_new(session, l0), blame)
    if cause := weight(case) or thresholds(session, x):
        return cause
    last = [*overfit(session, figures), *owned]
    return [*dead(case), *target(case), *duplicates(case), *opposites(case), *last]
