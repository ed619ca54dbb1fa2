"""ONNX files: they say with onnxruntime alone what the run says, whatever its kind."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from family_runs import KINDS, OUTPUTS, D, samples
from simplecell import SparseAutoencoder, load
from simplecell.cli import run_command_line
from simplecell.errors import RunError, UsageError
from simplecell.interop import onnx as ours
from simplecell.interop import onnx_graph
from simplecell.model.activations import ACTIVATIONS
from simplecell.model.activations import OUTPUTS as OUTPUT_FUNCTIONS
from simplecell.preprocess.chain import STEPS
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
every = pytest.mark.parametrize("kind", KINDS)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def close(found, wanted, share=1e-5):
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert np.abs(found - wanted).max() <= share * np.abs(wanted).max()


@every
def test_every_kind_says_the_same_in_each_part(run_of, tmp_path, kind):
    trained, x = run_of(kind).load(), samples(300, seed=11)
    for part in ours.OUTPUTS_OF:
        said = ours.export(trained, tmp_path / f"{part}.onnx", part=part)
        assert "samples, onnxruntime " in said[-1]
    codes = session(tmp_path / "encoder.onnx").run(None, {"x": x})[0]
    assert (codes != 0).any()
    close(codes, trained.encode(x))
    close(session(tmp_path / "decoder.onnx").run(None, {"codes": codes})[0], trained.decode(codes))
    both = session(tmp_path / "both.onnx").run(["codes", "recon"], {"x": x})
    close(both[0], trained.encode(x))
    close(both[1], trained.decode(both[0]))
    assert both[1].shape[1] == (OUTPUTS if kind == "transcoder" else D)
    for n in (0, 1, 7):  # any batch
        assert session(tmp_path / "encoder.onnx").run(None, {"x": x[:n]})[0].shape == (
            n,
            trained.model.n_latents,
        )


def test_one_file_that_tells_what_it_is(run_of, tmp_path):
    trained = run_of("batchtopk").load()
    ours.export(trained, tmp_path / "m.onnx", part="encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    model = onnx.load(tmp_path / "m.onnx")
    assert (model.producer_name, model.opset_import[0].version) == ("simplecell", ours.OPSET)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert (told["simplecell.format"], told["simplecell.part"]) == ("1", "encoder")
    assert told["simplecell.activation"] == "batchtopk"
    assert told["simplecell.recipe"] == trained.recipe.text()
    assert json.loads(told["simplecell.figures"])["fvu"] > 0
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    np.testing.assert_array_equal(held["encoder"], trained.model.encoder.detach().numpy())
    assert held["threshold"] == trained.model.activation.threshold.numpy() > 0
    given = model.graph.input[0].type.tensor_type.shape.dim
    assert (given[0].dim_param, given[1].dim_value) == ("batch", D)


def test_names_of_columns_come_along(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(samples(40)[:, :3], columns=["höhe", "weight", "x y"])
    sae = SparseAutoencoder(n_latents=4, max_iter=3, preprocess=["standardize"]).fit(frame)
    told = ours.told_of(sae._trained, "both")
    assert json.loads(told["simplecell.input_names"]) == ["höhe", "weight", "x y"]


def test_a_float64_model_stays_one(tmp_path):
    X = samples(60).astype(np.float64)
    sae = SparseAutoencoder(
        n_latents=5, max_iter=3, dtype="float64", preprocess=["standardize"]
    ).fit(X)
    ours.export(sae._trained, tmp_path / "m.onnx", part="encoder")
    codes = session(tmp_path / "m.onnx").run(None, {"x": X})[0]
    close(codes, sae.transform(X), 1e-12)


def test_an_estimator_and_a_path_are_exported_as_what_they_hold(run_of, tmp_path):
    run = run_of("topk")
    out = tmp_path / "m.onnx"
    ours.export(run.load(), out)
    wanted = out.read_bytes()
    for model in (run.path, str(run.path), load(run.path)):
        out.unlink()
        assert ours.export(model, out)[0].startswith(f"{out}: both")
        assert out.read_bytes() == wanted
    fitted = SparseAutoencoder(n_latents=4, max_iter=3).fit(samples(40))
    ours.export(fitted, out, part="encoder")
    x = samples(7)
    close(session(out).run(None, {"x": x})[0], fitted.transform(x))


def test_what_holds_no_model_is_not_exported(run_of, tmp_path):
    for wrong in (SparseAutoencoder(n_latents=4), load(run_of("topk").path).model, None):
        with pytest.raises(UsageError, match="a run's path or a fitted estimator is needed"):
            ours.export(wrong, tmp_path / "m.onnx")
    with pytest.raises(RunError, match="is not a run directory"):
        ours.export(tmp_path / "nothing", tmp_path / "m.onnx")


def test_the_lowest_of_equal_latents_is_kept(run_of, tmp_path):
    """onnxruntime's rule for ties, which torch has not: so many are kept in any case."""
    trained = run_of("topk").load()
    with torch.no_grad():
        trained.model.encoder.zero_()
        trained.model.bias.fill_(1.0)
    content = ours.as_onnx(trained, "encoder").SerializeToString()
    run = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    codes = run.run(None, {"x": samples(4)})[0]
    assert (codes[:, : trained.model.activation.k] == 1).all()
    assert (codes.sum(1) == trained.model.activation.k).all()


