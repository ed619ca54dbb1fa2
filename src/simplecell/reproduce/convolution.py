"""Latents of patches on whole pictures: pooled, and beside full and local connections."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator

from simplecell import viz
from simplecell.estimators import ConvolvedFeatures, SparseAutoencoder
from simplecell.reproduce.bench import Bench, Clock, Floats
from simplecell.reproduce.classifiers import (
    SOFTMAX_SETTING,
    Judged,
    Pictures,
    judge,
    layout,
    paired_interval,
    pictures,
)
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.run.progress import say

FOUR = ("airplane", "automobile", "cat", "dog")
POOLED = (("mean", 3), ("max", 4))
"""What cross-validation chooses from: the pooling, and the regions a side."""
POOLED_SETTING = " or the ".join(f"{kind} over {n}×{n} regions" for kind, n in POOLED)
SEEDS = 5
SHOWN = 12


class Sizes(NamedTuple):
    """Of a patch model."""

    n_latents: int = 400
    patch: int = 8
    n_patches: int = 20_000
    max_iter: int = 100


class Connected(NamedTuple):
    """One way to connect latents to pixels: its features, and what one picture takes."""

    how: str
    train: Floats
    test: Floats
    parameters: int
    products: int
    seen: Floats
    """What excites some latents [n, h·w·c], each at a place where it looks; 0 where it cannot."""


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
    what, published = "time of one seed, its choices included", "about 480 min"
    source = "a published Python version of the exercise, 2014, on STL-10"
    return Outcome(
        data=data.about,
        setting=f"{patch_setting(bench)}; pooled as the {POOLED_SETTING}; {SOFTMAX_SETTING}, "
        "as is the pooling",
        figures=[*compared(features, raw), Figure(what, minutes, published, source, "min", 1)],
        pictures=[bench.picture("convolution.png", layers[0].estimator_.plot(shape=shape))],
        notes="the published figures are of STL-10's pictures, 64×64, another data set; the "
        "interval is paired over the test pictures; the picture shows what excites each latent",
        seeds=len(features),
    )


def connectivity(bench: Bench) -> Outcome:
    """Fully connected, locally connected and convolved latents on the same pictures."""
    data = pictures(bench, FOUR)
    ways: dict[str, Connected] = {}
    accuracies: dict[str, list[float]] = {}
    for seed in bench.seeds(SEEDS):
        for way in connections(bench, data, seed):
            judged = judge(way.train, way.test, data, seed)
            say(f"    {way.how}: {judged.accuracy:.1f} %")
            ways.setdefault(way.how, way)
            accuracies.setdefault(way.how, []).append(judged.accuracy)
    patch, shape = sizes(bench).patch, layout(data.train.shape[1:])
    seen = np.concatenate([way.seen for way in list(ways.values())[:3]])
    return Outcome(
        data=data.about,
        setting=f"{patch_setting(bench)}; as many fully connected, centred only, ρ = 0.1 (of five "
        f"settings the best by cross-validation); as many shared out among tiles of "
        f"{patch}×{patch}; means over the regions; {SOFTMAX_SETTING}",
        figures=[figure for how in ways for figure in _figures(ways[how], accuracies[how])],
        pictures=[bench.picture("connectivity.png", viz.tiles(seen, shape, columns=SHOWN))],
        notes="parameters and products are the encoder's; UFLDL, Feature extraction using "
        "convolution, gives no figures; the picture shows what excites twelve latents, a row for "
        "each way: where a latent has no connections it is grey",
        seeds=len(bench.seeds(SEEDS)),
    )


def _figures(way: Connected, accuracies: list[float]) -> list[Figure]:
    return [
        Figure(f"{way.how}: accuracy", accuracies, unit="%", digits=1),
        Figure(f"{way.how}: parameters", [way.parameters / 1e3], unit="thousand", digits=1),
        Figure(f"{way.how}: products a picture", [way.products / 1e3], unit="thousand", digits=1),
    ]


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


def connections(bench: Bench, data: Pictures, seed: int) -> Iterator[Connected]:
    """Each way in turn, learned from the training pictures."""
    yield fully(bench, data, seed)
    yield locally(bench, data, seed)
    yield from convolved(bench, data, seed)


def fully(bench: Bench, data: Pictures, seed: int) -> Connected:
    """Every latent sees the whole picture."""
    train, test = data.rows
    model = patch_model(bench, preprocess=["center"], target=0.1, random_state=seed)
    model = bench.fit(model, train, f"seed {seed}: fully connected")
    weights = model.n_latents * train.shape[1]
    return Connected(
        "fully connected",
        model.transform(train),
        model.transform(test),
        weights + model.n_latents,
        weights,
        model.latents().astype(np.float32)[:SHOWN],
    )


def locally(bench: Bench, data: Pictures, seed: int) -> Connected:
    """The picture in tiles; the latents of a tile see that tile alone."""
    n_latents, patch, *_ = sizes(bench)
    height, width = (range(0, side - patch + 1, patch) for side in data.train.shape[1:3])
    corners = list(itertools.product(height, width))
    each = n_latents // len(corners)
    train, test, seen = [], [], []
    for k, corner in enumerate(corners):
        tiles = [cut(part, corner, patch) for part in (data.train, data.test)]
        model = patch_model(bench, n_latents=each, random_state=seed * len(corners) + k)
        what = f"seed {seed}: locally connected, tile {k + 1} of {len(corners)}"
        model = bench.fit(model, tiles[0], what)
        train.append(model.transform(tiles[0]))
        test.append(model.transform(tiles[1]))
        seen.append(placed(model.latents().astype(np.float32), corner, patch, data.train.shape[1:]))
    weights = each * len(corners) * tiles[0].shape[1]
    return Connected(
        "locally connected",
        np.hstack(train),
        np.hstack(test),
        weights + each * len(corners),
        weights,
        np.concatenate(seen)[:: max(1, each * len(corners) // SHOWN)][:SHOWN],
    )


def convolved(bench: Bench, data: Pictures, seed: int) -> Iterator[Connected]:
    """The same latents at every place, averaged over the picture and over 3×3 regions."""
    layer = learned(bench, data, seed)
    patch, latents = layer.patch, layer.estimator_.latents().astype(np.float32)
    height, width = data.train.shape[1:3]
    places = (height - patch + 1) * (width - patch + 1)
    middle = ((height - patch) // 2, (width - patch) // 2)
    for regions in (1, 3):
        say(f"  seed {seed}: convolved, {regions}×{regions} regions")
        yield Connected(
            f"convolved, {regions}×{regions} regions",
            *pooled(layer, data, "mean", regions),
            latents.size + len(latents),
            latents.size * places,
            placed(latents[:SHOWN], middle, patch, data.train.shape[1:]),
        )


def placed(patches: Floats, corner: tuple[int, int], patch: int, shape: tuple[int, ...]) -> Floats:
    """Patches [n, patch²·c] at a corner of otherwise empty pictures, as rows [n, h·w·c]."""
    whole = np.zeros((len(patches), *shape), dtype=patches.dtype)
    whole[_window(corner, patch)] = patches.reshape(-1, patch, patch, shape[2])
    return whole.reshape(len(patches), -1)


def cut(found: Floats, corner: tuple[int, int], patch: int) -> Floats:
    """What whole pictures [n, h, w, c] hold at a corner, as rows [n, patch²·c]."""
    return found[_window(corner, patch)].reshape(len(found), -1)


def _window(corner: tuple[int, int], patch: int) -> tuple[slice, ...]:
    return slice(None), *(slice(start, start + patch) for start in corner)
