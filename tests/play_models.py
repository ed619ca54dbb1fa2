"""Small models of every kind, with weights that make their codes differ, for the playground."""

from __future__ import annotations

import numpy as np
import torch

from simplecell.model import activations
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.deep import DeepAutoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained
from simplecell.training.prepared import identity

D, M = 12, 9
ACTIVATIONS = [kind for kind, made in activations.ACTIVATIONS.items() if made.page]
OUTPUTS = ["linear", "sigmoid", "tanh", "relu"]
CHAINS = {
    "none": [],
    "patches": ["remove_dc", "patch_range"],
    "range": ["range"],
    "standardize": ["standardize"],
    "modern": ["center", "scale"],
    "pca": [{"kind": "pca_whiten", "n_components": 7}],
    "zca": ["remove_dc", "zca_whiten"],
    "all": ["remove_dc", "center", {"kind": "pca", "n_components": 8}, "remove_dc", "range"],
}


def samples(n=40, d=D, seed=0):
    """Rows with different means, widths and correlations, some values far out."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) @ random.normal(size=(d, d)) + 3 * random.normal(size=(n, 1))
    return (x + np.linspace(-2, 5, d)).astype(np.float32)


def trained_of(kind, output="linear", chain="none", tied=False, pre_bias=False, seed=1):
    """A model of that activation behind that chain, its weights random."""
    preprocess = Preprocess(CHAINS[chain]).fit(lambda: [torch.from_numpy(samples())])
    model = Autoencoder(
        preprocess.n_outputs,
        M,
        activation=kind,
        output=output,
        tied=tied,
        pre_bias=pre_bias,
        **({counts: 3} if (counts := activations.ACTIVATIONS[kind].counts) else {}),
    )
    shake(model, seed)
    return wrapped(model, preprocess)


def deep_of(kinds=("sigmoid", "relu", "identity"), chain="range"):
    """Three layers one inside the other."""
    preprocess = Preprocess(CHAINS[chain]).fit(lambda: [torch.from_numpy(samples())])
    model = DeepAutoencoder.of_sizes(preprocess.n_outputs, [10, 7, 4], activation=kinds)
    shake(model, 2)
    return wrapped(model, preprocess)


def transcoder():
    """Reconstructs seven standardised numbers of twelve."""
    preprocess, targets = (
        Preprocess(["standardize"]).fit(lambda d=d: [torch.from_numpy(samples(d=d))])
        for d in (D, 7)
    )
    model = Autoencoder(D, M, activation="relu", output="linear", n_outputs=7)
    shake(model, 3)
    trained = wrapped(model, preprocess)
    return Trained(model, preprocess, trained.recipe, trained.info, targets)


@torch.no_grad()
def shake(model, seed):
    """Random weights, a center that is not 0, thresholds that some codes pass."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.state_dict().items():
        size = 0.7 if weight.ndim > 1 else 0.3
        weight.copy_(size * torch.randn(weight.shape, generator=generator))
        if name.endswith("threshold"):
            weight.abs_()
    for layer in model.layers:
        if not layer.pre_bias and layer is model.layers[0]:
            layer.set_center(0.2 * torch.randn(layer.n_inputs, generator=generator))


def wide(model, shape=None, kind="array", whiten="none"):
    """A model without a preparation, of data of that shape and kind."""
    return wrapped(model, identity(model.n_inputs), shape, kind, whiten)


def wrapped(model, preprocess, shape=None, kind="array", whiten="none"):
    recipe = Recipe.from_table({"data": {"whiten": whiten}})
    info = {"data": {"shape": list(shape or (preprocess.n_inputs,)), "kind": kind}}
    return Trained(model, preprocess, recipe, info)
