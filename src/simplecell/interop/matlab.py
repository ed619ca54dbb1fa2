"""The options of MATLAB's `trainAutoencoder` as parameters of `SparseAutoencoder`, and back.

MATLAB's cost has no half before the squared error (N samples, both matrices decayed):

    E = (1/N) Σ ‖x − x̂‖²  +  λ_M ½ Σ w²  +  β_M Σ_j KL(ρ ‖ ρ̂_j)
    J = (1/N) Σ ½‖x − x̂‖²  +  (λ/2) Σ w²  +  β Σ_j KL(ρ ‖ ρ̂_j)

so `E = 2 J` for λ = λ_M / 2 and β = β_M / 2. Where the squared error is a mean over the D inputs
too, `E = (2/D) J` for λ = D λ_M / 2 and β = D β_M / 2.
"""

from __future__ import annotations

import numbers
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

import numpy as np

from simplecell.errors import UsageError, real, unknown, whole

Option = str | float
# What trainAutoencoder does when an option is not given.
DEFAULTS: dict[str, Option] = {
    "EncoderTransferFunction": "logsig",
    "DecoderTransferFunction": "logsig",
    "MaxEpochs": 1000,
    "L2WeightRegularization": 0.001,
    "LossFunction": "msesparse",
    "ShowProgressWindow": True,
    "SparsityProportion": 0.05,
    "SparsityRegularization": 1.0,
    "TrainingAlgorithm": "trainscg",
    "ScaleData": True,
    "UseGPU": False,
}
OUTPUTS = {"logsig": "sigmoid", "purelin": "linear"}
RANGES = {"sigmoid": (0.0, 1.0), "linear": (-1.0, 1.0)}  # that ScaleData maps to
NEEDED = (
    "n_latents",
    "target",
    "sparsity_weight",
    "weight_decay",
    "activation",
    "output",
    "preprocess",
    "max_iter",
)
SHARE = {"above": 0.0, "below": 1.0}  # a sigmoid's mean reaches neither of its ends
SWITCHES = {"on": True, "off": False}
SATLIN = (
    "satlin, which is straight between 0 and 1, has no counterpart here; take 'logsig', its smooth "
    "relative, or 'purelin' for a decoder"
)


def from_trainautoencoder(
    hiddenSize: int = 10,  # MATLAB's own spelling
    *,
    error_is_mean_over: int = 1,
    **options: Option,
) -> dict[str, Any]:
    """Parameters of `SparseAutoencoder` whose objective is that of `trainAutoencoder`.

    Every option is spelled as in MATLAB, and what is not given has MATLAB's default. `trainscg`
    becomes L-BFGS: both use all samples at every step and minimise the same objective, by other
    steps. Source: facts on the documented cost, see docs/matlab.md. Exact for the objective.

    Args:
        error_is_mean_over: D, where the squared error is a mean over the D inputs as well and
            not the sum that the formula says.

    Raises:
        UsageError: for an unknown option, `satlin`, and values without a counterpart.

    >>> found = from_trainautoencoder(100, L2WeightRegularization=0.004, SparsityRegularization=4,
    ...                               SparsityProportion=0.15, ScaleData=False)
    >>> found["weight_decay"], found["sparsity_weight"], found["target"]
    (0.002, 2.0, 0.15)
    """
    for option in options:
        if option not in DEFAULTS:
            raise unknown("option of trainAutoencoder", option, [*DEFAULTS, "hiddenSize"])
    asked = {**DEFAULTS, **options}
    whole("hiddenSize", hiddenSize)
    whole("MaxEpochs", asked["MaxEpochs"])
    _must_be("EncoderTransferFunction", asked, {"logsig"})
    output = OUTPUTS[_must_be("DecoderTransferFunction", asked, OUTPUTS)]
    _must_be("LossFunction", asked, {"msesparse"})
    _must_be("TrainingAlgorithm", asked, {"trainscg"})
    half = _half(error_is_mean_over)
    return {
        "n_latents": hiddenSize,
        "target": _number("SparsityProportion", asked, **SHARE),
        "sparsity_weight": half * _number("SparsityRegularization", asked),
        "weight_decay": half * _number("L2WeightRegularization", asked),
        "activation": "sigmoid",
        "output": output,
        "preprocess": [_scaling(output)] if _switch("ScaleData", asked) else None,
        "solver": "lbfgs",
        "max_iter": asked["MaxEpochs"],
        "device": "cuda" if _switch("UseGPU", asked) else "cpu",
        "verbose": _switch("ShowProgressWindow", asked),
    }


