"""Features learned on patches and used on whole pictures: their worth, and what they take."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator

from simplecell.estimators import ConvolvedFeatures, SparseAutoencoder
from simplecell.reproduce.bench import Bench, Clock, Floats
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.reproduce.pictures import (
    SOFTMAX_SETTING,
    Judged,
    Pictures,
    judge,
    layout,
    paired_interval,
    pictures,
)
from simplecell.run.progress import say

FOUR = ("airplane", "automobile", "cat", "dog")
POOLED = (("mean", 3), ("max", 4))
"""What cross-validation chooses from: the pooling, and the regions a side."""
POOLED_SETTING = " or the ".join(f"{kind} over {n}×{n} regions" for kind, n in POOLED)
SEEDS = 5


class Sizes(NamedTuple):
    """Of a patch model."""

    n_latents: int = 400
    patch: int = 8
    n_patches: int = 20_000
    max_iter: int = 100


def convolution(bench: Bench) -> Outcome:
    """Convolution and pooling: learned features of patches beside raw pixels."""
    data, features, raw, minutes, layers = pictures(bench, FOUR), [], [], [], []
    for seed in bench.seeds(SEEDS):
        clock = Clock()
        layers.append(learned(bench, data, seed))
        features.append(best_pooled(layers[-1], data, seed))
        minutes.append(clock.seconds / 60)
        say(f"  seed {seed}: softmax on raw pixels")
        raw.append(judge(*data.rows, data, seed))
        say(f"    features {features[-1].accuracy:.1f} %, raw pixels {raw[-1].accuracy:.1f} %")
    shape = layout((*layers[0].patch_shape_, data.train.shape[3]))
    return Outcome(
        data=data.about,
        setting=f"{patch_setting(bench)}; pooled as the {POOLED_SETTING}; {SOFTMAX_SETTING}, "
        "as is the pooling",
        figures=[*compared(features, raw), _time(minutes)],
        pictures=[bench.picture("convolution.png", layers[0].estimator_.plot(shape=shape))],
        notes="the published figures are of STL-10's pictures, 64×64, another data set; the "
        "interval is paired over the test pictures; the picture shows what excites each latent",
        seeds=len(features),
    )


def _time(minutes: list[float]) -> Figure:
    source = "a published Python version of the exercise, 2014, on STL-10"
    what = "time of one seed, its choices included"
    return Figure(what, minutes, "about 480 min", source, "min", 1)


def compared(features: list[Judged], raw: list[Judged]) -> list[Figure]:
    """Both accuracies, and their difference with its interval over the test pictures."""
    ours, theirs = ([one.accuracy for one in judged] for judged in (features, raw))
    right, raw_right = (np.array([one.right for one in judged]) for judged in (features, raw))
    low, high = paired_interval(right, raw_right)
    gains = [a - b for a, b in zip(ours, theirs, strict=True)]
    source = "UFLDL, exercise Convolution and Pooling (STL-10)"
    return [
        Figure("accuracy of pooled features", ours, "about 80 %", source, "%", 1),
        Figure("accuracy of raw pixels", theirs, unit="%", digits=1),
        Figure("gain over raw pixels", gains, unit="points", digits=1),
        Figure("least in the 95 % interval of the gain", [low], unit="points", digits=1),
        Figure("most in the 95 % interval of the gain", [high], unit="points", digits=1),
    ]


def best_pooled(layer: ConvolvedFeatures, data: Pictures, seed: int) -> Judged:
    """The pooling that does best in cross-validation on the training pictures."""
    found = []
    for pooling, regions in POOLED:
        say(f"  seed {seed}: {pooling} over {regions}×{regions} regions")
        found.append(judge(*pooled(layer, data, pooling, regions), data, seed))
        say(f"    cross-validation {found[-1].cross_validated:.1%}, C {found[-1].strength:g}")
    return max(found, key=lambda judged: judged.cross_validated)


def learned(bench: Bench, data: Pictures, seed: int) -> ConvolvedFeatures:
    """Latents of patches of the training pictures."""
    _, patch, n_patches, _ = sizes(bench)
    say(f"  seed {seed}: latents of {n_patches:,} patches of {patch}×{patch}")
    model = patch_model(bench, verbose=not bench.quick)
    return ConvolvedFeatures(model, patch=patch, n_patches=n_patches, random_state=seed).fit(
        data.train
    )


def pooled(
    layer: ConvolvedFeatures, data: Pictures, pooling: str, regions: int
) -> tuple[Floats, Floats]:
    """Features of both parts by latents that are there already, pooled anew."""
    frozen = FrozenEstimator(layer.estimator_)
    again = ConvolvedFeatures(
        frozen, patch=layer.patch, n_patches=1, pooling=pooling, regions=regions
    ).fit(data.train)
    return again.transform(data.train), again.transform(data.test)


def sizes(bench: Bench) -> Sizes:
    """The notes' sizes, or small ones."""
    return Sizes(16, 4, 2_000, 30) if bench.quick else Sizes()


def patch_model(bench: Bench, **changes: Any) -> SparseAutoencoder:
    """The notes' linear decoder; their ε is 0.1 and their iterations 400."""
    options = {
        "n_latents": sizes(bench).n_latents,
        "target": 0.035,
        "sparsity_weight": 5.0,
        "weight_decay": 3e-3,
        "output": "linear",
        "preprocess": [{"kind": "zca_whiten", "epsilon": 0.01}],
        "max_iter": sizes(bench).max_iter,
    }
    return SparseAutoencoder(**{**options, **changes})


def patch_setting(bench: Bench) -> str:
    """What `patch_model` learns from, and how."""
    n_latents, patch, n_patches, max_iter = sizes(bench)
    return (
        f"{n_latents} latents of {n_patches:,} patches of {patch}×{patch}, ZCA ε = 0.01, linear "
        f"output, ρ = 0.035, λ = 3e-3, β = 5, L-BFGS {max_iter} iterations (ε and the iterations "
        "chosen by cross-validation on CIFAR-10)"
    )
