"""How columns become inputs, and become the same inputs again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simplecell.data.options import Options
from simplecell.data.tables import encode_table
from simplecell.data.text_tables import parse_table
from simplecell.errors import DataError, UsageError

TEXT = "age,color,kind,id\n1,red,a,u1\n2,blue,b,u2\n3,red,a,u3\n"


def test_words_become_one_input_each_and_ids_are_left_out() -> None:
    table = parse_table(TEXT, "t.csv", Options(label="kind"))
    assert table.input_names == ["age", "color=blue", "color=red"]
    np.testing.assert_array_equal(table.values, [[1, 0, 1], [2, 1, 0], [3, 0, 1]])
    assert table.labels is not None
    assert table.labels.tolist() == ["a", "b", "a"]
    assert "'id' of t.csv is left out" in table.notes[1]


def test_more_than_100_words_are_left_out() -> None:
    rows = [f"{i / 2},w{i % 101}" for i in range(300)]
    assert parse_table("n,w\n" + "\n".join(rows), "t").input_names == ["n"]
    with pytest.raises(DataError, match="no column that can be an input"):
        parse_table("w\n" + "\n".join(f"w{i % 101}" for i in range(300)), "t")


@pytest.mark.parametrize(("label", "name"), [("kind", "kind"), (2, "kind"), ("2", "kind")])
def test_labels_by_name_and_number(label: str | int, name: str) -> None:
    columns = parse_table(TEXT, "t.csv", Options(label=label)).columns["columns"]
    assert [column["name"] for column in columns if column["kind"] == "label"] == [name]


def test_whole_labels_are_integers() -> None:
    table = parse_table("0.5,1\n0.6,2\n", "t", Options(label=-1))
    assert table.labels is not None
    assert table.labels.dtype == np.int64
    with pytest.raises(UsageError, match="unknown label column 'kinds'; did you mean 'kind'"):
        parse_table(TEXT, "t.csv", Options(label="kinds"))


def test_new_tables_are_encoded_the_same() -> None:
    first = parse_table(TEXT, "t.csv", Options(label="kind"))
    encoding = json.loads(json.dumps(first.columns))
    again = parse_table(TEXT, "t.csv", Options(columns=encoding))
    np.testing.assert_array_equal(again.values, first.values)
    assert again.input_names == first.input_names
    assert again.labels is not None
    assert again.labels.tolist() == ["a", "b", "a"]
    unlabelled = parse_table("age,color,id\n9,red,7\n", "n.csv", Options(columns=encoding))
    np.testing.assert_array_equal(unlabelled.values, [[9, 0, 1]])
    assert unlabelled.labels is None
    moved = parse_table("id;color;age\nu9;blue;9\n", "n.csv", Options(columns=encoding))
    np.testing.assert_array_equal(moved.values, [[9, 1, 0]])
    bare = parse_table("9,red,a,u7\n8,blue,b,u8\n", "n.csv", Options(columns=encoding))
    np.testing.assert_array_equal(bare.values, [[9, 0, 1], [8, 1, 0]])


def test_unknown_words_are_zeros_and_counted() -> None:
    encoding = parse_table(TEXT, "t.csv").columns
    table = parse_table(
        "age,color,kind,id\n1,green,a,x\n2,red,b,y\n", "n.csv", Options(columns=encoding)
    )
    assert table.values[0, 1:3].tolist() == [0, 0]
    assert "1 of 2 values in column 'color' of n.csv" in table.notes[-1]


def test_words_that_look_like_numbers_stay_words() -> None:
    encoding = parse_table("z,w\n1,07\n2,x\n3,x\n", "t").columns
    table = parse_table("z,w\n1,07\n2,7\n", "n", Options(columns=encoding))
    np.testing.assert_array_equal(table.values, [[1, 1, 0], [2, 0, 0]])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2,3,4,5\n", "n.csv has 5 columns, but this model was built for 4"),
        ("age,colour,kind,id\n1,red,a,x\n", "n.csv has no column 'color'"),
        ("age,color,kind,id\nold,red,a,x\n", "row 0, column 'age' of n.csv is 'old'"),
    ],
)
def test_tables_of_another_kind(text: str, sentence: str) -> None:
    encoding = parse_table(TEXT, "t.csv").columns
    with pytest.raises(DataError, match=sentence):
        parse_table(text, "n.csv", Options(columns=encoding))


def test_columns_need_rows() -> None:
    with pytest.raises(DataError, match="no rows"):
        encode_table([np.empty(0)], ["a"], "t", Options(), header=True)
