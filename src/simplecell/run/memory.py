"""What a training takes of the machine's memory, known before anything of it is allocated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import torch

from simplecell.data import Source
from simplecell.data.order import POOL, block_of
from simplecell.data.rows import in_files
from simplecell.errors import UsageError, choice
from simplecell.preprocess.affine import Affine
from simplecell.preprocess.chain import STEPS
from simplecell.run.recipe import Recipe
from simplecell.run.sizes import bytes_of, in_words
from simplecell.training.lbfgs import HISTORY
from simplecell.training.prepared import (
    CACHE_BYTES,
    CHUNK_BYTES,
    LOOK_BYTES,
    Room,
    resolve_device,
    rows_of_chunk,
)
from simplecell.training.trainer import SOLVERS

VECTORS = {"lbfgs": 2 * HISTORY + 6, "adam": 8, "pca": 4}
"""Vectors as long as the weights, at the peak: pairs of the history, weights, gradient, moments,
and what a step, the first draw of weights and a checkpoint need. Measured on wide tables."""
COVARIANCES = 6
"""Matrices of inputs × inputs in float64 that PCA and ZCA hold at the peak."""
SPECTRAL = [kind for kind, step in STEPS.items() if issubclass(step, Affine) and step.full]
"""Steps that are solved from one."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take."""
BARE = 300_000_000
"""Bytes that this process takes with its libraries and no data, where the system does not say."""
CHUNKS = 16
"""Chunks of L-BFGS that a bound on the memory has room for."""
SLACK = 96_000_000
"""Bytes for what no count sees: libraries' own buffers, pieces of files, figures, freed memory that
is not given back yet."""
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