def to_trainautoencoder(*, error_is_mean_over: int = 1, **parameters: Any) -> dict[str, Option]:
    """Options of `trainAutoencoder`, `hiddenSize` among them, with the same objective.

    `parameters` are those of a `SparseAutoencoder`: `to_trainautoencoder(**model.get_params())`.
    What does not touch the objective (tolerances, seeds, precision) is left out, and
    `preprocess="auto"` counts as scaling for a sigmoid output.

    Raises:
        UsageError: for missing parameters, and those without a counterpart: tanh, tied weights, a
            preparation that MATLAB's ScaleData cannot do.
    """
    missing = [name for name in NEEDED if name not in parameters]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} must be said too, for MATLAB's defaults are others; pass "
            "**model.get_params()"
        )
    given, outputs = parameters, {ours: matlab for matlab, ours in OUTPUTS.items()}
    whole("n_latents", given["n_latents"])
    whole("max_iter", given["max_iter"])
    tied, output = _switch("tied", {"tied": False, **given}), given["output"]
    sigmoid = _is_one_of(given["activation"], {"sigmoid"})
    if not sigmoid or not _is_one_of(output, outputs) or tied:
        raise UsageError(
            f"trainAutoencoder has no activation={given['activation']!r} with "
            f"output={output!r} and tied={tied}; it has sigmoid codes, "
            "a sigmoid or linear output and two matrices of their own"
        )
    half = _half(error_is_mean_over)
    return {
        "hiddenSize": given["n_latents"],
        "EncoderTransferFunction": "logsig",
        "DecoderTransferFunction": outputs[output],
        "MaxEpochs": given["max_iter"],
        "L2WeightRegularization": _number("weight_decay", given) / half,
        "LossFunction": "msesparse",
        "ShowProgressWindow": bool(given.get("verbose", False)),
        "SparsityProportion": _number("target", given, **SHARE),
        "SparsityRegularization": _number("sparsity_weight", given) / half,
        "TrainingAlgorithm": "trainscg",
        "ScaleData": _scales(given["preprocess"], output),
        "UseGPU": str(given.get("device", "cpu")).startswith("cuda"),
    }


def _scaling(output: str) -> dict[str, str | float]:
    low, high = RANGES[output]
    return {"kind": "range", "low": low, "high": high}


def _scales(preprocess: object, output: str) -> bool:
    """Whether a preparation is what ScaleData does."""
    if preprocess is None or (isinstance(preprocess, list | tuple) and not preprocess):
        return False
    if isinstance(preprocess, str) and preprocess == "auto":
        return output == "sigmoid"
    if isinstance(preprocess, list) and preprocess == [_scaling(output)]:
        return True
    raise UsageError(
        f"preprocess={preprocess!r} has no counterpart in trainAutoencoder; prepare the data "
        "beforehand and say preprocess=None"
    )


def _must_be(option: str, asked: Mapping[str, Option], known: Collection[str]) -> str:
    value = asked[option]
    if _is_one_of(value, known):
        return value
    if _is_one_of(value, {"satlin"}):
        raise UsageError(f"{option}: {SATLIN}")
    if option == "TrainingAlgorithm":
        raise UsageError(
            f"TrainingAlgorithm is {value!r}, but trainAutoencoder has 'trainscg' alone, in whose "
            "place L-BFGS minimises the same objective"
        )
    raise unknown(option, value, known)


def _switch(option: str, asked: Mapping[str, object]) -> bool:
    """true or false, in MATLAB's newer spelling "on" or "off"."""
    value = asked[option]
    found = SWITCHES.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool | np.bool_ | numbers.Integral) or found not in (0, 1):
        raise UsageError(f"{option} is {value!r}, but it is True or False (or 'on', 'off')")
    return bool(found)


def _number(option: str, asked: Mapping[str, Any], **limits: float) -> float:
    real(option, asked[option], **limits)
    return float(asked[option])


def _half(error_is_mean_over: int) -> float:
    """Half of D, whose mean the squared error may be."""
    whole("error_is_mean_over", error_is_mean_over)
    return int(error_is_mean_over) / 2


def _is_one_of(value: object, known: Collection[str]) -> TypeGuard[str]:
    """Also for what cannot be hashed or compared."""
    return isinstance(value, str) and value in known
