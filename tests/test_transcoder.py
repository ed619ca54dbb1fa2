"""Transcoders: y from x, in a run, in the core and as an estimator; nothing changes without y."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import simplecell
from simplecell import L1SparseAutoencoder, Recipe, TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.cli.code_files import decode_file
from simplecell.data import ArraySource, split
from simplecell.data.rows import Paired, Subset, targets_of
from simplecell.errors import DataError, RunError, UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.run.begin import begin, resume
from simplecell.run.build import build, new_pairs, trainer_on
from simplecell.run.directory import Run
from simplecell.run.evaluate import evaluate
from simplecell.run.resolve import target_steps, with_prepared_targets
from simplecell.viz.portrait import picture, reconstructions

N, D, D_OUT = 900, 12, 7
SHORT = ["model.n_latents=40", "model.target_l0=2", "optim.batch_size=100"]
TOPK = [*SHORT, "optim.learning_rate=0.005", "train.max_samples=15000"]


@pytest.fixture(scope="module")
def rows():
    """x are sparse codes through one dictionary, y their square roots through another."""
    random = np.random.default_rng(0)
    codes = random.exponential(size=(N, 20)) * (random.random((N, 20)) < 0.08)
    first, second = random.standard_normal((20, D)), random.standard_normal((20, D_OUT))
    x, y = codes @ first + 0.3, 5 * np.sqrt(codes) @ second + 20
    return x.astype(np.float32), y.astype(np.float32)


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "x.npy", rows[0])
    np.save(folder / "y.npy", rows[1])
    return folder


def start(files, out, recipe="topk", settings=(), **more):
    told = [f"data.targets={files / 'y.npy'}", *(TOPK if recipe == "topk" else []), *settings]
    return begin(files / "x.npy", out, Recipe.load(recipe), settings=told, **more)


def trained(session):
    for _ in session.records():
        pass
    return session.finish()


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A finished transcoder, and its result table."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, trained(start(files, out))


def unexplained(y, recon):
    return float(np.square(recon - y).sum() / np.square(y - y.mean(0)).sum())


def sha(out):
    return hashlib.sha256((Path(out) / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_y_from_x_and_speaks_in_the_units_of_y(rows, run):
    x, y = rows
    out, result = run
    assert result["fvu"] < 0.5
    assert result["held_out"]["fvu"] < 0.5
    one = Run(out).load()
    recon = one.decode(one.encode(x))
    assert recon.shape == (N, D_OUT)
    assert unexplained(y, recon) < 0.5  # by hand, in the units of y
    shuffled = unexplained(y[::-1], recon)
    assert shuffled > 1
    assert one.atoms().shape == (40, D_OUT)
    assert one.latents().shape == (40, D)
    lone = torch.zeros(2, 40, dtype=torch.float64)
    lone[1, 3] = 1
    apart = np.diff(one.decode(lone.numpy()), axis=0)[0]
    np.testing.assert_allclose(one.atoms()[3], apart, atol=1e-5)


def test_figures_are_those_of_the_targets(rows, run):
    """The session's rows, split here by hand."""
    out, result = run
    one = Run(out).load()
    parts = [split(ArraySource(part), 0.1, 0) for part in rows]
    for x, y, found in zip(*parts, (result, result["held_out"]), strict=True):
        pairs = new_pairs(one, x, y.read(slice(None)))
        wanted = torch.from_numpy(pairs.targets.read(slice(None)))
        figures = evaluate(one.model, one.preprocess, pairs)
        assert found["fvu"] == pytest.approx(figures.fvu, rel=1e-6)
        prepared = one.preprocess.apply(torch.from_numpy(x.read(slice(None)))).x
        errors = (one.model(prepared).recon - wanted).square().sum(1)
        cost = float(errors.mean().detach())
        assert found["cost"] == pytest.approx(cost, rel=1e-5)  # auxk is 0 outside training
    log = [record["held_out_cost"] for record in Run(out).records()]
    assert [cost for cost in log if cost is not None][-1] == pytest.approx(cost, rel=1e-5)


