"""Verbs that send a run to the Hugging Face hub and fetch one: push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simplecell.cli.application import Json, RunPath, app, print_result

Repo = Annotated[str, typer.Argument(metavar="REPO", help="A repository of the hub: owner/name.")]
Endpoint = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Another hub than huggingface.co.")
]


@app.command()
def push(
    run: RunPath,
    repo: Repo,
    license: Annotated[
        str | None, typer.Option(help="As the hub names it, such as mit; default: none is named.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Of a repository that is made.")
    ] = False,
    endpoint: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Send RUN to a repository of the hub, with a model card and its picture.

    The token is the one that `hf auth login` has kept.
    """
    from simplecell.hub import push_to_hub

    address = push_to_hub(run, repo, license=license, private=private, endpoint=endpoint)
    print_result("push", {"run": str(run), "address": address}, as_json, f"{run}: {address}")


@app.command()
def pull(
    repo: Repo,
    out: Annotated[Path, typer.Option("--out", help="Run directory, where nothing is yet.")],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; default: the newest.")
    ] = None,
    endpoint: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Fetch the run of a repository of the hub."""
    from simplecell.hub import pull as fetch
    from simplecell.run.progress import say

    place = fetch(repo, out, revision=revision, endpoint=endpoint)
    print_result("pull", {"repo": repo, "run": str(place)}, as_json, f"{repo}: {place}")
    say(f"next: simplecell evaluate {place} DATA, or: simplecell explore {place} --data DATA")
