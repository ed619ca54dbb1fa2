"""Patches of photographs: edges, whitening, colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from simplecell import viz
from simplecell.data import ArraySource, Source, as_source
from simplecell.errors import DataError
from simplecell.estimators import SparseAutoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.whitening import components_for, whitening_report
from simplecell.reproduce.bench import Bench, Floats
from simplecell.reproduce.demo import EDGE, SETTINGS, edges
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.run.build import Built, build
from simplecell.run.progress import TrainingProgress, say
from simplecell.run.recipe import Recipe
from simplecell.training.trainer import Record

COLOUR = (8, 8, 3)


def edge_detectors(bench: Bench) -> Outcome:
    """Edges: the notes' first exercise, 25 latents on 8×8 patches of whitened photographs."""
    found, costs, averages, first = [], [], [], None
    for seed in bench.seeds(3):
        built, source, last = _train_edges(bench, seed)
        found.append(edges(built.trainer.model, built.preprocess, source.shape))
        costs.append(float(last.cost))
        averages += [float(last.mean_activation.min()), float(last.mean_activation.max())]
        first = first or (built, source)
    assert first is not None
    built, source = first
    rows = built.preprocess.pixels(built.trainer.model.directions().double())
    target = built.trainer.objective.target
    return Outcome(
        data=f"{source.n_samples:,} patches of "
        + ("scikit-learn's two photographs" if bench.quick else "ten photographs (IMAGES.mat)"),
        setting=f"64-25-64, ρ = {target:g}, λ = 1e-4, β = 3, L-BFGS {built.trainer.n_steps} "
        "iterations",
        figures=[
            Figure(
                f"latents that are edge detectors (coherence ≥ {EDGE:g}), of 25",
                found,
                "all, by eye",
                "UFLDL, exercise Sparse autoencoder",
                digits=0,
            ),
            Figure("cost", costs, digits=4),
            Figure("average activations, least and greatest", averages, digits=4),
        ],
        pictures=[bench.picture("edges.png", viz.tiles(rows.numpy(), source.shape))],
        seeds=len(found),
    )


def whitening(bench: Bench) -> Outcome:
    """Whitening: how many components photographs need, and what ZCA leaves of their covariance."""
    source = _photographs() if bench.quick else _raw_images(bench)
    centred = _without_means(source)
    steps = [{"kind": "zca_whiten", "epsilon": 0.1}]
    chain = Preprocess(steps).fit(lambda: [torch.from_numpy(centred)])
    report = whitening_report(ArraySource(centred), chain)
    x = centred[:36]
    figure = viz.whitening(
        x,
        chain.apply(torch.from_numpy(x)).x.numpy(),
        shape=source.shape,
        epsilon=0.1,
        report=report,
        title="12×12 patches without their means, and after ZCA whitening with ε = 0.1",
    )
    ratios = report.table()["off_diagonal_ratio"]
    keeps = [components_for(report.eigenvalues, share) for share in (0.9, 0.99)]
    return Outcome(
        data=f"{source.n_samples:,} patches of 12×12 of "
        + ("scikit-learn's two photographs" if bench.quick else "ten photographs (IMAGES_RAW.mat)"),
        setting="each patch without its mean; ZCA with ε = 0.1",
        figures=[
            Figure("components that keep 90 % of the variance, of 144", [keeps[0]], digits=0),
            Figure("components that keep 99 % of the variance, of 144", [keeps[1]], digits=0),
            Figure("share of the covariance off its diagonal, before", [ratios["before"]]),
            Figure("share of the covariance off its diagonal, after", [ratios["after"]]),
        ],
        pictures=[bench.picture("whitening.png", figure)],
        notes="UFLDL, exercise PCA and Whitening, gives pictures and no numbers",
    )


