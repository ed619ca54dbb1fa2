"""The command line: verbs over run directories. Results on standard output, all else on error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from simplecell.errors import DataError, SimplecellError, UsageError, WriteError

app = typer.Typer(
    name="simplecell",
    help="Learn, see and use sparse features of unlabelled data.",
    epilog="Start with: simplecell demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Run directory; nothing is written outside it.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
DataPath = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, a folder of pictures, or -.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
NoDoctor = Annotated[
    bool, typer.Option("--no-doctor", help="No warnings of what looks wrong, and no cures.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change a recipe key; repeatable."),
]


def print_result(command: str, result: dict[str, Any], as_json: bool, text: str) -> None:
    """The result alone on standard output."""
    if as_json:
        table = {"schema": 1, "command": command, **result}
        text = json.dumps(table, ensure_ascii=False, allow_nan=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with standard_output():
        # Not every terminal has a dash, and not every file name is text.
        print(text.encode(encoding, "backslashreplace").decode(encoding))


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Flush at the end; a full disk behind it is an error, a reader that left is none."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    except WriteError:
        raise
    except OSError as error:
        forget_output()
        raise WriteError(f"could not write standard output: {error.strerror}") from error


def forget_output() -> None:
    """What standard output still holds goes nowhere, so that the exit does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        place = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)


@app.command()
def demo(out: Out = Path("simplecell-demo"), as_json: Json = False) -> None:
    """Learn edges from two photographs, offline, in under a minute."""
    from simplecell.demo import demo as run_demo

    result, text = run_demo(out)
    print_result("demo", result, as_json, text)


@app.command()
def train(
    data: DataPath,
    out: Out,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name (see: simplecell info) or TOML file.")
    ] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw; default 0.")] = None,
    meta: Annotated[
        Path | None, typer.Option(help="csv, jsonl or npz with one record a sample.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew in --out.")] = False,
    no_doctor: NoDoctor = False,
    as_json: Json = False,
) -> None:
    """Learn features of DATA into a run directory. Said again, it continues."""
    from simplecell.recipe import Recipe
    from simplecell.session import begin

    changes = list(settings or [])
    changes += [] if seed is None else [f"train.seed={seed}"]
    if meta is not None:  # absolute, for `resume` may be said elsewhere
        changes.append(f"data.meta={json.dumps(str(meta.resolve()), ensure_ascii=False)}")
    chosen = None if recipe is None else Recipe.load(recipe)
    session = begin(read(data), out, chosen, settings=changes, restart=restart)
    work("train", session, as_json, no_doctor)


