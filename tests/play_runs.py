"""Small trained runs with their atlases, for the pages, the playground and the export."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from simplecell.explorer.make.atlas import build_atlas
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

HOSTILE = "<img src=x onerror=alert(1)>"
"""A name that would be a script, were it not text."""


def train(data, out, recipe, *settings):
    """A run of that recipe, with its atlas."""
    session = begin(str(data), out, Recipe.load(recipe), settings=list(settings))
    for _ in session.records():
        pass
    session.finish()
    run = Run(out)
    trained = run.load()
    for _ in build_atlas(run, trained, all_data(trained)):
        pass
    return run


def explorable(folder):
    """Runs of every kind of data; of two the same photographs, one too large for a browser."""
    digits(folder)
    patches(folder)
    train(folder / "photos", folder / "again", "edges", *PATCHES, "objective.kl.weight=2.5")
    rows(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simplecell.explorer.make.playground.MOST_FLOATS", 100)
        activations(folder)


def digits(folder):
    """Strokes on 20×20 pixels: a drawing surface."""
    random = np.random.default_rng(0)
    x = np.zeros((300, 20, 20), dtype=np.float32)
    for picture in x:
        start = random.integers(3, 12)
        picture[start : start + 6, random.integers(4, 16)] = 1
        picture[random.integers(4, 16), start : start + 7] = 0.8
    np.save(folder / "digits.npy", x)
    settings = ("train.steps=8", "model.n_latents=20")
    return train(folder / "digits.npy", folder / "digits", "strokes", *settings)


PATCHES = ("train.steps=5", "data.n_patches=800", "model.n_latents=12")


def patches(folder):
    """1/f whitened patches of three photographs."""
    random = np.random.default_rng(1)
    (folder / "photos").mkdir()
    for number in range(3):
        rough = random.random((12, 16))
        picture = Image.fromarray((255 * rough).astype(np.uint8)).resize((160, 120), 3)
        picture.save(folder / "photos" / f"{number}.png")
    return train(folder / "photos", folder / "edges", "edges", *PATCHES)


def rows(folder):
    """A table with names that are no script."""
    random = np.random.default_rng(2)
    x = random.normal(size=(300, 5)) @ random.normal(size=(5, 5)) + 4
    head = f"sugar,acid,<b>salt</b>,{HOSTILE},weight"
    path = folder / "table.csv"
    np.savetxt(path, x, delimiter=",", header=head, comments="", fmt="%.5f")
    settings = ("train.steps=10", "model.n_latents=9")
    return train(path, folder / "table", "table", *settings)


def activations(folder):
    """Many numbers with a text each, and TopK codes."""
    random = np.random.default_rng(3)
    np.save(folder / "acts.npy", random.normal(size=(400, 40)).astype(np.float32))
    records = (
        {"title": f"{HOSTILE} {k}", "text": f"sample number {k}", "topic": f"t{k % 3}"}
        for k in range(400)
    )
    meta = folder / "meta.jsonl"
    meta.write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = (
        f'data.meta="{meta}"',
        "train.max_samples=4000",
        "model.n_latents=16",
        "model.target_l0=4",
    )
    return train(folder / "acts.npy", folder / "acts", "topk", *settings)


def spectra(folder):
    """Bands of light at rising wavelengths."""
    random = np.random.default_rng(4)
    places = np.arange(400, 700, 25)
    bands = np.exp(-(((places - np.array([[450], [600]])) / 60) ** 2))
    x = random.gamma(1, 1, (120, 2)) @ bands
    path = folder / "spectra.csv"
    head = ",".join(map(str, places))
    np.savetxt(path, x, delimiter=",", header=head, comments="", fmt="%.5f")
    return train(path, folder / "spectra", "table", "train.steps=10", "model.n_latents=5")


def clock(folder):
    """A table with a clock in seconds since 1970, read every quarter: 32 bits make all one."""
    random = np.random.default_rng(3)
    x = random.normal(size=(120, 3))
    x[:, 0] = 1_700_000_000.25 + random.integers(0, 40, 120) / 4
    x[0, 0] = 1_700_000_000.25
    head = f"clock,a,{HOSTILE}"
    path = folder / "clock.csv"
    np.savetxt(path, x, delimiter=",", header=head, comments="", fmt="%.14g")
    return train(path, folder / "clock", "table", "train.steps=10", "model.n_latents=5")
