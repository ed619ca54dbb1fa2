"""Activations written as shards, which go on to the same rows after any kill."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from simplecell.data.rows import Array, Record
from simplecell.data.shard_file import DTYPES, ShardWriter, refuse_damaged
from simplecell.data.shard_index import Index, read_index
from simplecell.data.shard_writer import new_index, refuse_full, refuse_other, remove_shards
from simplecell.data.tensors import dense_array_of
from simplecell.errors import DataError, UsageError, choice
from simplecell.harvesting.activations import Activations, Batch, activations
from simplecell.harvesting.inputs import Given, fingerprint_of
from simplecell.harvesting.places import is_one

_NUMBERS = 2**24
"""Of a shard, where nobody says: 64 MiB of float32, which a kill may cost."""
_START = {"batch": 0, "row": 0, "sample": 0, "padding": 0, "digest": None, "before": ""}


class Harvested(NamedTuple):
    """What was written."""

    folders: dict[str, Path]
    """Of each layer, to be read by `as_source`, `simplecell train` and every other verb."""
    n_rows: dict[str, int]
    n_inputs: dict[str, int]
    n_samples: int
    n_padding: int
    """Positions left out because they are padding."""
    written: int
    """Rows of the first layer that this call wrote; the others were there."""
    notes: list[str]
    what: str = "samples"
    """What the samples are: samples, texts or pictures."""


def harvest(
    model: nn.Module,
    layer: str | Sequence[str],
    inputs: Any,
    out: str | Path,
    *,
    rows: int | None = None,
    dtype: str | None = None,
    restart: bool = False,
    **how: Any,
) -> Harvested:
    """Write what a layer of a model gives for inputs as shards into `out`, a record a row.

    Of several layers (a list, a glob) each has a folder of its name in `out`. Said again it goes on
    where it was cut off, even by SIGKILL, without a lost or doubled row; inputs must then come in
    the same batches. Of what is finished nothing is run, but all inputs are read, and refused where
    they are others. Everything else is said as to `activations`.

    Args:
        rows: of a shard; None: 2²⁴ numbers.
        dtype: on disk, "float16", "bfloat16", "float32" or "float64"; None: that of the layer.
        restart: begin anew, and remove the shards that are there.

    Raises:
        UsageError: as `activations`, and where `out` holds other things, or was begun otherwise.
        DataError: for values that are not finite or too large for `dtype`, and for inputs that are
            not those of before.
        WriteError: when the disk is full.
    """
    if dtype is not None:
        choice("dtype of shards", dtype, DTYPES)
    running = activations(model, layer, inputs, **how)
    return _Harvest(running, layer, Path(out), rows, dtype, restart).write()


def _signature() -> inspect.Signature:
    """That of `harvest`, with what `activations` takes by keyword."""
    own = list(inspect.signature(harvest).parameters.values())[:-1]
    told = inspect.signature(activations).parameters.values()
    keywords = [one for one in told if one.kind is inspect.Parameter.KEYWORD_ONLY]
    return inspect.Signature([*own, *keywords], return_annotation="Harvested")


# What `help` and notebooks show: the one declaration, and no copy of it.
vars(harvest)["__signature__"] = _signature()


class _Harvest:
    """A harvest on its way to disk."""

    def __init__(
        self,
        running: Activations,
        layer: str | Sequence[str],
        out: Path,
        rows: int | None,
        dtype: str | None,
        restart: bool,
    ) -> None:
        self.running, self.rows, self.dtype = running, rows, dtype
        self.layers = [place.layer for place in running.places]
        self.folders = _folders(self.layers, out, is_one(layer))
        self.indices: dict[str, Index] = {}
        self.model = fingerprint_of(running.model)
        self.records = running.fingerprint_of_records()
        for name, folder in self.folders.items():
            self._take_up(name, folder, restart)
        self._following = {name: self._next(name) for name in self.layers}
        """Of each layer, where its next row is."""
        self._digest = ""
        self._latest: tuple[int, str] | None = None
        self.begun = {name: _n_rows(index) for name, index in self.indices.items()}

    def write(self) -> Harvested:
        """Run the model over what is not there yet."""
        going = [name for name in self.layers if not self._finished(name)]
        if not going:
            self._check_same_inputs()
            return self._result()
        begin = min((self._following[name] for name in going), key=lambda told: told["batch"])
        passes = self.running.passes(begin["batch"], begin["sample"], begin["padding"])
        before: tuple[int, int] = begin["sample"], begin["padding"]
        last: Given | None = None
        self._digest = begin.get("before", "")
        with contextlib.ExitStack() as stack:
            writers: dict[str, ShardWriter] = {}
            for given, batches in passes:
                if given.number == begin["batch"]:
                    _check_digest(given, begin["digest"])
                for name in going:
                    mine = [batch for batch in batches if batch.layer == name]
                    if not mine or given.number < self._following[name]["batch"]:
                        continue
                    if name not in writers:
                        writers[name] = stack.enter_context(self._writer(name, mine[0].x, given))
                    self._add(writers[name], name, mine, given, before)
                before = self.running.n_samples, self.running.n_padding
                last, self._digest = given, self._with(given)
            if last is None and begin["batch"]:
                raise _other_inputs(f"batch {begin['batch']} of the inputs did not come")
            self._refuse_empty(going, writers)
            told: dict[str, Any] = {"n_samples": before[0], "n_padding": before[1]}
            told |= {"length": self.running.inputs.length, "last": last and _mark(last)}
            told["digest"] = self._digest
            for index in self.indices.values():
                index["harvest"] |= told
        return self._result()

    def _add(
        self,
        writer: ShardWriter,
        name: str,
        batches: Sequence[Batch],
        given: Given,
        before: tuple[int, int],
    ) -> None:
        """The rows of one layer from one pass, without those that are there."""
        following = self._following[name]
        skip = following["row"] if given.number == following["batch"] else 0
        arrays = [np.asarray(dense_array_of(batch.x)) for batch in batches]
        x = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        records: Sequence[Record] = batches[0].records
        if len(batches) > 1:
            records = [record for batch in batches for record in batch.records]

        def mark(taken: int) -> dict[str, Any]:
            told = {"batch": given.number, "row": skip + taken}
            told |= {"digest": self._of(given), "before": self._digest}
            return {**told, "sample": before[0], "padding": before[1]}

        try:
            writer.add(x[skip:], records[skip:], mark)
        except DataError as error:
            raise _named(name, x[skip:], records[skip:], error) from error

    def _take_up(self, name: str, folder: Path, restart: bool) -> None:
        """What is there of a layer, unless it is other data."""
        if restart:
            remove_shards(folder)
        index = read_index(folder) if folder.is_dir() else None
        if index is None:
            refuse_full(folder)
            return
        own = index.get("harvest", {}).get("dtype", index["dtype"])
        wanted = self._new(name, index["n_inputs"], own)
        _refuse_otherwise(folder, index, wanted)
        refuse_other(folder, index, wanted)
        refuse_damaged(folder, index)
        self.indices[name] = index

    def _new(self, name: str, n_inputs: int, dtype: str) -> Index:
        rows = self.rows if self.rows is not None else max(1, _NUMBERS // n_inputs)
        index = new_index(n_inputs, rows, self.dtype or dtype)
        picking, size = self.running.picking, self.running.inputs
        spots = picking.positions
        told = (self.model, name, picking, size.size if size.cut else None, size.fingerprint())
        index["source"] = f"harvest:{hashlib.sha256(repr(told).encode()).hexdigest()}"
        index["harvest"] = {
            "layer": name,
            "model": type(self.running.model).__name__,
            "positions": spots if isinstance(spots, str | int) else list(spots),
            "batch_size": size.size if size.cut else None,
            "dtype": dtype,
            "records": self.records,
        }
        pictures = self.running.pictures
        if pictures is not None and pictures.root is not None:
            index["harvest"]["pictures"] = str(pictures.root)
        return index

    def _writer(self, name: str, x: Tensor, given: Given) -> ShardWriter:
        """Begun with the first rows, which say how wide they are."""
        index = self.indices.get(name)
        if index is None:
            index = self._new(name, x.shape[1], str(x.dtype).removeprefix("torch."))
            index["harvest"]["first"] = _mark(given)
            self.indices[name] = index
        return ShardWriter(self.folders[name], index)

    def _next(self, name: str) -> dict[str, Any]:
        shards = self.indices[name]["shards"] if name in self.indices else []
        return _START if not shards else shards[-1].get("next", _START)

    def _finished(self, name: str) -> bool:
        return name in self.indices and self.indices[name]["finished"]

    def _of(self, given: Given) -> str:
        """The digest of a batch, made once: a shard may end in it, and all of them are told."""
        if self._latest is None or self._latest[0] != given.number:
            self._latest = given.number, given.digest()
        return self._latest[1]

    def _with(self, given: Given) -> str:
        """The digest of all batches so far, and of this one behind them."""
        if self.running.inputs.fingerprint() is not None:
            return ""  # they say themselves what they are, and that was asked before
        return hashlib.sha256(f"{self._digest} {self._of(given)}".encode()).hexdigest()

    def _check_same_inputs(self) -> None:
        """What is finished was made of these inputs, batch by batch; the model is not run."""
        told, inputs = self.indices[self.layers[0]]["harvest"], self.running.inputs
        length = inputs.length
        if None not in (told["length"], length) and told["length"] != length:
            raise _other_inputs(f"the inputs have {length} {inputs.unit} and not {told['length']}")
        if inputs.fingerprint() is None:
            self._check_each_batch(told)
        self.running.notes.append("the harvest was finished before; nothing was run")
        if callable(self.running.records):
            self.running.notes.append("records by a function are those that were written then")

    def _check_each_batch(self, told: dict[str, Any]) -> None:
        self._digest, first = "", told["first"]
        for given in self.running.inputs.batches(self.running.model):
            self._digest = self._with(given)
            if given.number == first["batch"]:  # said at once, and not behind all the others
                _check_digest(given, first["digest"])
        if told.get("digest", self._digest) != self._digest:
            raise _other_inputs("the inputs are not those that were harvested before")

    def _refuse_empty(self, going: Sequence[str], writers: dict[str, ShardWriter]) -> None:
        for name in going:
            if name not in writers and name not in self.indices:
                raise DataError(
                    f"layer '{name}' gave no row at these positions; say positions='all'"
                )

    def _result(self) -> Harvested:
        told = self.indices[self.layers[0]]["harvest"]
        n_rows = {name: _n_rows(self.indices[name]) for name in self.layers}
        first = self.layers[0]
        return Harvested(
            self.folders,
            n_rows,
            {name: self.indices[name]["n_inputs"] for name in self.layers},
            told["n_samples"],
            told["n_padding"],
            n_rows[first] - self.begun.get(first, 0),
            self.running.notes,
        )


def _folders(layers: Sequence[str], out: Path, alone: bool) -> dict[str, Path]:
    """Of each layer: `out` itself, or where there may be several a folder of its name."""
    if alone:
        return {layers[0]: out}
    names = [re.sub(r"[^\w.\-]", "_", layer) or "model" for layer in layers]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise UsageError(
            f"several layers would share the folder '{doubled.pop()}'; harvest them one by one"
        )
    return {layer: out / name for layer, name in zip(layers, names, strict=True)}


def _n_rows(index: Index) -> int:
    return sum(shard["n_samples"] for shard in index["shards"])


def _mark(given: Given) -> dict[str, Any]:
    return {"batch": given.number, "digest": given.digest()}


def _refuse_otherwise(folder: Path, index: Index, wanted: Index) -> None:
    """Raise UsageError, which says what differs, for a harvest that was asked for otherwise."""
    then, now = index.get("harvest", {}), wanted["harvest"]
    keys = ("layer", "model", "positions", "batch_size")
    odd = [
        f"{key}: {then[key]}, {now[key]}"
        for key in keys
        if then.get(key, ...) not in (now[key], ...)
    ]
    odd = [f"{', '.join(odd)}: then, now"] if odd else []
    if then.get("records", now["records"]) != now["records"]:
        odd.append("the records are others")
    if odd:
        raise UsageError(
            f"{folder} holds shards of other data ({'; '.join(odd)}); give another place, or "
            "replace them with restart=True (--restart)"
        )


def _named(layer: str, x: Array, records: Sequence[Record], error: DataError) -> DataError:
    """The error of a layer's rows, which says where a value that is not finite came from."""
    bad = ~np.isfinite(x)
    if not bad.any():
        return DataError(f"layer '{layer}': {error}")
    i, j = (int(k) for k in np.unravel_index(bad.argmax(), bad.shape))
    told = records[i]
    keys = ("sample", "position", "y", "x", "place", "call", "batch", "number")
    where = ", ".join(f"{key} {told[key]}" for key in keys if key in told)
    return DataError(
        f"layer '{layer}', {where}: number {j} of the row is {x[i, j]} ({int(bad.sum())} of the "
        f"{bad.size} numbers of this pass are NaN or infinite); mend or leave out such samples"
    )


def _check_digest(given: Given, told: str | None) -> None:
    if told is not None and given.digest() != told:
        raise _other_inputs(
            f"batch {given.number} of the inputs is not the one that was harvested before"
        )


def _other_inputs(how: str) -> DataError:
    return DataError(
        f"{how}; give the same inputs in the same order and batches (no shuffling), or write anew "
        "with restart=True (--restart)"
    )
