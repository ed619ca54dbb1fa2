"""What run.json and a line of log.jsonl hold: the keys and types, declared here and nowhere else.

`storage.form_of` makes of them what a file is checked by before it is believed.
"""

from __future__ import annotations

from typing import NamedTuple, NotRequired, TypedDict

from simplecell.data.rows import Encoding


class Spread(TypedDict):
    """Least, mean and largest value over latents."""

    min: float
    mean: float
    max: float


class Aimed(Spread):
    """With the mean activation that the objective asks for, if it does."""

    target: float | None


class OfComponents(TypedDict):
    """What so many principal components leave unexplained."""

    components: int
    fvu: float | None


class Measured(TypedDict):
    """What is measured of training and of held-out samples; `fvu` is None where it is infinite.

    `pca` is what the components of the training samples leave unexplained of these: as many as
    latents are active of one, and as many as there are; None where there are too many inputs, or
    targets.
    """

    cost: float
    fvu: float | None
    l0: float | None
    dead: float | None
    n_samples: int
    pca: NotRequired[list[OfComponents] | None]


class HeldOut(Measured):
    """The figures of the held-out samples."""

    mean_activation: Spread


class FinalFigures(Measured):
    """The figures of a training that came to an end, its training samples' first."""

    terms: NotRequired[dict[str, float]]
    mean_activation: Aimed
    n_iter: int
    n_evaluations: NotRequired[int]
    stopped: str
    n_latents: int
    held_out: HeldOut | None
    findings: NotRequired[list[dict[str, str]] | None]


class Packages(TypedDict):
    """Versions that the bits of a result depend on."""

    simplecell: str
    python: NotRequired[str]
    torch: str
    numpy: NotRequired[str]


class Software(Packages):
    """And settings that they depend on."""

    threads: int
    device: str
    cpu: NotRequired[str]
    kernels: NotRequired[str]
    processes: NotRequired[int]
    """That trained together, where there were several."""


class SkippedFile(TypedDict):
    """A file that was not used, and why."""

    file: str
    reason: str


class DataInfo(TypedDict):
    """What a run remembers of its data; `path` is None for data given in memory.

    Of a model that was converted nobody knows what it was trained on: `fingerprint` is None.
    """

    path: str | None
    fingerprint: str | None
    kind: str
    shape: list[int]
    input_names: list[str] | None
    columns: Encoding | None
    n_samples: int
    n_held_out: int
    notes: NotRequired[list[str]]
    skipped: list[SkippedFile]
    targets_fingerprint: NotRequired[str | None]


class Converted(TypedDict):
    """Where a model is from that was not trained here."""

    kind: str
    """What its library calls it."""
    path: str
    transcoder: bool
    told: list[str]
    """What its user must know."""
    lost: list[str]
    """What could not be carried over."""
    metadata: dict[str, object]
    """What its files say of the activations it was trained on."""


class Info(TypedDict):
    """run.json, its format number apart."""

    status: str
    stopped: NotRequired[str | None]
    software: Software
    seed: int
    data: DataInfo
    requested: dict[str, dict[str, object]]
    resolved: NotRequired[dict[str, dict[str, object]]]
    n_iter: int
    seconds: float
    figures: FinalFigures | None
    exact_alpha: NotRequired[float]
    """α of the codes in use, where these are exact (`model.exact`) and not the encoder's."""
    converted: NotRequired[Converted | None]


def is_transcoder(info: Info) -> bool:
    """Whether the model reconstructs something else than its inputs."""
    converted = info.get("converted")
    if converted:
        return converted["transcoder"]
    return info["data"].get("targets_fingerprint") is not None


class StepLog(NamedTuple):
    """What a log tells of a step, to those who look at the course of a training."""

    step: int
    mean_activation: float
    """Mean over latents."""
    held_out_cost: float | None


class Line(TypedDict):
    """A line of log.jsonl that tells of a step whose numbers are all finite."""

    step: int
    cost: float
    terms: dict[str, float]
    mean_activation: Spread
    held_out_cost: NotRequired[float | None]
    seconds: float
