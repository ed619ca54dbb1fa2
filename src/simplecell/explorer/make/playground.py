"""The run's own weights for the browser: playground.json and weights.bin of an atlas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.deep import DeepAutoencoder
from simplecell.model.exact import suited
from simplecell.preprocess.chain import Preprocess
from simplecell.run.schema import Data
from simplecell.run.storage import write_json, write_whole
from simplecell.run.trained import Trained

MOST_EXACT, FEW, TIMES = 2**18, 256, 4
"""Numbers of a dictionary on which exact codes are quick enough to play with, *count*; and of more
than so many latents, how many times the inputs they may be: the search for α on 2,048 samples took
35 s at 1,024 latents of 64 inputs, minutes at 4,096; 10 s at 1,024 of 256, and 9 at 256 of 16."""
MOST_FLOATS = 2**21
"""Weights and preparation of a model that the browser computes itself, *count*: 8 megabytes."""

AFFINE = ("mean", "matrix", "inverse")
NOTHING: dict[str, object] = {"steps": [], "target_steps": None, "layers": []}
DRAWN = range(16, 65)  # pixels a side that a drawing surface has


def write_play(
    trained: Trained, folder: Path, low: float, high: float, alpha: float | None = None
) -> None:
    """Write playground.json and weights.bin (float32, little-endian) into `folder`.

    `low` and `high` are the least and the greatest value of the data, in input units; `alpha` is
    that of exact codes, where the page has them. A model that the browser cannot compute gets an
    empty weights.bin, and the reason in playground.json.

    Raises:
        WriteError: when the disk is full or the folder missing or forbidden.
    """
    play, weights = describe(trained, alpha)
    write_json(folder / "playground.json", {**play, "low": float(low), "high": float(high)})
    write_whole(folder / "weights.bin", weights.tobytes())


def has_exact(model: Model) -> bool:
    """Whether the page can have exact codes of it, and quickly."""
    try:
        n_latents, n_inputs = suited(model).decoder.shape
    except UsageError:
        return False
    return n_latents * n_inputs <= MOST_EXACT and n_latents <= max(FEW, TIMES * n_inputs)


def describe(
    trained: Trained, alpha: float | None = None
) -> tuple[dict[str, object], NDArray[np.float32]]:
    """playground.json without the range of the data, and the numbers its tensors point at."""
    store, reason = _Store(), _why_not(trained.model)
    mathematics = _mathematics(trained, store) if reason is None else NOTHING
    if store.size > MOST_FLOATS:
        reason = (
            f"this model has {store.size:,} numbers, and the browser computes with at most "
            f"{MOST_FLOATS:,}"
        )
        store, mathematics = _Store(), NOTHING
    play = {
        "here": reason is None,
        "reason": reason,
        **mathematics,
        "exact": _exact(trained.model, alpha) if reason is None else None,
        "tensors": store.places,
        "input": _input(trained),
        "patch": _patch(trained.recipe.data, trained.shape) if _of_patches(trained) else None,
    }
    return play, store.numbers()


def _mathematics(trained: Trained, store: _Store) -> dict[str, object]:
    targets = trained.target_preprocess
    return {
        "steps": _steps("inputs", trained.preprocess, store),
        "target_steps": None if targets is None else _steps("targets", targets, store),
        "layers": [
            _layer(f"layers.{number}", layer, store)
            for number, layer in enumerate(trained.model.layers)
            if isinstance(layer, Autoencoder)
        ],
    }


def _exact(model: Model, alpha: float | None) -> dict[str, object] | None:
    if alpha is None or not has_exact(model):
        return None
    return {"alpha": alpha, "signed": model.activation.signed}


class _Store:
    """Tensors one after another, each under a name and kept once."""

    def __init__(self) -> None:
        self.places: dict[str, dict[str, object]] = {}
        self.size = 0
        self._parts: list[NDArray[np.float32]] = []
        self._names: dict[Tensor, str] = {}  # by identity, which is what tensors hash by

    def keep(self, name: str, tensor: Tensor) -> str:
        """The name under which the tensor is found: an older one if it is here already."""
        if tensor in self._names:
            return self._names[tensor]
        self._names[tensor] = name
        shape = list(tensor.shape)
        self.places[name] = {"at": self.size, "shape": shape}
        self.size += math.prod(shape)
        self._parts.append(tensor.detach().cpu().numpy().astype("<f4").reshape(-1))
        return name

    def numbers(self) -> NDArray[np.float32]:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, dtype="<f4")


def _why_not(model: Model) -> str | None:
    if model.output == "softmax":
        return "this model tells classes apart; it reconstructs nothing"
    if not isinstance(model, Autoencoder | DeepAutoencoder):
        return "this model is made of modules of its own, which only Python can compute"
    strange = [layer.activation for layer in model.layers if layer.activation.page is None]
    return f"the browser has no '{strange[0].kind}' codes; only Python does" if strange else None


def _steps(name: str, chain: Preprocess, store: _Store) -> list[dict[str, object]]:
    state = chain.state()
    return [
        _step(f"{name}.{index}", step, store, {key: state.get(f"{index}.{key}") for key in AFFINE})
        for index, step in enumerate(chain.steps)
    ]


def _step(
    name: str, step: Mapping[str, object], store: _Store, tensors: dict[str, Tensor | None]
) -> dict[str, object]:
    if step["kind"] == "remove_dc":
        return {"kind": "remove_dc"}
    kept = _keep_all(name, store, {**tensors, "rest": _rest(tensors["mean"])})
    low = step.get("low", 0.0)
    clip = [low, step["high"]] if step["kind"] == "patch_range" else None
    return {"kind": "affine", **kept, "low": low, "clip": clip}


def _rest(mean: Tensor | None) -> Tensor | None:
    """What 32 bits leave of the mean: of 1.7e9 up to 64, where samples may be seconds apart."""
    return None if mean is None else mean.double() - mean.float().double()


def _layer(name: str, layer: Autoencoder, store: _Store) -> dict[str, object]:
    m = layer.n_latents
    tensors = {
        # Of a Gaussian code the mean is what is used: the first half of the rows.
        "encoder": layer.encoder if len(layer.encoder) == m else layer.encoder[:m],
        "bias": None if layer.activation.owns_bias else layer.bias[:m],
        "center": layer.center if layer.centred or layer.pre_bias else None,
        "decoder": layer.decoder,
        "offset": layer.offset,
    }
    kept = _keep_all(name, store, tensors)
    activation = _activation(name, layer.activation, store)
    return {**kept, "output": layer.output, "activation": activation}


def _activation(name: str, activation: Activation, store: _Store) -> dict[str, object]:
    function, *given = activation.page or (activation.kind,)
    numbers: dict[str, object] = {"kind": function}
    for key in given:
        value = getattr(activation, key)
        if isinstance(value, Tensor):
            value = store.keep(f"{name}.{key}", value) if value.ndim else value.item()
        numbers[key] = value
    return numbers


def _keep_all(
    name: str, store: _Store, tensors: Mapping[str, Tensor | None]
) -> dict[str, str | None]:
    return {
        key: None if tensor is None else store.keep(f"{name}.{key}", tensor)
        for key, tensor in tensors.items()
    }


def _of_patches(trained: Trained) -> bool:
    cut = trained.info["data"].get("kind") == "patches" and len(trained.shape) > 1
    return cut and not _of_bands(trained)


def _of_bands(trained: Trained) -> bool:
    """Whether samples have channels that are no colours: the page takes no such pictures."""
    return trained.shape[2:] not in ((), (1,), (3,))


def _input(trained: Trained) -> str:
    """What a person gives: a drawing, a whole picture, a photograph cut to patches, a row."""
    shape = trained.shape
    if len(shape) < 2 or _of_bands(trained):
        return "row"
    if _of_patches(trained):
        return "patches"
    square = len(shape) == 2 and shape[0] == shape[1] and shape[0] in DRAWN
    return "digit" if square else "picture"


def _patch(data: Data, shape: tuple[int, ...]) -> dict[str, object]:
    color = "color" if len(shape) == 3 else "grey"
    return {"side": shape[0], "color": color, "whiten": data.whiten, "cutoff": data.cutoff}
