"""The map's speed: opened, moved, and asked what sets 1,000 samples apart.

    python benchmarks/map.py [--points 100000] [--latents 4096] [--ways canvas webgl] [--keep DIR]

`--keep` makes the run and its atlas in a folder, and takes those that are there when said again.

Goals: 100,000 points interactive within 2 s of opening the page, median frame at most 20 ms while
it is moved; a line around 1,000 samples answered within 1 s at 4,096 latents, 32 of them active.
Random weights, samples of ten clouds: the time does not depend on what was learned. The browser is
Debian's chromium, without a screen. "canvas" is what a machine without a graphics card gets: points
are drawn, and the page is put together, by the processor. For "webgl" chromium has to put all of
the page together by SwiftShader, that is by the processor as if it were a graphics card; there even
a moving dot takes longer than a frame of a screen, and a graphics card can only be faster.

A frame is the time between two frames of the browser, 16.7 ms at least, while the pointer moves the
map in each: `near` within a part of the window, `far` three steps nearer, over several windows of
points; `wheel` comes nearer and goes away. `drawn` is how often points were drawn meanwhile, in 5
seconds: between, the picture of them is moved; `empty_edge` counts frames in which it did not reach
all of the map. `dot` moves nothing but a ring of 16 pixels.
Where other jobs run beside, the processor's time of a frame tells more than how long it took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.server import Server
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAYS = ("canvas", "webgl")
"""The faster without a graphics card, and what would be drawn with one."""
KINDS = ("dot", "near", "far", "wheel")
"""What is moved."""
MOVED = """(kind) => new Promise((done) => {
  const plot = document.querySelector(".map-plot"), times = [], work = [];
  const box = plot.getBoundingClientRect(), before = Number(plot.dataset.drawings);
  const at = (across, down) => ({ bubbles: true, cancelable: true,
    clientX: box.left + box.width / 2 + across, clientY: box.top + box.height / 2 + down });
  const send = (type, across, down) => plot.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, button: 0, ...at(across, down) }));
  const ring = plot.querySelector(".map-ring");
  const moves = {
    near: (now) => send("pointermove", 150 * Math.sin(now / 300), 80 * Math.cos(now / 400)),
    far: (now) => send("pointermove", 600 * Math.sin(now / 700), 400 * Math.cos(now / 900)),
    wheel: (now) => plot.dispatchEvent(new WheelEvent("wheel", {
      deltaY: -30 * Math.cos(now / 500), ...at(100, 50) })),
    dot: (now) => {
      ring.hidden = false;
      ring.style.transform = `translate(${300 + 150 * Math.sin(now / 300)}px, 200px)`;
    },
  };
  plot.setPointerCapture = () => {};
  plot.focus({ preventScroll: true });
  if (kind === "near" || kind === "far") send("pointerdown", 0, 0);
  const start = performance.now();
  let last = start, edge = 0;
  const empty = () => {
    const picture = plot.querySelector(".map-points").getBoundingClientRect();
    return picture.left > box.left + 2 || picture.top > box.top + 2
      || picture.right < box.right - 2 || picture.bottom < box.bottom - 2;
  };
  const frame = (now) => {
    times.push(now - last);
    work.push(performance.now() - now);  // the map's own callback came before this one
    edge += empty();
    last = now;
    moves[kind](now);
    if (now - start < 5000) requestAnimationFrame(frame);
    else {
      send("pointerup", 150, 0);
      ring.hidden = true;
      done([times.slice(2), work.slice(2), Number(plot.dataset.drawings) - before, edge]);
    }
  };
  requestAnimationFrame(frame);
})"""
POINTED = """() => {
  const plot = document.querySelector(".map-plot"), box = plot.getBoundingClientRect();
  return Array.from({ length: 20 }, (_, k) => {
    const start = performance.now();
    plot.dispatchEvent(new PointerEvent("pointermove", { bubbles: true,
      clientX: box.left + box.width / 2 + 9 * k, clientY: box.top + box.height / 2 }));
    return performance.now() - start;
  });
}"""
WAIT_FOR_ANSWER = """() => {
  const answer = document.querySelector(".map-answer");
  delete answer.dataset.took;
  window.answered = new Promise((done) => {
    let start = 0;
    document.querySelector(".map-plot").addEventListener("pointerup", () => {
      start = performance.now();
    }, { once: true, capture: true });
    new MutationObserver((_, watch) => {
      if (!start || !answer.dataset.took) return;
      watch.disconnect();
      requestAnimationFrame(() => done([performance.now() - start, Number(answer.dataset.took)]));
    }).observe(answer, { childList: true, attributes: true });
  });
}"""


def trained(folder: Path, n: int, n_latents: int) -> Run:
    """A run of a few steps on ten clouds of samples, with two records each."""
    rng = np.random.default_rng(0)
    cloud = rng.integers(0, 10, n)
    x = rng.standard_normal((10, 64))[cloud] * 1.5 + rng.standard_normal((n, 64))
    np.save(folder / "x.npy", x.astype(np.float32))
    price = (cloud + rng.random(n)).round(3)
    lines = (
        json.dumps({"cloud": f"cloud {one}", "price": two})
        for one, two in zip(cloud.tolist(), price.tolist(), strict=True)
    )
    (folder / "meta.jsonl").write_text("\n".join(lines) + "\n")
    settings = [f'data.meta="{folder / "meta.jsonl"}"', "train.max_samples=5000"]
    settings += [f"model.n_latents={n_latents}", "model.target_l0=32"]
    session = begin(folder / "x.npy", folder / "run", Recipe.load("topk"), settings=settings)
    for _ in session.records():
        pass
    session.finish()
    return Run(folder / "run")


def atlas(run: Run) -> dict[str, Any]:
    """Seconds of the whole atlas, and the peak of memory, the training's too."""
    loaded = run.load()
    source, started = all_data(loaded), time.perf_counter()
    for _ in build_atlas(run, loaded, source):
        pass
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"atlas_seconds": round(seconds, 1), "peak_gigabytes": round(peak, 2)}


