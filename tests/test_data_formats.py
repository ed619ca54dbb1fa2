"""JSON lines, zipped tables, MatrixMarket, word vectors, as those who write them write them.

The numbers of all are those of X; a library that is missing is named with its extra.
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import io as scipy_io
from scipy import sparse

from simplecell.data import as_source
from simplecell.errors import DataError, UsageError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
NAMES = ["mat", "pet", "ö x", "1,5", "-", "cat"]


def read(data: object, **options: object) -> np.ndarray:
    return as_source(data, **options).read(slice(None))


def ids(path: Path, **options: object) -> list[object]:
    return [record["id"] for record in as_source(path, **options).about(slice(None))]


def test_json_lines(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": NAMES, "v": X.astype(float).tolist(), "year": range(6)})
    frame.write_ndjson(tmp_path / "x.jsonl")
    packed = gzip.compress((tmp_path / "x.jsonl").read_bytes())
    (tmp_path / "x.jsonl.gz").write_bytes(packed)
    for name in ("x.jsonl", "x.jsonl.gz"):
        source = as_source(tmp_path / name)
        np.testing.assert_array_equal(source.read(slice(None)), X.astype(float))
        assert source.about(slice(1, 2)) == [{"row": 1, "id": "pet", "year": 1}]
        assert "'v' of x.jsonl" in source.notes[0]
        assert "id, year" in source.notes[0]
    labelled = as_source(tmp_path / "x.jsonl", label="year")
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_labels_in_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"v": [1, 2], "y": "a"}\n{"v": [3, 4]}\n')
    with pytest.raises(DataError, match=r"record 1 .* has None for a label in 'y'"):
        as_source(path, label="y")
    with pytest.raises(UsageError, match=r"unknown field of x\.jsonl 'z'"):
        as_source(path, label="z")
    assert as_source(path).about(slice(1, 2)) == [{"row": 1}]


def test_json_lines_of_single_values_are_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame(X.astype(float), columns=list("abcd")).assign(w=["r", "s"] * 3)
    frame.to_json(tmp_path / "x.ndjson", orient="records", lines=True, double_precision=15)
    source = as_source(tmp_path / "x.ndjson")
    assert source.input_names == ["a", "b", "c", "d", "w=r", "w=s"]
    np.testing.assert_allclose(source.read(slice(None))[:, :4], X, rtol=1e-12)


def test_json_lines_of_texts_alone_are_no_data(tmp_path: Path) -> None:
    lines = [json.dumps({"title": f"the {n} is here", "topics": [n, "x"]}) for n in NAMES]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="text alone"):
        as_source(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": [1, 2]}\n')
    with pytest.raises(DataError, match=r"field 'a' of x\.jsonl holds \[1, 2\]; a list of numbers"):
        as_source(tmp_path / "x.jsonl")


def test_json_lines_of_several_lists_ask(tmp_path: Path) -> None:
    lines = [json.dumps({"a": [1, 2], "b": [3, 4]}), json.dumps({"a": [5, 6], "b": [7, 8]})]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"a of 2 numbers, b of 2 numbers; say which one"):
        as_source(tmp_path / "x.jsonl")
    np.testing.assert_array_equal(read(tmp_path / "x.jsonl", key="b"), [[3, 4], [7, 8]])


def test_a_zipped_table(tmp_path: Path) -> None:
    frame = pd.DataFrame(X.astype(float), columns=list("abcd"))
    frame.to_csv(tmp_path / "x.csv.zip", index=False)
    source = as_source(tmp_path / "x.csv.zip")
    assert source.input_names == list("abcd")
    np.testing.assert_array_equal(source.read(slice(None)), X.astype(float))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "p,q\n1,2\n3,4\n")
        archive.writestr("b.csv", "p,q\n5,6\n7,8\n")
        archive.writestr("__MACOSX/a.csv", "?")
    with pytest.raises(DataError, match=r"several variables: a\.csv of 12 bytes, b\.csv of 12"):
        as_source(tmp_path / "two.zip")
    np.testing.assert_array_equal(read(tmp_path / "two.zip", key="b.csv"), [[5, 6], [7, 8]])


COUNTS = np.random.default_rng(0).poisson(0.5, size=(6, 4)).astype(np.float32)
GENES = ["CD3E", "MS4A1", "LYZ", "NKG7"]


def test_matrix_market_alone_and_beside_its_names(tmp_path: Path) -> None:
    matrix = sparse.coo_array(COUNTS)
    scipy_io.mmwrite(tmp_path / "x.mtx", matrix)
    scipy_io.mmwrite(tmp_path / "dense.mtx", X)
    np.testing.assert_array_equal(read(tmp_path / "x.mtx"), COUNTS)
    assert sparse.issparse(as_source(tmp_path / "x.mtx")._data)  # type: ignore[attr-defined]
    np.testing.assert_allclose(read(tmp_path / "dense.mtx"), X, rtol=1e-6)
    folder = tmp_path / "filtered_feature_bc_matrix"
    folder.mkdir()
    scipy_io.mmwrite(folder / "matrix.mtx", sparse.coo_array(COUNTS.T.astype(int)))
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress((folder / "matrix.mtx").read_bytes()))
    (folder / "matrix.mtx").unlink()
    lines = "".join(f"ENSG{j}\t{name}\tGene Expression\n" for j, name in enumerate(GENES))
    (folder / "features.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    cells = "".join(f"AAA{i}-1\n" for i in range(6))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(cells.encode()))
    for place in (folder, folder / "matrix.mtx.gz"):
        source = as_source(place)
        np.testing.assert_array_equal(source.read(slice(None)), COUNTS)
        assert source.input_names == GENES
        assert source.about(slice(1, 2)) == [{"row": 1, "id": "AAA1-1"}]


def test_word_vectors_of_gensim(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = models.KeyedVectors(4)
    names = [name.replace(" ", "_") for name in NAMES]
    vectors.add_vectors(names, X)
    vectors.save_word2vec_format(str(tmp_path / "x.bin"), binary=True)
    for name, head in (("x.vec", True), ("x.txt", True), ("glove.txt", False)):
        vectors.save_word2vec_format(str(tmp_path / name), write_header=head)
    for path in tmp_path.iterdir():
        np.testing.assert_allclose(read(path), X, rtol=1e-6, err_msg=path.name)
        assert ids(path) == names


def test_words_as_glove_and_fasttext_write_them(tmp_path: Path) -> None:
    rows = [" ".join([name, *map(str, x)]) for name, x in zip(NAMES, X.tolist(), strict=True)]
    (tmp_path / "fast.vec").write_text("6 4\n" + "".join(f"{row} \n" for row in rows))
    (tmp_path / "glove.txt.gz").write_bytes(
        gzip.compress("\n".join(row for row in rows if "ö x" not in row).encode())
    )
    np.testing.assert_array_equal(read(tmp_path / "fast.vec"), X)
    assert ids(tmp_path / "fast.vec") == NAMES
    np.testing.assert_array_equal(read(tmp_path / "glove.txt.gz"), np.delete(X, 2, axis=0))
    assert ids(tmp_path / "glove.txt.gz") == [name for name in NAMES if name != "ö x"]
    (tmp_path / "table.txt").write_text("red 1 2\nblue 3 4\nred 5 6\n")
    assert as_source(tmp_path / "table.txt").kind == "table"


@pytest.mark.parametrize(
    ("library", "extra", "name"),
    [
        ("pyarrow", "parquet", "x.parquet"),
        ("h5py", "hdf5", "x.h5"),
        ("soundfile", "sound", "x.wav"),
    ],
)
def test_a_missing_library_names_its_extra(
    library: str, extra: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"anything")
    for module in [m for m in sys.modules if m == library or m.startswith(library + ".")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=rf"pip install 'simplecell\[{extra}\]'"):
        as_source(tmp_path / name)
