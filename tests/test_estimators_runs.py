"""A run as an estimator: what is loaded, cloned and fitted to the same rows becomes the same."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from sklearn.base import clone

import simplecell
from simplecell import (
    CompressionAutoencoder,
    DenoisingAutoencoder,
    GatedSparseAutoencoder,
    JumpReLUSparseAutoencoder,
    L1SparseAutoencoder,
    MatryoshkaSparseAutoencoder,
    SparseAutoencoder,
    SparseCoding,
    StackedAutoencoder,
    TopKSparseAutoencoder,
    VariationalAutoencoder,
)
from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.data.planted import planted_dictionary
from simplecell.errors import RunError, UsageError
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe, names

D = 16
SHORT = ("model.n_latents=24", "optim.batch_size=64")
MODERN = (*SHORT, "model.target_l0=3", "train.max_samples=1280")
FEW = ("train.steps=12",)
PATCHES = ("data.patch=4", "data.n_patches=60", "train.steps=2", "model.n_latents=4")
SHIPPED = {
    "abstopk": MODERN,
    "batchtopk": MODERN,
    "color": PATCHES,
    "compress": FEW,
    "deep": (*FEW, "model.n_latents=[12, 8, 5, 3]"),
    "denoise": (*FEW, "model.n_latents=20"),
    "edges": PATCHES,
    "gated": MODERN,
    "jumprelu": MODERN,
    "l1": MODERN,
    "matryoshka": MODERN,
    "pca": ("model.n_latents=12", "optim.batch_size=64"),
    "strokes": (*FEW, "model.n_latents=20"),
    "table": FEW,
    "topk": MODERN,
    "ufldl": PATCHES,
    "variational": (*FEW, "model.n_latents=[12, 3]"),
}
CHANGED = {
    "as it comes": ("topk", ("train.max_samples=1280",)),
    "nested topk": ("matryoshka", (*MODERN, "model.activation=topk")),
    "nested relu": (
        "matryoshka",
        (*MODERN, "model.activation=relu", "objective.l1.weight=1.0"),
    ),
    "bandwidth": ("jumprelu", (*MODERN, "model.bandwidth=0.2")),
    "drawn anew": ("topk", (*MODERN, "optim.resample=2", "optim.dead_after=64")),
    "refined": ("topk", (*MODERN, "optim.refine=2")),
    "no auxk": ("topk", (*MODERN, "objective.auxk.weight=0.0")),
    "schedule": ("topk", (*MODERN, "optim.schedule=linear")),
    "memory": ("l1", (*MODERN, "optim.beta2=0.9")),
    "unit norm": ("l1", (*MODERN, "optim.unit_norm=true")),
    "lengths free": ("gated", (*MODERN, "optim.unit_norm=false")),
    "a weight": ("l1", (*MODERN, "model.target_l0=0", "objective.l1.weight=0.5")),
    "no l0": ("jumprelu", (*MODERN, "model.target_l0=0", "objective.l0.weight=0.0")),
    "steps": ("topk", (*MODERN, "train.steps=17")),
    "nothing held out": ("batchtopk", (*MODERN, "data.held_out=0.0")),
    "a third held out": ("jumprelu", (*MODERN, "data.held_out=0.33")),
    "float64": ("topk", (*MODERN, "train.dtype=float64")),
    "tied": ("table", (*FEW, "model.tied=true")),
    "centred": ("table", (*FEW, "model.center=true")),
    "no decay": ("table", (*FEW, "objective.decay.weight=0.0")),
    "another order": ("compress", (*FEW, "objective.kl.weight=1.0")),
    "adam": ("table", (*FEW, "optim.kind=adam", "optim.batch_size=50")),
    "large batches": ("topk", (*MODERN, "optim.batch_size=5000")),
    "activations": (
        "deep",
        (*FEW, "model.n_latents=[12, 3]", 'model.activation=["sigmoid", "identity"]'),
    ),
    "patience": ("table", ("train.steps=300", "train.patience=2", "model.n_latents=30")),
    "patience of adam": (
        "denoise",
        (*FEW, "model.n_latents=20", "train.patience=1", "optim.learning_rate=0.3"),
    ),
    "one variational layer": (
        "variational",
        (*FEW, "model.n_latents=3", "model.activation=gaussian"),
    ),
    "gaussian likelihood": (
        "variational",
        (
            *FEW,
            "model.n_latents=[12, 8, 3]",
            'model.activation=["tanh", "sigmoid", "gaussian"]',
            "objective.cross_entropy.weight=0.0",
            "objective.reconstruction.weight=0.5",
        ),
    ),
}


@pytest.fixture(scope="module")
def rows():
    x = planted_dictionary(400, D, 24, 3).x
    return (x - x.min()) / (x.max() - x.min())


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (200, 6, 6), dtype=np.uint8)


def trained(data, out, recipe, settings):
    session = begin(data, out, Recipe.load(recipe), settings=[*settings, "train.seed=5"])
    for _ in session.records():
        pass
    session.finish()
    return simplecell.load(out)


def assert_equal(one, two):
    tensors, theirs = one.model_.tensors(), two.model_.tensors()
    assert tensors.keys() == theirs.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, theirs[name]), name


def test_every_recipe_that_ships_is_tried():
    assert [*SHIPPED] == names()


@pytest.mark.filterwarnings("ignore:l0 is")
@pytest.mark.parametrize("recipe", [name for name in SHIPPED if SHIPPED[name] is not PATCHES])
def test_a_run_is_trained_again(rows, pictures, tmp_path, recipe):
    data = pictures if recipe == "strokes" else rows
    loaded = trained(data, tmp_path / "run", recipe, SHIPPED[recipe])
    X = as_source(data).read(slice(None))
    again = clone(loaded).fit(X)
    assert_equal(again, loaded)
    np.testing.assert_array_equal(again.transform(X), loaded.transform(X))
    again.save(tmp_path / "again")
    third = simplecell.load(tmp_path / "again")
    assert third.get_params() == loaded.get_params()
    assert_equal(clone(third).fit(X), loaded)


@pytest.mark.filterwarnings("ignore:l0 is")
@pytest.mark.parametrize("change", CHANGED)
def test_whatever_key_was_changed(rows, tmp_path, change):
    loaded = trained(rows, tmp_path / "run", *CHANGED[change])
    assert_equal(clone(loaded).fit(rows), loaded)


@pytest.mark.parametrize("recipe", [name for name in SHIPPED if SHIPPED[name] is PATCHES])
def test_patches_are_refused_in_a_sentence(tmp_path, recipe):
    colors = (3,) if recipe == "color" else ()
    data = np.random.default_rng(0).integers(0, 256, (5, 70, 70, *colors), dtype=np.uint8)
    loaded = trained(data, tmp_path / "run", recipe, PATCHES)
    X = np.random.default_rng(0).random((30, loaded.n_features_in_))
    assert loaded.transform(X).shape == (30, 4)
    with pytest.raises(UsageError, match=r"settings say data\.kind=patches, but X holds rows"):
        clone(loaded).fit(X)


def test_whitened_pictures_are_refused_in_a_sentence(pictures, tmp_path):
    settings = (*FEW, "model.n_latents=4", "data.whiten=1/f", "preprocess.steps=auto")
    loaded = trained(pictures, tmp_path / "run", "strokes", settings)
    X = np.random.default_rng(0).random((30, 36))
    assert loaded.transform(X).shape == (30, 4)
    with pytest.raises(UsageError, match=r"settings say data\.whiten=1/f"):
        clone(loaded).fit(X)


@pytest.mark.filterwarnings("ignore:l0 is")
@pytest.mark.parametrize(("recipe", "settings"), [("topk", MODERN), ("table", FEW)])
def test_a_transcoder_asks_for_its_targets(rows, tmp_path, recipe, settings):
    y = np.random.default_rng(0).random((len(rows), 5)).astype(np.float32)
    np.save(tmp_path / "y.npy", y)
    settings = (*settings, f"data.targets={tmp_path / 'y.npy'}")
    loaded = trained(rows, tmp_path / "run", recipe, settings)
    for _ in range(2):  # an estimator's own run says the same
        with pytest.raises(UsageError, match=r"call fit\(X, targets=Y\)"):
            clone(loaded).fit(rows)
        again = clone(loaded).fit(rows, targets=y)
        assert_equal(again, loaded)
        assert again.score(rows, targets=y) == loaded.score(rows, targets=y)
        again.save(tmp_path / "again")
        loaded = simplecell.load(tmp_path / "again")


def test_how_layers_of_a_stack_were_trained_is_not_kept(rows, tmp_path):
    stack = StackedAutoencoder((8, 4), max_iter=5, fine_tune_iter=3, random_state=0).fit(rows)
    stack.save(tmp_path / "run")
    loaded = simplecell.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.transform(rows), stack.transform(rows))
    with pytest.raises(UsageError, match="not how each layer was trained before; say it by layers"):
        clone(loaded).fit(rows)
    assert_equal(clone(loaded).set_params(layers=(8, 4), max_iter=5).fit(rows), stack)


@pytest.mark.parametrize("recipe", ["variational", "table", "topk", "stack"])
def test_a_damaged_request_is_a_sentence_or_a_run(rows, tmp_path, recipe):
    if recipe == "stack":
        StackedAutoencoder((8, 4), max_iter=2, fine_tune_iter=1).fit(rows).save(tmp_path / "run")
    else:
        trained(rows, tmp_path / "run", recipe, SHIPPED[recipe])
    whole = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    for table, key, value in (
        *(("model", "n_latents", value) for value in ([], [0], -1, 2**31 - 1, "auto", 10**30)),
        *(("model", "activation", value) for value in ([], ["tanh"], "gaussian", "what")),
        *(("train", "steps", value) for value in (2**31 - 1, "auto", 0)),
        ("preprocess", "steps", ["what"]),
        ("objective", "decay", {}),
        ("objective", "kl", {"weight": 3.0}),
    ):
        info = json.loads(json.dumps(whole))
        info["requested"][table][key] = value
        (tmp_path / "run" / "run.json").write_text(json.dumps(info), encoding="utf-8")
        with contextlib.suppress(RunError):
            loaded = simplecell.load(tmp_path / "run")
            assert loaded.transform(rows).shape[0] == len(rows)


SMALL = {"max_samples": 1280, "batch_size": 64, "target_l0": 3}
ESTIMATORS = [
    SparseAutoencoder(9, max_iter=10),
    SparseAutoencoder(9, max_iter=3, solver="adam", batch_size=50, settings={"optim.beta2": 0.9}),
    SparseAutoencoder(9, max_iter=100, early_stopping=True, n_iter_no_change=2),
    CompressionAutoencoder(3, max_iter=10, preprocess=["standardize"], output="linear"),
    DenoisingAutoencoder([9, 4], max_iter=2, early_stopping=True, validation_fraction=0.2),
    VariationalAutoencoder(2, hidden=(9,), max_iter=2, likelihood="gaussian", beta=0.5),
    VariationalAutoencoder(2, hidden=(), max_iter=2),
    TopKSparseAutoencoder(24, max_samples=1280, k=2),
    TopKSparseAutoencoder(24, batchwise=True, max_samples=1280, settings={"data.held_out": 0.1}),
    L1SparseAutoencoder(24, form="unit_norm", l1_weight=0.5, max_samples=1280),
    JumpReLUSparseAutoencoder(24, **SMALL),
    GatedSparseAutoencoder(24, **SMALL),
    MatryoshkaSparseAutoencoder(widths=(4, 24), **SMALL),
]


@pytest.mark.filterwarnings("ignore:l0 is")
@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(3)], ids=str)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_an_estimator_is_trained_again_whatever_drew_its_seed(
    rows, tmp_path, estimator, random_state
):
    fitted = clone(estimator).set_params(random_state=random_state).fit(rows)
    fitted.save(tmp_path / "run")
    loaded = simplecell.load(tmp_path / "run")
    assert type(loaded) is type(estimator)
    assert isinstance(loaded.random_state, int)
    if random_state == 0:
        assert loaded.random_state == 0
    assert_equal(clone(loaded).fit(rows), fitted)


@pytest.mark.parametrize("seed", [0, 7])
def test_an_integer_is_the_seed_of_the_command_line(rows, tmp_path, seed):
    np.save(tmp_path / "x.npy", rows)
    told = [f"--set={setting}" for setting in ("train.max_samples=1280", "data.held_out=0")]
    run = [str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), "--recipe", "topk"]
    assert run_command_line(["train", *run, "--seed", str(seed), "--no-doctor", *told]) == 0
    sae = TopKSparseAutoencoder(max_samples=1280, random_state=np.int64(seed)).fit(rows)
    assert_equal(sae, simplecell.load(tmp_path / "run"))


def test_sparse_coding_takes_seeds_as_well(rows):
    fitted = [
        SparseCoding(9, max_iter=2, random_state=state).fit(rows)
        for state in (4, np.int64(4), np.random.RandomState(4), None)
    ]
    assert fitted[0]._seed == fitted[1]._seed == 4
    assert fitted[2]._seed == np.random.RandomState(4).randint(2**31 - 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optim.resampel": 2}, "did you mean 'resample'"),
        ({"otpim.resample": 2}, "did you mean 'optim'"),
        ({"objective.auxq.weight": 2}, "did you mean 'auxk'"),
        ({"optim.resample": "twice"}, "optim.resample must be int; got 'twice'"),
        ({"optim": 2}, "setting 'optim' is 2; a table is needed"),
        ({3: 2}, "unknown recipe table '3'"),
        (["optim.resample=2"], "settings is .*; a mapping of recipe keys is needed"),
        ({"data.key": "x"}, "settings name data.key, which says how a file is read"),
        ({"data.kind": "patches"}, "settings say data.kind=patches"),
        ({"data.targets": "y.npy"}, r"call fit\(X, targets=Y\)"),
        ({"data.held_out": 1.0}, "at least 0 and less than 1"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(rows, settings, words):
    with pytest.raises(UsageError, match=words):
        TopKSparseAutoencoder(24, settings=settings).fit(rows)


def test_settings_override_what_parameters_say(rows):
    settings = {"optim.batch_size": np.int64(32), "objective": {"reconstruction": {"weight": 1.0}}}
    sae = TopKSparseAutoencoder(24, k=2, max_samples=64, batch_size=64, settings=settings).fit(rows)
    assert sae.n_iter_ == 2
    assert list(sae._trained.recipe.objective) == ["reconstruction"]
    assert sae.partial_fit(rows).n_iter_ == 2 + len(rows) // 32 + 1