def test_a_wrong_graph_is_not_written(run_of, tmp_path, monkeypatch):
    trained = run_of("jumprelu").load()
    wrong = {**onnx_graph.ACTIVATION_NODES, "jumprelu": onnx_graph.ACTIVATION_NODES["relu"]}
    monkeypatch.setattr(onnx_graph, "ACTIVATION_NODES", wrong)
    with pytest.raises(RunError, match="nothing was kept: please report"):
        ours.export(trained, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_code_on_its_threshold_is_told_and_no_error(run_of):
    trained, x = run_of("jumprelu").load(), samples(20, seed=2)
    pre = trained.model.encode(trained.preprocess.apply(torch.from_numpy(x)).x)[0]
    with torch.no_grad():
        trained.model.activation.threshold[0] = pre[3, 0].clamp_min(0.1)
    content = ours.as_onnx(trained, "both").SerializeToString()
    with torch.no_grad():  # as if ours had rounded the other way
        trained.model.activation.threshold[0] -= 1e-7
    found = ours.compared(content, trained, torch.from_numpy(x))
    assert found.codes < 1e-5
    assert found.recon < 1e-5
    if pre[3, 0] > 0.1:
        assert found.turned == 1
        assert "1 codes on their threshold" in str(found)


def test_weights_of_more_than_a_file_holds_lie_beside_it(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "ONE_FILE", 100)
    trained, x = run_of("l1").load(), samples(30)
    said = ours.export(trained, tmp_path / "m.onnx")
    assert "m.onnx.data" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    close(session(tmp_path / "m.onnx").run(["codes"], {"x": x})[0], trained.encode(x))


def test_what_happens_before_rows_are_rows_is_told(run_of, tmp_path):
    assert ours.left_behind(run_of("topk").load(), "both") == []
    patches = run_of("sigmoid, patches").load()
    assert "add it to recon" in ours.left_behind(patches, "both")[0]
    assert ours.left_behind(patches, "encoder") == []
    said = ours.export(patches, tmp_path / "m.onnx", part="decoder")
    assert said[0].startswith("not in the file: the mean of each sample")
    session = begin(
        np.random.default_rng(0).random((40, 12, 12)).astype(np.float32),
        tmp_path / "run",
        Recipe.load("ufldl"),
        settings=["data.n_patches=50", "train.steps=2"],
    )
    list(session.records())
    session.finish()
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1.5,2,x\n2,3.5,y\n" * 9)
    assert "how patches are cut" in ours.left_behind(session.run.load(), "encoder")[0]
    session = begin(tmp_path / "t.csv", tmp_path / "t", None, settings=["train.steps=2"])
    list(session.records())
    session.finish()
    assert "how columns of a table" in ours.left_behind(session.run.load(), "encoder")[0]


def test_every_activation_step_and_output_has_its_node():
    assert set(onnx_graph.ACTIVATION_NODES) == set(ACTIVATIONS)
    assert {*onnx_graph.OUTPUT_NODES, "linear"} == set(OUTPUT_FUNCTIONS)
    assert len(STEPS) == 9, "a new step needs its form in onnx_graph._forth and ._back, and a kind"


def test_without_the_libraries_a_sentence_says_what_to_install(run_of, tmp_path, monkeypatch):
    trained = run_of("topk").load()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert (
        "not checked, since onnxruntime is not installed"
        in ours.export(trained, tmp_path / "m.onnx")[1]
    )
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'simplecell\[onnx\]'"):
        ours.export(trained, tmp_path / "n.onnx")


def test_an_unknown_part(run_of, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'encoder'"):
        ours.export(run_of("topk").load(), tmp_path / "m.onnx", part="encode")


def test_the_command_line_writes_one(run_of, tmp_path, capsys):
    run, out = run_of("topk"), tmp_path / "m.onnx"
    words = ["convert", str(run.path), str(out), "--to", "onnx"]
    assert run_command_line([*words, "--check", str(run.path.parent / "x.npy")]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"written, random +codes \d\.\de[+-]\d+, reconstructions \d\.\de[+-]\d+ \(1024 ", said
    )
    assert "written, given" in said
    assert "not carried   nothing" in said
    assert run_command_line(words) == 4  # it is there
    assert run_command_line([*words, "--restart", "--part", "decoder", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["compared"]
    assert [one["codes"] for one in found] == [None]
    assert [one.name for one in session(out).get_inputs()] == ["codes"]
    assert run_command_line([*words, "--restart", "--part", "code"]) == 2
    assert run_command_line([*words[:3], "--to", "saelens", "--part", "encoder"]) == 2


def test_the_command_line_says_what_is_not_checked(run_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = ["convert", str(run_of("topk").path), str(tmp_path / "m.onnx"), "--to", "onnx"]
    assert run_command_line(words) == 0
    assert "the proof: not checked, since onnxruntime" in capsys.readouterr().out


def test_it_runs_where_there_is_no_torch(run_of, tmp_path):
    run = run_of("topk")
    ours.export(run.load(), tmp_path / "m.onnx", part="encoder")
    np.save(tmp_path / "x.npy", samples(9))
    code = (
        "import sys, numpy, onnxruntime as rt\n"
        "run = rt.InferenceSession('m.onnx', providers=['CPUExecutionProvider'])\n"
        "numpy.save('codes.npy', run.run(['codes'], {'x': numpy.load('x.npy')})[0])\n"
        "print([name for name in ('torch', 'simplecell') if name in sys.modules])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
    close(np.load(tmp_path / "codes.npy"), run.load().encode(samples(9)))
