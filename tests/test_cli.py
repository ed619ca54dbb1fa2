"""The command line: every verb, every exit code, its sentence, and nothing left behind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import struct
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from simplecell import cli, load
from simplecell.cli.application import print_result
from simplecell.cli.writers import Sheet, writer
from simplecell.data import as_source
from simplecell.explorer.make.samples import Samples
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

pytest_plugins = ["children"]

SHORT = ("--set", "train.steps=5")
FIGURES = {
    *("cost", "terms", "mean_activation", "fvu", "l0", "dead"),
    *("n_iter", "n_evaluations", "stopped"),
    *("n_latents", "n_samples", "held_out", "skipped", "status", "findings", "pca"),
}
WRAPPING = {"schema", "command", "run", "seconds"}


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Run one command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.run_command_line([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "internal error" not in err
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Rows, pictures, and a short run on each, made once; tests only read them."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(0)
    np.save(folder / "x.npy", random.random((60, 8), dtype=np.float32))
    (folder / "pictures").mkdir()
    for k in range(3):
        pixels = random.integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{k}.png")
    table = "a,b,kind\n" + "".join(f"{i / 2},{i * i},{'xyz'[i % 3]}\n" for i in range(30))
    (folder / "table.csv").write_text(table)
    small = ("--set", "data.patch=6", "--set", "data.n_patches=200", "--set", "model.n_latents=9")
    for data, out, more in (
        ("x.npy", "rows", ()),
        ("pictures", "patches", small),
        ("table.csv", "table", ()),
    ):
        assert not cli.run_command_line(
            ["train", str(folder / data), "--out", str(folder / out), *SHORT, *more]
        )
    return folder


def picture_of_one_chunk(width, height):
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind, body):
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" * 100)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _array(name, values, **how):
    return lambda folder: np.save(folder / name, values, **how)


def _pictures(folder, size=(12, 12)):
    (folder / "small").mkdir()
    Image.new("L", size, 7).save(folder / "small" / "a.png")


def _long_header(folder):
    np.save(folder / "long.npy", np.zeros((3, 4)))
    content = (folder / "long.npy").read_bytes()
    (folder / "long.npy").write_bytes(content.replace(b"(3, 4), }", b"(9999999, 9), }", 1))


def _empty(folder):
    (folder / "empty").mkdir()


def _huge(folder):
    (folder / "huge.png").write_bytes(picture_of_one_chunk(20_000, 20_000))


def _pickled(folder):
    (folder / "pickled.npy").write_bytes(b"\x80\x04]\x94.")


def _text(name, text):
    return lambda folder: (folder / name).write_text(text)


_HOLES = np.ones((20, 3))
_HOLES[7, 1] = np.nan
_INFINITE = np.ones((20, 3))
_INFINITE[19, 2] = np.inf

BAD_DATA = {
    "missing": (None, "nothing.npy", "nothing.npy"),
    "missing folder": (None, "no/folder", "no/folder"),
    "no name": (None, "", "path of the data is empty"),
    "name too long": (None, "x" * 300, "File name too long"),
    "empty folder": (_empty, "empty", "holds no pictures"),
    "patch too large": (_pictures, "small", "choose a smaller patch", "data.patch=13"),
    "nan": (_array("holes.npy", _HOLES), "holes.npy", "sample 7, input 1 of holes.npy is nan"),
    "inf": (_array("inf.npy", _INFINITE), "inf.npy", "sample 19, input 2 of inf.npy is inf"),
    "object": (
        _array("o.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True),
        "o.npy",
        "dtype object",
    ),
    "pickle": (_pickled, "pickled.npy", "a pickle, which simplecell never opens"),
    "long header": (_long_header, "long.npy", "its header is larger than the file"),
    "huge picture": (_huge, "huge.png", "more pixels than the limit of 50 megapixels"),
    "no samples": (_array("none.npy", np.zeros((0, 3))), "none.npy", "at least one sample"),
    "words": (_array("w.npy", np.array([["a"]])), "w.npy", "not numbers"),
    "complex": (_array("c.npy", np.ones((2, 2), complex)), "c.npy", "complex"),
    "one dimension": (_array("d.npy", np.ones(5)), "d.npy", "1 dimension"),
    "empty csv": (_text("e.csv", ""), "e.csv", "is empty"),
    "hole in csv": (_text("h.csv", "a,b\n1,2\n3,\n"), "h.csv", "row 1"),
    "ragged csv": (_text("r.csv", "a,b\n1,2\n3\n"), "r.csv", "r.csv"),
    "not a picture": (_text("t.jpg", "hello"), "t.jpg", "not a picture"),
    "unknown kind": (_text("k.xyz", "hello, world"), "k.xyz", "no known kind"),
    "empty npy": (_text("z.npy", ""), "z.npy", "not a .npy file"),
    "missing meta": (
        _array("m.npy", np.ones((5, 2))),
        "m.npy",
        "does not exist",
        'data.meta="no.csv"',
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_3_and_leaves_nothing(say, tmp_path, case):
    make, data, sentence, *settings = BAD_DATA[case]
    if make is not None:
        make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    more = [part for setting in settings for part in ("--set", setting)]
    code, out, err = say("train", data, "--out", "run", *more)
    assert code == 3
    assert sentence in err
    assert err.strip().splitlines()[-1].startswith("simplecell: ")
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


BAD_WORDS = {
    "unknown flag": (["--sed", "1"], "--seed"),
    "unknown key": (["--set", "model.n_latent=3"], "did you mean 'n_latents'?"),
    "unknown table": (["--set", "modle.n_latents=3"], "did you mean 'model'?"),
    "unknown term": (["--set", "objective.klm.weight=3"], "did you mean 'kl'?"),
    "unknown key of a term": (["--set", "objective.kl.targt=0.1"], "did you mean 'target'?"),
    "unknown activation": (["--set", "model.activation=sigmiod"], "did you mean 'sigmoid'?"),
    "unknown recipe": (["--recipe", "egdes"], "did you mean 'edges'?"),
    "missing recipe": (["--recipe", "my.toml"], "'my.toml' does not exist"),
    "no equals sign": (["--set", "train.steps"], "not of the form table.key=value"),
    "not a key": (["--set", "steps=3"], "not of the form table.key=value"),
    "wrong type": (
        ["--set", "train.steps=many"],
        "train.steps must be int or \"auto\"; got 'many'",
    ),
    "nothing": (["--set", "train.steps="], "train.steps must be int or \"auto\"; got ''"),
    "true": (["--set", "train.steps=true"], "train.steps must be int or"),
    "negative": (["--set", "train.steps=-5"], "at least 1"),
    "no steps": (["--set", "train.steps=0"], "at least 1"),
    "huge": (["--set", "model.n_latents=1" + "0" * 30], "model.n_latents"),
    "no latents": (["--set", "model.n_latents=0"], "at least one input and one latent"),
    "seed": (["--seed", "-1"], "train.seed is -1; at least 0"),
    "huge seed": (["--seed", "9" * 30], "train.seed"),
    "words for a seed": (["--seed", "x"], "Invalid value for '--seed'"),
    "not finite": (["--set", "optim.learning_rate=nan"], "finite"),
    "infinite weight": (["--set", "objective.kl.weight=inf"], "finite"),
    "text weight": (["--set", "objective.kl.weight=heavy"], "must be a number; got 'heavy'"),
    "no table": (["--set", "objective.kl=3"], "must be a table"),
    "too deep": (["--set", "train.steps.more.still=3"], "is not a table"),
    "deep value": (["--set", "preprocess.steps=" + "[" * 5000], "steps"),
    "two lines": (["--set", "train.seed=1\nother=2"], "train.seed must be int"),
    "device": (["--set", "train.device=tpu9"], "device 'tpu9' cannot be used"),
    "kl of relu": (["--set", "model.activation=relu"], "bounded range"),
    "target": (["--set", "objective.kl.target=2"], "between 0 and 1"),
    "kind": (["--set", "data.kind=patchs"], "did you mean 'patches'?"),
    "solver": (["--set", "optim.kind=adm"], "did you mean 'adam'?"),
    "batch": (["--set", "optim.kind=adam", "--set", "optim.batch_size=0"], "at least 1"),
    "memory": (["--set", "model.n_latents=2000000000"], "of memory (136 GB of weights)"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_a_wrong_word_is_2_and_leaves_nothing(say, made, tmp_path, case):
    words, sentence = BAD_WORDS[case]
    code, out, err = say("train", made / "x.npy", "--out", "run", *words)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_data_that_are_given_another_way_are_shown_the_right_one(say, made):
    x, run = made / "x.npy", made / "rows"
    for words, told in (
        (("explore", run, x), f"simplecell explore {run} --data {x}"),
        (("explore", run, made / "*.npy"), f"simplecell explore {run} --data {made / '*.npy'}"),
        (("report", run, x), "simplecell report RUN --data DATA"),
        (("evaluate", run, "--data", x), "without --data: simplecell evaluate RUN DATA"),
        (("train", "--data", x, "--out", "q"), "without --data: simplecell train DATA"),
    ):
        code, out, err = say(*words)
        assert (code, out) == (2, "")
        assert told in err
    for words in (("show", run, x), ("show", run, "--data", x), ("explain", run, x, "--dta", x)):
        code, _, err = say(*words)
        assert code == 2
        assert "DATA" not in err.replace("{DATA}", "")


def test_unknown_commands_and_missing_arguments_are_2(say):
    assert say("tran")[0] == 2
    assert "Did you mean 'train'?" in say("tran")[2]
    assert say("train")[0] == 2
    assert say("show", "run", "--what", "latent")[0] == 2
    assert "did you mean 'latents'?" in say("show", "run", "--what", "latent")[2]


def test_help_and_version(say):
    code, out, _ = say("--help")
    assert code == 0
    for verb in ("demo", "train", "resume", "show", "encode", "decode", "evaluate", "info"):
        assert f"\n  {verb} " in out
    code, out, err = say("--version")
    assert (code, err) == (0, "")
    assert out.count(".") >= 2


def test_traceback_is_shown_only_when_asked_for(say, capsys):
    assert "Traceback" not in say("train", "nothing.npy", "--out", "run")[2]
    assert cli.run_command_line(["--traceback", "train", "nothing.npy", "--out", "run"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_broken_pictures_are_named_and_counted_and_the_rest_is_used(say, made, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    random = np.random.default_rng(1)
    grey = random.integers(0, 256, (30, 40), dtype=np.uint8)
    colour = random.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "a grey.png")
    Image.fromarray(colour).save(folder / "b rgba.png")
    Image.fromarray(grey).convert("P").save(folder / "c palette.gif")
    Image.fromarray(colour[:, :, :3]).save(folder / "d ü.jpg")
    jpeg = (folder / "d ü.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("this is no picture")
    more = ("--set", "data.n_patches=300", "--set", "model.n_latents=4")
    code, out, err = say("train", folder, "--out", "run", "--json", *SHORT, *more)
    assert code == 0
    result = json.loads(out)
    assert [skipped["file"] for skipped in result["skipped"]] == ["cut.jpg", "text.jpg"]
    assert all(skipped["reason"] for skipped in result["skipped"])
    assert "skipped cut.jpg: " in err
    assert "skipped text.jpg: not a picture" in err
    assert "2 files skipped" in err
    assert result["n_samples"] == 300
    # Said again, the result names them again.
    code, out, _ = say("train", folder, "--out", "run", "--json", *SHORT, *more)
    assert json.loads(out)["skipped"] == result["skipped"]
    code, _, err = say("evaluate", "run", folder)
    assert code == 0
    assert "skipped cut.jpg: " in err


def test_json_of_train_resume_and_a_second_train(say, made):
    for command in (
        ("train", made / "x.npy", "--out", "run", *SHORT),
        ("train", made / "x.npy", "--out", "run", *SHORT),
        ("resume", "run"),
    ):
        code, out, _ = say(*command, "--json")
        assert code == 0
        assert out.count("\n") == 1
        result = json.loads(out)
        assert set(result) == WRAPPING | FIGURES
        assert (result["schema"], result["command"], result["run"]) == (1, command[0], "run")
        assert set(result["mean_activation"]) == {"min", "mean", "max", "target"}
        assert set(result["held_out"]) == {
            *("cost", "fvu", "l0", "dead"),
            *("mean_activation", "n_samples", "pca"),
        }
        assert set(result["terms"]) == {"reconstruction", "kl", "decay"}
        terms = Recipe.load("table").objective
        weighted = sum(terms[name]["weight"] * value for name, value in result["terms"].items())
        assert result["cost"] == pytest.approx(weighted, rel=1e-6)
        assert (result["n_iter"], result["stopped"], result["status"]) == (5, "steps", "finished")
        assert (result["n_samples"], result["held_out"]["n_samples"]) == (54, 6)


def test_json_of_evaluate_and_info(say, made):
    code, out, _ = say("evaluate", made / "rows", made / "x.npy", "--json")
    assert code == 0
    result = json.loads(out)
    measured = {
        *("n_samples", "fvu", "l0", "dead", "code_l1", "coherence"),
        *("fvu_standardized", "fvu_median", "largest_inputs", "largest_rows", "findings"),
        *("density", "histogram", "mean_activation", "inputs_worse_than_mean", "pca"),
    }
    assert set(result) == WRAPPING | measured
    # These codes are sigmoids, which are never 0.
    assert [result[name] for name in ("l0", "dead", "density", "histogram")] == [None] * 4
    assert set(result["largest_inputs"]) == {"number", "share", "first"}
    assert 0 < result["fvu"] < 1.5
    code, out, _ = say("info", made / "rows", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["recipe"]["model"]["n_latents"] == 16
    assert told["status"] == "finished"
    code, out, _ = say("info", "--json")
    assert code == 0
    assert set(json.loads(out)["recipes"]) == {
        *("ufldl", "edges", "color", "compress", "strokes", "table"),
        *("deep", "variational", "denoise", "pca"),
        *("topk", "abstopk", "batchtopk", "jumprelu", "gated", "l1", "matryoshka"),
    }


def test_evaluate_of_data_that_never_vary_is_json(say, made, tmp_path):
    np.save("flat.npy", np.full((5, 8), 0.5, dtype=np.float32))
    code, out, _ = say("evaluate", made / "rows", "flat.npy", "--json")
    assert code == 0
    assert json.loads(out)["fvu"] is None
    assert "–" in say("evaluate", made / "rows", "flat.npy")[1]


@pytest.mark.parametrize("verb", ["encode", "evaluate", "explain", "index", "features"])
def test_what_is_read_is_never_written_over(say, tmp_path, verb):
    suffix = {"index": "npz", "features": "jsonl"}.get(verb, "csv")
    data = tmp_path / f"data.{suffix}"
    data.write_bytes(b"kept")
    link = tmp_path / f"link.{suffix}"
    link.symlink_to(data)
    for out in (data, link):
        place = "--rows" if verb == "evaluate" else "--out"
        asked = ("--target", "price") if verb == "explain" else ()
        code, _, err = say(verb, "run", data, place, out, *asked)
        assert code == 2
        assert "is read, and what is written there would replace it" in err
    assert data.read_bytes() == b"kept"


def test_standard_output_holds_the_result_only(say, made):
    code, out, err = say("train", made / "x.npy", "--out", "run", *SHORT)
    assert code == 0
    assert out.lstrip().startswith("training")
    assert "recipe: table" in err
    assert "next: simplecell show run" in err
    code, out, err = say("show", "run")
    assert (code, out) == (0, "run/features.png\n")
    code, out, err = say("encode", "run", made / "x.npy", "--out", "codes.npy")
    assert (code, out) == (0, "")
    assert "60 rows of 16 latents: codes.npy" in err


def test_text_goes_to_a_terminal_without_dashes(made, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    code = cli.run_command_line(["train", str(made / "x.npy"), "--out", str(made / "rows"), *SHORT])
    assert code == 0
    print_result("x", {"file": "\udcff ü –"}, True, "")
    assert rb"\udcff \xfc \u2013" in stream.buffer.getvalue()


# --- encode and decode ---


def test_encode_to_each_format_gives_the_same_codes(made, tmp_path, monkeypatch, capsysbinary):
    from simplecell.run.directory import Run

    monkeypatch.chdir(tmp_path)
    x = np.load(made / "x.npy")
    wanted = Run(made / "rows").load().encode(x)
    words = ["encode", str(made / "rows"), str(made / "x.npy"), "--out"]
    for out in ("c.npy", "c.npz", "c.csv", "with space ü.NPY"):
        assert cli.run_command_line([*words, out]) == 0
    np.testing.assert_array_equal(np.load("c.npy"), wanted)
    assert np.load("c.npy").dtype == np.float32
    archive = np.load("c.npz")
    np.testing.assert_array_equal(archive["values"], wanted)
    assert archive["names"].tolist() == [f"latent{j}" for j in range(16)]
    with open("c.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [f"latent{j}" for j in range(16)]
    np.testing.assert_allclose(np.array(rows[1:], float), wanted, rtol=1e-6)
    capsysbinary.readouterr()
    assert cli.run_command_line([*words, "-"]) == 0
    np.testing.assert_array_equal(np.load(io.BytesIO(capsysbinary.readouterr().out)), wanted)
    assert not list(Path().glob(".*"))


def test_codes_are_written_piece_by_piece(tmp_path):
    rows, width = 200, 40_000
    piece = np.zeros((1, width), dtype=np.float32)
    names = [f"latent{j}" for j in range(width)]
    tracemalloc.start()
    for name in ("codes.npz", "codes.npy"):
        writer(str(tmp_path / name))((piece for _ in range(rows)), Sheet(rows, names))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < rows * width * 4 / 2
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as archive:
        assert archive["values"].shape == (rows, width)


def test_decode_of_encode_has_the_shape_and_the_units_of_the_data(say, made):
    x = np.load(made / "x.npy")
    assert say("train", made / "x.npy", "--out", "run", "--set", "train.steps=60")[0] == 0
    shapes = {}
    for codes in ("c.npy", "c.npz", "c.csv"):
        assert say("encode", "run", made / "x.npy", "--out", codes)[0] == 0
        for out in ("d.npy", "d.npz", "d.csv"):
            assert say("decode", "run", codes, "--out", out)[0] == 0
        back = np.load("d.npy")
        shapes[codes] = back.shape
        np.testing.assert_allclose(np.load("d.npz")["values"], back)
        np.testing.assert_allclose(np.loadtxt("d.csv", delimiter=",", skiprows=1), back, rtol=1e-5)
        assert ((back - x) ** 2).sum() < 0.3 * ((x - x.mean(0)) ** 2).sum()
    assert set(shapes.values()) == {x.shape}


def test_decode_of_a_table_names_its_columns(say, made):
    assert say("encode", made / "table", made / "table.csv", "--out", "c.npy")[0] == 0
    assert say("decode", made / "table", "c.npy", "--out", "d.csv")[0] == 0
    assert Path("d.csv").read_text().splitlines()[0] == "a,b,kind=x,kind=y,kind=z"


def test_encode_of_pictures_says_where_each_row_came_from(say, made):
    code, _, err = say("encode", made / "patches", made / "pictures", "--out", "codes.npy")
    assert code == 0
    assert "codes.rows.csv" in err
    codes = np.load("codes.npy")
    with open("codes.rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(codes) == 3 * (40 // 6) * (50 // 6)
    assert list(rows[0]) == ["row", "file", "top", "left", "scale"]
    assert rows[0] == {"row": "0", "file": "0.png", "top": "0", "left": "0", "scale": "1"}
    assert rows[9] == {"row": "9", "file": "0.png", "top": "6", "left": "6", "scale": "1"}
    assert rows[-1]["row"] == str(len(codes) - 1)
    assert rows[-1]["file"] == "2.png"
    # Back to patches: 6 × 6 pixels each.
    assert say("decode", made / "patches", "codes.npy", "--out", "d.npy")[0] == 0
    assert np.load("d.npy").shape == (len(codes), 36)


@pytest.fixture
def titled(say):
    """A run on a table of embeddings with identifiers and titles, and its codes."""
    x = np.random.default_rng(0).normal(size=(40, 6)).round(4)
    names = ",".join(f"e{j}" for j in range(6))
    rows = [f'doc{i},"Title, {i}",' + ",".join(map(str, row)) for i, row in enumerate(x)]
    Path("emb.csv").write_text(f"id,title,{names}\n" + "\n".join(rows))
    words = ("--recipe", "topk", "--set", "model.n_latents=12", "--set", "model.target_l0=2")
    assert say("train", "emb.csv", "--out", "run", *words, "--set", "train.steps=5")[0] == 0
    return Run("run").load().encode(x, as_trained=True)


SMALL = ("--set", "data.patch=5", "--set", "data.n_patches=40", "--set", "model.n_latents=4")


def test_rows_and_photographs_name_their_page(say):
    pages = [Image.new("L", (20, 10), 60 * k) for k in range(3)]
    Path("d").mkdir()
    pages[0].save("d/m.tif", save_all=True, append_images=pages[1:])
    words = ("--recipe", "ufldl", *SMALL, "--set", "train.steps=1", "--no-doctor")
    code, _, err = say("train", "d", "--out", "run", *words)
    assert (code, "m.tif has 3 pages, each a picture of its own" in err) == (0, True)
    assert say("encode", "run", "d", "--out", "c.npy")[0] == 0
    with open("c.rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["page"] for row in rows] == [str(1 + i // 8) for i in range(24)]
    assert rows[9] == {"row": "9", "file": "m.tif", "page": "2", "top": "0", "left": "5"} | {
        "scale": "1"
    }
    source = as_source("d", kind="patches", patch=5, n_patches=40)
    samples = Samples(Run("run").load(), source)
    found = samples.records(range(40))
    Path("photos").mkdir()
    told = samples.save_photos(Path())
    assert sorted(photo["name"] for photo in told) == [f"m.tif, page {k}" for k in (1, 2, 3)]
    for row, record in found.items():
        photo = told[record["photo"]["photo"]]
        assert photo["name"] == f"m.tif, page {source.about(np.array([row]))[0]['page']}"
        with Image.open(photo["file"]) as image:
            shade = image.getpixel((3, 3))
        assert abs(shade - 60 * (int(photo["name"][-1]) - 1)) < 3


def test_a_run_on_bands_is_drawn(say):
    np.save("cube.npy", np.random.default_rng(0).random((2, 64, 70, 5), dtype=np.float32))
    words = ("--recipe", "ufldl", *SMALL, "--set", "data.kind=patches", "--set", "train.steps=1")
    assert say("train", "cube.npy", "--out", "run", *words, "--no-doctor")[0] == 0
    assert Run("run").load().shape == (5, 5, 5)
    for what in ("latents", "reconstructions"):
        assert say("show", "run", "--what", what, "--out", f"{what}.png")[0] == 0
        with Image.open(f"{what}.png") as image:
            assert image.size[0] > 100


def test_codes_carry_the_names_of_their_rows(say, titled):
    for out in ("c.csv", "c.npz", "c.npy"):
        code, _, err = say("encode", "run", "emb.csv", "--out", out)
        assert code == 0
    assert "what each row is called: c.rows.csv" in err
    with open("c.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "title", *load("run").get_feature_names_out()]
    assert rows[3][:2] == ["doc2", "Title, 2"]
    np.testing.assert_allclose(np.array([row[2:] for row in rows[1:]], float), titled, rtol=1e-6)
    archive = np.load("c.npz")
    assert archive["ids"].tolist() == [f"doc{i}" for i in range(40)]
    assert archive["title"][2] == "Title, 2"
    assert archive["names"].tolist() == rows[0][2:]
    with open("c.rows.csv", newline="") as file:
        assert list(csv.DictReader(file))[2] == {"row": "2", "id": "doc2", "title": "Title, 2"}
    # Back again: identifiers are no codes, and stay with what is decoded.
    for codes in ("c.csv", "c.npz", "c.npy"):
        assert say("decode", "run", codes, "--out", "d.csv")[0] == 0
        back = list(csv.reader(Path("d.csv").read_text().splitlines()))
        assert back[0] == ["id", "title"] * (codes == "c.csv") + [f"e{j}" for j in range(6)]
        np.testing.assert_allclose(
            np.array([row[-6:] for row in back[1:]], float), Run("run").load().decode(titled), 1e-4
        )


def test_new_rows_in_another_order_keep_their_names(say, titled):
    lines = Path("emb.csv").read_text().splitlines()
    frame = [line.split(",") for line in (lines[0], lines[3].replace("Title, 2", "T"))]
    Path("new.csv").write_text("\n".join(",".join([*reversed(row), "9.5"]) for row in frame))
    Path("new.csv").write_text(Path("new.csv").read_text().replace("id,9.5", "id,extra"))
    code, _, err = say("encode", "run", "new.csv", "--out", "c.csv")
    assert code == 0
    assert "'extra' of new.csv are no inputs of this model: ignored" in err
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert rows[0]["id"] == "doc2"
    np.testing.assert_allclose([float(rows[0][f"latent{j}"]) for j in range(12)], titled[2], 1e-5)


def test_sparse_codes_are_those_of_the_dense_file(say, titled):
    assert say("encode", "run", "emb.csv", "--out", "s.npz", "--sparse")[0] == 0
    matrix = scipy.sparse.load_npz("s.npz")
    assert matrix.format == "csr"
    assert matrix.nnz == np.count_nonzero(titled)
    np.testing.assert_allclose(matrix.toarray(), titled, rtol=1e-5)
    archive = np.load("s.npz")
    assert archive["ids"][2] == "doc2"
    assert archive["names"].tolist() == [f"latent{j}" for j in range(12)]
    assert say("decode", "run", "s.npz", "--out", "d.npy")[0] == 0
    np.testing.assert_allclose(np.load("d.npy"), Run("run").load().decode(titled), rtol=1e-4)
    for out in ("s.npy", "s.csv", "-"):
        code, _, err = say("encode", "run", "emb.csv", "--out", out, "--sparse")
        assert code == 2
        assert "--sparse writes .npz (SciPy's CSR) or .parquet" in err
    assert say("encode", "run", "emb.csv", "--out", "s.txt", "--sparse")[0] == 2


def test_codes_as_parquet(say, titled):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert say("encode", "run", "emb.csv", "--out", "c.parquet")[0] == 0
    table = parquet.read_table("c.parquet")
    assert table.column_names == ["id", "title", *(f"latent{j}" for j in range(12))]
    assert table.column("title").to_pylist()[2] == "Title, 2"
    codes = np.stack([c.to_numpy() for c in table.columns[2:]], 1)
    np.testing.assert_allclose(codes, titled, rtol=1e-5)
    assert say("encode", "run", "emb.csv", "--out", "s.parquet", "--sparse")[0] == 0
    rows = parquet.read_table("s.parquet").to_pylist()
    assert rows[2]["id"] == "doc2"
    dense = np.zeros_like(titled)
    for i, row in enumerate(rows):
        dense[i, row["latents"]] = row["codes"]
    np.testing.assert_array_equal(dense, codes)
    assert say("decode", "run", "s.parquet", "--out", "d.npy")[0] == 0
    np.testing.assert_allclose(np.load("d.npy"), Run("run").load().decode(titled), rtol=1e-4)


def test_parquet_without_its_library_names_the_extra(say, titled, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = say("encode", "run", "emb.csv", "--out", "c.parquet")
    assert code == 2
    assert "pip install 'simplecell[parquet]'" in err


def test_genes_in_rows_are_trained_shown_and_encoded_by_name(say):
    x = np.random.default_rng(0).lognormal(size=(20, 12)).round(3)
    rows = ["gene\t" + "\t".join(f"p{i}" for i in range(12))]
    rows += [f"G{k}\t" + "\t".join(map(str, row)) for k, row in enumerate(x)]
    Path("expr.tsv").write_text("\n".join(rows))
    told = ("--set", "data.samples=columns", "--set", "train.steps=3")
    assert say("train", "expr.tsv", "--out", "run", *told)[0] == 0
    assert say("show", "run")[0] == 0
    assert Run("run").load().input_names == [f"G{k}" for k in range(20)]
    assert say("encode", "run", "expr.tsv", "--out", "c.csv")[0] == 0
    codes = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert [row["id"] for row in codes] == [f"p{i}" for i in range(12)]


def test_data_come_through_a_pipe(say, made, monkeypatch):
    content = (made / "x.npy").read_bytes()

    def pipe(data=content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(NoSeeking(data))))

    pipe()
    assert say("encode", made / "rows", "-", "--out", "piped.npy")[0] == 0
    assert say("encode", made / "rows", made / "x.npy", "--out", "read.npy")[0] == 0
    np.testing.assert_array_equal(np.load("piped.npy"), np.load("read.npy"))
    pipe()
    assert say("evaluate", made / "rows", "-")[0] == 0
    pipe()
    assert say("train", "-", "--out", "run", *SHORT)[0] == 0
    pipe()
    code, _, err = say("train", "-", "--out", "run", *SHORT)
    assert code == 0
    assert "is finished" in err
    code, _, err = say("resume", "run")
    assert code == 4
    assert "standard input" in err
    assert say("show", "run", "--what", "reconstructions")[0] == 3
    for bad in (b"", content[:-1], content[:20], b"1,2,3\n", b"\x80\x04]."):
        pipe(bad)
        code, _, err = say("train", "-", "--out", "other")
        assert code == 3
        assert "standard input" in err
        assert not Path("other").exists()
    monkeypatch.setattr(sys, "stdin", None)
    assert say("train", "-", "--out", "other")[0] == 3


class NoSeeking(io.RawIOBase):
    """A pipe: bytes that come once, a few at a time."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.data.read(min(len(buffer), 1000))
        buffer[: len(part)] = part
        return len(part)


