"""Rows against rows: queries, identifiers, two data sets; and what comes back in other runs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.errors import DataError, UsageError
from simplecell.explain.contrast import of_data, of_rows
from simplecell.explain.query import parsed
from simplecell.explain.question import Question
from simplecell.explain.stability import with_other_runs
from simplecell.model.activations import Sigmoid
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
    words += [part for key in told for part in ("--set", key)]
    assert run_command_line(words) == 0
    words[words.index("--out") + 1] = str(folder / "again")
    assert run_command_line([*words, "--seed", "1"]) == 0
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


def question(shop, name):
    trained = Run(shop / name).load()
    source = as_source(str(shop / "a.csv"), columns=trained.info["data"]["columns"])
    return trained, Question(rows="year > 2000").put_to(trained, source, "a.csv")


def test_every_discovery_of_a_run_comes_back_in_itself(shop):
    trained, answer = question(shop, "run")
    assert answer.found.sum() >= 2
    told = with_other_runs(answer, trained, [(trained, answer)] * 2)
    np.testing.assert_array_equal(told.columns["returns"], 2 * answer.found)
    np.testing.assert_allclose(told.columns["partner_cosine"], 1, atol=1e-6)


def test_what_comes_back_with_another_seed_is_the_same_direction(shop):
    trained, answer = question(shop, "run")
    other, found = question(shop, "again")
    told = with_other_runs(answer, trained, [(other, found)])
    mine, theirs = trained.atoms().numpy(), other.atoms().numpy()
    assert told.columns["returns"][0] == 1  # the planted one
    for i in np.flatnonzero(told.columns["returns"]):
        atom = mine[told.columns["latent"][i]]
        cosines = theirs @ atom / np.linalg.norm(theirs, axis=1) / np.linalg.norm(atom)
        assert cosines.max() >= 0.7
        assert told.columns["partner_cosine"][i] <= cosines.max() + 1e-6
    assert told.summary.endswith("in none")
    assert told.table()["n_runs"] == 1


def test_an_untrained_dictionary_has_no_such_answer(shop):
    trained, answer = question(shop, "run")
    other = copy.deepcopy(trained)
    with torch.no_grad():
        other.model.decoder.copy_(torch.roll(other.model.decoder, 3, dims=1))
    told = with_other_runs(answer, trained, [(other, answer)])
    assert told.columns["returns"].sum() < answer.found.sum()


def test_the_opposite_atom_of_codes_that_are_never_0_has_the_opposite_effect(shop):
    trained, answer = question(shop, "run")
    activation = Sigmoid()
    first, other = (copy.deepcopy(trained) for _ in range(2))
    for one in (first, other):
        one.model.activation = activation
    with torch.no_grad():
        other.model.decoder.neg_()
    turned = {**answer.columns, "auc": 1 - answer.columns["auc"]}
    told = with_other_runs(answer, first, [(other, replace(answer, columns=turned))])
    np.testing.assert_array_equal(told.columns["returns"], answer.found)
    same = with_other_runs(answer, first, [(other, answer)])
    assert same.columns["returns"].sum() == 0


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
    assert run_command_line([*words, "--rows", "year>2000", "--runs", str(shop / "again")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_runs"] == 1
    assert told["latents"][0]["returns"] == 1
