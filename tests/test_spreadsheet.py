"""No .csv holds text that a spreadsheet would run, and names come back as they were."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from simplecell.cli import run_command_line
from simplecell.data.source import as_source
from simplecell.data.spreadsheet import bare, harmless
from simplecell.run.directory import Run

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1",
    "-x",
    "-1+2",
    "@x",
    "\tx",
    "＝1",
    "+s5 −s3",
]
PLAIN = ["-1", "-1.5e-7", "-.5", "1", "", "-", "x=1", "'tis", "−flavanoids", "a+b", "'"]
NAMES = ["=1+2", "+wet", "@home", "-x", "plain", "it's", "+1", "x, y"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_stands_behind_an_apostrophe_and_comes_back(text):
    assert harmless(text) == "'" + text
    assert harmless(harmless(text)) == harmless(text)
    assert bare(harmless(text)) == text


@pytest.mark.parametrize("cell", [*PLAIN, -1.5, -3, None, True])
def test_all_else_is_written_as_it_is(cell):
    assert harmless(cell) is cell
    assert not isinstance(cell, str) or bare(cell) == cell


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a table whose heads, titles and latents' names are formulas."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with open("x.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "=a", "-b", "c", "d"])
        for i, row in enumerate(random.normal(size=(90, 4))):
            table.writerow([f"=title {i} of {i}", *(f"{value:.4f}" for value in row)])
    words = ["train", "x.csv", "--out", "run", "--recipe", "topk", "--set", "data.id=id"]
    words += ["--set", "model.n_latents=8", "--set", "model.target_l0=2"]
    assert not run_command_line([*words, "--set", "train.steps=20"])
    with open("names.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["latent", "name"])
        table.writerows([j, harmless(name)] for j, name in enumerate(NAMES))
    assert not run_command_line(["features", "run", "--names", "names.csv"])
    return Run(tmp_path / "run")


def dangerous(text):
    """Cells of a table that are neither numbers nor harmless."""
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    return [
        cell
        for cell in cells
        if re.match(r"[=+@\t\r-].", cell) and not re.fullmatch(r"-?[0-9.e+-]+", cell)
    ]


def test_every_table_is_harmless_and_codes_come_back(run, tmp_path, capsys, monkeypatch):
    assert list(run.load().names.given.values()) == NAMES
    (tmp_path / "meta.jsonl").write_text(
        "\n".join(json.dumps({"id": f"@{i}", "kind": f"={'ab'[i % 2]}"}) for i in range(90))
    )
    for words in (
        ["encode", "run", "x.csv", "--out", "codes.csv"],
        ["encode", "run", "x.csv", "--out", "codes.npy"],
        ["encode", "run", "x.csv", "--out", "again.npy"],
        ["decode", "run", "codes.csv", "--out", "back.csv"],
        ["decode", "run", "codes.npy", "--out", "back.npy"],
        ["encode", "run", "back.csv", "--out", "codes2.csv"],
        ["evaluate", "run", "x.csv", "--rows", "rows.csv"],
        ["explain", "run", "x.csv", "--meta", "meta.jsonl", "--target", "kind", "--out", "e.csv"],
    ):
        assert not run_command_line(words)
    for name in ("codes.csv", "codes.rows.csv", "back.csv", "codes2.csv", "rows.csv", "e.csv"):
        text = (tmp_path / name).read_text()
        assert dangerous(text) == [], name
        assert "'=" in text, name
        assert "''" not in text, name
    with open("codes.csv", newline="") as file:
        head, first = list(csv.reader(file))[:2]
    assert [bare(cell) for cell in head] == ["id", *NAMES]
    assert float(first[1]) == pytest.approx(float(np.load("codes.npy")[0, 0]), rel=1e-6)
    back = as_source("back.csv", id="id")
    assert back.input_names == ["=a", "-b", "c", "d"]
    np.testing.assert_allclose(back.read(slice(None)), np.load("back.npy"), rtol=1e-5, atol=1e-6)


def test_codes_in_a_pipe_are_harmless_and_come_back(run, monkeypatch, capfdbinary):
    def through(verb, lines):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
        capfdbinary.readouterr()
        assert not run_command_line([verb, "run", "-", "--out", "-"])
        return capfdbinary.readouterr().out

    codes = through("encode", Path("x.csv").read_bytes())
    back = through("decode", codes)
    for text in (codes, back):
        assert dangerous(text.decode()) == []
    head = next(csv.reader(io.StringIO(back.decode())))
    assert [bare(cell) for cell in head] == ["id", "=a", "-b", "c", "d"]
