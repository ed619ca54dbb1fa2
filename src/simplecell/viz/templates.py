"""A linear classifier as pictures: one template a class.

A linear score is `s_c = w_c · x + b_c`. Behind steps that are affine too, `x′ = J x + j`, it is
`s_c = (w_c J) · x + …`: the template `w_c J` is the gradient of the score with respect to the
inputs, whatever was standardised, rotated or whitened on the way.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simplecell.errors import UsageError
from simplecell.viz.grid import near_square, sample_shape, tiles
from simplecell.viz.numbers import bars

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from scipy.sparse import sparray
    from sklearn.base import BaseEstimator

Floats = NDArray[np.float64]
LEAST_SIDE = 4  # pixels: fewer inputs than 4×4 are a table's


def templates(
    classifier: BaseEstimator,
    shape: Sequence[int] | None = None,
    *,
    names: Sequence[str] | None = None,
    zoom: int | None = None,
) -> Image.Image:
    """Picture of what each class of a fitted linear classifier looks for, in input space.

    Each tile is `∂ score_c / ∂ x`, scaled by its own largest size: mid-grey is 0, bright raises
    the score and dark lowers it; one scale for a tile's three channels keeps its hue. A binary
    classifier, which has one row, is drawn as both of its signs. Steps of a `Pipeline` before
    the classifier are carried back to the inputs where they are affine (StandardScaler, PCA,
    Whitening …), which is judged by what they answer to random inputs of sizes 0.01 to 1e6: a bend
    that none of these meets stays unseen, and the template is then that of the step around 0.

    Args:
        classifier: anything of scikit-learn with `coef_`, a Pipeline that ends in one, or a
            search around either. Regressors with several targets have a template each.
        shape: of one sample, (h, w) or (h, w, 3), row-major, channels last; found out for square
            grey and colour pictures (64 is 8×8, 3072 is 32×32×3). Inputs that are no pictures are
            drawn as each class's strongest inputs.
        names: the captions, in the order of `classes_`; by default the classes themselves.
        zoom: screen pixels per source pixel, as in `tiles`.

    Raises:
        UsageError: not fitted, not linear, or a step before it that is not affine.
    """
    rows, captions, inputs = _linear(classifier)
    if names is not None:
        if len(names) != len(rows):
            raise UsageError(f"names has {len(names)} entries, but there are {len(rows)} templates")
        captions = [str(name) for name in names]
    layout = _layout(rows.shape[1], inputs) if shape is None else sample_shape(shape)
    if layout is None:
        inputs = inputs or [f"x{i}" for i in range(rows.shape[1])]
        return bars(rows, inputs, labels=captions, title="Strongest inputs of each class")
    columns = len(rows) if len(rows) <= 5 else 5 if len(rows) <= 10 else near_square(len(rows))
    return tiles(rows, layout, columns=columns, labels=captions, zoom=zoom)


def _linear(classifier: BaseEstimator) -> tuple[Floats, list[str], list[str] | None]:
    """Templates [C, D] in input space, their captions, and the names of the inputs if any."""
    model = getattr(classifier, "best_estimator_", classifier)
    steps = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    last = steps[-1]
    if not hasattr(last, "coef_"):
        raise UsageError(
            f"{type(last).__name__} has no coef_, so there is no template to draw; "
            "fit a linear classifier first, such as LogisticRegression"
        )
    rows = np.atleast_2d(_real(last.coef_, f"coef_ of {type(last).__name__}"))
    classes = getattr(last, "classes_", None)
    if classes is None:
        captions = [f"target {i}" for i in range(len(rows))]
    else:
        rows, captions = _captioned(rows, [str(c) for c in classes], hasattr(last, "n_support_"))
    for step in reversed(steps[:-1]):
        if step is not None and not isinstance(step, str):  # "passthrough"
            rows = rows @ _jacobian(step)
    names = getattr(model, "feature_names_in_", None)
    return rows, captions, None if names is None else [str(name) for name in names]


def _captioned(rows: Floats, classes: list[str], pairwise: bool) -> tuple[Floats, list[str]]:
    """Templates with the class of each; a support vector machine's three or more classes have
    one row a *pair*, positive for the first of the two."""
    if len(rows) == 1 and len(classes) == 2:
        return np.concatenate([-rows, rows]), classes
    if pairwise:
        classes = [f"{a} against {b}" for a, b in combinations(classes, 2)]
    if len(rows) != len(classes):
        raise UsageError(
            f"coef_ has {len(rows)} rows, but {len(classes)} were needed: {', '.join(classes)}"
        )
    return rows, classes


def _jacobian(step: BaseEstimator) -> Floats:
    """J [D', D] of an affine step x′ = J x + j, read off what it does to the unit vectors.

    Asking the step itself covers every scaler, rotation and whitening there is, and tells apart
    what is not affine. What answers all probes alike, as kernels do far from their data, has its
    bends elsewhere, and is no more believed than what is seen to bend.
    """
    width = getattr(step, "n_features_in_", None)
    if width is None:
        raise UsageError(f"{type(step).__name__} has no n_features_in_: fit the pipeline first")
    try:
        origin = _transformed(step, np.zeros((1, width)))
        jacobian = (_transformed(step, np.eye(width)) - origin).T
        generator = np.random.default_rng(0)
        # points of every size that data have, the largest last
        probes = (10.0**size * generator.standard_normal((3, width)) for size in range(-2, 7))
        affine = all(_follows(step, x, jacobian, origin) for x in probes)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise UsageError(f"{type(step).__name__} cannot be carried back: {error}") from error
    if not affine:
        raise UsageError(
            f"{type(step).__name__} is not an affine map, so the classifier behind it has no one "
            "template in input space; draw the classifier alone, classifier[-1], over its codes"
        )
    return jacobian


def _follows(step: BaseEstimator, x: Floats, jacobian: Floats, origin: Floats) -> bool:
    """Whether the step's answers are those of the affine map, which at size 1e6 does move."""
    moved = x @ jacobian.T
    size = float(np.abs(moved).max() + np.abs(origin).max())
    still = np.abs(x).max() > 1e6 and np.abs(moved).max() <= 1e-6 * size
    return not still and bool(np.abs(_transformed(step, x) - (moved + origin)).max() <= 1e-6 * size)


def _transformed(step: BaseEstimator, x: Floats) -> Floats:
    with warnings.catch_warnings():  # of names: a step fitted on a data frame takes arrays too
        warnings.simplefilter("ignore", UserWarning)
        return _real(step.transform(x), f"what {type(step).__name__} gives")


def _real(matrix: ArrayLike | sparray, name: str) -> Floats:
    """A dense or sparse matrix in float64."""
    array: NDArray[np.generic] = np.asarray(
        matrix.toarray() if hasattr(matrix, "toarray") else matrix
    )
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{name} holds {array.dtype}, but templates are made of real numbers")
    return array.astype(np.float64)


def _layout(n_inputs: int, names: list[str] | None) -> tuple[int, ...] | None:
    """Square grey, else square colour, else no picture; columns with names are a table."""
    for channels in () if names else (1, 3):
        side = math.isqrt(n_inputs // channels)
        if side >= LEAST_SIDE and channels * side * side == n_inputs:
            return (side, side) if channels == 1 else (side, side, 3)
    return None
