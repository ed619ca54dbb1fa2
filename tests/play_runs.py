"""Small trained runs with their atlases, for the playground and the export."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from simplecell.explorer.make.atlas import build_atlas
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe


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


def digits(folder, name="digits"):
    """Strokes on 20×20 pixels: a drawing surface."""
    random = np.random.default_rng(0)
    x = np.zeros((300, 20, 20), dtype=np.float32)
    for picture in x:
        start = random.integers(3, 12)
        picture[start : start + 6, random.integers(4, 16)] = 1
        picture[random.integers(4, 16), start : start + 7] = 0.8
    np.save(folder / f"{name}.npy", x)
    return train(
        folder / f"{name}.npy", folder / name, "strokes", "train.steps=8", "model.n_latents=20"
    )


def patches(folder):
    """1/f whitened patches of three photographs."""
    random = np.random.default_rng(1)
    (folder / "photos").mkdir()
    for number in range(3):
        rough = random.random((12, 16))
        picture = Image.fromarray((255 * rough).astype(np.uint8)).resize((160, 120), 3)
        picture.save(folder / "photos" / f"{number}.png")
    settings = ("train.steps=5", "data.n_patches=800", "model.n_latents=12")
    return train(folder / "photos", folder / "edges", "edges", *settings)


def rows(folder, n_latents=9):
    """A table with names that would be a script, were they not text."""
    random = np.random.default_rng(2)
    x = random.normal(size=(300, 5)) @ random.normal(size=(5, 5)) + 4
    head = "sugar,acid,<b>salt</b>,color,weight"
    path = folder / "table.csv"
    np.savetxt(path, x, delimiter=",", header=head, comments="", fmt="%.5f")
    settings = ("train.steps=10", f"model.n_latents={n_latents}")
    return train(path, folder / "table", "table", *settings)


def activations(folder, n_latents=16):
    """Many numbers with a text each, and TopK codes."""
    random = np.random.default_rng(3)
    np.save(folder / "acts.npy", random.normal(size=(400, 40)).astype(np.float32))
    records = ({"text": f"sample number {k}", "topic": f"t{k % 3}"} for k in range(400))
    meta = folder / "meta.jsonl"
    meta.write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = (
        f'data.meta="{meta}"',
        "train.max_samples=4000",
        f"model.n_latents={n_latents}",
        "model.target_l0=4",
    )
    return train(folder / "acts.npy", folder / "acts", "topk", *settings)
