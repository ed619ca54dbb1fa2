"""The doctor: silent where all is well; every warning provoked, and gone once its cure is taken."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine

from simplecell.cli import run_command_line
from simplecell.data.planted import dead_leaves, planted_dictionary
from simplecell.doctor import Doctor, examine, examine_inputs
from simplecell.doctor import training as looked_at
from simplecell.run.begin import begin, resume
from simplecell.run.recipe import Recipe

X = planted_dictionary(4000, 16, 32, 3).x
SIGNS = np.random.default_rng(0)
ATOMS = SIGNS.standard_normal((32, 16)) / 4
ACTIVE = SIGNS.random((4000, 32)).argsort(1) < 2
SIGNED = np.float32(4 * (SIGNS.standard_normal((4000, 32)) * ACTIVE) @ ATOMS)
MIXED = np.float32(X * np.geomspace(0.01, 30, 16) ** 2)


def size(n_latents, n_samples, batch=64):
    return [
        f"model.n_latents={n_latents}",
        "model.target_l0=3",
        f"optim.batch_size={batch}",
        f"train.max_samples={n_samples}",
    ]


BARE = "preprocess.steps=[]"
WELL = size(20, 40_448, 128)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A session at its end; the same training is done once."""
    done = {}

    def call(recipe, settings, x=X):
        key = (recipe, Recipe.load(recipe).changed(settings).text(), x.tobytes())
        if key not in done:
            done[key] = start(tmp_path_factory, recipe, settings, x)
            for _ in done[key].records():
                pass
            done[key].finish()
        return done[key]

    return call


@pytest.fixture
def inputs(tmp_path_factory):
    """What is found before a training."""

    def call(recipe, settings, x=X):
        session = start(tmp_path_factory, recipe, settings, x)
        session.lock.release()
        return examine_inputs(session)

    return call


def start(folders, recipe, settings, x):
    return begin(x, folders.mktemp("runs") / "run", Recipe.load(recipe), settings=settings)


def cure(finding):
    """The settings that the words of a finding name."""
    said = shlex.split(finding.words)
    return [said[i + 1] for i, word in enumerate(said) if word == "--set"]


def kinds(findings):
    return [finding.kind for finding in findings]


def one(kind, findings, word=""):
    (found,) = [finding for finding in findings if finding.kind == kind]
    assert word in found.words
    assert cure(found), found.words
    return found


@pytest.mark.parametrize("recipe", ["topk", "batchtopk", "matryoshka", "jumprelu", "l1", "gated"])
def test_the_modern_recipes_are_well_on_planted_data(recipe, train):
    session = train(recipe, WELL)
    assert [*examine_inputs(session), *examine(session)] == []


DIGITS = np.float32(load_digits().data / 16)
LEAVES = dead_leaves(2, 64)
WINE = np.float32(load_wine().data)
ADAM = ["train.steps=20"]
CLASSIC = {
    "table": (["train.steps=100"], WINE),
    "compress": (["train.steps=60"], DIGITS),
    "strokes": (["model.n_latents=20", "train.steps=60"], DIGITS),
    "edges": (["model.n_latents=20", "train.steps=60", "data.n_patches=800"], LEAVES),
    "ufldl": (["train.steps=60", "data.n_patches=800"], LEAVES),
    "color": (
        ["model.n_latents=50", "train.steps=60", "data.n_patches=800"],
        np.stack([LEAVES, LEAVES**2, LEAVES.transpose(0, 2, 1)], axis=3),
    ),
    "deep": (["model.n_latents=[20, 5]", 'model.activation=["tanh", "identity"]', *ADAM], DIGITS),
    "variational": (["model.n_latents=[20, 5]", *ADAM], DIGITS),
    "denoise": (["model.n_latents=20", *ADAM], DIGITS),
}


@pytest.mark.parametrize("recipe", CLASSIC)
def test_the_classic_recipes_are_well_on_what_they_are_for(recipe, train):
    session = train(recipe, *CLASSIC[recipe])
    assert [*examine_inputs(session), *examine(session)] == []


SHIFTED = X + np.float32(3)
CENTERED = 'preprocess.steps=["center"]'
BY_HAND = ["train.steps=100"]
KL = ["optim.kind=adam", "train.steps=100", "optim.batch_size=10"]
BEFORE = {
    "mean": ("center", "topk", [BARE, "model.pre_bias=false", *BY_HAND], SHIFTED),
    "mean of scaled": ("scale", "topk", ['preprocess.steps=["scale"]', *BY_HAND], SHIFTED + 10),
    "small": ("scale", "topk", [CENTERED, *BY_HAND], X / 100),
    "large": ("scale", "l1", [BARE, *BY_HAND], X * 100),
    "columns": ("scale", "topk", BY_HAND, MIXED),
    "columns, classic": ("scale", "table", [BARE], WINE),
    "sigmoid": ("range", "compress", [BARE, "model.output=sigmoid"], WINE),
    "tanh, prepared": (
        "range",
        "compress",
        ['preprocess.steps=["standardize"]', "model.output=tanh"],
        WINE,
    ),
    "likelihood": (
        "range",
        "deep",
        ["model.n_latents=5", "model.activation=tanh", 'preprocess.steps=["center"]'],
        DIGITS,
    ),
    "kl": ("batch", "table", KL, X),
    "kl, few data": ("batch", "table", [*KL, "objective.kl.target=0.001"], X[:100]),
    "batchtopk": ("batch", "batchtopk", ["optim.batch_size=16", *BY_HAND], X),
    "batchtopk, few data": ("batch", "batchtopk", ["model.target_l0=2.5", *BY_HAND], X[:30]),
    "few steps": ("batch", "topk", ["train.max_samples=20000"], X),
}


