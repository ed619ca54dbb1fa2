"""dictionary_learning: ae.pt + config.json, whose trainer.dict_class says which model it is.

Two layouts: `encoder.weight` [M, D] with `decoder.weight` [D, M], and `W_enc` [D, M] with `W_dec`
[M, D]. Run with dictionary-learning 0.1.0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simplecell.errors import RunError, unknown
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
from simplecell.interop.found import Found

CONFIG, WEIGHTS = "config.json", "ae.pt"
CLASSES = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "batchtopk",
}
"""Every dict_class, and the activation it becomes."""
MATRICES = ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
"""Those with W_enc and W_dec."""
UNCENTRED = ("AutoEncoderNew", "JumpReluAutoEncoder")
"""Those that subtract nothing before the encoder."""
OFFSETS = {
    "AutoEncoder": "bias",
    "AutoEncoderNew": "decoder.bias",
    "GatedAutoEncoder": "decoder_bias",
}
"""The name of what is added after the decoder; b_dec in the others."""
UNIT = 1e-5
"""How far from 1 a length may be that its own loader leaves alone."""


def recognises(found: Found) -> bool:
    """Whether the folder holds the pair of files."""
    return found.is_folder and {CONFIG, WEIGHTS} <= found.names


def read(found: Found, given: Given) -> Foreign:
    """The dictionary in a folder. Raises RunError and UsageError as `formats.read`."""
    where, trainer = str(found.place(WEIGHTS)), _trainer(found)
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in CLASSES:
        raise RunError(f"'{found.place(CONFIG)}': {unknown('dict_class', kind, CLASSES)}")
    state = found.state(WEIGHTS)
    told = []
    if isinstance(state.get("ae"), dict):  # a backup of an unfinished training, in older versions
        state, told = state["ae"], ["a backup of an unfinished training: its biases may be scaled"]
    tensors = Tensors(state, where)
    raw = _raw(tensors, kind)
    k, widths = _counts(tensors, trainer, given, kind, len(raw["decoder"]), where)
    told += tensors.narrow() + _own_lengths(raw, kind)
    refuse_left(tensors, where)
    if kind == "JumpReluAutoEncoder":
        told.append("apply_b_dec_to_input is not saved; it is False, as the class has it")
    return Foreign(
        kind=f"dictionary_learning {kind}",
        activation=CLASSES[kind],
        weights=_ours(raw, kind),
        evaluate=lambda x: evaluated(x, raw, kind, k),
        k=k,
        widths=widths,
        told=told,
        lost=["the rest of config.json: how it was trained"],
        metadata=_metadata(trainer),
    )


def evaluated(x: Tensor, raw: Weights, kind: str, k: float | None) -> tuple[Tensor, Tensor]:
    """The classes' own `encode` and `decode`, which for BatchTopK use the threshold."""
    w = cast(raw, x)
    pre = (x if kind in UNCENTRED else x - w["offset"]) @ w["encoder"].T
    if kind == "GatedAutoEncoder":
        active = pre + w["gate_bias"] > 0
        code = active * (w["r_mag"].exp() * pre + w["mag_bias"]).relu()
    else:
        pre = pre + w["bias"]
        code = pre.relu() * w.get("lengths", 1)
        if CLASSES[kind] == "topk":
            code = kept(code, int(k or 0))
        elif CLASSES[kind] in ("batchtopk", "jumprelu"):
            code = jumped(pre, w["threshold"])
    return code, (code / w.get("lengths", 1)) @ w["decoder"] + w["offset"]


def _trainer(found: Found) -> dict[str, Any]:
    trainer = found.table(CONFIG).get("trainer")
    if not isinstance(trainer, dict):
        raise RunError(f"'{found.place(CONFIG)}' is damaged: it has no table 'trainer'")
    return trainer


def _raw(tensors: Tensors, kind: str) -> Weights:
    """The tensors, both matrices with latents in rows."""
    if kind in MATRICES:
        encoder = tensors.take("W_enc", None, None).T
        decoder = tensors.take("W_dec", *encoder.shape)
        bias = {"bias": tensors.take("b_enc", len(encoder))}
    else:
        encoder = tensors.take("encoder.weight", None, None)
        decoder = tensors.take("decoder.weight", encoder.shape[1], len(encoder)).T
        bias = {}
        if kind != "GatedAutoEncoder":
            bias = {"bias": tensors.take("encoder.bias", len(encoder))}
    raw = {"encoder": encoder, "decoder": decoder, **bias}
    raw["offset"] = tensors.take(OFFSETS.get(kind, "b_dec"), encoder.shape[1])
    if kind == "GatedAutoEncoder":
        raw |= {n: tensors.take(n, len(encoder)) for n in ("gate_bias", "mag_bias", "r_mag")}
    elif kind == "JumpReluAutoEncoder":
        raw["threshold"] = tensors.take("threshold", len(encoder))
    elif CLASSES[kind] == "batchtopk":
        raw["threshold"] = tensors.take("threshold")
    elif CLASSES[kind] == "topk" and "threshold" in tensors:
        tensors.take("threshold")  # of another way to use it, which is not its default
    return raw


def _counts(
    tensors: Tensors,
    trainer: dict[str, Any],
    given: Given,
    kind: str,
    n_latents: int,
    where: str,
) -> tuple[int | None, list[int] | None]:
    """k, and Matryoshka's widths from its group sizes."""
    if CLASSES[kind] not in ("topk", "batchtopk"):
        return None, None
    stored = int(tensors.take("k")) if "k" in tensors else trainer.get("k")
    k = k_of(given, stored, n_latents, where)
    widths = None
    if kind == "MatryoshkaBatchTopKSAE":
        widths = [int(width) for width in tensors.take("group_sizes", None).cumsum(0)]
        if not widths or widths[-1] != n_latents:
            raise RunError(f"'{where}' is damaged: its group_sizes do not sum to {n_latents}")
    return k, widths


def _own_lengths(raw: Weights, kind: str) -> list[str]:
    """Note the atoms' lengths where the class's own loader divides by them, and say so."""
    lengths = raw["decoder"].norm(dim=1)
    if kind != "AutoEncoder" or bool(((lengths - 1).abs() <= UNIT).all()):
        return []
    if bool((lengths == 0).any()):
        raise RunError("an atom has the length 0, and this class's loader divides by it")
    raw["lengths"] = lengths
    return ["atoms are scaled to length 1, and codes by theirs, as its own loader does"]


def _ours(raw: Weights, kind: str) -> Weights:
    ours: Weights = {
        name: raw[name] for name in ("encoder", "decoder", "offset", "bias") if name in raw
    }
    if "lengths" in raw:
        ours["encoder"] = raw["encoder"] * raw["lengths"][:, None]
        ours["decoder"] = raw["decoder"] / raw["lengths"][:, None]
        ours["bias"] = raw["bias"] * raw["lengths"]
    if kind == "GatedAutoEncoder":
        names = {"gate_bias": "gate_bias", "magnitude_bias": "mag_bias", "log_scale": "r_mag"}
        ours |= {mine: raw[theirs] for mine, theirs in names.items()}
    if "threshold" in raw:
        ours["threshold"] = positive_part(raw["threshold"])
    if kind in UNCENTRED:
        ours["center"] = torch.zeros_like(raw["offset"])
    return ours


def _metadata(trainer: dict[str, Any]) -> dict[str, Any]:
    """Where the activations came from, by SAELens's names."""
    names = {"lm_name": "model_name", "submodule_name": "hook_name"}
    found = {mine: trainer.get(theirs) for theirs, mine in names.items()}
    return {name: value for name, value in found.items() if isinstance(value, str)}
