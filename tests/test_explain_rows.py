"""Rows against rows: queries on records, lists of identifiers, two data sets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.errors import DataError, UsageError
from simplecell.explain.contrast import of_data, of_rows
from simplecell.explain.query import parsed
from simplecell.run.directory import Run

COLUMNS = {
    "year": [1999, 2001, None, 2005],
    "city": ["Rome", "Oslo", "Oslo", ""],
    "of sale": [1.0, 2.0, 3.0, float("nan")],
}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("year > 2000", [1, 3]),
        ("not year > 2000", [0, 2]),
        ("year > 2000 and city == 'Oslo'", [1]),
        ("1999 < year <= 2001 or `of sale` >= 3", [1, 2]),
        ('city in ["Rome", "Bern"]', [0]),
        ("city not in ('Rome',)", [1, 2]),
        ("year != -5", [0, 1, 3]),
        ("(city == 'Rome' or city == 'Oslo') and not year == 1999", [1, 2]),
    ],
)
def test_a_query_chooses_rows(text, chosen):
    query = parsed(text)
    found = query.chosen({name: COLUMNS[name] for name in query.names})
    assert np.flatnonzero(found).tolist() == chosen


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "year.real > 3",
        "year[0] > 3",
        "year + 1 > 3",
        "year > (lambda: 3)",
        "[n for n in year] == 3",
        "f'{year}' == 'x'",
        "year > 2j",
        "year is None",
        "year in 3",
        "[1] == year",
        "1 < 2",
        "year",
        "year >",
        "not " * 300 + "year",
        "(" * 400 + "year > 3" + ")" * 400,
        "",
    ],
)
def test_a_query_is_never_run_as_a_program(text):
    with pytest.raises(UsageError, match="the query"):
        parsed(text)


def test_words_and_numbers_are_not_compared():
    with pytest.raises(UsageError, match="compares 1999 with 'x', words with numbers"):
        parsed("year == 'x'").chosen({"year": COLUMNS["year"]})


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A run on 300 rows of six inputs, of which the third stands out in the year 2001 and in B."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(300, 6)) * (rng.random((300, 6)) < 0.4)
    years = np.arange(300) % 3 + 1999
    x[years == 2001, 2] += 3
    for name, shift in (("a", 0), ("b", 3)):
        other = x.copy()
        other[:, 4] += shift
        lines = ["id,v0,v1,v2,v3,v4,v5,year"]
        for i, (row, year) in enumerate(zip(other, years, strict=True)):
            lines.append(",".join([f"R{i:03d}", *(f"{v:.4f}" for v in row), str(year)]))
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ["train", str(folder / "a.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    told = ['data.records=["year"]', "model.n_latents=12", "model.target_l0=2", "train.steps=300"]
    assert run_command_line([*words, *(part for key in told for part in ("--set", key))]) == 0
    return folder


def opened(shop, name):
    trained = Run(shop / "run").load()
    columns = trained.info["data"]["columns"]
    return trained, as_source(str(shop / f"{name}.csv"), columns=columns)


def test_what_sets_rows_apart_is_found(shop):
    trained, source = opened(shop, "a")
    answer = of_rows(trained, source, "year > 2000")
    assert answer.target.classes == ("rest", "year > 2000")
    assert answer.predicted.yes
    first = {name: values[0] for name, values in answer.columns.items()}
    assert "v2" in first["inputs"]
    assert first["holds"]
    assert first["held_out_auc"] > 0.8
    between = of_rows(trained, source, "year == 2001", "year == 1999")
    assert between.n_seen + between.n_held_out == 200
    assert "100 samples are on neither side" in " ".join(between.notes)


def test_identifiers_in_a_file_are_the_same_rows(shop, tmp_path):
    trained, source = opened(shop, "a")
    (tmp_path / "ids.txt").write_text("\n".join(f"R{i:03d}" for i in range(2, 300, 3)))
    listed = of_rows(trained, source, f"@{tmp_path / 'ids.txt'}")
    asked = of_rows(trained, source, "year > 2000")
    np.testing.assert_array_equal(listed.columns["p"], asked.columns["p"])
    (tmp_path / "ids.txt").write_text("R001\nnobody\n")
    with pytest.raises(DataError, match="1 of its 2 identifiers, such as 'nobody'"):
        of_rows(trained, source, f"@{tmp_path / 'ids.txt'}")


def test_what_is_new_in_other_data_is_found(shop):
    trained, source = opened(shop, "b")
    answer = of_data(trained, source, opened(shop, "a")[1], ("b", "a"))
    assert answer.n_seen + answer.n_held_out == 600
    assert answer.verdict.startswith("the data predict 'b against a'")
    assert "+v4" in answer.columns["inputs"][0]
    tops = " ".join(answer.columns["top"].tolist())
    assert "(others)" in tops


def test_two_halves_of_the_same_are_not_told_apart(shop):
    trained, source = opened(shop, "a")
    answer = of_rows(trained, source, "row in [" + ", ".join(map(str, range(0, 200, 2))) + "]")
    assert "do not predict" in answer.verdict


def test_sides_that_overlap_or_are_small_are_refused(shop):
    trained, source = opened(shop, "a")
    with pytest.raises(UsageError, match="100 samples are chosen by 'year > 1999' and by"):
        of_rows(trained, source, "year > 1999", "year == 2000")
    with pytest.raises(DataError, match="chooses 1 samples, of 300"):
        of_rows(trained, source, "id == 'R007'")
    with pytest.raises(UsageError, match="no record of the data tells 'month'"):
        of_rows(trained, source, "month == 3")


def test_the_command_line_asks_one_question(shop, capsys):
    run, data = str(shop / "run"), str(shop / "a.csv")
    assert run_command_line(["explain", run, data]) == 2
    assert "what is asked?" in capsys.readouterr().err
    assert run_command_line(["explain", run, data, "--target", "year", "--rows", "year>1"]) == 2
    capsys.readouterr()
    words = ["explain", run, data, "--json"]
    assert run_command_line([*words, "--rows", "year>2000", "--against", "year==2000"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == ["year==2000", "year>2000"]
    assert run_command_line([*words, "--against-data", str(shop / "b.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["predicted"] is True
