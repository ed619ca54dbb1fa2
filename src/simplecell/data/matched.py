"""New rows under the names of an earlier table's columns: by name with headers, else by place."""

from __future__ import annotations

from collections.abc import Iterable

from simplecell.data.kinds import INPUTS
from simplecell.data.numerals import listed
from simplecell.data.rows import Array, Encoding
from simplecell.errors import DataError


def matched(
    columns: dict[str, Array], encoding: Encoding, header: bool, name: str
) -> tuple[dict[str, Array], list[str]]:
    """The columns under the model's names, and sentences on what is ignored.

    Inputs are needed; the label, the identifier and what was left out are not. What the model does
    not know stays behind under its own name. Raises DataError for a column that is missing.
    """
    if header and encoding["header"]:
        return _by_name(columns, encoding, name)
    return _by_place(columns, encoding, header, name)


def _by_name(
    columns: dict[str, Array], encoding: Encoding, name: str
) -> tuple[dict[str, Array], list[str]]:
    known = [column["name"] for column in encoding["columns"]]
    columns = _with_known_numbers(columns, known)
    wanted = [column["name"] for column in encoding["columns"] if column["kind"] in INPUTS]
    absent = [column for column in wanted if column not in columns]
    if absent:
        more = f" (nor {len(absent) - 1} others)" if len(absent) > 1 else ""
        raise DataError(
            f"{name} has no column {absent[0]!r}{more}, but this model was built for it; "
            f"its columns are {listed(list(columns), 10)}"
        )
    extra = [column for column in columns if column not in set(known)]
    notes = []
    if extra:
        notes.append(
            f"{listed([repr(column) for column in extra])} of {name} are no inputs of this model: "
            "ignored"
        )
    return columns, notes


def _with_known_numbers(columns: dict[str, Array], known: Iterable[str]) -> dict[str, Array]:
    """Columns that are called by numbers under the model's spelling: 900 for 900.0."""
    spelled = {_number(name): name for name in known if _number(name) is not None}
    ours = set(spelled.values())
    taken = {name: name if name in ours else spelled.get(_number(name), name) for name in columns}
    if not spelled or len(set(taken.values())) < len(taken):
        return columns
    return {taken[name]: values for name, values in columns.items()}


def _number(name: str) -> float | None:
    try:
        return float(name.replace(",", "."))
    except ValueError:
        return None


def _by_place(
    columns: dict[str, Array], encoding: Encoding, header: bool, name: str
) -> tuple[dict[str, Array], list[str]]:
    """By place: all of the earlier table's columns, or all but the label, or the inputs alone."""
    kinds = encoding["columns"]
    choices = [
        [column["name"] for column in kinds],
        [column["name"] for column in kinds if column["kind"] != "label"],
        [column["name"] for column in kinds if column["kind"] in INPUTS],
    ]
    fitting = [names for names in choices if len(names) == len(columns)]
    if not fitting:
        inputs = f", {len(choices[2])} of them inputs" if len(choices[2]) < len(kinds) else ""
        raise DataError(
            f"{name} has {len(columns)} columns, but this model was built for {len(kinds)}{inputs}"
        )
    notes = []
    if encoding["header"] and not header:
        notes.append(
            f"{name} has no header: its columns are taken in the order of the model's, "
            f"{listed(fitting[0])}"
        )
    return dict(zip(fitting[0], columns.values(), strict=True)), notes
