"""What single latents show after a training: dead ones, duplicates, stuck thresholds."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.activations import JumpReLU
from simplecell.doctor.case import Case
from simplecell.doctor.finding import ENTRIES, Finding, setting
from simplecell.resolve import learning_rate
from simplecell.session import Session

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
STUCK = 0.5
"""Share of the thresholds that no sample comes near; dead latents alone are fewer."""
BANDWIDTH = 0.5
"""The default; from there on a threshold that nothing comes near is a dead latent's."""


def dead(case: Case) -> list[Finding]:
    """Latents that are active for no training sample."""
    n_dead, n_latents = int((case.density == 0).sum()), len(case.density)
    if n_dead <= DEAD * n_latents:
        return []
    words = (
        f"{n_dead} of {n_latents} latents are dead: active for none of the {case.n_samples} "
        "training samples"
    )
    return [Finding("dead", f"{words}; {case.blame or _revival(case)}")]


def _revival(case: Case) -> str:
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


def _fewer(case: Case) -> str:
    """As many latents as there are features that carry most of all activity."""
    carried = np.sort(_features(case))[::-1].cumsum()
    n_latents = int((carried < CARRIED * carried[-1]).sum()) + 1
    n_latents = max(n_latents, math.ceil(case.session.recipe.target_l0))
    widths = f" {setting('objective.nested.widths', 'auto')}" if "nested" in case.terms else ""
    return (
        f"{n_latents} features carry {CARRIED:.0%} of all activity, so take fewer latents: "
        f"{setting('model.n_latents', n_latents)}{widths}"
    )


def _features(case: Case) -> NDArray[np.float64]:
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


def duplicates(case: Case) -> list[Finding]:
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


@torch.no_grad()
def thresholds(session: Session, x: Tensor) -> list[Finding]:
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