def test_encode_and_decode_refuse_what_does_not_fit(say, made, tmp_path):
    np.save("wide.npy", np.ones((4, 9), np.float32))
    holes = np.ones((4, 8), np.float32)
    holes[2, 3] = np.nan
    np.save("holes.npy", holes)
    Path("narrow.csv").write_text("a,kind,more\n1,x,3\n1,x,3\n")
    before = sorted(tmp_path.iterdir())
    rows, table = made / "rows", made / "table"
    for words, code, sentence in (
        (("encode", rows, "wide.npy", "--out", "c.npy"), 3, "9 inputs per sample"),
        (("encode", rows, "holes.npy", "--out", "c.npy"), 3, "sample 2, input 3"),
        (("encode", rows, "none.npy", "--out", "c.npy"), 3, "none.npy"),
        (("encode", table, "narrow.csv", "--out", "c.npy"), 3, "has no column 'b'"),
        (("encode", rows, made / "x.npy", "--out", "c.txt"), 2, "unknown output format '.txt'"),
        (("encode", rows, made / "x.npy", "--out", ""), 2, "unknown output format"),
        (("encode", rows, made / "x.npy", "--out", "no/c.npy"), 6, "No such file"),
        (("decode", rows, "wide.npy", "--out", "d.npy"), 3, "16 latents"),
        (("decode", rows, "none.npy", "--out", "d.npy"), 3, "none.npy"),
        (("evaluate", rows, "wide.npy"), 3, "9 inputs per sample"),
        (("encode", "nowhere", made / "x.npy", "--out", "c.npy"), 4, "not a run directory"),
    ):
        got, out, err = say(*words)
        assert (got, out) == (code, "")
        assert sentence in err
    assert sorted(tmp_path.iterdir()) == before