@app.command()
def resume(
    run: RunPath,
    steps: Annotated[int | None, typer.Option(help="A greater length than before.")] = None,
    no_doctor: NoDoctor = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was cut off."""
    from simplecell.session import resume as go_on

    work("resume", go_on(run, steps=steps), as_json, no_doctor)


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
    from simplecell.errors import DivergedError
    from simplecell.progress import follow_sweep, say, say_skipped
    from simplecell.recipe import Recipe
    from simplecell.sweep import begin_sweep, sweep_table
    from simplecell.viz.front import save_front

    chosen = None if recipe is None else Recipe.load(recipe)
    varied: dict[str, Any] = {"grid": grid or [], "settings": settings or [], "seeds": seeds}
    models = begin_sweep(read(data), out, chosen, restart=restart, **varied)
    say(*models.notes)
    say_skipped(models.skipped)
    result, code = follow_sweep(models)
    result["picture"] = save_front(*models.points(result["models"]), out / "front.png")
    print_result("sweep", result, as_json, sweep_table(result))
    say(*(f"{row['name']}: {row['error']}" for row in result["models"] if row["error"]))
    if code or models.diverged:
        raise typer.Exit(code or DivergedError.exit_code)
    say(f"next: open {result['picture']}; each folder in {out} is a run")


@app.command()
def show(
    run: RunPath,
    what: Annotated[
        str, typer.Option(help="latents, atoms, reconstructions, preparation or curve.")
    ] = "latents",
    out: Annotated[
        Path | None, typer.Option(help="Picture file; default RUN/features.png and the like.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Of latents: a deep network's layer, from 1.")
    ] = None,
) -> None:
    """Draw a run: what excites each latent, its atoms, reconstructions, the training curve."""
    from simplecell.build import training_data
    from simplecell.errors import unknown
    from simplecell.run import Run
    from simplecell.viz.portrait import FILES, draw

    if what not in FILES:
        raise unknown("picture", what, FILES)
    picture = draw(Run(run), what, out or run / FILES[what], training_data, layer)
    print_result("show", {}, False, str(picture))


@app.command()
def explore(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, or folders of them.")],
    data: Annotated[str | None, typer.Option(help="Other samples than the run's own.")] = None,
    meta: Annotated[
        Path | None, typer.Option(help="csv, jsonl or npz with one record a sample.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write a site into this folder that needs no server.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = (
        False
    ),
) -> None:
    """Open runs in the browser: every latent, what excites it, and a playground."""
    from simplecell.explorer.opening import open_library
    from simplecell.progress import say

    library = open_library(runs, None if data is None else read(data), meta)
    if export is not None:
        from simplecell.explorer.export import export as write_site

        print_result("explore", {}, False, str(write_site(library, export)))
        return
    from simplecell.explorer.server import serve

    def ready(url: str) -> None:
        print_result("explore", {}, False, url)
        say("the page is for this machine alone; Ctrl-C ends it")
        if not no_browser:
            import webbrowser

            webbrowser.open(url)

    serve(library, port=port, ready=ready)


@app.command()
def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="HTML file; default RUN/report.html.")] = None,
    data: Annotated[str | None, typer.Option(help="Other samples than the run's own.")] = None,
    meta: Annotated[
        Path | None, typer.Option(help="csv, jsonl or npz with one record a sample.")
    ] = None,
) -> None:
    """One printable HTML file about a run: its latents, figures, worst samples, recipe."""
    from simplecell.explorer.opening import make_atlas, the_run
    from simplecell.explorer.report import report as page
    from simplecell.storage import write_whole

    chosen = the_run([run])
    make_atlas(chosen, None if data is None else read(data), meta)
    out = out or chosen.path / "report.html"
    write_whole(out, page(chosen).encode())
    print_result("report", {}, False, str(out))


@app.command()
def encode(
    run: RunPath,
    data: DataPath,
    out: Annotated[str, typer.Option("--out", help="F.npy, F.npz, F.csv or - (npy).")],
) -> None:
    """Hand on the codes of DATA: one row a sample, one column a latent."""
    from simplecell.exchange import encode_file
    from simplecell.progress import say
    from simplecell.run import Run

    with standard_output():
        say(*encode_file(Run(run).load(), read(data), out))


@app.command()
def decode(
    run: RunPath,
    codes: Annotated[str, typer.Argument(metavar="CODES", help="A file of codes, or -.")],
    out: Annotated[str, typer.Option("--out", help="F.npy, F.npz, F.csv or - (npy).")],
) -> None:
    """Turn codes back into samples, in the units of the data."""
    from simplecell.exchange import decode_file
    from simplecell.progress import say
    from simplecell.run import Run

    with standard_output():
        say(*decode_file(Run(run).load(), read(codes), out))


@app.command()
def evaluate(
    run: RunPath,
    data: DataPath,
    targets: Annotated[
        str | None, typer.Option(help="Of a transcoder: what it is to give, a row a sample.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How well the run reconstructs DATA, how active its latents are, how alike its atoms."""
    import time

    from simplecell.build import new_data, new_targets
    from simplecell.evaluate import evaluate as measure
    from simplecell.progress import evaluation_table, say, say_skipped
    from simplecell.run import Run

    started = time.perf_counter()
    trained = Run(run).load()
    source = new_data(trained, read(data))
    say(*source.notes)
    say_skipped(source.skipped)
    given = new_targets(trained, targets, source)
    result = {"run": str(run)} | measure(trained.model, trained.preprocess, source, given).table()
    if not math.isfinite(result["fvu"]):  # data that never vary, and JSON has no infinity
        result["fvu"] = None
    result["seconds"] = round(time.perf_counter() - started, 3)
    print_result("evaluate", result, as_json, evaluation_table(result))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="A run directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Another, over the same inputs.")],
    as_json: Json = False,
) -> None:
    """How alike the atoms of two runs are, in the units of the data."""
    import time

    from simplecell.matching import comparison
    from simplecell.progress import comparison_table
    from simplecell.run import Run
    from simplecell.story import judged

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
        {"run": str(path), "n_latents": run.model.n_latents, **judged(run.info)}
        for path, run in zip((first, second), runs, strict=True)
    ]
    result = {"runs": told, **comparison(runs[0].atoms(), runs[1].atoms(), signed=signed)}
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
            "denoising planted; all unless named.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets, by their official file names.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for figures, pictures and their table.")] = Path(
        "simplecell-reproduce"
    ),
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
    as_json: Json = False,
) -> None:
    """What is in a run; without RUN, what this installation is and which recipes it has."""
    from simplecell.about import installation, of_run

    result, text = installation() if run is None else of_run(run)
    print_result("info", result, as_json, text)


