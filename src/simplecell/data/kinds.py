"""What each column of a table becomes: an input, several, the rows' names, or nothing but told."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

import numpy as np

from simplecell.data.columns import (
    Missing,
    as_numbers,
    as_vectors,
    find_stray,
    is_censored,
    is_identifier,
    is_name,
    too_many_words,
)
from simplecell.data.numerals import MISSING, Style, listed
from simplecell.data.options import Options
from simplecell.data.rows import Array, Column
from simplecell.errors import DataError, unknown

INPUTS = ("number", "numbers", "category")
_LONG_TEXT = 40
"""Letters from which on texts do not name rows."""
_NEARLY_ALL = 0.9


class Judge:
    """Looks at the columns of one table; `notes` tell what it took for what.

    `name` is what sentences call the table, `decimal` the sign that its cells speak for, `header`
    whether the names of its columns are its own.
    """

    def __init__(self, name: str, options: Options, *, header: bool, decimal: str) -> None:
        self.name, self.header, self.decimal = name, header, decimal
        self.missing, self.notes = Missing.of(options.missing), list[str]()
        self._options = options
        self._numbers: dict[str, Array] = {}
        self._styles: dict[Style, list[tuple[str, str, float]]] = {}
        self._name_rows: list[str] = []

    def kinds(self, columns: dict[str, Array]) -> list[Column]:
        """What each column is. Raises DataError where none can be an input."""
        names, asked = list(columns), self._options
        label = None if asked.label is None else label_name(asked.label, names)
        chosen = None
        if asked.id not in ("auto", "none"):
            chosen = label_name(asked.id, names, "id column")
        words = self._named("words", names)
        records = self._named("records", names)
        kinds = []
        for column, values in columns.items():
            if column == label:
                kinds.append(Column(name=column, kind="label"))
            elif column in records:
                kinds.append(Column(name=column, kind="left out"))
            elif column == chosen:
                kinds.append(Column(name=column, kind="id"))
            elif column in words:
                kinds.append(self._category(column, values))
            else:
                kinds.append(self._kind(column, values))
        self._prefer_lists(kinds, words)
        self._choose_id(kinds, chosen)
        self._refuse_nothing(kinds, columns)
        told = [kind for kind in kinds if kind["kind"] in ("id", "left out")]
        kept = [repr(record_name(kind, names)) for kind in told if kind.get("words") != 0]
        if kept:
            self.notes.append(f"each row of {self.name} is remembered by {listed(kept)}")
        return kinds

    def _named(self, option: str, names: list[str]) -> set[str]:
        """The columns that `data.words` or `data.records` names."""
        said = getattr(self._options, option)
        if said is None or self._options.columns is not None:
            return set()
        return {
            label_name(one, names, f"column of data.{option}")
            for one in (said if isinstance(said, list) else [said])
        }

    def _kind(self, column: str, values: Array) -> Column:
        if values.dtype.kind == "M":
            self.notes.append(
                f"column {column!r} of {self.name} holds {values.dtype} and is left out: convert "
                "it to numbers to learn from it"
            )
            return Column(name=column, kind="left out")
        vectors = as_vectors(values, column)
        if vectors is not None:
            self._numbers[column] = vectors
            return Column(name=column, kind="numbers", length=int(vectors.shape[1]))
        if _is_empty(values, self.missing):
            return self._left_out(column, "is empty in every row", words=0)
        read = self._read(column, values)
        if read is None:
            return self._of_words(column, values)
        why = None
        if self._options.id != "none":
            why = is_identifier(read, column, named=self.header)
        if why is None:
            return Column(name=column, kind="number")
        self._name_rows.append(column)
        return self._left_out(
            column, f"{why}, and nothing is learned from it; data.id=none makes it an input"
        )

    def _left_out(self, column: str, why: str, words: int | None = None) -> Column:
        verb = "is left out: it "
        self.notes.append(f"column {column!r} of {self.name} {verb}{why}")
        kind = Column(name=column, kind="left out")
        if words is not None:
            kind["words"] = words
        return kind

    def _read(self, column: str, values: Array) -> Array | None:
        """The numbers of a column [n], kept; None for words."""
        if column in self._numbers:
            return self._numbers[column]
        found = as_numbers(values, self.missing, self.decimal)
        if found is None:
            return None
        numbers, style = found
        self._numbers[column] = numbers
        if not style.plain:
            row = _telling(values, style, self.missing)
            self._styles.setdefault(style, []).append((column, values[row], float(numbers[row])))
        return numbers

    def _of_words(self, column: str, values: Array) -> Column:
        """A column with words in it: categories, a name of rows, or a measurement gone wrong."""
        stray = find_stray(values, self.missing)
        by_name = self.header and self._options.id == "auto"
        if by_name and is_name(column, surely=stray is None):
            self._name_rows.append(column)
            why = f"is an identifier, as its name says; data.words={column} makes words of it"
            return self._left_out(column, why)
        if stray is None:
            return self._category(column, values)
        row, count = stray
        told = (
            f"row {row} (the first is 0), column {column!r} of {self.name} is {values[row]!r:.40}"
        )
        if not count:
            raise DataError(
                f"{told}, and most of its numbers are written in another way; write them alike "
                "(or say data.header=true, if the first row names the columns)"
            )
        return self._with_strays(column, values, told, row, count)

    def _with_strays(self, column: str, values: Array, told: str, row: int, count: int) -> Column:
        """A column most of whose cells are numbers: left out where many are words, else refused."""
        cell, n_words = values[row], len({*values})
        n_numbers = sum(value not in self.missing.words for value in values) - count
        half = " (for a value below a limit often half of it)" if cell[0] == "<" else ""
        cure = (
            f"put a number there{half} or remove that row; say data.missing for what means "
            f"missing, or data.words={column} if the column holds words"
        )
        told = f"{told}, among {n_numbers} numbers"
        if count == 1 or is_censored(cell) or n_numbers >= _NEARLY_ALL * (n_numbers + count):
            more = f" ({count} such cells)" if count > 1 else ""
            raise DataError(f"{told}{more}; {cure}")
        if n_words == len(values):
            self._name_rows.append(column)
        return self._left_out(column, f"holds words and numbers: {told}; {cure}", words=n_words)

    def _category(self, column: str, values: Array) -> Column:
        values = as_text(values)
        absent = set(self.missing.among_words())
        words = sorted({*values} - absent)
        if too_many_words(len(words), len(values)):
            lengths = sum(map(len, words)) / len(words)
            if len(words) == len(values) and lengths <= _LONG_TEXT:
                self._name_rows.append(column)
            why = f"holds {len(words)} different words, too many for one input each"
            return self._left_out(column, why, words=len(words))
        doubtful = [word for word in words if word in MISSING]
        if doubtful and not self.missing.told:
            self.notes.append(
                f"{doubtful[0]!r} in column {column!r} of {self.name} is taken for a word like the "
                f"others; if it means missing, say data.missing={doubtful[0]}"
            )
        return Column(name=column, kind="category", categories=words)

    def _prefer_lists(self, kinds: list[Column], words: set[str]) -> None:
        """Beside lists of numbers (embeddings) single numbers and words describe rows."""
        lists = [repr(kind["name"]) for kind in kinds if kind["kind"] == "numbers"]
        single = [
            k for k in kinds if k["kind"] in ("number", "category") and k["name"] not in words
        ]
        if not lists or not single:
            return
        for kind in single:
            kind["kind"] = "left out"
            kind.pop("categories", None)
        told = listed([repr(kind["name"]) for kind in single])
        self.notes.append(
            f"the inputs of {self.name} are the lists in {listed(lists)}; {told} stay beside them "
            "as records of the rows"
        )

    def _choose_id(self, kinds: list[Column], chosen: str | None) -> None:
        """One column names the rows: the one that was said, or the first that can."""
        if chosen is not None:
            self.notes.append(f"column {chosen!r} of {self.name} names the rows and is no input")
            return
        named = [column for column in self._name_rows if is_name(column)] or self._name_rows
        for kind in kinds:
            if named and kind["name"] == named[0]:
                kind["kind"] = "id"

    def _refuse_nothing(self, kinds: list[Column], columns: dict[str, Array]) -> None:
        if any(kind["kind"] in INPUTS for kind in kinds):
            return
        told = "; ".join(self.notes) or "all of them are said to be something else"
        texts = [kind["name"] for kind in kinds if kind.get("words")]
        others = [kind for kind in kinds if kind["kind"] != "label"]
        if texts and len(texts) == len(others):
            raise DataError(f"{text_alone(self.name, listed(texts))}; {told}")
        raise DataError(f"{self.name} has no column that can be an input; {told}")

    def styles_told(self) -> list[str]:
        """What numbers written otherwise than programs do were read as, with an example each."""
        notes = []
        for style, columns in self._styles.items():
            ways = [
                "a decimal comma" * (style.decimal == ","),
                f"{style.thousands!r} between thousands" * bool(style.thousands),
                f"{style.affix!r} left away" * bool(style.affix),
            ]
            column, cell, value = columns[0]
            more = f" and {len(columns) - 1} more" if len(columns) > 1 else ""
            notes.append(
                f"numbers of {self.name} (column {column!r}{more}) are read with "
                f"{' and '.join(filter(None, ways))}: {cell!r} is {value:.10g}"
            )
        return notes

    def name_rows(self, columns: dict[str, Array], kinds: list[Column]) -> list[Column]:
        """Kinds of the words that a model's table has not: they are records of new rows.

        Where that table's identifier is missing one of them, or a counter, stands in for it.
        """
        known = {kind["name"] for kind in kinds}
        extra = [column for column in columns if column not in known]
        found = [Column(name=c, kind="left out") for c in extra if self._describes(c, columns[c])]
        if not any(kind["kind"] == "id" and kind["name"] in columns for kind in kinds):
            for kind in found:
                if self._may_name_rows(kind["name"], columns[kind["name"]]):
                    kind["kind"] = "id"
                    break
        return found

    def _describes(self, column: str, values: Array) -> bool:
        """Whether a column that is no input of a model says what a row is."""
        words = values.dtype == object and as_numbers(values, self.missing, self.decimal) is None
        return words or self._may_name_rows(column, values)

    def _may_name_rows(self, column: str, values: Array) -> bool:
        read = as_numbers(values, self.missing, self.decimal) if values.ndim == 1 else None
        if read is not None:
            return is_identifier(read[0], column, named=self.header) is not None
        return values.dtype == object and len({*values}) == len(values)

    def inputs(
        self, columns: dict[str, Array], kinds: Iterable[Column]
    ) -> tuple[list[Array], list[str]]:
        """Inputs, each [n] or [n, k], and the name of each number in them.

        Raises DataError for what is missing or of another kind.
        """
        parts: list[Array] = []
        names: list[str] = []
        for how in kinds:
            column, kind = how["name"], how["kind"]
            if kind not in INPUTS:
                continue
            values = columns[column]
            if kind == "category":
                parts.extend(self._one_hot(as_text(values), how["categories"], column))
                names.extend(f"{column}={word}" for word in how["categories"])
                continue
            parts.append(self._input(column, values, how.get("length")))
            whole = kind == "numbers"
            names.extend(f"{column}.{i}" for i in range(how["length"])) if whole else names.append(
                column
            )
        return parts, names

    def _input(self, column: str, values: Array, length: int | None) -> Array:
        if length is not None:
            vectors = self._numbers.get(column)
            vectors = as_vectors(values, column) if vectors is None else vectors
            if vectors is None or vectors.shape[1] != length:
                there = "no lists" if vectors is None else f"lists of {vectors.shape[1]} numbers"
                raise DataError(
                    f"column {column!r} of {self.name} holds {there}, but this model was built "
                    f"for lists of {length} there"
                )
            self._refuse_missing(vectors, vectors, column)
            return vectors
        numbers = self._read(column, values) if values.ndim == 1 else None
        if numbers is None:
            self._refuse_words(values, column)
        assert numbers is not None
        self._refuse_missing(values, numbers, column)
        return numbers

    def _refuse_words(self, values: Array, column: str) -> None:
        known = self.missing.words
        for row, value in enumerate(values):
            if value not in known and as_numbers(values[row : row + 1], self.missing, ".") is None:
                raise DataError(
                    f"row {row}, column {column!r} of {self.name} is {value!r:.40}, but this model "
                    "was built for numbers there"
                )
        self._refuse_missing(values, values, column)
        raise DataError(
            f"column {column!r} of {self.name} holds numbers that are written in several ways, "
            f"such as {values[0]!r:.40}; write them alike"
        )

    def _refuse_missing(
        self, shown: Array, values: Array, column: str, *, words: bool = False
    ) -> None:
        absent = self.missing.mask(shown, words=words)
        if values.dtype != object:
            absent |= self.missing.mask(values)
        if absent.any():
            row = int(absent.argmax())
            cell = "" if shown.ndim > 1 else f": '{shown[row]!s:.20}'"
            here = f"and {int(absent.sum())} such in this column{self._elsewhere(column)}"
            raise DataError(
                f"row {row} (the first is 0), column {column!r} of {self.name} is missing or not "
                f"finite{cell}, {here}; fill them or remove those rows first"
            )

    def _elsewhere(self, column: str) -> str:
        """What is missing in other columns of numbers, so that nobody mends one after the other."""
        read = self._numbers.items()
        counts = {name: int(self.missing.mask(values).sum()) for name, values in read}
        found = [f"{n} in {name!r}" for name, n in counts.items() if n and name != column]
        return f", {listed(found)}" if found else ""

    def _one_hot(self, values: Array, categories: Sequence[str], column: str) -> list[Array]:
        self._refuse_missing(values, values, column, words=True)
        parts = [(values == word).astype(np.float32) for word in categories]
        n_unknown = int((np.sum(parts, axis=0) == 0).sum())
        if n_unknown:
            self.notes.append(
                f"{n_unknown} of {len(values)} values in column {column!r} of {self.name} are "
                "words that the model has never seen; all their inputs are 0"
            )
        return parts


def text_alone(name: str, where: str) -> str:
    """The sentence on a table without numbers."""
    return (
        f"{name} has no column that can be an input: it holds text alone ({where}), and simplecell "
        "learns from numbers; make a row of numbers of each text first (an embedding), train on "
        "those, and give the texts with --meta"
    )


def record_name(kind: Column, columns: Container[str]) -> str:
    """What a column is called in the records of rows: "id", where it names them and has no name."""
    name = kind["name"]
    blank = kind["kind"] == "id" and re.fullmatch(r"column_\d+", name)
    return "id" if blank and "id" not in columns else name


def label_name(said: object, names: list[str], what: str = "label column") -> str:
    """The column of that name or number, from 0. Raises UsageError where there is none."""
    if isinstance(said, str) and said in names:
        return said
    try:
        return names[int(said)]  # type: ignore[call-overload]
    except (ValueError, IndexError, TypeError):
        raise unknown(what, said, names[:20]) from None


def as_text(values: Array) -> Array:
    """Words [n] of a column, whole numbers as they are written."""
    if values.dtype == object:
        return values
    whole = values.dtype.kind in "iub"
    return np.array(
        [str(v) if whole else f"{v:.15g}" if v == v else "" for v in values.tolist()], dtype=object
    )


def _is_empty(values: Array, missing: Missing) -> bool:
    if values.dtype == object:
        return all(cell in missing.words for cell in values)
    return values.dtype.kind == "f" and bool(np.isnan(values).all())


def _telling(values: Array, style: Style, missing: Missing) -> int:
    """A row whose cell shows best how the column is written."""
    signs = [sign for sign in (style.thousands, "," * (style.decimal == ","), style.affix) if sign]
    rows = [i for i, cell in enumerate(values[:1000]) if cell not in missing.words]
    return max(rows, key=lambda i: sum(sign in values[i] for sign in signs), default=0)
