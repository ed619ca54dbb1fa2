"""SAELens: cfg.json + sae_weights.safetensors, of every architecture that a model here can hold.

`pre = (x − c b_dec) W_enc + b_enc`, c = 1 where apply_b_dec_to_input, `recon = code W_dec + b_dec`;
matrices are [D, M] and [M, D]. Run with sae-lens 6.54.12.
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
    jumped,
    kept,
    positive_part,
    refuse_left,
    skip_of,
)
from simplecell.interop.found import Found
from simplecell.interop.plain import Plain, plain
from simplecell.interop.saelens_config import MENDED, METADATA, Settings, settings_of
from simplecell.run.storage import write_json, write_tensors
from simplecell.run.trained import Trained

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER, SPARSITY = "activation_scaler.json", "sparsity.safetensors"
WRITTEN = "6.54.12"
"""The version whose format is written; below 6 a cfg.json is read as one of before."""
ARCHITECTURE = {
    "relu": "standard",
    "topk": "topk",
    "abstopk": "abstopk",
    "batchtopk": "jumprelu",
    "jumprelu": "jumprelu",
    "gated": "gated",
}
TRANSCODERS = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}


def recognises(found: Found) -> bool:
    """Whether the folder holds the pair of files."""
    return found.is_folder and {CONFIG, WEIGHTS} <= found.names


def read(found: Found, given: Given) -> Foreign:
    """The model in a folder. Raises RunError and UsageError as `formats.read`."""
    where = str(found.place(WEIGHTS))
    scaler = found.table(SCALER).get("scaling_factor") if SCALER in found.names else None
    settings = settings_of(found.table(CONFIG), given, str(found.place(CONFIG)), scaler)
    tensors = Tensors(found.tensors(WEIGHTS), where)
    raw = _raw(tensors, settings, where)
    settings.told += tensors.narrow()
    if settings.n_outputs is not None:
        skip = settings.n_outputs, settings.n_inputs
        settings.told += skip_of(tensors, skip, where)
    refuse_left(tensors, where)
    weights, activation = _ours(raw, settings)
    k = settings.k
    if activation == "jumprelu" and k is not None:
        raise UsageError(
            "k is for a BatchTopK, which has one threshold for all latents, and these differ; "
            "leave it out"
        )
    settings.told += _hazards(raw, settings)
    return Foreign(
        kind=f"SAELens {settings.architecture}",
        activation=activation,
        weights=weights,
        evaluate=lambda x: evaluated(x, raw, settings),
        k=k,
        widths=settings.widths,
        transcoder=settings.n_outputs is not None,
        told=settings.told,
        lost=["firing rates (sparsity.safetensors)"] if SPARSITY in found.names else [],
        metadata=settings.metadata,
    )


def evaluated(x: Tensor, raw: Weights, settings: Settings) -> tuple[Tensor, Tensor]:
    """The file's own convention."""
    w = cast(raw, x)
    scale = settings.scale or 1.0
    seen = x * scale - (w["b_dec"] if settings.subtracts else 0)
    products = seen @ w["W_enc"]
    lengths = w["W_dec"].norm(dim=1) if settings.rescaled else torch.ones_like(products[0])
    if settings.activation == "gated":
        active = products + w["b_gate"] > 0
        code = active * (products * w["r_mag"].exp() + w["b_mag"]).relu()
    else:
        pre = (products + w["b_enc"]) * lengths
        if settings.activation == "topk":
            code = kept(pre, int(settings.k or 0)).relu()
        elif settings.activation == "abstopk":
            code = kept(pre.abs(), int(settings.k or 0)) * pre.sign()
        elif settings.activation == "relu":
            code = pre.relu()
        else:
            code = jumped(pre, w["threshold"])
    inner = code / lengths.where(lengths > 0, torch.ones_like(lengths))
    if "scaling_factor" in w:
        inner = inner * w["scaling_factor"]
    return code, (inner @ w["W_dec"] + w["b_dec"]) / scale


def _raw(tensors: Tensors, settings: Settings, where: str) -> Weights:
    """The tensors of the file, checked."""
    n_inputs, n_latents = settings.n_inputs, settings.n_latents
    n_outputs = settings.n_outputs or n_inputs
    raw = {
        "W_enc": tensors.take("W_enc", n_inputs, n_latents),
        "W_dec": tensors.take("W_dec", n_latents, n_outputs),
        "b_dec": tensors.take("b_dec", n_outputs),
    }
    own = ("b_gate", "b_mag", "r_mag") if settings.activation == "gated" else ("b_enc",)
    raw |= {name: tensors.take(name, n_latents) for name in own}
    if settings.activation == "jumprelu":
        old = "log_threshold" in tensors and "threshold" not in tensors
        name = "log_threshold" if old else "threshold"
        found = tensors.take(name, n_latents)
        raw["threshold"] = found.exp() if old else found
    elif settings.activation == "batchtopk":
        raw["threshold"] = tensors.take("topk_threshold")
    if "scaling_factor" in tensors:
        factor = tensors.take("scaling_factor", n_latents)
        if not torch.allclose(factor, torch.ones_like(factor)):
            if not settings.finetuned:
                raise RunError(
                    f"'{where}' holds a scaling_factor that is not 1, and its cfg.json does not "
                    "say finetuning_scaling_factor: which of the two is meant is not known"
                )
            raw["scaling_factor"] = factor
    return raw


