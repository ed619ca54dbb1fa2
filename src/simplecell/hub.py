"""Runs to the Hugging Face hub and back: `push_to_hub`, `from_pretrained`, `pull`.

Nothing is sent unless it is asked for. What goes up is the run without what it remembers
of this machine (paths, files that were skipped, notes), and a model card written from it. What
comes down is read as any run is: safetensors, JSON and TOML, nothing that could be a program.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simplecell.errors import RunError, UsageError, WriteError
from simplecell.estimators.contract import ModelTransformer
from simplecell.estimators.loading import load
from simplecell.run.directory import Run, reported_figures
from simplecell.run.recipe import Recipe
from simplecell.run.storage import write_whole, writing
from simplecell.run.trained import Trained
from simplecell.viz.files import save
from simplecell.viz.portrait import picture

RUN_FILES = (
    *("recipe.toml", "run.json", "log.jsonl"),
    *("model.safetensors", "preprocess.safetensors", "target.safetensors"),
    "normal.safetensors",
)
"""What of a run is sent and fetched; a card and a picture stand beside them."""
PICTURE = "features.png"


def push_to_hub(
    run: str | Path | ModelTransformer,
    repo: str,
    *,
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Send a run, or a fitted estimator, to a repository of the hub; its address.

    Args:
        run: a run directory, or an estimator with `save`.
        repo: "name" or "owner/name"; made if it is not there.
        license: as the hub names it ("mit", "cc-by-4.0" …), for the model card; None: the card says
            that there is none.
        private: of a repository that is made.
        token: None takes the one that `hf auth login` has kept.
        endpoint: another hub than huggingface.co.

    Raises:
        UsageError: for a name that the hub does not take, or without huggingface_hub.
        RunError: for what is no run.
        WriteError: when the hub refuses, or is out of reach.
    """
    hub = library()
    api = hub.HfApi(endpoint=endpoint, token=token)
    with tempfile.TemporaryDirectory() as name, _sentences("could not send", repo, WriteError):
        folder = Path(name) / "run"
        trained = _trained(run, Path(name) / "saved")
        _fill(folder, trained, run)
        address = api.create_repo(repo, private=private, exist_ok=True)
        text = card(trained, address.repo_id, license)  # with the owner, where that was left out
        write_whole(folder / "README.md", text.encode())
        api.upload_folder(
            repo_id=address.repo_id, folder_path=folder, commit_message="a run of simplecell"
        )
    return str(address)


