"""Names of latents: read from files, kept with the weights they are for, and shown everywhere."""

from __future__ import annotations

import copy
import csv
import io
import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import simplecell
from houses import write_houses
from simplecell import TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.errors import DataError, RunError, UsageError
from simplecell.explorer.make.atlas import build_atlas
from simplecell.explorer.report import report
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.names import LONGEST, LatentNames, checked, read_names
from simplecell.run.notes import Notes, names_in, weights_of

M = 8


@pytest.fixture
def run(tmp_path):
    """A run on houses, whose price is a record."""
    table = write_houses(tmp_path / "houses.csv", 200)
    words = ["train", str(table), "--out", str(tmp_path / "run"), "--recipe", "topk"]
    words += ["--records", "price", "--records", "kind", "--set", f"model.n_latents={M}"]
    words += ["--set", "model.target_l0=2", "--set", "train.steps=60"]
    assert run_command_line([*words, "--set", "preprocess.steps=['standardize']"]) == 0
    return Run(tmp_path / "run")


def name(run, text, suffix="csv"):
    """What `features --names` answers for a file of that text."""
    path = run.path.parent / f"names.{suffix}"
    path.write_text(text, encoding="utf-8")
    return run_command_line(["features", str(run.path), "--names", str(path)])


def test_names_of_a_table_and_of_lines_are_taken_over(run, capsys):
    assert name(run, 'latent,name,why\n3, old houses ,x\n1,"many rooms, few people",y\n\n') == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(run.path / "notes.json")
    assert "2 of 8 latents have a name" in said.err
    assert run.load().names.given == {1: "many rooms, few people", 3: "old houses"}
    lines = [
        {"latent": 5, "name": "花园"},
        {"latent": 3, "name": "latent3"},
        {"latent": 1, "name": ""},
    ]
    assert name(run, "\n".join(map(json.dumps, lines)), "jsonl") == 0
    assert run.load().names.given == {5: "花园"}


def test_what_features_writes_comes_back_as_it_is(run, capsys):
    assert name(run, "latent,name\n2,garden\n") == 0
    out = run.path.parent / "features.jsonl"
    words = ["features", str(run.path), str(run.path.parent / "houses.csv"), "--out", str(out)]
    assert run_command_line([*words, "--target", "price"]) == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [one["name"] for one in lines][:4] == ["latent0", "latent1", "garden", "latent3"]
    assert all(one["effects"] for one in lines)
    lines[0]["name"] = "far away"
    out.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert run_command_line(["features", str(run.path), "--names", str(out)]) == 0
    assert run.load().names.given == {0: "far away", 2: "garden"}


