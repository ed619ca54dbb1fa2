"""Three ways to connect latents to pixels: fully, locally, and convolved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from simplecell import viz
from simplecell.estimators import SparseAutoencoder
from simplecell.reproduce.bench import Bench, Floats
from simplecell.reproduce.convolution import (
    FOUR,
    SEEDS,
    learned,
    patch_model,
    patch_setting,
    pooled,
    sizes,
)
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.reproduce.pictures import SOFTMAX_SETTING, Pictures, judge, layout, pictures
from simplecell.run.progress import say

SHOWN = 12


class Connected(NamedTuple):
    """One way to connect latents to pixels: its features, and what one picture takes."""

    how: str
    train: Floats
    test: Floats
    parameters: int
    products: int
    seen: Floats
    """What excites some latents [n, h·w·c], each at a place where it looks; 0 where it cannot."""


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
        excites(model)[:SHOWN],
    )


def locally(bench: Bench, data: Pictures, seed: int) -> Connected:
    """The picture in tiles; the latents of a tile see that tile alone."""
    n_latents, patch, *_ = sizes(bench)
    corners = [(i, j) for i in _steps(data, 1, patch) for j in _steps(data, 2, patch)]
    each = n_latents // len(corners)
    train, test, seen = [], [], []
    for k, corner in enumerate(corners):
        tiles = [_cut(part, corner, patch) for part in (data.train, data.test)]
        model = patch_model(bench, n_latents=each, random_state=seed * len(corners) + k)
        what = f"seed {seed}: locally connected, tile {k + 1} of {len(corners)}"
        model = bench.fit(model, tiles[0], what)
        train.append(model.transform(tiles[0]))
        test.append(model.transform(tiles[1]))
        seen.append(placed(excites(model), corner, patch, data.train.shape[1:]))
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
    patch, latents = layer.patch, excites(layer.estimator_)
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


def excites(model: SparseAutoencoder) -> Floats:
    """What excites each latent, in pixels [M, D]."""
    return model.latents().astype(np.float32)


def placed(patches: Floats, corner: tuple[int, int], patch: int, shape: tuple[int, ...]) -> Floats:
    """Patches [n, patch²·c] at a corner of otherwise empty pictures, as rows [n, h·w·c]."""
    whole = np.zeros((len(patches), *shape), dtype=patches.dtype)
    rows, columns = (slice(start, start + patch) for start in corner)
    whole[:, rows, columns] = patches.reshape(-1, patch, patch, shape[2])
    return whole.reshape(len(patches), -1)


def _cut(found: Floats, corner: tuple[int, int], patch: int) -> Floats:
    rows, columns = (slice(start, start + patch) for start in corner)
    return found[:, rows, columns].reshape(len(found), -1)


def _steps(data: Pictures, axis: int, patch: int) -> range:
    return range(0, data.train.shape[axis] - patch + 1, patch)


def _figures(way: Connected, accuracies: list[float]) -> list[Figure]:
    return [
        Figure(f"{way.how}: accuracy", accuracies, unit="%", digits=1),
        Figure(f"{way.how}: parameters", [way.parameters / 1e3], unit="thousand", digits=1),
        Figure(f"{way.how}: products a picture", [way.products / 1e3], unit="thousand", digits=1),
    ]