@pytest.mark.parametrize("case", BEFORE)
def test_what_is_seen_before_training_and_its_cure(case, inputs):
    kind, recipe, settings, x = BEFORE[case]
    found = one(kind, inputs(recipe, settings, x))
    assert inputs(recipe, [*settings, *cure(found)], x) == []


def test_both_faults_of_the_inputs_have_one_cure(inputs):
    found = inputs("topk", [BARE, "model.pre_bias=false", *BY_HAND], SHIFTED * 100)
    assert kinds(found) == ["center", "scale"]
    assert cure(found[0]) == cure(found[1]) == ['preprocess.steps=["center", "scale"]']


def test_a_step_with_options_stays_in_the_cure(inputs):
    given = 'preprocess.steps=[{ kind = "zca_whiten", epsilon = 1000.0 }]'
    found = one("scale", inputs("topk", [given, *BY_HAND]))
    assert inputs("topk", [*cure(found), *BY_HAND]) == []
    assert "1000.0" in cure(found)[0]


def test_inputs_that_train_well_as_they_are_give_no_warning(inputs):
    for x in (X * 2, X + 0.3, np.zeros_like(X), np.float32(X > 0.8)):
        assert inputs("topk", ["preprocess.steps=[]", *BY_HAND], np.float32(2 * x)) == []
    assert inputs("table", ['preprocess.steps=["pca"]'], WINE) == []  # components differ on purpose


KL_FAR = ["train.steps=100", "optim.kind=adam", "optim.learning_rate=0.01", "optim.batch_size=50"]
NOISE = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
BY_HEART = ["model.target_l0=10", "optim.batch_size=64", "data.held_out=0.3"]
STEERED = ["model.target_l0=10", "optim.batch_size=50", "data.held_out=0.5"]
AFTER = {
    "inputs": ("dead", "topk", [*size(20, 5_000), CENTERED], X / 100, "inputs"),
    "learning rate": (
        "dead",
        "topk",
        [*size(20, 10_000), "optim.learning_rate=0.3"],
        X,
        "learning rate",
    ),
    "no auxk": (
        "dead",
        "topk",
        [*size(20, 40_000), BARE, "model.pre_bias=false", "objective.auxk.weight=0"],
        X + np.float32(0.45),
        "learn from what is left",
    ),
    "no preact": (
        "dead",
        "jumprelu",
        [*size(64, 10_000), "objective.preact.weight=0"],
        X,
        "nearer to their thresholds",
    ),
    "too many": ("dead", "topk", size(128, 12_000), X, "fewer"),
    "too many, nested": ("dead", "matryoshka", size(192, 12_000), X, "fewer"),
    "short": ("saturated", "l1", size(20, 10_112, 128), X, "train.max_samples=40448"),
    "topk out of reach": (
        "saturated",
        "topk",
        [*size(32, 8_000), "model.target_l0=28"],
        X,
        "out of reach",
    ),
    "jumprelu out of reach": (
        "saturated",
        "jumprelu",
        [*size(32, 8_000), "model.target_l0=28"],
        X,
        "out of reach",
    ),
    "coefficient": (
        "saturated",
        "l1",
        [*size(20, 40_192), "objective.l1.weight=1e-9"],
        X,
        "ran away",
    ),
    "l1 too large": (
        "saturated",
        "l1",
        [*WELL, "model.target_l0=0", "objective.l1.weight=300"],
        X,
        "nearly all latents off",
    ),
    "l1 too small": (
        "saturated",
        "l1",
        [*WELL, "model.target_l0=0", "objective.l1.weight=1e-6"],
        X,
        "most latents on",
    ),
    "kl too weak": (
        "saturated",
        "table",
        ["train.steps=80", "objective.kl.weight=1e-3"],
        X,
        "too weak",
    ),
    "kl on its way": ("saturated", "table", KL_FAR, X, "still on its way"),
    "shared atoms": ("duplicates", "l1", size(64, 40_000, 128), X, "fewer"),
    "by heart": (
        "overfit",
        "topk",
        [*BY_HEART, "model.n_latents=256", "train.max_samples=100_000"],
        NOISE,
        "end there",
    ),
    "by heart, steered": (
        "overfit",
        "jumprelu",
        [
            *STEERED,
            *("model.n_latents=64", "objective.preact.weight=0.25"),
            *("optim.learning_rate=0.01", "train.max_samples=24_000"),
        ],
        NOISE[:240],
        "end there",
    ),
    "opposite atoms": ("opposites", "topk", [*size(64, 40_000), BARE], SIGNED, "signed codes"),
    "opposite atoms, batchtopk": (
        "opposites",
        "batchtopk",
        [*size(64, 40_000), BARE],
        SIGNED,
        "either way round",
    ),
    "thresholds": (
        "thresholds",
        "jumprelu",
        [*size(32, 10_000), "model.bandwidth=1e-4"],
        X,
        "bandwidth",
    ),
}


