"""Results as text for a terminal: what train, evaluate, compare, sweep and info print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from simplecell.run import recipe
from simplecell.run.directory import Run, about_packages
from simplecell.run.notes import names_in
from simplecell.tier import tier

Table = dict[str, Any]
"""A result as `--json` prints it."""


def figures_table(result: Table) -> str:
    """The result of a training as text: training samples beside held-out ones."""
    held = result.get("held_out") or {}
    mean, target = result["mean_activation"], result["mean_activation"].get("target")
    rows = [("", "training", "held out")]
    rows.append(("samples", f"{result['n_samples']}", _cell(held.get("n_samples"), "d")))
    rows.append(("cost", f"{result['cost']:.5g}", _cell(held.get("cost"), ".5g")))
    rows.append(("fvu", _cell(result["fvu"], ".4f"), _cell(held.get("fvu"), ".4f")))
    rows += _of_components(result, held)
    other = held.get("mean_activation") or {}
    for name, form in (("l0", ".2f"), ("dead", ".3f")):
        if result.get(name) is not None:
            rows.append((name, _cell(result[name], form), _cell(held.get(name), form)))
    for name in ("min", "mean", "max"):
        rows.append((f"activation {name}", f"{mean[name]:.4f}", _cell(other.get(name), ".4f")))
    if target is not None:
        rows.append(("  its target", f"{target:.4g}", f"{target:.4g}"))
    lines = [f"{name:<18}{left:>12}{right:>12}" for name, left, right in rows]
    ended = f"{result['n_latents']} latents, {result['n_iter']} steps ({result['stopped']}), "
    return "\n".join([*lines, ended + f"{result['seconds']:.1f} s"])


def _of_components(result: Table, held: Table) -> list[tuple[str, str, str]]:
    """PCA's rows of the table; l0 may round to another number of components for new samples."""
    sides = [
        {one["components"]: one["fvu"] for one in side.get("pca") or []} for side in (result, held)
    ]
    left, right = sides
    return [
        (f"  by PCA, {number}", _cell(left.get(number), ".4f"), _cell(right.get(number), ".4f"))
        for number in sorted({*left, *right})
    ]


def _worse(n: int) -> str:
    return f" ({n} reproduced worse than by their mean)" if n else ""


def evaluation_table(result: Table) -> str:
    """The figures of `simplecell evaluate` as text, each with its formula in words."""
    rows = [("samples", f"{result['n_samples']}")]
    formulas = {
        "fvu": (
            ".4f",
            "fraction of variance unexplained: sum of squared errors / sum of squared "
            "deviations from the mean",
        ),
        "fvu_standardized": (
            ".4f",
            "the same of inputs divided by their standard deviations, of each 1 at most"
            + _worse(result["inputs_worse_than_mean"]),
        ),
        "fvu_median": (".4f", "the same of one sample, median"),
        "l0": (".3f", "active latents per sample"),
        "dead": (".3f", "fraction of latents that are never active"),
        "code_l1": (".4g", "sum of |code| over the latents, mean over samples"),
    }
    for name, (form, words) in formulas.items():
        if name == "fvu" or result[name] is not None:  # fvu may be infinite, which is told as –
            rows.append((name.replace("_", " "), f"{_cell(result[name], form)}   {words}"))
    for name in ("inputs", "rows"):
        top = result[f"largest_{name}"]
        words = f"of the variance is owned by the largest {top['number']} of the {name}"
        rows.append((f"largest {name}", f"{top['share']:.1%}   {words}"))
    named = {
        "mean_activation": "mean code of each latent; if bounded, mapped to 0 ... 1",
        "coherence": "largest |cosine| of each atom with another",
        "density": "fraction of samples for which each latent is active",
    }
    for name, words in named.items():
        if result[name] is not None:
            ends = " / ".join(f"{result[name][end]:.4f}" for end in ("min", "mean", "max"))
            rows.append((name.replace("_", " "), f"{ends}   min / mean / max of the {words}"))
    if pca := result.get("pca"):
        told = ", ".join(f"{_cell(one['fvu'], '.4f')} by {one['components']}" for one in pca["fvu"])
        of = f"fvu of principal components, {pca['samples']} samples of the run's own data"
        rows.append(("by PCA", f"{told}   {of}"))
    lines = [f"{name:<18}{words}" for name, words in rows]
    if result["density"] is None:
        return "\n".join([*lines, "no l0, dead, density: these codes are never 0"])
    return "\n".join([*lines, "latents by density", *_bars(result["histogram"])])


def comparison_table(result: Table) -> str:
    """What two runs share, as text: the figures of `simplecell compare`."""
    runs, pairs = result["runs"], "of the one-to-one pairs with the largest sum of cosines"
    sides = [(result["mean_max"][side], result["only"][side]) for side in ("first", "second")]
    kind = "cosine" if result["signed"] else "|cosine|"
    rows = [
        ("", ["first", "second"], ""),
        ("latents", [f"{run['n_latents']}" for run in runs], ""),
        ("figures of", [run["samples"] or "–" for run in runs], ""),
        ("fvu", [_cell(run["fvu"], ".4f") for run in runs], "fraction of variance unexplained"),
        *_of_both(runs),
        ("l0", [_cell(run["l0"], ".3f") for run in runs], "active latents of a sample, mean"),
        (f"mean max {kind}", [f"{best:.4f}" for best, _ in sides], "of an atom's nearest"),
        ("only here", [f"{only}" for _, only in sides], f"atoms with every {kind} below 0.5"),
    ]
    lines = [f"first: {runs[0]['run']}", f"second: {runs[1]['run']}"]
    lines += [
        f"{name:<18}{left:>12}{right:>12}   {words}".rstrip() for name, (left, right), words in rows
    ]
    if result["mean_cosine"] is None:
        return "\n".join([*lines, "too many atoms for one-to-one pairs: each one's nearest only"])
    lines.append(f"{'mean ' + kind:<18}{result['mean_cosine']:>12.4f}   {pairs}")
    lines.append(f"{'share >= 0.9':<18}{result['share']:>12.4f}   {pairs}")
    return "\n".join(lines)


