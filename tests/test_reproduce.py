"""The headline results: the small stand-ins run, and what was measured is what the docs show."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simplecell import VariationalAutoencoder, cli
from simplecell.cli import run_command_line
from simplecell.errors import DataError, UsageError, WriteError
from simplecell.reproduce import (
    RESULTS,
    Bench,
    generative,
    page,
    recovery,
    reproduce,
    sparse,
)
from simplecell.reproduce.bench import DATA_SETS
from simplecell.reproduce.outcome import Figure, Outcome, duration, markdown
from simplecell.sparse_coding.restoration import learn_dictionary

RESULTS_PAGE = Path(__file__).parents[1] / "docs" / "results"


def check(outcome, out):
    assert outcome.quick
    assert outcome.pictures
    for figure in outcome.figures:
        assert figure.ours
        assert all(math.isfinite(number) for number in figure.ours), (outcome.name, figure)
    for picture in outcome.pictures:
        with Image.open(out / picture) as image:
            assert min(image.size) >= 100
            assert np.asarray(image).std() > 5


SHOWN = {
    "softmax": lambda ours: ours("test accuracy") > 90,
    "edges": lambda ours: ours("edge detectors") >= 20,
    "stacked": lambda ours: ours("after") > ours("before"),
    "deep": lambda ours: ours("squared error") < ours("PCA"),
    "denoising": lambda ours: ours("denoising") < ours("damaged") / 2,
    "strokes": lambda ours: ours("largest distance") < 15,
    "color": lambda ours: ours("fvu") < 0.4,
    "self-taught": lambda ours: ours("learned features") > 90,
    "templates": lambda ours: ours("test accuracy") > 80,
}
"""What the small ones show, as the large ones do."""


def one_pass(bench, digits, sizes, passes, train=generative.train_deep):
    return train(bench, digits, sizes, 1)


def with_few_steps(train):
    return lambda *given, **named: train(*given[:-2], min(given[-2], 10), given[-1], **named)


def with_few_passes(n_latents, **settings):
    return VariationalAutoencoder(n_latents, **{**settings, "max_iter": 8})


def with_few_atoms(picture, noise, **size):
    return learn_dictionary(picture, noise=noise, n_latents=16, n_patches=300, steps=10)


SMALLER = {
    "code-plot": [(generative, "train_deep", one_pass)],
    "variational": [(generative, "VariationalAutoencoder", with_few_passes)],
    "sparse-coding": [(sparse, "_dictionary", with_few_steps(sparse._dictionary))],
    "topographic": [(sparse, "_dictionary", with_few_steps(sparse._dictionary))],
    "restoration": [
        (sparse, "learn_dictionary", with_few_atoms),
        (sparse, "_grey_photographs", lambda _, cut=sparse._grey_photographs: cut(6)),
    ],
    "planted": [(recovery, "VARIANTS", ("batchtopk",))],
}
"""Of results that nothing is claimed of, less than `--quick` takes: that they run is tested."""


@pytest.mark.parametrize("name", RESULTS)
def test_each_runs_small(name, tmp_path, monkeypatch):
    for change in SMALLER.get(name, []):
        monkeypatch.setattr(*change)
    (outcome,) = reproduce([name], tmp_path, quick=True)
    assert outcome.name == name
    check(outcome, tmp_path)
    if name in SHOWN:
        assert SHOWN[name](lambda what: next(f.ours[0] for f in outcome.figures if what in f.what))
    table(tmp_path, [outcome])


@pytest.mark.slow  # each by itself, some smaller, is in `test_each_runs_small`
def test_all_of_them_run_small(tmp_path):
    outcomes = list(reproduce([], tmp_path, quick=True))
    assert [outcome.name for outcome in outcomes] == list(RESULTS)
    for outcome in outcomes:
        check(outcome, tmp_path)
    table(tmp_path, outcomes)


def table(out, outcomes):
    """The page is made from what was written, and nothing else."""
    text = (out / "README.md").read_text(encoding="utf-8")
    assert text == page(out)
    for outcome in outcomes:
        assert f"## {outcome.name}\n" in text
        assert Outcome.from_table(json.loads((out / f"{outcome.name}.json").read_text())) == outcome
    assert "small stand-in" in text
    assert "- Published" not in text


def test_no_name_means_all_in_their_order(tmp_path, monkeypatch):
    def measure(bench):
        """One."""
        return Outcome("made", "none", [Figure("one", [1.0])], pictures=[], seeds=1)

    for name, result in list(RESULTS.items()):
        monkeypatch.setitem(RESULTS, name, replace(result, measure=measure))
    outcomes = list(reproduce([], tmp_path, quick=True))
    assert [outcome.name for outcome in outcomes] == list(RESULTS)
    table(tmp_path, outcomes)


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
    for name in ("planted", "compositional", "ksvd"):
        monkeypatch.setitem(RESULTS, name, made)
    done = list(reproduce([], tmp_path))
    assert [outcome.name for outcome in done] == ["restoration", "planted", "compositional", "ksvd"]
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


def test_small_stand_ins_do_not_land_among_the_full_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["reproduce", "softmax", "--quick", "--json"]) == 0
    table = Path(json.loads(capsys.readouterr().out)["table"])
    assert table == Path("simplecell-reproduce-quick", "README.md")
    assert [path.name for path in tmp_path.iterdir()] == ["simplecell-reproduce-quick"]


def test_full_results_keep_their_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simplecell.reproduce.reproduce", lambda *names, **options: [])
    assert run_command_line(["reproduce", "--json"]) == 0
    table = Path(json.loads(capsys.readouterr().out)["table"])
    assert table == Path("simplecell-reproduce", "README.md")


def test_no_verb_asks_whether_a_default_is_there():
    """`argument or default` behind a default that is always true never takes the second."""
    for file in sorted(Path(cli.__file__).parent.glob("*.py")):
        for verb in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(verb, ast.FunctionDef):
                continue
            defaults = zip(reversed(verb.args.args), reversed(verb.args.defaults), strict=False)
            given = {argument.arg for argument, value in defaults if ast.unparse(value) != "None"}
            for node in ast.walk(verb):
                if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
                    assert ast.unparse(node.values[0]) not in given, (file.name, node.lineno)


def test_data_are_found_one_level_below(tmp_path):
    assert RESULTS["templates"].needs == ("cifar-10",)
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


def test_the_compositional_protocol():
    from simplecell.reproduce.compositional import correlation, sources

    data = sources(100, 10, seed=0, n_inside=400, n_outside=100)
    assert data.atoms.shape == (100, 47)
    np.testing.assert_allclose(np.linalg.norm(data.atoms, axis=1), 1)
    (inside, x), (outside, new) = data.inside, data.outside
    np.testing.assert_allclose(x, inside @ data.atoms)
    assert (len(data.train), len(x), len(new)) == (200, 200, 100)
    for truth in (inside, outside):
        assert set((truth > 0).sum(1)) == {10}
    assert (outside[:, 0] > 0).all()
    assert not outside[:, 1:50].any()  # partners of the second half, which never came with it alone
    order = np.random.default_rng(0).permutation(100)
    assert correlation(outside, 3 * outside[:, order]) == pytest.approx(1)
    assert correlation(outside, np.random.default_rng(1).random((100, 100))) < 0.5


def test_the_protocol_of_ksvd():
    from simplecell.reproduce.ksvd import found, signals

    atoms, clean = signals(None, 3)
    same, noisy = signals(20.0, 3)
    assert np.array_equal(atoms, same)
    assert np.linalg.matrix_rank(clean) == 20
    snr = 20 * np.log10(np.linalg.norm(clean) / np.linalg.norm(noisy - clean))
    assert snr == pytest.approx(20, abs=1e-9)
    assert found(atoms, -3 * atoms[:40]) == 40
    assert found(atoms, np.zeros((50, 20))) == 0
