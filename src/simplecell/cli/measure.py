"""Verbs that measure: evaluate, compare, reproduce, info."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import (
    Alpha,
    Codes,
    DataPath,
    Json,
    Processes,
    RunPath,
    apart,
    app,
    print_result,
    read,
)
from simplecell.cli.processes import refuse_pipes, together
from simplecell.errors import DataError, UsageError

if TYPE_CHECKING:
    from simplecell.data import Source
    from simplecell.run.evaluate import Figures
    from simplecell.run.trained import Trained


@app.command()
def evaluate(
    context: typer.Context,
    run: RunPath,
    data: DataPath,
    targets: Annotated[
        str | None, typer.Option(help="Of a transcoder: what it is to give, a row a sample.")
    ] = None,
    codes: Codes = "encoder",
    alpha: Alpha = None,
    rows: Annotated[
        Path | None, typer.Option(help="F.csv or F.jsonl: error, fvu, l0 and score of each row.")
    ] = None,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """How well the run reconstructs DATA, how active its latents are, how alike its atoms."""
    import time

    from simplecell.cli.printing import evaluation_table
    from simplecell.doctor import hidden
    from simplecell.run.build import new_data, new_pairs
    from simplecell.run.directory import Run, reported_pca
    from simplecell.run.evaluate import evaluate as measure
    from simplecell.run.exact import in_use
    from simplecell.run.progress import say, say_skipped

    started = time.perf_counter()
    if rows is not None:
        apart(rows, data, targets)
        _check_rows(rows, processes)
    with together(context, processes) as ranks:
        refuse_pipes(ranks, data)
        trained = Run(run).load()
        source = new_data(trained, read(data))
        say(*source.notes)
        say_skipped(source.skipped)
        trained, said = in_use(trained, codes, alpha, lambda: source)
        say(*(said if ranks.leads else []))
        pairs = new_pairs(trained, source, targets)
        figures = measure(trained.model, trained.preprocess, pairs, ranks)
        result = {"run": str(run)} | figures.table()
        if not math.isfinite(figures.fvu):  # data that never vary, and JSON has no infinity
            result["fvu"] = result["fvu_standardized"] = result["fvu_median"] = None
        result["pca"] = reported_pca(trained.info)
        if rows is not None:
            result["rows"] = str(rows)
            say(*_written(rows, trained, pairs, figures))
        steps = trained.recipe.preprocess.steps
        findings = hidden(figures, steps, pairs.input_names)
        result["findings"] = [finding.table() for finding in findings]
        result["seconds"] = round(time.perf_counter() - started, 3)
        print_result("evaluate", result, as_json, evaluation_table(result))
        say(*map(str, findings))


def _check_rows(rows: Path, processes: int | None) -> None:
    """Raise UsageError for a file that cannot be written, before anything that takes long."""
    from simplecell.cli.row_figures import form_of
    from simplecell.run.storage import check_place

    if processes is not None and processes > 1:
        raise UsageError("--rows is written by one process; leave --processes out")
    form_of(rows)
    check_place(rows)


def _written(rows: Path, trained: Trained, source: Source, figures: Figures) -> list[str]:
    """Write the figures of each row; sentences on them."""
    from simplecell.cli.row_figures import write_rows
    from simplecell.run.normality import known

    normal, said = known(trained)
    write_rows(rows, trained, source, figures, normal)
    return [*said, f"{source.n_samples} rows: {rows}"]


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="A run directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Another, over the same inputs.")],
    as_json: Json = False,
) -> None:
    """How alike the atoms of two runs are, in the units of the data."""
    import time

    from simplecell.cli.printing import comparison_table
    from simplecell.model.matching import comparison
    from simplecell.run.directory import Run, reported_figures, reported_pca

    started = time.perf_counter()
    runs = [Run(path).load() for path in (first, second)]
    widths = [run.recon_preprocess.n_inputs for run in runs]
    if widths[0] != widths[1]:
        raise DataError(
            f"'{first}' has {widths[0]} inputs per sample and '{second}' {widths[1]}; atoms are "
            "compared input by input, so give two runs over the same inputs"
        )
    signed = all(run.model.activation.sparse for run in runs)
    told = [
        {
            "run": str(path),
            "n_latents": run.model.n_latents,
            **reported_figures(run.info),
            "pca": reported_pca(run.info),
        }
        for path, run in zip((first, second), runs, strict=True)
    ]
    for one, run in zip(told, runs, strict=True):
        if not run.model.activation.sparse:  # older runs have one for codes that are never 0
            one["l0"] = None
    found = comparison(runs[0].atoms(), runs[1].atoms(), signed=signed)
    result = {"runs": told, **found.figures()}
    result["seconds"] = round(time.perf_counter() - started, 3)
    print_result("compare", result, as_json, comparison_table(result))


@app.command()
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="edges strokes whitening softmax templates self-taught stacked color convolution "
            "connectivity sparse-coding topographic restoration deep code-plot variational "
            "denoising planted compositional ksvd; all unless named.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets, by their official file names.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for figures, pictures and their table; default simplecell-reproduce, "
            "with --quick simplecell-reproduce-quick."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small stand-ins, offline, in under 40 seconds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the field's headline results beside the published figures."""
    from simplecell.reproduce import reproduce as measured

    done = []
    out = out or Path("simplecell-reproduce-quick" if quick else "simplecell-reproduce")
    for outcome in measured(names or [], out, data=data, quick=quick):
        done.append(outcome.table())
        if not as_json:
            print_result("reproduce", {}, False, outcome.text() + "\n")
    result = {"results": done, "table": str(out / "README.md")}
    text = f"table and pictures: {out / 'README.md'}"
    print_result("reproduce", result, as_json, text)


@app.command()
def info(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run directory.")] = None,
    device: Annotated[
        bool, typer.Option("--device", help="Without RUN: what it would train on, too; slower.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What is in a run; without RUN, what this installation is and which recipes it has."""
    from simplecell.cli.printing import installation, of_run

    if run is not None and device:
        raise UsageError(
            "--device is for this installation, and a run tells its own; leave RUN or --device out"
        )
    result, text = installation(device) if run is None else of_run(run)
    print_result("info", result, as_json, text)
