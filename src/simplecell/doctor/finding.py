"""A finding, the look at the data that it comes from, and how a cure is spelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simplecell.feed import to_model
from simplecell.session import Session

ROWS, ENTRIES = 8192, 2**24
"""Samples looked at: enough for every share that is measured, however long the data are. Of very
wide samples fewer, so that a look stays within 128 MB."""


@dataclass(frozen=True)
class Finding:
    """What was seen, with its number, why it matters, and the cure as settings to give."""

    kind: str
    """center, scale, range, batch, dead, saturated, duplicates or thresholds."""
    words: str

    def __str__(self) -> str:
        return f"doctor: {self.words}"

    def table(self) -> dict[str, str]:
        """As `train --json` prints it."""
        return asdict(self)


@torch.no_grad()
def look(session: Session) -> Tensor:
    """Training samples as the model sees them, evenly spread over the data, [B, D]."""
    source, trainer = session.source, session.trainer
    n_rows = max(1, min(source.n_samples, ROWS, ENTRIES // source.n_inputs))
    rows = np.unique(np.linspace(0, source.n_samples - 1, n_rows).astype(np.int64))
    return to_model(source.read(rows), trainer.preprocess, trainer.model.like)


def requested(session: Session, table: str, key: str) -> Any:
    """What the user's recipe said, before "auto" was replaced."""
    return session.info["requested"][table].get(key)


def setting(key: str, value: Any) -> str:
    """A setting as it is said on the command line."""
    text = value if isinstance(value, str) else _toml(value)
    return f"--set {key}='{text}'" if isinstance(value, list) else f"--set {key}={text}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"kind"}:
            return _toml(value["kind"])
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value)
