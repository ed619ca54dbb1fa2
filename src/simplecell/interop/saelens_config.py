"""SAELens's cfg.json of any version: which architecture, and what its numbers mean.

Before 6.0 it is flat and names the activation; since then it has an architecture, and metadata in
a table of their own. What is missing there is filled in silence (k = 100); here it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simplecell.errors import RunError, UsageError, unknown
from simplecell.interop.foreign import Given, k_of

ARCHITECTURES = {
    "standard": "relu",
    "topk": "topk",
    "abstopk": "abstopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
"""What is read, and the activation it becomes; the two of batchtopk are states of a training."""
REFUSED = {
    "matching_pursuit": "its codes are found one after another from what is left of the sample, "
    "and no encoder gives them",
    "temporal": "its codes depend on the samples before, and models here see one sample",
}
NORMALISED = {
    "layer_norm": "subtracts each sample's mean and divides by its standard deviation",
    "constant_norm_rescale": "scales each sample to the length √D",
}
"""What SAELens does to each sample, which no preparation here does."""
SCALED, WHITENED = "expected_average_only_in", "covariance_whitening"
METADATA = (
    "model_name",
    "hook_name",
    "hook_name_out",
    "hook_head_index",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "neuronpedia_id",
    "sae_lens_version",
    "sae_lens_training_version",
)
OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
MENDED = (6, 53)
"""The version whose BatchTopK thresholds count the activation scale (SAELens #763)."""


@dataclass
class Settings:
    """What a cfg.json says of a model in use."""

    architecture: str
    n_inputs: int
    n_latents: int
    n_outputs: int | None
    """D' of a transcoder; None for an autoencoder."""
    subtracts: bool
    """apply_b_dec_to_input: whether b_dec is subtracted before the encoder."""
    rescaled: bool
    """rescale_acts_by_decoder_norm: whether codes are counted in lengths of their atoms."""
    finetuned: bool
    """finetuning_scaling_factor, before 6.0: codes are multiplied before the decoder."""
    k: float | None
    widths: list[int] | None
    scale: float | None
    """What samples are multiplied by before the encoder, where that is not in the weights."""
    version: tuple[int, int] | None
    metadata: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def activation(self) -> str:
        return ARCHITECTURES[self.architecture]


def settings_of(
    config: Mapping[str, Any], given: Given, where: str, scaler: float | None = None
) -> Settings:
    """The settings in a cfg.json; `scaler` is a checkpoint's own activation scale.

    Raises:
        RunError: for an architecture, or a normalisation, that has no counterpart here.
        UsageError: for what the file does not say and `given` should: k, the scale.
    """
    told = {OLD_NAMES.get(key, key): value for key, value in config.items()}
    metadata = _metadata(told)
    architecture, k = _architecture(told, where)
    transcoder = "transcoder" in architecture
    sizes = [_size(told, key, where) for key in ("d_in", "d_sae")]
    notes: list[str] = []
    scale = _scale(told, given, where, scaler, notes)
    if transcoder and scale not in (None, 1.0):
        raise UsageError(
            f"'{where}' is a transcoder, and whether what it gives is scaled too is not known; "
            "fold the scale in SAELens (fold_activation_norm_scaling_factor) and save it again"
        )
    if ARCHITECTURES[architecture] in ("topk", "abstopk", "batchtopk"):
        k = _count(given, k, sizes[1], where, whole="batch" not in architecture)
    elif ARCHITECTURES[architecture] == "jumprelu":
        k = given.take("k")  # of a BatchTopK that was saved so
    else:
        k = None
    if told.get("reshape_activations", "none") == "hook_z" or "hook_z" in str(
        metadata.get("hook_name", "")
    ):
        notes.append("samples are heads × width, flattened (reshape_activations=hook_z)")
    widths = told.get("matryoshka_widths")
    return Settings(
        architecture=architecture,
        n_inputs=sizes[0],
        n_latents=sizes[1],
        n_outputs=_size(told, "d_out", where) if transcoder else None,
        subtracts=bool(told.get("apply_b_dec_to_input", True)) and not transcoder,
        rescaled=bool(told.get("rescale_acts_by_decoder_norm", False)),
        finetuned=bool(told.get("finetuning_scaling_factor", False)),
        k=k,
        widths=widths if isinstance(widths, list) else None,
        scale=scale,
        version=_version(metadata),
        metadata=metadata,
        told=notes,
    )


def _metadata(told: Mapping[str, Any]) -> dict[str, Any]:
    """Where activations come from: a table of its own, or among the other keys before 6.0."""
    own = told.get("metadata")
    flat = {key: told[key] for key in METADATA if told.get(key) is not None}
    return {**flat, **own} if isinstance(own, dict) else flat


def _version(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Major and minor number of the SAELens that trained, or wrote, the model."""
    for key in ("sae_lens_training_version", "sae_lens_version"):
        parts = str(metadata.get(key) or "").split(".")
        if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit():
            return int(parts[0]), int(parts[1])
    return None


def _architecture(told: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """The architecture and k, which before 6.0 the activation's own keys say."""
    architecture, function = told.get("architecture") or "standard", told.get("activation_fn")
    more = told.get("activation_fn_kwargs")
    k = told.get("k", more.get("k") if isinstance(more, dict) else None)
    if not isinstance(architecture, str):
        raise RunError(f"'{where}' has no architecture's name, but {architecture!r}")
    if isinstance(more, dict) and more.get("signed"):
        raise RunError(
            f"'{where}' keeps codes of both signs (signed), of a version that could not be tried; "
            "save it again by one that calls them abstopk"
        )
    if architecture == "standard" and function == "topk":
        architecture = "topk"
    elif function not in (None, "relu", "topk"):
        raise RunError(
            f"'{where}' has the activation {function!r}, and of SAELens only relu and topk have a "
            "counterpart here"
        )
    if architecture in REFUSED:
        raise RunError(
            f"'{where}' is a SAELens '{architecture}', which cannot be read: "
            f"{REFUSED[architecture]}"
        )
    if architecture not in ARCHITECTURES:
        raise RunError(f"'{where}': {unknown('architecture', architecture, ARCHITECTURES)}")
    return architecture, k


def _count(given: Given, k: Any, n_latents: int, where: str, whole: bool) -> float:
    """k, which for a BatchTopK is a mean and may be any number above 0."""
    if whole or not isinstance(k, float) or k == int(k) or "k" in given:
        return k_of(given, k, n_latents, where)
    return k


def _size(told: Mapping[str, Any], key: str, where: str) -> int:
    value = told.get(key)
    if type(value) is not int or value < 1:
        raise RunError(f"'{where}' says {key} = {value!r}; a whole number of at least 1 is needed")
    return value


def _scale(
    told: Mapping[str, Any], given: Given, where: str, scaler: float | None, notes: list[str]
) -> float | None:
    """The activation scale that the weights lack; a normalisation of each sample is refused."""
    normalise = told.get("normalize_activations") or "none"
    if normalise is True:  # before 6.0
        normalise = SCALED
    elif not isinstance(normalise, str):
        normalise = repr(normalise)
    if normalise == "none":
        return given.number("scale")
    if normalise == SCALED:
        scale = given.number("scale", scaler)
        if scale is None:
            raise UsageError(
                f"'{where}' was saved with normalize_activations={SCALED}: its weights expect "
                "samples multiplied by a scale that the file does not hold; give it with "
                "--set scale=S (√D over the mean length of a sample), or --set scale=1 if samples "
                "are scaled already"
            )
        notes.append(f"samples are multiplied by {scale:g} before the encoder, now in the weights")
        return scale
    if normalise in NORMALISED:
        if given.take("normalized") is True:
            notes.append(
                f"{normalise} is not done: the samples given must be normalised already, and "
                "reconstructions are of normalised samples"
            )
            return given.number("scale")
        raise UsageError(
            f"'{where}' {NORMALISED[normalise]} ({normalise}), which no preparation here does; "
            "normalise the samples yourself and say --set normalized=true"
        )
    if normalise == WHITENED:
        raise RunError(
            f"'{where}' was saved before its whitening was folded into the weights "
            f"({WHITENED}); fold it in SAELens (fold_activation_whitening) and save it again"
        )
    raise RunError(f"'{where}' has normalize_activations={normalise!r}, which no SAELens writes")
