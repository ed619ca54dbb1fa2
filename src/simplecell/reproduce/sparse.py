"""Sparse coding: edges, the map of a torus, and photographs restored by a learned dictionary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from simplecell import viz
from simplecell.data import Source
from simplecell.model.measures import edge_coherence
from simplecell.preprocess.chain import Preprocess
from simplecell.reproduce.bench import Bench, Clock
from simplecell.reproduce.demo import EDGE
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.reproduce.photographs import named, photographs
from simplecell.run.progress import say
from simplecell.sparse_coding import Alternation, Penalty, Smooth, random_dictionary, torus
from simplecell.sparse_coding.restoration import (
    GaussianPrior,
    denoise,
    inpaint,
    learn_dictionary,
    psnr,
)

Floats = NDArray[np.float64]
SIDE = 8
NOISE = 25 / 255
EDGES = f"atoms that are edge detectors (coherence ≥ {EDGE:g})"
LIKENESS = "likeness of neighbours over that of random pairs (cosine of power spectra)"
PUBLISHED = "UFLDL, exercise Sparse coding"


def sparse_coding(bench: Bench) -> Outcome:
    """Sparse coding of photographs: every sample a sum of few atoms."""
    alpha = 0.4 if bench.quick else 0.2
    learned = _learned(bench, lambda n_latents: Smooth(alpha))
    n_latents, edges = len(learned.atoms[0]), [count_edges(atoms) for atoms in learned.atoms]
    return Outcome(
        data=learned.data,
        setting=f"{n_latents} atoms of 8×8, smoothed L1 with α = {alpha:g}, {learned.steps} "
        "dictionary steps, each on a batch",
        figures=[
            Figure(f"{EDGES}, of {n_latents}", edges, "edges, by eye", PUBLISHED, digits=0),
            Figure("time of one seed", learned.seconds, "under 45 min", PUBLISHED, "s", 0),
        ],
        pictures=[bench.picture("sparse-coding.png", _map(learned.atoms[0]))],
        notes="the notes' λ is 2α; atoms in the unit ball, which is their ideal form",
        seeds=len(learned.atoms),
    )


def topographic(bench: Bench) -> Outcome:
    """Topographic sparse coding: neighbours on a torus become alike."""
    alpha = 0.4 if bench.quick else 0.2
    learned = _learned(bench, lambda n_latents: Smooth(alpha, groups=torus(n_latents)))
    n_latents, edges = len(learned.atoms[0]), [count_edges(atoms) for atoms in learned.atoms]
    likeness = [neighbour_ratio(atoms) for atoms in learned.atoms]
    side = round(n_latents**0.5)
    return Outcome(
        data=learned.data,
        setting=f"{side}×{side} atoms of 8×8 on a torus, neighbourhoods of 3×3, α = {alpha:g}, "
        f"{learned.steps} dictionary steps",
        figures=[
            Figure(LIKENESS, likeness, "ordered, by eye", PUBLISHED, digits=2),
            Figure(f"{EDGES}, of {n_latents}", edges, digits=0),
            Figure("time of one seed", learned.seconds, unit="s", digits=0),
        ],
        pictures=[bench.picture("topographic.png", _map(learned.atoms[0]))],
        seeds=len(learned.atoms),
    )


def restoration(bench: Bench) -> Outcome:
    """Noise and missing pixels: a photograph restored by a learned dictionary."""
    target, other = _grey_photographs(3 if bench.quick else 1)
    random = np.random.default_rng(0)
    noisy = target + random.normal(0, NOISE, target.shape)
    mask = random.random(target.shape) < 0.5
    broken = np.where(mask, target, 0.0)
    small = partial(learn_dictionary, n_latents=64, n_patches=2000)
    learn = small if bench.quick else learn_dictionary
    say("  learning a dictionary")
    learned, own = learn(other, noise=0.04).numpy(), learn(noisy, noise=NOISE).numpy()
    pca = GaussianPrior.fit(_patches(other, 3000 if bench.quick else 20_000))
    say("  restoring")
    clean = {
        "PCA": denoise(noisy, pca, noise=NOISE, stride=2),
        "the dictionary of another photograph": denoise(noisy, learned, noise=NOISE, stride=2),
        "the dictionary of the noisy one itself": denoise(noisy, own, noise=NOISE, stride=2),
    }
    filled = {
        "PCA": inpaint(broken, mask, pca, stride=2),
        "the dictionary of another photograph": inpaint(broken, mask, learned, stride=2),
    }
    jobs = (("noise", noisy, clean), ("half of the pixels missing", broken, filled))
    figures = [
        Figure(f"{job}: {how}", [psnr(target, found)], unit="dB", digits=2)
        for job, damaged, answers in jobs
        for how, found in (("damaged", damaged), *answers.items())
    ]
    rows = [
        [damaged, answers["PCA"], answers["the dictionary of another photograph"]]
        for _, damaged, answers in jobs
    ]
    return Outcome(
        data="scikit-learn's two photographs in grey: one to restore, one to learn from",
        setting="patches of 8×8, stride 2; noise of standard deviation 25/255; peak 1",
        figures=figures,
        pictures=[bench.picture("restoration.png", _side_by_side(rows))],
        notes="PSNR. Left to right: damaged, by PCA, by the dictionary of another photograph",
    )


class Learned(NamedTuple):
    """Dictionaries of several seeds, and how they were learned."""

    atoms: list[Floats]
    seconds: list[float]
    data: str
    steps: int


def _learned(bench: Bench, penalty: Callable[[int], Penalty]) -> Learned:
    n_latents, steps = (49, 60) if bench.quick else (121, 100)
    atoms, seconds, source = [], [], None
    for seed in bench.seeds(3):
        say(f"  seed {seed}")
        clock, source = Clock(), photographs(bench, SIDE, 5000 if bench.quick else 20_000, seed)
        atoms.append(_dictionary(source, penalty(n_latents), n_latents, steps, seed))
        seconds.append(clock.seconds)
    assert source is not None
    data = f"{source.n_samples:,} patches of 8×8 of {named(bench)}"
    return Learned(atoms, seconds, data, steps)


def _dictionary(source: Source, penalty: Penalty, n_latents: int, steps: int, seed: int) -> Floats:
    chain = Preprocess(["remove_dc"]).fit(lambda: [torch.zeros(1, source.n_inputs)])
    training = Alternation(
        random_dictionary(n_latents, source.n_inputs, seed).float(),
        penalty,
        preprocess=chain,
        seed=seed,
        code_iter=30,
    )
    for _ in training.run(source, steps):
        pass
    return training.dictionary.double().cpu().numpy()


def count_edges(atoms: Floats) -> int:
    """Atoms that are edge detectors (count)."""
    return int((edge_coherence(atoms, (SIDE, SIDE)) >= EDGE).sum())


def neighbour_ratio(atoms: Floats) -> float:
    """Mean cosine of the power spectra of torus neighbours over that of all pairs of atoms."""
    power = np.abs(np.fft.fft2(atoms.reshape(-1, SIDE, SIDE))) ** 2
    power = power.reshape(len(power), -1)[:, 1:]  # without DC
    power /= np.linalg.norm(power, axis=1, keepdims=True)
    cosines, others = power @ power.T, ~np.eye(len(atoms), dtype=bool)
    near = (torus(len(atoms), 3).numpy() > 0) & others
    return float(cosines[near].mean() / cosines[others].mean())


def _map(atoms: Floats) -> Image.Image:
    return viz.tiles(atoms, (SIDE, SIDE), columns=round(len(atoms) ** 0.5))


def _grey_photographs(shrink: int) -> list[Floats]:
    """China and the flower in 0 … 1, averaged to a whole fraction of their size."""
    from sklearn.datasets import load_sample_images

    grey = [Image.fromarray(picture).convert("L") for picture in load_sample_images().images]
    return [np.asarray(picture.reduce(shrink), float) / 255 for picture in grey]


def _patches(picture: Floats, count: int) -> torch.Tensor:
    windows = np.lib.stride_tricks.sliding_window_view(picture, (SIDE, SIDE))
    rows = windows.reshape(-1, SIDE**2)
    return torch.tensor(
        rows[np.random.default_rng(0).choice(len(rows), count, replace=False)]
    ).float()


def _side_by_side(rows: list[list[Floats]]) -> Image.Image:
    """Pictures in 0 … 1 as a table, at half their size when large."""
    joined = np.vstack([np.hstack(row) for row in rows]).clip(0, 1)
    image = Image.fromarray((255 * joined).round().astype(np.uint8))
    return image.reduce(2) if image.width > 1000 else image
