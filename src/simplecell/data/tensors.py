"""Tensors as arrays: torch's and JAX's in memory, .safetensors, and torch's own files.

bfloat16, which NumPy lacks, is read as the float32 of the same value. A torch file is a pickle:
only tensors are taken from it, and whatever else would be a program is refused.
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from simplecell.data.lazy import Lazy, Widened
from simplecell.data.loaded import Loaded, choose
from simplecell.data.options import Options
from simplecell.errors import DataError

TORCH_BYTES = b"PK\x03\x04"


def is_tensor(data: object) -> bool:
    """Whether this is a tensor of torch, which is not loaded for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def array_of(data: Any) -> Any:
    """A tensor as an array, a `Lazy` one (bfloat16) or a SciPy sparse matrix; else data itself.

    Nothing is copied where NumPy has the type. Gradients are left behind.
    """
    if is_tensor(data):
        return _of_tensor(data)
    return widened_array(data)


def dense_array_of(data: Any) -> Any:
    """The same, bfloat16 held in memory as float32."""
    array = array_of(data)
    return np.asarray(array) if isinstance(array, Lazy) else array


def widened_array(data: Any) -> Any:
    """Arrays of bfloat16 or float8, as JAX teaches them to NumPy, as float32; else data itself."""
    named = str(getattr(getattr(data, "dtype", None), "name", ""))
    if not named.startswith(("bfloat16", "float8")) or not hasattr(data, "__array__"):
        return data
    return np.asarray(data).astype(np.float32)


def _of_tensor(tensor: Any) -> Any:
    import torch

    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.layout != torch.strided:
        return _of_sparse(tensor)
    if tensor.is_quantized:
        return tensor.dequantize().numpy()
    if tensor.dtype == torch.bfloat16:
        return Widened(tensor.view(torch.int16).numpy().view(np.uint16))
    if tensor.is_floating_point() and tensor.element_size() == 1:  # float8, of several kinds
        return tensor.float().numpy()
    return tensor.numpy()


def _of_sparse(tensor: Any) -> Any:
    """A SciPy CSR matrix of any sparse tensor [n, D]."""
    import torch
    from scipy import sparse

    if tensor.ndim != 2:
        raise DataError(
            f"the sparse tensor has the shape {tuple(tensor.shape)}; 2 dimensions are needed"
        )
    tensor = tensor.to_sparse(layout=torch.sparse_coo).coalesce()
    values = dense_array_of(tensor.values())
    rows, columns = tensor.indices().numpy()
    return sparse.csr_array((values, (rows, columns)), shape=tuple(tensor.shape))


def read_safetensors(path: Path, options: Options) -> Loaded:
    """One tensor of a .safetensors file, memory-mapped."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        key = choose(path.name, shapes, options.key)
        mapped = _mapped(path, key)
        return Loaded(array_of(file.get_tensor(key)) if mapped is None else mapped)


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""What NumPy maps, by the name in the file; bfloat16 by its bits."""


def _mapped(path: Path, key: str) -> Any:
    """A tensor mapped by NumPy, whose pages can be given back; None for other types.

    The file was opened by its own library before, which checked what the header says.
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        told = json.loads(stream.read(size))[key]
    if told["dtype"] not in _TYPES or not math.prod(told["shape"]):
        return None
    begin, shape = 8 + size + told["data_offsets"][0], tuple(told["shape"])
    array = np.memmap(path, _TYPES[told["dtype"]], "r", begin, shape)
    return Widened(array) if told["dtype"] == "BF16" else array


def read_torch(path: Path, options: Options) -> Loaded:
    """One tensor of what `torch.save` wrote of a tensor, or of a dictionary of them; mapped.

    Raises DataError for files that hold anything else, whose loading would run a program.
    """
    with path.open("rb") as stream:
        check_torch_file(stream, path.name, path.stat().st_size)
    found = _tensors(weights_only(path, path.name), path.name)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    tensor = found[choose(path.name, shapes, options.key)]
    held = tensor.untyped_storage().nbytes() if str(tensor.layout) == "torch.strided" else 0
    if held and tensor.numel() * tensor.element_size() > held:
        raise DataError(
            f"{path.name} declares the shape {tuple(tensor.shape)} over {held} bytes, a view that "
            "repeats them; save tensor.contiguous()"
        )
    return Loaded(array_of(tensor))


def check_torch_file(stream: IO[bytes], name: str, size: int) -> None:
    """Raise DataError for what torch would unpack without asking how large it becomes.

    The stream holds `size` bytes, and is left at its start.
    """
    if stream.read(4) != TORCH_BYTES:
        raise DataError(
            f"{name} is no file of torch.save, or one of before PyTorch 1.6, which is a "
            "plain pickle; load it where you trust it, and save the tensor again"
        )
    with zipfile.ZipFile(stream) as archive:
        if sum(info.file_size for info in archive.infolist()) > size:
            raise DataError(f"{name} is compressed, which torch.save never does")
    stream.seek(0)


def weights_only(file: Path | IO[bytes], name: str) -> object:
    """What `torch.save` wrote: tensors, numbers, texts, lists and dictionaries; a path is mapped.

    Raises DataError for anything else, whose loading would run a program.
    """
    import pickle

    import torch

    how: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    try:
        return torch.load(file, mmap=isinstance(file, Path) or None, **how)
    except pickle.UnpicklingError:
        raise DataError(
            f"{name} holds more than tensors, and loading that would run what is written in "
            "it; save the tensor alone: torch.save(x, path), or as .safetensors"
        ) from None


def _tensors(found: object, name: str) -> Mapping[str, Any]:
    """Tensors by name: of one alone, of a list, of a dictionary (nested ones by "a.b")."""
    if is_tensor(found):
        return {"tensor": found}
    if isinstance(found, list | tuple):
        found = {str(i): item for i, item in enumerate(found)}
    if not isinstance(found, dict):
        raise DataError(f"{name} holds a {type(found).__name__}, but a tensor is needed")
    tensors: dict[str, Any] = {}
    for key, value in found.items():
        if is_tensor(value):
            tensors[str(key)] = value
        elif isinstance(value, dict | list | tuple):
            tensors |= {f"{key}.{inner}": t for inner, t in _tensors(value, name).items()}
    return tensors
