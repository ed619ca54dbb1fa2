"""Verbs that train: demo, train, resume, sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simplecell.cli.application import (
    DataPath,
    Json,
    Meta,
    NoDoctor,
    Out,
    Processes,
    RunPath,
    Settings,
    app,
    print_result,
    read,
)
from simplecell.cli.embed import Embed, EmbedLayer, embedded
from simplecell.cli.processes import refuse_pipes, together
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from simplecell.distributed import Alone
    from simplecell.run.session import Session


@app.command()
def demo(out: Out = Path("simplecell-demo"), as_json: Json = False) -> None:
    """Learn edges from two photographs, offline, in under a minute."""
    from simplecell.reproduce.demo import demo as run_demo

    result, text = run_demo(out)
    print_result("demo", result, as_json, text)


@app.command()
def train(
    context: typer.Context,
    data: DataPath,
    out: Out,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name (see: simplecell info) or TOML file.")
    ] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw; default 0.")] = None,
    refine: Annotated[
        int | None,
        typer.Option(metavar="ROUNDS", min=1, help="Exact codes move the dictionary so often."),
    ] = None,
    meta: Meta = None,
    records: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="No input, but kept of each row: a target; repeatable."
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Take no more memory than that: 1GB, 500MB.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew in --out.")] = False,
    embed: Embed = None,
    layer: EmbedLayer = None,
    no_doctor: NoDoctor = False,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Learn features of DATA into a run directory. Said again, it continues."""
    from simplecell.run.recipe import Recipe, check_settings

    changes = list(settings or [])
    changes += [] if seed is None else [f"train.seed={seed}"]
    changes += [] if refine is None else [f"optim.refine={refine}"]
    changes += _records(records or [], changes)
    changes += [] if memory is None else [f"train.memory={json.dumps(memory)}"]
    if meta is not None:  # absolute, for `resume` may be said elsewhere
        changes.append(f"data.meta={json.dumps(str(meta.resolve()), ensure_ascii=False)}")
    check_settings(changes)
    chosen = None if recipe is None else Recipe.load(recipe)
    if embed is None and layer is not None:
        raise UsageError("--layer is a layer of the model that --embed names; say --embed MODEL")
    path = None if data == "-" else read(data)  # a pipe is read by one process, once
    # Torch comes with these, which mistakes in the words above spare.
    from simplecell.run.begin import begin
    from simplecell.run.together import shared

    def begun(ranks: Alone) -> Session:
        opened = read(data) if path is None else path
        return begin(opened, out, chosen, settings=changes, restart=restart, ranks=ranks)

    with together(context, processes, out=out) as ranks:
        refuse_pipes(ranks, data)
        if embed is not None:
            words = data, embed, layer, out, restart
            data = path = ranks.told(lambda: embedded(*words))
        work("train", shared(ranks, begun, data), as_json, no_doctor)


def _records(columns: list[str], settings: list[str]) -> list[str]:
    """The setting that keeps columns out of the inputs."""
    if not columns:
        return []
    if any(one.partition("=")[0].strip() == "data.records" for one in settings):
        raise UsageError("--records is data.records said twice; name all columns by --records")
    return [f"data.records={json.dumps(columns, ensure_ascii=False)}"]


@app.command()
def resume(
    context: typer.Context,
    run: RunPath,
    steps: Annotated[int | None, typer.Option(help="A greater length than before.")] = None,
    no_doctor: NoDoctor = False,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that was cut off."""
    from simplecell.run.begin import resume as go_on
    from simplecell.run.together import shared

    with together(context, processes) as ranks:
        session = shared(ranks, lambda ranks: go_on(run, steps=steps, ranks=ranks))
        work("resume", session, as_json, no_doctor)


@app.command()
def sweep(
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="Folder: a run for each model, front.png.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE.KEY=V1,V2", help="Vary a recipe key; repeatable."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Train each with so many seeds.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name or TOML file.")] = None,
    settings: Settings = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin every run anew.")] = False,
    as_json: Json = False,
) -> None:
    """Train several models on one pass over DATA; said again, they continue."""
    from simplecell.cli.printing import sweep_table
    from simplecell.errors import DivergedError
    from simplecell.run.recipe import Recipe, check_settings

    check_settings(settings or [])
    chosen, opened = None if recipe is None else Recipe.load(recipe), read(data)
    from simplecell.run.progress import follow_sweep, say, say_skipped  # and torch with them
    from simplecell.run.sweep import begin_sweep
    from simplecell.viz.front import save_front

    models = begin_sweep(
        opened,
        out,
        chosen,
        grid=grid or [],
        seeds=seeds,
        settings=settings or [],
        restart=restart,
    )
    say(*models.notes)
    say_skipped(models.skipped)
    result, code = follow_sweep(models)
    points, across = models.points(result["models"])
    if points and across == "l0":
        points += models.baseline()
    result["picture"] = save_front(points, across, out / "front.png")
    print_result("sweep", result, as_json, sweep_table(result))
    say(*(f"{row['name']}: {row['error']}" for row in result["models"] if row["error"]))
    if code or models.diverged:
        raise typer.Exit(code or DivergedError.exit_code)
    say(f"next: open {result['picture']}; each folder in {out} is a run")


def work(command: str, session: Session, as_json: bool, no_doctor: bool) -> None:
    """Train a session with progress and clean stops; print its result, and what looks wrong."""
    from simplecell.cli.printing import figures_table
    from simplecell.doctor import Doctor
    from simplecell.run.progress import follow, say, say_skipped

    say(*session.notes)
    say_skipped(session.source.skipped)
    if session.done:
        say(f"'{session.run.path}' is finished; --restart begins anew")
        result = session.result()
        print_result(command, result, as_json, figures_table(result))
        return
    leads = session.trainer.ranks.leads
    doctor = Doctor(session) if leads and not no_doctor else None
    say(*map(str, doctor.early if doctor else ()))
    result, code = follow(session)
    print_result(command, result, as_json, figures_table(result))
    say(*map(str, doctor.late if doctor else ()))
    if code:
        place = session.run.path
        say(f"stopped at step {session.trainer.n_steps}; go on: simplecell resume {place}")
        raise typer.Exit(code)
    say(f"next: simplecell show {session.run.path}, or: simplecell explore {session.run.path}")
