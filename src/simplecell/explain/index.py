"""Rows by their codes: in which rows a latent is active, and which rows are nearest to another.

Inverted lists, as search engines have them (Zobel & Moffat 2006): for each latent the rows in which
it is active, the strongest first. On disk SciPy's own form of a CSC matrix [n, M], uncompressed, so
that it is mapped and not read; `scipy.sparse.load_npz` opens it too.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from simplecell.data import Source
from simplecell.data.binary import mapped_member, naming
from simplecell.errors import DataError, RunError, UsageError
from simplecell.explain.told import CHUNK, titles
from simplecell.run.directory import Run
from simplecell.run.encoding import sparse_pieces
from simplecell.run.storage import replacing
from simplecell.run.trained import Trained

Places = NDArray[np.int64]
Numbers = NDArray[np.floating]
_AT_ONCE = 2**24
"""Cosines that are held at once."""
_FORM = {"indptr": "i8", "indices": "i4", "data": "f4", "norms": "f4", "about": "u1"}
_NAMES = {"names": "u1", "name_ends": "i8"}
"""The type of each array of a file; what is text is UTF-8, names behind one another."""
_NOT_FINITE = "it holds codes that are not finite, or rows of length 0"


class Hits(NamedTuple):
    """Rows, the best first, and how good each is."""

    rows: Places
    """[n], or [B, n] of B questions; −1 where there are no more."""
    values: Numbers
    """Codes or cosines, in the same shape; NaN where there are no more."""


@dataclass(frozen=True, eq=False)
class Index:
    """The codes of n rows over M latents, by latent; made by `of`, or opened from a file."""

    n_rows: int
    starts: Places
    """Where the list of each latent begins, [M + 1]."""
    rows: NDArray[np.int32]
    """Rows in which a latent is active, list after list, the strongest first in each."""
    codes: NDArray[np.float32]
    """The code of the latent in each."""
    norms: NDArray[np.float32]
    """The length of each row's code, [n]."""
    names: Sequence[str] | None = None
    """What rows are called, where the data tell."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Which run made the codes: `run`, its path, and `model`, the digest of its weights."""

    @classmethod
    def of(
        cls,
        trained: Trained,
        source: Source,
        about: Mapping[str, str] | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """The index of all samples of a source, which are called as `names` [n] or its records say.

        Raises:
            UsageError: for codes that are never 0: every latent would list every row; and for
                another number of names.
            DataError: for a sample so large that its code is not finite.
        """
        if not trained.model.activation.sparse:
            raise UsageError(
                f"'{trained.model.activation.kind}' codes are never 0, so that every latent would "
                "list every row; index a run of sparse codes (--recipe topk)"
            )
        if names is not None and len(names) != source.n_samples:
            raise UsageError(f"there are {len(names)} names for {source.n_samples} rows; one each")
        parts = list(sparse_pieces(trained, source, as_trained=True))
        if not any(len(part.values) for part in parts):
            raise DataError("no latent is active in any of these rows: there is nothing to list")
        counts = np.concatenate([part.offsets.diff().numpy() for part in parts])
        codes = np.concatenate([part.values.float().numpy() for part in parts])
        latents = np.concatenate([part.indices.numpy() for part in parts])
        rows = np.repeat(np.arange(source.n_samples, dtype=np.int32), counts)
        norms = np.sqrt(np.bincount(rows, np.square(codes, dtype=np.float64), source.n_samples))
        order = np.lexsort((-np.abs(codes), latents))
        lengths = np.bincount(latents, minlength=trained.model.n_latents)
        return cls(
            source.n_samples,
            np.concatenate([[0], lengths.cumsum()]),
            rows[order],
            codes[order],
            norms.astype(np.float32),
            _names(source) if names is None else [str(name) for name in names],
            about or {},
        )

    @property
    def n_latents(self) -> int:
        """M."""
        return len(self.starts) - 1

    @property
    def n_bytes(self) -> int:
        """Of lists and lengths, names apart."""
        return sum(one.nbytes for one in (self.starts, self.rows, self.codes, self.norms))

    def rows_of(self, latent: int, n: int = 10) -> Hits:
        """The rows in which a latent is most active, n at most, and its code there."""
        self._check("latent", [latent], self.n_latents)
        self._check_n(n)
        mine = slice(self.starts[latent], min(self.starts[latent] + n, self.starts[latent + 1]))
        return Hits(self._known(self.rows[mine]).astype(np.int64), np.array(self.codes[mine]))

    def nearest(self, codes: Any, n: int = 10) -> Hits:
        """The n rows [B, n] with the largest cosine to each of codes [B, M], dense or SciPy sparse.

        Of equal cosines the first row comes first. Rows that share no latent are no hits.

        Raises:
            DataError: for codes of another width, or that are not finite.
            UsageError: for n below 1.
        """
        asked = csr_array(codes if issparse(codes) else np.atleast_2d(codes), dtype=np.float64)
        if asked.shape[1] != self.n_latents:
            raise DataError(
                f"the codes have {asked.shape[1]} columns, but the index has {self.n_latents} "
                "latents; give codes of the run that it was made of"
            )
        if not np.isfinite(asked.data).all():
            raise DataError("the codes hold NaN or infinite values; give finite ones")
        self._check_n(n)
        if not asked.shape[0]:
            return Hits(np.zeros((0, n), np.int64), np.zeros((0, n)))
        rows, values = zip(*(self._best(part, n) for part in self._parts(asked)), strict=True)
        return Hits(np.concatenate(rows), np.concatenate(values))

    def nearest_to(self, rows: Sequence[int], n: int = 10) -> Hits:
        """The n rows [B, n] nearest to each of some rows [B], themselves left out."""
        hits = self.nearest(self.codes_of(rows), n + 1)
        others = hits.rows != np.asarray(rows, np.int64)[:, None]
        others[others.all(1), -1] = False  # twins of a row may have pushed it out
        keep = others.nonzero()[1].reshape(len(hits.rows), n)
        values = np.take_along_axis(hits.values, keep, 1)
        return Hits(np.take_along_axis(hits.rows, keep, 1), values)

    def codes_of(self, rows: Sequence[int]) -> csr_array:
        """The codes [B, M] of some rows; every list is looked through for them."""
        self._check("row", rows, self.n_rows)
        wanted, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        marked = np.zeros(self.n_rows, bool)
        marked[wanted] = True
        entries = np.flatnonzero(marked[self._known(self.rows)])
        latents = np.searchsorted(self.starts, entries, side="right") - 1
        at = np.searchsorted(wanted, self.rows[entries])
        shape = len(wanted), self.n_latents
        return csr_array((self.codes[entries], (at, latents)), shape=shape)[places]

    def weighed(self, latents: Mapping[int, float]) -> csr_array:
        """A code [1, M] to ask for, of latents and how strong each is."""
        self._check("latent", list(latents), self.n_latents)
        places = [0] * len(latents), list(latents)
        return csr_array((list(latents.values()), places), shape=(1, self.n_latents))

    def shared(self, code: Any, row: int, n: int = 3) -> list[int]:
        """The latents that speak most for the nearness of a row to a code [1, M]."""
        both = (csr_array(code) * self.codes_of([row])).tocoo()
        order = np.argsort(-both.data, kind="stable")[:n]
        return [int(latent) for latent in both.coords[1][order]]

    def name_of(self, row: int) -> str:
        """What a row is called, else its number."""
        return f"row {row}" if self.names is None else self.names[row]

    def _check(self, what: str, numbers: Sequence[int], most: int) -> None:
        for number in numbers:
            if not 0 <= number < most:
                raise UsageError(f"{what} {number} does not exist; the index has {most}, from 0")

    def _check_n(self, n: int) -> None:
        if n < 1:
            raise UsageError(f"{n} rows are asked for; ask for at least 1")

    def _known(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rows of lists, which a file may name wrongly. Raises DataError for one beyond all."""
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_rows):
            raise DataError(
                "the index is damaged: it lists rows that it does not have; make it anew"
            )
        return rows

    def _lists(self, latents: Places) -> csr_array:
        """The lists of some latents, [len(latents), n]: no other is read."""
        spans = [np.arange(self.starts[i], self.starts[i + 1]) for i in latents]
        entries = np.concatenate([np.zeros(0, np.int64), *spans])
        starts = np.concatenate([[0], np.cumsum([len(span) for span in spans])])
        parts = self.codes[entries], self._known(self.rows[entries]), starts
        return csr_array(parts, shape=(len(latents), self.n_rows))

    def _parts(self, asked: csr_array) -> Iterator[csr_array]:
        step = max(1, _AT_ONCE // self.n_rows)
        return (asked[i : i + step] for i in range(0, asked.shape[0], step))

    def _best(self, asked: csr_array, n: int) -> tuple[Places, Numbers]:
        """Rows and cosines, [B, n] each."""
        latents = np.unique(asked.indices).astype(np.int64)
        products = _unit(asked)[:, latents] @ self._lists(latents)
        n_asked = asked.shape[0]
        rows, values = np.full((n_asked, n), -1), np.full((n_asked, n), np.nan)
        for i in range(n_asked):
            mine = slice(products.indptr[i], products.indptr[i + 1])
            hit = products.indices[mine].astype(np.int64)
            with np.errstate(all="ignore"):
                cosine = products.data[mine] / self.norms[hit].astype(np.float64)
            if not np.isfinite(cosine).all():
                raise DataError(f"the index is damaged: {_NOT_FINITE}; make it anew")
            best = _largest(cosine, hit, n)
            rows[i, : len(best)], values[i, : len(best)] = hit[best], cosine[best]
        return rows, values

    def save(self, path: str | Path) -> None:
        """Write the index. Raises WriteError when it cannot be written."""
        members: dict[str, NDArray[Any]] = {
            "format": np.array(b"csc"),
            "shape": np.array([self.n_rows, self.n_latents]),
            "indptr": self.starts,
            "indices": self.rows,
            "data": self.codes,
            "norms": self.norms,
            "about": _bytes(json.dumps(dict(self.about))),
        }
        if self.names is not None:
            texts = [name.encode("utf-8", "replace") for name in self.names]  # lone surrogates: ?
            members["name_ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
            members["names"] = np.frombuffer(b"".join(texts), np.uint8)
        with replacing(Path(path)) as file:
            np.savez(file, **members)  # type: ignore[arg-type]  # NumPy 2.4 takes one more keyword

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The index that `save` wrote, mapped into memory.

        Raises:
            DataError: for a file that is missing, damaged or no index.
        """
        if Path(path).is_dir():
            raise DataError(
                f"'{path}' is a folder and no index; make an index of a run: simplecell index "
                f"{path} DATA --out F.npz"
            )
        with naming(f"the index '{path}'"):
            found = _mapped(Path(path))
            _check(found)
            told = json.loads(bytes(found["about"]))
            about = {str(key): str(value) for key, value in told.items()}
        names = _Names(found["names"], found["name_ends"]) if "names" in found else None
        starts, rows, codes = found["indptr"], found["indices"], found["data"]
        return cls(len(found["norms"]), starts, rows, codes, found["norms"], names, about)


def made_by(run: str | Path) -> dict[str, str]:
    """What an index remembers of the run whose codes it lists."""
    return {"run": str(Path(run).resolve()), "model": _digest(Path(run))}


def run_of(index: Index, place: str | Path | None = None) -> Run:
    """The run that an index was made of, at another place than then if one is given.

    Raises:
        UsageError: where nobody said which run it was.
        RunError: for a run with other weights.
    """
    if place is None and "run" not in index.about:
        raise UsageError("this index does not know its run; name it with --run")
    path = Path(place or index.about["run"])
    run = Run(path)
    run.info()  # no run, no weights
    if index.about.get("model") not in (None, _digest(path)):
        raise RunError(
            f"'{path}' has other weights than the run that the index was made of, so that their "
            f"codes do not compare; make the index anew: simplecell index {path} DATA --out F.npz"
        )
    return run


def _digest(run: Path) -> str:
    """SHA-256 of weights and preparation."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "preprocess.safetensors"):
        digest.update((run / name).read_bytes() if (run / name).exists() else b"")
    return digest.hexdigest()


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, none of them read. Raises DataError for one that is no index."""
    with zipfile.ZipFile(path) as archive:
        members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
    if not members.keys() >= _FORM.keys():
        raise DataError(f"'{path}' is no index; make one: simplecell index RUN DATA --out F.npz")
    wanted = [name for name in _FORM | _NAMES if name in members]
    found = {
        name: mapped_member(path, members[name], f"{name!r} of {path}", whatever=True)
        for name in wanted
    }
    packed = [name for name, array in found.items() if array is None]
    if packed:
        raise DataError(
            f"{packed[0]!r} of '{path}' is compressed, and an index is mapped; make it anew: "
            "simplecell index RUN DATA --out F.npz"
        )
    return {name: array for name, array in found.items() if array is not None}


def _check(found: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError for arrays that do not fit one another: what they say is believed later."""
    n, n_rows = len(found["data"]), len(found["norms"])
    lengths = {"indices": n, "name_ends": n_rows}
    for name, array in found.items():
        kind = (_FORM | _NAMES)[name]
        if array.shape != (lengths.get(name, len(array)),) or array.dtype != np.dtype(kind):
            raise ValueError(f"{name!r} has the shape {array.shape} and the type {array.dtype}")
    starts = found["indptr"]
    if starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
        raise ValueError("its lists do not follow one another")
    if ("names" in found) != ("name_ends" in found):
        raise ValueError("names and where they end come together")


def _unit(codes: csr_array) -> csr_array:
    """Codes [B, M] at length 1, in the precision of the lists: no product of theirs overflows."""
    counts = np.diff(codes.indptr)
    largest = np.repeat(abs(codes).max(1).toarray().ravel(), counts)
    scaled = np.divide(codes.data, largest, out=np.zeros_like(codes.data), where=largest > 0)
    rows = np.repeat(np.arange(len(counts)), counts)
    lengths = np.sqrt(np.bincount(rows, np.square(scaled), len(counts)))[rows]
    unit = np.divide(scaled, lengths, out=scaled, where=lengths > 0).astype(np.float32)
    return csr_array((unit, codes.indices, codes.indptr), shape=codes.shape)


def _largest(values: Numbers, rows: Places, n: int) -> Places:
    """Places of the n largest values, of equal ones the first row first."""
    if len(values) > n:
        edge = np.partition(values, len(values) - n)[len(values) - n]
        places = np.flatnonzero(values >= edge)
    else:
        places = np.arange(len(values))
    return places[np.lexsort((rows[places], -values[places]))][:n]


class _Names(Sequence[str]):
    """Names behind one another in one array of bytes, each read when it is asked for."""

    def __init__(self, text: NDArray[np.uint8], ends: Places) -> None:
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: Any) -> Any:
        start = self._ends[row - 1] if row else 0
        return bytes(self._text[start : self._ends[row]]).decode("utf-8", "replace")


def _names(source: Source) -> list[str] | None:
    """What rows are called, unless they are only counted."""
    if titles(source, np.arange(1)) == ["row 0"]:
        return None
    starts = range(0, source.n_samples, CHUNK)
    chunks = (np.arange(i, min(i + CHUNK, source.n_samples)) for i in starts)
    return [name for chunk in chunks for name in titles(source, chunk)]
