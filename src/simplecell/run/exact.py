"""A trained model with exact codes in the place of its encoder's, and where their α comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simplecell.data import Source
from simplecell.errors import UsageError, choice
from simplecell.model.exact import Exact
from simplecell.run.encoding import alpha_on
from simplecell.run.trained import Trained

CODES = ("encoder", "exact")


def in_use(
    trained: Trained, codes: str, alpha: float | None, rows: Callable[[], Source]
) -> tuple[Trained, list[str]]:
    """The model whose codes are asked for, and a sentence on them.

    α is the one given, else the run's own, else what leaves as many latents active as the encoder
    does on `rows`, which are asked for then only.

    Raises:
        UsageError: for an unknown word, a model that has no exact codes, α without them.
    """
    choice("--codes", codes, CODES)
    if codes == "encoder":
        if alpha is not None:
            raise UsageError("--alpha is for exact codes; say --codes exact as well")
        return trained, []
    said = "as the run has it"
    if alpha is not None:
        said = "as given"
    elif (alpha := trained.info.get("exact_alpha")) is None:
        alpha = alpha_on(rows(), trained.model, trained.preprocess)
        said = (
            "as many latents active as the encoder leaves on these rows; other rows are encoded "
            f"alike with --alpha {alpha:.9g}"
        )
    same = alpha == trained.info.get("exact_alpha")
    normal = trained.normal if same else None  # what was said of other codes
    model = Exact(trained.model, alpha)
    return replace(trained, model=model, normal=normal), [f"exact codes, alpha {alpha:.9g}: {said}"]
