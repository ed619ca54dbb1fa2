"""What a reproduction found: figures beside the published ones, as data, text and table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any, SupportsFloat


@dataclass(frozen=True)
class Figure:
    """One measured quantity, once a seed, beside what was published."""

    what: str
    ours: Sequence[float]
    """One number a seed."""
    published: str = "–"
    source: str = "–"
    """Where the published figure stands."""
    unit: str = ""
    digits: int = 3
    """After the point."""

    @property
    def text(self) -> str:
        """The mean, and the range where there are several seeds: "98.3 (98.2–98.4) %"."""
        numbers = [
            f"{number:.{self.digits}f}"
            for number in (fmean(self.ours), min(self.ours), max(self.ours))
        ]
        unit = f" {self.unit}" if self.unit else ""
        if len(self.ours) == 1 or numbers[1] == numbers[2]:
            return numbers[0] + unit
        return f"{numbers[0]} ({numbers[1]}–{numbers[2]}){unit}"


@dataclass(frozen=True)
class Outcome:
    """What one reproduction found; `simplecell reproduce --json` prints these fields."""

    data: str
    """Which samples, how many."""
    setting: str
    """Sizes and constants."""
    figures: Sequence[Figure]
    pictures: Sequence[str] = ()
    """Names of files in the folder of results."""
    notes: str = ""
    """What a reader must know to compare."""
    seeds: int = 1
    name: str = ""
    title: str = ""
    quick: bool = False
    seconds: float = 0.0
    """The whole of it, all seeds and what was measured beside."""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Outcome:
        """The outcome that `table` gave."""
        figures = [Figure(**figure) for figure in table["figures"]]
        return cls(**{**table, "figures": figures})

    @property
    def label(self) -> str:
        """The name, and whether it is a small stand-in."""
        return f"{self.name}, small" if self.quick else self.name

    def alone(self) -> Outcome:
        """Without published figures: they are of other data than a small stand-in's."""
        return replace(self, figures=[replace(f, published="–", source="–") for f in self.figures])

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.title} [{self.label}]", f"  data     {self.data}"]
        lines.append(f"  setting  {self.setting}")
        for figure in self.figures:
            lines.append(f"  {figure.what}: {figure.text}")
            if figure.published != "–":
                lines.append(f"      published: {figure.published} ({figure.source})")
        lines += [f"  note     {self.notes}"] if self.notes else []
        lines += [f"  picture  {picture}" for picture in self.pictures]
        lines.append(f"  seeds    {self.seeds}, {duration(self.seconds)} in all")
        return "\n".join(lines)


MADE = "Made by `simplecell reproduce`; do not edit."
"""What tells our page from a person's."""


def markdown(outcomes: Iterable[Outcome]) -> str:
    """The page of results: one table, then each result with its pictures."""
    done = list(outcomes)
    lines = [
        "# Results",
        "",
        f"{MADE} Ours: mean over the seeds (least–most).",
        "",
        "| result | figure | published | ours | seeds | time |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in done:
        link = f"[{outcome.name}](#{outcome.name})" + (" (small)" if outcome.quick else "")
        for k, figure in enumerate(outcome.figures):
            first = k == 0
            cells = [
                link if first else "",
                figure.what,
                figure.published,
                figure.text,
                str(outcome.seeds) if first else "",
                duration(outcome.seconds) if first else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(line for outcome in done for line in _section(outcome))]) + "\n"


def percent(share: SupportsFloat) -> float:
    """A fraction in per cent."""
    return 100 * float(share)


def duration(seconds: float) -> str:
    """Seconds, or minutes from two on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _section(outcome: Outcome) -> list[str]:
    small = ["A small stand-in (`--quick`), not the published data.", ""] if outcome.quick else []
    lines = ["", f"## {outcome.name}", "", f"{outcome.title}.", "", *small]
    lines += [f"- Data: {outcome.data}", f"- Setting: {outcome.setting}"]
    lines += [
        f"- Published {figure.what}: {figure.published}; {figure.source}"
        for figure in outcome.figures
        if figure.published != "–"
    ]
    lines += [f"- Note: {outcome.notes}"] if outcome.notes else []
    lines += [f"- Machine: {', '.join(f'{k} {v}' for k, v in outcome.machine.items())}"]
    for picture in outcome.pictures:
        lines += ["", f"![{outcome.title}]({picture})"]
    return lines
