"""What a sweep found: a row for each model, a group for models that differ in their seed alone."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from simplecell.matching import nearest
from simplecell.session import Session
from simplecell.sweep.plan import SEED, Planned

MEASURED = ("fvu", "fvu_held_out", "l0", "dead", "mean_activation")


def row_of(planned: Planned, session: Session, error: str | None) -> dict[str, Any]:
    """A model's row, ready for JSON; figures are None where training diverged.

    `l0` (*count*), `dead` (*fraction*) and `mean_activation` are of the held-out samples where
    there are any.
    """
    info = session.info
    figures: dict[str, Any] = {} if error else info["figures"]
    held = figures.get("held_out") or {}
    best = held or figures
    return {
        "name": planned.name,
        "run": str(session.run.path),
        "varied": planned.varied,
        "status": info["status"],
        "error": error,
        "n_iter": info["n_iter"],
        "seconds": round(info["seconds"], 3),
        "n_latents": session.trainer.model.n_latents,
        "fvu": figures.get("fvu"),
        "fvu_held_out": held.get("fvu"),
        "l0": best.get("l0"),
        "dead": best.get("dead"),
        "mean_activation": best.get("mean_activation", {}).get("mean"),
    }


def group_of(
    name: str, rows: Sequence[Mapping[str, Any]], sessions: Sequence[Session]
) -> dict[str, Any]:
    """Mean and spread over seeds of rows with figures; the spread is the sample's, by n − 1."""
    done = [row for row in rows if row["error"] is None]
    columns = {key: [row[key] for row in done if row[key] is not None] for key in MEASURED}
    return {
        "name": name,
        "varied": {key: value for key, value in rows[0]["varied"].items() if key != SEED},
        "n_models": len(done),
        "mean": {key: statistics.fmean(v) if v else None for key, v in columns.items()},
        "std": {key: statistics.stdev(v) if len(v) > 1 else None for key, v in columns.items()},
        "stability": stability(
            [one for one, row in zip(sessions, rows, strict=True) if row["error"] is None]
        ),
    }


def stability(sessions: Sequence[Session]) -> float | None:
    """How alike dictionaries are: 1 is the same atoms, in any order; None for less than two.

    The mean, over all pairs of models, of the mean maximal cosine between their atoms in input
    units, both ways. Source: ours, of Sharkey, Braun & Millidge 2022's mean maximal cosine.
    """
    dictionaries = [
        (one.target_preprocess or one.trainer.preprocess).atoms(
            one.trainer.model.atoms().detach().double().cpu()
        )
        for one in sessions
    ]
    # Where codes may be negative, or a bias undoes a sign, an atom and its opposite are one.
    signed = all(one.trainer.model.activation.sparse for one in sessions)
    found = []
    for first, second in itertools.combinations(dictionaries, 2):
        near = nearest(first, second, signed=signed)
        found.append((near.mean_max_first + near.mean_max_second) / 2)
    return statistics.fmean(found) if found else None


def sweep_table(result: Mapping[str, Any]) -> str:
    """The result of a sweep as text: a line a model, then a line a group."""
    heads = ("fvu", "held out", "l0", "dead", "activation")
    models = [
        [row["name"], *(_cell(row[key]) for key in MEASURED), _ended(row)]
        for row in result["models"]
    ]
    parts = [_aligned([["model", *heads, ""], *models])]
    if result["groups"]:
        groups = [
            [
                group["name"] or "all",
                str(group["n_models"]),
                *(_with_spread(group["mean"][key], group["std"][key]) for key in MEASURED),
                _cell(group["stability"]),
            ]
            for group in result["groups"]
        ]
        parts.append(_aligned([["mean ± std", "models", *heads, "stability"], *groups]))
    return "\n\n".join(parts)


def _ended(row: Mapping[str, Any]) -> str:
    return "" if row["status"] == "finished" else f"{row['status']} at step {row['n_iter']}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _with_spread(mean: float | None, std: float | None) -> str:
    return _cell(mean) if std is None else f"{_cell(mean)} ± {std:.2g}"
