"""The explorer's speed: making an atlas, a gallery of 10,000 latents, the playground.

    python benchmarks/explorer.py [--only atlas gallery playground]

Goals: the atlas of 100,000 samples × 64 inputs × 4,096 latents in under 60 s and 1 GB; a gallery of
10,000 latents interactive within 1.5 s, median frame at most 20 ms over 5 s of scrolling; an answer
of the playground on 784-196 within 50 ms. Random weights and samples: the time does not depend on
what was learned. The browser is Debian's chromium, without a screen.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simplecell.explorer.make.atlas import build_atlas
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.server import Server
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FRAMES = """() => new Promise((done) => {
  const times = [], start = performance.now();
  let last = start;
  const frame = (now) => {
    times.push(now - last);
    last = now;
    scrollBy(0, 40);
    if (now - start < 5000) requestAnimationFrame(frame);
    else done(times.slice(1));
  };
  requestAnimationFrame(frame);
})"""
READY = """() => new Promise((done) => {
  const look = () => {
    const canvas = document.querySelector("main canvas");
    const drawn = canvas && canvas.width > 0 && document.querySelector("[role=option]");
    if (drawn) requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    else setTimeout(look, 5);
  };
  look();
})"""


def trained(folder: Path, n: int, shape: tuple[int, ...], recipe: str, *settings: str) -> Run:
    """A run of a few steps on random samples."""
    np.save(folder / "x.npy", np.random.default_rng(0).random((n, *shape), dtype=np.float32))
    session = begin(folder / "x.npy", folder / "run", Recipe.load(recipe), settings=list(settings))
    for _ in session.records():
        pass
    session.finish()
    return Run(folder / "run")


def made(run: Run) -> float:
    """Seconds that the atlas takes."""
    loaded = run.load()
    source, started = all_data(loaded), time.perf_counter()
    for _ in build_atlas(run, loaded, source):
        pass
    return time.perf_counter() - started


def atlas(folder: Path) -> dict[str, Any]:
    """Seconds and gigabytes of a large atlas."""
    settings = "train.max_samples=5000", "model.n_latents=4096", "model.target_l0=32"
    seconds = made(trained(folder, 100_000, (64,), "topk", *settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": round(seconds, 1), "peak_gigabytes": round(peak, 2)}


@contextmanager
def page_of(run: Run, path: str) -> Iterator[tuple[Any, str]]:
    """A page of the served run in a browser, and its address."""
    from playwright.sync_api import sync_playwright

    server = Server(Library([run]))
    url = server.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1280, "height": 900}), f"{url}run/{path}"
        browser.close()
    server.stop()


def gallery(folder: Path) -> dict[str, Any]:
    """How long a gallery of 10,000 latents takes to appear, and its frames while it scrolls."""
    settings = "train.steps=1", "model.n_latents=10000"
    run = trained(folder, 600, (10, 10), "strokes", *settings)
    made(run)
    with page_of(run, "") as (page, url):
        page.goto(url)  # once, so that the browser itself has started
        ready, frames = [], []
        for _ in range(3):
            page.goto(url)
            ready.append(page.evaluate(READY))
            frames += page.evaluate(FRAMES)
    return {
        "interactive_seconds": round(statistics.median(ready) / 1000, 3),
        "median_frame_milliseconds": round(statistics.median(frames), 1),
        "slowest_of_20_milliseconds": round(sorted(frames)[int(0.95 * len(frames))], 1),
    }


def playground(folder: Path) -> dict[str, Any]:
    """Milliseconds of an answer of 784-196, one sample."""
    run = trained(folder, 300, (28, 28), "strokes", "train.steps=1")
    made(run)
    work = """async () => {
      const base = document.documentElement.dataset.base;
      const { load } = await import(base + "static/play/engine.js");
      const answer = await fetch(location.href, { headers: { Accept: "application/json" } });
      const play = await answer.json();
      const bytes = await (await fetch(base + "run/files/weights.bin")).arrayBuffer();
      const engine = load(play, bytes), times = [];
      for (let i = 0; i < 60; i += 1) {
        const x = Float32Array.from({ length: 784 }, () => Math.random());
        const start = performance.now();
        engine.run(x, 1, { 3: 0 });
        times.push(performance.now() - start);
      }
      return times.slice(10);
    }"""
    with page_of(run, "playground") as (page, url):
        page.goto(url)
        times = page.evaluate(work)
    return {
        "median_milliseconds": round(statistics.median(times), 2),
        "worst_milliseconds": round(max(times), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    measures = {"atlas": atlas, "gallery": gallery, "playground": playground}
    parser.add_argument("--only", nargs="*", choices=[*measures], default=[*measures])
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({name: measures[name](Path(folder))}), flush=True)


if __name__ == "__main__":
    main()
