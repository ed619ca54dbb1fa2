"""A run as a picture: what excites its latents, its atoms, reconstructions, preparation, curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from simplecell.data import Source
from simplecell.errors import DataError, UsageError, unknown
from simplecell.preprocess.whitening import whitening_report
from simplecell.run.directory import Run
from simplecell.run.trained import Trained
from simplecell.viz.files import save
from simplecell.viz.grid import most_tiles, side_by_side, tiles
from simplecell.viz.numbers import bars
from simplecell.viz.plots import curve
from simplecell.viz.preparation import MOST_SAMPLES, whitening
from simplecell.viz.reconstructions import rows_of_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_RECONSTRUCTIONS = 24
FILES = {
    "latents": "features.png",
    "atoms": "atoms.png",
    "reconstructions": "reconstructions.png",
    "preparation": "preparation.png",
    "curve": "curve.png",
}


def picture_of_rows(
    rows: NDArray[np.float64], shape: tuple[int, ...], names: list[str] | None, title: str
) -> Image.Image:
    """One tile a row for pictures, each scaled by its own maximum; else the strongest inputs.

    The bands of a picture stand side by side.
    """
    if len(shape) == 1:
        return bars(rows, names or [f"x{i}" for i in range(shape[0])], title=title)
    beside, shape = side_by_side(rows, shape)
    return tiles(beside[: most_tiles(shape)], shape)


def picture(
    trained: Trained, what: str, shape: tuple[int, ...] | None = None, *, layer: int | None = None
) -> Image.Image:
    """The picture of "latents" or "atoms"; `shape` says how a sample is laid out otherwise.

    "latents" are the inputs of unit length that excite each latent most (source: UFLDL,
    Visualizing; exact), "atoms" what each latent adds to a reconstruction, in input units.
    `layer` of a deep network's latents is counted from 1; None is the innermost.
    """
    shape, names = shape or trained.shape, trained.input_names
    title = "What excites each latent" if what == "latents" else "What each latent adds"
    rows = trained.latents(layer) if what == "latents" else trained.atoms()
    if what == "atoms" and trained.target_preprocess is not None:
        names = [f"y{i}" for i in range(rows.shape[1])]
        shape = shape if shape != trained.shape else (rows.shape[1],)
    if only_standardised(trained, shape):
        title += ", in standardised inputs"
        model = trained.model if layer is None else trained.model.upto(layer)
        rows = (model.directions() if what == "latents" else model.atoms()).double().cpu()
    return picture_of_rows(rows.numpy(), shape, names, title)


def only_standardised(trained: Trained, shape: tuple[int, ...]) -> bool:
    """Whether samples are bare rows in units of their own, which would hide what matters."""
    kinds = {step["kind"] for step in trained.preprocess.steps}
    return len(shape) == 1 and kinds == {"standardize"}


def reconstructions(trained: Trained, source: Source) -> Image.Image:
    """Evenly spread samples as the model sees them, their reconstructions, the differences.

    Raises:
        UsageError: for samples that are no pictures, and for a transcoder.
    """
    if trained.target_preprocess is not None:
        raise UsageError(
            "this run is a transcoder, and what it reconstructs are not its samples; for figures "
            "use simplecell evaluate, or show --what atoms"
        )
    x, recon = trained.reconstruct(_spread(source, SHOWN_RECONSTRUCTIONS))
    shape = trained.shape
    if len(shape) == 1:
        raise UsageError(
            f"reconstructions are drawn for pictures, but these samples are rows of {shape[0]} "
            "numbers; save pictures as [n, h, w], or use simplecell evaluate for figures"
        )
    if x.shape[1] != int(np.prod(shape)):
        # Components were dropped: the model's own space is no picture, so draw in input units.
        back = trained.preprocess.atoms
        x, recon = (back(torch.from_numpy(rows).double()).numpy() for rows in (x, recon))
    beside = [side_by_side(rows, shape) for rows in (x, recon, x - recon)]
    return rows_of_tiles([rows for rows, _ in beside], beside[0][1])


def preparation(trained: Trained, source: Source) -> Figure:
    """What the run's preparation does to its samples, a matplotlib figure: raw rows against
    prepared ones, the covariances of all of them, and evenly spread samples."""
    chain, shape = trained.preprocess, trained.shape
    raw = torch.as_tensor(_spread(source, MOST_SAMPLES), dtype=torch.float64)
    steps = ", ".join(str(step["kind"]) for step in chain.steps) or "no steps"
    return whitening(
        raw,
        chain.apply(raw).x,
        shape=shape if len(shape) > 1 and shape[2:] in ((), (1,), (3,)) else None,
        names=trained.input_names,
        components=chain.pixels(torch.eye(chain.n_outputs, dtype=torch.float64)),
        report=whitening_report(source, chain),
        title=f"Before and after the preparation: {steps}",
    )


def draw(
    run: Run,
    what: str,
    out: Path | None,
    source: Callable[[Trained], Source],
    layer: int | None = None,
) -> Path:
    """Draw `what` (one of `FILES`) of a run into a file.

    Args:
        out: the file; None is the run's own of that name.
        source: opens the samples for reconstructions and preparation, when they are needed.
        layer: of a deep network's latents, counted from 1; None is the innermost.
    """
    if what not in FILES:
        raise unknown("picture", what, FILES)
    if layer is not None and what != "latents":
        raise UsageError(f"--layer is for latents, not for {what}; leave it out")
    out = out or run.path / FILES[what]
    if what == "curve":
        save(training_curve(run), out)
        return out
    trained = run.load()
    if what in ("latents", "atoms"):
        save(picture(trained, what, layer=layer), out)
    else:
        made = preparation if what == "preparation" else reconstructions
        save(made(trained, source(trained)), out)
    return out


def training_curve(run: Run) -> Figure:
    """The curve of a run's log, a matplotlib figure."""
    info, recipe = run.agreed()
    records = run.records()
    if not records and (converted := info.get("converted")):
        raise DataError(
            f"'{run.path}' was converted ({converted['kind']}) and not trained here, so that it "
            "has no curve; draw its latents or atoms"
        )
    if not records:
        raise DataError(f"'{run.path}' has no records yet: training has not taken a step")
    weights = {name: float(term["weight"]) for name, term in recipe.objective.items()}
    target = recipe.objective.get("kl", {}).get("target")
    return curve(records, target, weights=weights)


def _spread(source: Source, most: int) -> NDArray[np.floating]:
    """Up to `most` rows of a source, evenly spread."""
    chosen = np.linspace(0, source.n_samples - 1, min(most, source.n_samples))
    return source.read(chosen.astype(int))
