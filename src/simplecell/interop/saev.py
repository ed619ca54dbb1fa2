"""saev: a first line of JSON, then a torch state_dict: W_enc [D, M], W_dec [M, D], b_enc, b_dec.

`pre = x W_enc + b_enc`, `recon = code W_dec + b_dec`; nothing is subtracted before. TopK keeps the
k largest *without* a ReLU; BatchTopK has a running threshold since its schema 3. Source: its
nn/modeling.py. Read, not run: no package of it is published.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simplecell.errors import RunError
from simplecell.interop.foreign import (
    Foreign,
    Given,
    Tensors,
    Weights,
    cast,
    jumped,
    k_of,
    kept,
    positive_part,
    refuse_left,
)
from simplecell.interop.found import Found, state_of

NEWEST = 5
"""The schema that is known."""
THRESHOLD = "activation.threshold"
ACTIVATIONS = {"Relu": "relu", "TopK": "topk", "BatchTopK": "batchtopk"}


def recognises(found: Found) -> bool:
    """Whether the file begins with such a line."""
    headed = found.headed()
    return headed is not None and bool({"schema", "cfg", "exp_factor"} & headed[0].keys())


def read(found: Found, given: Given) -> Foreign:
    """The model in a file. Raises RunError and UsageError as `formats.read`."""
    headed, where = found.headed(), str(found.path)
    assert headed is not None, "recognises was not asked"
    header, content = headed
    name, k = _activation(header, where)
    tensors = Tensors(state_of(content, found.path.name), where)
    encoder = tensors.take("W_enc", None, None)
    n_inputs, n_latents = encoder.shape
    raw = {
        "W_enc": encoder,
        "W_dec": tensors.take("W_dec", n_latents, n_inputs),
        "b_enc": tensors.take("b_enc", n_latents),
        "b_dec": tensors.take("b_dec", n_inputs),
    }
    activation = ACTIVATIONS[name]
    if activation == "batchtopk":
        activation = "batchtopk" if THRESHOLD in tensors else "topk"
    if activation == "batchtopk":
        raw["threshold"] = tensors.take(THRESHOLD)
    refuse_left(tensors, where)
    told = tensors.narrow()
    if activation != "relu":
        k = k_of(given, k, n_latents, where)
    if activation == "topk":
        told.append(
            "it keeps the k largest without a ReLU: where fewer than k are above 0 its codes are "
            "negative, and here they are 0"
        )
    return Foreign(
        kind=f"saev {name}",
        activation=activation,
        weights=_ours(raw),
        evaluate=lambda x: evaluated(x, raw, activation, k),
        k=k if activation != "relu" else None,
        told=told,
    )


def evaluated(x: Tensor, raw: Weights, activation: str, k: Any) -> tuple[Tensor, Tensor]:
    """The file's own convention in use (`eval()`)."""
    w = cast(raw, x)
    pre = x @ w["W_enc"] + w["b_enc"]
    if activation == "topk":
        code = kept(pre, k)
    else:
        code = jumped(pre, w["threshold"].clamp_min(0)) if "threshold" in w else pre.relu()
    return code, code @ w["W_dec"] + w["b_dec"]


def _ours(raw: Weights) -> Weights:
    ours = {
        "encoder": raw["W_enc"].T,
        "bias": raw["b_enc"],
        "decoder": raw["W_dec"],
        "offset": raw["b_dec"],
        "center": torch.zeros_like(raw["b_dec"]),
    }
    if "threshold" in raw:
        ours["threshold"] = positive_part(raw["threshold"])
    return ours


def _activation(header: dict[str, Any], where: str) -> tuple[str, Any]:
    """The activation's class and k: in the configuration, or before that in the header itself."""
    schema = header.get("schema", 0)
    if type(schema) is not int or not 0 <= schema <= NEWEST:
        raise RunError(f"'{where}' has the schema {schema!r}; those up to {NEWEST} can be read")
    config = header.get("cfg", header)
    config = config if isinstance(config, dict) else {}
    said = config.get("activation", {"cls": header.get("cls", "Relu"), "params": config})
    if isinstance(said, dict) and said.get("cls") == "SparseAutoencoderConfig":
        said = {"cls": "Relu"}
    name = said.get("cls") if isinstance(said, dict) else None
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise RunError(
            f"'{where}' has the activation {name!r}; {', '.join(ACTIVATIONS)} can be read"
        )
    params = said.get("params")
    return name, params.get("top_k") if isinstance(params, dict) else None