def test_new_data_need_no_label_and_no_meta(say, made):
    Path("labelled.csv").write_text(
        "a,b,y\n" + "".join(f"{i / 2},{i % 7},{i % 2}\n" for i in range(30))
    )
    Path("plain.csv").write_text("a,b\n1,2\n3,4\n")
    assert say("train", "labelled.csv", "--out", "run", *SHORT, "--set", "data.label=y")[0] == 0
    assert say("encode", "run", "plain.csv", "--out", "c.npy")[0] == 0
    np.save("bare.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert say("encode", "run", "bare.npy", "--out", "d.npy")[0] == 0
    np.testing.assert_allclose(np.load("c.npy"), np.load("d.npy"), rtol=1e-5)
    assert np.load("c.npy").shape == (2, 4)
    meta = "\n".join(json.dumps({"text": f"ü{i} 😀"}) for i in range(60))
    Path("meta 😀.jsonl").write_text(meta, encoding="utf-8")
    words = ("train", made / "x.npy", "--out", "with meta", *SHORT, "--meta", "meta 😀.jsonl")
    assert say(*words)[0] == 0
    assert say("encode", "with meta", "bare.npy", "--out", "e.npy")[0] == 3  # another width
    np.save("new.npy", np.load(made / "x.npy")[:7])
    assert say("encode", "with meta", "new.npy", "--out", "e.npy")[0] == 0
    assert np.load("e.npy").shape == (7, 16)


def test_resume_finds_meta_from_another_folder(say, made, monkeypatch, tmp_path):
    Path("meta.csv").write_text("name\n" + "a\n" * 60)
    words = ("train", made / "x.npy", "--out", "run", *SHORT, "--meta", "meta.csv")
    assert say(*words)[0] == 0
    assert say(*words)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert say("resume", "../run", "--steps", "7")[0] == 0
    code, _, err = say("train", made / "x.npy", "--out", "other", "--meta", "../nothing.csv")
    assert code == 3
    assert "nothing.csv" in err
    Path("short.csv").write_text("name\na\n")
    code, _, err = say("train", made / "x.npy", "--out", "other", "--meta", "short.csv")
    assert code == 3
    assert "1 records of meta came for 60 samples" in err
    assert not Path("other").exists()


# --- show and info ---


@pytest.mark.parametrize("what", ["latents", "atoms", "reconstructions", "curve"])
def test_show_draws_all_four_kinds(say, made, what):
    code, out, _ = say("show", made / "patches", "--what", what, "--out", f"{what}.png")
    assert (code, out) == (0, f"{what}.png\n")
    with Image.open(f"{what}.png") as picture:
        assert min(picture.size) > 20
        assert len(set(np.asarray(picture.convert("L")).ravel().tolist())) > 2


@pytest.mark.parametrize(
    ("run", "kinds"), [("rows", ["latents", "atoms", "curve"]), ("table", ["latents", "atoms"])]
)
def test_show_of_rows_and_tables(say, made, run, kinds):
    for what in kinds:
        assert say("show", made / run, "--what", what, "--out", "p.png")[0] == 0
        with Image.open("p.png") as picture:
            assert min(picture.size) > 100
    code, out, err = say("show", made / run, "--what", "reconstructions", "--out", "r.png")
    assert (code, out) == (2, "")
    assert "simplecell evaluate" in err
    assert not Path("r.png").exists()


def test_show_says_what_is_wrong_with_its_file(say, made):
    assert say("show", made / "rows", "--out", "picture")[0] == 2
    assert say("show", made / "rows", "--out", "picture.xyz")[0] == 2
    assert say("show", made / "rows", "--out", "")[0] == 2
    assert say("show", made / "rows", "--out", "no/picture.png")[0] == 6
    assert say("show", "nowhere")[0] == 4


def test_reconstructions_need_the_data_of_the_training(say, made, tmp_path):
    folder = tmp_path / "moving"
    folder.mkdir()
    for file in (made / "pictures").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    small = ("--set", "data.n_patches=100", "--set", "model.n_latents=4")
    assert say("train", folder, "--out", "run", *SHORT, *small)[0] == 0
    words = ("show", "run", "--what", "reconstructions")
    assert say(*words)[0] == 0
    Image.new("L", (40, 40), 9).save(folder / "0.png")
    code, _, err = say(*words)
    assert code == 3
    assert "have changed" in err
    code, _, err = say("resume", "run", "--steps", "9")
    assert code == 3
    assert "not those that" in err
    for file in folder.iterdir():
        file.unlink()
    code, _, err = say(*words)
    assert code == 3
    assert "holds no pictures" in err
    assert say("show", "run")[0] == 0  # the weights need no data


def test_info_tells_the_story_of_a_run(say, made):
    code, out, _ = say("info", made / "patches")
    assert code == 0
    for words in ("finished, 5 of 5 steps", "6 × 6", "n_latents = 9", "held out", "fvu"):
        assert words in out
    assert "recipes (simplecell train" in say("info")[1]


# --- unusable runs ---


def copy_run(run, to):
    to.mkdir()
    for file in run.rglob("*"):
        if file.is_file():
            place = to / file.relative_to(run)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(file.read_bytes())


def _change_json(**changes):
    def change(run):
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | changes))

    return change


