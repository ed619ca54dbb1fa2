"""What data and settings tell before training: center, scale, range, batch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from simplecell.data import Source
from simplecell.data.rows import targets_of
from simplecell.model.activations import OUTPUT_BOUNDS
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.info import StepLog
from simplecell.run.recipe import Recipe
from simplecell.training.prepared import prepare
from simplecell.training.trainer import Trainer

Step = str | Mapping[str, object]
"""A preparation step as a recipe says it."""
ROWS, ENTRIES = 8192, 2**24
"""Samples looked at: enough for every share that is measured, however long the data are. Of very
wide samples fewer, so that a look stays within 128 MB."""
CENTER = 0.5
"""Share of the mean in mean ‖x‖². Embeddings and activations as they come have 0.1 to 0.25 and
train well; above a half most of what is learned first is one vector."""
SCALE = 10.0
"""Factor between mean ‖x‖² and D that is let pass, either way: three in length, which Adam bridges
in its first hundred steps."""
LOST = 1e-4
"""Share of the variance that rounding to the model's precision may take."""
COLUMNS, OWNED = 30.0, 0.5
"""Standard deviation of an input over the median one, where such inputs own more than that share of
the variance: columns of 0s and 1s have such ratios as well, but own little."""
OUTSIDE, EDGE = 0.001, 0.01
"""Share of the values that lie beyond the output's bounds by more than a hundredth of its range: a
few outliers do no harm."""
ACTIVE, ENOUGH_ACTIVE = 1.0, 10.0
"""Samples of a batch in which a latent is to be active, B ρ. On planted data a B ρ of 0.2 ended at
a cost 13 to 58 % higher than one of 2 to 10, after as many steps."""
BATCH, GOOD_BATCH = 32, 512
"""Samples whose k B largest values are kept: the least of so few is noise as a threshold."""
STEPS, GOOD_STEPS = 100, 1000
"""Adam moves a weight by about the learning rate a step: 100 steps leave it near its start."""


@dataclass(frozen=True)
class Finding:
    """What was seen, with its number, why it matters, and the cure as settings to give."""

    kind: str
    """precision, center, scale, range, batch; dead, saturated, duplicates, opposites, thresholds,
    overfit; inputs, rows, apart."""
    words: str

    def __str__(self) -> str:
        return f"doctor: {self.words}"

    def table(self) -> dict[str, str]:
        """As `train --json` prints it."""
        return asdict(self)


class Training(Protocol):
    """What is looked at: a training that begins or has ended, of a run or of an estimator."""

    @property
    def trainer(self) -> Trainer: ...
    @property
    def recipe(self) -> Recipe:
        """As it was resolved."""
        ...

    @property
    def requested(self) -> Mapping[str, Mapping[str, object]]:
        """As it was asked for: its tables."""
        ...

    @property
    def source(self) -> Source: ...
    @property
    def held_out(self) -> Source | None: ...
    def story(self) -> Iterable[StepLog]:
        """The log of the training, in order: some of its steps at least."""
        ...


@torch.no_grad()
def training_rows(session: Training) -> Tensor:
    """Training samples as the model sees them, evenly spread over the data, [B, D]."""
    like = session.trainer.model.like
    return prepared_rows(session).to(like)


def prepared_rows(session: Training) -> Tensor:
    """The same in the precision of the data, if that is the finer one."""
    source, trainer = session.source, session.trainer
    n_rows = max(1, min(source.n_samples, ROWS, ENTRIES // source.n_inputs))
    rows = np.unique(np.linspace(0, source.n_samples - 1, n_rows).astype(np.int64))
    return prepare(source.read(rows), trainer.preprocess, trainer.model.like).x


def length_is_auto(session: Training) -> bool:
    """Whether the user's recipe left the number of steps to the data."""
    return bool(session.requested["train"].get("steps") == "auto")


def length(session: Training, steps: int) -> str:
    """The setting that makes the training as long, by the key that the user's recipe leaves."""
    if not length_is_auto(session):
        return setting("train.steps", steps)
    batch = min(session.recipe.optim.batch_size, session.source.n_samples)
    return setting("train.max_samples", steps * batch)


def setting(key: str, value: object) -> str:
    """A setting as it is said on the command line."""
    text = value if isinstance(value, str) else _toml(value)
    return f"--set {key}='{text}'" if isinstance(value, list) else f"--set {key}={text}"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"kind"}:
            return _toml(value["kind"])
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value)


def examine_inputs(session: Training) -> list[Finding]:
    """What data and settings tell, from a look at up to 8192 samples; changes nothing."""
    exact = prepared_rows(session)
    if rounded := _rounding(session, exact):
        return rounded
    x = exact.to(session.trainer.model.like)
    return [*sizes(session, x), *_range(session, x), *_batch(session)]


def _rounding(session: Training, x: Tensor) -> list[Finding]:
    """Prepared values that the model's precision cannot tell apart."""
    seen, x = x.to(session.trainer.model.like).double(), x.double()
    variance = float((x - x.mean(0)).square().sum())
    lost = float((seen - x).square().sum())
    if not variance or lost <= LOST * variance:
        return []
    far = float(x.mean(0).abs().max())
    words = (
        f"the prepared values lie so far from zero, around {far:.3g}, that 32-bit numbers lose "
        f"{lost / variance:.2%} of their variance by rounding; "
        f"prepare them: {_steps(session, centre=True, unscaled=True)}"
    )
    return [Finding("precision", words)]


