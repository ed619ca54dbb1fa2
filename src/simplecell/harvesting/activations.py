"""Activations of any torch module, pass by pass: rows, and what is known of each."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from simplecell.data.rows import Record
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.frames import Boxes, Transform
from simplecell.harvesting.inputs import Call, Given, Inputs, gathered, is_left_padded
from simplecell.harvesting.listening import (
    Heard,
    in_train_mode,
    listen,
    refuse_compiled,
    refuse_silent,
)
from simplecell.harvesting.patch_tokens import channels_are_last, patch_tokens_of
from simplecell.harvesting.pictures import Pictures, are_pictures
from simplecell.harvesting.places import Place, places
from simplecell.harvesting.records import GridRecords, RowRecords, records_of, refuse_taken
from simplecell.harvesting.rows import Picking, Rows, doubts

Known = Sequence[Record] | Mapping[str, Sequence[Any]] | Callable[[int], Record] | None
"""What is known of the samples: a record each, columns, or a function of a sample's number."""
Tokens = Callable[[int], str] | None
"""From a token's number to its text."""


class Batch(NamedTuple):
    """Rows of one layer from one pass."""

    x: Tensor
    """[R, D], in the precision of the layer, on the CPU."""
    records: Sequence[Record]
    """Of each row: sample, and where a sample has several rows position (of pictures y and x) and
    call; the token; what was said of its sample."""
    layer: str


