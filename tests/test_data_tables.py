"""Text tables: delimiters, headers, numbers and words."""

from __future__ import annotations

import numpy as np
import pytest

from simplecell.data.cells import find_delimiter
from simplecell.data.options import Options
from simplecell.data.text_tables import parse_table
from simplecell.errors import DataError, UsageError


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("word", ["", "red"])
def test_delimiters_and_headers_are_found(delimiter: str, header: bool, word: str) -> None:
    rows = [["a", "b", "c"]] * header + [["1", "2.5", word or "3"], ["4", "5", word or "-6e1"]]
    text = "\n".join(delimiter.join(row) for row in rows) + "\n\n"
    assert find_delimiter(text.splitlines()) == delimiter
    table = parse_table(text, "t.csv")
    np.testing.assert_array_equal(table.values[:, :2], [[1, 2.5], [4, 5]])
    names = ["a", "b", "c"] if header else ["column_0", "column_1", "column_2"]
    assert table.input_names == [*names[:2], names[2] + ("=red" if word else "")]
    assert ("no header" in table.notes[0]) is not header


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b\n1,2\n", True),
        ("1,2\n3,4\n", False),
        ("2020,b\n1,x\n", False),
        ("id,2020\n1,5\n", True),
        ("kind,color\nx,red\nx,blue\n", True),
        ("x,red\nx,blue\n", False),
        (",a\n0,1\n1,2\n", True),
    ],
)
def test_what_looks_like_a_header(text: str, found: bool) -> None:
    assert parse_table(text, "t.csv").columns["header"] is found


def test_a_missing_cell_in_the_first_row_is_no_header() -> None:
    with pytest.raises(DataError, match=r"row 0 .*column 'column_0' of t is missing"):
        parse_table(",2\n1,2\n3,4\n", "t")


def test_header_can_be_said() -> None:
    assert parse_table("1,2\n3,4\n", "t", Options(header=True)).input_names == ["1", "2"]
    with pytest.raises(UsageError, match="header is 'yes'"):
        parse_table("1,2\n", "t", Options(header="yes"))


def test_quotes_spaces_comments_byte_order_and_doubled_names() -> None:
    text = '# made by hand\n"size, cm" , size, size\n 1, "2", 3\n'
    assert parse_table(text, "t").input_names == ["size, cm", "size", "size_2"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows below its header"),
        ("1,2\n3\n", "line 2 of t.csv has 1 cells"),
        ("a,b\n1,2\n3,\n", r"row 1 \(the first is 0\), column 'b' of t.csv is missing"),
        ("a,b\n1,2\n3,nan\n", "column 'b' of t.csv is missing"),
        ("a,b\n1,2\n3,inf\n", "column 'b' of t.csv is missing or not finite"),
        ("a,b\nx,2\n?,2\nx,2\n", "row 1 .*column 'a'"),
        ("\0\1\2", "not text"),
    ],
)
def test_broken_tables(text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        parse_table(text, "t.csv")


def test_25000_by_43_with_words_stays_fast() -> None:
    row = ",".join(["0.25"] * 40 + ["tcp", "http", "7"])
    table = parse_table("\n".join([row] * 5_000), "t.csv")
    assert table.values.shape == (5_000, 43)
