"""Verbs that answer: explain, features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import (
    Alpha,
    Codes,
    DataPath,
    Json,
    Meta,
    RunPath,
    apart,
    app,
    print_result,
    read,
)
from simplecell.errors import DataError, UsageError

if TYPE_CHECKING:
    from simplecell.data import Source
    from simplecell.explain.explanation import Explanation
    from simplecell.run.trained import Trained


@app.command()
def explain(
    run: RunPath,
    data: DataPath,
    target: Annotated[
        str | None, typer.Option(help="A record of DATA: a column that is no input, or label.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Or rows: a query on records such as 'year > 2000', or @FILE of ids."),
    ] = None,
    against: Annotated[str, typer.Option(help="Of --rows: rest, a query or @FILE.")] = "rest",
    other: Annotated[
        str | None, typer.Option("--against-data", help="Or all of DATA against other data.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--runs", help="Other runs, such as other seeds: does it come back?"),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="A record: samples that share it are never parted.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="A record: rows that share it are one sample, by their largest codes."),
    ] = None,
    kind: Annotated[str, typer.Option("--as", help="auto, number or classes.")] = "auto",
    codes: Codes = "encoder",
    alpha: Alpha = None,
    meta: Meta = None,
    out: Annotated[
        Path | None, typer.Option(help="F.csv, .json or .html, all latents; .png.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is held out.")] = 0,
    as_json: Json = False,
) -> None:
    """Which latents go with a target, or set rows apart; whether that holds on held-out samples."""
    import time

    from simplecell.explain.explanation import form_of
    from simplecell.explain.question import Question
    from simplecell.explain.stability import with_other_runs
    from simplecell.run.progress import say, say_skipped
    from simplecell.run.storage import check_place

    started = time.perf_counter()
    question = Question(target, rows, against, other, group, by, kind, seed)
    if out is not None:
        form_of(out)  # before anything that takes long
        apart(out, data, other, meta)
        check_place(out)
    given = read(data)
    answers: list[tuple[Trained, Explanation]] = []
    for path in (run, *(runs or [])):
        trained, source, said = _opened(path, given, meta, codes, alpha)
        if not answers:  # the others are of the same data
            say(*said)
            say_skipped(source.skipped)
        answers.append((trained, question.put_to(trained, source, data)))
    (trained, answer), *others = answers
    if others:
        answer = with_other_runs(answer, trained, others)
    if out is not None:
        answer.write(out)
    result = {"run": str(run), **answer.table(), "out": None if out is None else str(out)}
    result["seconds"] = round(time.perf_counter() - started, 3)
    print_result("explain", result, as_json, str(answer))
    say(*answer.notes)


@app.command()
def features(
    run: RunPath,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="A file or a folder, or - (a pipe).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="F.jsonl, or a folder: features.jsonl with a picture a latent."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="F.jsonl or F.csv with latent and name: kept in RUN, shown everywhere."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="A record of DATA: the effects on it, too.")
    ] = None,
    codes: Codes = "encoder",
    alpha: Alpha = None,
    meta: Meta = None,
) -> None:
    """What each latent stands for, to name it by (DATA and --out); and the names (--names)."""
    if data is None and out is None and names is not None:
        _named(run, names)
        return
    if data is None or out is None:
        raise UsageError(
            "give DATA and --out to write what latents stand for, or --names F to name them"
        )
    apart(out, data, meta)
    if names is not None:
        _named(run, names)
    from simplecell.explain.answer import samples_of
    from simplecell.explain.features import write_features
    from simplecell.explain.question import Question
    from simplecell.run.progress import say, say_skipped

    trained, source, said = _opened(run, read(data), meta, codes, alpha)
    say(*said)
    say_skipped(source.skipped)
    samples = samples_of(trained, source)
    answer = None if target is None else Question(target).put_to(trained, source, data)
    place, n_pictures = write_features(out, trained, source, samples, answer)
    print_result("features", {}, False, str(place))
    say(f"{len(samples.names)} latents" + f", {n_pictures} pictures" * bool(n_pictures))


def _named(run: Path, file: Path) -> None:
    """Take the names in a file over into the run's folder; say how many latents have one then."""
    from simplecell.run.directory import Run
    from simplecell.run.names import read_names
    from simplecell.run.notes import FILE, Notes, weights_of
    from simplecell.run.progress import say

    n_latents = Run(run).load().model.n_latents
    given, lines = read_names(file, n_latents)

    def where(latent: int) -> str:
        return f"line {lines[latent]}" if latent in lines else "named before"

    try:
        known = Notes(run / FILE).rename(given, weights_of(run), where)
    except UsageError as error:
        raise DataError(f"'{file}': {error}") from error
    print_result("features", {}, False, str(run / FILE))
    say(f"{len(known)} of {n_latents} latents have a name")


def _opened(
    run: Path, data: object, meta: Path | None, codes: str, alpha: float | None
) -> tuple[Trained, Source, list[str]]:
    """A run with the codes asked for, the data as it reads them, and what is to be said of both."""
    from simplecell.run.build import new_data
    from simplecell.run.directory import Run
    from simplecell.run.exact import in_use

    trained = Run(run).load()
    source = new_data(trained, data, meta)
    trained, on_codes = in_use(trained, codes, alpha, lambda: source)
    return trained, source, [*source.notes, *trained.names.told, *on_codes]