class Activations:
    """What layers of a model give for inputs; iterating it runs the model, a pass a batch.

    See `activations`. `notes` say what was chosen, and grow while it runs.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | Sequence[str],
        inputs: Any,
        *,
        batch_size: int = 32,
        picking: Picking | None = None,
        mask: object = None,
        records: Known = None,
        tokenizer: Any = None,
        transform: Transform | None = None,
        call: Call | None = None,
        stop: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError(f"the model is a {type(model).__name__}; a torch.nn.Module is needed")
        self.model, self.places = model, places(model, layer)
        refuse_compiled(model, self.places)
        self.pictures = _pictures(inputs, transform, batch_size)
        """The inputs, where they are pictures in files."""
        given, told = gathered(inputs, model, batch_size)
        self.inputs = Inputs(given if self.pictures is None else self.pictures, batch_size, mask)
        self.picking = picking or Picking()
        self.notes: list[str] = list(told if self.pictures is None else ())
        self.n_samples = self.n_padding = 0
        """Of the passes so far: samples, and positions left out as padding."""
        self.records, self._call, self._stop = records_of(records), call, stop
        if self.pictures is not None:
            self._take_pictures(self.pictures)
        self._text = _texts_of(tokenizer)
        self._counts: list[int] | None = None
        self._silent = [0] * len(self.places)
        self._told_mode = False

    def __iter__(self) -> Iterator[Batch]:
        for _, batches in self.passes():
            yield from batches

    def passes(
        self, start: int = 0, n_samples: int = 0, n_padding: int = 0
    ) -> Iterator[tuple[Given, list[Batch]]]:
        """Pass after pass from the batch `start`, with what was counted before it."""
        self.n_samples, self.n_padding, number = n_samples, n_padding, start - 1
        for given in self.inputs.batches(self.model, start):
            number = given.number
            yield given, self._one(given)
        if number < start and start == 0:
            raise DataError("no batch of inputs came; a model needs one at least")
        self._tell_silence(number - start + 1)
        self._tell(*(self.pictures.notes if self.pictures else ()))

    def _take_pictures(self, pictures: Pictures) -> None:
        """What pictures tell of themselves, and what the model is told of them."""
        tokens, last = patch_tokens_of(self.model), channels_are_last(self.model)
        self.picking = replace(self.picking, tokens=tokens, channels_last=last)
        own, said = pictures.records, self.records
        if said is None:
            self.records = own
        elif callable(said):
            self.records = lambda sample: own[sample] | said(sample)
        elif len(said) != len(own):
            raise UsageError(
                f"{len(said)} records came for {len(own)} pictures; one each is needed"
            )
        else:
            self.records = [mine | theirs for mine, theirs in zip(own, said, strict=True)]

    def fingerprint_of_records(self) -> str | None:
        """What tells what is said of samples from anything else; None: nobody can tell."""
        if callable(self.records):
            return None
        told = json.dumps(list(self.records or []), default=repr)
        return hashlib.sha256(told.encode()).hexdigest()

    def _one(self, given: Given) -> list[Batch]:
        """The rows of one pass."""
        self._tell(self._mode(), _left_padded(given))
        once = self._counts is not None and set(self._counts) == {1}
        heard = listen(self.model, self.places, given, self._call, stop=self._stop and once)
        if self._counts is None:
            refuse_silent(self.model, heard, given, self._call)
            self._counts = heard.counts
            self._tell(*map(_several, self.places, heard.counts))
        first, found = self.n_samples, []
        for k, place in enumerate(self.places):
            self._silent[k] += not heard.calls[k]
            found += self._of_place(place, heard, k, given, first)
        return found

    def _of_place(
        self, place: Place, heard: Heard, k: int, given: Given, first: int
    ) -> list[Batch]:
        found = []
        for number, taken in enumerate(heard.calls[k]):
            rows = self.picking.rows(place, taken, given.mask, given.leading)
            self._tell(*rows.notes)
            if first == 0:
                self._tell(*doubts(self.model, place, taken.value, self.picking))
            self.n_padding += rows.n_padding if (k, number) == (0, 0) else 0
            self.n_samples = max(self.n_samples, first + rows.n_samples)
            several = number if len(heard.calls[k]) > 1 else None
            records = self._told(rows, given, first, several)
            if len(rows.x):
                found.append(Batch(rows.x.cpu(), records, place.layer))
        return found

    def _told(self, rows: Rows, given: Given, first: int, call: int | None) -> Sequence[Record]:
        """What is known of each row."""
        if not rows.known:
            extra: Record = {} if call is None else {"call": call}
            return [{"batch": given.number, "number": i, **extra} for i in rows.sample]
        numbers = given.numbers or range(first, first + rows.n_samples)
        samples = [numbers[i] for i in rows.sample]
        own = {sample: self._record(sample) for sample in set(samples)}
        token, boxes = self._tokens_of(given, rows, first), self._boxes_of(rows)
        refuse_taken(own, rows.position, token is not None, call is not None, boxes is not None)
        if rows.grid and rows.position is not None:
            return GridRecords(samples, rows.position, own.__getitem__, token, call, boxes)
        return RowRecords(samples, rows.position, own.__getitem__, token, call, boxes)

    def _boxes_of(self, rows: Rows) -> Boxes | None:
        """Where rows lie in the pictures of this batch."""
        if self.pictures is None or len(rows.sides) != 2:
            return None
        frames = self.pictures.frames
        return Boxes(frames.__getitem__, (rows.sides[0], rows.sides[1]))

    def _record(self, sample: int) -> Record:
        if self.records is None:
            return {}
        if callable(self.records):
            return self.records(sample)
        if sample >= len(self.records):
            raise DataError(
                f"{len(self.records)} records came, but there is a sample {sample}, counted from "
                "0; one record a sample is needed"
            )
        return self.records[sample]

    def _tokens_of(self, given: Given, rows: Rows, first: int) -> Callable[[int, int], str] | None:
        ids = given.batch.get("input_ids") if isinstance(given.batch, Mapping) else None
        if self._text is None or not isinstance(ids, Tensor) or ids.ndim != 2:
            return None
        text, table = self._text, ids.tolist()
        deepest = max((p for p in rows.position or [] if isinstance(p, int)), default=0)
        if deepest >= ids.shape[1]:
            return None
        return lambda sample, spot: text(table[sample - first][spot])

    def _mode(self) -> str:
        if self._told_mode or not in_train_mode(self.model):
            return ""
        self._told_mode = True
        told = (
            "the model is in train mode; it is run in eval mode (no dropout, fixed statistics), "
            "and every module put back"
        )
        warnings.warn(told, stacklevel=2)
        return told

    def _tell(self, *sentences: str) -> None:
        self.notes += [one for one in dict.fromkeys(sentences) if one and one not in self.notes]

    def _tell_silence(self, n_passes: int) -> None:
        for place, times in zip(self.places, self._silent, strict=True):
            if times:
                self._tell(f"layer '{place.layer}' was not called in {times} of {n_passes} passes")


def activations(
    model: nn.Module,
    layer: str | Sequence[str],
    inputs: Any,
    *,
    batch_size: int = 32,
    positions: str | int | Sequence[int] = "auto",
    axis: int | None = None,
    sample_axis: int | None = None,
    mask: object = None,
    records: Known = None,
    tokenizer: Any = None,
    transform: Transform | None = None,
    call: Call | None = None,
    stop: bool = True,
) -> Activations:
    """What layers of a model give for inputs, as batches (x [R, D], records, layer).

    The model runs in eval mode and without gradients, batch by batch, no further than its last
    wanted layer; what a module gave is copied at once, NaN and infinite numbers too (`harvest` and
    every estimator refuse these). Rows are samples, or their positions.

    Args:
        layer: a name of `model.named_modules()` ("" is the whole model), a glob (`blocks.*.mlp`;
            `**` crosses dots) or several. `NAME:input` is what the module was given;
            `NAME:output.1.0` goes into tuples and dictionaries.
        inputs: an array or tensor [n, …]; a dictionary (keyword arguments) or tuple (arguments) of
            them; an iterable of batches, as a DataLoader is, or a Dataset of samples; or with
            `transform` a folder of pictures, a file, paths or pictures of Pillow's.
        positions: "auto" (all that are no padding, where a mask is known), "all", "not_padding",
            "not_first", "last", "mean", or numbers counted among those that are no padding. Of a
            vision transformer that is given pictures, positions are patches; "class" is its token.
        axis: the axis of the layer's tensor that holds the numbers of a row; None: 1 of pictures
            and of convolutions, else the last.
        sample_axis: the axis of samples; None: 0, or 1 in modules that were built with
            `batch_first=False`.
        mask: which positions are no padding: a key of the batch, a function of it, or [n, T];
            None: `attention_mask` where the batch has one.
        records: what is known of the samples: a dictionary each, a dictionary of columns, or a
            function of their numbers.
        tokenizer: names tokens in the records, from the batch's `input_ids`.
        transform: of pictures in files, what makes of one (of Pillow, RGB) the tensor [c, h, w]
            that the model was trained on. Records then say file, label (its folder), and where in
            the file a place lies: top, left, height and width in pixels.
        call: how the model is given a batch, `call(model, batch)`; None: `model(batch)`.
        stop: whether a pass ends behind the last wanted layer, where each is called once a pass.

    Raises:
        UsageError: for a layer that does not exist or is never called (the nearest that works is
            named), and for positions that cannot be told.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 1)).eval()
    >>> for x, records, layer in activations(model, "1", torch.zeros(5, 4), batch_size=2):
    ...     print(layer, tuple(x.shape), records[0])
    1 (2, 3) {'sample': 0}
    1 (2, 3) {'sample': 2}
    1 (1, 3) {'sample': 4}
    """
    return Activations(
        model,
        layer,
        inputs,
        batch_size=batch_size,
        picking=Picking(positions, axis, sample_axis),
        mask=mask,
        records=records,
        tokenizer=tokenizer,
        transform=transform,
        call=call,
        stop=stop,
    )


def _pictures(inputs: Any, transform: Transform | None, size: int) -> Pictures | None:
    if not are_pictures(inputs):
        if transform is not None:
            raise UsageError(
                "transform is for pictures in files; give a folder of them, or inputs that the "
                "model takes as they are, without it"
            )
        return None
    return Pictures(inputs, transform, size)


def _several(place: Place, calls: int) -> str:
    if calls < 2:
        return ""
    return (
        f"layer '{place.layer}' is called {calls} times a pass; the rows of all calls are kept, "
        "and records say which (call)"
    )


def _left_padded(given: Given) -> str:
    if not is_left_padded(given):
        return ""
    return (
        "padding stands on the left; where the model takes position_ids they count from the first "
        "token that is no padding"
    )


def _texts_of(tokenizer: Any) -> Tokens:
    """Texts of tokens as a person reads them, each looked up once."""
    if tokenizer is None:
        return None
    known: dict[int, str] = {}

    def text(token: int) -> str:
        if token not in known:
            known[token] = str(tokenizer.decode([token]))
        return known[token]

    return text
