"""What a reader of files hands on, and which of a file's variables it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simplecell.data.numerals import listed
from simplecell.data.rows import Array, Meta
from simplecell.data.tables import Table
from simplecell.errors import DataError, unknown


@dataclass(frozen=True)
class Loaded:
    """An array as a file holds it: numbers, layout, and what is known beside them."""

    data: Any
    samples_last: bool = False
    """Where the sample is the last axis of 3-D and 4-D arrays (MATLAB)."""
    shape_in_file: tuple[int, ...] | None = None
    """Where the axes were moved: as the file has them."""
    table: Table | None = None
    labels: Array | None = None
    notes: list[str] = field(default_factory=list)
    input_names: list[str] | None = None
    """Of arrays whose inputs have names, such as genes; a table brings its own."""
    records: Meta | None = None
    """What the file says of each sample: ids, words, texts."""
    label_is_known: bool = False
    """Whether `labels` are those that `data.label` named."""
    either_way: bool = False
    """Whether formats of this kind as often have samples in columns as in rows."""

    @classmethod
    def of_table(cls, table: Table) -> Loaded:
        """A table's numbers, and what is known beside them."""
        return cls(
            table.values,
            table=table,
            labels=table.labels,
            notes=table.notes,
            records=table.meta,
        )


def choose(name: str, shapes: Mapping[str, object], key: str | None) -> str:
    """The variable to read; several and no `key` is an error that lists them."""
    if not shapes:
        raise DataError(f"{name} holds no arrays")
    if key is not None:
        if key not in shapes:
            raise unknown(f"variable in {name}", key, shapes)
        return key
    if len(shapes) > 1:
        shown = listed([f"{variable} {shape}" for variable, shape in shapes.items()], _LISTED)
        raise DataError(
            f"{name} holds several variables: {shown}; "
            f"say which one, for instance --set data.key={next(iter(shapes))} (from Python key=…)"
        )
    return next(iter(shapes))


_LISTED = 20
