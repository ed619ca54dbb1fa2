"""Handwritten digits: softmax on pixels, pen strokes, self-taught learning, stacked networks."""

from __future__ import annotations

import copy

import numpy as np
from sklearn.linear_model import LogisticRegression

from simplecell import viz
from simplecell.estimators import SparseAutoencoder, StackedClassifier
from simplecell.reproduce.bench import Bench, Clock, Floats, Labels
from simplecell.reproduce.outcome import Figure, Outcome, percent

LAMBDA_SOFTMAX = 1e-4
PYTHON = "a published Python version of the exercise"


def softmax(bench: Bench) -> Outcome:
    """Softmax regression on raw pixels."""
    d = bench.digits
    classifier = fit_softmax(d.x, d.y)
    accuracy = percent(classifier.score(d.test_x, d.test_y))
    published, source = "92.6 % (text), 92.2 % (starter code)", "UFLDL, exercise Softmax regression"
    return Outcome(
        data=d.about,
        setting=f"scikit-learn's LogisticRegression, λ = {LAMBDA_SOFTMAX:g} of the mean loss",
        figures=[Figure("test accuracy", [accuracy], published, source, "%", 2)],
        pictures=[bench.picture("softmax.png", viz.templates(classifier, d.shape))],
        notes="with an intercept, which the exercise leaves out; convex, so one seed",
    )


def strokes(bench: Bench) -> Outcome:
    """Pen strokes: a sparse autoencoder on handwritten digits."""
    d, target, n_latents = bench.digits, 0.1, 36 if bench.quick else 196
    x = d.x[:10_000]
    sae = SparseAutoencoder(
        n_latents,
        target=target,
        weight_decay=3e-3,
        sparsity_weight=3.0,
        max_iter=60 if bench.quick else 400,
    )
    saes = bench.fit_seeds(sae, x, 3)
    source = "UFLDL, exercise Vectorization"
    worst = [percent(np.abs(sae.mean_activation_ / target - 1).max()) for sae in saes]
    return Outcome(
        data=f"the first {len(x):,} of {d.about}",
        setting=f"{x.shape[1]}-{n_latents}-{x.shape[1]}, ρ = {target}, λ = 3e-3, β = 3, L-BFGS "
        f"{sae.max_iter} iterations",
        figures=[
            Figure("picture", [n_latents], "pen strokes", source, "latents drawn", 0),
            Figure("largest distance of a mean activation from ρ", worst, unit="% of ρ", digits=1),
            Figure("unexplained variance (fvu)", [sae.fvu_ for sae in saes]),
        ],
        pictures=[bench.picture("strokes.png", saes[0].plot(shape=d.shape))],
        seeds=len(saes),
    )


def self_taught(bench: Bench) -> Outcome:
    """Self-taught learning: features of digits 5–9 tell digits 0–4 apart."""
    d = bench.digits
    x, y = np.concatenate([d.x, d.test_x]), np.concatenate([d.y, d.test_y])
    if not bench.quick:  # the exercise uses MNIST's training part alone
        x, y = d.x, d.y
    unlabelled, labelled = x[y >= 5], x[y < 5]
    half = len(labelled) // 2
    (x1, x2), (y1, y2) = np.split(labelled, [half]), np.split(y[y < 5], [half])
    raw = percent(fit_softmax(x1, y1).score(x2, y2))
    features, both, minutes, saes = [], [], [], []
    for seed in bench.seeds(3):
        clock = Clock()
        sae = SparseAutoencoder(
            60 if bench.quick else 200,
            target=0.1,
            weight_decay=1e-4 if bench.quick else 3e-3,
            sparsity_weight=3.0,
            max_iter=150 if bench.quick else 400,
            random_state=seed,
        )
        saes.append(bench.fit(sae, unlabelled, f"seed {seed}"))
        a1, a2 = sae.transform(x1), sae.transform(x2)
        features.append(percent(fit_softmax(a1, y1).score(a2, y2)))
        minutes.append(clock.seconds / 60)
        b1, b2 = np.hstack([x1, a1]), np.hstack([x2, a2])
        both.append(percent(fit_softmax(b1, y1).score(b2, y2)))
    source = "UFLDL, exercise Self-taught learning"
    return Outcome(
        data=f"of {d.about}: {len(unlabelled):,} digits 5–9 without labels, {len(x1):,} + "
        f"{len(x2):,} digits 0–4 with labels",
        setting=f"{x.shape[1]}-{sae.n_latents}-{x.shape[1]}, ρ = 0.1, λ = "
        f"{sae.weight_decay:g}, β = 3, L-BFGS {sae.max_iter} iterations; softmax λ = 1e-4",
        figures=[
            Figure("accuracy on learned features", features, "98.3 %", source, "%", 2),
            Figure("accuracy on raw pixels", [raw], "about 96 %", source, "%", 2),
            Figure("accuracy on pixels and features together", both, unit="%", digits=2),
            Figure("time of one seed", minutes, "330 min", f"{PYTHON}, 2013", "min", 1),
        ],
        pictures=[bench.picture("self-taught.png", saes[0].plot(shape=d.shape))],
        seeds=len(features),
    )


