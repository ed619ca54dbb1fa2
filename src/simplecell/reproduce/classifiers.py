"""Photographs of things: how a classifier of them is tuned, judged, compared and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simplecell import viz
from simplecell.data.cifar import CLASSES, read_cifar
from simplecell.reproduce.bench import Bench, Floats
from simplecell.reproduce.outcome import Figure, Outcome, percent
from simplecell.run.progress import say

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""1/regularisation tried for every softmax that is compared, raw pixels and features alike."""
LISTED = ", ".join(f"{strength:g}" for strength in STRENGTHS)
FOLDS = 4
SOFTMAX_SETTING = (
    f"softmax on standardised features or pixels, C of {LISTED} chosen for each by {FOLDS}-fold "
    "cross-validation on the training pictures"
)


class Pictures(NamedTuple):
    """Pictures [n, h, w, c] in 0 … 1 and the names of what they show, to learn from and to test."""

    train: Floats
    train_labels: NDArray[np.str_]
    test: Floats
    test_labels: NDArray[np.str_]
    about: str

    @property
    def rows(self) -> tuple[Floats, Floats]:
        """Both parts as rows of pixels."""
        return self.train.reshape(len(self.train), -1), self.test.reshape(len(self.test), -1)


class Judged(NamedTuple):
    """A tuned softmax: which test pictures it got right, the strength chosen, its CV accuracy."""

    right: NDArray[np.bool_]
    strength: float
    cross_validated: float

    @property
    def accuracy(self) -> float:
        """In per cent."""
        return percent(self.right.mean())


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
    accuracy = percent(search.score(test, data.test_labels))
    published = "about 39 % (validation pictures, a linear SVM)"
    picture = viz.templates(search, layout(data.train.shape[1:]))
    return Outcome(
        data=data.about,
        setting="scikit-learn's LogisticRegression on centred pixels, 0 … 1, "
        f"C = {search.best_params_['logisticregression__C']:g}: of {LISTED} the least "
        f"within one standard error of the best in {FOLDS}-fold cross-validation",
        figures=[
            Figure("test accuracy", [accuracy], published, "CS231n, assignment 1", "%", 1),
        ],
        pictures=[bench.picture("templates.png", picture)],
        notes="CS231n learned from 49,000 pictures, with the hinge loss; here "
        f"{len(train):,}, softmax; convex, so one seed",
    )


def pictures(bench: Bench, names: Sequence[str] = CLASSES) -> Pictures:
    """CIFAR-10's pictures of the named classes; when quick, scikit-learn's small digits."""
    if bench.quick:
        d = bench.digits
        train, test = (rows.reshape(-1, *d.shape, 1) for rows in (d.x, d.test_x))
        return Pictures(train, d.y.astype(str), test, d.test_y.astype(str), d.about)
    archive = bench.file("cifar-10")
    cifar = read_cifar(archive)
    train, train_labels = _of(cifar.train_pictures, cifar.train_labels, names)
    test, test_labels = _of(cifar.test_pictures, cifar.test_labels, names)
    about = (
        f"CIFAR-10's {', '.join(names)}: {len(train):,} pictures of 32×32 to learn from, "
        f"{len(test):,} to test ({archive.name})"
    )
    return Pictures(train, train_labels, test, test_labels, about)


def _of(
    found: NDArray[np.uint8], labels: NDArray[np.integer], names: Sequence[str]
) -> tuple[Floats, NDArray[np.str_]]:
    shown = np.array(CLASSES)[labels]
    wanted = np.isin(shown, names)
    return found[wanted].astype(np.float32) / np.float32(255), shown[wanted]


def layout(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(h, w) of grey pictures [h, w, 1], (h, w, 3) of coloured ones: as `viz` takes them."""
    return shape[:2] if shape[2] == 1 else shape


def judge(train: Floats, test: Floats, data: Pictures, seed: int) -> Judged:
    """Softmax regression on standardised features, its strength by cross-validation.

    The test pictures are looked at once, by the strength that the training pictures chose.
    """
    prepare = [StandardScaler()]
    if len(train) < train.shape[1]:
        # In the span of the pictures the answers are the same, for the penalty knows no
        # directions, and the fits are several times as fast.
        prepare.append(KernelPCA())
    pipeline = make_pipeline(*prepare)
    softmax = LogisticRegression(max_iter=1000, tol=1e-3)
    search = GridSearchCV(softmax, {"C": STRENGTHS}, cv=folds(seed))
    search.fit(pipeline.fit_transform(train), data.train_labels)
    right = search.predict(pipeline.transform(test)) == data.test_labels
    return Judged(right, search.best_params_["C"], search.best_score_)


def folds(seed: int) -> StratifiedKFold:
    """The folds of every cross-validation here, each class in its share."""
    return StratifiedKFold(FOLDS, shuffle=True, random_state=seed)


def paired_interval(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % t interval of how much more often `first` is right than `second`, in points.

        d_i = 100 · mean over seeds (first_si − second_si),   mean(d) ± t(0.975, n − 1) · s / √n

    first, second: right or wrong [seeds, n], the same pictures in the same order. What the seeds
    share is these pictures, so they are what the interval is over.
    """
    differences = 100 * (first.astype(float) - second).mean(0)
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean() - half), float(differences.mean() + half)


def simplest(results: Mapping[str, NDArray[np.float64]]) -> int:
    """The strongest regularisation within one standard error of the best, `s / √folds`.

    Among classifiers that cross-validation cannot tell apart it has the smoothest templates.
    Source: Breiman et al. 1984, the one-standard-error rule. Exact.
    """
    mean, spread = results["mean_test_score"], results["std_test_score"]
    best = int(np.argmax(mean))
    # std_test_score divides by the number of folds, s by one less
    error = spread[best] / np.sqrt(FOLDS - 1)
    return int(np.flatnonzero(mean >= mean[best] - error)[0])
