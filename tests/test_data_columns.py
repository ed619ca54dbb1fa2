"""How columns become inputs, and become the same inputs again."""

from __future__ import annotations

import json
import re

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


def test_columns_of_numbers_that_describe_rows_are_kept_out() -> None:
    """A target or a year beside embeddings would be learned from like any other input."""
    lines = "\n".join(f"{2000 + i},{i % 7},{i / 3:.3f},{i / 5:.3f}" for i in range(12))
    text = f"year,likes,a,b\n{lines}\n"
    table = parse_table(text, "t.csv", Options(records=["year", "likes"]))
    assert table.input_names == ["a", "b"]
    assert table.meta.record(3) == {"year": 2003, "likes": 3}
    again = parse_table("b,a\n1,2\n", "n.csv", Options(columns=table.columns))
    np.testing.assert_array_equal(again.values, [[2, 1]])
    with pytest.raises(UsageError, match=r"unknown column of data\.records 'yeer'"):
        parse_table(text, "t.csv", Options(records="yeer"))


def test_missing_cells_of_all_columns_are_told_at_once() -> None:
    rows = [
        f"{'n/a' if i in (2, 5) else i / 2},{i / 3:.2f},{'' if i == 4 else 1.5 * i}"
        for i in range(9)
    ]
    with pytest.raises(
        DataError, match=r"row 2 .*column 'a' .*2 such in this column, 1 in 'c'; fill"
    ):
        parse_table("a,b,c\n" + "\n".join(rows), "t.csv")


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


# --- what names rows is learned from by nobody ---

ROWS = [f"{0.5 * i},{i * i % 7}" for i in range(20)]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("", list(range(20))),
        ("", [7 * i % 20 for i in range(20)]),
        ("Unnamed: 0", list(range(20))),
        ("nr", list(range(1, 21))),
        ("x", list(range(1, 21))),
        ("id", [7 * i + 900 for i in range(20)]),
        ("index", [3 * i for i in range(20)]),
        ("customer_id", [7 * i + 900 for i in range(20)]),
        ("PassengerId", [7 * i + 900 for i in range(20)]),
        ("patient_id", [100 + i // 4 for i in range(20)]),
        ("id", [f"{i:05d}" for i in range(20)]),
        ("id", [str(2**60 + 7 * i) for i in range(20)]),
        ("name", [f"s{i}" for i in range(20)]),
        ("patient_id", [f"P{i // 2}" for i in range(20)]),
        ("id", [*range(100, 119), "7b"]),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_identifiers_and_counters_are_records(name: str, ids: list[object], place: int) -> None:
    if place and not name:
        pytest.skip("a blank corner is in front")
    names, rows = ["a", "b"], [row.split(",") for row in ROWS]
    names.insert(place, name)
    for row, one in zip(rows, ids, strict=True):
        row.insert(place, str(one))
    text = "\n".join(",".join(row) for row in [names, *rows])
    table = parse_table(text, "t")
    assert table.input_names == ["a", "b"]
    assert table.values[3].tolist() == [1.5, 2]
    assert any("left out" in note for note in table.notes)
    assert table.meta is not None
    wanted = ids[3] if ids[0] != str(2**60) else str(2**60 + 21)
    assert table.meta.record(3) == {name or "id": wanted}
    assert [c["name"] for c in table.columns["columns"] if c["kind"] == "id"] == [
        name or "column_0"
    ]


def test_what_names_rows_can_be_said() -> None:
    text = "a,b,nr\n" + "".join(f"{row},{i}\n" for i, row in enumerate(ROWS))
    assert parse_table(text, "t", Options(id="none")).input_names == ["a", "b", "nr"]
    said = parse_table(text, "t", Options(id="b"))
    assert said.input_names == ["a"]
    assert list(said.records) == ["b", "nr"]
    assert parse_table(text, "t", Options(id=1)).input_names == ["a"]
    with pytest.raises(UsageError, match="unknown id column 'bb'; did you mean 'b'"):
        parse_table(text, "t", Options(id="bb"))


def test_measurements_are_no_identifiers() -> None:
    text = "index,width,year\n" + "".join(f"{1.5 + i / 7},{3 * i},{1990 + i}\n" for i in range(20))
    assert parse_table(text, "t").input_names == ["index", "width", "year"]


def test_words_that_may_mean_missing_are_categories_among_words() -> None:
    for word in ("Na", "NA", "None", "null", "nan"):
        text = "ion,x\n" + "".join(f"{[word, 'K', 'Ca'][i % 3]},{i / 4}\n" for i in range(30))
        table = parse_table(text, "t")
        assert f"ion={word}" in table.input_names
        told = [note for note in table.notes if f"data.missing={word}" in note]
        assert len(told) == (word != "Na")
        with pytest.raises(
            DataError, match=f"row 0 .*column 'ion' of t is missing .*'{word}', and"
        ):
            parse_table(text, "t", Options(missing=word))


@pytest.mark.parametrize("word", ["NA", "n/a", "NaN", "null", "-", "?", "None", "#N/A", ""])
def test_words_that_mean_missing_among_numbers(word: str) -> None:
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\), column 'a' of t is missing"):
        parse_table(f"a,b\n1.5,2\n{word},3\n2.5,5\n4,1\n", "t")


@pytest.mark.parametrize("said", [-999, -999.0, "-999", ["-999", "x"]])
def test_a_number_may_be_said_to_mean_missing(said: object) -> None:
    text = "a,b\n1.5,2\n-999,3\n2.5,5\n"
    assert parse_table(text, "t").values[1, 0] == -999
    with pytest.raises(DataError, match=r"row 1 .*column 'a' of t is missing"):
        parse_table(text, "t", Options(missing=said))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["<0.1", ">50", "n.d.", "Na", "1.2*"])
