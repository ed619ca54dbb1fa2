"""Principal components: the recipe `pca` equals scikit-learn's PCA, and stands beside every run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from simplecell import TopKSparseAutoencoder, cli, load
from simplecell.data.planted import planted_dictionary
from simplecell.errors import UsageError
from simplecell.preprocess.moments import Moments
from simplecell.run.baseline import of_components
from simplecell.run.begin import begin, resume
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

N, D, M = 700, 12, 5


@pytest.fixture(scope="module")
def samples():
    """Correlated columns far from 0, of different variance."""
    rng = np.random.default_rng(3)
    scales = np.geomspace(10, 0.1, D)
    return rng.normal(size=(N, D)) * scales @ rng.normal(size=(D, D)) + 100


def trained(x, out, *settings, recipe="pca"):
    told = [f"model.n_latents={M}", "data.held_out=0.2", *settings]
    session = begin(x, out, Recipe.load(recipe), settings=told)
    for _ in session.records():
        pass
    return session, session.finish()


def parts(x, session):
    """Training and held-out rows, as the session has them."""
    return session.source.read(slice(0, N)), session.held_out.read(slice(0, N))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("batch", [8192, 64])
def test_components_are_those_of_scikit_learn(samples, tmp_path, dtype, tolerance, batch):
    settings = f"train.dtype={dtype}", f"optim.batch_size={batch}"
    session, result = trained(samples, tmp_path / "run", *settings)
    train, test = parts(samples, session)
    theirs = PCA(M, svd_solver="full").fit(train)
    ours = Run(tmp_path / "run").load()
    atoms = ours.model.atoms().double().numpy()
    signs = np.sign((atoms * theirs.components_).sum(1))[:, None]
    np.testing.assert_allclose(atoms * signs, theirs.components_, atol=tolerance)
    np.testing.assert_allclose(ours.preprocess.state()["0.mean"], theirs.mean_, rtol=1e-13)
    rows = test.astype(dtype)
    codes = theirs.transform(rows.astype(np.float64))
    size, one = np.abs(codes).max(), 4 * tolerance
    assert np.abs(ours.encode(rows, as_trained=True) * signs.T - codes).max() < one * size
    recon = ours.decode(ours.encode(rows, as_trained=True), as_trained=True)
    np.testing.assert_allclose(recon, theirs.inverse_transform(codes), rtol=one, atol=one * size)
    left = 1 - theirs.explained_variance_ratio_.sum()
    assert result["fvu"] == pytest.approx(left, rel=100 * tolerance)
    error = ((test - theirs.inverse_transform(theirs.transform(test))) ** 2).sum()
    variance = ((test - test.mean(0)) ** 2).sum()
    assert result["held_out"]["fvu"] == pytest.approx(error / variance, rel=100 * tolerance)
    assert result["n_iter"] == -(-len(train) // batch)
    assert result["stopped"] == "converged"


def test_from_a_file_as_from_an_array(samples, tmp_path):
    np.save(tmp_path / "x.npy", samples)
    for name, data in (("array", samples), ("file", tmp_path / "x.npy")):
        trained(data, tmp_path / name, "optim.batch_size=100")
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("array", "file")]
    assert models[0] == models[1]


def test_cut_off_before_the_end_it_has_no_components_and_goes_on(samples, tmp_path):
    np.save(tmp_path / "x.npy", samples)
    settings = [f"model.n_latents={M}", "optim.batch_size=100", "data.held_out=0"]
    whole, _ = trained(tmp_path / "x.npy", tmp_path / "whole", *settings)
    one = begin(tmp_path / "x.npy", tmp_path / "cut", Recipe.load("pca"), settings=settings)
    for record in one.records():
        if record.step == 4:
            break
    result = one.finish("interrupted")
    assert result["fvu"] == pytest.approx(1.0)  # the mean, and no random directions
    assert not Run(tmp_path / "cut").load().model.atoms().any()
    again = resume(tmp_path / "cut")
    assert again.trainer.n_steps == 4
    for _ in again.records():
        pass
    again.finish()
    for name, tensor in whole.trainer.model.tensors().items():
        assert torch.equal(again.trainer.model.tensors()[name], tensor), name


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.activation=relu", "optim.kind=pca makes principal components"),
        ("model.tied=false", "optim.kind=pca makes principal components"),
        ("objective.decay.weight=0.1", "the term reconstruction alone"),
        ("model.n_latents=13", "13 components, but there are 12 inputs"),
        ("train.steps=3", "train.steps is said, but PCA reads each of the 560 samples once"),
        ("train.max_samples=7", "train.max_samples is said"),
        ("train.patience=3", "train.patience is said"),
        ("train.corruption=mask", "train.corruption has no meaning for principal components"),
        ("optim.unit_norm=true", "optim.unit_norm has no meaning"),
    ],
)
def test_what_components_cannot_be_is_refused_before_anything_is_written(
    samples, tmp_path, setting, words
):
    with pytest.raises(UsageError, match=words):
        trained(samples, tmp_path / "run", "optim.batch_size=100", setting)
    assert not (tmp_path / "run").exists()


def test_no_more_components_than_samples(samples, tmp_path):
    with pytest.raises(UsageError, match="and 4 samples; ask for at most 4"):
        trained(samples[:4], tmp_path / "run", "data.held_out=0")
    told = ["data.held_out=0", "model.n_latents=auto"]
    session, _ = trained(samples[:4], tmp_path / "auto", *told)
    assert session.trainer.model.n_latents == 3


def test_targets_are_not_reconstructed_by_components(samples, tmp_path):
    np.save(tmp_path / "y.npy", samples[:, :3])
    with pytest.raises(UsageError, match=r"optim\.kind=pca|neither tied nor pre_bias"):
        trained(samples, tmp_path / "run", f'data.targets="{tmp_path / "y.npy"}"')


def test_a_run_loads_as_an_estimator_whose_clone_is_the_same(samples, tmp_path):
    from sklearn.base import clone

    trained(samples, tmp_path / "run", "data.held_out=0", "train.dtype=float64")
    sae = load(tmp_path / "run")
    again = clone(sae).fit(samples)
    np.testing.assert_array_equal(again.components_, sae.components_)
    assert sae.transform(samples).min() < 0


@pytest.fixture(scope="module")
def made(tmp_path_factory, samples):
    """A run by components and one by TopK over the same rows."""
    folder = tmp_path_factory.mktemp("pca")
    np.save(folder / "x.npy", samples.astype(np.float32))
    for name, told in (("pca", []), ("topk", ["model.target_l0=3", "train.max_samples=20000"])):
        words = ["train", str(folder / "x.npy"), "--out", str(folder / name), "--recipe", name]
        told = [f"model.n_latents={M if name == 'pca' else 24}", *told]
        assert not cli.run_command_line([*words, *(w for key in told for w in ("--set", key))])
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("show", "pca"),
        ("show", "pca", "--what", "atoms"),
        ("show", "pca", "--what", "curve"),
        ("compare", "topk", "pca"),
        ("evaluate", "pca", "x.npy"),
        ("encode", "pca", "x.npy", "--out", "codes.npy"),
        ("info", "pca"),
        ("explore", "pca", "--export", "site"),
        ("report", "topk"),
        ("features", "pca", "x.npy", "--out", "features.jsonl"),
    ],
)
def test_every_verb_takes_a_run_of_components(made, capsys, monkeypatch, words):
    monkeypatch.chdir(made)
    assert not cli.run_command_line(list(words))
    assert "internal error" not in capsys.readouterr().err


def test_latents_of_components_are_explained(samples, tmp_path):
    trained(samples, tmp_path / "run", "data.held_out=0")
    sae = load(tmp_path / "run")
    codes = sae.transform(samples)
    answer = sae.explain(samples, codes[:, 2] + 0.01 * codes[:, 0])
    assert answer.predicted.yes
    assert answer.frame().iloc[0]["latent"] == 2


def test_onnx_of_components(made, samples, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "pca.onnx"
    assert not cli.run_command_line(["convert", str(made / "pca"), str(out), "--to", "onnx"])
    x = samples.astype(np.float32)
    found = onnxruntime.InferenceSession(str(out)).run(None, {"x": x})
    codes = load(made / "pca").transform(x)
    assert any(
        one.shape == codes.shape and np.allclose(one, codes, rtol=1e-4, atol=1e-3) for one in found
    )


def test_beside_every_run_stands_the_error_of_pca(made, samples, capsys):
    run = Run(made / "topk")
    figures = run.info()["figures"]
    session_like = Recipe.load("topk").source(made / "x.npy")
    from simplecell.data import split

    train, test = (part.read(slice(0, N)) for part in split(session_like, 0.1, 0))
    mean, scale = train.astype(np.float64).mean(0), 1.0
    train, test = (scale * (part.astype(np.float64) - mean) for part in (train, test))
    for told, rows in ((figures, train), (figures["held_out"], test)):
        assert [one["components"] for one in told["pca"]] == [3, 12]  # l0, and no more than inputs
        assert told["pca"][1]["fvu"] == 0
        theirs = PCA(3, svd_solver="full").fit(train)
        error = ((rows - theirs.inverse_transform(theirs.transform(rows))) ** 2).sum()
        assert told["pca"][0]["fvu"] == pytest.approx(
            error / ((rows - rows.mean(0)) ** 2).sum(), rel=1e-4
        )
    capsys.readouterr()
    assert not cli.run_command_line(["info", str(made / "topk")])
    out = capsys.readouterr().out
    assert f"  by PCA, 3   {figures['pca'][0]['fvu']:>18.4f}".split() == next(
        line.split()[:4] for line in out.splitlines() if "by PCA, 3" in line
    )
    words = ["evaluate", str(made / "topk"), str(made / "x.npy")]
    assert not cli.run_command_line([*words, "--json"])
    told = json.loads(capsys.readouterr().out)["pca"]
    assert told == {"samples": "held out", "fvu": figures["held_out"]["pca"]}
    assert not cli.run_command_line(words)
    assert f"{told['fvu'][0]['fvu']:.4f} by 3" in capsys.readouterr().out


def test_the_report_names_the_error_of_pca(made, capsys):
    assert not cli.run_command_line(["report", str(made / "topk")])
    page = (made / "topk" / "report.html").read_text(encoding="utf-8")
    told = Run(made / "topk").info()["figures"]["held_out"]["pca"][0]["fvu"]
    assert f"<dt>the same by 3 principal components</dt><dd>{told:.4g}</dd>" in page


def test_a_wanted_l0_is_refused_in_one_sentence(samples, tmp_path, capsys):
    np.save(tmp_path / "x.npy", samples)
    words = ["train", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), "--recipe", "pca"]
    for value in ("3", "auto"):
        capsys.readouterr()
        assert cli.run_command_line([*words, "--set", f"model.target_l0={value}"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("simplecell: model.target_l0 has no meaning for principal compone")
        assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_comparison_has_pca_beside_both_runs(made, tmp_path, capsys):
    """A run that was made before anyone measured it has none, and no number in its place."""
    older = tmp_path / "older"
    shutil.copytree(made / "topk", older)
    told = json.loads((older / "run.json").read_text())
    for figures in (told["figures"], told["figures"]["held_out"]):
        del figures["pca"]
    (older / "run.json").write_text(json.dumps(told))
    capsys.readouterr()

    assert not cli.run_command_line(["compare", str(made / "topk"), str(older), "--json"])
    first, second = json.loads(capsys.readouterr().out)["runs"]
    held = Run(made / "topk").info()["figures"]["held_out"]["pca"]
    assert first["pca"] == {"samples": "held out", "fvu": held}
    assert second["pca"] is None
    assert not cli.run_command_line(["compare", str(made / "topk"), str(older)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "by PCA" in line]
    assert [row[2:6] for row in rows] == [
        [f"{one['fvu']:.4f}", "by", str(one["components"]), "–"] for one in held
    ]
    assert not cli.run_command_line(["compare", str(older), str(older)])
    assert "PCA" not in capsys.readouterr().out


def test_a_front_has_pca_at_the_l0_of_its_models(made):
    from simplecell.run.sweep import begin_sweep

    settings = ["model.n_latents=24", "train.max_samples=5000"]
    sweep = begin_sweep(
        made / "x.npy",
        made / "sweep",
        Recipe.load("topk"),
        grid=["model.target_l0=2,4"],
        seeds=2,
        settings=settings,
    )
    for _ in sweep.records():
        pass
    result = sweep.finish()
    assert [point["x"] for point in sweep.baseline()] == [2, 4]
    assert sweep.baseline()[0]["y"] > sweep.baseline()[1]["y"] > 0
    assert len(sweep.points(result["models"])[0]) == 4


def test_moments_of_other_rows_by_components_of_these():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 6))
    first, second = (torch.tensor(rng.normal(size=(n, 6)) @ mix + n) for n in (50, 80))
    told = of_components(Moments([first], full=True), Moments([second], full=True), 4, 2.4)
    for one in told:
        basis = PCA(one["components"], svd_solver="full").fit(first.numpy())
        recon = basis.inverse_transform(basis.transform(second.numpy()))
        error = ((second.numpy() - recon) ** 2).sum()
        assert one["fvu"] == pytest.approx(error / float((second - second.mean(0)).square().sum()))
    assert [one["components"] for one in told] == [2, 4]


def test_linear_codes_of_a_planted_dictionary_lose_to_sparse_ones(tmp_path):
    """What the baseline is for: as many components as active latents leave much more."""
    x = planted_dictionary(3000, 16, 32, 3).x
    sae = TopKSparseAutoencoder(32, k=3, max_samples=200_000, random_state=0).fit(x)
    pca = PCA(3).fit(x)
    assert sae.fvu_ < 0.6 * (1 - pca.explained_variance_ratio_.sum())
    assert LinearRegression().fit(sae.transform(x), x).score(sae.transform(x), x) > 0.5
