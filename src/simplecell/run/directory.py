"""What happened, as a directory: written whole or not at all, read with suspicion.

recipe.toml              what was done, every "auto" resolved
run.json                 format, versions, data, status, final figures
model.safetensors        encoder, decoder, bias, center, offset
preprocess.safetensors   what the preparation learned
target.safetensors       of a transcoder: what the preparation of its targets learned
normal.safetensors       of a finished run: what is normal of its samples
log.jsonl                one line a record
checkpoints/             everything that resuming needs
atlas/                   what the explorer shows, made from all the others and the data
notes.json               what a person says of latents, notes and names; no training removes it
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import stat
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError

from simplecell.errors import DataError, RunError, UsageError, WriteError
from simplecell.run.info import DataInfo, Info, Line, Packages, Software, is_transcoder
from simplecell.run.recipe import Recipe
from simplecell.run.storage import (
    Lock,
    Part,
    append,
    form_of,
    is_temporary,
    kind_of,
    misfit,
    parse_json,
    read_json,
    read_tensors,
    read_whole,
    sweep_temporaries,
    write_json,
    write_tensors,
    write_whole,
    writing,
)

if TYPE_CHECKING:
    from torch import Tensor

    from simplecell.data import Source
    from simplecell.model.autoencoder import Model
    from simplecell.preprocess.chain import Preprocess
    from simplecell.run.normality import Normality
    from simplecell.run.trained import Trained
    from simplecell.training.state import Stored
    from simplecell.training.trainer import Record, Trainer

# What needs torch is imported where it is needed: what a run tells of itself is read without.

FORMAT = 1
MOST_THREADS = 4096
OURS = (
    "recipe.toml",
    "run.json",
    "model.safetensors",
    "preprocess.safetensors",
    "target.safetensors",
    "normal.safetensors",
    "log.jsonl",
    "features.png",
    "atoms.png",
    "reconstructions.png",
    "preparation.png",
    "curve.png",
    "report.html",
    "checkpoints",
    "atlas",
    "notes.json",
    "embedded",
    ".atlas.lock",
    ".notes.lock",
    ".lock",
)
FOLDERS = ("checkpoints", "atlas", "embedded")
LOCKS = (".lock", ".atlas.lock", ".notes.lock")


def about_packages() -> Packages:
    """Versions as they are installed, for which none of these is loaded."""
    return {
        "simplecell": metadata.version("simplecell"),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "numpy": metadata.version("numpy"),
    }


def about_software(threads: int, device: str) -> Software:
    """Versions and settings that the bits of a result depend on."""
    import torch

    from simplecell.model import native

    packages = about_packages()
    return {
        "simplecell": packages["simplecell"],
        "python": packages["python"],
        "torch": torch.__version__,
        "numpy": packages["numpy"],
        "threads": threads,
        "device": device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "kernels": native.tier().name,
    }


def about_training(requested: Recipe, resolved: Recipe, trainer: Trainer, data: DataInfo) -> Info:
    """run.json of a training as it stands, before any figures."""
    import torch

    return {
        "status": "running",
        "software": about_software(torch.get_num_threads(), str(trainer.flat.device)),
        "seed": requested.train.seed,
        "data": data,
        "requested": requested.table(),
        "resolved": resolved.table(),
        "n_iter": trainer.n_steps,
        "seconds": 0.0,
        "figures": None,
    }


def about_data(
    data: object, source: Source, held_out: Source | None, fingerprint: str | None = None
) -> DataInfo:
    """What a run remembers of its data; `data` is a path where it has one."""
    from simplecell.data.rows import targets_of

    path = str(Path(data).resolve()) if isinstance(data, str | Path) and str(data) != "-" else None
    targets = targets_of(source)
    told: DataInfo = {
        "path": path,
        "fingerprint": fingerprint or source.fingerprint(),
        "kind": source.kind,
        "shape": [int(side) for side in source.shape],
        "input_names": source.input_names,
        "columns": source.columns,
        "n_samples": source.n_samples,
        "n_held_out": 0 if held_out is None else held_out.n_samples,
        "notes": list(source.notes),
        "skipped": [{"file": s.file, "reason": s.reason} for s in source.skipped],
    }
    if targets is not None:
        told["targets_fingerprint"] = targets.fingerprint()
    return told


def line_of(record: Record, seconds: float) -> dict[str, object]:
    """A record as a line of log.jsonl; `seconds` since the training began."""
    mean = record.mean_activation.double()
    ends = [finite(float(value)) for value in (mean.min(), mean.mean(), mean.max())]
    return {
        "step": record.step,
        "cost": finite(float(record.cost)),
        "terms": {name: finite(float(value)) for name, value in record.terms.items()},
        "mean_activation": dict(zip(("min", "mean", "max"), ends, strict=True)),
        "held_out_cost": None if record.held_out_cost is None else finite(record.held_out_cost),
        "seconds": round(seconds, 4),
    }


def reported_figures(info: Info) -> dict[str, str | float | None]:
    """fvu and l0 of a run.json: of held-out samples where it has them, else of those of training.

    None for what it does not say.
    """
    figures = info.get("figures")
    if figures is None:
        return {"samples": None, "fvu": None, "l0": None}
    held_out = figures.get("held_out")
    chosen, samples = (held_out, "held out") if held_out else (figures, "training")
    return {"samples": samples, "fvu": chosen.get("fvu"), "l0": chosen.get("l0")}


def reported_pca(info: Info) -> dict[str, Any] | None:
    """What PCA beside the run left unexplained, of the same samples; None where nobody measured."""
    figures = info.get("figures")
    if figures is None:
        return None
    held_out = figures.get("held_out")
    found = (held_out or figures).get("pca")
    return {"samples": "held out" if held_out else "training", "fvu": found} if found else None


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


class Run:
    """A run directory at `path`; nothing is read or written until asked."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return os.path.isfile(self.path / "run.json")

    def info(self) -> Info:
        """run.json.

        Raises:
            RunError: no run here, a damaged file, or a newer format.
        """
        self.refuse_oddities()
        if not self.exists:
            raise RunError(
                f"'{self.path}' is not a run directory (it has no run.json); "
                "make one with: simplecell train DATA --out RUN, or of another library's model "
                f"with: simplecell convert {self.path} RUN"
            )
        info = read_json(self.path / "run.json")
        found = info.get("format")
        if type(found) is not int or found < 1:
            raise RunError(f"'{self.path}' is damaged: its run.json has no format number")
        if found > FORMAT:
            raise RunError(
                f"'{self.path}' was written in format {found}, and this simplecell reads up to "
                f"{FORMAT}; upgrade simplecell to open it"
            )
        wrong = misfit(info, form_of(Info), "its run.json")
        if wrong:
            raise RunError(f"'{self.path}' is damaged: {wrong}")
        if not 1 <= info["software"]["threads"] <= MOST_THREADS:
            raise RunError(f"'{self.path}' is damaged: its run.json has no number of threads")
        return cast(Info, info)

    def requested(self, info: Info) -> Recipe:
        """The recipe as it was asked for, every "auto" still in it."""
        from simplecell.run.agreement import at_odds

        try:
            asked, resolved = Recipe.from_table(info["requested"]), self.recipe()
        except UsageError as error:
            raise RunError(f"'{self.path}' is damaged: its run.json asks for {error}") from error
        self._refuse_edits(at_odds(asked, resolved))
        return asked

    def agreed(self) -> tuple[Info, Recipe]:
        """run.json and recipe.toml, which say the same.

        Raises:
            RunError: where recipe.toml was edited since; and as `info` and `recipe` do.
        """
        info, recipe = self.info(), self.recipe()
        if "resolved" in info:  # runs of earlier versions do not remember all of it
            self._refuse_edits(self.edits(info, recipe))
        return info, recipe

    def refuse_edits(self, info: Info) -> None:
        """Raise RunError where recipe.toml says something else than the run began with."""
        self._refuse_edits(self.edits(info, self.recipe()))

    def edits(self, info: Info, recipe: Recipe) -> list[str]:
        """What differs, as `table.key: run.json, recipe.toml`."""
        from simplecell.run.agreement import edits

        try:
            return edits(info, recipe)
        except UsageError as error:
            raise RunError(f"'{self.path}' is damaged: its run.json says {error}") from error

    def _refuse_edits(self, changed: list[str]) -> None:
        if changed:
            raise RunError(
                f"run.json and recipe.toml of '{self.path}' do not agree ({'; '.join(changed)}: "
                "run.json, recipe.toml); put recipe.toml back as it was, train into another --out, "
                "or begin anew with --restart"
            )

    def lock(self) -> Lock:
        """The right to train here, until it is released.

        Raises:
            RunError: when another process has it.
        """
        try:
            return Lock(self.path / ".lock")
        except BlockingIOError:
            raise RunError(
                f"another process is training into '{self.path}'; wait for it, stop it, or choose "
                "another --out"
            ) from None

    def recipe(self) -> Recipe:
        """recipe.toml, as it was resolved."""
        path = self.path / "recipe.toml"
        try:
            return Recipe.from_text(read_whole(path).decode("utf-8"), str(path))
        except (OSError, UnicodeDecodeError, UsageError) as error:
            raise RunError(f"'{path}' is damaged: {error}") from error

    def tables(self, info: Info) -> tuple[dict[str, dict[str, Any]], list[str] | None]:
        """The tables of recipe.toml, as it was resolved; and what was edited in it since.

        None: runs of earlier versions do not remember all of it. Where run.json says the same, the
        tables are as they were written, and nothing is left to check.

        Raises:
            RunError: for a file that is damaged, or was edited into what is no recipe.
        """
        told = info.get("resolved")
        with contextlib.suppress(OSError, UnicodeDecodeError, ValueError, RecursionError):
            found = tomllib.loads(read_whole(self.path / "recipe.toml").decode("utf-8"))
            if found == told:
                return found, []
        recipe = self.recipe()
        return recipe.table(), None if told is None else self.edits(info, recipe)

    def begin(
        self,
        recipe: Recipe,
        info: Info,
        preprocess: Preprocess,
        target: Preprocess | None = None,
    ) -> None:
        """Create the directory with everything that is known before the first step.

        A run that is there already is removed. `target` prepares what a transcoder reconstructs.

        Raises:
            RunError: when something else than a run is in the way.
            WriteError: when it cannot be written.
        """
        self.make()
        self.clear()
        try:
            write_whole(self.path / "recipe.toml", recipe.text().encode())
            write_tensors(self.path / "preprocess.safetensors", preprocess.state())
            if target is not None:
                write_tensors(self.path / "target.safetensors", target.state())
            write_whole(self.path / "log.jsonl", b"")
            self.describe(info)
        except WriteError:
            self.remove()
            raise

    def make(self) -> None:
        """Create the empty directory. Raises RunError and WriteError as `begin` does."""
        self.refuse_strangers()
        with writing(self.path):
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)

    def begin_again(self, recipe: Recipe, info: Info) -> None:
        """Say that training goes on, perhaps to a greater length."""
        self.describe(info)  # first: a greater length in recipe.toml alone would be an edit
        write_whole(self.path / "recipe.toml", recipe.text().encode())

    def refuse_oddities(self, unlinked: Iterable[str] = ()) -> None:
        """Raise RunError if something of ours is no file, or no folder where one belongs.

        A pipe would be waited for without end. Of those `unlinked` links are odd as well: whoever
        writes through one writes outside the run.
        """
        for name in OURS:
            self._refuse_odd(self.path / name, name in FOLDERS, name in unlinked)
        if "checkpoints" in unlinked:
            for path in self._checkpoints():
                self._refuse_odd(path, False, True)

    def _refuse_odd(self, path: Path, folder: bool, unlinked: bool) -> None:
        try:
            mode = (os.lstat if unlinked else os.stat)(path).st_mode
        except (OSError, ValueError):
            return
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            needed = "directory" if folder else "file"
            raise RunError(
                f"'{path}' is {kind_of(mode)}, and a {needed} of the run itself is needed there; "
                "remove it, or choose another run directory"
            )

    def refuse_strangers(self) -> None:
        """Raise RunError if files that are not ours lie where the run should go.

        And if links do, through which one would write elsewhere.
        """
        self.refuse_oddities(OURS)
        with writing(self.path):
            if not os.path.isdir(self.path):
                if os.path.lexists(self.path):
                    raise RunError(
                        f"'{self.path}' is a file; a run is a directory: choose another --out"
                    )
                return
            found = {path.name for path in self.path.iterdir() if not is_temporary(path)}
        strange = sorted(found - set(OURS))
        if strange and not self._is_ours():
            raise RunError(
                f"'{self.path}' holds other files ({', '.join(strange[:3])}); "
                "choose an empty or new directory as --out"
            )

    def _is_ours(self) -> bool:
        """Whether the run.json is one of ours and not another program's."""
        with contextlib.suppress(RunError):
            return self.exists and "format" in read_json(self.path / "run.json")
        return False

    def clear(self) -> None:
        """Remove the run's own files, and nothing else; a lock stays."""
        for folder in (self.path, self.path / "checkpoints"):
            sweep_temporaries(folder)
        for path in self._checkpoints():
            with writing(path):
                path.unlink()
        with writing(self.path / "atlas"):
            shutil.rmtree(self.path / "atlas", ignore_errors=not (self.path / "atlas").exists())
        for name in sorted(set(OURS) - {*LOCKS, *FOLDERS, "notes.json"}):
            with writing(self.path / name):
                (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the run's own files, and the directory if nothing else is in it."""
        with contextlib.suppress(WriteError, OSError):
            self.clear()
            for lock in LOCKS:
                (self.path / lock).unlink(missing_ok=True)
            (self.path / "checkpoints").rmdir()
            self.path.rmdir()

    def describe(self, info: Info) -> None:
        """Write run.json."""
        write_json(self.path / "run.json", {"format": FORMAT, **info})

    def log(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Append records to log.jsonl."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        append(self.path / "log.jsonl", text.encode())

    def records(self) -> list[Line]:
        """The records of log.jsonl; a last line cut short by a crash is left out."""
        records: list[Line] = []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in read_whole(self.path / "log.jsonl").decode("utf-8").splitlines():
                with contextlib.suppress(ValueError, RecursionError):
                    records.append(parse_json(line))
        form = form_of(Line)
        return [record for record in records if misfit(record, form) is None]

    def cut_log(self, step: int) -> None:
        """Forget records after `step`: they will be made again."""
        kept = [record for record in self.records() if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_whole(self.path / "log.jsonl", text.encode())

    def checkpoint(self, model: Model, step: int, state: Mapping[str, Part]) -> None:
        """Write the state that resuming needs, and the weights; keep two checkpoints."""
        write_tensors(self.path / "checkpoints" / f"step-{step:09d}.safetensors", state)
        self.write_model(model)
        self.keep_checkpoints(2)

    def keep_checkpoints(self, number: int) -> None:
        """Remove all but the newest."""
        for old in self._checkpoints()[:-number]:
            with contextlib.suppress(OSError):
                old.unlink()

    def write_model(self, model: Model) -> None:
        """Write the weights."""
        write_tensors(self.path / "model.safetensors", model.tensors())

    def write_normal(self, normal: Normality | None) -> None:
        """Write what is normal of the samples; None removes what was said of other weights."""
        path = self.path / "normal.safetensors"
        if normal is not None:
            write_tensors(path, normal.tensors())
            return
        with writing(path):
            path.unlink(missing_ok=True)

    def _normal(self, model: Model, info: Info) -> Normality | None:
        """What is normal of the samples of a finished run."""
        from simplecell.run.normality import Normality

        path = self.path / "normal.safetensors"
        if info["status"] != "finished" or not path.exists():
            return None
        return Normality.from_tensors(read_tensors(path), model.n_latents)

    def last_checkpoint(self) -> Stored | None:
        """The newest state that can be read, or None before the first."""
        from simplecell.training.state import Stored

        sweep_temporaries(self.path)
        sweep_temporaries(self.path / "checkpoints")
        for path in reversed(self._checkpoints()):
            with contextlib.suppress(OSError, SafetensorError):
                return Stored(path)
        return None

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def preprocess(self, recipe: Recipe) -> Preprocess:
        """The fitted preparation."""
        from simplecell.preprocess.chain import Preprocess

        steps = recipe.preprocess.steps
        if isinstance(steps, str):
            raise RunError(f"'{self.path}' is damaged: its recipe is not resolved")
        return Preprocess.from_state(steps, read_tensors(self.path / "preprocess.safetensors"))

    def target_preprocess(self, recipe: Recipe, info: Info) -> Preprocess | None:
        """The fitted preparation of what a transcoder reconstructs; None for any other run."""
        from simplecell.preprocess.chain import Preprocess
        from simplecell.run.resolve import target_steps

        if not is_transcoder(info):
            return None
        tensors = read_tensors(self.path / "target.safetensors")
        return Preprocess.from_state(target_steps(recipe), tensors)

    def load(self) -> Trained:
        """The model and everything around it.

        Raises:
            RunError: for whatever is missing, damaged, edited, of a newer format or does not fit.
        """
        import torch

        from simplecell.run.notes import names_in
        from simplecell.run.trained import Trained

        info, recipe = self.agreed()
        preprocess, target = self.preprocess(recipe), self.target_preprocess(recipe, info)
        path = self.path / "model.safetensors"
        if not path.exists():
            raise RunError(
                f"'{self.path}' has no weights yet: training stopped before its first checkpoint; "
                f"go on with: simplecell resume {self.path}"
            )
        if math.prod(info["data"]["shape"]) != preprocess.n_inputs:
            raise RunError(
                f"'{self.path}' is damaged: its run.json has samples of shape "
                f"{info['data']['shape']}, its preparation {preprocess.n_inputs} inputs"
            )
        tensors = read_tensors(path)
        try:
            sizes = preprocess.n_outputs, None if target is None else target.n_outputs
            with torch.device("meta"):  # a recipe may ask for more than there is memory
                _check_weights(recipe.build_model(*sizes), tensors)
            model = recipe.build_model(*sizes)
            model.load_tensors(tensors)
        except (DataError, UsageError) as error:
            raise RunError(f"'{path}' does not fit recipe.toml: {error}") from error
        if not all(t.is_floating_point() and torch.isfinite(t).all() for t in tensors.values()):
            raise RunError(f"'{path}' is damaged: it holds weights that are not finite")
        normal, names = self._normal(model, info), names_in(self.path)
        return Trained(model, preprocess, recipe, info, target, names, normal)


def _check_weights(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Raise DataError unless every weight is among the tensors, in its shape and precision."""
    model.check_tensors(tensors)
    for name, mine in model.weights().items():
        found, needed = (str(t.dtype).removeprefix("torch.") for t in (tensors[name], mine))
        if found != needed:
            raise DataError(f"weights: '{name}' is of type {found}; needed {needed}")
