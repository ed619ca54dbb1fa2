"""A run on one printable page: a single HTML file that needs no other, and runs no script."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from simplecell.data.unseen import shown_in_page
from simplecell.explorer.make.contents import Example, Judged, Manifest, Sample
from simplecell.explorer.serve.messages import data_url
from simplecell.explorer.serve.view import KnownRun, RunView
from simplecell.run.directory import Run, reported_figures, reported_pca
from simplecell.viz.plots import spectrum
from simplecell.viz.portrait import picture, training_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LATENTS, MOST_EXAMPLES, MOST_WORST = 60, 8, 24
THUMBNAIL = 48


def report(run: Run) -> str:
    """The page, of a run whose atlas is there.

    Raises:
        RunError: for a damaged run or atlas.
    """
    view, trained = RunView(KnownRun(run.path.name, run)), run.load()
    atlas, data = view.manifest, view.data()
    raw = data["spectrum"]["raw"] if data["spectrum"] else []
    worst = [one for one in data["samples"] if one["group"] == "worst"][:MOST_WORST]
    environment = Environment(
        loader=PackageLoader("simplecell.explorer", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown_in_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    return template.render(
        name=run.path.resolve().name,
        atlas=atlas,
        info=trained.info,
        judged=reported_figures(trained.info),
        pca=(reported_pca(trained.info) or {"fvu": []})["fvu"],
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        latents=list(_latents(view)),
        gallery=_png(picture(trained, "latents")) if _is_seen(atlas) else None,
        curve=None if trained.info.get("converted") else _figure(training_curve(run)),
        spectrum=_figure(spectrum(np.array(raw))) if any(raw) else None,
        steps=data["steps"],
        notes=data["notes"],
        worst=[_worst(one, atlas) for one in worst],
    )


def _is_seen(atlas: Manifest) -> bool:
    """Whether all latents in one picture say something: pictures, or bars of few named columns."""
    if atlas["look"] == "picture":
        return True
    return atlas["look"] == "row" and atlas["n_latents"] <= 64 and atlas["n_inputs"] <= 24


def _latents(view: RunView) -> Iterator[dict[str, object]]:
    """The liveliest latents: the largest mean code first; none that is never active."""
    atlas, folder, names = view.manifest, view.atlas, view.names
    columns = _columns(folder, atlas)
    order = np.argsort(-columns["mean"], kind="stable")[:MOST_LATENTS].tolist()
    if atlas["sparse"]:
        order = [latent for latent in order if columns["density"][latent] > 0]
    for latent in order:
        details = view.details(latent)
        strongest = details["top"] or details.get("bottom", [])
        yield {
            "latent": latent,
            "tag": " · ".join(filter(None, (names.get(latent), atlas["tags"][latent]))),
            "figures": {
                name: float(columns[name][latent])
                for name in ("density", "mean", "max", "edge")
                if name in columns
            },
            "tile": _tile(folder, atlas, latent) if atlas["look"] == "picture" else None,
            "strip": _strip(strongest[:MOST_EXAMPLES], atlas),
            "words": [
                _words(one["sample"], one["value"], atlas["look"])
                for one in (strongest[:4] if atlas["look"] != "picture" else [])
            ],
            "labels": [one for one in details["labels"] if abs(one["correlation"]) > 0.1][:4],
            "inputs": details["inputs"][:6],
            "nearest": details["nearest"][:3],
        }


def _columns(folder: Path, atlas: Manifest) -> dict[str, NDArray[np.floating]]:
    m = atlas["n_latents"]
    numbers = np.fromfile(folder / "columns.bin", dtype="<f4")
    return {name: numbers[k * m : (k + 1) * m] for k, name in enumerate(atlas["columns"])}


def _tile(folder: Path, atlas: Manifest, latent: int) -> str | None:
    sprites = atlas["sprites"]
    if sprites is None:
        return None
    sheet, place = divmod(latent, sprites["per_sheet"])
    row, column = divmod(place, sprites["per_row"])
    height, width = sprites["tile"]
    with Image.open(folder / sprites["sheets"][sheet]) as image:
        corner = column * width, row * height
        tile = image.crop((*corner, corner[0] + width, corner[1] + height))
    return _png(_enlarged(tile, 2 * THUMBNAIL))


def _strip(examples: list[Example], atlas: Manifest) -> str | None:
    """Examples side by side, where they are pictures."""
    if atlas["look"] != "picture" or not examples:
        return None
    tiles = [_enlarged(_picture(one["sample"]["pixels"], atlas), THUMBNAIL) for one in examples]
    return _side_by_side(tiles, *tiles[0].size)


def _side_by_side(tiles: list[Image.Image], width: int, height: int) -> str:
    strip = Image.new("RGB", (len(tiles) * (width + 2), height), "white")
    for k, tile in enumerate(tiles):
        strip.paste(tile, (k * (width + 2), 0))
    return _png(strip)


def _words(sample: Sample, value: float | None, look: str) -> dict[str, str | float | None]:
    """A sample as text."""
    if look == "tokens":
        at, texts = sample["at"], [text for text, _ in sample["tokens"]]
        before, own, after = "".join(texts[:at]), texts[at], "".join(texts[at + 1 :])
    elif look == "text":
        before, own, after = "", sample.get("title", ""), sample["text"][:160]
    else:
        values = ", ".join(f"{name} {value:.4g}" for name, value in sample["values"][:8])
        before, own, after = "", f"row {sample['row']}", values
    return {"value": value, "before": before, "own": own, "after": after}


def _worst(one: Judged, atlas: Manifest) -> dict[str, object]:
    sample = one["sample"]
    columns = [column for column in one.get("columns", []) if None not in column][:4]
    told = {"row": sample["row"], "share": one["share"], "columns": columns}
    if atlas["look"] == "picture":
        side, texts = 2 * THUMBNAIL, (sample["pixels"], one.get("recon"))
        pair = [_enlarged(_picture(text, atlas), side) for text in texts if text]
        return {**told, "pictures": _side_by_side(pair, side, side), "words": None}
    return {**told, "pictures": None, "words": _words(sample, None, atlas["look"])}


def _picture(text: str, atlas: Manifest) -> Image.Image:
    pixels = np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(atlas["shape"])
    return Image.fromarray(pixels).convert("RGB")


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    size = [max(1, round(length * factor)) for length in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.NEAREST)


def _figure(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return data_url(".png", file.getvalue())


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return data_url(".png", file.getvalue())