def _of_both(runs: Sequence[Table]) -> list[tuple[str, list[str], str]]:
    """PCA's rows of a comparison: as many components as latents are active, and as there are."""
    told = [(run.get("pca") or {"fvu": []})["fvu"] for run in runs]
    if not any(told):  # nobody measured it
        return []
    active = [one if run.get("l0") is not None else [] for one, run in zip(told, runs, strict=True)]
    return [
        ("  by PCA", [_by(one[:1]) for one in active], "as many components as active latents"),
        ("  by PCA", [_by(one[-1:]) for one in told], "as many as latents, or as inputs"),
    ]


def _by(found: Sequence[Table]) -> str:
    """The fvu of components, and how many; `found` is one entry or none."""
    return "–" if not found else f"{_cell(found[0]['fvu'], '.4f')} by {found[0]['components']}"


def _bars(bins: Sequence[Mapping[str, float]], width: int = 40) -> list[str]:
    """A line a bin of density; the longest bar has `width` signs, a bin of one latent one."""
    most = max(1, *(row["latents"] for row in bins))
    lines = []
    for row in bins:
        low, high, latents = row["from"], row["to"], row["latents"]
        name = "0 (dead)" if not high else f"{low:g} to {high:g}" if low else f"below {high:g}"
        name = name.replace("e-0", "e-")
        bar = "#" * math.ceil(width * latents / most)
        lines.append(f"  {name:<16}{latents:>7}  {bar}".rstrip())
    return lines


def _cell(value: float | None, form: str = ".4g") -> str:
    return "–" if value is None else format(value, form)


def sweep_table(result: Table) -> str:
    """The result of a sweep as text: a line a model, then a line a group."""
    from simplecell.run.sweep import MEASURED

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


def _ended(row: Table) -> str:
    return "" if row["status"] == "finished" else f"{row['status']} at step {row['n_iter']}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _with_spread(mean: float | None, std: float | None) -> str:
    return _cell(mean) if std is None else f"{_cell(mean)} ± {std:.2g}"


def installation(device: bool) -> tuple[Table, str]:
    """Versions and recipes, and the device that would be used where asked; as a table and as text.

    To know the device is to load torch, for seconds.
    """
    software: Table = {**about_packages()}
    if device:
        software = _on_device()
    software["scikit-learn"] = metadata.version("scikit-learn")
    kernels = tier()
    software["kernels"] = kernels.name
    recipes = {name: recipe.headline(name) for name in recipe.names()}
    reason = {"kernels": f" ({kernels.reason})"}
    lines = [f"{name:<14}{value}{reason.get(name, '')}" for name, value in software.items()]
    lines += ["", "recipes (simplecell train DATA --out RUN --recipe NAME)"]
    lines += [f"  {name:<12}{words}" for name, words in recipes.items()]
    return {**software, "recipes": recipes}, "\n".join(lines)


def _on_device() -> Table:
    import torch

    from simplecell.run.directory import about_software
    from simplecell.training.prepared import resolve_device

    return {**about_software(torch.get_num_threads(), str(resolve_device("auto")))}


def of_run(path: Path) -> tuple[Table, str]:
    """A run's story and figures; as a table and as text."""
    run = Run(path)
    info = run.info()
    data, (resolved, edited) = info["data"], run.tables(info)
    steps = resolved["train"]["steps"]
    lines = [
        f"run           {path} ({info['status']}, {info['n_iter']} of {steps} steps)",
        f"data          {data['path'] or 'given in memory'}",
        f"samples       {data['n_samples']} for training, {data['n_held_out']} held out; "
        f"each {' × '.join(str(side) for side in data['shape'])} ({data['kind']})",
    ]
    if converted := info.get("converted"):
        lines = [
            f"run           {path} (converted: {converted['kind']})",
            f"from          {converted['path']}",
            f"data          not known; a sample has {data['shape'][0]} inputs",
            *(f"              {line}" for line in converted["told"]),
        ]
    names = names_in(run.path)
    if names.given:
        lines.append(f"names         {len(names.given)} latents have one: {_first(names.given)}")
    lines += [f"              {told}" for told in names.told]
    lines += [f"              skipped {s['file']}: {s['reason']}" for s in data["skipped"]]
    software = info["software"]
    lines.append(
        f"made with     simplecell {software['simplecell']}, torch {software['torch']}, "
        f"{software['threads']} threads, {software['device']}, seed {info['seed']}"
    )
    if figures := info["figures"]:
        lines += ["", figures_table({**figures, "seconds": info["seconds"]})]
    lines += ["", tomli_w.dumps(resolved).rstrip(), *_of_edits(edited or [])]
    named = {str(latent): name for latent, name in names.given.items()}
    table = {"run": str(path), **info, "names": named, "recipe": resolved, "edited": edited}
    return table, "\n".join(lines)


def _first(names: Mapping[int, str], most: int = 3) -> str:
    """The first few names, with the numbers of their latents."""
    told = [f"{latent} {name}" for latent, name in sorted(names.items())[:most]]
    return ", ".join([*told, *(["…"] if len(names) > most else [])])


def _of_edits(edited: list[str]) -> list[str]:
    """What a person must know of a recipe.toml that is no longer what was done."""
    if not edited:
        return []
    return [
        "",
        f"recipe.toml was edited after the training ({'; '.join(edited)}: then, now);",
        "nothing else opens this run until it is put back as it was",
    ]
