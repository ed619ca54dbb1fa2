"""A trained model as one ONNX file, which runs where there is neither torch nor simplecell.

The graph is built node by node, of a dozen kinds that every runtime has, and not traced by
`torch.onnx.export`: that needs onnxscript as well, writes weights beside the file and one size of
batch unless told, and cannot follow codes that are sparse.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from simplecell.errors import RunError, UsageError, choice
from simplecell.interop.foreign import Given
from simplecell.interop.onnx_graph import Graph, decoded, encoded, library, prepared, unprepared
from simplecell.interop.verify import random_samples
from simplecell.run.directory import FORMAT, Run, reported_figures
from simplecell.run.storage import write_whole, writing
from simplecell.run.trained import Floats, Trained
from simplecell.run.whole import WholeModel

OUTPUTS_OF = {"encoder": ("codes",), "decoder": ("recon",), "both": ("codes", "recon")}
"""What each part gives."""
OPSET, IR = 13, 8
"""Of 2020 and 2021: whatever reads ONNX files reads these."""
ONE_FILE = 2**31 - 2**20
"""Bytes of weights that a file may hold: its format counts in 31 bits, and names take some."""
AGREES = 1e-5
"""Of the largest number: how far apart codes may be, ours and onnxruntime's."""
UNCHECKED = (
    "not checked, since onnxruntime is not installed; say pip install 'simplecell[onnx]' and write "
    "it again"
)


class Agreement(NamedTuple):
    """How far what onnxruntime gives is from what we give, as a share of the largest number.

    None where a file has no such part. `turned` counts codes where a latent is active for one of
    the two and not for the other, because it stands on its threshold but for rounding.
    """

    codes: float | None
    recon: float | None
    turned: int
    n_samples: int
    version: str

    def table(self) -> dict[str, object]:
        """The figures by name, as JSON."""
        return self._asdict()

    def __str__(self) -> str:
        parts = {"codes": self.codes, "reconstructions": self.recon}
        told = ", ".join(f"{name} {v:.1e}" for name, v in parts.items() if v is not None)
        turned = f", {self.turned} codes on their threshold" if self.turned else ""
        return f"{told} ({self.n_samples} samples, onnxruntime {self.version}{turned})"


def write(trained: Trained, path: Path, given: Given) -> list[str]:
    """Write the part that `given` says, or both; a row of `formats` asks for it.

    Gives what could not be carried over. Raises as `export` does.
    """
    part = given.word("part", tuple(OUTPUTS_OF)) or "both"
    export(trained, path, part=part)
    return left_behind(trained, part)


def left_behind(trained: Trained, part: str) -> list[str]:
    """What happens to data before they are rows, and is in no graph; in sentences."""
    data, lost = trained.info["data"], []
    if data["kind"] == "patches" or trained.recipe.data.whiten != "none":
        lost.append("how patches are cut and pictures whitened: give rows that are")
    elif data["kind"] == "pictures":
        lost.append("bytes of pictures are divided by 255: give numbers from 0 to 1, flattened")
    if data["columns"] is not None:
        lost.append("how columns of a table become numbers: give those of simplecell.input_names")
    if "exact_alpha" in trained.info and part != "decoder":
        lost.append("exact codes: those of the file are the encoder's")
    steps = {step["kind"] for step in trained.recon_preprocess.steps}
    if "remove_dc" in steps and part != "encoder":
        lost.append("the mean of each sample, which codes do not hold: add it to recon")
    return lost


def export(
    model: Any, path: str | Path, *, part: str = "both", samples: Floats | None = None
) -> list[str]:
    """Write a model as ONNX to `path`; sentences on what was written and how it was checked.

    `model` is a run's path, a fitted estimator, or a `Trained`.

    Inputs and outputs are `x` [batch, D] and `recon` [batch, D] in the user's own units, `codes`
    [batch, M]. The encoder gives codes of x, the decoder recon of codes, both give codes and recon
    of x. It is checked before it takes the place of `path`, if onnxruntime is there: on `samples`
    [n, D], or on random ones.

    Raises:
        UsageError: for an unknown part, what is no model or has no such form, or without onnx.
        WriteError: when it cannot be written.
        RunError: for a path that is no run, and when onnxruntime computes something else.
    """
    choice("part", part, OUTPUTS_OF)
    path, onnx, trained = Path(path), library(), _trained(model)
    written = as_onnx(trained, part)
    rows = random_samples(trained) if samples is None else torch.from_numpy(samples)
    size = sum(len(one.raw_data) for one in written.graph.initializer)
    told = [f"not in the file: {line}" for line in left_behind(trained, part)]
    if size > ONE_FILE:
        return [*told, *_write_large(onnx, written, path, trained, rows)]
    onnx.checker.check_model(written, full_check=True)
    content = written.SerializeToString()
    found = compared(content, trained, rows)
    write_whole(path, content)
    return [*told, f"{path}: {part}, {len(content):,} bytes", str(found or UNCHECKED)]


def _trained(model: Any) -> Trained:
    """What a run, an estimator or a `Trained` holds."""
    if isinstance(model, str | Path):
        return Run(model).load()
    held = model if isinstance(model, Trained) else getattr(model, "_trained", None)
    if not isinstance(held, Trained):
        raise UsageError(
            f"the model is a {type(model).__name__}; a run's path or a fitted estimator is needed"
        )
    return held


