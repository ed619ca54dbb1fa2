"""OpenAI's sparse_autoencoder: one .pt, a state_dict with the name of its activation.

`pre = (x − pre_bias) W_encᵀ + latent_bias`, `recon = code W_decᵀ + pre_bias`. With TopK each sample
is normalised before and the reconstruction brought back after. Source: its model.py. Read, not run:
no package of it is published.
"""

from __future__ import annotations

from typing import Any

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
)
from simplecell.interop.found import Found

NEEDED = {"pre_bias", "encoder.weight", "latent_bias"}
STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
SAID = ("activation", "activation_state_dict")


def recognises(found: Found) -> bool:
    """Whether the file is a torch file of these tensors."""
    return (
        found.starts_with(b"PK")
        and found.path.suffix in (".pt", ".pth", "")
        and (set(found.state()) >= NEEDED)
    )


def read(found: Found, given: Given) -> Foreign:
    """The autoencoder in a file. Raises RunError and UsageError as `formats.read`."""
    where, state = str(found.path), found.state()
    tensors = Tensors(state, where)
    encoder = tensors.take("encoder.weight", None, None)
    n_latents, n_inputs = encoder.shape
    raw = {
        "encoder": encoder,
        "decoder": encoder,
        "bias": tensors.take("latent_bias", n_latents),
        "offset": tensors.take("pre_bias", n_inputs),
    }
    if "decoder.weight" in tensors:
        raw["decoder"] = tensors.take("decoder.weight", n_inputs, n_latents).T
    refuse_left(tensors, where, (*STATISTICS, *SAID))
    k = _k(state, given, n_latents, where)
    told = tensors.narrow()
    if k is not None:
        told += [
            "normalisation of each sample is not done: the samples given must be normalised "
            "already, and reconstructions are of normalised samples"
        ]
    return Foreign(
        kind=f"OpenAI {'ReLU' if k is None else 'TopK'}",
        activation="relu" if k is None else "topk",
        weights=dict(raw),
        evaluate=lambda x: evaluated(x, raw, k),
        k=k,
        told=told,
        lost=["running statistics of its latents"] if set(STATISTICS) & set(state) else [],
    )


def evaluated(x: Tensor, raw: Weights, k: int | None) -> tuple[Tensor, Tensor]:
    """The file's own convention, of samples as its encoder sees them."""
    w = cast(raw, x)
    pre = (x - w["offset"]) @ w["encoder"].T + w["bias"]
    code = pre.relu() if k is None else kept(pre, k).relu()
    return code, code @ w["decoder"] + w["offset"]


def _k(state: dict[str, Any], given: Given, n_latents: int, where: str) -> int | None:
    """k of TopK codes, None for ReLU."""
    activation = state.get("activation", "ReLU")
    if activation == "ReLU":
        return None
    if activation != "TopK":
        raise RunError(f"'{where}' has the activation {activation!r}; ReLU and TopK can be read")
    more = state.get("activation_state_dict")
    more = more if isinstance(more, dict) else {}
    if more.get("postact_fn", "ReLU") != "ReLU":
        raise RunError(
            f"'{where}' keeps the k largest without a ReLU ({more['postact_fn']}), so that codes "
            "may be negative, and no model here has such"
        )
    if given.take("normalized") is not True:
        raise UsageError(
            f"'{where}' subtracts each sample's mean and divides by its standard deviation, which "
            "no preparation here does; normalise the samples yourself, (x − mean) / (std + 1e-5) "
            "with n − 1 in the std, and say --set normalized=true"
        )
    return k_of(given, more.get("k"), n_latents, where)
