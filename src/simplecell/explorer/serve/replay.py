"""Samples through a run, with latents turned up or off: for models too large for a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from simplecell.explorer.serve.messages import Refused
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes
from simplecell.run.trained import Trained

MOST_ROWS = 256
MOST_NUMBERS = 2**20
"""Numbers in one answer."""
LARGEST = float(np.finfo(np.float32).max)


def replay(trained: Trained, model: Model, question: Mapping[str, object]) -> dict[str, object]:
    """Codes, reconstructions and prepared rows of the raw rows question["x"] [B, D].

    question["scale"] multiplies the codes of some latents before they are decoded; "code" is what
    the samples give by themselves. `model` is the run's in float32.

    Raises:
        Refused: 400, for whatever is not as needed.
    """
    x = _rows(trained, question.get("x"))
    scale = _scale(model.n_latents, question.get("scale", {}))
    parts = _through(trained, model, x, scale)
    if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
        raise Refused(
            400, "the result is too large for 32-bit numbers; use smaller values or scales"
        )
    return {name: part.tolist() for name, part in parts.items()}


@torch.no_grad()
def _through(trained: Trained, model: Model, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
    prepared, carried = trained.preprocess.apply(x)
    code = model.encode(prepared.to(model.like).contiguous())[1].dense
    recon = model.decode(Codes(code * scale))
    # What each sample carried itself (DC) is put back, save where something else is reconstructed.
    kept = carried if trained.target_preprocess is None else None
    return {
        "code": code,
        "recon": trained.recon_preprocess.invert(recon.double(), kept),
        "prepared": prepared,
        "prepared_recon": recon,
    }


def _rows(trained: Trained, rows: object) -> Tensor:
    width = trained.preprocess.n_inputs
    if not isinstance(rows, list) or not rows or not all(type(row) is list for row in rows):
        raise Refused(400, "x must be a list of samples, each a list of numbers")
    most = max(1, min(MOST_ROWS, MOST_NUMBERS // _numbers(trained)))
    if len(rows) > most:
        raise Refused(400, f"x has {len(rows)} samples; this run takes at most {most} at once")
    for number, row in enumerate(rows):
        if len(row) != width:
            raise Refused(
                400, f"sample {number} has {len(row)} values, but this run was made for {width}"
            )
        wrong = [value for value in row if not _is_number(value)]
        if wrong:
            raise Refused(
                400, f"sample {number} holds {_told(wrong[0])}; a finite number is needed"
            )
    return torch.tensor(rows, dtype=torch.float64)  # until it is centred


def _numbers(trained: Trained) -> int:
    """How many numbers the answer has for one sample."""
    sides = (trained.preprocess, trained.recon_preprocess)
    return trained.model.n_latents + sides[0].n_outputs + sides[1].n_inputs + sides[1].n_outputs


def _scale(n_latents: int, table: object) -> Tensor:
    scale = torch.ones(n_latents)
    if not isinstance(table, dict):
        raise Refused(400, 'scale must be a table such as {"17": 0}: latents and their factors')
    for name, factor in table.items():
        if not re.fullmatch("0|[1-9][0-9]{0,8}", name, re.ASCII) or int(name) >= n_latents:
            raise Refused(
                400,
                f"latent {_told(name)} does not exist: this run has {n_latents}, counted from 0",
            )
        if not _is_number(factor):
            raise Refused(
                400, f"latent {name} is scaled by {_told(factor)}; a finite number is needed"
            )
        scale[int(name)] = float(factor)
    return scale


def _is_number(value: object) -> TypeGuard[float]:
    # True and False are ints of a class of their own; NaN is not below anything.
    return type(value) in (int, float) and abs(cast(float, value)) <= LARGEST


def _told(value: object) -> str:
    """A value in a sentence, cut short."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}…"