@pytest.mark.parametrize("row", [0, 7])
def test_one_word_among_measurements_is_named(cell: str, row: int) -> None:
    rows = [f"{i / 7:.3f},{i / 3:.3f}" for i in range(30)]
    rows[row] = f"{cell},1.5"
    wanted = rf"row {row} .*column 'lead' of t is '{re.escape(cell)}', among 29 .*data.missing"
    with pytest.raises(DataError, match=wanted):
        parse_table("lead,zinc\n" + "\n".join(rows), "t")
    words = parse_table("lead,zinc\n" + "\n".join(rows), "t", Options(words="lead"))
    assert words.input_names == ["zinc"]  # 30 different words


def test_a_column_of_words_and_numbers_is_left_out_with_row_and_cell() -> None:
    rows = [f"{f'A/5 {i}' if i % 3 == 1 else 1000 + i},{i / 3:.3f}" for i in range(30)]
    table = parse_table("ticket,fare\n" + "\n".join(rows), "t")
    assert table.input_names == ["fare"]
    assert any("'ticket'" in note and "row 1" in note and "'A/5 1'" in note for note in table.notes)


def test_columns_can_be_said_to_hold_words() -> None:
    text = "zip,x\n" + "".join(f"0{1000 + i % 3},{i / 4}\n" for i in range(30))
    table = parse_table(text, "t", Options(words=["zip"]))
    assert table.input_names == ["zip=01000", "zip=01001", "zip=01002", "x"]
    with pytest.raises(UsageError, match=r"unknown column of data.words 'zap'"):
        parse_table(text, "t", Options(words="zap"))


def test_words_that_hardly_repeat_are_no_categories() -> None:
    text = "x,w\n" + "".join(f"{i / 3},{f'text {i}' if i else 'text 1'}\n" for i in range(40))
    table = parse_table(text, "t")
    assert table.input_names == ["x"]
    assert table.meta is not None
    assert table.meta.record(2) == {"w": "text 2"}