def read(data: str) -> Any:
    """The data argument: a path, or what standard input holds for '-'."""
    if data == "-":
        from simplecell.data.files import read_bytes_array

        if sys.stdin is None:
            raise DataError("standard input is closed; pipe a .npy file into it")
        return read_bytes_array(sys.stdin.buffer)
    if not data:
        raise DataError("the path of the data is empty; give a file, a folder of pictures, or -")
    try:
        os.stat(data)
    except OSError as error:
        raise DataError(f"'{data}' cannot be read: {error.strerror}") from error
    return data


def work(command: str, session: Any, as_json: bool, no_doctor: bool) -> None:
    """Train a session with progress and clean stops; print its result, and what looks wrong."""
    from simplecell.doctor import Doctor
    from simplecell.progress import figures_table, follow, say, say_skipped

    say(*session.notes)
    say_skipped(session.source.skipped)
    if session.done:
        say(f"'{session.run.path}' is finished; --restart begins anew")
        result = session.result()
        print_result(command, result, as_json, figures_table(result))
        return
    doctor = None if no_doctor else Doctor(session)
    say(*map(str, doctor.early if doctor else ()))
    result, code = follow(session)
    print_result(command, result, as_json, figures_table(result))
    say(*map(str, doctor.late if doctor else ()))
    if code:
        place = session.run.path
        say(f"stopped at step {session.trainer.n_steps}; go on: simplecell resume {place}")
        raise typer.Exit(code)
    say(f"next: simplecell show {session.run.path}")


def print_version(wanted: bool) -> None:
    """The version alone, before any command is asked for."""
    if wanted:
        from importlib import metadata

        print(metadata.version("simplecell"))
        raise typer.Exit


@app.callback()
def options(
    trace: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version),
    ] = False,
) -> None:
    """Learn, see and use sparse features of unlabelled data."""


def run_command_line(arguments: list[str]) -> int:
    """Run one command; its exit code. Errors become one sentence on standard error."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="simplecell")
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a wrong flag or argument
            error.show()
            return int(error.exit_code)
        return say_error(error, "--traceback" in arguments)


def say_error(error: Exception, trace: bool) -> int:
    """Print an error as a sentence; the exit code it stands for."""
    if trace:
        traceback.print_exception(error)
    if isinstance(error, SimplecellError):
        print(f"simplecell: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's RuntimeError
        print("simplecell: out of memory; use fewer latents or patches", file=sys.stderr)
        return UsageError.exit_code
    if isinstance(error, OSError) and error.strerror:  # writing has its own sentences
        print(f"simplecell: {error.filename}: {error.strerror}", file=sys.stderr)
        return DataError.exit_code
    print(
        f"simplecell: internal error ({type(error).__name__}: {error}); "
        "please report it with the output of --traceback",
        file=sys.stderr,
    )
    return 1
