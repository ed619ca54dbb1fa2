"""One question, as it is put to any run: a target, rows against rows, or data against data."""

from __future__ import annotations

from dataclasses import dataclass

from simplecell.data import Source
from simplecell.errors import UsageError
from simplecell.explain.asked import of_target
from simplecell.explain.contrast import REST, of_data, of_rows
from simplecell.explain.explanation import Explanation
from simplecell.run.build import new_data
from simplecell.run.trained import Trained


@dataclass(frozen=True)
class Question:
    """What `explain` is asked, its options under their names; `other` is a path of data.

    Raises:
        UsageError: unless exactly one of `target`, `rows` and `other` is asked for.
    """

    target: str | None = None
    rows: str | None = None
    against: str = REST
    other: str | None = None
    group: str | None = None
    by: str | None = None
    kind: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(asked is not None for asked in (self.target, self.rows, self.other)) != 1:
            raise UsageError(
                "what is asked? give one of --target NAME, --rows QUERY and --against-data DATA"
            )
        if self.against != REST and self.rows is None:
            raise UsageError("--against is for --rows; give a query of rows, or leave it out")
        if self.kind != "auto" and self.target is None:
            raise UsageError("--as is for --target; rows are of two classes, so leave it out")
        if self.by is not None and self.target is None:
            raise UsageError("--by is for --target; queries choose rows, so leave it out")

    def put_to(self, trained: Trained, source: Source, name: str) -> Explanation:
        """The answer of a run, from the samples of a source, which is called `name`.

        Raises:
            UsageError, DataError: as the functions that answer do.
        """
        told = {"group": self.group}
        if self.target is not None:
            return of_target(
                trained, source, self.target, by=self.by, kind=self.kind, seed=self.seed, **told
            )
        if self.rows is not None:
            return of_rows(trained, source, self.rows, self.against, seed=self.seed, **told)
        assert self.other is not None
        others, names = new_data(trained, self.other), (name, self.other)
        return of_data(trained, source, others, names, seed=self.seed, **told)