def from_pretrained(
    repo: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> ModelTransformer:
    """A fitted estimator from a repository that `push_to_hub` made, as `simplecell.load` gives it.

    Fetched files stay in the hub's own cache, so that the second time needs no network.

    Args:
        repo: "owner/name".
        revision: a branch, a tag or a commit; the newest unless given.
        token, endpoint: as in `push_to_hub`.

    Raises:
        UsageError: for a name that is none, or without huggingface_hub.
        RunError: where there is no such repository, no run in it, or no way to the hub.
    """
    return load(_fetched(repo, revision=revision, token=token, endpoint=endpoint))


def pull(
    repo: str,
    out: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> Path:
    """Write the run of a repository into a new directory; the directory.

    Args:
        out: where nothing is yet, or an empty folder.
        repo, revision, token, endpoint: as in `from_pretrained`.

    Raises:
        UsageError: as `from_pretrained`.
        RunError: as that, and where something lies at `out`.
        WriteError: when it cannot be written.
    """
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise RunError(f"'{place}' is there already, and holds something; give another place")
    folder = _fetched(repo, revision=revision, token=token, endpoint=endpoint)
    Run(folder).load()  # what is no run leaves nothing behind
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, place / name)  # the cache's own may be a link
    return place


def _fetched(repo: str, **told: str | None) -> Path:
    """The folder of the hub's own cache that holds the files of a run."""
    hub = library()
    with _sentences("could not fetch", repo, RunError):
        return Path(hub.snapshot_download(repo, **told, allow_patterns=list(RUN_FILES)))


def library() -> Any:
    """huggingface_hub, which is an extra. Raises UsageError, naming it, where it is missing."""
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError(
            "the hub is reached by huggingface_hub, which is not installed; say "
            "pip install 'simplecell[hub]'"
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def _sentences(what: str, repo: str, kind: type[RunError] | type[WriteError]) -> Iterator[None]:
    """What the library raises, as one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Which HTTP client is below changes with its version; what cannot connect is of its own kinds.
    client = [one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError"]
    failures: tuple[type[Exception], ...] = (OSError, *client)
    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"'{repo}' is no name of a repository: {_first_line(error)}") from error
    except failures as error:
        if isinstance(error, RunError | WriteError):
            raise
        raise kind(f"{what} '{repo}': {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _trained(run: str | Path | ModelTransformer, folder: Path) -> Trained:
    if isinstance(run, str | Path):
        return Run(run).load()
    run.save(folder)
    return Run(folder).load()


def _fill(folder: Path, trained: Trained, run: object) -> None:
    """The run without what it remembers of this machine, and its picture."""
    info = copy.deepcopy(trained.info)
    info["data"] |= {"path": None, "notes": [], "skipped": []}
    if converted := info.get("converted"):
        converted["path"] = Path(converted["path"]).name
    for table in (info["requested"], info.get("resolved", {})):
        for key in ("meta", "targets"):
            table.get("data", {}).pop(key, None)
    made, recipe = Run(folder), _without_places(trained.recipe)
    made.begin(recipe, info, trained.preprocess, trained.target_preprocess)
    made.write_model(trained.model)
    (folder / "checkpoints").rmdir()
    if isinstance(run, str | Path):
        made.log(Run(run).records())
    save(picture(trained, "latents"), folder / PICTURE)


def _without_places(recipe: Recipe) -> Recipe:
    """The recipe without names of files."""
    return dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, meta=None, targets=None)
    )


def card(trained: Trained, repo: str, license: str | None) -> str:
    """The model card: YAML that the hub reads, then what a person reads."""
    told = ["---", *([f"license: {json.dumps(license)}"] if license else [])]
    told += ["library_name: simplecell", "tags:", "- sparse-autoencoder", "- dictionary-learning"]
    told += [f"- {_kind(trained)}", "---", ""]
    owner_and_name = repo.rpartition("/")[2]
    told += [
        f"# {_plain(owner_and_name)}",
        "",
        _what(trained),
        "",
        f"![Its latents]({PICTURE})",
        "",
    ]
    told += ["## Figures", "", *_figures(trained), "", "## Data", "", *_data(trained), ""]
    told += ["## Use", "", *_use(trained, repo), "", "## Licence", ""]
    told += [
        f"{_plain(license)}, as its author says."
        if license
        else "None was named: ask the author before you use it."
    ]
    told += [
        "",
        "## Recipe",
        "",
        "```toml",
        _without_places(trained.recipe).text().strip(),
        "```",
        "",
    ]
    return "\n".join(told)


def _kind(trained: Trained) -> str:
    return "matryoshka" if "nested" in trained.recipe.objective else trained.model.activation.kind


def _what(trained: Trained) -> str:
    model, chain = trained.model, trained.preprocess
    steps = ", ".join(str(step["kind"]) for step in chain.steps) or "none"
    sort = "transcoder" if trained.target_preprocess is not None else "autoencoder"
    return (
        f"A sparse {sort} made by simplecell: {model.n_latents} latents over {chain.n_inputs} "
        f"inputs, {model.activation.kind} codes, preparation: {steps}."
    )


def _figures(trained: Trained) -> list[str]:
    """A table of what the run found; fvu is the fraction of variance unexplained."""
    figures = reported_figures(trained.info)
    rows = ["| figure | value |", "|---|---|"]
    for name, words in (
        ("samples", "measured on"),
        ("fvu", "variance unexplained, fraction"),
        ("l0", "active latents a sample"),
    ):
        value = figures[name]
        if value is not None:
            rows.append(
                f"| {words} | {value if isinstance(value, str) else format(value, '.4g')} |"
            )
    return rows


def _data(trained: Trained) -> list[str]:
    data, converted = trained.info["data"], trained.info.get("converted")
    if converted:
        return [
            f"Not trained here: {_plain(converted['kind'])}, converted. Its data are not known."
        ]
    lines = [
        f"{data['n_samples']} samples for training and {data['n_held_out']} held out "
        f"({data['kind']}, shape {tuple(data['shape'])})."
    ]
    if data["path"]:
        lines[0] += f" File: `{_plain(Path(data['path']).name)}`."
    if names := data["input_names"]:
        more = f" … {len(names)} in all" if len(names) > 12 else ""
        lines.append(f"Inputs: {', '.join(map(_plain, names[:12]))}{more}.")
    return lines


def _use(trained: Trained, repo: str) -> list[str]:
    return [
        "```python",
        "import simplecell",
        "",
        f"sae = simplecell.hub.from_pretrained({json.dumps(repo)})",
        f"codes = sae.transform(X)  # [n, {trained.model.n_latents}] of X [n, "
        f"{trained.preprocess.n_inputs}], in the units of the data",
        "```",
    ]


def _plain(text: str) -> str:
    """Somebody's words without what Markdown and HTML would take for markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))