def test_targets_have_a_preparation_of_their_own(rows, run):
    out, _ = run
    one, y = Run(out).load(), split(ArraySource(rows[1]), 0.1, 0)[0].read(slice(None))
    assert one.recipe.preprocess.steps == target_steps(one.recipe)
    assert load_file(out / "target.safetensors")["0.mean"].shape == (D_OUT,)
    prepared = one.target_preprocess.apply(torch.from_numpy(y)).x.double()
    np.testing.assert_allclose(prepared.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(prepared.square().sum(1).mean(), D_OUT, rtol=1e-4)
    asked = Recipe.load("table").changed(['preprocess.steps=["standardize", "pca_whiten"]'])
    assert [step["kind"] for step in target_steps(asked)] == ["standardize"]


def test_pre_bias_goes_and_says_so(files, tmp_path, run):
    session = start(files, tmp_path / "run")
    note = "pre_bias: off, since a transcoder reconstructs something else than its inputs"
    assert note in session.notes
    assert Run(run[0]).recipe().model.pre_bias is False
    assert session.trainer.model.n_outputs == D_OUT


@pytest.mark.parametrize(
    ("recipe", "settings", "stop"), [("topk", ["train.max_samples=4000"], 15), ("table", [], 9)]
)
def test_cut_off_and_resumed_is_uninterrupted(files, tmp_path, recipe, settings, stop):
    settings = settings or ["train.steps=25"]
    whole = trained(start(files, tmp_path / "whole", recipe, settings))
    session = start(files, tmp_path / "cut", recipe, settings)
    for _ in islice(session.records(), stop):
        pass
    session.finish("interrupted")
    again = trained(resume(tmp_path / "cut"))
    assert sha(tmp_path / "cut") == sha(tmp_path / "whole")
    for name in ("cost", "fvu", "l0", "held_out"):
        assert again[name] == whole[name], name
    said_again = start(files, tmp_path / "cut", recipe, settings)
    assert said_again.done
    assert said_again.result()["fvu"] == whole["fvu"]


def test_a_run_may_be_resumed_elsewhere(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    told = ["data.targets=y.npy", "train.steps=6"]
    session = begin("x.npy", tmp_path / "run", Recipe.load("table"), settings=told)
    for _ in islice(session.records(), 2):
        pass
    session.finish("interrupted")
    monkeypatch.chdir(tmp_path)
    assert trained(resume(tmp_path / "run"))["n_iter"] == 6


def test_changed_targets_are_refused(files, rows, tmp_path):
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", rows["xy".index(name)])
    start(tmp_path, tmp_path / "run", "table").finish("interrupted")
    np.save(tmp_path / "y.npy", rows[1] + 1)
    with pytest.raises(DataError, match=r"targets at '.*y\.npy' are not those"):
        start(tmp_path, tmp_path / "run", "table")
    with pytest.raises(UsageError, match=r"begun with other settings \(data.targets"):
        begin(tmp_path / "x.npy", tmp_path / "run", Recipe.load("table"))


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("table", ["model.output=sigmoid"], "sigmoid outputs do not reach .* model.output=linear"),
        ("table", ["model.n_latents=[8, 4]"], "one layer; give model.n_latents as one number"),
        ("table", ["model.tied=true"], "tied"),
        ("topk", ["optim.resample=2"], "optim.resample .* set it to 0"),
        ("table", ["data.targets=''"], "data.targets is empty"),
    ],
)
def test_what_only_an_autoencoder_has_is_refused(files, tmp_path, recipe, settings, words):
    with pytest.raises(UsageError, match=words):
        start(files, tmp_path / "run", recipe, settings)
    assert not (tmp_path / "run").exists()


