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


# --- as people write them ---


def _written(pattern: str, n: int = 12) -> str:
    """Rows of a pattern in which {i} counts from 3."""
    return "".join(pattern.replace("{i}", str(i)) + "\n" for i in range(3, n + 3))


@pytest.mark.parametrize(
    ("text", "first", "told"),
    [
        ("a;b\n" + _written("{i},25;-0,5"), [3.25, -0.5], "'3,25' is 3.25"),
        (_written("{i},25;-0,5"), [3.25, -0.5], "decimal comma"),
        ("a\tb\n" + _written("{i},253\t-0,5"), [3.253, -0.5], "decimal comma"),
        ("a\tb\n" + _written("{i},253\t1,500"), [3.253, 1.5], "decimal comma"),
        ("a b\n" + _written("{i},25 1e-3"), [3.25, 0.001], "decimal comma"),
        ("a\n" + _written("{i},25"), [3.25], "decimal comma"),
        ("a;b\n" + _written("{i}.234,50;1,25"), [3234.5, 1.25], "'.' between thousands"),
        ("a;b\n" + _written("{i}.234;1,25"), [3234.0, 1.25], "'3.234' is 3234"),
        ("a;b\n" + _written("{i} 234,5;1,25"), [3234.5, 1.25], "' ' between thousands"),
        ("a;b\n" + _written("{i}\u00a0234,5;1,25"), [3234.5, 1.25], "between thousands"),
        ("a;b\n" + _written("{i},5;1.5"), [3.5, 1.5], "decimal comma"),
        ("a,b\n" + _written('"{i},234",1.5'), [3234.0, 1.5], "',' between thousands: '3,234'"),
        ("a,b\n" + _written('"{i},234.5",0.125'), [3234.5, 0.125], "',' between thousands"),
        ("a,b\n" + _written('"{i},234,567",1'), [3234567.0, 1.0], "',' between thousands"),
        ("a,b\n" + _written("{i}'234.5,1.5"), [3234.5, 1.5], "between thousands"),
        ("a,b\n" + _written("{i}.5%,1.5"), [3.5, 1.5], "'%' left away: '3.5%' is 3.5"),
        ("a;b\n" + _written("{i},5 %;1"), [3.5, 1.0], "decimal comma and '%' left away"),
        ("a,b\n" + _written('"${i},200.50",1'), [3200.5, 1.0], "'$' left away"),
        ("a,b\n" + _written("{i}%,1") + "0,1\n", [3.0, 1.0], "'%' left away"),
        ("a,b\r" + _written("{i}.5,1").replace("\n", "\r"), [3.5, 1.0], None),
        ("a,b\n" + _written("{i}.5 mg,1"), [3.5, 1.0], "'mg' left away"),
        ("a,b\n" + _written("−{i}.5,1"), [-3.5, 1.0], None),
        ("a|b\n" + _written("{i}.5|1"), [3.5, 1.0], None),
        ("sep=;\na;b\n" + _written("{i},5;1"), [3.5, 1.0], "decimal comma"),
        ('"sep=\\t"\na\tb\n' + _written("{i}.5\t1"), [3.5, 1.0], None),
    ],
)
def test_numbers_as_people_write_them(text: str, first: list[float], told: str | None) -> None:
    table = parse_table(text, "t.csv", Options(id="none"))
    assert table.values.shape[0] in (12, 13)
    np.testing.assert_allclose(table.values[0], first)
    np.testing.assert_allclose(abs(table.values[11, 0] - table.values[0, 0]) % 11, 0)
    assert told is None or any(told in note for note in table.notes), table.notes


def test_numbers_of_two_ways_in_one_column_are_refused() -> None:
    text = "a,b\n" + _written("{i}.5,1") + '"7,25",1\n'
    with pytest.raises(DataError, match=r"row 12 .*column 'a' of t is '7,25'.*write them alike"):
        parse_table(text, "t")


@pytest.mark.parametrize(
    ("units", "names"),
    [
        ("s,K,Pa\n", "'K'"),
        ("V,-,1\n", "'V'"),
        (",K,\n", "'K'"),
        ("V,A,A\n(avg),(avg),(max)\n", "row 1"),
    ],
)
def test_units_below_the_header_are_no_sample(units: str, names: str) -> None:
    text = "time,temp,pressure\n" + units + _written("{i}.5,290.1,1013")
    table = parse_table(text, "rig.csv")
    assert table.input_names == ["time", "temp", "pressure"]
    np.testing.assert_array_equal(table.values[0], [3.5, 290.1, 1013])
    assert len(table.values) == 12
    assert any("no sample" in note and names in note for note in table.notes)


def _spectra(n: int, wavelengths: list[str]) -> tuple[str, np.ndarray]:
    x = np.random.default_rng(0).random((n, len(wavelengths))).round(4)
    rows = "".join(",".join(map(str, row)) + "\n" for row in x)
    return ",".join(wavelengths) + "\n" + rows, x


