"""Whether data predict a target at all: linear probes, judged on samples they have not seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csr_array, issparse
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simplecell.explain.association import associations
from simplecell.explain.splits import FOLDS, Split, folds, hold_out
from simplecell.explain.target import Target

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

BEST = (1, 4, 16)
"""Latents of the sparse probes, *count*; also principal components of the last."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Of squared weights, a sample; the best on a part of the training samples is taken."""
CHANCE = 0.01
"""The chance that pure noise is said to be predicted, over all probes together; *ours*."""


@dataclass(frozen=True)
class Probe:
    """How well one kind of input predicts a target, linearly.

    Scores are R² of numbers, else the area under the ROC curve, mean over the classes: `score` and
    `spread`, mean and deviation over the folds; `held_out` on held-out samples, and `p`, the chance
    of so high a score there if the target had nothing to do with the inputs.
    """

    name: str
    score: float
    spread: float
    held_out: float
    p: float


@dataclass(frozen=True)
class Predicted:
    """What all probes together say of a target."""

    probes: tuple[Probe, ...]
    p: float
    """The smallest p, corrected for the number of probes (Bonferroni)."""
    is_number: bool

    @property
    def yes(self) -> bool:
        """Whether any probe does better than chance."""
        return self.p <= CHANCE

    @property
    def best(self) -> Probe:
        """That of the best cross-validated score: held-out samples have no say in the choice."""
        return max(self.probes, key=lambda probe: probe.score)

    def words(self, name: str) -> str:
        """One sentence: the answer."""
        if not self.yes:
            return (
                f"the data do not predict {name!r}: no linear probe does better than chance on "
                f"held-out samples (p = {self.p:.2g} after correction for {len(self.probes)})"
            )
        score, best = ("R²" if self.is_number else "AUC"), self.best
        return (
            f"the data predict {name!r}: {score} {best.held_out:.3f} on held-out samples, by "
            f"{best.name} (p {_small(self.p)})"
        )


