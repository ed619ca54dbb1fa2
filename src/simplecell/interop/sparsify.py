"""EleutherAI's sparsify, and latentsae, which writes the same pair: cfg.json + sae.safetensors.

`pre = ReLU((x − b_dec) W_encᵀ + b)`, no b_dec where it is a transcoder; the k largest are kept,
`recon = code W_dec + b_dec`. Run with eai-sparsify 1.3.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import RunError, UsageError
from simplecell.interop.foreign import (
    Foreign,
    Given,
    Tensors,
    Weights,
    cast,
    k_of,
    kept,
    refuse_left,
    skip_of,
)
from simplecell.interop.found import Found
from simplecell.interop.plain import Plain, plain
from simplecell.run.storage import write_json, write_tensors
from simplecell.run.trained import Trained

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
REFUSED = {
    "signed": "codes of both signs, of a version that could not be tried",
    "batch_topk": "top-k over a batch, whose threshold is not in the file",
}


def recognises(found: Found) -> bool:
    """Whether the folder holds the pair of files."""
    return found.is_folder and {CONFIG, WEIGHTS} <= found.names


def read(found: Found, given: Given) -> Foreign:
    """The sparse coder in a folder. Raises RunError and UsageError as `formats.read`."""
    config, where = found.table(CONFIG), str(found.place(WEIGHTS))
    _check(config, str(found.place(CONFIG)))
    tensors = Tensors(found.tensors(WEIGHTS), where)
    encoder = tensors.take("encoder.weight", None, None)
    n_latents, n_inputs = encoder.shape
    _agree(config, n_latents, n_inputs, str(found.place(CONFIG)))
    raw = {
        "W_enc": encoder,
        "b_enc": tensors.take("encoder.bias", n_latents),
        "W_dec": tensors.take("W_dec", n_latents, n_inputs),
        "b_dec": tensors.take("b_dec", n_inputs),
    }
    told = tensors.narrow() + skip_of(tensors, (n_inputs, n_inputs), where)
    refuse_left(tensors, where)
    k = k_of(given, config.get("k"), n_latents, str(found.place(CONFIG)))
    transcoder = bool(config.get("transcode", False))
    ours = {
        "encoder": raw["W_enc"],
        "bias": raw["b_enc"],
        "decoder": raw["W_dec"],
        "offset": raw["b_dec"],
    }
    if transcoder:
        ours["center"] = torch.zeros_like(raw["b_dec"])
    kind = "sparsify transcoder" if transcoder else "sparsify"
    return Foreign(
        kind=kind,
        activation="topk",
        weights=ours,
        evaluate=lambda x: evaluated(x, raw, k, transcoder),
        k=k,
        transcoder=transcoder,
        told=told,
        lost=["multi_topk: a term of its training"] if config.get("multi_topk") else [],
    )


def evaluated(x: Tensor, raw: Weights, k: int, transcoder: bool) -> tuple[Tensor, Tensor]:
    """The file's own convention: ReLU before the selection."""
    w = cast(raw, x)
    pre = torch.relu((x if transcoder else x - w["b_dec"]) @ w["W_enc"].T + w["b_enc"])
    code = kept(pre, k)
    return code, code @ w["W_dec"] + w["b_dec"]


def _check(config: dict[str, Any], where: str) -> None:
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise RunError(
            f"'{where}' has activation {activation!r}, and of sparsify only topk has a counterpart "
            "here (groupmax keeps the largest of each group of latents)"
        )
    for key, what in REFUSED.items():
        if config.get(key):
            raise RunError(f"'{where}' says {key}: {what}")


def _agree(config: dict[str, Any], n_latents: int, n_inputs: int, where: str) -> None:
    """Raise RunError where the configuration is of another model than the tensors."""
    told = config.get("num_latents") or None
    factor = config.get("expansion_factor")
    if told is None and isinstance(factor, int):
        told = factor * n_inputs
    wanted = {"d_in": (config.get("d_in", n_inputs), n_inputs), "num_latents": (told, n_latents)}
    for key, (says, holds) in wanted.items():
        if says is not None and says != holds:
            raise RunError(f"'{where}' says {key} = {says!r}, and the tensors have {holds}")


def write(trained: Trained, path: Path, given: Given) -> list[str]:
    """The folder that `SparseCoder.load_from_disk` opens; what could not be carried over.

    Raises:
        UsageError: for codes that are not those of TopK.
        WriteError: when it cannot be written.
    """
    model = plain(trained, "sparsify")
    if model.activation.kind != "topk":
        raise UsageError(
            f"sparsify holds topk codes alone, and this model has {model.activation.kind}; "
            "--to saelens takes them"
        )
    n_inputs, n_outputs = model.encoder.shape[1], model.decoder.shape[1]
    if n_outputs != n_inputs:
        raise UsageError(
            f"sparsify holds transcoders of one width alone, and this one goes from {n_inputs} "
            f"inputs to {n_outputs}"
        )
    center = torch.zeros_like(model.offset) if model.transcoder else model.offset
    tensors = {
        "encoder.weight": model.encoder,
        "encoder.bias": model.bias_at(center),
        "W_dec": model.decoder,
        "b_dec": model.offset,
    }
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / WEIGHTS, {name: t.to(model.dtype) for name, t in tensors.items()})
    write_json(path / CONFIG, _config(model))
    return model.lost


def _config(model: Plain) -> dict[str, Any]:
    n_latents, n_inputs = model.encoder.shape
    lengths = model.decoder.norm(dim=1)
    return {
        "activation": "topk",
        "expansion_factor": max(1, n_latents // n_inputs),
        "normalize_decoder": bool(((lengths - 1).abs() < 1e-4).all()),
        "num_latents": n_latents,
        "k": int(model.k or 0),
        "multi_topk": False,
        "skip_connection": False,
        "transcode": model.transcoder,
        "d_in": n_inputs,
    }