@pytest.mark.parametrize(
    "wavelengths",
    [
        [f"{w:.1f}" for w in np.linspace(900, 1700, 60)],
        [str(w) for w in range(4000, 400, -60)],
        ["410", "440", "500", "550", "680"],
        ["0", "1", "2", "3"],
        ["0", "1"],
        ["1007", "1053", "117", "121", "1255"],
    ],
)
def test_a_header_may_be_numbers(wavelengths: list[str]) -> None:
    text, x = _spectra(20, wavelengths)
    table = parse_table(text, "nir.csv")
    np.testing.assert_array_equal(table.values, x)
    assert table.input_names == wavelengths
    assert any(f"header of numbers ({wavelengths[0]}" in note for note in table.notes)
    assert len(parse_table(text, "nir.csv", Options(header=False)).values) == 21
    again = parse_table(
        "x," + text.strip().replace("\n", "\n5,"), "n", Options(columns=table.columns)
    )
    np.testing.assert_array_equal(again.values[:20], x)


@pytest.mark.parametrize("n", [1, 2])
def test_one_spectrum_below_its_wavelengths_is_a_sample(n: int) -> None:
    text, x = _spectra(n, [f"{w:.1f}" for w in np.linspace(900, 1700, 60)])
    np.testing.assert_array_equal(parse_table(text, "nir.csv").values, x)


def test_wavelengths_are_a_header_beside_names_and_with_decimal_commas() -> None:
    text, x = _spectra(20, [f"{w:.1f}" for w in np.linspace(900, 1700, 60)])
    rows = text.splitlines()
    named = "\n".join([f"sample,{rows[0]}", *(f"S{i},{row}" for i, row in enumerate(rows[1:]))])
    np.testing.assert_array_equal(parse_table(named, "n").values, x)
    commas = text.replace(",", ";").replace(".", ",")
    table = parse_table(commas, "c")
    np.testing.assert_allclose(table.values, x)
    # The model's names are matched as numbers: 900 is 900.0.
    other = parse_table(text.replace("900.0", "900"), "o", Options(columns=table.columns))
    np.testing.assert_array_equal(other.values, x)


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_only_look_like_a_header_are_samples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for x in (
        rng.random((20, 5)),
        np.cumsum(rng.random((20, 12)), axis=1),
        np.arange(60.0).reshape(20, 3) ** 2,
        rng.integers(0, 9, (20, 4)).astype(float),
    ):
        text = "".join(",".join(map(str, row)) + "\n" for row in x)
        assert len(parse_table(text, "t", Options(id="none")).values) == 20


def test_a_header_of_numbers_above_columns_of_few_words() -> None:
    text = "gene,1,call,3,call,2,call\n" + _written("G{i},-{i}14,A,{i},P,7{i},A")
    table = parse_table(text, "t", Options(samples="columns"))
    assert table.input_names[:2] == ["G3", "G4"]
    np.testing.assert_array_equal(table.values[:, 0], [-314, 3, 73])
    assert [table.meta.record(i)["id"] for i in range(3)] == [1, 3, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", [",", ",,", ", "])
@pytest.mark.parametrize("top", ["a,b", "a,b,"])
def test_a_delimiter_at_the_end_of_lines_is_no_column(ending: str, top: str) -> None:
    table = parse_table(f"{top}\n" + _written("{i}.5,2" + ending), "t")
    assert table.input_names == ["a", "b"]
    np.testing.assert_array_equal(table.values[0], [3.5, 2])
    some = parse_table("a,b\n1.5,2,\n4,5\n", "t")
    np.testing.assert_array_equal(some.values, [[1.5, 2], [4, 5]])


def test_empty_rows_and_columns_are_left_out_and_told() -> None:
    table = parse_table("a,note,b\n1.5,,2\n,,\n4,,5\n,,\n", "t")
    assert table.input_names == ["a", "b"]
    assert table.values.tolist() == [[1.5, 2], [4, 5]]
    assert "2 rows of t are empty and left out: lines 3, 5" in table.notes
    assert any("'note' of t is left out: it is empty in every row" in note for note in table.notes)
    assert table.records == {}


def test_row_names_without_a_header_of_their_own() -> None:
    table = parse_table('"a" "b"\n' + _written('"s {i}" 1.5 {i}'), "t", Options())
    assert table.input_names == ["a", "b"]
    assert table.meta is not None
    assert table.meta.record(0) == {"id": "s 3"}


def test_13000_columns_are_read_whatever_separates_them() -> None:
    names, cells = [f"g{i}" for i in range(13_000)], ["0.125"] * 13_000
    for delimiter in ",;\t":
        text = "\n".join(delimiter.join(row) for row in ([*names], cells, cells))
        table = parse_table(text, "genes")
        assert table.input_names == names
        assert table.values.shape == (2, 13_000)
    quoted = "id," + ",".join(names) + '\n"a",' + ",".join(cells) + '\n"b",' + ",".join(cells)
    assert parse_table(quoted, "genes").values.shape == (2, 13_000)
    long = "id,x\n" + "".join(f'"{letter * 200_000}",1.5\n' for letter in "ab")
    assert parse_table(long, "t").values.tolist() == [[1.5], [1.5]]


def test_text_alone_is_no_data() -> None:
    for text in (
        "text\n" + _written("This film, the {i}th, was good"),
        "text\n" + _written('"This film, the {i}th, was good"'),
        "".join(f"This film was {'very ' * (i % 3)}good {i}\n" for i in range(12)),
        "text\n" + _written("This film, the {i}th"),
        "title,text\n" + _written("Film {i},It was so {i} good"),
    ):
        with pytest.raises(DataError, match=r"holds text alone .*a row of numbers of each text"):
            parse_table(text, "t.csv", Options(samples="auto"))
