"""The demo: edges from two photographs, beside PCA, the mean, and the same training on noise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simplecell.data import Source
from simplecell.model.autoencoder import Model
from simplecell.model.measures import edge_coherence, fvu
from simplecell.preprocess.chain import Preprocess
from simplecell.run.begin import begin
from simplecell.run.build import build
from simplecell.run.directory import Run
from simplecell.run.progress import follow, say
from simplecell.run.recipe import Recipe
from simplecell.run.session import Session
from simplecell.run.trained import Trained
from simplecell.training.prepared import to_model
from simplecell.viz.files import save
from simplecell.viz.portrait import picture

Table = dict[str, Any]
"""The result as JSON takes it."""
EDGE = 0.4
"""Structure-tensor coherence from which a latent counts as an edge detector."""
SETTINGS = ["data.patch=8", "model.n_latents=25"]


def demo(out: Path) -> tuple[Table, str]:
    """Train, compare and draw; the result as a table and as text."""
    started, photographs = time.perf_counter(), photographs_folder()
    say(f"two photographs that scikit-learn carries: {photographs}")
    session = begin(photographs, out, Recipe.load("edges"), settings=SETTINGS)
    say(*session.notes)
    result = session.result() if session.done else _trained(session)
    trained = Run(out).load()
    save(picture(trained, "latents"), out / "features.png")
    assert session.held_out is not None
    result |= {
        **_compared(trained, session.source, session.held_out),
        "edges": edges(trained.model, trained.preprocess, trained.shape),
        "edges_noise": _edges_of_noise(),
        "picture": str(out / "features.png"),
    }
    result["seconds"] = round(time.perf_counter() - started, 3)
    return result, _text(result, out)


def photographs_folder() -> Path:
    """Where scikit-learn keeps its two photographs."""
    from sklearn import datasets

    return Path(datasets.__file__).parent / "images"


def edges(model: Model, preprocess: Preprocess, shape: tuple[int, ...]) -> int:
    """How many latents detect an edge (count)."""
    excites = preprocess.pixels(model.directions().double().cpu()).numpy()
    return int((edge_coherence(excites, shape) >= EDGE).sum())


def _trained(session: Session) -> Table:
    result, code = follow(session)
    if code:
        raise KeyboardInterrupt
    return result


def _prepared(trained: Trained, source: Source) -> NDArray[np.float64]:
    rows = source.read(slice(0, source.n_samples))
    like = torch.zeros(1, dtype=torch.float64)
    return to_model(rows, trained.preprocess, like).numpy()


def _compared(trained: Trained, source: Source, held_out: Source) -> Table:
    """The fvu of held-out patches by PCA with as many components, and by the mean alone."""
    from sklearn.decomposition import PCA

    train, test = _prepared(trained, source), _prepared(trained, held_out)
    pca = PCA(n_components=trained.model.n_latents).fit(train)
    recons = {"fvu_pca": pca.inverse_transform(pca.transform(test)), "fvu_mean": train.mean(0)}
    deviation = float(((test - test.mean(0)) ** 2).sum())
    return {
        name: fvu(float(((recon - test) ** 2).sum()), deviation) for name, recon in recons.items()
    }


def _edges_of_noise() -> int:
    """The same training on white noise in place of the whitened photographs."""
    random = np.random.default_rng(0)
    noise = [random.standard_normal((213, 320), dtype=np.float32) for _ in range(2)]
    recipe = Recipe.load("edges").changed([*SETTINGS, "data.held_out=0", 'data.whiten="none"'])
    source = recipe.source(noise)
    built = build(recipe, source)
    for _ in built.trainer.run(source, recipe.n_steps):
        pass
    return edges(built.trainer.model, built.preprocess, source.shape)


def _text(result: Table, out: Path) -> str:
    held, mean = result["held_out"], result["mean_activation"]
    n = result["n_latents"]
    rows = [
        ("unexplained variance (fvu)", f"{held['fvu']:.3f}  on held-out patches"),
        (f"  PCA with {n} components", f"{result['fvu_pca']:.3f}"),
        ("  the mean patch", f"{result['fvu_mean']:.3f}"),
        ("average activation", f"{mean['min']:.4f} – {mean['max']:.4f}"),
        ("  its target", f"{mean['target']:.4f}"),
        ("edge detectors", f"{result['edges']} of {n}"),
        ("  trained on noise", f"{result['edges_noise']} of {n}"),
        ("seconds", f"{result['seconds']:.1f}"),
    ]
    lines = [f"{name:<28}{value}" for name, value in rows]
    return "\n".join(
        [
            *lines,
            "",
            f"{n} edge detectors, drawn: {result['picture']}"
            if result["edges"] == n
            else f"what the {n} latents detect: {result['picture']}",
            "",
            f"PCA uses all its components for every patch, this code {mean['target']:.0%} of them:",
            "it is no compressor, judge it by what its latents detect.",
            "",
            f"look at it: simplecell explore {out}",
            "next, with photographs of your own:",
            "  simplecell train PICTURES --out run",
            "  simplecell explore run",
        ]
    )