def _change_weights(**changes):
    def change(run):
        tensors = load_file(run / "model.safetensors")
        for name, value in changes.items():
            if value is None:
                del tensors[name]
            else:
                tensors[name] = value(tensors[name])
        save_file(tensors, run / "model.safetensors")

    return change


def _cut(name, keep=0.5):
    def change(run):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * keep)])

    return change


def _write(name, content):
    return lambda run: (run / name).write_bytes(content)


def _nan(tensor):
    tensor.view(-1)[3] = float("nan")
    return tensor


DAMAGE = {
    "newer format": (_change_json(format=2), "written in format 2"),
    "no format": (_change_json(format=None), "no format number"),
    "true as format": (_change_json(format=True), "no format number"),
    "no data": (_change_json(data=None), "run.json.data"),
    "json cut": (_cut("run.json"), "run.json' cannot be read"),
    "json empty": (_write("run.json", b""), "run.json' cannot be read"),
    "json a list": (_write("run.json", b"[]"), "does not hold a JSON object"),
    "json deep": (_write("run.json", b"[" * 100_000), "run.json' cannot be read"),
    "json bytes": (_write("run.json", b"\xff\xfe"), "run.json' cannot be read"),
    "json nan": (_write("run.json", b'{"format": NaN}'), "NaN is no JSON"),
    "weights cut": (_cut("model.safetensors"), "model.safetensors' cannot be read"),
    "weights empty": (_write("model.safetensors", b""), "model.safetensors' cannot be read"),
    "weights of text": (_write("model.safetensors", b"x" * 999), "cannot be read"),
    "weights nan": (_change_weights(bias=_nan), "not finite"),
    "weights inf": (_change_weights(decoder=lambda t: t / 0), "not finite"),
    "weights integers": (_change_weights(bias=lambda t: t.int()), "'bias' is of type int32"),
    "encoder shape": (_change_weights(encoder=lambda t: t[:-1].clone()), "does not fit"),
    "decoder shape": (_change_weights(decoder=lambda t: t.T.contiguous()), "'decoder' is of shape"),
    "no bias": (_change_weights(bias=None), "'bias' is missing"),
    "no encoder": (_change_weights(encoder=None), "does not fit"),
    "preparation cut": (_cut("preprocess.safetensors"), "cannot be read"),
    "preparation gone": (lambda run: (run / "preprocess.safetensors").unlink(), "cannot be read"),
    "recipe cut": (_cut("recipe.toml", 0.3), "recipe.toml' is damaged"),
    "recipe gone": (lambda run: (run / "recipe.toml").unlink(), "recipe.toml' is damaged"),
    "recipe of bytes": (_write("recipe.toml", b"\xff\xfe\x00"), "recipe.toml' is damaged"),
    "recipe deep": (_write("recipe.toml", b"a = " + b"[" * 50_000), "recipe.toml' is damaged"),
    "weights gone": (lambda run: (run / "model.safetensors").unlink(), "has no weights yet"),
    "run.json gone": (lambda run: (run / "run.json").unlink(), "is not a run directory"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_4(say, made, tmp_path, case):
    damage, sentence = DAMAGE[case]
    copy_run(made / "rows", tmp_path / "run")
    damage(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = say("encode", "run", made / "x.npy", "--out", "c.npy")
    assert (code, out) == (4, "")
    assert sentence in err
    assert sorted(tmp_path.rglob("*")) == before


def _edit(run, old, new):
    recipe = (run / "recipe.toml").read_text()
    assert old in recipe
    (run / "recipe.toml").write_text(recipe.replace(old, new))


@pytest.mark.parametrize("activation", ["nonsense", "relu"])
def test_a_recipe_that_makes_no_model_is_4(say, made, tmp_path, activation):
    copy_run(made / "rows", tmp_path / "run")
    _edit(tmp_path / "run", 'activation = "sigmoid"', f'activation = "{activation}"')
    code, _, err = say("encode", "run", made / "x.npy", "--out", "c.npy")
    assert code == 4, err
    assert not (tmp_path / "c.npy").exists()


OPENING = {
    "encode": ("encode", "run", "x.npy", "--out", "c.npy"),
    "decode": ("decode", "run", "codes.npy", "--out", "d.npy"),
    "evaluate": ("evaluate", "run", "x.npy"),
    "show": ("show", "run", "--out", "a.png"),
    "curve": ("show", "run", "--what", "curve", "--out", "a.png"),
    "explore": ("explore", "run", "--no-browser"),
    "report": ("report", "run", "--out", "r.html"),
    "compare": ("compare", "run", "run"),
}


@pytest.mark.parametrize("verb", OPENING)
def test_a_run_whose_recipe_was_edited_is_not_opened(say, made, tmp_path, verb):
    copy_run(made / "rows", tmp_path / "run")
    for name in ("x.npy", "codes.npy"):
        np.save(tmp_path / name, np.load(made / "x.npy"))
    _edit(tmp_path / "run", "decay]\nweight = ", "decay]\nweight = 1")
    code, _, err = say(*OPENING[verb])
    assert code == 4
    assert "do not agree (objective.decay.weight: " in err
    assert "put recipe.toml back as it was" in err


def test_info_tells_what_was_edited(say, made, tmp_path):
    copy_run(made / "rows", tmp_path / "run")
    code, out, _ = say("info", "run", "--json")
    assert (code, json.loads(out)["edited"]) == (0, [])
    _edit(tmp_path / "run", 'activation = "sigmoid"', 'activation = "relu"')
    told = 'model.activation: "sigmoid", "relu"'
    code, out, _ = say("info", "run", "--json")
    assert (code, json.loads(out)["edited"]) == (0, [told])
    code, out, _ = say("info", "run")
    assert code == 0
    assert f"recipe.toml was edited after the training ({told}: then, now);" in out


def test_a_run_that_does_not_remember_its_recipe_is_opened(say, made, tmp_path):
    run = tmp_path / "run"
    copy_run(made / "rows", run)
    info = json.loads((run / "run.json").read_text())
    del info["resolved"]  # as earlier versions wrote it
    (run / "run.json").write_text(json.dumps(info))
    _edit(run, "decay]\nweight = ", "decay]\nweight = 1")
    code, out, _ = say("info", "run", "--json")
    assert (code, json.loads(out)["edited"]) == (0, None)
    code, _, err = say("encode", "run", made / "x.npy", "--out", "c.npy")
    assert code == 0, err


def _places(value, path=()):
    if path:
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _places(part, (*path, key))
    elif isinstance(value, list):
        for k, part in enumerate(value):
            yield from _places(part, (*path, k))


def _replace(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replace(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("second", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_wrong_types_anywhere_in_run_json_never_crash(made, tmp_path, monkeypatch, second):
    """One wrong value at each place; slow: a second one at each."""
    from simplecell.cli.code_files import encode_file
    from simplecell.cli.printing import of_run
    from simplecell.errors import DataError, RunError
    from simplecell.run.begin import resume
    from simplecell.run.directory import Run

    monkeypatch.chdir(tmp_path)
    copy_run(made / "table", tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    good = json.loads(file.read_text())
    wrong = [None, True, -7, 1.5, "text", [], {}, [[1]], 10**400, "\ud800", {"a": None}]
    places = list(_places(good))
    assert len(places) > 60
    tried = 0
    for i, path in enumerate(places):
        new = wrong[(2 * i + second) % len(wrong)]
        file.write_text(json.dumps(_replace(good, path, new)))
        for use in (
            lambda: of_run(Path("run")),
            lambda: encode_file(Run("run").load(), made / "table.csv", "c.npy"),
            lambda: resume("run").result(),
        ):
            with contextlib.suppress(RunError, DataError):
                use()
        tried += 1
    assert tried > 60


def test_something_else_as_out_is_refused(say, made, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("text")
    (tmp_path / "other program").mkdir()
    (tmp_path / "other program" / "run.json").write_text("{}")
    (tmp_path / "other program" / "checkpoints").mkdir()
    (tmp_path / "other program" / "checkpoints" / "best.ckpt").write_text("weeks of work")
    (tmp_path / "other program" / "train.py").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    for out, sentence in (
        ("foreign", "holds other files (thesis.tex)"),
        ("file", "is a file; a run is a directory"),
        ("other program", "holds other files (train.py)"),
        ("link", "is a file"),
    ):
        for more in ((), ("--restart",)):
            code, _, err = say("train", made / "x.npy", "--out", out, *SHORT, *more)
            assert code == 4
            assert sentence in err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_and_left_over_temporaries_are_fine(say, made, tmp_path):
    out = tmp_path / "a b ü 😀"
    out.mkdir()
    (out / ".0123456789abcdef.tmp").write_text("half a file")
    (out / ".lock").write_text("")
    assert say("train", made / "x.npy", "--out", out, *SHORT)[0] == 0
    assert say("info", out)[0] == 0
    through = tmp_path / "through"
    through.symlink_to(out)
    assert say("resume", through)[0] == 0


def test_an_own_file_in_a_run_survives_restart(say, made, tmp_path):
    words = ("train", made / "x.npy", "--out", "run", *SHORT)
    assert say(*words)[0] == 0
    Path("run/notes.txt").write_text("mine")
    Path("run/checkpoints/keep.txt").write_text("mine")
    assert say(*words, "--restart", "--seed", "1")[0] == 0
    assert Path("run/notes.txt").read_text() == "mine"
    assert Path("run/checkpoints/keep.txt").read_text() == "mine"
    assert len(list(Path("run/checkpoints").glob("step*"))) == 1


# --- what cannot be written ---


def test_no_permission_is_6_and_leaves_nothing(say, made, tmp_path, monkeypatch):
    def refuse(path, *rest, **more):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    code, out, err = say("train", made / "x.npy", "--out", "run", *SHORT)
    assert (code, out) == (6, "")
    assert "could not write 'run" in err
    assert "Permission denied" in err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_6_and_the_old_state_stays(say, made, tmp_path, monkeypatch):
    words = ("train", made / "x.npy", "--out")
    assert say(*words, "old", *SHORT)[0] == 0
    before = {
        file: file.read_bytes()
        for file in Path("old").rglob("*")
        if file.is_file() and file.name not in ("recipe.toml", "run.json", "log.jsonl")
    }
    flush, count, room = os.fsync, [], {"writes": 0}

    def full(handle):
        count.append(handle)
        if len(count) > room["writes"]:
            raise OSError(28, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    for room["writes"] in range(7):  # the disk is full at every write of a new run
        count.clear()
        code, out, err = say(*words, "new", *SHORT)
        assert (code, out) == (6, "")
        assert "No space left on device" in err
        assert not Path("new").exists()
    for room["writes"] in range(9):  # and of a run that goes on
        count.clear()
        code, _, err = say("resume", "old", "--steps", "8")
        assert code == 6
        assert not list(Path("old").rglob(".*.tmp"))
        for file, content in before.items():
            assert room["writes"] > 6 or file.read_bytes() == content
    room["writes"] = 0
    for words_ in (("encode", "old", made / "x.npy", "--out", "c.npy"), ("show", "old")):
        assert say(*words_)[0] == 6
    assert not Path("c.npy").exists()
    assert not Path("old/features.png").exists()
    assert not list(tmp_path.glob(".*.tmp"))
    monkeypatch.setattr(os, "fsync", flush)
    assert say("resume", "old", "--steps", "8")[0] == 0
    assert say(*words, "straight", "--set", "train.steps=8")[0] == 0
    assert Path("old/model.safetensors").read_bytes() == (
        Path("straight/model.safetensors").read_bytes()
    )


def test_a_real_size_limit_is_6(made, tmp_path, children):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    words = ("train", made / "x.npy", "--out", "run", *SHORT, "--set", "model.n_latents=500")
    code, _, err = children.run(*words, cwd=tmp_path, before=limit)
    assert code == 6
    assert "File too large" in err
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_reader_that_leaves_and_a_full_output(made, tmp_path, children):
    np.save(tmp_path / "big.npy", np.ones((50_000, 8), np.float32))
    os.mkfifo(tmp_path / "pipe")
    words = ("encode", made / "rows", "big.npy", "--out", "-")
    child = children.start(*words, cwd=tmp_path, stdout=tmp_path / "pipe")
    with open(tmp_path / "pipe", "rb") as pipe:
        pipe.read(10)
    code, _, err = child.wait()
    assert (code, err) == (0, "")
    if Path("/dev/full").exists():
        for full in (("info", made / "rows"), words):
            code, _, err = children.run(*full, cwd=tmp_path, stdout=Path("/dev/full"))
            assert code == 6
            assert err.startswith("simplecell: could not write standard output")


# --- divergence ---


def test_divergence_is_5_and_keeps_the_last_good_state(say, tmp_path, monkeypatch):
    from simplecell.run import session

    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    random = np.random.default_rng(0)
    np.save("large.npy", (random.standard_normal((200, 6)) * 1e6).astype(np.float32))
    words = ("train", "large.npy", "--out", "run", "--recipe", "table")
    more = ["optim.kind=adam", "optim.learning_rate=1e6", "preprocess.steps=[]"]
    more += ["model.activation=identity", "objective.kl.weight=0"]
    more += ["train.steps=500", "optim.batch_size=50"]
    settings = [part for setting in more for part in ("--set", setting)]
    code, out, err = say(*words, *settings)
    assert (code, out) == (5, "")
    assert "diverged" in err
    assert "lower the learning rate" in err
    for file in Path("run").rglob("*.safetensors"):
        tensors = {name: tensor for name, tensor in load_file(file).items() if name != "best"}
        assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    assert json.loads(Path("run/run.json").read_text())["status"] == "diverged"
    assert say("info", "run")[0] == 0
    assert say("resume", "run")[0] == 5


# --- demo ---


def test_demo_in_small(say, monkeypatch):
    from simplecell.reproduce import demo

    small = [*demo.SETTINGS, "train.steps=3", "data.n_patches=300"]
    monkeypatch.setattr(demo, "SETTINGS", small)
    code, out, err = say("demo", "--out", "run", "--json")
    assert code == 0
    result = json.loads(out)
    promised = {"fvu_pca", "fvu_mean", "edges", "edges_noise"}
    assert set(result) == WRAPPING | FIGURES | promised | {"picture"}
    assert "two photographs" in err
    assert Path("run/features.png").exists()
    code, out, _ = say("demo", "--out", "run")
    assert code == 0
    for words in ("PCA with 25 components", "the mean patch", "edge detectors", "of 25", "next,"):
        assert words in out


# --- real data ---


def test_a_folder_of_real_photographs_with_strangers_in_it(say, tmp_path):
    if "SIMPLECELL_DATA" not in os.environ:
        pytest.skip("SIMPLECELL_DATA names no folder of real data")
    photos = Path(os.environ["SIMPLECELL_DATA"]) / "photos" / "bsds500_train_100.tar"
    folder = tmp_path / "photos"
    with tarfile.open(photos) as archive:
        archive.extractall(folder, filter="data")
    first = next(folder.rglob("*.jpg"))
    with Image.open(first) as image:
        image.convert("L").save(folder / "grey.png")
        image.convert("RGBA").save(folder / "rgba.png")
        image.convert("P").save(folder / "palette.gif")
    (folder / "cut.jpg").write_bytes(first.read_bytes()[:9000])
    (folder / "text.jpg").write_text("no picture")
    more = ("--set", "data.n_patches=2000", "--set", "train.steps=10")
    code, out, err = say("train", folder, "--out", "run", "--json", *more)
    assert code == 0
    skipped = [one["file"] for one in json.loads(out)["skipped"]]
    assert sorted(skipped) == ["cut.jpg", "text.jpg"]
    assert "recipe: edges" in err
    assert "100 JPEG photographs were averaged to half size" in err
    assert say("show", "run", "--what", "reconstructions")[0] == 0