def test_targets_that_do_not_fit_are_named(files, rows, tmp_path):
    np.save(tmp_path / "few.npy", rows[1][:-1])
    broken = rows[1].copy()
    broken[500, 2] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    for name, words in (
        ("few.npy", r"few\.npy' have 899 rows, but there are 900 samples; one row a sample"),
        ("gone.npy", r"gone\.npy' do not exist; give a file of one row a sample"),
        ("nan.npy", "input 2 of nan.npy is nan"),
    ):
        with pytest.raises(DataError, match=words):
            start(files, tmp_path / "run", "table", [f"data.targets={tmp_path / name}"])
    assert not (tmp_path / "run").exists()
    pictures = np.random.default_rng(0).random((3, 64, 64))
    with pytest.raises(UsageError, match="patches are drawn from pictures"):
        begin(pictures, tmp_path / "run", settings=[f"data.targets={files / 'y.npy'}"])


def test_the_core_asks_for_targets(rows, run):
    x, y = (ArraySource(part) for part in rows)
    recipe = Recipe.load("topk").changed(TOPK)
    with pytest.raises(UsageError, match=r"names targets \(data.targets\), and none came"):
        build(recipe.changed(["data.targets=y.npy"]), x)
    built = build(recipe, Paired(x, y))
    pairs = with_prepared_targets(Paired(x, y), built.target_preprocess, built.trainer.flat)
    with pytest.raises(DataError, match="give the targets"):
        next(built.trainer.run(x, 1))
    with pytest.raises(DataError, match="899 targets for 900 samples"):
        Paired(x, ArraySource(rows[1][1:]))
    with pytest.raises(DataError, match="held-out"):
        next(built.trainer.run(pairs, 1, held_out=x))
    one = Run(run[0]).load()
    with pytest.raises(UsageError, match="give the targets of the same samples"):
        evaluate(one.model, one.preprocess, x)
    with pytest.raises(DataError, match=r"the targets have 12 columns, .* trained on 7"):
        new_pairs(one, x, rows[0])
    assert new_pairs(one, x, None) is x


def test_the_kernel_is_autograd_for_targets_of_another_width(rows):
    """Wider and narrower than the inputs; `fast` is the only difference."""
    recipe = Recipe.load("table").changed(["train.dtype=float64", "model.n_latents=5"])
    for wide, narrow in (rows, rows[::-1]):
        x = Paired(ArraySource(wide[:50]), ArraySource(narrow[:50]))
        built = build(recipe, x)
        trainer = trainer_on(x, built.recipe, built.preprocess, built.target_preprocess)
        trainer.gradient.kernel = None
        assert built.trainer.gradient.kernel is not None
        pairs = with_prepared_targets(x, built.target_preprocess, trainer.flat)
        for one in (built.trainer, trainer):
            list(one.run(pairs, 3))
        torch.testing.assert_close(built.trainer.flat, trainer.flat, rtol=1e-9, atol=1e-10)


def test_a_damaged_run_says_so(run, tmp_path):
    for path in run[0].glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "target.safetensors").unlink()
    with pytest.raises(RunError, match=r"target\.safetensors"):
        Run(tmp_path).load()


def test_pictures_and_files_of_a_run(rows, run, tmp_path, capsys):
    out, _ = run
    one = Run(out).load()
    assert picture(one, "atoms").size[0] > 100
    with pytest.raises(UsageError, match="this run is a transcoder"):
        reconstructions(one, ArraySource(rows[0]))
    np.save(tmp_path / "codes.npy", one.encode(rows[0]))
    decode_file(one, tmp_path / "codes.npy", str(tmp_path / "recon.csv"))
    lines = (tmp_path / "recon.csv").read_text().splitlines()
    assert lines[0] == ",".join(f"y{i}" for i in range(D_OUT))
    assert len(lines) == N + 1
    assert run_command_line(["info", str(out)]) == 0
    assert 'targets = "' in capsys.readouterr().out


@pytest.fixture(scope="module")
def estimator(rows):
    sae = TopKSparseAutoencoder(
        40, k=2, batch_size=100, learning_rate=0.005, max_samples=15_000, random_state=0
    )
    return sae.fit(rows[0], targets=rows[1])


