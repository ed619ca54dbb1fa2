"""Topics of texts, each told by a single latent of their tokens: beside raw numbers and PCA.

    simplecell harvest texts.jsonl --model MODEL --layer LAYER --positions words --out tokens
    simplecell train tokens --out run --recipe batchtopk
    python benchmarks/topics.py run tokens [--top 90] [--shown 20]

Records say the `topics` of a text, a list, and its `split`, TRAIN or TEST. Of each topic the latent
with the largest area under the ROC curve (AUC) among the training texts is taken, a text having the
largest code among its tokens; it is judged by its AUC among the test texts. The same with a single
number of the layer and a single principal component, either way round, of which a text has the mean
or the largest among its tokens, whichever does better. Topics are the commonest; those of no test
text are counted as missed, and said.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from simplecell.data import as_source
from simplecell.explain.answer import samples_of
from simplecell.explain.pooling import largest_of, owners_of
from simplecell.run.directory import Run

Floats = NDArray[np.float64]
GOOD = 0.9
AT_ONCE = 65_536


def aucs(values: Floats, members: Floats) -> Floats:
    """[F, T] of values [n, F], for members [n, T]."""
    ranks, inside = rankdata(values, axis=0), members.sum(0)
    wins = ranks.T @ members - inside * (inside + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / (inside * (len(members) - inside)))


def judged(values: Floats, members: Floats, test: NDArray[np.bool_], *, either: bool):
    """(the feature of each topic, its AUC among test texts; NaN where none has the topic)."""
    seen, held = aucs(values[~test], members[~test]), aucs(values[test], members[test])
    best = (np.abs(seen - 0.5) if either else seen).argmax(0)
    topics = np.arange(members.shape[1])
    turned = either & (seen[best, topics] < 0.5)
    found = held[best, topics]
    return best, np.where(turned, 1 - found, found)


def texts_of(source, read: Callable[[NDArray[np.int64]], Floats], owners) -> tuple[Floats, Floats]:
    """Mean and largest of each input among the tokens of each text, [N, D] both."""
    n, width = int(owners.max()) + 1, source.n_inputs
    mean, most = np.zeros((n, width)), np.full((n, width), -np.inf)
    for first in range(0, source.n_samples, AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, source.n_samples))
        found = read(rows)
        np.add.at(mean, owners[rows], found)
        np.maximum.at(most, owners[rows], found)
    return mean / np.bincount(owners)[:, None], most


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("tokens")
    parser.add_argument("--top", type=int, default=90)
    parser.add_argument("--shown", type=int, default=20, help="topics in the table")
    asked = parser.parse_args()
    trained, source = Run(asked.run).load(), as_source(asked.tokens)
    told = source.about(slice(0, source.n_samples))
    owners, firsts = owners_of("sample", [record["sample"] for record in told])
    topics = [told[i]["topics"] for i in firsts.tolist()]
    test = np.array([told[i]["split"] == "TEST" for i in firsts.tolist()])
    counts = Counter(topic for several in topics for topic in several)
    names = [name for name, _ in counts.most_common(asked.top)]
    members = np.array([[name in several for name in names] for several in topics], dtype=float)
    print(f"{source.n_samples:,} tokens of {len(firsts):,} texts, {int(test.sum()):,} of them TEST")

    samples = samples_of(trained, source)
    codes = largest_of(samples.codes, owners).toarray()
    mean, most = texts_of(source, samples.inputs, owners)
    best, latent = judged(codes, members, test, either=False)
    print(
        f"| a single | topics with AUC of {GOOD} or more, of {len(names)} | median |\n|---|---|---|"
    )
    print(row("latent", latent))
    for name, made in (("number of the layer", plain), ("principal component", components)):
        found = [judged(made(x, ~test), members, test, either=True)[1] for x in (mean, most)]
        print(row(name, max(found, key=lambda auc: np.nansum(auc >= GOOD))))
    print(f"{int(np.isnan(latent).sum())} topics are of no test text")
    for name, which, auc in list(zip(names, best.tolist(), latent.tolist(), strict=True))[
        : asked.shown
    ]:
        print(f"{name:16} {counts[name]:5} texts  latent {which:<6} AUC {auc:.3f}")


def row(name: str, auc: Floats) -> str:
    """A line of the table."""
    return f"| {name} | {int(np.nansum(auc >= GOOD))} | {np.nanmedian(auc):.3f} |"


def plain(values: Floats, seen: NDArray[np.bool_]) -> Floats:
    """As they are."""
    return values


def components(values: Floats, seen: NDArray[np.bool_]) -> Floats:
    """The principal components of the training texts, all of them."""
    centre = values[seen].mean(0)
    return np.asarray((values - centre) @ np.linalg.svd(values[seen] - centre, False)[2].T)


if __name__ == "__main__":
    main()
