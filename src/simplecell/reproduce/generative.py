"""Deep networks: Hinton's autoencoder, its code plot, the variational and the denoising one."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA

from simplecell import viz
from simplecell.data import ArraySource
from simplecell.estimators import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    VariationalAutoencoder,
)
from simplecell.model.measures import kl_gaussian
from simplecell.reproduce.bench import Bench, Clock, Digits, Floats, Labels
from simplecell.reproduce.outcome import Figure, Outcome, percent
from simplecell.run.build import Built, build
from simplecell.run.progress import say
from simplecell.run.recipe import Recipe

HINTON = "Hinton & Salakhutdinov 2006, figure 2"
PASSES = 60
BATCH = 200
SHOWN = 12


def deep(bench: Bench) -> Outcome:
    """Hinton's deep autoencoder beside PCA with as many components."""
    d = bench.digits
    sizes = [100, 50, 10] if bench.quick else [1000, 500, 250, 30]
    passes = 25 if bench.quick else PASSES
    clock = Clock()
    built = train_deep(bench, d, sizes, passes)
    recon = reconstruct(built, d.test_x)
    error, minutes = squared_error(recon, d.test_x), clock.seconds / 60
    pca = PCA(sizes[-1]).fit(d.x)
    of_pca = pca.inverse_transform(pca.transform(d.test_x)).astype(np.float32)
    error_of_pca = squared_error(of_pca, d.test_x)
    picture = bands([d.test_x[:SHOWN], recon[:SHOWN], of_pca[:SHOWN]], d.shape)
    return Outcome(
        data=d.about,
        setting=f"{'-'.join(map(str, [d.x.shape[1], *sizes]))}, linear code, logistic output, "
        f"cross-entropy, Adam {passes} passes, the rate falling over the last fifth",
        figures=[
            Figure("squared error per test picture", [error], "3.00", HINTON, digits=2),
            Figure(f"PCA with {sizes[-1]} components", [error_of_pca], "13.87", HINTON, digits=2),
            Figure("time", [minutes], unit="min", digits=1),
        ],
        pictures=[bench.picture("deep.png", picture)],
        notes="no pretraining: tanh units on centred inputs, which are logistic units in other "
        "coordinates; rows of the picture: test digits, their reconstructions, PCA's",
    )


def code_plot(bench: Bench) -> Outcome:
    """Digits as points: the two-dimensional code of a deep autoencoder beside PCA."""
    d = bench.digits
    sizes = [100, 50, 2] if bench.quick else [1000, 500, 250, 2]
    passes = 25 if bench.quick else 20
    built = train_deep(bench, d, sizes, passes)
    codes = encode(built, d.test_x)
    components = PCA(2).fit(d.x).transform(d.test_x)
    figures = [
        Figure(
            f"nearest neighbour in the {what} shows the same digit",
            [neighbours(points, d.test_y)],
            unit="%",
            digits=1,
        )
        for what, points in (("code", codes), ("first two components", components))
    ]
    pictures = [
        bench.picture(name, viz.scatter_codes(points, list(d.test_y)))
        for name, points in (("code-plot.png", codes), ("code-plot-pca.png", components))
    ]
    return Outcome(
        data=d.about,
        setting=f"{'-'.join(map(str, [d.x.shape[1], *sizes]))}, linear code, Adam {passes} passes",
        figures=figures,
        pictures=pictures,
        notes="Hinton & Salakhutdinov 2006, figure 3, shows the same picture and no number",
    )


def variational(bench: Bench) -> Outcome:
    """A variational autoencoder: new digits, and the plane they lie on."""
    d = bench.digits
    hidden, passes, rate = (100, 40, 5e-3) if bench.quick else (400, 10, 1e-3)
    vae = VariationalAutoencoder(
        8 if bench.quick else 20, hidden=(hidden,), max_iter=passes, learning_rate=rate
    )
    vaes = bench.fit_seeds(vae, d.x, 3)
    source = "PyTorch's example of this size after 10 passes (recalled, not verified)"
    bounds = [negative_elbo(vae, d.test_x) for vae in vaes]
    plane = clone(vae).set_params(n_latents=2, random_state=0)
    plane = bench.fit(plane, d.x, "two latents, for the plane")
    samples = vaes[0].sample(100, random_state=0)
    return Outcome(
        data=d.about,
        setting=f"{d.x.shape[1]}-{hidden}-{vae.n_latents}, Bernoulli likelihood, one draw a "
        f"sample, Adam {passes} passes",
        figures=[
            Figure("negative ELBO per test picture, nats", bounds, "about 105", source, digits=1)
        ],
        pictures=[
            bench.picture("vae-samples.png", viz.tiles(samples, d.shape, signed=False)),
            bench.picture("vae-manifold.png", viz.manifold(plane, d.shape)),
        ],
        seeds=len(bounds),
    )


