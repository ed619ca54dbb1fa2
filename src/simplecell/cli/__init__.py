"""The command line: verbs over run directories. Results on standard output, all else on error."""

from __future__ import annotations

import sys
import traceback

import typer

# The order of the verbs in the help is that of these lines.
from simplecell.cli import train, show, codes, measure, explain, index, shard, harvest, convert, hub  # isort: skip
from simplecell.cli.application import app
from simplecell.cli.processes import speaks
from simplecell.errors import DataError, LostError, SimplecellError, UsageError

__all__ = [
    "app",
    "codes",
    "convert",
    "explain",
    "harvest",
    "hub",
    "index",
    "measure",
    "run_command_line",
    "shard",
    "show",
    "train",
]


def run_command_line(arguments: list[str]) -> int:
    """Run one command; its exit code. Errors become one sentence on standard error."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="simplecell", obj=arguments)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a wrong flag or argument
            error.show()
            if told := where_data_stand(error):
                print(told, file=sys.stderr)
            return int(error.exit_code)
        return say_error(error, "--traceback" in arguments)


def where_data_stand(error: Exception) -> str | None:
    """Of a wrong flag or argument: how this verb takes data, where they were given another way."""
    context = getattr(error, "ctx", None)
    given: list[str] = getattr(context, "obj", None) or []
    if context is None or not given:
        return None
    options = {name for one in context.command.params for name in one.opts}
    verb = f"simplecell {context.info_name}"
    if getattr(error, "option_name", None) == "--data" and "data" in options:
        known = [one for one in context.command.params if one.param_type_name == "argument"]
        places = " ".join((one.metavar or one.name.upper()).strip("[]") for one in known)
        return f"DATA stands here without --data: {verb} {places}"
    if "--data" in options and "unexpected extra argument" in str(error):
        return f"other data are given by an option: {verb} RUN --data DATA"
    return None


def say_error(error: Exception, trace: bool) -> int:
    """Print an error as a sentence; the exit code it stands for."""
    from simplecell.data.unseen import seen

    if trace:
        traceback.print_exception(error)
    if isinstance(error, LostError) and not speaks():
        return error.exit_code
    if isinstance(error, SimplecellError):
        print(f"simplecell: {seen(str(error))}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's RuntimeError
        print("simplecell: out of memory; use fewer latents or patches", file=sys.stderr)
        return UsageError.exit_code
    if isinstance(error, OSError) and error.strerror:  # writing has its own sentences
        print(seen(f"simplecell: {error.filename}: {error.strerror}"), file=sys.stderr)
        return DataError.exit_code
    print(
        f"simplecell: internal error ({type(error).__name__}: {seen(str(error))}); "
        "please report it with the output of --traceback",
        file=sys.stderr,
    )
    return 1
