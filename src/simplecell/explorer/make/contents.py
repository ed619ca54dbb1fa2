"""What the JSON files of an atlas hold, as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Told = Mapping[str, object]
"""A JSON object that nobody here looks into."""
Columns = list[tuple[str, float | None, float | None]]
"""Names, values and reconstructions."""


class InPhoto(TypedDict):
    """Which photograph, and where in it, in pixels of its file; without a place all of it."""

    photo: int
    top: NotRequired[float]
    left: NotRequired[float]
    side: NotRequired[int]
    height: NotRequired[float]
    width: NotRequired[float]


class Sample(TypedDict):
    """A sample as a person sees it: by its pixels, values or text, or by tokens around it."""

    row: int
    about: NotRequired[dict[str, object]]
    pixels: NotRequired[str]
    photo: NotRequired[InPhoto]
    values: NotRequired[list[tuple[str, float]]]
    title: NotRequired[str]
    text: NotRequired[str]
    tokens: NotRequired[list[tuple[str, float]]]
    at: NotRequired[int]
    """Which of the tokens it is itself."""


class Context(TypedDict):
    """The part of a sample that is another one for each latent."""

    tokens: list[tuple[str, float]]
    at: int


class Example(TypedDict):
    """A sample that excites a latent, with the code that it gives."""

    value: float
    sample: Sample
    quantile: NotRequired[float]


class LabelFigures(TypedDict):
    """How a label goes with a latent."""

    label: str
    mean: float
    correlation: float
    count: int


class InputWeight(TypedDict):
    """An input column of a latent; the largest weight is ±1."""

    input: str
    weight: float


class Details(TypedDict):
    """A line of details.jsonl."""

    latent: int
    top: list[Example]
    bottom: NotRequired[list[Example]]
    """Where sparse codes have signs: the most negative ones, strongest first."""
    spread: list[Example]
    nearest: list[dict[str, float]]
    together: list[dict[str, float]]
    labels: list[LabelFigures]
    inputs: list[InputWeight]
    curve: list[float] | None


class Judged(TypedDict):
    """A sample on the data page, with its error."""

    at: int
    group: str
    sample: Sample
    error: float | None
    share: float | None
    recon: NotRequired[str]
    prepared: NotRequired[str]
    columns: NotRequired[Columns]


class DataPage(TypedDict):
    """data.json."""

    samples: list[Judged]
    errors: dict[str, list[float]] | None
    steps: list[Told]
    spectrum: dict[str, list[float]] | None
    notes: list[str]
    skipped: list[dict[str, str]]


class Sprites(TypedDict):
    """Where the tile of each latent lies."""

    tile: list[int]
    per_row: int
    per_sheet: int
    sheets: list[str]


class Photo(TypedDict):
    """A photograph that patches were cut from, or that rows were made of."""

    name: str
    width: int
    height: int
    scale: int
    file: str


class MapLayout(TypedDict):
    """Places in two dimensions: a file of x and y, float32."""

    name: str
    file: str
    shares: list[float] | None
    """Of the variance along both directions, where these are principal ones."""


class MapField(TypedDict):
    """Numbers (float32) or classes (uint16) of every sample of the map, in a file."""

    name: str
    file: str
    classes: list[str] | None
    ends: list[float] | None
    """The least and the largest number."""
    counts: NotRequired[list[int]]
    """Samples of each class."""
    other: NotRequired[int]
    """Samples of classes that are too rare to be told."""
    unknown: NotRequired[int]
    own: NotRequired[bool]
    """Whether it is ours and no record: the error of the reconstruction."""


class MapPage(TypedDict):
    """The map's part of atlas.json."""

    n_points: int
    rows: str | None
    """The file of their row numbers (uint32), where they are not all samples."""
    layouts: list[MapLayout]
    latents: MapLayout
    fields: list[MapField]
    codes: dict[str, int]
    """Of how many samples the codes are at hand, in how many entries and bytes."""


class Verdict(TypedDict):
    """Whether data predict a target at all: `score` of the best probe on held-out samples."""

    yes: bool
    p: float
    score: float
    probe: str
    n_probes: int


class TargetFigures(TypedDict):
    """What latents have to do with a target: where in targets.bin its figures [F, T, M] begin."""

    name: str
    kind: str
    classes: list[str]
    """Those set apart from all others, T; of numbers none, and T is 1."""
    figures: list[str]
    at: int
    n_seen: int
    n_held_out: int
    verdict: Verdict | None
    notes: list[str]


class LeftOut(TypedDict):
    """A field of the records that is held against no latent, and why."""

    name: str
    why: str


class TargetsTold(TypedDict):
    """All targets; `n_samples` whose codes were looked at."""

    tested: list[TargetFigures]
    left_out: list[LeftOut]
    n_samples: int
    notes: list[str]


class Manifest(TypedDict):
    """atlas.json."""

    format: int
    edition: int
    key: str
    look: str
    shape: list[int]
    n_inputs: int
    n_latents: int
    n_samples: int
    input_names: list[str] | None
    activation: str
    sparse: bool
    signed: bool
    """Whether sparse codes may be below 0."""
    bounds: tuple[float, float] | None
    transcoder: bool
    recipe: str
    figures: Told
    findings: Sequence[object]
    status: str
    n_iter: int
    columns: list[str]
    histogram: dict[str, int]
    sample_bits: int
    digits: dict[str, int]
    tags: list[str]
    sprites: Sprites | None
    labels: Told | None
    targets: TargetsTold | None
    group: str | None
    """The record by which samples were kept together where latents were held against targets."""
    photos: list[Photo]
    map: MapPage | None
    sizes: dict[str, int]


class PlaygroundPage(TypedDict):
    """playground.json: how the browser computes the model; and samples to play with."""

    here: bool
    reason: str | None
    steps: list[Told]
    target_steps: list[Told] | None
    layers: list[Told]
    exact: Told | None
    """α of exact codes and whether they have signs, where the page has them."""
    tensors: Told
    input: str
    patch: Told | None
    low: NotRequired[float]
    high: NotRequired[float]
    samples: list[Judged]