def color(bench: Bench) -> Outcome:
    """Colour patches under a linear decoder: edges of opposite colours."""
    x, about = _colour_patches(bench)
    n_latents, target = 64 if bench.quick else 400, 0.035
    epsilon = 0.3 if bench.quick else 0.1
    figures: dict[str, list[float]] = {"least": [], "greatest": [], "fvu": []}
    first = None
    for seed in bench.seeds(3):
        sae = SparseAutoencoder(
            n_latents,
            target=target,
            sparsity_weight=5.0,
            weight_decay=3e-3,
            output="linear",
            preprocess=[{"kind": "zca_whiten", "epsilon": epsilon}],
            max_iter=60 if bench.quick else 400,
            random_state=seed,
        )
        sae = bench.fit(sae, x, f"seed {seed}")
        figures["least"].append(sae.mean_activation_.min())
        figures["greatest"].append(sae.mean_activation_.max())
        figures["fvu"].append(sae.fvu_)
        first = first or sae
    assert first is not None
    return Outcome(
        data=about,
        setting=f"192-{n_latents}-192, linear decoder, ρ = {target:g}, λ = 3e-3, β = 5, ZCA with "
        f"ε = {epsilon:g}, L-BFGS {first.max_iter} iterations",
        figures=[
            Figure(
                "picture",
                [n_latents],
                "edges and opponent colours",
                "UFLDL, exercise Learning color features",
                "latents drawn",
                0,
            ),
            Figure("unexplained variance of the whitened patches (fvu)", figures["fvu"]),
            Figure("least mean activation", figures["least"], digits=4),
            Figure("greatest mean activation", figures["greatest"], digits=4),
        ],
        pictures=[bench.picture("color.png", first.plot(shape=COLOUR))],
        seeds=len(figures["fvu"]),
    )


def _train_edges(bench: Bench, seed: int) -> tuple[Built, Source, Record]:
    recipe = Recipe.load("edges" if bench.quick else "ufldl").changed(
        [*SETTINGS, f"train.seed={seed}", f"train.steps={150 if bench.quick else 400}"]
    )
    source = recipe.source(_folder() if bench.quick else bench.file("images"))
    built = build(recipe, source)
    say(f"  seed {seed}")
    with TrainingProgress(recipe.n_steps, quiet=bench.quick) as progress:
        for record in built.trainer.run(source, recipe.n_steps):
            progress.show(record)
    return built, source, record


def _without_means(source: Source) -> Floats:
    x = source.read(slice(0, source.n_samples))
    return (x - x.mean(1, keepdims=True)).astype(np.float32)


def _folder() -> Path:
    from sklearn import datasets

    return Path(datasets.__file__).parent / "images"


def photographs(bench: Bench, patch: int, n_patches: int, seed: int) -> Source:
    """Patches of the notes' whitened pictures; when quick, of two whitened photographs."""
    options: dict[str, Any] = {"kind": "patches", "patch": patch, "n_patches": n_patches}
    if bench.quick:
        return as_source(_folder(), **options, whiten="1/f", seed=seed)
    return as_source(bench.file("images"), **options, seed=seed)


def _photographs() -> Source:
    return as_source(_folder(), kind="patches", patch=12, n_patches=4000)


def _raw_images(bench: Bench) -> Source:
    return as_source(bench.file("raw images"), kind="patches", patch=12, n_patches=10_000)


def _colour_patches(bench: Bench) -> tuple[Floats, str]:
    """[n, 192], row by row, channels last."""
    if bench.quick:
        options: dict[str, Any] = {
            "kind": "patches",
            "patch": 8,
            "color": "color",
            "shrink": "half",
        }
        source = as_source(_folder(), **options, n_patches=4000)
        x = source.read(slice(0, source.n_samples))
        return x.astype(np.float32), f"{len(x):,} colour patches of scikit-learn's two photographs"
    path = bench.file("stl patches")
    source = as_source(path, kind="array", samples="columns")
    if source.n_inputs != 192:
        raise DataError(
            f"{path.name} holds columns of {source.n_inputs} numbers; 192, 8×8 pixels of three "
            "colours, are needed"
        )
    planes = source.read(slice(0, source.n_samples)).astype(np.float32)
    # The file holds R, G and B one after the other, each column by column.
    x = planes.reshape(-1, 3, 8, 8).transpose(0, 3, 2, 1).reshape(-1, 192)
    return np.ascontiguousarray(x), f"{len(x):,} colour patches of 8×8 ({path.name})"
