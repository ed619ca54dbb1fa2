"""What is known of the rows of a pass: a record each, made when somebody asks, or as JSON at once.

A pass of a small network gives rows by the ten thousand; a dictionary for each, and its JSON, would
take longer than the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, overload

from simplecell.data.rows import Record
from simplecell.errors import UsageError
from simplecell.harvesting.frames import BOX, Boxes, Frame, Spot

Places = Sequence[Spot]
"""A position of each row: a number, of pictures (y, x), or the name of a token."""


@dataclass(frozen=True, eq=False)
class RowRecords(Sequence[Record]):
    """The records of rows, [R].

    Each says its `sample`, its `position` (in a picture `y` and `x`, else `place`; of a token that
    stands for no patch its `special` name), where that lies in the picture's file, its `token`, its
    `call`, and then what is known of its sample.
    """

    sample: Sequence[int]
    """Of each row, counted over all passes."""
    position: Places | None
    own: Callable[[int], Record]
    """What is known of a sample."""
    token: Callable[[int, int], str] | None = None
    """The token of (sample, position)."""
    call: int | None = None
    boxes: Boxes | None = None
    """Where positions lie in the sample's picture."""

    def __len__(self) -> int:
        return len(self.sample)

    @overload
    def __getitem__(self, i: int) -> Record: ...
    @overload
    def __getitem__(self, i: slice) -> RowRecords: ...
    def __getitem__(self, i: int | slice) -> Record | RowRecords:
        if isinstance(i, slice):
            position = None if self.position is None else self.position[i]
            return replace(self, sample=self.sample[i], position=position)
        sample = self.sample[i]
        record: Record = {"sample": sample}
        if self.position is not None:
            spot = self.position[i]
            record |= dict(zip(_names(spot), _numbers(spot), strict=True))
            if self.boxes is not None:
                record |= self.boxes.at(self.boxes.frame(sample), spot)
            if self.token is not None and isinstance(spot, int):
                record["token"] = self.token(sample, spot)
        if self.call is not None:
            record["call"] = self.call
        return record | self.own(sample)

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def lines(self) -> list[str]:
        """The records as JSON, a line each."""
        begins = {i: f'{{"sample": {i}' for i in set(self.sample)}
        ends = {i: self._end(i) for i in begins}
        if self.position is None or not len(self):
            return [begins[i] + ends[i] for i in self.sample]
        if self.token is not None and isinstance(self.position[0], int):
            return self._with_tokens(begins, ends, self.token)
        spots = [spot if isinstance(spot, int | str) else tuple(spot) for spot in self.position]
        if self.boxes is not None:
            return self._with_boxes(begins, ends, spots, self.boxes)
        told = {spot: _middle(spot) for spot in set(spots)}
        return [begins[i] + told[at] + ends[i] for i, at in zip(self.sample, spots, strict=True)]

    def _with_boxes(
        self, begins: dict[int, str], ends: dict[int, str], spots: Places, boxes: Boxes
    ) -> list[str]:
        frames = {i: boxes.frame(i) for i in begins}
        # Samples of one size share their frame; each of its places is written once.
        told: dict[tuple[Frame | None, Spot], str] = {}
        found = []
        for i, at in zip(self.sample, spots, strict=True):
            key = frames[i], at
            if key not in told:
                box = boxes.at(*key)
                told[key] = _middle(at) + (f", {json.dumps(box)[1:-1]}" if box else "")
            found.append(begins[i] + told[key] + ends[i])
        return found

    def _with_tokens(
        self, begins: dict[int, str], ends: dict[int, str], token: Callable[[int, int], str]
    ) -> list[str]:
        known: dict[str, str] = {}
        found = []
        for i, at in zip(self.sample, self.position or [], strict=True):
            assert isinstance(at, int)
            word = token(i, at)
            if word not in known:
                known[word] = json.dumps(word, ensure_ascii=False)
            found.append(f'{begins[i]}, "position": {at}, "token": {known[word]}{ends[i]}')
        return found

    def texts(self) -> list[str]:
        """The same, as a shard is given them."""
        return self.lines()

    def _end(self, sample: int) -> str:
        """What stands behind the position of a row of a sample."""
        rest = ({} if self.call is None else {"call": self.call}) | self.own(sample)
        return f", {json.dumps(rest, ensure_ascii=False)[1:]}" if rest else "}"