def _write_large(onnx: Any, model: Any, path: Path, trained: Trained, rows: Tensor) -> list[str]:
    """Weights beside the file: no file of this format holds more than 2 GB."""
    beside = path.with_name(f"{path.name}.data")
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        first = Path(folder) / path.name
        onnx.save_model(model, first, save_as_external_data=True, location=beside.name)
        found = compared(first, trained, rows)
        os.replace(first.with_name(beside.name), beside)
        os.replace(first, path)
    return [f"{path}, with more than 2 GB of weights in {beside.name}", str(found or UNCHECKED)]


def as_onnx(trained: Trained, part: str) -> Any:
    """The `onnx.ModelProto` of a part."""
    model, graph = trained.model, Graph(trained.model.like.dtype)
    if part != "decoder":
        encoded(graph, model, prepared(graph, trained.preprocess, "x"))
        graph.call_last("codes")
    if part != "encoder":
        unprepared(graph, trained.recon_preprocess, decoded(graph, model, "codes"))
        graph.call_last("recon")
    widths = {
        "x": trained.preprocess.n_inputs,
        "codes": model.n_latents,
        "recon": trained.recon_preprocess.n_inputs,
    }
    source = "codes" if part == "decoder" else "x"
    outputs = {name: widths[name] for name in OUTPUTS_OF[part]}
    return _assembled(graph, {source: widths[source]}, outputs, told_of(trained, part))


def _assembled(
    graph: Graph, inputs: Mapping[str, int], outputs: Mapping[str, int], told: Mapping[str, str]
) -> Any:
    """Nodes and constants as a model of matrices [batch, width], of any batch."""
    onnx = library()

    def values(widths: Mapping[str, int]) -> list[Any]:
        make = onnx.helper.make_tensor_value_info
        return [make(name, graph.kind, ["batch", width]) for name, width in widths.items()]

    constants = [
        onnx.numpy_helper.from_array(tensor.numpy(), name)
        for name, tensor in graph.constants.items()
    ]
    whole = onnx.helper.make_graph(
        graph.nodes, "simplecell", values(inputs), values(outputs), constants
    )
    model = onnx.helper.make_model(
        whole,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="simplecell",
        producer_version=metadata.version("simplecell"),
    )
    onnx.helper.set_model_props(model, dict(told))
    return model


def told_of(trained: Trained, part: str) -> dict[str, str]:
    """What the file tells of itself, by keys that runtimes show as custom metadata."""
    model, names = trained.model, trained.input_names
    figures = reported_figures(trained.info)
    told = {
        "simplecell.format": str(FORMAT),
        "simplecell.part": part,
        "simplecell.activation": model.activation.kind,
        "simplecell.recipe": trained.recipe.text(),
        "simplecell.figures": json.dumps(figures),
    }
    if names is not None:
        told["simplecell.input_names"] = json.dumps(names, ensure_ascii=False)
    return told


def compared(file: bytes | Path, trained: Trained, x: Tensor) -> Agreement | None:
    """What onnxruntime makes of a file against what we make; None where it is not installed.

    Args:
        file: the content of an ONNX file, or its path.
        x: samples [n, D] in the user's own units.

    Raises:
        RunError: where they differ by more than rounding does.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    content = file if isinstance(file, bytes) else str(file)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    ours = trained.module(trained.model.like.dtype)
    x = x.to(ours.dtype)
    given = {"x": x, "codes": ours.encode(x)}
    names = [one.name for one in session.get_outputs()]
    told = {one.name: given[one.name].numpy() for one in session.get_inputs()}
    found = dict(zip(names, map(torch.from_numpy, session.run(names, told)), strict=True))
    turned = _turned(ours, x, given["codes"], found.get("codes", given["codes"]))
    wanted = {"codes": given["codes"], "recon": ours.decode(given["codes"])}
    shares = _shares(found, wanted, turned)
    _refuse(shares)
    n_turned, version = int(turned.sum()), onnxruntime.__version__
    return Agreement(shares.get("codes"), shares.get("recon"), n_turned, len(x), version)


def _shares(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], turned: Tensor
) -> dict[str, float]:
    """The largest difference of each result, as a share of the largest number wanted."""
    left_out = {"codes": turned, "recon": turned.any(1, keepdim=True)}
    result = {}
    for name, theirs in found.items():
        ours = wanted[name]
        apart = (theirs - ours).masked_fill(left_out[name], 0.0).abs()
        result[name] = float(apart.max()) / (float(ours.abs().max()) or 1.0)
    return result


def _turned(ours: WholeModel, x: Tensor, codes: Tensor, theirs: Tensor) -> Tensor:
    """Where a latent is active for one of the two alone, and within rounding of its threshold.

    [n, M]. Of two runtimes none is right there: a sum of other order ends in another digit.
    """
    model = ours.autoencoder
    if not model.activation.sparse:
        return torch.zeros_like(codes, dtype=torch.bool)
    pre = model.encode(ours.preprocess.apply(x).x.to(ours.dtype))[0]
    strength, least = model.activation.strength(pre), model.activation.threshold_of(pre)
    near = (strength - least).abs() <= AGREES * pre.abs().max()
    return ((codes != 0) != (theirs != 0)) & near


def _refuse(result: Mapping[str, float]) -> None:
    for name, value in result.items():
        if not value <= AGREES:  # NaN is no agreement
            raise RunError(
                f"onnxruntime gives {name} that differ from ours by {value:.1e} of the largest, "
                f"and rounding makes at most {AGREES:g}; nothing was kept: please report it"
            )