def resident() -> int:
    """Bytes of memory that this process holds by now."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return BARE


def bounded(recipe: Recipe) -> int | None:
    """Bytes that the recipe allows the process; None: it sets no bound."""
    return None if recipe.train.memory == "auto" else bytes_of(recipe.train.memory)


def needed(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None = None, holders: int = 1
) -> tuple[float, int]:
    """(bytes at the peak of a training, those of the weights alone) of a resolved recipe.

    `n_inputs` is that of prepared samples, `n_outputs` a transcoder's; in each process, where
    latents are dealt to several holders.
    """
    with torch.device("meta"):  # sizes without memory
        model = recipe.build_model(n_inputs, n_outputs, holders)
    size = getattr(torch, recipe.train.dtype).itemsize
    weights = size * sum(parameter.numel() for parameter in model.parameters())
    width, has = 3 * n_inputs + 2 * model.n_latents, bounded(recipe)
    if recipe.optim.kind == "lbfgs":
        rows = min(n_samples, rows_of_chunk(model, chunk_of(has)))
        kept = 0 if has else min(CACHE_BYTES, n_samples * n_inputs * size)
    else:
        rows = min(recipe.optim.batch_size, n_samples)
        kept = COVARIANCES * 8 * n_inputs**2 if recipe.optim.kind == "pca" else 0
    if has:  # else they are small beside what a machine has
        rows = max(rows, min(n_samples, rows_of_chunk(model, LOOK_BYTES)))
    return VECTORS[recipe.optim.kind] * weights + 2 * rows * width * size + kept, weights


def chunk_of(has: int | None) -> int | None:
    """Bytes of a chunk of L-BFGS where the process may take so many; None: those of no bound."""
    return None if has is None else min(CHUNK_BYTES, has // CHUNKS)


def pool_of(recipe: Recipe, source: Source) -> int:
    """Bytes of the samples that are held while they are shuffled; 0 where all are in memory."""
    if recipe.optim.kind != "adam" or not in_files(source):
        return 0
    block = block_of(source.n_inputs) if recipe.data.block == "auto" else recipe.data.block
    held = getattr(source, "held", None)
    each = source.n_inputs * (4 if held is None else held.itemsize)
    return each * min(source.n_samples, POOL * block)


def room_of(
    recipe: Recipe, n_inputs: int, source: Source, n_outputs: int | None = None, holders: int = 1
) -> Room:
    """What a training may hold of its samples within the bound of a resolved recipe.

    Raises UsageError where even without it the bound is too small, or the machine.
    """
    check_memory(recipe, n_inputs, source.n_samples, n_outputs, holders)
    has = bounded(recipe)
    if has is None:
        return Room()
    least = least_of(recipe, n_inputs, source, n_outputs, holders)
    if least.all > has:
        raise UsageError(
            f"this training takes at least about {in_words(least.all)} of memory "
            f"({least}), and train.memory allows {in_words(has)}; allow more, or "
            f"{', or '.join(_lighter(recipe, least))}"
        )
    # Training samples, their codes, and two halves of those held out.
    return Room(cache=(has - least.all) // 4, chunk=chunk_of(has))


class Least(NamedTuple):
    """What a training takes at the peak if no samples are kept, *bytes*."""

    process: int
    """What the process holds before: the libraries, and data that are in memory."""
    model: int
    """Weights, their optimiser, and what is made of a batch."""
    pool: int
    """Samples that are shuffled."""

    @property
    def all(self) -> int:
        return sum(self) + SLACK

    def __str__(self) -> str:
        words = [
            f"{in_words(self.process)} libraries and data",
            f"{in_words(self.model)} the model and a batch",
            f"{in_words(self.pool)} a pool of samples to shuffle",
        ]
        return ", ".join(words if self.pool else words[:2])


def least_of(
    recipe: Recipe, n_inputs: int, source: Source, n_outputs: int | None = None, holders: int = 1
) -> Least:
    """The least memory that training a resolved recipe takes."""
    model = needed(recipe, n_inputs, source.n_samples, n_outputs, holders)[0]
    if resolve_device(recipe.train.device).type == "cuda":
        model = 0  # lies in another memory
    return Least(resident(), int(model), pool_of(recipe, source))


def _lighter(recipe: Recipe, least: Least) -> list[str]:
    """What makes a training smaller, what helps most first."""
    optim, block = recipe.optim, recipe.data.block
    batch = f" or a smaller batch (optim.batch_size={_half(optim.batch_size)})"
    fewer = "ask for fewer latents" + (batch if optim.kind == "adam" else "")
    cures = [(least.model, fewer)]
    if least.pool and not isinstance(block, str):
        cures.append((least.pool, f"shuffle fewer rows at a time (data.block={_half(block)})"))
    if least.process > 2 * BARE:
        cures.append((least.process, "leave the data in files (simplecell shard DATA --out DIR)"))
    return [cure for _, cure in sorted(cures, reverse=True)]


def _half(number: int) -> int:
    return max(1, number // 2)


def check_memory(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None = None, holders: int = 1
) -> None:
    """Raise UsageError if training a resolved recipe takes more memory than there is."""
    choice("solver", recipe.optim.kind, SOLVERS)
    has = memory_of(recipe)
    needs, weights = needed(recipe, n_inputs, n_samples, n_outputs, holders)
    if has is None or needs <= has:
        return
    n_latents = recipe.model.n_latents
    asked = f"{n_latents:,} latents" if isinstance(n_latents, int) else f"layers of {n_latents}"
    solver = {"lbfgs": "L-BFGS", "adam": "Adam", "pca": "PCA"}[recipe.optim.kind]
    cures = [_with_adam(recipe, n_inputs, n_samples, n_outputs, has)]
    if isinstance(n_latents, int) and n_latents * has > needs:
        cures.append(
            f"ask for fewer latents (model.n_latents={int(0.9 * n_latents * has / needs)})"
        )
    cures.append("train on fewer columns" if n_inputs > 1 else "")
    raise UsageError(
        f"{asked} over {n_inputs:,} inputs by {solver} need about {in_words(needs)} of memory "
        f"({in_words(weights)} of weights), and there are {in_words(has)}; "
        f"{', or '.join(filter(None, cures))}"
    )


def _with_adam(
    recipe: Recipe, n_inputs: int, n_samples: int, n_outputs: int | None, has: int
) -> str:
    """The cure that keeps the model: another optimiser, where that fits."""
    if recipe.optim.kind != "lbfgs":
        return ""
    other = recipe.changed({"optim.kind": "adam"})
    needs = needed(other, n_inputs, n_samples, n_outputs)[0]
    fits = needs <= has
    return f"choose Adam (optim.kind=adam, about {in_words(needs)})" if fits else ""


def check_preparation(recipe: Recipe, n_inputs: int) -> None:
    """Raise UsageError if the covariances of a preparation take more memory than there is."""
    steps, has = recipe.preprocess.steps, machine_memory()
    most = bounded(recipe)
    has = has if most is None else max(1, most - resident())
    kinds = [] if isinstance(steps, str) else [_kind(step) for step in steps]
    found = [kind for kind in kinds if kind in SPECTRAL]
    needs = COVARIANCES * 8 * n_inputs**2
    if found and has is not None and needs > has:
        raise UsageError(
            f"the step '{found[0]}' over {n_inputs:,} inputs needs about {in_words(needs)} of "
            f"memory, and there are {in_words(has)}; take 'standardize' or 'center' in its place, "
            "or train on fewer columns"
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
    return (
        f"{n_inputs:,} columns by L-BFGS need about {in_words(needs)} of memory of {in_words(has)}"
    )
