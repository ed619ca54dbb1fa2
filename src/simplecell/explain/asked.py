"""Questions as people ask them, of a run and data: the target by its name, or one value a row."""

from __future__ import annotations

from collections.abc import Sequence

from simplecell.data import Source
from simplecell.explain.answer import Samples, explain, samples_of
from simplecell.explain.explanation import Explanation
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
    kind: str = "auto",
    seed: int = 0,
) -> Explanation:
    """What goes with a record of the samples; `group` is the one that says which belong together.

    Raises:
        UsageError: for a name that no record has.
        DataError: for a target or groups that cannot be split and judged.
    """
    names = [target] if group is None else [target, group]
    values = values_of(source, names)
    groups = None if group is None else values[group]
    samples = samples_of(trained, source)
    notes = alike(source, group)
    return of_values(
        samples,
        target,
        values[target],
        groups,
        group=group or "group",
        kind=kind,
        seed=seed,
        notes=notes,
    )


def of_values(
    samples: Samples,
    name: str,
    values: Sequence[object],
    groups: Sequence[object] | None = None,
    *,
    group: str = "group",
    kind: str = "auto",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Explanation:
    """What goes with one value a sample [n]; `groups` [n] says which samples belong together.

    Raises:
        UsageError: when there is not one a sample.
        DataError: for a target or groups that cannot be split and judged.
    """
    n_samples = samples.codes.shape[0]
    refuse_length(name, len(values), n_samples)
    target, rows, said = target_of(name, values, kind)
    numbers = None
    if groups is not None:
        refuse_length("groups", len(groups), n_samples)
        # Folds of the samples that are looked at need groups as well.
        numbers = groups_of(group, [groups[i] for i in rows.tolist()], 3 * PARTS)
    told = [*notes, *said]
    return explain(samples, target, rows, numbers, seed=seed, notes=told)