def denoising(bench: Bench) -> Outcome:
    """A denoising autoencoder restores digits, beside a plain one of the same size."""
    d = bench.digits
    n_latents, passes, rate = (100, 30, 1e-2) if bench.quick else (250, 10, 1e-3)
    noise = np.random.default_rng(0).normal(0, 0.4, d.test_x.shape).astype(np.float32)
    damaged = d.test_x + noise
    denoiser = DenoisingAutoencoder(n_latents, corruption="gaussian", corruption_level=0.4)
    plain = CompressionAutoencoder(n_latents, solver="adam", batch_size=100)
    rows = {"damaged": damaged}
    for what, estimator in (("denoising", denoiser), ("plain", plain)):
        estimator.set_params(preprocess=None, learning_rate=rate, max_iter=passes, random_state=0)
        fitted = bench.fit(estimator, d.x, what)
        rows[what] = fitted.inverse_transform(fitted.transform(damaged))
    figures = [
        Figure(
            f"squared error per test picture, {what}", [squared_error(found, d.test_x)], digits=1
        )
        for what, found in rows.items()
    ]
    tiles = bands([found[:SHOWN] for found in rows.values()], d.shape)
    return Outcome(
        data=d.about,
        setting=f"{d.x.shape[1]}-{n_latents}-{d.x.shape[1]}, Gaussian noise of standard deviation "
        f"0.4, Adam {passes} passes",
        figures=figures,
        pictures=[bench.picture("denoising.png", tiles)],
        notes="after Vincent et al. 2008; rows of the picture: damaged test digits, the denoising "
        "autoencoder's answers, the plain one's",
    )


def train_deep(bench: Bench, d: Digits, sizes: list[int], passes: int) -> Built:
    """A deep autoencoder with a linear code, trained from scratch."""
    batch = 50 if bench.quick else BATCH
    recipe = Recipe.load("deep").changed(
        [
            f"model.n_latents={sizes}",
            f"model.activation={[*['tanh'] * (len(sizes) - 1), 'identity']}",
            f"optim.batch_size={batch}",
            f"train.steps={passes * (len(d.x) // batch)}",
            "train.seed=0",
        ]
    )
    source = ArraySource(d.x)
    built = build(recipe, source)
    say(f"  {'-'.join(map(str, sizes))}, seed 0")
    bench.train(built, source)
    return built


@torch.no_grad()
def encode(built: Built, x: Floats) -> Floats:
    """Codes [n, M]."""
    model = built.trainer.model
    return model.encode(torch.from_numpy(x).to(model.like))[1].dense.cpu().numpy()


@torch.no_grad()
def reconstruct(built: Built, x: Floats) -> Floats:
    """Reconstructions [n, D]."""
    model = built.trainer.model
    return model(torch.from_numpy(x).to(model.like)).recon.cpu().numpy()


def squared_error(recon: Floats, x: Floats) -> float:
    """Sum over pixels, mean over pictures."""
    return float(((recon - x) ** 2).sum(1).mean())


@torch.no_grad()
def negative_elbo(vae: VariationalAutoencoder, x: Floats) -> float:
    """`−E log p(x | code) + KL`, one draw a sample, mean over samples, *nats*."""
    model = vae.model_
    rows = torch.from_numpy(x)
    generator = torch.Generator().manual_seed(0)
    output = model(rows, training=True, generator=generator)
    likelihood = torch.nn.functional.binary_cross_entropy_with_logits(
        output.raw, rows, reduction="sum"
    )
    mean, log_variance = output.pre.chunk(2, dim=1)
    return float(likelihood / len(rows) + kl_gaussian(mean, log_variance))


def bands(groups: list[Floats], shape: tuple[int, int]) -> Image.Image:
    """One row of tiles for each group."""
    return viz.tiles(np.concatenate(groups), shape, columns=len(groups[0]), signed=False)


def neighbours(points: Floats, labels: Labels) -> float:
    """How often a point's nearest other has its label, in per cent."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[1][:, 1]
    return percent((labels[nearest] == labels).mean())