def _ours(raw: Weights, settings: Settings) -> tuple[Weights, str]:
    """The same model in our convention, and its activation."""
    encoder, decoder, offset = raw["W_enc"].T, raw["W_dec"], raw["b_dec"]
    activation = settings.activation
    lengths = decoder.norm(dim=1) if settings.rescaled else torch.ones(len(decoder)).to(decoder)
    decoder = decoder / lengths.where(lengths > 0, torch.ones_like(lengths))[:, None]
    if "scaling_factor" in raw:
        decoder = decoder * raw["scaling_factor"][:, None]
    if settings.scale:
        decoder, offset = decoder / settings.scale, offset / settings.scale
    ours = {
        "encoder": encoder * lengths[:, None] * (settings.scale or 1.0),
        "decoder": decoder,
        "offset": offset,
    }
    if activation == "gated":
        ours |= {
            "gate_bias": raw["b_gate"],
            "magnitude_bias": raw["b_mag"],
            "log_scale": raw["r_mag"],
        }
    else:
        ours["bias"] = raw["b_enc"] * lengths
    if activation in ("jumprelu", "batchtopk"):
        threshold = positive_part(raw["threshold"])
        if activation == "jumprelu" and settings.k is not None and _repeated(raw["threshold"]):
            activation, threshold = "batchtopk", threshold[0]
        ours["threshold"] = threshold
    if not settings.subtracts:
        ours["center"] = torch.zeros(settings.n_inputs).to(offset)
    return ours, activation


def _repeated(threshold: Tensor) -> bool:
    """Whether all latents have one threshold, as a BatchTopK has that was saved for use."""
    return threshold.numel() > 1 and bool((threshold == threshold.reshape(-1)[0]).all())


def _hazards(raw: Weights, settings: Settings) -> list[str]:
    """What the file does not say of itself, and its user should know."""
    notes = []
    if "scaling_factor" in raw:
        notes.append("finetuning_scaling_factor is in the atoms now")
    threshold = raw.get("threshold")
    batch = settings.activation == "batchtopk" or (
        threshold is not None and settings.activation == "jumprelu" and _repeated(threshold)
    )
    if threshold is None or not batch:
        return notes
    notes.append(
        f"its threshold is one value ({float(threshold.reshape(-1)[0]):.4g}) for all latents: a "
        "BatchTopK, whose running threshold begins at 0, so that after a short training it lets "
        "through many times k; look at l0 (simplecell evaluate)"
    )
    if settings.version is not None and settings.version < MENDED:
        major, minor = settings.version
        notes.append(
            f"it was trained by SAELens {major}.{minor}: before 6.53 the threshold of a BatchTopK "
            "with rescale_acts_by_decoder_norm is off by the activation scale (SAELens #763); "
            "look at l0"
        )
    return notes


def write(trained: Trained, path: Path, given: Given) -> list[str]:
    """The folder that `SAE.load_from_disk` opens; what could not be carried over.

    `given` may say what SAELens keeps as metadata: model_name, hook_name and the like.

    Raises:
        UsageError: for models that SAELens has no architecture for.
        WriteError: when it cannot be written.
    """
    model = plain(trained, "SAELens")
    architecture = ARCHITECTURE[model.activation.kind]
    if model.transcoder:
        if architecture not in TRANSCODERS:
            raise UsageError(
                f"SAELens has no transcoder with {model.activation.kind} codes; it has those of "
                "ReLU and JumpReLU" + (" (sparsify has topk)" if architecture == "topk" else "")
            )
        architecture = TRANSCODERS[architecture]
    tensors = _tensors(model)
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / WEIGHTS, {name: t.to(model.dtype) for name, t in tensors.items()})
    write_json(path / CONFIG, _config(model, architecture, _of_origin(trained, given)))
    return model.lost


def _tensors(model: Plain) -> Weights:
    """W_enc, W_dec, biases and the activation's own, in float64."""
    center = model.offset if model.subtracts else torch.zeros(model.encoder.shape[1]).double()
    tensors = {
        "W_enc": model.encoder.T.contiguous(),
        "W_dec": model.decoder.contiguous(),
        "b_dec": model.offset,
    }
    own = {n: t.detach().cpu().double() for n, t in model.activation.weights().items()}
    if model.activation.kind == "gated":
        shift = model.shift_at(center)
        return tensors | {
            "b_gate": own["gate_bias"] + shift,
            "b_mag": own["magnitude_bias"] + own["log_scale"].exp() * shift,
            "r_mag": own["log_scale"],
        }
    tensors["b_enc"] = model.bias_at(center)
    if "threshold" in own:
        threshold = own["threshold"].clamp_min(0)
        tensors["threshold"] = threshold.expand(len(model.encoder)).contiguous()
    return tensors


def _config(model: Plain, architecture: str, metadata: dict[str, Any]) -> dict[str, Any]:
    n_latents, n_inputs = model.encoder.shape
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": n_inputs,
        "d_sae": n_latents,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": model.subtracts,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if architecture in ("topk", "abstopk"):
        config |= {"k": int(model.k or 0), "rescale_acts_by_decoder_norm": False}
    if model.transcoder:
        config["d_out"] = model.decoder.shape[1]
    return config


def _of_origin(trained: Trained, given: Given) -> dict[str, Any]:
    """Metadata: what was read with the model, what the caller says, and the format's version."""
    converted = trained.info.get("converted")
    known = dict(converted["metadata"]) if converted else {}
    said = {name: given.take(name) for name in METADATA}
    known |= {name: value for name, value in said.items() if value is not None}
    made = {"sae_lens_version": WRITTEN, "sae_lens_training_version": None}
    return {**made, **known, "sae_lens_version": WRITTEN, "made_by": "simplecell"}
