"""Small models in the files of other libraries, written here with the tensors they document."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.torch import save_file

D, M, K = 6, 20, 3


def numbers(seed=0):
    """Named random tensors, which every format takes its own from."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    atoms = draw(M, D)
    return {
        "encoder": draw(M, D),
        "atoms": atoms / atoms.norm(dim=1, keepdim=True),
        "long": draw(M, D),
        "bias": 0.3 * draw(M),
        "offset": draw(D),
        "threshold": 0.2 + 0.5 * draw(M).abs(),
        "gate": 0.3 * draw(M),
        "magnitude": 0.3 * draw(M),
        "scale": 0.2 * draw(M),
    }


def saelens(folder, architecture, config=(), tensors=None, drop=()):
    """A SAELens folder as its newest release writes it."""
    n, transcoder = numbers(), "transcoder" in architecture
    told = {
        "architecture": architecture,
        "d_in": D,
        "d_sae": M,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.1", "model_name": "m"},
    }
    held = {"W_enc": n["encoder"].T, "b_enc": n["bias"], "W_dec": n["long"], "b_dec": n["offset"]}
    if architecture in ("topk", "abstopk"):
        told |= {"k": K, "rescale_acts_by_decoder_norm": False}
    if "jumprelu" in architecture:
        held["threshold"] = n["threshold"]
    if architecture == "gated":
        del held["b_enc"]
        held |= {"b_gate": n["gate"], "b_mag": n["magnitude"], "r_mag": n["scale"]}
    if transcoder:
        told["d_out"] = D + 2
        held |= {"W_dec": torch.cat([n["long"], n["atoms"][:, :2]], 1), "b_dec": torch.ones(D + 2)}
    if "skip" in architecture:
        held["W_skip"] = torch.zeros(D + 2, D)
    return pair(folder, "sae_weights", told | dict(config), held | (tensors or {}), drop)


def sparsify(folder, config=(), tensors=None, drop=()):
    """A folder of sparsify."""
    n = numbers()
    told = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True}
    told |= {"num_latents": M, "k": K, "multi_topk": False, "skip_connection": False}
    told |= {"transcode": False, "d_in": D}
    held = {"encoder.weight": n["encoder"], "encoder.bias": n["bias"]}
    held |= {"W_dec": n["atoms"], "b_dec": n["offset"]}
    return pair(folder, "sae", told | dict(config), held | (tensors or {}), drop)


def pair(folder, weights, config, tensors, drop):
    """cfg.json and a safetensors file; what `drop` names is left out of either."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in config.items() if key not in drop}
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    kept = {name: t.contiguous().clone() for name, t in tensors.items() if name not in drop}
    save_file(kept, folder / f"{weights}.safetensors")
    return folder


def dictionary_learning(folder, kind, tensors=None, drop=(), trainer=()):
    """A folder of dictionary_learning."""
    n = numbers()
    linear = {"encoder.weight": n["encoder"], "decoder.weight": n["atoms"].T.contiguous()}
    matrices = {"W_enc": n["encoder"].T.contiguous(), "b_enc": n["bias"], "W_dec": n["atoms"]}
    counted = {"k": torch.tensor(K, dtype=torch.int32), "threshold": torch.tensor(0.4)}
    held = {
        "AutoEncoder": linear | {"encoder.bias": n["bias"], "bias": n["offset"]},
        "AutoEncoderNew": linear | {"encoder.bias": n["bias"], "decoder.bias": n["offset"]},
        "GatedAutoEncoder": linear
        | {"decoder_bias": n["offset"], "gate_bias": n["gate"]}
        | {"mag_bias": n["magnitude"], "r_mag": n["scale"]},
        "JumpReluAutoEncoder": matrices | {"b_dec": n["offset"], "threshold": n["threshold"]},
        "AutoEncoderTopK": linear | {"encoder.bias": n["bias"], "b_dec": n["offset"]} | counted,
        "BatchTopKSAE": linear | {"encoder.bias": n["bias"], "b_dec": n["offset"]} | counted,
        "MatryoshkaBatchTopKSAE": matrices
        | {"b_dec": n["offset"], "group_sizes": torch.tensor([5, 15])}
        | counted,
    }.get(kind, linear)
    held = {name: t for name, t in (held | (tensors or {})).items() if name not in drop}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(held, folder / "ae.pt")
    told = {
        "dict_class": kind,
        "activation_dim": D,
        "dict_size": M,
        "lm_name": "m",
        **dict(trainer),
    }
    (folder / "config.json").write_text(json.dumps({"trainer": told, "buffer": {}}))
    return folder


def overcomplete(path, kind="linear", tensors=None):
    """A state_dict of overcomplete."""
    n = numbers()
    held = {"dictionary._weights": n["atoms"], "dictionary.multiplier": torch.tensor(0.3)}
    if kind == "tied":
        held |= {"encoder.tied_to._weights": n["atoms"], "encoder.bias": n["bias"]}
        held["encoder.tied_to.multiplier"] = torch.tensor(0.3)
    elif kind != "matching pursuit":
        held["encoder.final_block.0.weight"] = n["encoder"]
        held["encoder.final_block.0.bias"] = n["bias"]
    if kind == "normed":
        norm = {"weight": n["scale"].exp(), "bias": n["gate"], "running_mean": n["magnitude"]}
        norm |= {"running_var": n["threshold"], "num_batches_tracked": torch.tensor(3)}
        held |= {f"encoder.final_block.1.{name}": t for name, t in norm.items()}
    if kind == "jump":
        held["thresholds"] = n["threshold"].log()
    torch.save(held | (tensors or {}), path)
    return path


def openai(path, activation="ReLU", more=()):
    """A state_dict of OpenAI's sparse_autoencoder."""
    n = numbers()
    held = {"pre_bias": n["offset"], "encoder.weight": n["encoder"], "latent_bias": n["bias"]}
    held |= {"decoder.weight": n["long"].T.contiguous(), "activation": activation}
    held["stats_last_nonzero"] = torch.zeros(M, dtype=torch.long)
    if activation == "TopK":
        held["activation_state_dict"] = {"k": K, "postact_fn": "ReLU"}
    torch.save(held | dict(more), path)
    return path


def gemma_scope(path):
    """An archive of Gemma Scope."""
    n = numbers()
    held = {"W_enc": n["encoder"].T, "W_dec": n["long"], "b_enc": n["bias"], "b_dec": n["offset"]}
    np.savez(
        path, **{name: t.numpy() for name, t in held.items()}, threshold=n["threshold"].numpy()
    )
    return path


def saev(path, activation="Relu", schema=5, top_k=K, threshold=None):
    """A file of saev."""
    n = numbers()
    params = {} if activation == "Relu" else {"top_k": top_k}
    told = {"d_model": D, "d_sae": M, "activation": {"cls": activation, "params": params}}
    held = {"W_enc": n["encoder"].T.contiguous(), "b_enc": n["bias"] + 2}
    held |= {"W_dec": n["atoms"], "b_dec": n["offset"]}
    if threshold is not None:
        held["activation.threshold"] = torch.tensor(threshold)
    with path.open("wb") as stream:
        header = {"schema": schema, "cfg": told, "commit": "0", "lib": "0"}
        stream.write((json.dumps(header) + "\n").encode())
        torch.save(held, stream)
    return path
