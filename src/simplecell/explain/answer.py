"""The question of a target put to codes, and the answer: what goes with it, and does it hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csc_array, csr_array

from simplecell.data import Source
from simplecell.explain.association import Columns, associations
from simplecell.explain.clusters import correlations
from simplecell.explain.explanation import Explanation
from simplecell.explain.probes import predicted
from simplecell.explain.ranks import Ranks
from simplecell.explain.splits import Split, hold_out
from simplecell.explain.target import Target
from simplecell.explain.told import titles
from simplecell.run.encoding import sparse_codes
from simplecell.run.trained import Trained

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MOST_PROBED, NUMBERS_PROBED = 20_000, 2**26
"""Samples, and numbers of their inputs, that probes are fitted to and judged on, at most."""
TOP = 3
"""Rows, and inputs, told of each latent."""
TELLING = 0.15
"""Correlation from which an input is told of; *ours*."""
CERTAIN = 0.05
"""p below which the effect of a latent holds on held-out samples, with the sign that it had."""
FEW_GROUPS = 20


@dataclass(frozen=True)
class Samples:
    """The samples that a question is about: their codes [n, M], inputs and names."""

    codes: csr_array
    inputs: Callable[[Places], Floats]
    titles: Callable[[Places], list[str]]
    names: Sequence[str]
    """What latents are called, M."""
    on_off: bool
    """Whether codes are exactly 0 where a latent is inactive."""
    input_names: Sequence[str] | None = None


def samples_of(trained: Trained, source: Source) -> Samples:
    """The samples of a source, encoded; the non-zero entries of their codes alone are held.

    Raises:
        DataError: for a sample so large that its code is not finite.
    """
    found = sparse_codes(trained, source)
    values, indices, offsets = (part.numpy() for part in found)
    shape = (source.n_samples, trained.model.n_latents)
    codes = csr_array((values.astype(np.float64), indices.astype(np.int32), offsets), shape=shape)
    codes.eliminate_zeros()
    return Samples(
        codes,
        lambda rows: source.read(rows).astype(np.float64),
        lambda rows: titles(source, rows),
        trained.latent_names,
        trained.model.activation.sparse,
        source.input_names,
    )


def explain(
    samples: Samples,
    target: Target,
    rows: Places,
    groups: Places | None = None,
    *,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Explanation:
    """Hold every latent against a target of the samples `rows` [n].

    Two thirds of the samples are looked at: p-values, corrected over all latents and classes by
    Benjamini & Hochberg 1995, come from them alone. The last third, held out by a function of the
    seed, gives the same effects once more. Samples of one group [n] stay together.

    Raises:
        DataError: as reading samples does.
    """
    codes = samples.codes[rows]
    split = hold_out(target, groups, seed)
    found = both_parts(codes, target, split, groups, on_off=samples.on_off)
    said = [*notes, *on_groups(groups)]
    some = probed(samples, rows)
    if len(some) < len(rows):
        said.append(f"the probes look at {len(some)} of {len(rows)} samples, evenly spread")
    inputs = samples.inputs(rows[some])
    answer = predicted(
        inputs,
        codes[some],
        target.at(some),
        None if groups is None else groups[some],
        seed,
    )
    beside = {"top": _top(samples, Ranks.of(codes.tocsc()), rows)}
    if samples.input_names is not None:
        beside["inputs"] = _inputs(codes[some].tocsc(), inputs, samples.input_names)
    active = np.diff(codes.tocsc().indptr) if samples.on_off else None
    columns = table_of(samples.names, target, found, active, beside)
    n_groups = None if groups is None else int(groups.max()) + 1
    sizes = len(split.seen), len(split.held_out)
    return Explanation(target, *sizes, n_groups, answer, columns, tuple(said))


def both_parts(
    codes: csr_array,
    target: Target,
    split: Split,
    groups: Places | None = None,
    *,
    on_off: bool,
) -> tuple[Columns, Columns]:
    """The effects of codes [n, M] on a target of the same samples: looked at, and held out."""
    seen, held = (
        associations(
            codes[part].tocsc(),
            target.at(part),
            None if groups is None else np.unique(groups[part], return_inverse=True)[1],
            on_off=on_off,
        )
        for part in split
    )
    return seen, held


def main_effect(target: Target) -> tuple[str, float]:
    """The figure that p is of, and its value where a latent has nothing to do with the target."""
    return ("rank_correlation", 0.0) if target.is_number else ("auc", 0.5)


def holds(target: Target, seen: Columns, held: Columns) -> NDArray[np.bool_]:
    """Which effects [M, T] have the same sign on held-out samples, with p of at most 0.05."""
    main, middle = main_effect(target)
    same = (seen[main] - middle) * (held[main] - middle) > 0
    return same & (held["p"] <= CERTAIN)


def on_groups(groups: Places | None) -> list[str]:
    """A sentence on groups [n] that are too few to be counted on, if they are."""
    n_groups = 0 if groups is None else int(groups.max()) + 1
    if not 0 < n_groups < FEW_GROUPS:
        return []
    return [
        f"there are {n_groups} groups only: with fewer than {FEW_GROUPS} p is often too small, so "
        "trust the held-out effects, and more groups"
    ]


def probed(samples: Samples, rows: Places) -> Places:
    """Places among the rows, evenly spread: as many as their inputs can be read of at once."""
    n, width = len(rows), samples.inputs(rows[:1]).shape[1]
    most = min(MOST_PROBED, max(200, NUMBERS_PROBED // width))
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def table_of(
    names: Sequence[str],
    target: Target,
    found: tuple[Columns, Columns],
    active: Places | None,
    beside: Mapping[str, NDArray[np.object_]],
) -> dict[str, NDArray[np.generic]]:
    """What was found, as a table [M · T], the surest first.

    `names` are those of the latents, [M], `active` counts their samples, [M], where codes are
    exactly 0 elsewhere; `beside` are words on each latent, [M].
    """
    seen, held = found
    n_latents, n_tested = seen["p"].shape
    table: dict[str, NDArray[np.generic]] = {
        "latent": np.repeat(np.arange(n_latents), n_tested),
        "name": np.repeat(np.array(names, dtype=object), n_tested),
    }
    if not target.is_number:
        table["class"] = np.tile(np.array(target.tested, dtype=object), n_latents)
    if active is not None:
        table["active"] = np.repeat(active, n_tested)
    table |= {name: values.ravel() for name, values in seen.items() if name != "p"}
    table |= {"p": seen["p"].ravel(), "q": corrected(seen["p"].ravel())}
    for name, values in held.items():
        if not name.endswith(("_low", "_high")):
            table[f"held_out_{name}"] = values.ravel()
    table["holds"] = holds(target, seen, held).ravel()
    table |= {name: np.repeat(words, n_tested) for name, words in beside.items()}
    main, middle = main_effect(target)
    strength = np.abs(seen[main].ravel() - middle)
    order = np.lexsort((-np.nan_to_num(strength), np.nan_to_num(seen["p"].ravel(), nan=2.0)))
    return {name: values[order] for name, values in table.items()}


def corrected(p: Floats) -> Floats:
    """p-values [n] corrected for their number (false discovery rate); NaN are not counted.

    Source: Benjamini & Hochberg 1995, by scipy.stats.false_discovery_control. Exact.
    """
    q, tested = np.full_like(p, np.nan), np.isfinite(p)
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested])
    return q


def _inputs(codes: csc_array, inputs: Floats, names: Sequence[str]) -> NDArray[np.object_]:
    """The inputs whose values go with each latent's code most, with their sign, joined: [M]."""
    told = np.empty(codes.shape[1], dtype=object)
    for latent, found in enumerate(going_with(codes, inputs, names, TOP)):
        told[latent] = " ".join(f"{'+' if r > 0 else '−'}{name}" for name, r in found.items())
    return told


def going_with(
    codes: csc_array, inputs: Floats, names: Sequence[str], most: int
) -> list[dict[str, float]]:
    """Of each latent the correlations of its code with the inputs that go with it most, M times.

    At most so many, the largest first, and none below 0.15.
    """
    found = np.nan_to_num(correlations(codes, inputs))
    strongest = np.argsort(-np.abs(found), axis=1, kind="stable")[:, :most]
    return [
        {names[j]: float(found[latent, j]) for j in order if abs(found[latent, j]) >= TELLING}
        for latent, order in enumerate(strongest.tolist())
    ]


def _top(samples: Samples, ranks: Ranks, rows: Places) -> NDArray[np.object_]:
    """What the strongest rows of each latent are called, joined: [M]."""
    found = [rows[ranks.top(latent, TOP)] for latent in range(ranks.n_latents)]
    needed = np.unique(np.concatenate(found))
    named = dict(zip(needed.tolist(), samples.titles(needed), strict=True))
    joined = ["; ".join(named[row] for row in one.tolist()) for one in found]
    return np.array(joined, dtype=object)
