"""A small run of every kind that the family table has, for tests of what is made from runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simplecell.run.begin import begin
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

N, D, M, ACTIVE = 240, 12, 30, 3
OUTPUTS = 7
"""Of the transcoder's targets."""
MODERN = (f"model.n_latents={M}", f"model.target_l0={ACTIVE}", "train.max_samples=1500")
MODERN += ("optim.batch_size=60", "optim.learning_rate=0.01", "data.held_out=0.2")
CLASSIC = (f"model.n_latents={M}", "train.steps=6")
SCALED = "preprocess.steps=['center', 'scale']"
PATCHES = "preprocess.steps=['remove_dc', 'patch_range']"
WIDTHS = "objective.nested.widths=[8, 30]"
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sigmoid": ("table", CLASSIC),
    "sigmoid, patches": ("compress", (*CLASSIC, PATCHES, "model.output=sigmoid")),
    "tanh, whitened": (
        "compress",
        (*CLASSIC, "model.activation=tanh", "preprocess.steps=['zca_whiten']"),
    ),
    "identity, fewer components": (
        "compress",
        (
            "model.n_latents=4",
            "train.steps=6",
            "model.activation=identity",
            "preprocess.steps=[{kind='pca', n_components=5}]",
        ),
    ),
    "sigmoid, range": (
        "compress",
        (*CLASSIC, "preprocess.steps=['range']", "model.output=sigmoid"),
    ),
    "pca whitened": ("compress", (*CLASSIC, "preprocess.steps=['pca_whiten']")),
    "tied": ("compress", (*CLASSIC, "model.tied=true", SCALED)),
    "l1": ("l1", MODERN),
    "topk": ("topk", MODERN),
    "abstopk": ("abstopk", MODERN),
    "batchtopk": ("batchtopk", MODERN),
    "batchtopk, center of its own": (
        "batchtopk",
        (*MODERN, "model.pre_bias=false", "model.center=true", "preprocess.steps=['scale']"),
    ),
    "jumprelu": ("jumprelu", MODERN),
    "gated": ("gated", MODERN),
    "matryoshka": ("matryoshka", (*MODERN, WIDTHS)),
    "transcoder": ("topk", (*MODERN, "data.targets=TARGETS")),
    "deep": ("deep", ("model.n_latents=[16, 8, 8, 4]", "train.steps=6")),
    "variational": ("variational", ("model.n_latents=[16, 4]", "train.steps=6")),
    "denoise": ("denoise", CLASSIC),
}


def samples(n: int = N, seed: int = 0) -> np.ndarray:
    """Rows [n, D] between 0 and 1 that few things make, float32."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).standard_normal((20, D))
    codes = random.exponential(size=(n, 20)) * (random.random((n, 20)) < 0.15)
    x = codes @ mixing + 0.05 * random.standard_normal((n, D))
    return (1 / (1 + np.exp(-x / 2))).astype(np.float32)


def made(kind: str, folder: Path) -> Run:
    """A finished run of that kind in `folder`, made when first asked for."""
    run = Run(folder / kind.replace(", ", "-").replace(" ", "-"))
    if run.exists:
        return run
    x, targets = folder / "x.npy", folder / "y.npy"
    if not x.exists():
        np.save(x, samples())
        np.save(targets, 20 + 5 * samples()[:, :OUTPUTS] ** 2)
    recipe, settings = KINDS[kind]
    told = [one.replace("TARGETS", str(targets)) for one in settings]
    session = begin(x, run.path, Recipe.load(recipe), settings=told)
    for _ in session.records():
        pass
    session.finish()
    return run
