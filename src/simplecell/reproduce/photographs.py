"""Patches of photographs: edges, whitening, colour."""

from __future__ import annotations

import numpy as np
import torch

from simplecell import viz
from simplecell.data import ArraySource, Source, as_source
from simplecell.errors import DataError
from simplecell.estimators import SparseAutoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.whitening import components_for, whitening_report
from simplecell.reproduce.bench import DATA_SETS, Bench, Floats
from simplecell.reproduce.demo import EDGE, SETTINGS, edges, photographs_folder
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.run.build import Built, build
from simplecell.run.progress import say
from simplecell.run.recipe import Recipe
from simplecell.training.trainer import Record

COLOUR = (8, 8, 3)
EDGES = f"latents that are edge detectors (coherence ≥ {EDGE:g})"


def edge_detectors(bench: Bench) -> Outcome:
    """Edges: the notes' first exercise, 25 latents on 8×8 patches of whitened photographs."""
    trained = [_train_edges(bench, seed) for seed in bench.seeds(3)]
    found = [edges(t.trainer.model, t.preprocess, source.shape) for t, source, _ in trained]
    ends = [float(end) for _, _, last in trained for end in last.mean_activation.aminmax()]
    exercise = "UFLDL, exercise Sparse autoencoder"
    built, source, _ = trained[0]
    rows = built.preprocess.pixels(built.trainer.model.directions().double())
    target = built.trainer.objective.target
    return Outcome(
        data=f"{source.n_samples:,} patches of {named(bench)}",
        setting=f"64-25-64, ρ = {target:g}, λ = 1e-4, β = 3, L-BFGS {built.trainer.n_steps} "
        "iterations",
        figures=[
            Figure(f"{EDGES}, of 25", found, "all, by eye", exercise, digits=0),
            Figure("cost", [float(last.cost) for _, _, last in trained], digits=4),
            Figure("average activations, least and greatest", ends, digits=4),
        ],
        pictures=[bench.picture("edges.png", viz.tiles(rows.numpy(), source.shape))],
        seeds=len(found),
    )


def whitening(bench: Bench) -> Outcome:
    """Whitening: how many components photographs need, and what ZCA leaves of their covariance."""
    n_patches = 4000 if bench.quick else 10_000
    source = photographs(bench, 12, n_patches, data_set="raw images")
    x = source.read(slice(0, source.n_samples))
    centred = (x - x.mean(1, keepdims=True)).astype(np.float32)
    chain = Preprocess([{"kind": "zca_whiten", "epsilon": 0.1}]).fit(
        lambda: [torch.from_numpy(centred)]
    )
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
        data=f"{source.n_samples:,} patches of 12×12 of {named(bench, 'raw images')}",
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
    sae = SparseAutoencoder(
        n_latents,
        target=target,
        sparsity_weight=5.0,
        weight_decay=3e-3,
        output="linear",
        preprocess=[{"kind": "zca_whiten", "epsilon": epsilon}],
        max_iter=60 if bench.quick else 400,
    )
    saes = bench.fit_seeds(sae, x, 3)
    published, exercise = "edges and opponent colours", "UFLDL, exercise Learning color features"
    least, greatest = ([end(sae.mean_activation_) for sae in saes] for end in (np.min, np.max))
    return Outcome(
        data=about,
        setting=f"192-{n_latents}-192, linear decoder, ρ = {target:g}, λ = 3e-3, β = 5, ZCA with "
        f"ε = {epsilon:g}, L-BFGS {sae.max_iter} iterations",
        figures=[
            Figure("picture", [n_latents], published, exercise, "latents drawn", 0),
            Figure(
                "unexplained variance of the whitened patches (fvu)", [sae.fvu_ for sae in saes]
            ),
            Figure("least mean activation", least, digits=4),
            Figure("greatest mean activation", greatest, digits=4),
        ],
        pictures=[bench.picture("color.png", saes[0].plot(shape=COLOUR))],
        seeds=len(saes),
    )


def _train_edges(bench: Bench, seed: int) -> tuple[Built, Source, Record]:
    recipe = Recipe.load("edges" if bench.quick else "ufldl").changed(
        [*SETTINGS, f"train.seed={seed}", f"train.steps={150 if bench.quick else 400}"]
    )
    source = recipe.source(photographs_folder() if bench.quick else bench.file("images"))
    built = build(recipe, source)
    say(f"  seed {seed}")
    return built, source, bench.train(built, source)


def photographs(
    bench: Bench, patch: int, n_patches: int, seed: int = 0, data_set: str = "images"
) -> Source:
    """Patches of the notes' pictures; when quick, of two photographs, whitened like "images"."""
    whiten = "1/f" if bench.quick and data_set == "images" else "none"
    return as_source(
        photographs_folder() if bench.quick else bench.file(data_set),
        kind="patches",
        patch=patch,
        n_patches=n_patches,
        whiten=whiten,
        seed=seed,
    )


def named(bench: Bench, data_set: str = "images") -> str:
    """What the patches of `photographs` were cut from."""
    if bench.quick:
        return "scikit-learn's two photographs"
    return f"ten photographs ({DATA_SETS[data_set].patterns[0]})"


def _colour_patches(bench: Bench) -> tuple[Floats, str]:
    """[n, 192], row by row, channels last."""
    if bench.quick:
        source = as_source(
            photographs_folder(),
            kind="patches",
            patch=8,
            n_patches=4000,
            color="color",
            shrink="half",
        )
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
