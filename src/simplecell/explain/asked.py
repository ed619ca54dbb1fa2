"""Questions as people ask them, of a run and data: the target by its name, or one value a row."""

from __future__ import annotations

from collections.abc import Sequence

from simplecell.data import Source
from simplecell.explain.answer import Samples, explain, samples_of
from simplecell.explain.explanation import Explanation
from simplecell.explain.pooling import owners_of, pooled, shared
from simplecell.explain.splits import PARTS
from simplecell.explain.target import groups_of, refuse_length, target_of
from simplecell.explain.told import alike, values_of
from simplecell.run.trained import Trained


def of_target(
    trained: Trained,
    source: Source,
    target: str,
    *,
    group: str | None = None,
    by: str | None = None,
    kind: str = "auto",
    seed: int = 0,
) -> Explanation:
    """What goes with a record of the samples; `group` is the one that says which belong together,
    `by` the one whose rows count as one sample.

    Raises:
        UsageError: for a name that no record has.
        DataError: as `of_values`.
    """
    values = values_of(source, [name for name in (target, group, by) if name is not None])
    return of_values(
        samples_of(trained, source),
        target,
        values[target],
        None if group is None else values[group],
        None if by is None else values[by],
        group=group or "group",
        part=by or "by",
        kind=kind,
        seed=seed,
        notes=alike(source, group or by),
    )


def of_values(
    samples: Samples,
    name: str,
    values: Sequence[object],
    groups: Sequence[object] | None = None,
    by: Sequence[object] | None = None,
    *,
    group: str = "group",
    part: str = "by",
    kind: str = "auto",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Explanation:
    """What goes with one value a sample [n]; `groups` [n] says which samples belong together.

    Rows with the same value of `by` [n] count as one sample, each latent by its largest code there.
    `group` and `part` are what sentences call both.

    Raises:
        UsageError: when there is not one a sample.
        DataError: for a target or groups that cannot be split and judged, or that differ among the
            rows of one sample.
    """
    n_rows = samples.codes.shape[0]
    for what, told in ((name, values), ("groups", groups), ("by", by)):
        if told is not None:
            refuse_length(what, len(told), n_rows)
    if by is not None:
        owners, firsts = owners_of(part, by)
        samples = pooled(samples, owners)
        values = shared(name, values, owners, firsts)
        groups = None if groups is None else shared(group, groups, owners, firsts)
        notes = [
            *notes,
            f"{n_rows} rows are parts of {len(firsts)} samples, which count by the "
            "largest code of each latent and the mean of the inputs",
        ]
    target, rows, said = target_of(name, values, kind)
    numbers = None
    if groups is not None:
        # Folds of the samples that are looked at need groups as well.
        numbers = groups_of(group, [groups[i] for i in rows.tolist()], 3 * PARTS)
    return explain(samples, target, rows, numbers, seed=seed, notes=[*notes, *said])