def sizes(session: Training, x: Tensor) -> list[Finding]:
    """Prepared inputs x [B, D] that are not centred, not scaled, or of wildly different scales."""
    model, x = session.trainer.model, x.double()
    if not isinstance(model, Autoencoder) or model.output != "linear":
        return []
    if columns := _columns(session, x):
        return columns
    if not model.activation.sparse:
        return []
    whole, mean = _size(x)
    lopsided = mean > CENTER * whole
    if model.centred or model.pre_bias:  # the offset begins at the mean
        whole, mean = _size(x - (model.center.double() if model.centred else x.mean(0)))
    uncentred = mean > CENTER * whole
    left = (whole - mean if uncentred else whole) / x.shape[1]
    unscaled = left > 0 and not 1 / SCALE <= left <= SCALE
    centre = uncentred or (unscaled and lopsided)  # else a scale would be that of the mean
    cure, found = f"prepare them: {_steps(session, centre, unscaled)}", []
    if uncentred:
        words = (
            f"the mean of the inputs makes up {mean / whole:.0%} of their size (mean ‖x‖²), and "
            f"latents are spent on it; {cure}"
        )
        found.append(Finding("center", words))
    if unscaled:
        words = (
            f"mean ‖x‖² is {left:.3g} times the number of inputs, and the learning rate and the "
            f"weights of the terms are made for about 1; {cure}"
        )
        found.append(Finding("scale", words))
    return found


def _size(x: Tensor) -> tuple[float, float]:
    """Mean ‖x‖² of rows, and how much of it is that of their mean."""
    return float(x.square().sum(1).mean()), float(x.mean(0).square().sum())


def _columns(session: Training, x: Tensor) -> list[Finding]:
    steps = session.recipe.preprocess.steps
    if len(x) < 2 or any("pca" in step_name(step) for step in steps):
        return []  # components differ on purpose
    variance = x.var(0)
    living = variance[variance > 0]
    if not len(living):
        return []
    large = living[living > COLUMNS**2 * living.median()]
    share = float(large.sum() / living.sum())
    if share <= OWNED:
        return []
    ratio = float((living.max() / living.median()).sqrt())
    words = (
        f"the most variable input varies {ratio:.0f} times as much as the median one, and "
        f"{len(large)} of {x.shape[1]} inputs own {share:.1%} of the variance, so that the others "
        f"hardly count; bring all to one scale: {setting('preprocess.steps', ['standardize'])}"
    )
    return [Finding("scale", words)]


def _steps(session: Training, centre: bool, unscaled: bool) -> str:
    """The preparation there is, and behind it what is missing."""
    steps: list[Step] = list(session.recipe.preprocess.steps)
    scaled = unscaled or any(step_name(step) == "scale" for step in steps)
    steps = [step for step in steps if step_name(step) != "scale"]
    return setting("preprocess.steps", steps + ["center"] * centre + ["scale"] * scaled)


def step_name(step: Step) -> str:
    """The kind of a preparation step."""
    return step if isinstance(step, str) else str(step["kind"])


def _range(session: Training, x: Tensor) -> list[Finding]:
    """Values that a bounded output cannot reach."""
    output = session.trainer.model.output
    bounds = OUTPUT_BOUNDS.get(output)
    transcoder = targets_of(session.source) is not None  # which gives something else
    if bounds is None or transcoder:
        return []
    edge = EDGE * (bounds[1] - bounds[0])
    outside = float(((x < bounds[0] - edge) | (x > bounds[1] + edge)).double().mean())
    if outside <= OUTSIDE:
        return []
    if session.recipe.preprocess.steps and not session.trainer.objective.find("cross_entropy"):
        cure = f"take an output without bounds: {setting('model.output', 'linear')}"
    else:
        cure = f"map the data into them: {setting('preprocess.steps', 'auto')}"
    words = (
        f"{outside:.1%} of the prepared values lie outside {bounds[0]:g} … {bounds[1]:g} (they "
        f"span {float(x.min()):.4g} … {float(x.max()):.4g}), where {output} outputs never get; "
        f"{cure}"
    )
    return [Finding("range", words)]


def _batch(session: Training) -> list[Finding]:
    """Mini-batches that are too small, or so large that few of them are left."""
    recipe, n_samples = session.recipe, session.source.n_samples
    if recipe.optim.kind != "adam":
        return []
    batch, target = min(recipe.optim.batch_size, n_samples), session.trainer.objective.target
    words = ""
    if target is not None and batch * target < ACTIVE:
        words = (
            f"a latent is to be active in {batch * target:.2g} of the {batch} samples of a batch "
            f"(ρ = {target:g}), and from so few the kl term learns slowly; "
            f"{_more_active(target, n_samples)}"
        )
    elif session.trainer.model.activation.kind == "batchtopk" and batch < BATCH:
        words = (
            f"the threshold of batchtopk codes is learned from batches, and {batch} samples leave "
            f"it to chance; {_larger(session)}"
        )
    elif length_is_auto(session) and recipe.n_steps < STEPS:
        words = (
            f"the whole training is {recipe.n_steps} steps of {batch} samples, and the weights "
            f"hardly move in so few; train for longer: {length(session, GOOD_STEPS)}"
        )
    return [Finding("batch", words)] if words else []


def _more_active(target: float, n_samples: int) -> str:
    wanted = math.ceil(ENOUGH_ACTIVE / target)
    if wanted <= n_samples:
        return f"take larger batches: {setting('optim.batch_size', wanted)}"
    raised = min(0.5, ENOUGH_ACTIVE / n_samples)
    batch = setting("optim.batch_size", n_samples)
    return (
        "the data are too few for this ρ, so raise it: "
        f"{setting('objective.kl.target', round(raised, 4))} {batch}"
    )


def _larger(session: Training) -> str:
    if session.source.n_samples >= BATCH:
        return f"take larger batches: {setting('optim.batch_size', GOOD_BATCH)}"
    k = setting("model.target_l0", max(1, round(session.recipe.target_l0)))
    return f"topk codes need none: {setting('model.activation', 'topk')} {k}"
