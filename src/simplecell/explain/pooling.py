"""Rows that are parts of one thing, such as the tokens of a text, as one sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from simplecell.errors import DataError
from simplecell.explain.answer import Samples
from simplecell.explain.target import first_missing, groups_of

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

AT_ONCE = 8192
"""Rows whose inputs are read together, about."""


def pooled(samples: Samples, owners: Places) -> Samples:
    """The samples that rows [n] are parts of: `owners` [n] says which, from 0 to N − 1.

    The code of a sample is, latent by latent, the largest of its rows' codes; what it puts in is
    their mean; it is called as its first row is.
    """
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(int(owners.max()) + 2))

    def inputs(chosen: Places) -> Floats:
        return np.concatenate(
            [_means(samples, part, order, starts) for part in _cut(chosen, starts)]
        )

    def titles(chosen: Places) -> list[str]:
        first = order[starts[chosen]]
        places, back = np.unique(first, return_inverse=True)
        told = samples.titles(places)
        return [told[i] for i in back.tolist()]

    return Samples(
        largest_of(samples.codes, owners),
        inputs,
        titles,
        samples.names,
        samples.on_off,
        samples.input_names,
    )


def largest_of(codes: csr_array, owners: Places) -> csr_array:
    """The largest code of each latent among the rows [n] of each owner: [N, M] of [n, M].

    A latent that is silent in some of them has 0 there: it counts.
    """
    n_owners, (_, m) = int(owners.max()) + 1, codes.shape
    rows = np.repeat(owners, np.diff(codes.indptr))
    keys = rows * m + codes.indices
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    values = np.maximum.reduceat(codes.data[order], firsts) if len(firsts) else codes.data
    counts = np.diff(firsts, append=len(keys))
    own, latents = np.divmod(keys[firsts], m)
    sizes = np.bincount(owners, minlength=n_owners)
    values = np.where(counts < sizes[own], np.maximum(values, 0), values)
    found = csr_array((values, (own, latents)), shape=(n_owners, m))
    found.eliminate_zeros()
    return found


def owners_of(name: str, keys: Sequence[object]) -> tuple[Places, Places]:
    """The number of each row's sample [n], and the first row of each [N]; in order of appearance.

    Raises:
        DataError: for a row without a key.
    """
    without = first_missing(keys)
    if without is not None:
        raise DataError(
            f"row {without} has no {name!r}, which says of each row what sample it is a part of; "
            "give it to all rows, or take another record"
        )
    numbers = groups_of(name, keys, 1)
    _, first, back = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[back], first[order]


def shared(name: str, values: Sequence[object], owners: Places, firsts: Places) -> list[object]:
    """What the rows [n] of each sample say alike, [N].

    Raises:
        DataError: where rows of one sample differ.
    """
    own = [values[i] for i in firsts.tolist()]
    for i, (owner, value) in enumerate(zip(owners.tolist(), values, strict=True)):
        if not _alike(own[owner], value):
            raise DataError(
                f"{name!r} is {value!r} in row {i}, but {own[owner]!r} in row {int(firsts[owner])} "
                "of the same sample; rows that count as one must say the same"
            )
    return own


def _alike(one: object, other: object) -> bool:
    return one is other or str(one) == str(other)


def _cut(chosen: Places, starts: Places) -> list[Places]:
    """Samples whose rows are read together."""
    sizes = starts[chosen + 1] - starts[chosen]
    parts = (np.cumsum(sizes) - sizes) // AT_ONCE
    return np.split(chosen, np.flatnonzero(np.diff(parts)) + 1)


def _means(samples: Samples, chosen: Places, order: Places, starts: Places) -> Floats:
    sizes = starts[chosen + 1] - starts[chosen]
    rows = np.concatenate([order[starts[i] : starts[i + 1]] for i in chosen.tolist()])
    found = samples.inputs(rows)
    ends = np.cumsum(sizes) - sizes
    return np.add.reduceat(found, ends, axis=0) / sizes[:, None]
