"""How normal a sample is: the formula, its figures kept in a run, and rows of `evaluate --rows`."""

from __future__ import annotations

import csv
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from simplecell import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    MatryoshkaSparseAutoencoder,
    SparseAutoencoder,
    SparseCoding,
    StackedAutoencoder,
    TopKSparseAutoencoder,
    VariationalAutoencoder,
    cli,
    load,
)
from simplecell.data.planted import planted_dictionary
from simplecell.errors import RunError, UsageError
from simplecell.model.codes import Codes
from simplecell.run.directory import Run
from simplecell.run.normality import Judged, learn

N, D = 400, 10


@pytest.fixture(scope="module")
def samples():
    return planted_dictionary(N, D, 20, 2).x


@pytest.fixture(scope="module")
def topk(samples):
    return TopKSparseAutoencoder(24, k=2, max_samples=40_000, random_state=0).fit(samples)


def by_hand(sae, x, train):
    """The score as the docs have it, from codes and reconstructions in float64."""

    def told(rows):
        trained = sae._trained
        prepared, recon = trained.reconstruct(rows.astype(np.float64))
        return ((prepared - recon) ** 2).sum(1), sae.transform(rows.astype(np.float64))

    errors, codes = told(train)
    new_errors, new_codes = told(x)
    spread = codes.var(0) + codes.var(0).mean()
    away, new_away = (((c - codes.mean(0)) ** 2 / spread).sum(1) for c in (codes, new_codes))
    pairs = (errors, new_errors), (away, new_away)
    return -np.max([(np.log(b) - np.log(a).mean()) / np.log(a).std() for a, b in pairs], axis=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopKSparseAutoencoder(24, k=2, max_samples=40_000, random_state=0),
        lambda: SparseAutoencoder(8, max_iter=30, random_state=0, output="linear"),
        lambda: CompressionAutoencoder(4, max_iter=30, random_state=0, activation="identity"),
    ],
    ids=["topk", "sigmoid", "linear"],
)
def test_scores_are_those_of_the_formula(samples, make):
    train, new = samples[: N // 2], samples[N // 2 :]
    sae = make().fit(train)
    np.testing.assert_allclose(
        sae.score_samples(new.astype(np.float64)), by_hand(sae, new, train), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "sae",
    [
        TopKSparseAutoencoder(24, k=2, max_samples=20_000, random_state=0),
        TopKSparseAutoencoder(24, k=2, codes="exact", max_samples=20_000, random_state=0),
        MatryoshkaSparseAutoencoder(24, target_l0=2, max_samples=20_000, random_state=0),
        SparseAutoencoder(8, max_iter=20, random_state=0),
        DenoisingAutoencoder(8, max_iter=5, random_state=0),
        VariationalAutoencoder(3, hidden=(8,), likelihood="gaussian", max_iter=5, random_state=0),
        StackedAutoencoder((8, 4), max_iter=10, fine_tune_iter=3, random_state=0),
        SparseCoding(16, penalty="l1", max_iter=10, random_state=0),
        SparseCoding(16, max_iter=10, random_state=0),
    ],
    ids=lambda sae: type(sae).__name__,
)
def test_every_estimator_finds_what_is_far_from_its_samples(samples, sae):
    sae.fit(samples)
    scores = sae.score_samples(samples)
    assert scores.shape == (N,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    far = np.random.default_rng(0).normal(size=(50, D)) * 5 * samples.std()
    assert (
        roc_auc_score(np.r_[np.ones(N), np.zeros(50)], np.r_[scores, sae.score_samples(far)]) > 0.9
    )


def test_worse_reconstructed_is_less_normal_at_the_same_code():
    ones, code = torch.ones(50), Codes(torch.eye(50)[:, :5])
    normal = learn([Judged(ones, torch.linspace(1, 2, 50), code)])
    errors = torch.tensor([1.0, 1.5, 2.0, 30.0])
    scores = normal.score(Judged(ones[:4], errors, Codes(torch.zeros(4, 5)))).numpy()
    assert (np.diff(scores[1:]) < 0).all()


def test_an_unusual_code_is_less_normal_at_the_same_error():
    """Latent 0 fires in half of the samples at about 1, latent 1 never."""
    codes = torch.zeros(100, 2)
    codes[::2, 0] = torch.linspace(0.9, 1.1, 50)
    ones = torch.ones(100)
    normal = learn([Judged(ones, torch.linspace(1, 2, 100), Codes(codes))])
    odd = torch.tensor([[1.0, 0], [0, 0], [50, 0], [0, 50]])
    usual, silent, far, never = normal.score(Judged(ones[:4], ones[:4], Codes(odd))).tolist()
    assert usual == pytest.approx(silent, abs=0.3)
    assert max(far, never) < min(usual, silent) - 3
    assert np.isfinite([far, never]).all()


def test_samples_that_are_reproduced_exactly_have_a_score():
    ones = torch.ones(20)
    normal = learn([Judged(ones, ones * 0, Codes(torch.ones(20, 3)))])
    found = normal.score(Judged(ones[:2], torch.tensor([0.0, 1.0]), Codes(torch.ones(2, 3))))
    assert found[0] == 0
    assert found[1] < -20


def test_scores_do_not_depend_on_the_rows_taken_together(topk, samples):
    x = samples.astype(np.float64)
    whole = topk.score_samples(x)
    parts = np.concatenate([topk.score_samples(x[i : i + 7]) for i in range(0, N, 7)])
    np.testing.assert_allclose(whole, parts, rtol=1e-7, atol=1e-7)


def copied(sae):
    """As joblib hands it to another process."""
    return pickle.loads(pickle.dumps(sae))  # noqa: S301


def test_saved_loaded_pickled_and_trained_by_the_command_line_it_is_the_same(
    topk, samples, tmp_path
):
    scores = topk.score_samples(samples)
    topk.save(tmp_path / "run")
    for again in (load(tmp_path / "run"), copied(topk)):
        np.testing.assert_array_equal(again.score_samples(samples), scores)
    np.save(tmp_path / "x.npy", samples)
    words = ["train", str(tmp_path / "x.npy"), "--out", str(tmp_path / "cli"), "--recipe", "topk"]
    told = ["model.n_latents=24", "model.target_l0=2", "train.max_samples=40000"]
    told += ["data.held_out=0", f"optim.batch_size={N}"]
    assert not cli.run_command_line([*words, *(w for key in told for w in ("--set", key))])
    np.testing.assert_array_equal(load(tmp_path / "cli").score_samples(samples), scores)


def test_a_run_that_was_cut_off_says_nothing_of_what_is_normal(samples, tmp_path):
    from simplecell.run.begin import begin, resume
    from simplecell.run.recipe import Recipe

    np.save(tmp_path / "x.npy", samples)
    told = ["model.n_latents=24", "model.target_l0=2", "train.max_samples=5000"]
    one = begin(tmp_path / "x.npy", tmp_path / "run", Recipe.load("topk"), settings=told)
    next(one.records())
    one.finish("interrupted")
    assert Run(tmp_path / "run").load().normal is None
    again = resume(tmp_path / "run")
    for _ in again.records():
        pass
    again.finish()
    whole = begin(tmp_path / "x.npy", tmp_path / "whole", Recipe.load("topk"), settings=told)
    for _ in whole.records():
        pass
    whole.finish()
    files = [(tmp_path / name / "normal.safetensors").read_bytes() for name in ("run", "whole")]
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table with identifiers, and a run on it."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    rows = random.normal(size=(90, 4)).round(3).tolist()
    lines = ["id,a,b,c,d", *(f"p{i},{','.join(map(str, row))}" for i, row in enumerate(rows))]
    (folder / "t.csv").write_text("\n".join(lines))
    told = ["model.n_latents=12", "model.target_l0=2", "train.max_samples=5000"]
    words = ["train", str(folder / "t.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    assert not cli.run_command_line([*words, *(w for key in told for w in ("--set", key))])
    words = ["train", str(folder / "t.csv"), "--out", str(folder / "dense"), "--recipe", "table"]
    assert not cli.run_command_line([*words, "--set", "train.steps=5"])
    return folder


def evaluated(folder, run, out, capsys, *more):
    capsys.readouterr()
    words = ["evaluate", str(folder / run), str(folder / "t.csv"), "--json", *more]
    assert not cli.run_command_line([*words, "--rows", str(folder / out)])
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_rows_as_csv_and_json_lines_say_the_same(made, capsys):
    figures, _ = evaluated(made, "run", "f.csv", capsys)
    evaluated(made, "run", "f.jsonl", capsys)
    with (made / "f.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (made / "f.jsonl").read_text().splitlines()]
    assert [*table[0]] == [*lines[0]] == ["row", "id", "squared_error", "fvu", "l0", "score"]
    assert [row["id"] for row in table] == [f"p{i}" for i in range(90)]
    for row, line in zip(table, lines, strict=True):
        assert all(float(row[name]) == line[name] for name in ("squared_error", "fvu", "score"))
    errors = np.array([line["squared_error"] for line in lines])
    variances = errors / np.array([line["fvu"] for line in lines])
    assert errors.sum() / variances.sum() == pytest.approx(figures["fvu"])
    assert np.mean([line["l0"] for line in lines]) == pytest.approx(figures["l0"])
    x = pd.read_csv(made / "t.csv", usecols=list("abcd"))
    scores = load(made / "run").score_samples(x)
    np.testing.assert_allclose([line["score"] for line in lines], scores, rtol=1e-4, atol=1e-4)
    assert figures["rows"] == str(made / "f.csv")


def test_codes_that_are_never_0_have_no_l0_and_a_score(made, capsys):
    evaluated(made, "dense", "d.jsonl", capsys)
    line = json.loads((made / "d.jsonl").read_text().splitlines()[0])
    assert line["l0"] is None
    assert isinstance(line["score"], float)


def test_what_is_normal_is_found_anew_where_it_was_not_kept(made, capsys):
    evaluated(made, "run", "kept.jsonl", capsys)
    kept = (made / "run" / "normal.safetensors").read_bytes()
    (made / "run" / "normal.safetensors").unlink()
    with pytest.raises(UsageError, match="does not know which samples are normal"):
        load(made / "run").score_samples(pd.DataFrame(np.zeros((1, 4)), columns=list("abcd")))
    _, said = evaluated(made, "run", "anew.jsonl", capsys)
    assert "found anew from its own data" in said
    assert (made / "anew.jsonl").read_bytes() == (made / "kept.jsonl").read_bytes()
    held = (made / "t.csv").read_text()
    (made / "t.csv").write_text(held + "\np90,1,2,3,4")
    _, said = evaluated(made, "run", "none.jsonl", capsys)
    assert "no scores" in said
    assert json.loads((made / "none.jsonl").read_text().splitlines()[0])["score"] is None
    (made / "t.csv").write_text(held)
    (made / "run" / "normal.safetensors").write_bytes(kept)


@pytest.mark.parametrize("words", [("--rows", "f.txt"), ("--rows", "f.csv", "--processes", "2")])
def test_rows_that_cannot_be_written_are_refused_at_once(made, monkeypatch, capsys, words):
    monkeypatch.chdir(made)
    assert cli.run_command_line(["evaluate", "run", "t.csv", *words]) == 2
    assert "--rows" in capsys.readouterr().err


def test_damaged_figures_are_refused(made, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(made / "run", tmp_path / "run")
    path = tmp_path / "run" / "normal.safetensors"
    save_file(load_file(path) | {"errors": torch.zeros(2, dtype=torch.float64)}, path)
    with pytest.raises(RunError, match=r"normal\.safetensors is damaged: 'errors' is not 3"):
        Run(tmp_path / "run").load()


def test_malignant_samples_are_told_from_benign_ones():
    """The table of docs/outliers.md, in small; IsolationForest's area is 0.98 there."""
    x, y = load_breast_cancer(return_X_y=True)
    benign, malignant = x[y == 1], x[y == 0]
    sae = TopKSparseAutoencoder(
        120, k=3, preprocess=["standardize"], max_samples=100_000, random_state=0
    ).fit(benign[::2])
    new = np.concatenate([benign[1::2], malignant])
    truth = np.r_[np.ones(len(benign[1::2])), np.zeros(len(malignant))]
    assert roc_auc_score(truth, sae.score_samples(new)) > 0.9


def test_a_transcoder_scores_nothing(samples):
    sae = TopKSparseAutoencoder(24, k=2, max_samples=5000, random_state=0)
    sae.fit(samples, targets=samples[:, :3])
    with pytest.raises(UsageError, match="it is a transcoder"):
        sae.score_samples(samples)
