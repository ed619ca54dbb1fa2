"""The table of formats, a row each: what `load` recognises, and what `convert --to` writes.

A row's module, beside this file, has `recognises(found)` and `read(found, given)` where it is read,
and `write(trained, path, given)`, which gives what could not be carried over, where it is written.
One that is written and not read has `evaluator(path)`, or `compared(path, trained, x)`, for the
check of what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from simplecell.errors import RunError, unknown

if TYPE_CHECKING:
    from simplecell.interop.foreign import Evaluate, Foreign
    from simplecell.interop.found import Found

# What needs torch is imported where it is needed: the command line's help reads this table.


@dataclass(frozen=True)
class Format:
    """One format of files."""

    name: str
    """As `--to` says it, and the file in this room that knows it."""
    title: str
    """As people say it."""
    files: str
    """What lies there."""
    reads: bool = False
    writes: bool = False
    one_file: bool = False
    """Whether what is written is a file, not a folder."""
    keys: tuple[str, ...] = ()
    """What `--set` may say when it is written."""
    own_check: bool = False
    """Whether its module has `compared(path, trained, x)`, since files may hold a part alone."""

    @property
    def names(self) -> list[str]:
        """The files of a folder that is written."""
        return self.files.split(", ")

    @property
    def module(self) -> ModuleType:
        """Its code."""
        return import_module(f"simplecell.interop.{self.name}")


SAELENS_KEYS = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path")
FORMATS = {
    row.name: row
    for row in (
        Format("simplecell", "simplecell", "run.json and the rest of a run", writes=True),
        Format(
            "saelens",
            "SAELens",
            "cfg.json, sae_weights.safetensors",
            reads=True,
            writes=True,
            keys=SAELENS_KEYS,
        ),
        Format("sparsify", "sparsify, latentsae", "cfg.json, sae.safetensors", True, True),
        Format("dictionary_learning", "dictionary_learning", "ae.pt, config.json", True),
        Format("overcomplete", "overcomplete", "a state_dict, .pt or .safetensors", True),
        Format("openai", "OpenAI sparse_autoencoder", "a state_dict, .pt", True),
        Format("gemma_scope", "Gemma Scope", "params.npz", True),
        Format("saev", "saev", "a line of JSON and a state_dict, .pt", True),
        Format(
            "onnx",
            "ONNX",
            "one .onnx file",
            writes=True,
            one_file=True,
            keys=("part",),
            own_check=True,
        ),
    )
}
"""By name, in the order in which they are asked whether they recognise a path."""


def written() -> list[str]:
    """The names that `--to` takes."""
    return [name for name, row in FORMATS.items() if row.writes]


def row_of(name: str) -> Format:
    """The row of a format that is written. Raises UsageError for any other name."""
    if name not in written():
        raise unknown("format to write", name, written())
    return FORMATS[name]


def recognised(found: Found) -> Format | None:
    """The format of what lies at a path; None where no reader knows it."""
    return next((r for r in FORMATS.values() if r.reads and r.module.recognises(found)), None)


def read(
    path: str | Path, given: Mapping[str, object] | None = None, more: tuple[str, ...] = ()
) -> Foreign:
    """The model of another library at a path.

    `given` is what its file does not say, such as k; those of `more` are for somebody else.

    Raises:
        RunError: for a path that no reader knows, files that are damaged, would have to be
            unpickled, or hold what no model here can.
        UsageError: for what the file does not say and `given` should, or should not.
    """
    from simplecell.interop.foreign import Given
    from simplecell.interop.found import Found

    found = Found(path)
    row = recognised(found)
    if row is None:
        if found.path.suffix in (".pt", ".pth") and not found.is_folder:
            found.state()  # which says why a pickle is not opened
        known = "; ".join(f"{r.title}: {r.files}" for r in FORMATS.values() if r.reads)
        raise RunError(
            f"'{path}' is not a run directory (it has no run.json), nor a model of another library "
            f"that is known here ({known})"
        )
    said = {name: value for name, value in (given or {}).items() if name not in more}
    left = Given(said)
    foreign: Foreign = row.module.read(found, left)
    left.refuse_left(foreign.kind)
    return foreign


def evaluator(row: Format, path: Path) -> Evaluate:
    """What computes codes and reconstructions from the files that were written at a path."""
    if row.reads:
        return read(path).evaluate
    found: Evaluate = row.module.evaluator(path)
    return found