def test_the_estimator_is_the_core(rows, estimator):
    x = Paired(*(ArraySource(part) for part in rows))
    built = build(Recipe.load("topk").changed([*TOPK, "train.seed=0"]), x)
    pairs = with_prepared_targets(x, built.target_preprocess, built.trainer.flat)
    list(built.trainer.run(pairs, built.recipe.n_steps))
    for name, tensor in built.trainer.model.tensors().items():
        np.testing.assert_array_equal(estimator.model_.tensors()[name], tensor, err_msg=name)
    figures = evaluate(built.trainer.model, built.preprocess, pairs)
    assert estimator.fvu_ == figures.fvu < 0.5


def test_the_estimator_speaks_in_the_units_of_its_targets(rows, estimator):
    x, y = rows
    codes = estimator.transform(x)
    assert codes.shape == (N, 40)
    assert (np.count_nonzero(codes, axis=1) <= 2).all()
    recon = estimator.inverse_transform(codes)
    assert recon.shape == y.shape
    assert estimator.score(x, targets=y) == pytest.approx(1 - unexplained(y, recon), abs=1e-4)
    assert estimator.atoms().shape == estimator.components_.shape == (40, D_OUT)
    assert estimator.latents().shape == (40, D)
    assert estimator.plot("atoms").size[0] > 100
    sparse = L1SparseAutoencoder(8, max_samples=900, random_state=0, sparse_output=True)
    assert sparse.fit_transform(x, targets=y).shape == (N, 8)


def test_the_estimator_saves_and_loads(rows, estimator, tmp_path):
    x, y = rows
    estimator.save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run")
    codes = estimator.transform(x)
    np.testing.assert_array_equal(again.transform(x), codes)
    np.testing.assert_array_equal(
        again.inverse_transform(codes), estimator.inverse_transform(codes)
    )
    assert again.score(x, targets=y) == estimator.score(x, targets=y)
    with pytest.raises(UsageError, match="not fitted in parts"):
        again.partial_fit(x)


def test_wrong_targets_of_an_estimator_are_named(rows, estimator):
    x, y = rows
    with pytest.raises(UsageError, match="give the targets"):
        estimator.score(x)
    with pytest.raises(DataError, match="the targets have 899 rows, but there are 900 samples"):
        TopKSparseAutoencoder().fit(x, targets=y[1:])
    with pytest.raises(ValueError, match="targets contains NaN"):
        TopKSparseAutoencoder().fit(x, targets=np.full_like(y, np.nan))
    plain = TopKSparseAutoencoder(8, k=2, max_samples=900, random_state=0).fit(x)
    with pytest.raises(UsageError, match="needs no targets"):
        plain.score(x, targets=y)


def test_without_targets_nothing_is_there(files, tmp_path):
    session = begin(files / "x.npy", tmp_path / "run", settings=["train.steps=3"])
    assert targets_of(session.source) is None
    trained(session)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "targets_fingerprint" not in info["data"]
    assert not (tmp_path / "run" / "target.safetensors").exists()
    assert "targets" not in (tmp_path / "run" / "recipe.toml").read_text()
    assert Run(tmp_path / "run").load().target_preprocess is None
    assert Autoencoder(3, 2).n_outputs is None


def test_pairs_are_split_and_shuffled_together(rows):
    """Row i of the targets is that of sample i, in every part."""
    y = np.arange(2 * N).reshape(N, 2)
    x = np.hstack([y, rows[0]]).astype("f8")
    parts = split(Paired(ArraySource(x), ArraySource(y)), 0.1, 3)
    for part in (*parts, Subset(parts[0], np.array([7, 3, 3]))):
        for seed in (None, 1):
            read, places = next(part.batches(3, seed=seed))
            assert np.array_equal(part.targets.read(places), read[:, :2])
    assert parts[0].n_samples + parts[1].n_samples == N
    bare = split(ArraySource(x), 0.1, 3)
    assert [part.fingerprint() for part in parts] == [part.fingerprint() for part in bare]
