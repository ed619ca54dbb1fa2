"""Weights of a picture model that lie on this machine, as tensors; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from simplecell.data.binary import naming
from simplecell.data.tensors import TORCH_BYTES, check_torch_file, weights_only
from simplecell.errors import DataError, UsageError

_INNER = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
"""Under which programs that train keep a model's state beside other things."""
_BEFORE = ("module.", "_orig_mod.", "model.")
"""What wrappers of a model put before its names."""
_NAMES = ("model.safetensors", "pytorch_model.bin")
_SHOWN = 3

State = dict[str, Tensor]


def read_weights(path: Path) -> State:
    """The tensors of a .safetensors file, of what `torch.save` wrote of a state_dict, or of a
    folder that holds one of these under the hub's usual name.

    Raises:
        DataError: for what is not there, is broken, or would have to be unpickled.
    """
    if path.is_dir():
        path = _inside(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; the file of a model's weights is needed")
    found = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    for name in _INNER:
        if isinstance(found.get(name), Mapping):
            found = found[name]
    state = {str(name): one for name, one in found.items() if isinstance(one, Tensor)}
    if not state:
        raise DataError(f"{path.name} holds no weights; save torch.save(model.state_dict(), path)")
    for start in _BEFORE:
        if all(name.startswith(start) for name in state):
            state = {name.removeprefix(start): one for name, one in state.items()}
    return state


def load_weights(module: nn.Module, state: State, name: str, model: str) -> None:
    """Put weights into a model, every one of them.

    Raises:
        UsageError: where they are those of another model, with the names that do not fit.
    """
    own = module.state_dict()
    odd = [f"{key} is missing" for key in own if key not in state]
    odd += [f"{key} is not known" for key in state if key not in own]
    odd += [
        f"{key} has the shape {tuple(state[key].shape)} and not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise UsageError(
            f"the weights of {name} are not those of {model} ({'; '.join(odd[:_SHOWN])}{more}); "
            "name the model that they were saved from"
        )
    module.load_state_dict(state)


def _inside(folder: Path) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} holds none of {', '.join(_NAMES)}; the weights are needed there")


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path.name} cannot be read ({error}); copy it anew") from error


def _torch(path: Path) -> dict[str, Any]:
    with naming(path.name), path.open("rb") as stream:
        # Weights of before PyTorch 1.6, as many models still have, are no archive that could
        # unpack to more than it weighs; tensors alone are taken of either.
        if stream.read(len(TORCH_BYTES)) == TORCH_BYTES:
            stream.seek(0)
            check_torch_file(stream, path.name, path.stat().st_size)
        stream.seek(0)
        found = weights_only(stream, path.name)
    if not isinstance(found, Mapping):
        raise DataError(
            f"{path.name} holds a {type(found).__name__}, and a model's state_dict is needed: "
            "torch.save(model.state_dict(), path)"
        )
    return dict(found)
