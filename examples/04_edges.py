"""Edges from photographs: what a sparse code of natural pictures is made of.

Patches of two photographs (scikit-learn carries them) are coded by 25 latents, each active 1 % of
the time. You will see nearly every latent come to detect an edge at one place and angle, as the
simple cells of the visual cortex do; the same training on noise finds none but by chance, so
the edges are in the world. A latent counts as an edge detector by the coherence of its gradients
(the number below a tile): 1 when they all share one angle, in white noise rarely above 0.3.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

from simplecell import SparseAutoencoder, as_source, viz
from simplecell.model.measures import edge_coherence

N, PATCH, EDGE = 4000, (8, 8), 0.4


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    photographs = np.stack(load_sample_images().images)
    # Natural pictures are strong in coarse waves; 1/f whitening evens that out. JPEG compression
    # spoils the finest waves, so the photographs are averaged to half their size first.
    source = as_source(photographs, patch=PATCH[0], n_patches=N, whiten="1/f", shrink="half")
    patches = source.read(slice(0, N))
    noise = np.random.default_rng(0).standard_normal(patches.shape)

    figures = {}
    for name, x in (("photographs", patches), ("noise", noise)):
        sae = SparseAutoencoder(
            n_latents=25,
            target=0.01,
            sparsity_weight=3,
            weight_decay=1e-4,
            max_iter=300,
            preprocess=["remove_dc", "patch_range"],
            random_state=0,
        ).fit(x)
        # Patches come without their mean, so the mean of a latent's weights meets nothing.
        weights = sae.encoder_ - sae.encoder_.mean(axis=1, keepdims=True)
        coherence = edge_coherence(weights, PATCH)
        edges = int((coherence >= EDGE).sum())
        low, high = sae.mean_activation_.min(), sae.mean_activation_.max()
        print(f"{name}: {edges} of 25 latents detect an edge; active {low:.2%} to {high:.2%}")
        order = np.argsort(-coherence)
        labels = [f"{coherence[i]:.2f}" for i in order]
        viz.save(viz.tiles(weights[order], PATCH, labels=labels), folder / f"04_{name}.png")
        figures |= {name: edges, f"{name}_lowest": low, f"{name}_highest": high}
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