def test_lists_in_cells_are_one_input_an_entry() -> None:
    for cells in ("[{}, 2.5]", "[ {}  2.5]"):
        text = "id,e\n" + "".join(f'k{i},"{cells.format(i)}"\n' for i in range(5))
        table = parse_table(text, "t")
        assert table.input_names == ["e.0", "e.1"]
        assert table.values[4].tolist() == [4, 2.5]
        again = parse_table(text, "t", Options(columns=json.loads(json.dumps(table.columns))))
        np.testing.assert_array_equal(again.values, table.values)
    with pytest.raises(DataError, match=r"row 1 .*column 'e' holds 1 numbers, and others hold 2"):
        parse_table('id,e\na,"[1, 2]"\nb,"[3]"\n', "t")
    with pytest.raises(DataError, match=r"column 'e' is cut short"):
        parse_table('id,e\na,"[1 ... 2]"\nb,"[3 ... 4]"\n', "t")


# --- new rows, by name ---


def test_new_rows_need_inputs_alone() -> None:
    old = parse_table(
        "id,x,y,cls\n" + "".join(f"S{i},{i / 3},{i / 7},{'uv'[i % 2]}\n" for i in range(30)),
        "old",
        Options(label="cls"),
    )
    encoding = Options(columns=json.loads(json.dumps(old.columns)))
    for text in ("x,y\n1.5,2.5\n", "y;x\n2,5;1,5\n", "1.5,2.5\n", "y,z,x\n2.5,w,1.5\n"):
        table = parse_table(text, "new", encoding)
        assert table.values.tolist() == [[1.5, 2.5]]
        assert table.input_names == ["x", "y"]
    assert "'z' of new are no inputs of this model: ignored" in table.notes
    named = parse_table("y,key,x\n2.5,T1,1.5\n", "new", encoding)
    assert named.meta is not None
    assert named.meta.record(0) == {"key": "T1"}
    with pytest.raises(DataError, match=r"new has no column 'y'.*its columns are x, z"):
        parse_table("x,z\n1,2\n", "new", encoding)
    with pytest.raises(DataError, match="new has 5 columns, but this model was built for 4, 2 of"):
        parse_table("1,2,3,4,5\n", "new", encoding)


# --- samples in columns ---


@pytest.mark.parametrize("corner", ["gene\t", "\t", "", "nr\tgene\t"])
@pytest.mark.parametrize("patients", [["p0", "p1", "p2"], ["0", "1", "2"]])
def test_genes_in_rows(corner: str, patients: list[str]) -> None:
    x = np.random.default_rng(0).random((30, 3)).round(4)
    counted = corner.count("\t") == 2
    rows = [f"{i}\t" * counted + f"G{i}\t" + "\t".join(map(str, row)) for i, row in enumerate(x)]
    text = corner + "\t".join(patients) + "\n" + "\n".join(rows)
    table = parse_table(text, "t", Options(samples="columns"))
    np.testing.assert_array_equal(table.values, x.T)
    assert table.input_names == [f"G{i}" for i in range(30)]
    assert table.meta is not None
    assert [str(table.meta.record(i)["id"]) for i in range(3)] == patients
    # New patients, genes in another order, one that is not known.
    new = "gene\tq\nG99\t0\n" + "\n".join(f"G{i}\t{x[i, 1]}" for i in reversed(range(30)))
    again = parse_table(new, "n", Options(samples="columns", columns=table.columns))
    np.testing.assert_array_equal(again.values, x.T[1:2])


def test_genes_may_be_called_by_numbers() -> None:
    x = np.random.default_rng(0).random((30, 3)).round(4)
    rows = [f"{7 * i % 30 + 1000},{','.join(map(str, row))}" for i, row in enumerate(x)]
    text = "entrez,p0,p1,p2\n" + "\n".join(rows)
    table = parse_table(text, "t", Options(samples="columns"))
    np.testing.assert_array_equal(table.values, x.T)
    assert table.input_names[:2] == ["1000", "1007"]
    assert list(table.records["id"]) == ["p0", "p1", "p2"]