def sizes(run: Run) -> dict[str, Any]:
    """What the map takes on the disk."""
    folder = run.path / "atlas"
    files = [path.stat().st_size for path in folder.glob("map-*.bin")]
    return {
        "map_files_megabytes": round(sum(files) / 1e6, 2),
        "samples_with_codes": len(KeptCodes.read(folder / "codes.npz").points),
        "codes_megabytes": round((folder / "codes.npz").stat().st_size / 1e6, 1),
    }


@contextmanager
def page_of(run: Run, way: str) -> Iterator[tuple[Any, str]]:
    """The data page of the served run in a browser, and its address."""
    from playwright.sync_api import sync_playwright

    server = Server(Library([run]))
    url = server.start()
    with sync_playwright() as playwright:
        more = SOFTWARE if way == "webgl" else []
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*ARGUMENTS, *more]
        )
        yield browser.new_page(viewport={"width": 1280, "height": 900}), f"{url}run/data?draw={way}"
        browser.close()
    server.stop()


def browser_seconds() -> float:
    """Processor time of all processes that this one began, so far: it knows no other jobs."""
    tick, parents, used = os.sysconf("SC_CLK_TCK"), {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            number = int(path.parent.name)
            fields = path.read_text().rpartition(")")[2].split()
            parents[number], used[number] = (
                int(fields[1]),
                (int(fields[11]) + int(fields[12])) / tick,
            )
    mine = {os.getpid()}
    while more := {one for one, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(used[one] for one in mine - {os.getpid()})


def around(places: np.ndarray, n: int) -> list[tuple[float, float]]:
    """Corners of the square around the middle place that holds n of them."""
    middle = np.median(places, axis=0).tolist()
    half = float(np.partition(np.abs(places - middle).max(1), n)[n])
    return [
        (middle[0] + a * half, middle[1] + b * half)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]


def asked(page: Any, corners: list[tuple[float, float]]) -> tuple[float, float]:
    """Milliseconds from the end of a line to the answer on the screen; of the question alone."""
    plot = page.locator(".map-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    unit = 0.95 * min(box["width"] - 2, box["height"] - 2) / 2
    spots = [
        (box["x"] + box["width"] / 2 + x * unit, box["y"] + box["height"] / 2 - y * unit)
        for x, y in corners
    ]
    page.evaluate(WAIT_FOR_ANSWER)
    page.keyboard.down("Shift")
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in [*spots[1:], spots[0]]:
        page.mouse.move(*spot, steps=6)
    page.mouse.up()
    page.keyboard.up("Shift")
    whole, alone = page.evaluate("window.answered")
    return float(whole), float(alone)


def moved(page: Any, kind: str) -> dict[str, Any]:
    """Frames of 5 seconds in which something moves in each of them."""
    before = browser_seconds()
    frames, work, drawn, edge = page.evaluate(MOVED, kind)
    spent = browser_seconds() - before
    return {
        "median_frame_milliseconds": round(statistics.median(frames), 1),
        "slowest_of_20_milliseconds": round(sorted(frames)[int(0.95 * len(frames))], 1),
        "frames": len(frames),
        "drawn": drawn,
        "empty_edge": edge,
        "median_on_the_main_thread": round(statistics.median(work), 1),
        "processor_milliseconds_of_a_frame": round(1000 * spent / len(frames), 1),
    }


def all_moved(page: Any) -> dict[str, Any]:
    """`moved` in every way, from all of the map on, or from three steps nearer."""
    told = {}
    for kind in KINDS:
        page.get_by_role("button", name="All", exact=True).click()
        if kind == "far":
            page.get_by_role("button", name="Nearer", exact=True).click(click_count=3)
        page.wait_for_timeout(700)
        told[kind] = moved(page, kind)
    return told


def browsed(run: Run, way: str) -> dict[str, Any]:
    """How long the map takes to appear, its frames while it is moved, and its answers."""
    places = np.fromfile(run.path / "atlas" / "map-inputs.bin", dtype="<f4").reshape(-1, 2)
    ready, answers = [], []
    with page_of(run, way) as (page, url):
        page.goto(url)  # once, so that the browser itself has started
        for _ in range(3):
            page.goto("about:blank")
            page.goto(url)
            plot = page.locator(".map-plot[data-ready]")
            plot.wait_for()
            ready.append(float(plot.get_attribute("data-ready")))
        page.wait_for_timeout(1000)
        pointed = page.evaluate(POINTED)
        frames = all_moved(page)
        drawn_by = plot.get_attribute("data-way")
        for _ in range(5):
            page.get_by_role("button", name="All", exact=True).click()
            answers.append(asked(page, around(places, 1000)))
        heading = page.locator(".map-answer h3").text_content()
    return {
        "way": drawn_by,
        "load_of_the_machine": round(os.getloadavg()[0], 1),
        "interactive_seconds": round(statistics.median(ready) / 1000, 2),
        **frames,
        "first_point_found_milliseconds": round(pointed[0], 1),
        "point_found_milliseconds": round(statistics.median(pointed[1:]), 2),
        "picked": heading,
        "answer_seconds": round(statistics.median(one for one, _ in answers) / 1000, 2),
        "first_answer_seconds": round(answers[0][0] / 1000, 2),
        "of_it_question_seconds": round(statistics.median(two for _, two in answers) / 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--ways", nargs="*", choices=[*WAYS], default=[*WAYS])
    parser.add_argument("--keep", type=Path)
    asked_for = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked_for.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        told = {"points": asked_for.points, "latents": asked_for.latents, "cores": os.cpu_count()}
        run = Run(folder / "run")
        if not (run.path / "atlas" / "atlas.json").exists():
            run = trained(folder, asked_for.points, asked_for.latents)
            told |= atlas(run)
        print(json.dumps({**told, **sizes(run)}), flush=True)
        for way in asked_for.ways:
            print(json.dumps(browsed(run, way)), flush=True)


if __name__ == "__main__":
    main()
