"""What a training takes of the machine's memory, known before anything of it is allocated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from simplecell.errors import UsageError, choice
from simplecell.preprocess.affine import Affine
from simplecell.preprocess.chain import STEPS
from simplecell.run.recipe import Recipe
from simplecell.training.lbfgs import HISTORY
from simplecell.training.prepared import CACHE_BYTES, CHUNK_BYTES, resolve_device
from simplecell.training.trainer import SOLVERS

VECTORS = {"lbfgs": 2 * HISTORY + 6, "adam": 8}
"""Vectors as long as the weights, at the peak: pairs of the history, weights, gradient, moments,
and what a step, the first draw of weights and a checkpoint need. Measured on wide tables."""
COVARIANCES = 6
"""Matrices of inputs × inputs in float64 that PCA and ZCA hold at the peak."""
SPECTRAL = [kind for kind, step in STEPS.items() if issubclass(step, Affine) and step.full]
"""Steps that are solved from one."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take."""
COMFORT = 0.5
"""Share of the memory that a choice of ours may fill; what was asked for may fill all of it."""


def machine_memory() -> int | None:
    """Bytes that this machine, or the container that this process is in, has; None: unknown."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in map(Path, LIMITS):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(int(path.read_text(encoding="ascii")))
    return min((one for one in found if one > 0), default=None)


def memory_of(recipe: Recipe) -> int | None:
    """Bytes of memory where the recipe trains; None: unknown."""
    device = resolve_device(recipe.train.device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()


def needed(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None = None
) -> tuple[float, int]:
    """(bytes at the peak of a training, those of the weights alone) of a resolved recipe.

    `n_inputs` is that of prepared samples, `n_outputs` a transcoder's.
    """
    with torch.device("meta"):  # sizes without memory
        model = recipe.build_model(n_inputs, n_outputs)
    size = getattr(torch, recipe.train.dtype).itemsize
    weights = size * sum(parameter.numel() for parameter in model.parameters())
    width = 3 * n_inputs + 2 * model.n_latents
    if recipe.optim.kind == "lbfgs":
        rows = min(n_samples, max(1024, CHUNK_BYTES // (width * size)))
        kept = min(CACHE_BYTES, n_samples * n_inputs * size)
    else:
        rows, kept = min(recipe.optim.batch_size, n_samples), 0
    return VECTORS[recipe.optim.kind] * weights + 2 * rows * width * size + kept, weights


def check_memory(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None = None
) -> None:
    """Raise UsageError if training a resolved recipe takes more memory than there is."""
    choice("solver", recipe.optim.kind, SOLVERS)
    has, (needs, weights) = memory_of(recipe), needed(recipe, n_inputs, n_samples, n_outputs)
    if has is None or needs <= has:
        return
    n_latents = recipe.model.n_latents
    asked = f"{n_latents:,} latents" if isinstance(n_latents, int) else f"layers of {n_latents}"
    solver = {"lbfgs": "L-BFGS", "adam": "Adam"}[recipe.optim.kind]
    cures = [_with_adam(recipe, n_inputs, n_samples, n_outputs, has)]
    if isinstance(n_latents, int) and n_latents * has > needs:
        cures.append(
            f"ask for fewer latents (model.n_latents={int(0.9 * n_latents * has / needs)})"
        )
    cures.append("train on fewer columns" if n_inputs > 1 else "")
    raise UsageError(
        f"{asked} over {n_inputs:,} inputs by {solver} need about {_gb(needs)} of memory "
        f"({_gb(weights)} of weights), and there are {_gb(has)}; "
        f"{', or '.join(filter(None, cures))}"
    )


def _with_adam(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None, has: int
) -> str:
    """The cure that keeps the model: another optimiser, where that fits."""
    if recipe.optim.kind == "adam":
        return ""
    other = recipe.changed({"optim.kind": "adam"})
    needs = needed(other, n_inputs, n_samples, n_outputs)[0]
    fits = needs <= has
    return f"choose Adam (optim.kind=adam, about {_gb(needs)})" if fits else ""


def check_preparation(recipe: Recipe, n_inputs: int) -> None:
    """Raise UsageError if the covariances of a preparation take more memory than there is."""
    steps, has = recipe.preprocess.steps, machine_memory()
    kinds = [] if isinstance(steps, str) else [_kind(step) for step in steps]
    found = [kind for kind in kinds if kind in SPECTRAL]
    needs = COVARIANCES * 8 * n_inputs**2
    if found and has is not None and needs > has:
        raise UsageError(
            f"the step '{found[0]}' over {n_inputs:,} inputs needs about {_gb(needs)} of memory, "
            f"and there are {_gb(has)}; take 'standardize' or 'center' in its place, or train on "
            "fewer columns"
        )


def _kind(step: object) -> str:
    return str(step.get("kind")) if isinstance(step, dict) else str(step)


def too_wide(recipe: Recipe, n_inputs: int, n_samples: int) -> str | None:
    """Why a recipe's L-BFGS is better left, where nobody asked for it: its history is too large."""
    has = memory_of(recipe)
    if recipe.optim.kind != "lbfgs" or has is None:
        return None
    needs = needed(recipe, n_inputs, n_samples)[0]
    if needs <= COMFORT * has:
        return None
    return f"{n_inputs:,} columns by L-BFGS need about {_gb(needs)} of memory of {_gb(has)}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
