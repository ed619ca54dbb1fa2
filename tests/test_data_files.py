"""Files of numbers, whole and broken: every refusal is one sentence that names the file."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import numpy as safetensors_numpy
from scipy import io as scipy_io
from scipy import sparse

from simplecell.data import binary, files
from simplecell.data.files import READERS, read_bytes_array, read_file, suffix_of
from simplecell.data.options import Options
from simplecell.errors import DataError, UsageError

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


WRITTEN_ELSEWHERE = {
    *("parquet", "feather", "arrow", "h5", "hdf5", "h5ad", "jsonl", "ndjson", "mtx", "vec", "bin"),
    *("zip", "wav", "flac", "ogg", "mp3", "aiff", "aif"),
}
"""By test_data_formats.py, with the libraries that people write them with."""


def write_all(folder: Path) -> None:
    np.save(folder / "x.npy", X)
    (folder / "x.npy.gz").write_bytes(gzip.compress(npy(X)))
    (folder / "f.npy.gz").write_bytes(gzip.compress(npy(np.asfortranarray(X))))
    np.savez_compressed(folder / "x.npz", x=X)
    sparse.save_npz(folder / "sparse.npz", sparse.csr_array(X))
    scipy_io.savemat(folder / "x.mat", {"x": X})
    scipy_io.savemat(folder / "s.mat", {"x": sparse.csc_array(X.astype(float))})
    for name, delimiter in [("x.csv", ","), ("x.tsv", "\t"), ("x.txt", " "), ("x.data", ";")]:
        np.savetxt(folder / name, X, delimiter=delimiter)
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    safetensors_numpy.save_file({"x": X}, folder / "x.safetensors")
    for suffix in ("pt", "pth"):
        torch.save(torch.from_numpy(X), folder / f"x.{suffix}")
    (folder / "x.idx").write_bytes(idx(X.astype(np.uint8)))
    (folder / "x-idx2-ubyte").write_bytes(idx(X.astype(np.uint8)))
    (folder / "x-idx2-ubyte.gz").write_bytes(gzip.compress(idx(X.astype(np.uint8))))
    (folder / "npy without suffix").write_bytes(npy(X))
    (folder / "npz.without").write_bytes((folder / "x.npz").read_bytes())
    (folder / "mat.without").write_bytes((folder / "x.mat").read_bytes())
    (folder / "idx.without.gz").write_bytes(gzip.compress(idx(X.astype(np.uint8))))


def test_every_format_gives_the_same_numbers(tmp_path: Path) -> None:
    write_all(tmp_path)
    paths = list(tmp_path.iterdir())
    assert set(READERS) - WRITTEN_ELSEWHERE <= {suffix_of(path) for path in paths}
    for path in paths:
        data = read_file(path).data
        dense = data.toarray() if hasattr(data, "toarray") else data
        np.testing.assert_array_equal(dense, X, err_msg=path.name)


def test_maps_are_maps(tmp_path: Path) -> None:
    write_all(tmp_path)
    for name in ("x.npy", "x.idx"):
        assert isinstance(read_file(tmp_path / name).data, np.memmap)


def test_matlab_layout_and_bytes_that_are_doubles(tmp_path: Path) -> None:
    pictures = np.zeros((4, 5, 3))
    scipy_io.savemat(tmp_path / "p.mat", {"p": pictures})
    assert read_file(tmp_path / "p.mat").samples_last
    whole = np.arange(6.0).reshape(2, 3)
    scipy_io.savemat(tmp_path / "w.mat", {"w": whole})
    assert read_file(tmp_path / "w.mat").data.dtype == np.float64


def test_several_variables_need_a_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", first=X, second=X[:2])
    scipy_io.savemat(tmp_path / "x.mat", {"first": X, "second": X[:2]})
    for name in ("x.npz", "x.mat"):
        with pytest.raises(
            DataError,
            match=r"first \(4, 3\), second \(2, 3\); say which one, .* --set data.key=first",
        ):
            read_file(tmp_path / name)
        with pytest.raises(UsageError, match=f"variable in {name} 'secnd'; did you mean 'second'"):
            read_file(tmp_path / name, Options(key="secnd"))
        assert read_file(tmp_path / name, Options(key="second")).data.shape == (2, 3)


def test_labels_beside_mnist_come_along(tmp_path: Path) -> None:
    pictures = np.zeros((3, 2, 2), dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pictures))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([5, 0, 4], dtype=np.uint8)))
    labels = read_file(tmp_path / "train-images-idx3-ubyte").labels
    assert labels is not None
    assert labels.tolist() == [5, 0, 4]
    with pytest.raises(DataError, match="1 dimension"):
        read_file(tmp_path / "train-labels-idx1-ubyte")


def test_standard_input_is_npy_bytes() -> None:
    np.testing.assert_array_equal(read_bytes_array(io.BytesIO(npy(X))), X)
    with pytest.raises(DataError, match="standard input is not a"):
        read_bytes_array(io.BytesIO(b"1,2\n"))


def header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zip_all(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zip_of(name: str, data: bytes) -> bytes:
    return zip_all({name: data})


BROKEN = {
    "object array": ("x.npy", npy(np.array([[1, None]]), allow_pickle=True), "Python objects"),
    "pickle": ("x.npy", pickle.dumps([1, 2]), "a pickle, which simplecell never opens"),
    "header": ("x.npy", header("(1000000, 1000000)") + b"\0" * 80, "header is larger than the"),
    "overflow": ("x.npy", header("(9223372036854775807, 16)") + b"\0" * 80, "larger than the file"),
    "long header": (
        "x.npy",
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"\0" * 80,
        "a header of 2147483648 bytes",
    ),
    "long gz header": (
        "x.npy.gz",
        gzip.compress(b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b" " * 60_000),
        "a header of 60000 bytes",
    ),
    "negative": ("x.npy", header("(-1, 3)") + b"\0" * 80, "impossible shape"),
    "no header": ("x.npy", b"\x93NUMPY\x01\x00\xff\xffabc", "x.npy cannot be read"),
    "cut in header": ("x.npy", b"\x93NUM", "not a .npy file"),
    "cut off": ("x.npy", npy(X)[:-1], "cut off"),
    "empty": ("x.npy", b"", "x.npy is not a .npy file"),
    "structured": ("x.npy", npy(np.zeros(3, dtype=[("a", "f4")])), "not numbers"),
    "complex": ("x.npy", npy(X.astype(complex)), "is complex"),
    "one axis": ("x.npy", npy(X[0]), "has 1 dimension"),
    "no axis": ("x.npy", npy(np.array(1.0)), "has 0 dimensions"),
    "no rows": ("x.npy", npy(X[:0]), "is empty"),
    "gz header": ("x.npy.gz", gzip.compress(header("(1000, 1000)")), "larger than the file"),
    "gz bomb": ("x.npy.gz", gzip.compress(header("(99999, 99999)")), "only plain .npy"),
    "no gz": ("x.npy.gz", b"abc", "x.npy.gz cannot be read"),
    "gz cut": ("x.csv.gz", gzip.compress(b"1,2\n3,4\n" * 99)[:-9], "x.csv.gz cannot be read"),
    "npz of objects": (
        "x.npz",
        zip_of("x.npy", npy(np.array([[None]]), allow_pickle=True)),
        "'x' of x.npz holds Python objects",
    ),
    "npz header": ("x.npz", zip_of("x.npy", header("(1000, 1000)")), "larger than the file"),
    "sparse of objects": (
        "x.npz",
        zip_all(
            {
                "format.npy": npy(np.array(["csr"], dtype=object), allow_pickle=True),
                "shape.npy": npy(np.array([4, 3])),
                "data.npy": npy(X[0]),
            }
        ),
        "holds Python objects",
    ),
    "npz of nothing": ("x.npz", zip_of("readme", b"hello"), "no arrays"),
    "no zip": ("x.npz", b"PK\x03\x04 and so on", "x.npz cannot be read"),
    "no mat": ("x.mat", b"MATLAB 5.0 MAT-file" + b"\0" * 200, "x.mat"),
    "mat 7.3": ("x.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\0" * 99, "7.3"),
    "no mtx": ("x.mtx", b"1 2 3\n", "not MatrixMarket text"),
    "mtx": (
        "x.mtx",
        b"%%MatrixMarket matrix array real general\n99999 99999\n1\n",
        "9999800001 entries are declared",
    ),
    "sparse mtx": (
        "x.mtx.gz",
        gzip.compress(b"%%MatrixMarket matrix coordinate real general\n9 9 999999999\n1 1 1\n"),
        "999999999 entries are declared",
    ),
    "words": ("x.vec", b"3 2\na 1 2\nb 3 4\n", "declares 3 words, but 2 are there"),
    "word": ("x.vec", b"2 2\na 1 2\nb 3\n", "line 3 of x.vec is no word and 2 numbers"),
    "binary words": ("x.bin", b"999999999 300\na " + b"\0" * 99, "x.bin is cut off"),
    "fastText": ("x.bin", (793712314).to_bytes(4, "little") + b"\0" * 99, "save its vectors as"),
    "no words": ("x.bin", b"\1\2\3", "is not of word2vec"),
    "json": ("x.jsonl", b'{"a": [1, 2]}\n{"a": [1, 2\n', "line 2 of x.jsonl is no JSON"),
    "no object": ("x.jsonl", b"[1, 2]\n", "line 1 of x.jsonl is no JSON object"),
    "json width": (
        "x.jsonl",
        b'{"a": [1, 2]}\n\n{"a": [1]}\n',
        r"record 1 .* has 1 numbers in 'a'",
    ),
    "zip": ("x.zip", zip_of("readme.md", b"hello"), "and no table"),
    "safetensors": ("x.safetensors", b"\xff" * 50, "x.safetensors cannot be read"),
    "idx": ("x.idx", idx(np.zeros((9, 9), np.uint8))[:-1], "cut off"),
    "idx header": ("x-ubyte.gz", gzip.compress(struct.pack(">HBBI", 0, 8, 9, 1)), "x-ubyte.gz can"),
    "idx magic": ("x.idx", b"\1\2\3\4", "not an idx file"),
    "text as csv": ("x.csv", b"\0\1\2\3", "not text"),
    "no csv": ("x.csv", b"", "is empty"),
    "unknown": ("x.xyz", b"hello", "of no known kind"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case: str, tmp_path: Path) -> None:
    name, data, sentence = BROKEN[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=sentence) as caught:
        read_file(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.npy does not exist"):
        read_file(tmp_path / "nowhere.npy")


def test_expansion_has_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 100_000))
    assert len(read_file(tmp_path / "x.csv.gz").data) == 100_000
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 1000)))
    monkeypatch.setattr(binary, "MAX_BYTES", 10_000)
    with pytest.raises(DataError, match=r"x\.csv\.gz expands to more than"):
        read_file(tmp_path / "x.csv.gz")
    with pytest.raises(DataError, match=r"x\.npz declares"):
        read_file(tmp_path / "x.npz")


BOMBS = {
    "npy.gz": lambda: gzip.compress(header("(1000, 1000)") + b"\0" * 8_000_000),
    "npz": lambda: zip_of("x.npy", header("(1000, 1000)") + b"\0" * 8_000_000),
    "csv.gz": lambda: gzip.compress(b"0,0\n" * 200_000),
    "ubyte.gz": lambda: gzip.compress(struct.pack(">HBBII", 0, 8, 2, 2000, 4000) + b"\0" * 8**8),
}


@pytest.mark.parametrize("suffix", BOMBS)
def test_what_unfolds_to_over_a_hundred_times_its_size_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(BOMBS[suffix]())
    assert len(read_file(path).data) >= 1000  # a small file may be as repetitive as it likes
    monkeypatch.setattr(binary, "SMALL_BYTES", 10_000)
    with pytest.raises(DataError, match=r"x\..*(expands to|declares)") as caught:
        read_file(path)
    assert "pickle" not in str(caught.value)


def test_lines_are_counted_before_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1\n" * 100))
    monkeypatch.setattr(files, "_MOST_LINES", 99)
    with pytest.raises(DataError, match=r"x\.csv\.gz has more than 99 lines"):
        read_file(tmp_path / "x.csv.gz")
    (tmp_path / "x.csv").write_bytes(b"1\n" * 100)
    assert len(read_file(tmp_path / "x.csv").data) == 100
    (tmp_path / "x.csv").write_bytes(b"1,2\n" + b"0," * 100 + b"1\n")
    with monkeypatch.context() as patched:
        patched.setattr(files, "_LONG_LINE", 64)
        with pytest.raises(DataError, match=r"x\.csv has a line of over"):
            read_file(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(b"0," * 30 + b"1\n")
    monkeypatch.setattr(files, "_MOST_COLUMNS", 30)
    with pytest.raises(DataError, match=r"x\.csv has 31 columns; a table may have 30"):
        read_file(tmp_path / "x.csv")


def test_an_archive_that_is_not_compressed_is_mapped(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X, b=np.asfortranarray(X), c=X.astype(np.float16))
    for key in "abc":
        data = read_file(tmp_path / "x.npz", Options(key=key)).data
        assert isinstance(data, np.memmap)
        np.testing.assert_array_equal(data, X)


def test_sparse_archives_hold_what_they_declare(tmp_path: Path) -> None:
    parts = {"format": np.array("csr"), "shape": np.array([4, 3]), "indptr": np.array([0] * 5)}
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name, array in parts.items():
            archive.writestr(f"{name}.npy", npy(array))
        archive.writestr("indices.npy", npy(np.array([0])))
        archive.writestr("data.npy", header("(9999999999,)"))
    with pytest.raises(DataError, match=r"x\.npz is cut off, or its header is larger"):
        read_file(tmp_path / "x.npz")


def test_sparse_with_an_index_beyond_its_shape(tmp_path: Path) -> None:
    matrix = sparse.csr_array(X)
    matrix.indices[-1] = 1_000_000
    sparse.save_npz(tmp_path / "x.npz", matrix)
    with pytest.raises(DataError, match=r"x\.npz cannot be read"):
        read_file(tmp_path / "x.npz")


def mutated(data: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    broken = bytearray(data)
    for at in rng.integers(0, min(len(data), 400), size=rng.integers(1, 6)):
        broken[at] = rng.integers(256)
    return bytes(broken[: rng.integers(len(broken) // 2, len(broken) + 1)])


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "npy": lambda: npy(X),
    "npz": lambda: zip_of("x.npy", npy(X)),
    "csv": lambda: b"a,b,c\n1,2,red\n3,4,blue\n5,6,red\n",
    "idx": lambda: idx(X.astype(np.uint8)),
    "safetensors": lambda: safetensors_numpy.save({"x": X}),
    "pt": lambda: written(lambda file: torch.save(torch.from_numpy(X), file)),
    "mtx": lambda: written(lambda file: scipy_io.mmwrite(file, sparse.coo_array(X))),
    "vec": lambda: b"2 3\na 1 2 3\nb 4 5 6\n",
    "bin": lambda: b"4 3\n" + b"".join(b"a " + row.tobytes() + b"\n" for row in X),
    "jsonl": lambda: b'{"id": "a", "v": [1, 2]}\n{"id": "b", "v": [3, 4]}\n',
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_mutated_files_give_numbers_or_a_sentence(suffix: str, tmp_path: Path) -> None:
    path, data = tmp_path / f"x.{suffix}", FORMATS[suffix]()
    for seed in range(150):
        path.write_bytes(mutated(data, seed))
        with contextlib.suppress(DataError):
            read_file(path)
