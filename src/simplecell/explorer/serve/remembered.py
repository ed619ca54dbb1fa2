"""What is costly to make, kept from one request to the next for as long as it is the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import TypeVar, cast

_Value = TypeVar("_Value")
Stamp = tuple[int, int, int]


class Remembered:
    """At most `most` values by their keys; of more, the least recently asked for go."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, object]] = OrderedDict()
        self._alone = threading.Lock()

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._kept)

    def get(self, key: Hashable, stamp: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of a key: made anew where there is none of that stamp, or the stamp is None."""
        with self._alone:
            known = self._kept.pop(key, None)
            if known is None or stamp is None or known[0] != stamp:
                known = (stamp, make())
            self._kept[key] = known
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return cast(_Value, known[1])


def stamp_of(path: Path) -> Stamp | None:
    """What changes when a file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