@pytest.mark.parametrize(
    ("suffix", "text", "told"),
    [
        ("csv", "latent,name\n0,a\n8,b\n", "line 3: there is no latent 8: this run has 8"),
        ("csv", "latent,name\n0,a\nx,b\n", "line 3: its latent is 'x'; a whole number"),
        ("csv", "latent,name\n0,a\n1,b,c\n", "line 3: 3 cells stand under 2 columns"),
        ("csv", "latent,name\n0,a\n0,b\n", "line 3: latent 0 stands on line 2 already"),
        ("csv", 'latent,name\n0,"a\nb"\n', "a sign that nobody sees"),
        ("csv", "latent,name,Name\n0,a,b\n", "line 1: 2 columns are called 'name'"),
        ("csv", "latent,latent,name\n0,1,a\n", "line 1: 2 columns are called 'latent'"),
        ("csv", "number,name\n0,a\n", "line 1: its columns are ['number', 'name']"),
        ("csv", f"latent,name\n0,{'a' * (LONGEST + 1)}\n", f"at most {LONGEST} stand"),
        ("csv", "latent,name\n0,latent7\n", "is what a latent without a name is called"),
        ("csv", "latent,name\n", "holds no names"),
        ("jsonl", '{"latent": 0, "name": "a"}\n{"latent": 1}\n', "line 2: an object with latent"),
        ("jsonl", '{"latent": 0, "name": "a"}\n\nno json\n', "line 3: this is no JSON"),
        ("jsonl", '{"latent": true, "name": "a"}\n', "line 1: its latent is True"),
        ("jsonl", '{"latent": 1.0, "name": "a"}\n', "line 1: its latent is 1.0"),
        ("jsonl", '{"latent": -1, "name": "a"}\n', "line 1: there is no latent -1"),
        ("jsonl", '{"latent": 0, "name": 3}\n', "line 1: its name is 3; text is needed"),
        (
            "jsonl",
            '{"latent": 0, "name": "a\\u0007b"}\n',
            "line 1: the name 'a\\x07b' holds '\\x07'",
        ),
        ("jsonl", '{"latent": 0, "name": "a\\ud800"}\n', "a sign that nobody sees"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_taken(run, capsys, suffix, text, told):
    assert name(run, "latent,name\n7,kept\n") == 0
    assert name(run, text, suffix) == DataError.exit_code
    assert told in capsys.readouterr().err
    assert run.load().names.given == {7: "kept"}


def test_one_name_is_one_latents(run, capsys):
    assert name(run, "latent,name\n4,garden\n") == 0
    assert name(run, "latent,name\n1,noise\n2,noise\n") == DataError.exit_code
    said = capsys.readouterr().err
    assert "latents 1 and 2 are both called 'noise' (line 2, line 3)" in said
    assert name(run, "latent,name\n1,garden\n") == DataError.exit_code
    assert "(line 2, named before)" in capsys.readouterr().err
    # A name may move from one latent to another, and both may change theirs at once.
    assert name(run, "latent,name\n4,\n1,garden\n") == 0
    assert name(run, "latent,name\n1,rooms\n4,garden\n") == 0
    assert run.load().names.given == {1: "rooms", 4: "garden"}


def test_what_is_asked_for_must_be_whole(run, capsys):
    assert run_command_line(["features", str(run.path)]) == UsageError.exit_code
    assert "or --names F to name them" in capsys.readouterr().err
    assert name(run, "x", "txt") == UsageError.exit_code
    missing = ["features", str(run.path), "--names", str(run.path / "nowhere.csv")]
    assert run_command_line(missing) == DataError.exit_code


def test_columns_of_codes_have_the_names(run, capsys):
    data, folder = str(run.path.parent / "houses.csv"), run.path.parent
    assert name(run, "latent,name\n1,garden\n6,price\n") == 0
    for suffix in ("csv", "npz"):
        out = folder / f"codes.{suffix}"
        assert run_command_line(["encode", str(run.path), data, "--out", str(out)]) == 0
        said = capsys.readouterr().err
        assert "latent 6 is called 'price', as a record of the data is" in said
    with open(folder / "codes.csv", newline="") as file:
        head = next(csv.reader(file))
    codes = ["latent0", "garden", *(f"latent{j}" for j in range(2, M))]
    assert head == ["street", "price", "kind", *codes]
    with np.load(folder / "codes.npz") as file:
        assert file["names"].tolist() == codes


@pytest.mark.parametrize("renamed", ["latent,name\n1,garden\n3,far\n", "latent,name\n1,\n"])
def test_codes_decode_by_names_and_by_numbers(run, renamed):
    data, folder = str(run.path.parent / "houses.csv"), run.path.parent
    numbers, named = folder / "numbers.csv", folder / "named.csv"
    assert run_command_line(["encode", str(run.path), data, "--out", str(numbers)]) == 0
    assert name(run, "latent,name\n1,garden\n3,far\n") == 0
    assert run_command_line(["encode", str(run.path), data, "--out", str(named)]) == 0
    results = []
    for codes in (numbers, named):
        out = folder / "back.npy"
        assert run_command_line(["decode", str(run.path), str(codes), "--out", str(out)]) == 0
        results.append(np.load(out))
    np.testing.assert_array_equal(*results)


def through(monkeypatch, words, rows):
    """What a verb answers to lines on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.encode())))
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    assert run_command_line(words) == 0
    return out.buffer.getvalue().decode().splitlines()


def test_rows_through_a_pipe_have_the_names_above(run, monkeypatch):
    encode = ["encode", str(run.path), "-", "--out", "-"]
    rows = "\n".join((run.path.parent / "houses.csv").read_text().splitlines()[:4]) + "\n"
    numbered = through(monkeypatch, encode, rows)
    assert name(run, "latent,name\n1,garden\n") == 0
    back = ["decode", str(run.path), "-", "--out", "-"]
    plain = through(monkeypatch, back, "\n".join(numbered) + "\n")
    head, *codes = through(monkeypatch, encode, rows)
    assert head.endswith("latent0,garden,latent2,latent3,latent4,latent5,latent6,latent7")
    assert codes == numbered[1:]
    assert through(monkeypatch, back, "\n".join([head, *codes]) + "\n") == plain


def test_explain_info_and_report_say_the_names(run, capsys):
    assert name(run, "latent,name\n0,<b>near</b>\n1,garden\n2,c\n3,d\n") == 0
    data = str(run.path.parent / "houses.csv")
    capsys.readouterr()
    words = ["explain", str(run.path), data, "--target", "price", "--json"]
    assert run_command_line(words) == 0
    told = {one["latent"]: one["name"] for one in json.loads(capsys.readouterr().out)["latents"]}
    assert [told[j] for j in range(5)] == ["<b>near</b>", "garden", "c", "d", "latent4"]
    assert run_command_line(["info", str(run.path)]) == 0
    assert "names         4 latents have one: 0 <b>near</b>, 1 garden, 2 c, …" in (
        capsys.readouterr().out
    )
    assert run_command_line(["info", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["names"]["1"] == "garden"
    loaded = run.load()
    for _ in build_atlas(run, loaded, all_data(loaded)):
        pass
    page = report(run)
    assert ": garden" in page
    assert "&lt;b&gt;near&lt;/b&gt;" in page
    assert "<b>near" not in page


def test_an_estimator_has_the_names_and_takes_them_along(run, tmp_path):
    assert name(run, "latent,name\n1,garden\n") == 0
    sae = simplecell.load(run.path)
    assert sae.get_feature_names_out()[:3].tolist() == ["latent0", "garden", "latent2"]
    sae.save(tmp_path / "copy")
    again = simplecell.load(tmp_path / "copy")
    assert again.get_feature_names_out()[1] == "garden"
    assert copy.deepcopy(sae).get_feature_names_out()[1] == "garden"
    assert (run.path / "model.safetensors").read_bytes() == (
        tmp_path / "copy" / "model.safetensors"
    ).read_bytes()
    x = all_data(run.load()).read(np.arange(200)).astype(np.float64)
    frame = sae.set_output(transform="pandas").transform(_frame(sae, x))
    assert frame.columns[1] == "garden"
    sae.fit(x)
    assert sae.get_feature_names_out()[1] == "latent1"  # other weights, and perhaps another latent


def _frame(sae, x):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x, columns=list(sae.feature_names_in_))


def test_names_of_other_weights_are_not_used_and_it_is_said(run, capsys):
    assert name(run, "latent,name\n1,garden\n2,far\n") == 0
    capsys.readouterr()
    weights = load_file(run.path / "model.safetensors")
    save_file({k: v * 1.0 + 1e-3 for k, v in weights.items()}, run.path / "model.safetensors")
    assert run.load().names.given == {}
    told = "2 of 2 names in"
    data = str(run.path.parent / "houses.csv")
    assert (
        run_command_line(["encode", str(run.path), data, "--out", str(run.path.parent / "c.csv")])
        == 0
    )
    assert told in capsys.readouterr().err
    assert run_command_line(["info", str(run.path)]) == 0
    assert told in capsys.readouterr().out
    simplecell.load(run.path)
    assert told in capsys.readouterr().err
    # A name of before is free again, and one that is given again is in use.
    assert name(run, "latent,name\n5,garden\n") == 0
    assert run.load().names == names_in(run.path)
    assert run.load().names.given == {5: "garden"}
    assert Notes(run.path / "notes.json").names(weights_of(run.path)) == {
        "2": {"name": "far", "stale": True},
        "5": {"name": "garden", "stale": False},
    }


def test_a_damaged_file_stops_no_model_and_is_said(run, capsys):
    (run.path / "notes.json").write_text("{", encoding="utf-8")
    loaded = run.load()
    assert loaded.names.given == {}
    assert "latents go by their numbers" in loaded.names.told[0]
    assert name(run, "latent,name\n1,garden\n") == RunError.exit_code
    assert (run.path / "notes.json").read_text() == "{"


def test_notes_and_names_share_a_file_and_keep_each_other(tmp_path):
    notes = Notes(tmp_path / "notes.json")
    notes.write(3, "likes gardens", "k")
    assert json.loads(notes.path.read_text())["format"] == 1
    assert notes.rename({3: " garden "}, "w") == {3: "garden"}
    assert json.loads(notes.path.read_text())["format"] == 2
    notes.write(4, "far away", "k")
    assert notes.names("w") == {"3": {"name": "garden", "stale": False}}
    assert notes.names("other")["3"]["stale"] is True
    assert list(notes.read("k")) == ["3", "4"]
    assert notes.rename({3: ""}, "w") == {}
    assert json.loads(notes.path.read_text())["format"] == 1


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\u200bb", "a\u2028b", "latent12", "x" * 81])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UsageError):
        checked(text)


def test_a_name_is_one_spelling():
    assert checked(" Cafe\u0301 ") == "Caf\u00e9"
    assert LatentNames({1: "b"}).all(3) == ["latent0", "b", "latent2"]


def test_a_mark_of_utf_8_is_passed_over(tmp_path):
    path = tmp_path / "names.csv"
    path.write_bytes("\ufefflatent,name\r\nlatent2,café\r\n".encode())
    assert read_names(path, 3) == ({2: "café"}, {2: 2})


def test_features_of_an_estimator(run):
    x = np.random.default_rng(0).normal(size=(200, 6))
    sae = TopKSparseAutoencoder(8, k=2, max_samples=4000, random_state=0).fit(x)
    found = sae.features(x, x[:, 0] > 0)
    codes = sae.transform(x)
    assert [one["name"] for one in found] == sae.get_feature_names_out().tolist()
    for one, code in zip(found, codes.T, strict=True):
        assert one["largest"] == pytest.approx(code.max(), rel=1e-5)
        assert [row["class"] for row in one["effects"]] == ["True"]
    assert "effects" not in sae.features(x)[0]
    json.dumps(found)
