"""Recipes: every named one loads, text and objects agree, and what is wrong is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simplecell.data import ArraySource, as_source
from simplecell.errors import UsageError
from simplecell.model import activations
from simplecell.run import recipe as recipes
from simplecell.run.build import build
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import automatic_steps, resolve, suited


@pytest.mark.parametrize("name", recipes.names())
def test_every_named_recipe_loads_says_what_it_is_for_and_survives_its_text(name):
    recipe = Recipe.load(name)
    assert Recipe.from_text(recipe.text(), name) == recipe
    assert Recipe.from_table(recipe.table()) == recipe
    assert recipe.differences(recipe) == []
    assert len(recipes.headline(name)) > 20
    assert not recipes.headline(name).startswith("#")
    sizes = recipe.model.n_latents
    few = [3] * len(sizes) if isinstance(sizes, list) else 3
    small = recipe.changed(["data.n_patches=30", f"model.n_latents={few}", "train.steps=2"])
    pictures = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)
    rows = np.random.default_rng(0).random((40, 9)).astype(np.float32)
    source = small.source(pictures if recipe.data.kind == "patches" else rows)
    built = build(small, source)
    assert Recipe.from_text(built.recipe.text(), name) == built.recipe  # resolved, too
    assert resolve(built.recipe, source)[0] == built.recipe
    steps = built.recipe.train.steps  # of components one pass, whatever was said
    assert steps == (1 if name == "pca" else 2)
    assert len(list(built.trainer.run(source, steps))) == steps


def test_the_notes_own_numbers():
    ufldl = Recipe.load("ufldl")
    assert (ufldl.data.patch, ufldl.model.n_latents, ufldl.data.whiten) == (8, 25, "none")
    assert ufldl.objective == {
        "reconstruction": {"weight": 0.5},
        "kl": {"weight": 3.0, "target": 0.01},
        "decay": {"weight": 5e-5},
    }
    edges = Recipe.load("edges")
    assert (edges.data.patch, edges.model.n_latents, edges.data.whiten) == (10, 100, "1/f")
    assert "kl" not in Recipe.load("compress").objective
    color = Recipe.load("color")
    assert (color.data.color, color.model.output) == ("color", "linear")
    of_notes = [name for name in recipes.names() if Recipe.load(name).optim.kind == "lbfgs"]
    assert of_notes == ["color", "compress", "edges", "strokes", "table", "ufldl"]
    assert {Recipe.load(name).train.steps for name in of_notes} == {400}


def test_settings_are_read_as_toml_writes_values():
    recipe = Recipe.load("edges").changed(
        [
            "model.n_latents=7",
            "model.activation=tanh",
            ' model.output = "linear"',
            "model.tied=true",
            "data.whiten=1/f",
            "data.meta=a b=c.csv",
            "data.label=3",
            'data.key="3"',
            "optim.learning_rate=1",
            "objective.kl.weight=2",
            "objective.decay={weight=1}",
            'preprocess.steps=["center", {kind="zca_whiten", epsilon=0.5}]',
        ]
    )
    assert recipe.model == recipes.Model(7, "tanh", "linear", True)
    assert (recipe.data.whiten, recipe.data.meta, recipe.data.key) == ("1/f", "a b=c.csv", "3")
    assert recipe.data.label == 3
    assert recipe.preprocess.steps == ["center", {"kind": "zca_whiten", "epsilon": 0.5}]
    assert recipe.objective["kl"] == {"weight": 2.0, "target": 0.01}
    # A whole number where a fraction may stand is that fraction: 3 and 3.0 are the same setting.
    assert type(recipe.optim.learning_rate) is float
    assert type(recipe.objective["decay"]["weight"]) is float
    assert recipe.differences(recipe.changed(["objective.kl.weight=2.0"])) == []
    # Later settings win, and the recipe itself stays as it was.
    assert recipe.changed(["train.seed=1", "train.seed=2"]).train.seed == 2
    assert recipe.train.seed == 0


def test_differences_name_the_keys():
    one = Recipe.load("edges")
    two = one.changed(["model.n_latents=7", "data.key=x", "objective.kl.target=0.5"])
    assert one.differences(two) == [
        'data.key: unset, "x"',
        "model.n_latents: 100, 7",
        "objective.kl.target: 0.01, 0.5",
    ]
    assert two.differences(one)[0] == 'data.key: "x", unset'


UNKNOWN = {
    "modle.n_latents=1": "unknown recipe table 'modle'; did you mean 'model'?",
    "model.latents=1": "unknown key of [model] 'latents'; did you mean 'n_latents'?",
    "objective.kll.weight=1": "unknown term 'kll'; did you mean 'kl'?",
    "objective.kl.wieght=1": "unknown key of term 'kl' 'wieght'; did you mean 'weight'?",
    "train.dtype=float16": "unknown train.dtype 'float16'; did you mean",
    'preprocess.steps=["zca_white"]': "did you mean 'zca_whiten'?",
    'preprocess.steps=[{kind="range", hihg=1}]': "did you mean 'high'?",
}
WRONG = {
    "train.steps=4.5": 'train.steps must be int or "auto"; got 4.5',
    "train.steps=2020-01-01": "train.steps must be int or",
    "train.seed=true": "train.seed must be int; got True",
    "model.tied=1": "model.tied must be bool; got 1",
    "model.tied=yes": "model.tied must be bool; got 'yes'",
    "model.activation=3": "model.activation must be str or list of str; got 3",
    "model.n_latents=2.0": 'model.n_latents must be int or "auto"',
    "data.meta=": "data.meta is empty",
    'model.activation=""': "model.activation is empty",
    "data.patch=big": "data.patch must be int; got 'big'",
    "data.header=3": "data.header must be str or bool",
    "data.held_out=half": "data.held_out must be float; got 'half'",
    "data.held_out=inf": "data.held_out is inf; a finite number is needed",
    "optim.tolerance=-1": "optim.tolerance is -1; at least 0 is needed",
    "train.patience=-1": "train.patience is -1; at least 0 is needed",
    "train.steps=0": "train.steps is 0; at least 1 is needed",
    "data.n_patches=99999999999": "data.n_patches is 99999999999; at most 2147483647",
    "train.seed=9223372036854775808": "train.seed is 9223372036854775808; at most",
    "preprocess.steps=3": "preprocess.steps must be str or list",
    "preprocess.steps=center": "steps is a list",
    "preprocess.steps=[3]": "a step is a name or a table",
    "objective.kl=3": "objective.kl must be a table such as",
    "objective.kl.weight=[3]": "objective.kl.weight must be a number",
    "objective.kl.weight=true": "objective.kl.weight must be a number; got True",
    "objective.kl.weight=nan": "objective.kl.weight is nan; a finite number is needed",
    "objective.kl.weight=-1": "weight is -1.0; it must be 0 or more",
    "objective.kl.target=0": "target is 0.0",
    "objective.kl.weight.more=3": "'weight' is not a table",
    "n_latents=3": "not of the form table.key=value",
    "model.n_latents": "not of the form table.key=value",
    "": "not of the form table.key=value",
    "=": "not of the form table.key=value",
    ".=3": "unknown recipe table ''",
}


@pytest.mark.parametrize("setting", [*UNKNOWN, *WRONG])
def test_a_wrong_setting_is_named(setting):
    with pytest.raises(UsageError) as error:
        Recipe.load("edges").changed([setting])
    assert (UNKNOWN | WRONG)[setting] in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[model", "is not valid TOML"),
        ("model = 3", "'model' must be a table"),
        ("[models]", "did you mean 'model'?"),
        ("[model]\nn_latents = 3\nn_latents = 4", "is not valid TOML"),
        ("[objective]", "at least one term"),
        ("[objective]\nkl = {weight = 0}", "at least one term"),
        ("a = " + "[" * 100_000, "is not valid TOML"),
        ("[model]\nactivation = " + "[" * 90 + "]" * 90, "must be str"),
        ("\0", "is not valid TOML"),
    ],
)
def test_a_wrong_text_is_named(text, sentence):
    with pytest.raises(UsageError) as error:
        Recipe.from_text(text, "mine.toml")
    assert sentence in str(error.value)


def test_recipes_come_by_name_or_from_a_file(tmp_path):
    file = tmp_path / "mine ü.toml"
    file.write_text(Recipe.load("ufldl").changed(["train.seed=9"]).text(), encoding="utf-8")
    assert Recipe.load(file).train.seed == 9
    assert Recipe.load(str(file)) == Recipe.load(file)
    file.write_text("# only a comment", encoding="utf-8")
    assert Recipe.load(file) == Recipe()
    file.write_bytes(b"\xff\xfe")
    for name, sentence in (
        ("edgse", "did you mean 'edges'?"),
        ("", "unknown recipe ''"),
        (tmp_path / "none.toml", "does not exist; recipes: abstopk, "),
        (tmp_path, "does not exist"),
        ("x" * 300 + ".toml", "does not exist"),
        (file, "cannot be read"),
    ):
        with pytest.raises(UsageError) as error:
            Recipe.load(name)
        assert sentence in str(error.value)


def test_auto_is_resolved_from_the_data_and_said():
    random = np.random.default_rng(0)
    auto = Recipe().changed(["model.n_latents=auto", "model.output=auto"])
    sparse = auto.changed(["objective.kl={weight=1, target=0.1}"])
    narrow = as_source(random.random((20, 6)))
    wide = as_source(5 * random.standard_normal((20, 7)))
    resolved, notes = resolve(auto, narrow)
    assert (resolved.model.n_latents, resolved.model.output) == (3, "sigmoid")
    assert resolved.preprocess.steps == []
    assert any("output: sigmoid" in note for note in notes)
    assert any("latents: 3, for 6 inputs" in note for note in notes)
    resolved, notes = resolve(sparse, wide)
    assert (resolved.model.n_latents, resolved.model.output) == (14, "linear")
    resolved, notes = resolve(sparse.changed(["model.output=sigmoid"]), wide)
    (step,) = resolved.preprocess.steps
    assert (step["kind"], step["low"], step["high"]) == ("range", 0.1, 0.9)
    assert any("mapped to 0.1 … 0.9" in note for note in notes)
    assert automatic_steps("tanh", -3, 3)[0] == [{"kind": "range", "low": -0.8, "high": 0.8}]
    assert automatic_steps("tanh", -1, 1) == ([], [])
    assert automatic_steps("linear", -9, 9) == ([], [])


def test_latents_are_no_more_than_samples_where_there_are_many():
    """Eight for each of 20,000 genes would be 160,000 latents of 3,000 cells."""
    source = ArraySource(np.eye(1500, 400, dtype=np.float32))
    recipe, notes = resolve(Recipe.load("topk"), source)
    assert recipe.model.n_latents == 1500
    assert "latents: 1500, for 400 inputs and 1500 samples" in notes
    assert resolve(Recipe.load("topk"), ArraySource(np.eye(40)))[0].model.n_latents == 320


def test_a_length_that_is_not_looked_at_is_told():
    source = ArraySource(np.eye(8))
    _, notes = resolve(Recipe.load("table").changed({"train.max_samples": 500}), source)
    assert [note for note in notes if note.startswith("train.max_samples is not looked at")]
    _, notes = resolve(Recipe.load("topk").changed({"train.max_samples": 500}), source)
    assert not [note for note in notes if "not looked at" in note]


@pytest.mark.parametrize(
    ("rows", "samples"),
    [(600, 1200 * 512), (15_000, 1_500_000), (50_000, 2_000_000), (2_100_000, 2_100_000)],
)
def test_small_data_are_not_learned_by_heart(rows, samples):
    one = np.zeros((1, 16), dtype=np.float32)
    source = as_source(np.broadcast_to(one, (rows, 16)))
    resolved, _ = resolve(Recipe.load("topk"), source)
    assert resolved.n_steps == -(-samples // 512)


def test_the_data_choose_the_recipe():
    assert [suited(kind)[0] for kind in ("patches", "pictures", "table", "array")] == [
        "edges",
        "strokes",
        "table",
        "table",
    ]
    assert suited("array", 5000, 64)[0] == "topk"
    assert suited("array", 500, 64)[0] == suited("array", 5000, 4)[0] == "table"
    assert suited("table", 5000, 64)[0] == "table"


def test_a_wide_table_of_numbers_gets_the_recipe_of_the_same_array(tmp_path):
    from simplecell.run.begin import default_recipe

    x = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    names = ",".join(f"e{j}" for j in range(16))
    rows = [",".join(map(str, row)) for row in x]
    np.save(tmp_path / "x.npy", x)
    files = {
        "x.csv": [names, *rows],
        "id.csv": [f"id,title,{names}", *(f"d{i},Title {i},{r}" for i, r in enumerate(rows))],
        "words.csv": [f"kind,{names}", *(f"{'ab'[i % 2]},{row}" for i, row in enumerate(rows))],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines))
    chosen = {}
    for name in ("x.npy", *files):
        recipe, _, source = default_recipe(tmp_path / name, [])
        chosen[name] = recipe.model.activation
        assert source is not None
        assert source.n_inputs == 16 + 2 * (name == "words.csv")
    assert chosen == {"x.npy": "topk", "x.csv": "topk", "id.csv": "topk", "words.csv": "sigmoid"}


LENGTHS = {  # samples: steps where k says how many are active, and where it has to be found
    20: (250, 500),
    140: (280, 500),
    400: (800, 800),
    1000: (2000, 2000),
    10_000: (2000, 2000),
    30_000: (3907, 3907),
    3_000_000: (5860, 5860),
}


@pytest.mark.parametrize("n", LENGTHS)
def test_an_automatic_length_follows_the_number_of_samples(n):
    source = ArraySource(np.broadcast_to(np.float32(0.5), (n, 2)))
    recipes_of = [Recipe.load(name) for name in ("topk", "jumprelu")]
    asked = [recipe.changed(["preprocess.steps=[]"]) for recipe in recipes_of]
    steps = [resolve(recipe, source)[0].n_steps for recipe in asked]
    assert tuple(steps) == LENGTHS[n]


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe.load("edges").train = recipes.Train(steps=1)


class Threshold(activations.Activation):
    """Declares a setting that a table has already, and one of its own."""

    kind = "soft"

    def __init__(self, n_latents=1, *, threshold: float = 0.1, turns: int = 2, dtype=None):
        super().__init__()
        self.threshold, self.turns = threshold, turns


def test_a_setting_of_an_activation_is_a_key_because_its_class_declares_it(monkeypatch):
    written = {name: Recipe.load(name).text() for name in recipes.names()}
    monkeypatch.setitem(activations.ACTIVATIONS, "soft", Threshold)
    assert {name: Recipe.load(name).text() for name in recipes.names()} == written
    soft = Recipe.load("table").changed(
        ["model.activation=soft", "model.threshold=1", "model.n_latents=4"]
    )
    assert soft.table()["model"]["threshold"] == 1.0
    assert Recipe.from_text(soft.text(), "soft") == soft
    assert soft.build_model(3).activation.threshold == 1.0
    assert soft.changed(["model.turns=5"]).build_model(3).activation.turns == 5
    deep = soft.changed(["model.n_latents=[3, 2]", 'model.activation=["tanh", "soft"]'])
    assert deep.build_model(4).layers[1].activation.threshold == 1.0
    for setting, sentence in {
        "model.turns=0.5": "model.turns must be int; got 0.5",
        "model.threshold=true": "model.threshold must be float; got True",
        "model.treshold=1": "did you mean 'threshold'?",
        "model.settings=3": "unknown key of [model] 'settings'",
        "model.activation=tanh": "model.threshold is no setting of 'tanh' codes",
    }.items():
        with pytest.raises(UsageError) as error:
            soft.changed([setting])
        assert sentence in str(error.value)


def test_a_setting_of_one_activation_leaves_another_its_own_default():
    jump = Recipe.load("jumprelu").changed(["model.n_latents=4"])
    assert "threshold" not in jump.table()["model"]
    assert jump.build_model(3).activation.threshold.tolist() == [0.5] * 4
    told = jump.changed(["model.threshold=0.25", "model.bandwidth=1"])
    assert told.build_model(3).activation.threshold.tolist() == [0.25] * 4
    assert told.build_model(3).activation.relative_bandwidth == 1.0


def test_keys_are_written_where_they_always_were():
    keys = "n_latents activation output tied center pre_bias target_l0 bandwidth init"
    assert " ".join(Recipe().table()["model"]) == keys


def test_whoever_names_active_latents_or_harvested_wants_sparse_codes(tmp_path):
    import torch

    import simplecell
    from simplecell.run.begin import default_recipe

    x = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
    np.save(tmp_path / "x.npy", x)
    assert default_recipe(tmp_path / "x.npy", [])[0].model.activation == "sigmoid"
    recipe, notes, _ = default_recipe(tmp_path / "x.npy", ["model.target_l0=2"])
    assert recipe.model.activation == "topk"
    assert "model.target_l0 is said" in notes[0]
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8)).eval()
    simplecell.harvest(layer, "0", torch.from_numpy(x), tmp_path / "acts")
    recipe, notes, _ = default_recipe(str(tmp_path / "acts"), [])
    assert recipe.model.activation == "topk"
    assert "activations of a model" in notes[0]


def test_a_path_or_a_source_is_rows(tmp_path):
    """What was harvested goes to an estimator as it lies."""
    import simplecell
    from simplecell.errors import DataError

    x = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n" * 20)
    how = {"n_latents": 16, "k": 2, "max_samples": 600, "random_state": 0}
    ends = [
        simplecell.TopKSparseAutoencoder(**how).fit(given).transform(given)
        for given in (x, tmp_path / "x.npy", str(tmp_path / "x.npy"), simplecell.as_source(x))
    ]
    assert all(np.array_equal(end, ends[0]) for end in ends)
    with pytest.raises(DataError, match="give the frame"):
        simplecell.TopKSparseAutoencoder(**how).fit(tmp_path / "t.csv")
