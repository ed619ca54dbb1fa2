"""The headline results: the small stand-ins run, and what was measured is what the docs show."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from simplecell.cli import run_command_line
from simplecell.errors import DataError, UsageError, WriteError
from simplecell.reproduce import RESULTS, Bench, page, reproduce
from simplecell.reproduce.bench import DATA_SETS
from simplecell.reproduce.outcome import Figure, Outcome, duration, markdown

RESULTS_PAGE = Path(__file__).parents[1] / "docs" / "results"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Every result, small; the folder and the outcomes."""
    out = tmp_path_factory.mktemp("reproduced")
    return out, {outcome.name: outcome for outcome in reproduce([], out, quick=True)}


def test_all_of_them_run_small(quick):
    out, outcomes = quick
    assert list(outcomes) == list(RESULTS)
    for outcome in outcomes.values():
        assert outcome.quick
        assert outcome.pictures
        for figure in outcome.figures:
            assert figure.ours
            assert all(math.isfinite(number) for number in figure.ours), (outcome.name, figure)
        for picture in outcome.pictures:
            with Image.open(out / picture) as image:
                assert min(image.size) >= 100
                assert image.convert("L").getextrema()[0] < image.convert("L").getextrema()[1]


def test_the_small_ones_show_what_the_large_ones_do(quick):
    outcomes = quick[1]

    def ours(name, what):
        return next(f.ours[0] for f in outcomes[name].figures if what in f.what)

    assert ours("softmax", "test accuracy") > 90
    assert ours("edges", "edge detectors") >= 20
    assert ours("stacked", "after") > ours("stacked", "before")
    assert ours("deep", "squared error") < ours("deep", "PCA")
    assert ours("denoising", "denoising") < ours("denoising", "damaged") / 2
    assert ours("strokes", "largest distance") < 15
    assert ours("color", "fvu") < 0.4
    assert ours("self-taught", "learned features") > 90


def test_the_table_is_made_from_what_was_written(quick):
    out, outcomes = quick
    text = (out / "README.md").read_text(encoding="utf-8")
    assert text == page(out)
    for outcome in outcomes.values():
        assert f"## {outcome.name}\n" in text
        assert Outcome.from_table(json.loads((out / f"{outcome.name}.json").read_text())) == outcome
    assert "small stand-in" in text
    assert "- Published" not in text


def test_the_page_of_the_docs_is_the_commands_own():
    assert (RESULTS_PAGE / "README.md").read_text(encoding="utf-8") == page(RESULTS_PAGE)
    for name in RESULTS:
        outcome = json.loads((RESULTS_PAGE / f"{name}.json").read_text(encoding="utf-8"))
        assert not outcome["quick"]
        for picture in outcome["pictures"]:
            assert (RESULTS_PAGE / picture).is_file()


def test_missing_data_are_named_with_their_home(tmp_path, capsys):
    code = run_command_line(["reproduce", "softmax", "color", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 3
    for words in ("softmax, color", "train-images-idx3-ubyte*", "yann.lecun.com", "ufldl.stanford"):
        assert words in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="is not a folder"):
        list(reproduce([], tmp_path, data=tmp_path / "gone"))
    with pytest.raises(DataError, match="cannot be measured"):
        list(reproduce(["deep"], tmp_path, data=tmp_path))


def test_results_without_data_are_left_out_and_the_rest_runs(tmp_path, capsys, monkeypatch):
    def measure(bench):
        """One."""
        return Outcome("made", "none", [Figure("one", [1.0])], seeds=1)

    made = RESULTS["softmax"].__class__(measure)
    monkeypatch.setitem(RESULTS, "restoration", made)
    monkeypatch.setitem(RESULTS, "planted", made)
    done = list(reproduce([], tmp_path))
    assert [outcome.name for outcome in done] == ["restoration", "planted"]
    assert "self-taught, stacked" in capsys.readouterr().err


def test_help_names_every_result(capsys):
    assert run_command_line(["reproduce", "--help"]) == 0
    shown = capsys.readouterr().out.split()
    assert set(RESULTS) <= {word.strip(";") for word in shown}


def test_a_page_of_someone_else_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(WriteError, match="was not made by simplecell"):
        list(reproduce(["softmax"], tmp_path, quick=True))
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "edges.json").write_text("{}")
    with pytest.raises(DataError, match=r"edges\.json' is no result"):
        list(reproduce(["softmax"], tmp_path / "other", quick=True))
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        list(reproduce(["softmax"], tmp_path / "file", quick=True))


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match=r"unknown result 'softmx'; did you mean 'softmax'\?"):
        list(reproduce(["softmx"], tmp_path))


def test_json_is_one_object(tmp_path, capsys):
    arguments = ["reproduce", "softmax", "--quick", "--json", "--out", str(tmp_path)]
    assert run_command_line(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["command"] == "reproduce"
    assert result["results"][0]["name"] == "softmax"
    assert result["results"][0]["figures"][0]["unit"] == "%"


def test_data_are_found_one_level_below(tmp_path):
    bench = Bench(tmp_path, tmp_path)
    assert all(bench.missing(name) for name in DATA_SETS)
    (tmp_path / "ufldl").mkdir()
    (tmp_path / "ufldl" / "IMAGES.mat").touch()
    assert bench.missing("images") is None
    assert bench.file("images").name == "IMAGES.mat"


def test_figures_say_mean_and_range():
    assert Figure("a", [98.31, 98.4], unit="%", digits=1).text == "98.4 (98.3–98.4) %"
    assert Figure("a", [0.5, 0.5]).text == "0.500"
    assert [duration(s) for s in (3.4, 119, 121)] == ["3 s", "119 s", "2 min"]
    table = markdown([Outcome("d", "s", [Figure("f", [1.0], "2", "X 1999")], name="n", title="T")])
    assert "| [n](#n) | f | 2 | 1.000 | 1 | 0 s |" in table
    assert "- Published f: 2; X 1999" in table
