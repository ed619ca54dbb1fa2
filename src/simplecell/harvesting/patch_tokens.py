"""Which tokens of a vision transformer stand for which part of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

CLASS = "class"
"""The name of a token that is to stand for the whole picture."""


@dataclass(frozen=True)
class PatchTokens:
    """Tokens of patches, row by row, behind those that stand for none."""

    patch: tuple[int, int]
    """Height and width of a patch, in pixels of the model's input."""
    leading: tuple[str, ...]
    """What comes before the patches: "class", "register 1" and so on."""

    def sides(self, n_tokens: int, leading: tuple[int, ...] | None) -> tuple[int, int] | None:
        """Rows and columns of patches of a batch [B, c, h, w]; None where a layer that gives
        `n_tokens` a picture has other tokens."""
        if leading is None or len(leading) != 4:
            return None
        rows, columns = leading[2] // self.patch[0], leading[3] // self.patch[1]
        n = rows * columns
        return (rows, columns) if n > 1 and n_tokens in (n, n + len(self.leading)) else None


def patch_tokens_of(model: nn.Module) -> PatchTokens | None:
    """What a model says of its tokens: those of timm, torchvision and transformers do.

    None for one that has no tokens of patches, or says nothing.
    """
    for module in model.modules():
        found = _of_timm(module) or _of_torchvision(module) or _of_transformers(module)
        if found is not None:
            return found
    return None


def channels_are_last(model: nn.Module) -> bool:
    """Whether the maps between a model's blocks are [B, h, w, c], as in Swin transformers."""
    told = getattr(model, "output_fmt", None)
    return str(getattr(told, "value", told)) == "NHWC" or type(model).__name__ == "SwinTransformer"


def _of_timm(module: Any) -> PatchTokens | None:
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    n_leading = getattr(module, "num_prefix_tokens", None)
    if not isinstance(patch, list | tuple) or len(patch) != 2 or not isinstance(n_leading, int):
        return None
    has_class = isinstance(getattr(module, "cls_token", None), Tensor)
    return PatchTokens((int(patch[0]), int(patch[1])), _leading(n_leading, has_class))


def _of_torchvision(module: Any) -> PatchTokens | None:
    patch = getattr(module, "patch_size", None)
    if not isinstance(getattr(module, "class_token", None), Tensor) or not isinstance(patch, int):
        return None
    return PatchTokens((patch, patch), (CLASS,))


def _of_transformers(module: Any) -> PatchTokens | None:
    config, embeddings = getattr(module, "config", None), getattr(module, "embeddings", None)
    patch = getattr(config, "patch_size", None)
    if embeddings is None or not isinstance(patch, int):
        return None
    names = ("cls_token", "class_embedding")
    has_class = any(isinstance(getattr(embeddings, name, None), Tensor) for name in names)
    registers = getattr(config, "num_register_tokens", 0) or 0
    return PatchTokens((patch, patch), _leading(has_class + registers, has_class))


def _leading(n: int, has_class: bool) -> tuple[str, ...]:
    """Names of the tokens before the patches: the class first, as all of these have it."""
    first = (CLASS,) if has_class and n else ()
    return (*first, *(f"register {i}" for i in range(1, n - len(first) + 1)))