@dataclass(frozen=True, eq=False)
class GridRecords(Sequence[Record]):
    """The records of rows where every sample has a row at each of the same places."""

    sample: Sequence[int]
    """[B]."""
    position: Places
    """[P]; row i is place i mod P of sample i // P."""
    own: Callable[[int], Record]
    token: Callable[[int, int], str] | None = None
    call: int | None = None
    boxes: Boxes | None = None

    def __len__(self) -> int:
        return len(self.sample) * len(self.position)

    @overload
    def __getitem__(self, i: int) -> Record: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Record]: ...
    def __getitem__(self, i: int | slice) -> Record | Sequence[Record]:
        if isinstance(i, slice):
            return self if i.indices(len(self)) == (0, len(self), 1) else self._rows()[i]
        at, spot = divmod(range(len(self))[i], len(self.position))
        one = replace(self, sample=[self.sample[at]], position=self.position[spot : spot + 1])
        return one._rows()[0]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows())

    def lines(self) -> list[str]:
        """The records as JSON, a line each."""
        return [line for text in self.texts() for line in text.split("\n")]

    def texts(self) -> list[str]:
        """The records as JSON, a line each, those of a sample in one text."""
        if self.token is not None or not len(self):
            return self._rows().lines()
        # One sample's lines differ from another's of its size in their begin and end alone.
        ends = RowRecords(self.sample, None, self.own, None, self.call)
        spots = tuple(
            spot if isinstance(spot, int | str) else tuple(spot) for spot in self.position
        )
        found = []
        for i in self.sample:
            begin, end = f'{{"sample": {i}', ends._end(i)
            if self.boxes is None:
                middles = _middles(spots, None, None)
            else:
                middles = _middles(spots, self.boxes.frame(i), self.boxes.sides)
            found.append(begin + f"{end}\n{begin}".join(middles) + end)
        return found

    def _rows(self) -> RowRecords:
        sample = [i for i in self.sample for _ in self.position]
        position = [spot for _ in self.sample for spot in self.position]
        return RowRecords(sample, position, self.own, self.token, self.call, self.boxes)


def records_of(records: Any) -> Sequence[Record] | Callable[[int], Record] | None:
    """What is known of samples, a record each, also where it came as columns.

    Raises:
        UsageError: for anything else, and for columns of different lengths.
    """
    if isinstance(records, Mapping):
        columns = {
            key: column.tolist() if hasattr(column, "tolist") else column
            for key, column in records.items()
        }
        odd = [key for key, column in columns.items() if not _is_column(column)]
        if odd:
            raise UsageError(
                f"the records' column '{odd[0]}' is no list; one value a sample is needed"
            )
        sizes = {key: len(column) for key, column in columns.items()}
        if len(set(sizes.values())) > 1:
            raise UsageError(f"the records' columns have {sizes} values; one a sample is needed")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if records is None or callable(records) or _is_column(records):
        known: Sequence[Record] | Callable[[int], Record] | None = records
        return known
    raise UsageError(
        f"the records are a {type(records).__name__}; a list of dictionaries, a dictionary of "
        "columns, or a function of a sample's number is needed"
    )


def refuse_taken(
    own: Mapping[int, Record], position: Places | None, token: bool, call: bool, boxes: bool
) -> None:
    """Raise UsageError for a record of a sample that is none, or has a key that every row has."""
    taken = {"sample", *(name for spot in (position or [])[:1] for name in _names(spot))}
    taken |= {"token"} if token else set()
    taken |= {"call"} if call else set()
    taken |= set(BOX) if boxes else set()
    for sample, record in own.items():
        if not isinstance(record, Mapping):
            raise UsageError(
                f"the record of sample {sample} is a {type(record).__name__}; a dictionary "
                "is needed"
            )
        doubled = taken & record.keys()
        if doubled:
            raise UsageError(
                f"the record of sample {sample} has the key '{min(doubled)}', which says of every "
                "row where it came from; call it otherwise"
            )


def _is_column(column: object) -> bool:
    return (
        hasattr(column, "__getitem__")
        and hasattr(column, "__len__")
        and not isinstance(column, str)
    )


def _nothing(sample: int) -> Record:
    return {}


@lru_cache(maxsize=64)
def _middles(
    spots: tuple[Spot, ...], frame: Frame | None, sides: tuple[int, int] | None
) -> list[str]:
    """What stands between the number of a sample and what is known of it, for each place.

    Every pass of a network has the same places, and pictures of one size the same boxes.
    """
    boxes = None if sides is None else Boxes(lambda sample: frame, sides)
    lines = RowRecords([0] * len(spots), spots, _nothing, boxes=boxes).lines()
    return [line[len('{"sample": 0') : -1] for line in lines]


def _middle(spot: Spot) -> str:
    """A position as JSON, as it stands among other keys."""
    told = dict(zip(_names(spot), _numbers(spot), strict=True))
    return f", {json.dumps(told)[1:-1]}"


def _names(spot: Spot) -> tuple[str, ...]:
    if isinstance(spot, int):
        return ("position",)
    if isinstance(spot, str):
        return ("special",)
    return ("y", "x") if len(spot) == 2 else ("place",)


def _numbers(spot: Spot) -> Sequence[object]:
    if isinstance(spot, int | str):
        return (spot,)
    return spot if len(spot) == 2 else (list(spot),)