def stacked(bench: Bench) -> Outcome:
    """A stack of two sparse autoencoders under a softmax, before and after fine-tuning."""
    d, sizes = bench.digits, (40, 40) if bench.quick else (200, 200)
    iterations = 60 if bench.quick else 200
    clock = Clock()
    before, after, stack = _stack(bench, sizes, iterations, "adam", 15)
    minutes = clock.seconds / 60
    source = "UFLDL, exercise Implement deep networks for digit classification"
    figures = [
        Figure("accuracy before fine-tuning", [before], "87.7 %", source, "%", 2),
        Figure("accuracy after fine-tuning", [after], "97.6 %", source, "%", 2),
        Figure("time of one seed", [minutes], "150 min", f"{PYTHON}, 2014", "min", 1),
    ]
    if not bench.quick:
        before, after, _ = _stack(bench, sizes, 400, "lbfgs", 400)
        published = "the published setting (400 iterations a stage, L-BFGS throughout): "
        figures += [
            Figure(published + "before", [before], "87.7 %", source, "%", 2),
            Figure(published + "after", [after], "97.6 %", source, "%", 2),
        ]
    pictures = [
        bench.picture(f"stacked-layer-{layer}.png", stack.plot(layer=layer, shape=d.shape))
        for layer in (1, 2)
    ]
    return Outcome(
        data=d.about,
        setting=f"{d.x.shape[1]}-{sizes[0]}-{sizes[1]}-10, ρ = 0.1, λ = {stack.weight_decay:g}, "
        f"β = 3, L-BFGS {iterations} iterations a layer; softmax λ = 1e-4; fine-tuned by Adam, "
        "15 passes",
        figures=figures,
        pictures=pictures,
    )


def _stack(
    bench: Bench, sizes: tuple[int, int], iterations: int, solver: str, tuning: int
) -> tuple[float, float, StackedClassifier]:
    """Accuracy before and after fine-tuning, in per cent, and the classifier."""
    d = bench.digits
    stack = StackedClassifier(
        sizes,
        target=0.1,
        weight_decay=3e-4 if bench.quick else 3e-3,
        max_iter=iterations,
        solver=solver,
        fine_tune_iter=tuning,
        random_state=0,
    )
    stack = bench.fit(stack, d.x, f"{solver}, {iterations} iterations a layer, seed 0", d.y)
    before = copy.copy(stack)
    before.model_ = stack.greedy_model_
    return (
        percent(before.score(d.test_x, d.test_y)),
        percent(stack.score(d.test_x, d.test_y)),
        stack,
    )


def fit_softmax(x: Floats, y: Labels) -> LogisticRegression:
    """The notes' softmax regression: mean cross-entropy + (λ/2) Σ θ², λ = 1e-4."""
    return LogisticRegression(C=1 / (LAMBDA_SOFTMAX * len(x)), max_iter=1000).fit(x, y)
