"""How exactly a GPU multiplies matrices while a step is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

ROUNDED, WHOLE = "high", "highest"
"""torch's words for float32 products of factors with 10 bits (TF32), and with all 23."""


@contextlib.contextmanager
def tf32(on: bool, device: torch.device) -> Iterator[None]:
    """Products on a GPU in TF32, if `on`; what others had set is theirs again afterwards."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(ROUNDED if on else WHOLE)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def rounded(device: torch.device) -> bool:
    """Whether products of float32 matrices on this device have rounded factors now."""
    return device.type == "cuda" and torch.get_float32_matmul_precision() != WHOLE
