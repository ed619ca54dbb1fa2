"""What happened, as a directory: written whole or not at all, read with suspicion.

recipe.toml              what was done, every "auto" resolved
run.json                 format, versions, data, status, final figures
model.safetensors        encoder, decoder, bias, center, offset
preprocess.safetensors   what the preparation learned
log.jsonl                one line a record
checkpoints/             everything that resuming needs
"""

from __future__ import annotations

import contextlib
import copy
import json
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors_from
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from simplecell.codes import Codes
from simplecell.data import Source
from simplecell.errors import DataError, RunError, UsageError
from simplecell.model import Autoencoder
from simplecell.preprocess import Preprocess
from simplecell.recipe import Recipe
from simplecell.storage import (
    read_json,
    sweep_temporaries,
    write_json,
    write_whole,
    writing,
)
from simplecell.train import to_model

FORMAT = 1
OURS = (
    "recipe.toml",
    "run.json",
    "model.safetensors",
    "preprocess.safetensors",
    "log.jsonl",
    "features.png",
    "atoms.png",
    "reconstructions.png",
    "curve.png",
    "checkpoints",
    ".lock",
)


@dataclass(frozen=True)
class Trained:
    """A model with its preparation and its story, as a run keeps it."""

    model: Autoencoder
    preprocess: Preprocess
    recipe: Recipe
    info: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """How one sample is laid out: (D,), (h, w) or (h, w, 3)."""
        return tuple(self.info["data"]["shape"])

    @property
    def input_names(self) -> list[str] | None:
        """Names of the input columns, if they have any."""
        return self.info["data"].get("input_names")

    def model_in(self, dtype: torch.dtype) -> Autoencoder:
        """The model in another precision, for float64 answers to float64 questions."""
        if dtype == self.model.bias.dtype:
            return self.model
        return copy.deepcopy(self.model).to(dtype)

    @torch.no_grad()
    def encode(self, x: NDArray[Any]) -> NDArray[Any]:
        """Codes [B, M] of raw rows [B, D], in the precision of x."""
        model = self.model_in(torch.float64 if x.dtype == np.float64 else torch.float32)
        return model.encode(to_model(x, self.preprocess, model.bias))[1].dense.cpu().numpy()

    @torch.no_grad()
    def decode(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Rows [B, D] in input units, of codes [B, M]; what a sample carried itself (DC) is 0."""
        model = self.model_in(torch.float64 if codes.dtype == np.float64 else torch.float32)
        if codes.ndim != 2 or codes.shape[1] != model.n_latents:
            raise DataError(
                f"the codes have shape {codes.shape}, but this model has {model.n_latents} "
                "latents: one row a sample, one column a latent is needed"
            )
        recon = model.decode(Codes(torch.tensor(codes).to(model.bias)))
        return self.preprocess.invert(recon).cpu().numpy()

    @torch.no_grad()
    def reconstruct(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Prepared rows [B, D'] and their reconstructions."""
        model = self.model_in(torch.float64 if x.dtype == np.float64 else torch.float32)
        prepared = to_model(x, self.preprocess, model.bias)
        return prepared.cpu().numpy(), model(prepared).recon.cpu().numpy()

    @torch.no_grad()
    def latents(self) -> Tensor:
        """What excites each latent most, in input units [M, D] (up to length)."""
        return self.preprocess.pixels(self.model.encoder.detach().double().cpu())

    @torch.no_grad()
    def atoms(self) -> Tensor:
        """What each latent adds to a reconstruction, in input units [M, D]."""
        return self.preprocess.atoms(self.model.decoder.detach().double().cpu())


class Run:
    """A run directory at `path`; nothing is read or written until asked."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / "run.json").is_file()

    def info(self) -> dict[str, Any]:
        """run.json.

        Raises:
            RunError: no run here, a damaged file, or a newer format.
        """
        if not self.exists:
            raise RunError(
                f"'{self.path}' is not a run directory (it has no run.json); "
                "make one with: simplecell train DATA --out RUN"
            )
        info = read_json(self.path / "run.json")
        found = info.get("format")
        if not isinstance(found, int) or found < 1:
            raise RunError(f"'{self.path}' is damaged: its run.json has no format number")
        if found > FORMAT:
            raise RunError(
                f"'{self.path}' was written in format {found}, and this simplecell reads up to "
                f"{FORMAT}; upgrade simplecell to open it"
            )
        data = info.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("shape"), list):
            raise RunError(f"'{self.path}' is damaged: its run.json does not describe the data")
        return info

    def recipe(self) -> Recipe:
        """recipe.toml, as it was resolved."""
        path = self.path / "recipe.toml"
        try:
            return Recipe.from_text(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError, UsageError) as error:
            raise RunError(f"'{path}' is damaged: {error}") from error

    def begin(self, recipe: Recipe, info: Mapping[str, Any], preprocess: Preprocess) -> None:
        """Create the directory with everything that is known before the first step.

        Raises:
            RunError: when something else than a run is in the way.
            WriteError: when it cannot be written.
        """
        self.refuse_strangers()
        with writing(self.path):
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "recipe.toml", recipe.text().encode())
        write_whole(self.path / "preprocess.safetensors", tensors_to_bytes(preprocess.state()))
        write_whole(self.path / "log.jsonl", b"")
        self.describe(info)

    def begin_again(self, recipe: Recipe, info: Mapping[str, Any]) -> None:
        """Say that training goes on, perhaps to a greater length."""
        write_whole(self.path / "recipe.toml", recipe.text().encode())
        self.describe(info)

    def refuse_strangers(self) -> None:
        """Raise RunError if files that are not ours lie where the run should go."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"'{self.path}' is a file; a run is a directory: choose another --out")
        if self.path.is_dir() and not self.exists:
            strange = sorted({entry.name for entry in self.path.iterdir()} - set(OURS))
            if strange:
                raise RunError(
                    f"'{self.path}' holds other files ({', '.join(strange[:3])}); "
                    "choose an empty or new directory as --out"
                )

    def clear(self) -> None:
        """Remove the run's own files, and nothing else."""
        for name in OURS:
            path = self.path / name
            with writing(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def describe(self, info: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_json(self.path / "run.json", {"format": FORMAT, **info})

    def log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append records to log.jsonl."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path = self.path / "log.jsonl"
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(text)

    def records(self) -> list[dict[str, Any]]:
        """The records of log.jsonl; a last line cut short by a crash is left out."""
        records = []
        with contextlib.suppress(OSError):
            for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
        return [record for record in records if isinstance(record, dict) and "step" in record]

    def cut_log(self, step: int) -> None:
        """Forget records after `step`: they will be made again."""
        kept = [record for record in self.records() if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_whole(self.path / "log.jsonl", text.encode())

    def checkpoint(self, model: Autoencoder, state: dict[str, Tensor]) -> None:
        """Write the state that resuming needs, and the weights; keep two checkpoints."""
        step = int(state["n_steps"])
        folder = self.path / "checkpoints"
        ready = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        write_whole(folder / f"step-{step:09d}.safetensors", tensors_to_bytes(ready))
        self.write_model(model)
        for old in self._checkpoints()[:-2]:
            with contextlib.suppress(OSError):
                old.unlink()

    def write_model(self, model: Autoencoder) -> None:
        """Write the weights."""
        write_whole(self.path / "model.safetensors", tensors_to_bytes(model.tensors()))

    def last_checkpoint(self) -> dict[str, Tensor] | None:
        """The newest state that can be read, or None before the first."""
        sweep_temporaries(self.path)
        sweep_temporaries(self.path / "checkpoints")
        for path in reversed(self._checkpoints()):
            with contextlib.suppress(RunError):
                return read_tensors(path)
        return None

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def preprocess(self, recipe: Recipe) -> Preprocess:
        """The fitted preparation."""
        steps = recipe.preprocess.steps
        if isinstance(steps, str):
            raise RunError(f"'{self.path}' is damaged: its recipe is not resolved")
        return Preprocess.from_state(steps, read_tensors(self.path / "preprocess.safetensors"))

    def load(self) -> Trained:
        """The model and everything around it.

        Raises:
            RunError: for whatever is missing, damaged, of a newer format or does not fit.
        """
        info, recipe = self.info(), self.recipe()
        preprocess = self.preprocess(recipe)
        path = self.path / "model.safetensors"
        if not path.exists():
            raise RunError(
                f"'{self.path}' has no weights yet: training stopped before its first checkpoint; "
                f"go on with: simplecell resume {self.path}"
            )
        tensors = read_tensors(path)
        wanted = (recipe.model.n_latents, preprocess.n_outputs)
        if "encoder" not in tensors or tuple(tensors["encoder"].shape) != wanted:
            raise RunError(f"'{path}' does not fit recipe.toml: encoder should be {wanted}")
        model = recipe.build_model(preprocess.n_outputs)
        try:
            model.load_tensors(tensors)
        except DataError as error:
            raise RunError(f"'{path}' is damaged: {error}") from error
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise RunError(f"'{path}' is damaged: it holds weights that are not finite")
        return Trained(model, preprocess, recipe, info)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file.

    Raises:
        RunError: when it is missing or damaged.
    """
    try:
        return load_tensors_from(path.read_bytes())
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"'{path}' cannot be read: {error}") from error


def about_software(threads: int, device: str) -> dict[str, Any]:
    """Versions and settings that the bits of a result depend on."""
    return {
        "simplecell": metadata.version("simplecell"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "threads": threads,
        "device": device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def about_data(data: Any, source: Source, held_out: Source | None) -> dict[str, Any]:
    """What a run remembers of its data; `data` is a path where it has one."""
    path = str(Path(data).resolve()) if isinstance(data, str | Path) and str(data) != "-" else None
    return {
        "path": path,
        "fingerprint": source.fingerprint(),
        "kind": source.kind,
        "shape": [int(side) for side in source.shape],
        "input_names": source.input_names,
        "columns": source.columns,
        "n_samples": source.n_samples,
        "n_held_out": 0 if held_out is None else held_out.n_samples,
        "notes": list(source.notes),
        "skipped": [{"file": s.file, "reason": s.reason} for s in source.skipped],
    }
