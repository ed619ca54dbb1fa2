"""Libraries of models, which are extras: transformers, timm, torchvision."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

from simplecell.errors import UsageError

_OPERATORS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
_KEPT: list[torch.library.Library] = []
"""Declarations last as long as what made them."""


def library(name: str, what: str, extra: str) -> Any:
    """A library that needs, or may use, torchvision.

    Raises:
        UsageError: where it is not installed; `what` does it do, and which extra brings it.
    """
    try:
        mend_torchvision()
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"{what} by {name.replace('_', '-')}, which is not installed; say "
            f"pip install 'simplecell[{extra}]'"
        ) from None


def mend_torchvision() -> None:
    """Let torchvision be imported beside a torch that its compiled operators were not built for.

    The wheel of the package index is built for torch's CUDA. Beside a CPU build of torch its
    operators cannot be loaded, and importing it, as transformers does where it is there, fails at
    the two whose shapes it describes. No model of pictures and no transform needs them: they are
    declared, and who calls one is told that nothing implements it.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for one in _OPERATORS:
            _KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
            _KEPT[-1].define(one)
        importlib.import_module("torchvision")