SLOW = {"by heart"}  # topk takes thousands of steps to learn by heart; jumprelu does so by default


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in AFTER]
)
def test_what_is_seen_after_training_and_its_cure(case, train):
    kind, recipe, settings, x, word = AFTER[case]
    found = one(kind, examine(train(recipe, settings, x)), word)
    cured = train(recipe, [*settings, *cure(found)], x)
    assert kind not in kinds(examine(cured)), examine(cured)


def test_the_cause_is_told_and_not_what_follows_from_it(train):
    settings = [*size(32, 10_000), "model.bandwidth=1e-4"]
    assert kinds(examine(train("jumprelu", settings))) == ["thresholds"]


def test_the_number_of_features_is_that_of_the_planted_ones(train):
    found = one("duplicates", examine(train("l1", size(64, 40_000, 128))))
    assert 24 <= int(cure(found)[0].rpartition("=")[2]) <= 34


def test_a_wide_dictionary_is_compared_in_part(train, monkeypatch):
    session = train("l1", size(64, 40_000, 128))
    whole = one("duplicates", examine(session))
    monkeypatch.setattr(looked_at, "LATENTS", 40)
    part = one("duplicates", examine(session))
    compared = re.search(r" of (\d+) living", part.words)
    assert compared is not None
    assert 20 <= int(compared[1]) <= 40
    n_whole, n_part = (int(cure(found)[0].rpartition("=")[2]) for found in (whole, part))
    assert abs(n_part - n_whole) <= 8


def test_a_training_that_was_cut_off_shows_nothing_yet(tmp_path):
    settings = [*size(32, 8_000), "model.target_l0=28"]
    session = begin(X, tmp_path / "run", Recipe.load("topk"), settings=settings)
    for record in session.records():
        if record.step == 5:
            break
    assert examine(session) == []
    Doctor(session)
    assert session.finish("interrupted")["findings"] == []


def test_looking_changes_nothing(train):
    session = train("jumprelu", WELL)
    before, files = session.trainer.state_dict(), contents(session)
    examine_inputs(session)
    examine(session)
    after = session.trainer.state_dict()
    assert before.keys() == after.keys()
    assert all(bool((before[name] == after[name]).all()) for name in before)
    assert contents(session) == files


def contents(session):
    paths = sorted(path for path in session.run.path.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in paths}


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Run one command in an empty folder: (result, standard error)."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", SHIFTED)

    def call(*arguments):
        assert run_command_line([*arguments, "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return call


FAULTY = (
    "--recipe",
    "topk",
    "--set",
    BARE,
    "--set",
    "model.pre_bias=false",
    "--set",
    "train.steps=3",
    "--set",
    "model.target_l0=60",
    "--set",
    "optim.schedule=constant",
)


def test_the_command_line_says_and_keeps_what_was_found(say):
    result, err = say("train", "x.npy", "--out", "run", *FAULTY)
    assert {"kind", "words"} == result["findings"][0].keys()
    assert "center" in [finding["kind"] for finding in result["findings"]]
    said = [line.removeprefix("doctor: ") for line in err.splitlines() if "doctor: " in line]
    assert said == [finding["words"] for finding in result["findings"]]
    again, err = say("train", "x.npy", "--out", "run", *FAULTY)
    assert again["findings"] == result["findings"]
    assert "doctor" not in err
    longer, err = say("resume", "run", "--steps", "4")
    assert "doctor: the mean" in err
    assert longer["findings"]


def test_no_doctor_is_silent(say):
    result, err = say("train", "x.npy", "--out", "run", *FAULTY, "--no-doctor")
    assert result["findings"] is None
    assert "doctor" not in err
    result, err = say("resume", "run", "--steps", "4", "--no-doctor")
    assert result["findings"] is None
    assert "doctor" not in err


def test_well_is_an_empty_list(say):
    np.save("x.npy", WINE)
    result, err = say("train", "x.npy", "--out", "run", "--recipe", "table")
    assert result["findings"] == []
    assert "doctor" not in err
    assert resume("run").result()["findings"] == []


def test_samples_that_never_differ_are_no_crash(train):
    session = train("topk", size(16, 2_000), np.ones_like(X))
    words = [found.words for found in examine(session) if found.kind == "dead"]
    assert len(words) == 1
    assert "nothing is ever active" in words[0]
