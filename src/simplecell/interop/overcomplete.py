"""overcomplete: a state_dict saved by its user, `torch.save(model.state_dict(), path)`.

Its encoder is linear (`encoder.final_block.0`), perhaps with a BatchNorm, or tied; nothing is
subtracted before and nothing added after: `recon = code D`, D the dictionary times
e^multiplier. Which class it was, k, and a BatchTopK's threshold are attributes of the object that
no state_dict holds: a caller says them. Run with overcomplete 0.3.0.
"""

from __future__ import annotations

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
    inclusive,
    k_of,
    kept,
    refuse_left,
)
from simplecell.interop.found import Found

DICTIONARY, MULTIPLIER = "dictionary._weights", "dictionary.multiplier"
LINEAR, NORMED = "encoder.final_block.0.", "encoder.final_block.1."
NORM = {"gain": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
UNTIED, TIED = "encoder.", "encoder.tied_to."
EPSILON = 1e-5
"""Of a BatchNorm, which no state_dict holds."""
CODES = ("relu", "topk", "batchtopk")
NORMS = ("l2", "max_l2", "l1", "max_l1", "identity")
REFUSED = {
    "Q": "QSAE, whose codes are a few values alone",
    "dictionary.W": "an archetypal dictionary, which is made of points that are not all saved; "
    "save get_dictionary() as dictionary._weights instead",
}
UNIT = 1e-4


def recognises(found: Found) -> bool:
    """Whether the file holds such a dictionary."""
    if found.is_folder or found.path.suffix not in (".pt", ".pth", ".safetensors"):
        return False
    state = _state(found)
    return DICTIONARY in state or "dictionary.W" in state


def read(found: Found, given: Given) -> Foreign:
    """The model in a file. Raises RunError and UsageError as `formats.read`."""
    where, state = str(found.path), _state(found)
    for name, what in REFUSED.items():
        if name in state:
            raise RunError(f"'{where}' is {what}; it cannot be read")
    tensors = Tensors(state, where)
    raw, told = _dictionary(tensors, given, where)
    raw |= _encoder(tensors, raw["decoder"], where, told)
    activation, k = _activation(tensors, given, raw, where)
    told += tensors.narrow()
    refuse_left(tensors, where, (NORMED + "num_batches_tracked",))
    return Foreign(
        kind=f"overcomplete {activation}",
        activation=activation,
        weights=_ours(raw),
        evaluate=lambda x: evaluated(x, raw, activation, k),
        k=k,
        told=told,
    )


def evaluated(x: Tensor, raw: Weights, activation: str, k: int | None) -> tuple[Tensor, Tensor]:
    """The classes' own convention after `eval()`; a code equal to its threshold is active."""
    w = cast(raw, x)
    pre = x @ w["encoder"].T + w["bias"]
    if "gain" in w:
        pre = (pre - w["mean"]) / w["deviation"] * w["gain"] + w["shift"]
    code = pre.relu()
    if activation == "topk":
        code = kept(code, int(k or 0))
    elif "threshold" in w:
        code = code * (code >= w["threshold"])
    return code, code @ w["decoder"]


def _state(found: Found) -> dict[str, Any]:
    if found.path.suffix == ".safetensors":
        return dict(found.tensors(""))
    return found.state() if found.starts_with(b"PK") else {}


def _dictionary(tensors: Tensors, given: Given, where: str) -> tuple[Weights, list[str]]:
    """The atoms as the model decodes with them: normalised, times e^multiplier."""
    atoms = tensors.take(DICTIONARY, None, None)
    factor = tensors.take(MULTIPLIER).exp() if MULTIPLIER in tensors else torch.ones(()).to(atoms)
    how = given.word("normalization", NORMS)
    if how is None and _normalised(atoms):
        return {"decoder": atoms * factor}, []
    if how is None:
        raise UsageError(
            f"'{where}' was saved as an optimiser's step left it: its model normalises the "
            "dictionary when it is used, and how is not in the file; save it after model.eval(), "
            f"or say --set normalization= one of {', '.join(NORMS)} (l2 unless it was built "
            "otherwise)"
        )
    return {"decoder": _made(atoms, how) * factor}, [f"atoms were normalised: {how}"]


def _lengths(atoms: Tensor, how: str) -> Tensor:
    return atoms.norm(p=1 if how.endswith("l1") else 2, dim=1, keepdim=True)


def _made(atoms: Tensor, how: str) -> Tensor:
    """Each atom divided by its length, or by the largest."""
    if how == "identity":
        return atoms
    lengths = _lengths(atoms, how)
    return atoms / (lengths.amax() if how.startswith("max") else lengths + 1e-8)


def _normalised(atoms: Tensor) -> bool:
    """Whether one of its normalisations has been done, which done again changes nothing."""
    for how in ("l2", "l1"):
        lengths = _lengths(atoms, how)
        if bool(((lengths - 1).abs() <= UNIT).all()) or abs(float(lengths.amax()) - 1) <= 1e-6:
            return True
    return False


def _encoder(tensors: Tensors, decoder: Tensor, where: str, told: list[str]) -> Weights:
    """[M, D] and [M]: linear, untied, or the dictionary itself."""
    shape = tuple(decoder.shape)
    zero = torch.zeros(len(decoder)).to(decoder)
    if any(name.startswith("encoder.mlp_blocks") for name in tensors.left()):
        raise RunError(f"'{where}' has an encoder of several layers, and one layer can be read")
    if LINEAR + "weight" in tensors:
        linear = {
            "encoder": tensors.take(LINEAR + "weight", *shape),
            "bias": tensors.take(LINEAR + "bias", len(decoder)),
        }
        return linear | _normed(tensors, len(decoder), where, told)
    bias = tensors.take(UNTIED + "bias", len(decoder)) if UNTIED + "bias" in tensors else zero
    if UNTIED + "weight" in tensors:
        return {"encoder": tensors.take(UNTIED + "weight", *shape), "bias": bias}
    if TIED + "_weights" not in tensors:
        raise RunError(
            f"'{where}' has no encoder: it is a matching-pursuit model, whose codes are found one "
            "after another from what is left of the sample"
        )
    tensors.take(TIED + "_weights", *shape)  # the dictionary itself, said twice
    if TIED + "multiplier" in tensors:
        tensors.take(TIED + "multiplier")
    return {"encoder": decoder, "bias": bias}


def _normed(tensors: Tensors, n_latents: int, where: str, told: list[str]) -> Weights:
    """The BatchNorm that may follow the linear encoder: in use it is affine."""
    if not any(name.startswith(NORMED) for name in tensors.left()):
        return {}
    if NORMED + "running_mean" not in tensors:
        raise RunError(
            f"'{where}' has an encoder that ends in a LayerNorm, which looks at all latents of a "
            "sample; one that ends in nothing or in a BatchNorm can be read"
        )
    told.append("its BatchNorm, taken to have PyTorch's epsilon 1e-5, is in the encoder now")
    found = {name: tensors.take(NORMED + theirs, n_latents) for name, theirs in NORM.items()}
    found["deviation"] = (found.pop("variance") + EPSILON).sqrt()
    return found


def _ours(raw: Weights) -> Weights:
    offset = torch.zeros(raw["decoder"].shape[1]).to(raw["decoder"])
    ours = {"encoder": raw["encoder"], "bias": raw["bias"], "decoder": raw["decoder"]}
    if "gain" in raw:
        factor = raw["gain"] / raw["deviation"]
        ours["encoder"] = raw["encoder"] * factor[:, None]
        ours["bias"] = (raw["bias"] - raw["mean"]) * factor + raw["shift"]
    if "threshold" in raw:
        ours["threshold"] = inclusive(raw["threshold"])
    return {**ours, "offset": offset, "center": offset}


def _activation(tensors: Tensors, given: Given, raw: Weights, where: str) -> tuple[str, int | None]:
    """What the codes are: JumpSAE has thresholds, all others must be told."""
    if "thresholds" in tensors:
        raw["threshold"] = tensors.take("thresholds", len(raw["decoder"])).exp()
        if "bandwidth" in tensors:
            tensors.take("bandwidth")
        return "jumprelu", None
    activation = given.word("activation", CODES) or ("topk" if "k" in given else None)
    if activation is None:
        raise UsageError(
            f"'{where}' is of overcomplete, and a state_dict does not say of which class: give "
            "--k K for a TopKSAE, --set activation=relu for a plain SAE, or "
            "--set activation=batchtopk --set threshold=T (its running_threshold) and --k"
        )
    if activation == "relu":
        return activation, None
    k = k_of(given, None, len(raw["decoder"]), where)
    if activation == "batchtopk":
        threshold = given.number("threshold")
        if threshold is None:
            raise UsageError(
                f"'{where}' does not hold a BatchTopKSAE's running_threshold, which is no tensor "
                "of its state; give it with --set threshold=T"
            )
        raw["threshold"] = torch.tensor(threshold).to(raw["decoder"])
    return activation, k
