"""An answer as a person or a program reads it: text, a data frame, CSV, JSON, HTML."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from simplecell.data.spreadsheet import harmless_row
from simplecell.data.unseen import seen, shown_in_page
from simplecell.errors import UsageError, unknown
from simplecell.explain.probes import Predicted
from simplecell.explain.target import Target
from simplecell.run.storage import write_whole
from simplecell.viz.files import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, SHOWN_IN_PAGE = 15, 500
SURE = 0.05
"""The share of false discoveries among what is called a discovery, at most, on average."""


@dataclass(frozen=True)
class Explanation:
    """What latents have to do with a target.

    `columns` is a table of a row a latent (and class), the surest first: figures of the samples
    looked at, then the same of held-out ones (`held_out_…`). `active` counts samples of both.
    `p` is of one latent, `q` corrected over all; `holds` says whether the effect has the same sign
    on held-out samples, with p of at most 0.05 there. `top` are the rows with the largest codes,
    `inputs` the named inputs that go with the code most.
    """

    target: Target
    n_seen: int
    """Samples looked at, *count*."""
    n_held_out: int
    n_groups: int | None
    predicted: Predicted
    columns: Mapping[str, NDArray[np.generic]]
    notes: tuple[str, ...] = ()
    n_runs: int = 0
    """Other runs that were asked too, *count*; then `returns` counts those with the same answer."""

    @property
    def verdict(self) -> str:
        """One sentence: whether the data predict the target at all."""
        return self.predicted.words(self.target.name)

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which rows are discoveries: q of at most 0.05."""
        return np.nan_to_num(self.columns["q"], nan=1.0) <= SURE

    @property
    def test(self) -> str:
        """What p is of, in words."""
        if self.n_groups is not None:
            return f"ranks, with errors that count {self.n_groups} groups (Student's t)"
        return "Spearman's correlation" if self.target.is_number else "Mann-Whitney's U"

    @property
    def summary(self) -> str:
        """One sentence: how many discoveries there are, and how many hold."""
        found, of = self.found, len(set(self.columns["latent"].tolist()))
        holding = int((found & self.columns["holds"].astype(bool)).sum())
        told = f"{int(found.sum())} of {of} latents go"
        if len(self.target.tested) > 1:
            latents = len(set(self.columns["latent"][found].tolist()))
            told = f"{int(found.sum())} pairs of latent and class ({latents} of {of} latents) go"
        return (
            f"{told} with it at a false discovery rate of {SURE:.0%} (Benjamini-Hochberg, "
            f"{self.test}); {holding} hold on the {self.n_held_out} held-out samples"
            + self._of_runs()
        )

    def _of_runs(self) -> str:
        """How many discoveries come back in other runs, if there are any."""
        if not self.n_runs:
            return ""
        returns = self.columns["returns"][self.found].astype(np.int64)
        always, never = int((returns == self.n_runs).sum()), int((returns == 0).sum())
        return f"; {always} come back in all of {self.n_runs} other runs, {never} in none"

    def frame(self) -> Any:
        """The table as a data frame of pandas, or of polars where that alone is installed.

        Raises:
            UsageError: when neither is.
        """
        columns = {name: values.tolist() for name, values in self.columns.items()}
        try:
            import pandas

            return pandas.DataFrame(columns)
        except ImportError:
            pass
        try:
            import polars

            return polars.DataFrame(columns)
        except ImportError:
            raise UsageError(
                "neither pandas nor polars is installed; install one, or take `columns`"
            ) from None

    def table(self) -> dict[str, Any]:
        """The whole answer, ready for JSON; None for what has no value."""
        names = list(self.columns)
        rows = zip(*(map(_plain, self.columns[name].tolist()) for name in names), strict=True)
        return {
            "target": self.target.name,
            "kind": "number" if self.target.is_number else "classes",
            "classes": list(self.target.classes),
            "n_samples": self.n_seen,
            "n_held_out": self.n_held_out,
            "n_groups": self.n_groups,
            "n_runs": self.n_runs,
            "verdict": self.verdict,
            "predicted": self.predicted.yes,
            "p": _plain(self.predicted.p),
            "probes": [
                {name: _plain(value) for name, value in asdict(probe).items()}
                for probe in self.predicted.probes
            ],
            "summary": self.summary,
            "test": self.test,
            "latents": [dict(zip(names, row, strict=True)) for row in rows],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """The whole answer."""
        return json.dumps(self.table(), ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """The table alone; empty cells where there is no value."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(harmless_row(self.columns))
        columns = (map(_plain, values.tolist()) for values in self.columns.values())
        writer.writerows(map(harmless_row, zip(*columns, strict=True)))
        return text.getvalue()

    def to_html(self) -> str:
        """A page that stands alone: the sentences, the probes, and the first 500 rows."""
        return _PAGE.render(answer=self, shown=self._shown(SHOWN_IN_PAGE), probes=self._probes())

    def plot(self, most: int = SHOWN) -> Figure:
        """The surest effects with their intervals, and the same on held-out samples: a figure.

        Of numbers the correlations, of classes the areas under the ROC curve.

        Raises:
            UsageError: where no latent was active often enough to be tested.
        """
        from simplecell.viz.effects import Effect, effects

        number, columns = self.target.is_number, self.columns
        main = "correlation" if number else "auc"
        lines = [
            Effect(
                self._label(i),
                float(columns[main][i]),
                float(columns[f"{main}_low"][i]),
                float(columns[f"{main}_high"][i]),
                float(columns[f"held_out_{main}"][i]),
                bool(columns["holds"][i]),
            )
            for i in range(min(most, len(columns["latent"])))
            if math.isfinite(float(columns["p"][i]))
        ]
        across = "correlation of the code" if number else "area under the ROC curve of the code"
        return effects(lines, across, 0.0 if number else 0.5, self.target.name)

    def _label(self, i: int) -> str:
        """A row in a few words: the latent, its class, the inputs that go with it."""
        parts = [str(self.columns["name"][i])]
        parts += [f"→ {self.columns['class'][i]}"] if "class" in self.columns else []
        parts += [str(self.columns["inputs"][i])] if "inputs" in self.columns else []
        return seen("  ".join(parts))

    def write(self, path: str | Path) -> None:
        """Write .csv, .json, .html or a picture (.png, .svg, .pdf), whichever the suffix says.

        Raises:
            UsageError: for another suffix.
            WriteError: when it cannot be written.
        """
        form = form_of(path)
        if form is None:
            save_figure(self.plot(), path)
        else:
            write_whole(Path(path), form(self).encode("utf-8", "replace"))

    def __str__(self) -> str:
        lines = [self.verdict, "", *_aligned(self._probes()), "", self.summary]
        shown = self._shown(SHOWN)
        return "\n".join([*lines, *_aligned(shown)]) if len(shown) > 1 else "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.to_html()

    def _probes(self) -> list[list[str]]:
        score = "R²" if self.target.is_number else "AUC"
        rows = [["linear probe on", f"{score}, five folds", "± (std)", "held out", "p"]]
        for probe in self.predicted.probes:
            figures = [f"{value:.3f}" for value in (probe.score, probe.spread, probe.held_out)]
            rows.append([probe.name, *figures, f"{probe.p:.2g}"])
        return rows

    def _shown(self, most: int) -> list[list[str]]:
        """The head and the surest rows, as text."""
        names = [name for name in self.columns if name not in ("latent", "p", "held_out_p")]
        hidden = {f"{name}_{end}" for name in names for end in ("low", "high")}
        heads = [name for name in names if name not in hidden]
        rows = [[head.replace("held_out_", "held ").replace("_", " ") for head in heads]]
        for i in range(min(most, len(self.columns["latent"]))):
            if math.isfinite(float(self.columns["p"][i])):
                rows.append([self._cell(name, i) for name in heads])
        return rows

    def _cell(self, name: str, i: int) -> str:
        value = self.columns[name][i]
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "no"
        if not isinstance(value, float | np.floating):
            return seen(str(value)).replace("\n", "\\n")
        if not math.isfinite(value):
            return "–" if math.isnan(value) else str(value)
        if name == "q":
            return f"{value:.1g}"
        value = float(value)
        ends = [self.columns.get(f"{name}_{end}") for end in ("low", "high")]
        told = [float(end[i]) for end in ends if end is not None]
        if len(told) < 2 or not all(map(math.isfinite, told)):
            return _short(value, 3)
        return f"{_short(value, 3)} [{_short(told[0], 2)}, {_short(told[1], 2)}]"


def _short(value: float, digits: int) -> str:
    """A number by its first digits, without a power of ten where a person writes none."""
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):.10g}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMS: dict[str, Callable[[Explanation], str] | None] = {
    ".csv": Explanation.to_csv,
    ".json": Explanation.to_json,
    ".html": Explanation.to_html,
    ".png": None,
    ".svg": None,
    ".pdf": None,
}


def form_of(path: str | Path) -> Callable[[Explanation], str] | None:
    """The function that makes the text of what a path's suffix names; None of a picture.

    Raises:
        UsageError: for a suffix that is not known.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMS:
        raise unknown("suffix of --out", suffix, FORMS)
    return FORMS[suffix]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns two spaces apart; the last one, which may be long, as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


_PAGE = Environment(autoescape=True, finalize=shown_in_page).from_string(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ answer.target.name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #8884; padding: .2em .6em; text-align: left }
</style>
<h1>{{ answer.verdict }}</h1>
{% macro listed(rows) %}
<table>
<thead><tr>{% for cell in rows[0] %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows[1:] %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody>
</table>
{% endmacro %}
{{ listed(probes) }}
<p>{{ answer.summary }}</p>
{{ listed(shown) }}
{% for note in answer.notes %}<p>{{ note }}</p>
{% endfor %}
</html>
"""
)
