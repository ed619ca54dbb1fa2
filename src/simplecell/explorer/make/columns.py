"""What can be said of every latent in a number or a few words: the gallery's columns and tags."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simplecell.explorer.make.contents import Details, Example, InputWeight, LabelFigures
from simplecell.explorer.make.ranking import largest
from simplecell.explorer.make.samples import Labels, Samples
from simplecell.explorer.make.survey import Survey
from simplecell.model.measures import coherence, edge_coherence, edge_orientation
from simplecell.run.trained import Trained

MOST_LABELS, MOST_INPUTS = 8, 12
TELLING = 0.15
"""A correlation with a label from which it stands for a latent, *ours*."""
CLEAR_EDGE = 0.6
"""Coherence from which a latent is called an edge, *ours*; noise stays below 0.3."""
TAG_LENGTH = 48
FEWEST_CHANNELS, MOST_CHANNELS = 8, 2048
"""Of what is drawn as a curve, *count*."""
LARGEST_COHERENCE = 20_000
"""Latents beyond which the largest cosine of each with another takes too long to make."""


def columns_of(
    trained: Trained, survey: Survey, directions: NDArray[np.float64], shape: tuple[int, ...]
) -> dict[str, NDArray[np.float64]]:
    """One number a latent each, [M]: density, mean, max, norm, bias, coherence, edge, low, high.

    What has no meaning for these codes or samples is left out.
    """
    _, density, _, _ = survey.activity.means()
    atoms, n = trained.model.atoms().cpu(), survey.source.n_samples
    columns: dict[str, NDArray[np.float64]] = {}
    if density is not None:
        columns["density"] = density
    columns["mean"] = (survey.sum / n).numpy()
    columns["max"] = survey.max.double().numpy()
    columns["norm"] = atoms.norm(dim=1).double().numpy()
    bias = getattr(trained.model.layers[-1], "bias", None) if trained.model.layers else None
    if bias is not None and len(bias) == trained.model.n_latents:
        columns["bias"] = bias.detach().double().cpu().numpy()
    if len(atoms) <= LARGEST_COHERENCE:
        columns["coherence"] = coherence(atoms).double().numpy()
    if len(shape) > 1 and min(shape[:2]) > 1:
        columns["edge"] = edge_coherence(directions, shape)
    columns["low"] = survey.histograms.low.double().numpy()
    columns["high"] = survey.histograms.high.double().numpy()
    return columns


class Words:
    """Labels and inputs that go with each latent, and the few words that stand for it.

    Where labels are numbers that measure (`tells` is false), a latent is not called "7".
    """

    def __init__(
        self,
        labels: Labels,
        survey: Survey,
        directions: NDArray[np.float64],
        samples: Samples,
        *,
        tells: bool = True,
    ) -> None:
        self.tells = tells
        self.names, self.drawn_as, self.values = samples.names, samples.drawn_as, labels.values
        self.directions = directions
        self.pictured = samples.pictures is not None
        """Whether a tile shows pictures: the numbers of a layer say less."""
        self.is_spectrum = self.drawn_as == "row" and is_spectrum(self.names)
        self.means, self.correlations, self.counts = survey.of_labels()
        self._strongest = largest(np.abs(self.correlations.T), MOST_LABELS)
        if self.drawn_as != "picture":
            self._inputs = largest(np.abs(directions), MOST_INPUTS)
            self._weights = np.take_along_axis(directions, self._inputs, 1)
        shape = samples.source.shape
        self.edges = words_of_edges(directions, shape) if self.drawn_as == "picture" else None

    def labels(self, latent: int) -> list[LabelFigures]:
        """The labels that go with a latent's code most, and those that go against it."""
        if not self.values:
            return []
        related = self.correlations[:, latent]
        return [
            {
                "label": self.values[k],
                "mean": float(f"{self.means[k, latent]:.5g}"),
                "correlation": round(float(related[k]), 4),
                "count": int(self.counts[k]),
            }
            for k in self._strongest[latent].tolist()
        ]

    def inputs(self, latent: int) -> list[InputWeight]:
        """The input columns that excite a latent most; the largest weight is ±1."""
        if self.drawn_as == "picture":
            return []
        order, weights = self._inputs[latent].tolist(), self._weights[latent].tolist()
        most = abs(weights[0]) or 1.0
        return [
            {"input": self.names[j], "weight": round(weight / most, 4)}
            for j, weight in zip(order, weights, strict=True)
        ]

    def curve(self, latent: int) -> list[float] | None:
        """Weights of all inputs in their order, the largest ±1; None where these have none."""
        if not self.is_spectrum:
            return None
        row = self.directions[latent]
        return (row / (float(np.abs(row).max()) or 1.0)).round(4).tolist()

    def tag(self, latent: int, details: Details) -> str:
        """What stands for a latent, from its line of details."""
        telling = details["labels"] if self.tells else []
        parts = [one["label"] for one in telling if one["correlation"] >= TELLING][:2]
        if self.drawn_as == "tokens":
            parts = _own_tokens(details["top"] or details.get("bottom", [])) or parts
        elif self.drawn_as == "text":
            parts += _titles(details["top"] or details.get("bottom", []))[: 2 - len(parts)]
        elif self.edges is not None and not parts:
            parts = [self.edges[latent]]
        elif self.drawn_as == "row" and not self.pictured and not parts:
            signs = {True: "+", False: "−"}
            parts = [signs[one["weight"] > 0] + one["input"] for one in details["inputs"][:2]]
        return " · ".join(part[:TAG_LENGTH] for part in parts if part)


def is_spectrum(names: list[str]) -> bool:
    """Whether inputs are named by rising numbers: wavelengths, frequencies, times."""
    if not FEWEST_CHANNELS <= len(names) <= MOST_CHANNELS:
        return False
    try:
        places = np.array([float(name) for name in names])
    except ValueError:
        return False
    return bool(np.isfinite(places).all() and (np.diff(places) > 0).all())


def words_of_edges(directions: NDArray[np.float64], shape: tuple[int, ...]) -> list[str]:
    """How the edge of each latent's picture runs, in words; "" where there is no clear one."""
    if min(shape[:2]) < 2:
        return [""] * len(directions)
    clear = edge_coherence(directions, shape) >= CLEAR_EDGE
    tilt = edge_orientation(directions, shape)
    names = np.select(
        [~clear, np.abs(tilt) < 22.5, np.abs(tilt) > 67.5, tilt > 0],
        ["", "vertical edge", "horizontal edge", "slanted edge /"],
        "slanted edge \\",
    )
    return [str(name) for name in names]


def _own_tokens(top: list[Example]) -> list[str]:
    found: list[str] = []
    for example in top:
        sample = example["sample"]
        token = sample["tokens"][sample["at"]][0].strip()
        if token and token not in found:
            found.append(token)
    return found[:3]


def _titles(top: list[Example]) -> list[str]:
    return [one["sample"].get("title") or one["sample"]["text"] for one in top[:2]]
