"""What run.json and log.jsonl hold: how it is made, and the form that reading insists on."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from simplecell.data import Source
from simplecell.train import Record

FORMAT = 1
_SPREAD = {"min": float, "mean": float, "max": float}
_MEASURED = {
    "cost": float,
    "fvu": (None, float),
    "l0": (None, float),
    "dead": (None, float),
    "mean_activation": _SPREAD,
    "n_samples": int,
}
_FIGURES = {
    **_MEASURED,
    "mean_activation": {**_SPREAD, "target": (None, float)},
    "n_iter": int,
    "n_latents": int,
    "stopped": str,
    "held_out": (None, _MEASURED),
}
INFO = {
    "status": str,
    "stopped": (None, str),
    "seed": int,
    "n_iter": int,
    "seconds": float,
    "software": {"simplecell": str, "torch": str, "threads": int, "device": str},
    "data": {
        "path": (None, str),
        "fingerprint": str,
        "targets_fingerprint": (None, str),
        "kind": str,
        "shape": [int],
        "input_names": (None, [str]),
        "columns": (None, {"header": bool, "columns": [{"name": str, "kind": str}]}),
        "n_samples": int,
        "n_held_out": int,
        "skipped": [{"file": str, "reason": str}],
    },
    "requested": dict,
    "figures": (None, _FIGURES),
}
"""What run.json must hold, as `storage.misfit` reads it."""
MOST_THREADS = 4096
RECORD = {
    "step": int,
    "cost": float,
    "terms": {str: float},
    "mean_activation": _SPREAD,
    "held_out_cost": (None, float),
    "seconds": float,
}
"""What a line of log.jsonl must hold; others are left out."""


def about_software(threads: int, device: str) -> dict[str, Any]:
    """Versions and settings that the bits of a result depend on."""
    return {
        "simplecell": metadata.version("simplecell"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "threads": threads,
        "device": device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def about_data(data: Any, source: Source, held_out: Source | None) -> dict[str, Any]:
    """What a run remembers of its data; `data` is a path where it has one."""
    path = str(Path(data).resolve()) if isinstance(data, str | Path) and str(data) != "-" else None
    return {
        "path": path,
        "fingerprint": source.fingerprint(),
        "kind": source.kind,
        "shape": [int(side) for side in source.shape],
        "input_names": source.input_names,
        "columns": source.columns,
        "n_samples": source.n_samples,
        "n_held_out": 0 if held_out is None else held_out.n_samples,
        "notes": list(source.notes),
        "skipped": [{"file": s.file, "reason": s.reason} for s in source.skipped],
    }


def line_of(record: Record, seconds: float) -> dict[str, Any]:
    """A record as a line of log.jsonl; `seconds` since the training began."""
    mean = record.mean_activation.double()
    ends = [finite(float(value)) for value in (mean.min(), mean.mean(), mean.max())]
    return {
        "step": record.step,
        "cost": finite(float(record.cost)),
        "terms": {name: finite(float(value)) for name, value in record.terms.items()},
        "mean_activation": dict(zip(("min", "mean", "max"), ends, strict=True)),
        "held_out_cost": None if record.held_out_cost is None else finite(record.held_out_cost),
        "seconds": round(seconds, 4),
    }


def judged(info: Mapping[str, Any]) -> dict[str, Any]:
    """fvu and l0 of a run.json: of held-out samples where it has them, else of those of training.

    None for what it does not say.
    """
    figures = info.get("figures") or {}
    held_out = figures.get("held_out")
    chosen = held_out or figures
    samples = "held out" if held_out else "training" if figures else None
    return {"samples": samples, "fvu": chosen.get("fvu"), "l0": chosen.get("l0")}


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
