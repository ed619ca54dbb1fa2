"""What a linear classifier of photographs looks for: one template a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simplecell import viz
from simplecell.reproduce.bench import Bench
from simplecell.reproduce.digits import percent
from simplecell.reproduce.outcome import Figure, Outcome
from simplecell.reproduce.pictures import FOLDS, folds, layout, pictures
from simplecell.run.progress import say

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def templates(bench: Bench) -> Outcome:
    """Class templates: what a linear classifier looks for."""
    data = pictures(bench)
    train, test = data.rows
    say(f"  softmax on pixels, {len(STRENGTHS)} strengths, {FOLDS} folds")
    # centred and no more: pixels of one unit, and a border that hardly varies stays quiet
    softmax = make_pipeline(
        StandardScaler(with_std=False), LogisticRegression(max_iter=1000, tol=1e-3)
    )
    search = GridSearchCV(
        softmax, {"logisticregression__C": STRENGTHS}, cv=folds(0), refit=simplest
    ).fit(train, data.train_labels)
    picture = viz.templates(search, layout(data.train.shape[1:]))
    return Outcome(
        data=data.about,
        setting="scikit-learn's LogisticRegression on centred pixels, 0 … 1, "
        f"C = {search.best_params_['logisticregression__C']:g}: of {_listed(STRENGTHS)} the least "
        f"within one standard error of the best in {FOLDS}-fold cross-validation",
        figures=[
            Figure(
                "test accuracy",
                [percent(search.score(test, data.test_labels))],
                "about 39 % (validation pictures, a linear SVM)",
                "CS231n, assignment 1",
                "%",
                1,
            )
        ],
        pictures=[bench.picture("templates.png", picture)],
        notes="CS231n learned from 49,000 pictures, with the hinge loss; here "
        f"{len(train):,}, softmax; convex, so one seed",
    )


def simplest(results: Mapping[str, Any]) -> int:
    """The strongest regularisation within one standard error of the best, `s / √folds`.

    Among classifiers that cross-validation cannot tell apart it has the smoothest templates.
    Source: Breiman et al. 1984, the one-standard-error rule. Exact.
    """
    mean, spread = results["mean_test_score"], results["std_test_score"]
    best = int(np.argmax(mean))
    # std_test_score divides by the number of folds, s by one less
    error = spread[best] / np.sqrt(FOLDS - 1)
    return int(np.flatnonzero(mean >= mean[best] - error)[0])


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
