"""Pictures through a vision model whose weights lie on this machine: a row a picture, a patch or a
place."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from simplecell.data.images import SUFFIXES
from simplecell.data.shards import files_below
from simplecell.errors import UsageError, unknown
from simplecell.harvesting.frames import Transform
from simplecell.harvesting.libraries import library
from simplecell.harvesting.weights import State, load_weights, read_weights
from simplecell.harvesting.writing import Harvested, harvest

LIBRARIES = ("timm", "torchvision")


@dataclass
class PictureModel:
    """A vision model with what makes of a picture its input."""

    module: nn.Module
    transform: Transform
    whole: str | None
    """The layer that says one thing of a whole picture: what its classifier is given."""
    notes: list[str] = field(default_factory=list)


def harvest_pictures(
    data: str | Path,
    model: str | Path,
    out: str | Path,
    layer: str | Sequence[str] | None = None,
    *,
    positions: str = "auto",
    batch_size: int = 32,
    rows: int | None = None,
    dtype: str | None = None,
    restart: bool = False,
    download: bool = False,
) -> Harvested:
    """Write what a vision model makes of pictures as shards: without `layer` one row a picture,
    what its classifier is given; of a layer one row a patch or a place.

    Records: file, label (its folder), of patches and places y and x (row and column) and where in
    the file they lie: top, left, height and width in pixels.

    Args:
        data: a folder of pictures, or a file.
        model: a folder with `config.json` and weights; or a model of timm or torchvision and the
            file of its weights, NAME=FILE ("torchvision:NAME=FILE" where both have the name).
        layer: a name as in `named_modules()`, a glob or several, as `activations` reads it.
        positions: as in `activations`.
        download: fetch the weights of a NAME, or of an "hf-hub:NAME", by the library's own means;
            else nothing is loaded from the network.

    Raises:
        DataError: for pictures or weights that cannot be read.
        UsageError: for a model or a layer that is not there, and where the extra is not installed.
    """
    loaded = open_picture_model(model, download=download)
    if layer is None and loaded.whole is None:
        raise UsageError(
            f"{model} has no classifier whose input would be a row a picture; say a layer (--layer)"
        )
    done = harvest(
        loaded.module,
        loaded.whole if layer is None else layer,  # type: ignore[arg-type]
        Path(data),
        out,
        rows=rows,
        dtype=dtype,
        restart=restart,
        positions=positions,
        batch_size=batch_size,
        transform=loaded.transform,
    )
    told = [f"a row a picture: what '{loaded.whole}' is"] if layer is None else []
    return done._replace(notes=[*loaded.notes, *told, *done.notes], what="pictures")


def hold_pictures(path: Path) -> bool:
    """Whether data for a model are pictures: a file of one, or a folder with more than texts."""
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    found = [one.suffix.lower() for one in files_below(path)] if path.is_dir() else []
    return sum(end in SUFFIXES for end in found) > found.count(".txt")


def open_picture_model(model: str | Path, *, download: bool = False) -> PictureModel:
    """A vision model with its own preparation of pictures, its weights read from this machine.

    Raises:
        UsageError: where it is not known, where its weights are not said or are those of another,
            and without the extra `vision`.
        DataError: for weights that cannot be read.
    """
    if Path(model).is_dir():
        return _of_folder(Path(model))
    name, _, weights = str(model).partition("=")
    if name.startswith("hf-hub:"):
        return _of_hub(name, download)
    library, name = _library_of(name)
    if not weights and not download:
        raise UsageError(
            f"'{model}' has no weights here, and nothing is downloaded unasked; say {name}=FILE "
            "with the file of its weights, or --download to fetch them"
        )
    state = read_weights(Path(weights)) if weights else None
    opened = _of_timm if library == "timm" else _of_torchvision
    return opened(name, state, Path(weights).name)


def _library_of(name: str) -> tuple[str, str]:
    """Which library has a model of this name, and the name there."""
    said, _, rest = name.rpartition(":")
    if said and said not in LIBRARIES:
        raise unknown("library of vision models", said, LIBRARIES)
    timm, vision = _timm(), _torchvision()
    if said != "torchvision" and timm.is_model(rest.partition(".")[0]):
        return "timm", rest
    if said != "timm" and rest in vision.models.list_models():
        return "torchvision", rest
    known = [*(timm.list_models() if said != "torchvision" else ())]
    known += vision.models.list_models() if said != "timm" else []
    raise unknown("vision model", rest, known) if len(known) < 50 else _no_such(rest, known)


def _no_such(name: str, known: Sequence[str]) -> UsageError:
    """The error of a name among a thousand others, which nobody would read."""
    import difflib

    near = difflib.get_close_matches(name, known, 3)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"'{name}' is no model of timm or torchvision, and no folder; {guess}"
        "timm.list_models() and torchvision.models.list_models() have their names"
    )


def _of_folder(folder: Path) -> PictureModel:
    """A model as the hub keeps it: config.json and weights."""
    place = folder / "config.json"
    if not place.is_file():
        raise UsageError(f"{folder} holds no config.json; a folder of a vision model is needed")
    try:
        config: Any = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} cannot be read ({error}); copy the model anew") from error
    if "architecture" not in config:
        return _of_transformers(folder)
    timm = _timm()
    module = timm.create_model(f"local-dir:{folder}", pretrained=False)
    load_weights(module, read_weights(folder), folder.name, config["architecture"])
    return _ready_timm(module, folder.name)


def _of_timm(name: str, state: State | None, file: str) -> PictureModel:
    timm = _timm()
    if state is None:
        return _ready_timm(timm.create_model(name, pretrained=True), name)
    told = timm.get_pretrained_cfg(name).classifier
    classifier = told[0] if isinstance(told, list | tuple) else told
    module = timm.create_model(name, pretrained=False, num_classes=_classes(state, classifier))
    load_weights(module, state, file, name)
    return _ready_timm(module, name)


def _of_hub(name: str, download: bool) -> PictureModel:
    if not download:
        raise UsageError(f"'{name}' lies on the hub; say --download to fetch it, or give a folder")
    return _ready_timm(_timm().create_model(name, pretrained=True), name)


def _ready_timm(module: nn.Module, name: str) -> PictureModel:
    data = importlib.import_module("timm.data")
    told = data.resolve_model_data_config(module)
    transform = data.create_transform(**told, is_training=False)
    side = "x".join(map(str, told["input_size"][1:]))
    note = f"{name} (timm): pictures become {side} pixels, as its own configuration says"
    return _ready(module, transform, _classifier(module), note)


def _of_torchvision(name: str, state: State | None, file: str) -> PictureModel:
    models = _torchvision().models
    weights = models.get_model_weights(name).DEFAULT
    if state is None:
        module = models.get_model(name, weights=weights)
    else:
        module = models.get_model(name, weights=None)
        classes = _classes(state, _classifier(module))
        if classes:
            module = models.get_model(name, weights=None, num_classes=classes)
        load_weights(module, state, file, name)
    note = f"{name} (torchvision): pictures are prepared as for {weights}"
    return _ready(module, weights.transforms(), _classifier(module), note)


def _of_transformers(folder: Path) -> PictureModel:
    transformers = _library("transformers", "text,vision")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        module = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} holds no vision model of timm or transformers "
            f"({str(error).splitlines()[0]}); give a folder with config.json, weights and "
            "preprocessor_config.json"
        ) from error

    def transform(image: Any) -> Any:
        return processor(images=image, return_tensors="pt")["pixel_values"][0]

    note = f"{folder.name} (transformers): pictures are prepared by its own processor"
    return _ready(module, transform, None, note)


def _ready(
    module: nn.Module, transform: Transform, classifier: str | None, note: str
) -> PictureModel:
    module.eval()  # made a line ago: nobody's own mode is changed
    return PictureModel(module, transform, classifier and f"{classifier}:input", [note])


def _classifier(module: Any) -> str | None:
    """The name of the layer that gives the classes: as timm says, else the last linear one."""
    told = getattr(module, "pretrained_cfg", {}).get("classifier")
    told = told[0] if isinstance(told, list | tuple) else told
    names = dict(module.named_modules())
    if told in names:
        return str(told)
    linear = [name for name, one in names.items() if isinstance(one, nn.Linear)]
    return linear[-1] if linear else None


def _classes(state: State, classifier: str | None) -> int:
    """How many classes weights were made for; 0 for weights without a classifier."""
    found = state.get(f"{classifier}.weight")
    return 0 if found is None else len(found)


def _timm() -> Any:
    _torchvision()  # which timm needs
    return _library("timm", "vision")


def _torchvision() -> Any:
    return _library("torchvision", "vision")


def _library(name: str, extra: str) -> Any:
    return library(name, "pictures are given to a vision model", extra)
