"""What a long training will take of memory and disk, said before it starts."""

from __future__ import annotations

from simplecell.data import Source
from simplecell.run.memory import VECTORS, bounded, least_of, needed
from simplecell.run.recipe import Recipe
from simplecell.run.sizes import in_words
from simplecell.training.lbfgs import HISTORY
from simplecell.training.prepared import CACHE_BYTES, JUDGED

LONG = 2e12
"""Multiplications from which on a training is long: some 20 s on two cores."""
STORED = {"lbfgs": 2 * HISTORY + 3, "adam": 3, "pca": 2}
"""Vectors as long as the weights in a checkpoint, of which there are two at the most."""


def estimate(
    recipe: Recipe, n_inputs: int, source: Source, n_outputs: int | None = None, holders: int = 1
) -> list[str]:
    """A sentence on a training of a resolved recipe; none where it takes but seconds.

    The memory is that of each process, where latents are dealt to several holders.
    """
    solver, n_samples = recipe.optim.kind, source.n_samples
    weights = needed(recipe, n_inputs, n_samples, n_outputs)[1]
    batch = min(n_samples, recipe.optim.batch_size if solver == "adam" else n_samples)
    if recipe.n_steps * batch * 3 * weights / 4 < LONG or solver not in VECTORS:
        return []
    least = least_of(recipe, n_inputs, source, n_outputs, holders).all
    kept = min(CACHE_BYTES, 4 * n_inputs * min(JUDGED, n_samples))
    most = bounded(recipe)
    memory = least + kept if most is None else min(most, least + kept)
    each = f" in each of {holders} processes" if holders > 1 else ""
    disk = weights * (1 + 2 * STORED[solver])
    return [
        f"this training takes about {in_words(memory)} of memory{each} and {in_words(disk)} on "
        "disk; how "
        "long it takes is told once its first steps are done"
    ]
