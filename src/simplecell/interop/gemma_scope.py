"""Gemma Scope: params.npz with W_enc [D, M], W_dec [M, D], b_enc, b_dec, threshold.

`code = ReLU(pre) · 1[pre > θ]`, `pre = x W_enc + b_enc`; nothing is subtracted before. Source: its
tutorial. Read, not run: the files are no package.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simplecell.interop.foreign import (
    Foreign,
    Given,
    Tensors,
    Weights,
    cast,
    jumped,
    positive_part,
    refuse_left,
)
from simplecell.interop.found import Found

NAME = "params.npz"
NEEDED = {"w_enc", "w_dec", "b_enc", "b_dec", "threshold"}


def recognises(found: Found) -> bool:
    """Whether there is such an archive: of that name in a folder, or itself."""
    if found.is_folder:
        return NAME in found.names
    return found.path.suffix == ".npz" and {n.lower() for n in found.arrays()} >= NEEDED


def read(found: Found, given: Given) -> Foreign:
    """The model in an archive. Raises RunError as `formats.read`."""
    where = str(found.place(NAME))
    arrays = {name.lower(): array for name, array in found.arrays(NAME).items()}
    tensors = Tensors(arrays, where)
    encoder = tensors.take("w_enc", None, None)
    n_inputs, n_latents = encoder.shape
    raw = {
        "W_enc": encoder,
        "W_dec": tensors.take("w_dec", n_latents, None),
        "b_enc": tensors.take("b_enc", n_latents),
        "threshold": tensors.take("threshold", n_latents),
    }
    raw["b_dec"] = tensors.take("b_dec", raw["W_dec"].shape[1])
    refuse_left(tensors, where)
    return Foreign(
        kind="Gemma Scope",
        activation="jumprelu",
        weights={
            "encoder": encoder.T,
            "bias": raw["b_enc"],
            "decoder": raw["W_dec"],
            "offset": raw["b_dec"],
            "center": torch.zeros(n_inputs, dtype=encoder.dtype),
            "threshold": positive_part(raw["threshold"]),
        },
        evaluate=lambda x: evaluated(x, raw),
        transcoder=raw["W_dec"].shape[1] != n_inputs,
        told=tensors.narrow(),
    )


def evaluated(x: Tensor, raw: Weights) -> tuple[Tensor, Tensor]:
    """The file's own convention."""
    w = cast(raw, x)
    code = jumped(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    return code, code @ w["W_dec"] + w["b_dec"]
