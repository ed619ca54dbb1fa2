"""Records about samples, from the formats people keep them in."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from simplecell.data import as_source, binary
from simplecell.data.records import read_meta
from simplecell.errors import DataError


def test_every_format_gives_the_same_records(tmp_path: Path) -> None:
    records = [{"text": "one, two", "count": 1}, {"text": "three", "count": 2}]
    (tmp_path / "m.csv").write_text('text,count\n"one, two",1\nthree,2\n')
    (tmp_path / "m.tsv").write_text("text\tcount\none, two\t1\nthree\t2\n")
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    texts = np.array(["one, two", "three"])
    np.savez(tmp_path / "m.npz", text=texts, count=np.array([1, 2]), data=np.zeros((2, 9)))
    for path in tmp_path.iterdir():
        meta = read_meta(path)
        assert [meta.record(i) for i in range(meta.n_records)] == records, path.name
        source = as_source(np.zeros((2, 3)), meta=path)
        assert source.about(slice(1, 2)) == [{"row": 1, "text": "three", "count": 2}]
        with pytest.raises(DataError, match="2 records of meta came for 3 samples"):
            as_source(np.zeros((3, 3)), meta=path)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("m.jsonl", "{]", r"m\.jsonl cannot be read"),
        ("m.jsonl", "[1]", "no JSON object"),
        ("m.csv", "a,b\n1\n", "a header and rows"),
        ("m.csv", "", "a header and rows"),
        ("m.csv", "a,b,a\n1,2,3\n", r"several columns of m\.csv are called 'a'"),
        ("m.npz", "PK", r"m\.npz cannot be read"),
        ("m.txt", "a", r"\.csv, \.tsv, \.jsonl, \.npz"),
    ],
)
def test_broken_meta(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_meta(tmp_path / name)


def test_a_member_of_an_archive_that_stands_there_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", a=np.zeros(2))
    member = zipfile.ZipFile(tmp_path / "one.npz").read("a.npy")
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", member)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", member)
    with pytest.raises(DataError, match="holds 'a' twice"):
        read_meta(tmp_path / "m.npz")


def test_arrays_of_different_lengths_and_missing_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.zeros(2), b=np.zeros(3))
    with pytest.raises(DataError, match="one length"):
        read_meta(tmp_path / "m.npz")
    with pytest.raises(DataError, match="does not exist"):
        read_meta(tmp_path / "n.npz")


def test_meta_counts_more_than_what_a_table_tells_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,title,x,y\na,A,1.5,2\nb,B,3,1\n")
    (tmp_path / "m.csv").write_text("sep=;\ntitle;year\nNew;2020\nOther;2021\n")
    source = as_source(tmp_path / "t.csv", meta=str(tmp_path / "m.csv"))
    assert source.about(slice(0, 1)) == [{"row": 0, "id": "a", "title": "New", "year": 2020}]
    (tmp_path / "m.csv").write_text("title\nNew\n")
    with pytest.raises(DataError, match="1 records of meta came for 2 samples"):
        as_source(tmp_path / "t.csv", meta=str(tmp_path / "m.csv"))


def test_arrays_of_the_data_are_not_read_and_claims_are_checked(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, x=np.zeros((5000, 100)), words=np.array(["a", "ö"] * 2500))
    monkeypatch.setattr(binary, "SMALL_BYTES", 10**4)
    monkeypatch.setattr(binary, "RATIO", 10)
    assert read_meta(path).record(1) == {"words": "ö"}  # of 4 MB of zeros nothing is unpacked
    np.savez_compressed(path, words=np.zeros(10**6))
    with pytest.raises(DataError, match=r"m\.npz declares 0\.00745 GiB when unpacked"):
        read_meta(path)
    np.savez(path, words=np.array(["a", None], dtype=object))
    with pytest.raises(DataError, match=r"'words' of m\.npz holds Python objects"):
        read_meta(path)