def _small(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def predicted(
    inputs: Floats, codes: csr_array, target: Target, groups: Places | None, seed: int
) -> Predicted:
    """Probes on inputs [n, D], codes [n, M] and what is chosen from both, of the same samples.

    Numbers are predicted by ridge regression, classes by logistic regression, several classes a
    sample by ridge regression on 0 and 1. Each is scored over
    five folds of the samples that are not held out; what a probe chooses (scales, components, the
    best latents, its penalty) it chooses on training samples alone.
    """
    split = hold_out(target, groups, seed)
    found = tuple(
        _judged(name, made, target, groups, split, seed) for name, made in _views(inputs, codes)
    )
    return Predicted(found, min(1.0, len(found) * min(p.p for p in found)), target.is_number)


View = Callable[[Target, Places, Places], tuple[Any, Any]]
"""Gives what a probe sees of (training samples, others), knowing the target of the former."""


def _views(inputs: Floats, codes: csr_array) -> Iterator[tuple[str, View]]:
    yield "raw inputs", lambda target, seen, others: (inputs[seen], inputs[others])
    n_components = min(BEST[-1], *inputs.shape)

    def components(target: Target, seen: Places, others: Places) -> tuple[Floats, Floats]:
        pca = PCA(min(n_components, len(seen)), svd_solver="full")
        if inputs.shape[1] > 500:
            pca = PCA(n_components, svd_solver="randomized", random_state=0)
        model = make_pipeline(StandardScaler(), pca)
        return model.fit_transform(inputs[seen]), model.transform(inputs[others])

    yield f"{n_components} principal components", components
    yield "all codes", lambda target, seen, others: (codes[seen], codes[others])
    for k in (k for k in BEST if k < codes.shape[1]):
        yield f"the best {k} latent{'s' * (k > 1)}", _of_best(codes, k)


def _of_best(codes: csr_array, k: int) -> View:
    def chosen(target: Target, seen: Places, others: Places) -> tuple[Floats, Floats]:
        best = strongest(codes[seen], target, k)
        return codes[seen][:, best].toarray(), codes[others][:, best].toarray()

    return chosen


def strongest(codes: csr_array, target: Target, k: int) -> Places:
    """The k latents with the largest rank correlation, or AUC away from ½, with any class."""
    found = associations(codes.tocsc(), target, on_off=False)
    effect = found["rank_correlation"] if target.is_number else found["auc"] - 0.5
    size = np.nan_to_num(np.abs(effect)).max(1)
    return np.sort(np.argsort(-size, kind="stable")[:k])


def _judged(
    name: str, view: View, target: Target, groups: Places | None, split: Split, seed: int
) -> Probe:
    mine = target.at(split.seen)
    own = None if groups is None else groups[split.seen]
    scores = []
    for seen, others in folds(mine, own, FOLDS, seed):
        rows = split.seen[seen], split.seen[others]
        part = None if own is None else own[seen]
        guess = _guess(view, target, *rows, part, seed)
        scores.append(score_of(guess, target.at(rows[1])))
    guess = _guess(view, target, *split, own, seed)
    held = target.at(split.held_out)
    theirs = None if groups is None else groups[split.held_out]
    return Probe(
        name,
        float(np.nanmean(scores)),
        float(np.nanstd(scores)),
        score_of(guess, held),
        beyond_chance(guess, _as_scored(held), theirs),
    )


def _guess(
    view: View, target: Target, seen: Places, others: Places, groups: Places | None, seed: int
) -> Floats:
    """What a probe fitted to the samples seen says of others: numbers, or log odds a class."""
    mine = target.at(seen)
    known, asked = view(mine, seen, others)
    penalty = PENALTIES[0]
    if known.shape[1] > BEST[-1]:
        first, rest = hold_out(mine, groups, seed)
        tried = [
            score_of(_fitted(known[first], mine.at(first), one, known[rest]), mine.at(rest))
            for one in PENALTIES
        ]
        penalty = PENALTIES[int(np.nanargmax(tried))]
    return _fitted(known, mine, penalty, asked)


def _fitted(known: Any, target: Target, penalty: float, asked: Any) -> Floats:
    """[n, 1] numbers, or [n, C] log odds of each class; a class that was not seen gets −∞.

    Where samples may be of several classes, C regressions on 0 and 1 stand for the log odds: they
    rank alike, and are solved at once.
    """
    scale = StandardScaler(with_mean=not issparse(known))
    known, asked = scale.fit_transform(known), scale.transform(asked)
    n = len(target.values)
    if target.is_number or target.members is not None:
        ridge = Ridge(penalty * n).fit(known, target.columns)
        return ridge.predict(asked).reshape(asked.shape[0], -1)
    logistic = LogisticRegression(C=1 / (penalty * n), max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic.fit(known, target.values)
    found = logistic.decision_function(asked).reshape(asked.shape[0], -1)
    if found.shape[1] == 1:
        found = np.concatenate([-found, found], 1)
    whole = np.full((len(found), len(target.classes)), -np.inf)
    whole[:, logistic.classes_.astype(int)] = found
    return whole


def _as_scored(target: Target) -> Floats:
    """[n, 1] numbers, or [n, C], 1 where a sample is of a class."""
    return target.values[:, None] if target.is_number else target.of_classes


def score_of(guess: Floats, target: Target) -> float:
    """R² of guessed numbers [n, 1], or the mean AUC of the classes [n, C] that occur."""
    if target.is_number:
        return float(r2_score(target.values, guess[:, 0]))
    inside, ranks = _as_scored(target), stats.rankdata(guess, axis=0)
    n_in = inside.sum(0)
    wins = (ranks * inside).sum(0) - n_in * (n_in + 1) / 2
    occurring = (n_in > 0) & (n_in < len(inside))
    if not occurring.any():
        return float("nan")
    return float(np.mean(wins[occurring] / (n_in * (len(inside) - n_in))[occurring]))


def beyond_chance(guess: Floats, actual: Floats, groups: Places | None = None) -> float:
    """The chance of as good a guess [n, T] of `actual` [n, T] if rows were paired at random.

    One-sided, of the sum over columns of ranks' covariances: under permutations of the rows its
    variance is `Σ_ts A_ts B_ts / (n − 1)`, A and B the products of deviations of both; for many
    rows it is normal. With groups [n] these are counted, not rows: Student's t of the groups' sums.
    Source: Hoeffding 1951; for groups Liang & Zeger 1986. Approximate for few rows.
    """
    first, second = (stats.rankdata(part, axis=0) - (len(part) + 1) / 2 for part in (guess, actual))
    each = (first * second).sum(1)
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], each)
        n = len(sums)
        size = np.sqrt(np.square(sums).sum() * n / (n - 1)) if n > 1 else 0.0
        return float(stats.t.sf(sums.sum() / size, n - 1)) if size else 1.0
    variance = ((first.T @ first) * (second.T @ second)).sum() / (len(first) - 1)
    return float(stats.norm.sf(each.sum() / np.sqrt(variance))) if variance else 1.0
