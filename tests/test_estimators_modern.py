"""Today's sparse autoencoders behind scikit-learn's contract: checks, CSR codes, runs, the core."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import simplecell
from conformance import conformance
from simplecell import (
    GatedSparseAutoencoder,
    JumpReLUSparseAutoencoder,
    L1SparseAutoencoder,
    MatryoshkaSparseAutoencoder,
    Recipe,
    TopKSparseAutoencoder,
)
from simplecell.data import ArraySource, order, rows
from simplecell.data.shard_writer import write_shards
from simplecell.errors import DataError, UsageError
from simplecell.model.codes import Codes, SparseCodes
from simplecell.run.build import build

ALL = {
    "topk": (TopKSparseAutoencoder, {}),
    "abstopk": (TopKSparseAutoencoder, {"signed": True}),
    "batchtopk": (TopKSparseAutoencoder, {"batchwise": True}),
    "l1": (L1SparseAutoencoder, {}),
    "l1, unit_norm": (L1SparseAutoencoder, {"form": "unit_norm"}),
    "l1, weight": (L1SparseAutoencoder, {"l1_weight": 0.5}),
    "jumprelu": (JumpReLUSparseAutoencoder, {}),
    "gated": (GatedSparseAutoencoder, {}),
    "matryoshka": (MatryoshkaSparseAutoencoder, {"widths": (8, 32)}),
}
every = pytest.mark.parametrize("name", ALL)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:400]


def small(name, **changes):
    kind, own = ALL[name]
    basis = {"n_latents": 32, "max_samples": 2000, "batch_size": 100, "random_state": 0}
    return kind(**{**basis, **own, **changes})


@functools.cache
def pickled(name):
    return pickle.dumps(small(name).fit(load_digits().data[:400]))


def fitted(name):
    """`small(name)`, fitted to the digits once and for all tests."""
    return pickle.loads(pickled(name))  # noqa: S301


@conformance(
    [
        TopKSparseAutoencoder(batchwise=True, sparse_output=True, max_samples=60),
        JumpReLUSparseAutoencoder(max_samples=60),
    ],
    [
        TopKSparseAutoencoder(max_samples=60),
        L1SparseAutoencoder(max_samples=60),
        L1SparseAutoencoder(form="unit_norm", l1_weight=0.1, max_samples=60),
        GatedSparseAutoencoder(max_samples=60),
        MatryoshkaSparseAutoencoder(max_samples=60),
    ],
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@every
def test_the_estimator_is_the_core(digits, name):
    """The named recipe with the same settings, trained by hand, gives the same bits."""
    sae = small(name, n_latents="auto", target_l0="auto").fit(digits)
    recipe = "l1" if name.startswith("l1") else name
    settings = ["train.seed=0", "train.max_samples=2000", "optim.batch_size=100"]
    settings += {
        "l1, unit_norm": ["optim.unit_norm=true"],
        "l1, weight": ["model.target_l0=0", "objective.l1.weight=0.5", "model.n_latents=512"],
        "matryoshka": ["objective.nested.widths=[8, 32]", "model.n_latents=32"],
    }.get(name, [])
    built = build(Recipe.load(recipe).changed(settings), source := ArraySource(digits))
    records = list(built.trainer.run(source, built.recipe.n_steps))
    assert sae.n_iter_ == len(records) == 20
    assert sae.cost_curve_.tolist() == [float(record.cost) for record in records]
    for tensor, value in built.trainer.model.tensors().items():
        np.testing.assert_array_equal(sae.model_.tensors()[tensor], value, err_msg=tensor)


@every
def test_defaults_are_those_of_the_recipe(name):
    sae = ALL[name][0](**ALL[name][1])
    recipe = Recipe.load("l1" if name.startswith("l1") else name)
    assert list(sae.preprocess) == recipe.preprocess.steps
    assert sae.batch_size == recipe.optim.batch_size


@every
def test_the_same_seed_gives_the_same_bits(digits, name):
    first, second = fitted(name), small(name).fit(digits)
    np.testing.assert_array_equal(first.components_, second.components_)
    assert not np.array_equal(
        first.components_, small(name, random_state=1).fit(digits).components_
    )


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_codes_are_the_dense_ones(digits, name, dtype):
    X = digits.astype(dtype)
    sae = fitted(name)
    dense = sae.transform(X)
    sparse = sae.set_params(sparse_output=True).transform(X)
    assert type(sparse) is type(OneHotEncoder().fit_transform([["a"], ["b"]]))
    assert sparse.format == "csr"
    assert sparse.dtype == dense.dtype == dtype
    assert sparse.has_canonical_format
    assert (sparse.data != 0).all()
    np.testing.assert_array_equal(sparse.toarray(), dense)
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    recon = sae.inverse_transform(sparse)
    assert recon.dtype == dtype
    np.testing.assert_allclose(recon, sae.inverse_transform(dense), atol=tolerance)


def test_codes_are_never_made_dense(digits, monkeypatch):
    sae = fitted("topk").set_params(sparse_output=True)
    expected = sae.transform(digits)
    monkeypatch.setattr("simplecell.model.selection.CROSSOVER", 1.0)

    def refuse(codes):
        raise AssertionError("a dense code was made")

    monkeypatch.setattr(SparseCodes, "dense", property(refuse))
    codes = sae.transform(digits)
    assert (codes != expected).nnz == 0
    assert sae.inverse_transform(codes).shape == digits.shape
    whole = sae.set_params(sparse_output=False).transform(digits)  # filled in from the entries
    np.testing.assert_array_equal(whole, expected.toarray())


def test_batches_are_bounded_whatever_their_number(digits, monkeypatch):
    sae = fitted("batchtopk").set_params(sparse_output=True)
    expected = sae.transform(digits)
    monkeypatch.setattr("simplecell.model.passes.Passes.n_rows", 7)
    seen = []
    dense = Codes.rows

    def watched(codes):
        seen.append(codes.dense.shape)
        return dense(codes)

    monkeypatch.setattr(Codes, "rows", watched)
    codes = sae.transform(digits)
    assert seen == [(7, 32)] * 57 + [(1, 32)]
    np.testing.assert_allclose(codes.toarray(), expected.toarray(), atol=1e-6)
    recon = sae.inverse_transform(codes)
    np.testing.assert_allclose(recon, sae.inverse_transform(codes.toarray()), atol=1e-6)


def test_a_sample_without_active_latents_is_an_empty_row(digits):
    sae = fitted("batchtopk").set_params(sparse_output=True)
    still = np.repeat(digits.mean(0, keepdims=True), 3, axis=0)
    sae._trained.model.activation.threshold.fill_(1e6)
    codes = sae.transform(still)
    assert codes.shape == (3, 32)
    assert codes.nnz == 0
    offset = sae.preprocess_.invert(sae.model_.offset[None].detach()).numpy()
    np.testing.assert_allclose(sae.inverse_transform(codes), np.repeat(offset, 3, 0), rtol=1e-5)


def test_sparse_codes_of_another_width_are_refused():
    sae = fitted("topk")
    with pytest.raises(DataError, match="32 latents"):
        sae.inverse_transform(scipy.sparse.csr_matrix((3, 31)))


def test_sparse_codes_and_data_frames_exclude_each_other(digits):
    sae = fitted("topk").set_params(sparse_output=True).set_output(transform="pandas")
    with pytest.raises(UsageError, match="set sparse_output=False"):
        sae.transform(digits)
    with config_context(transform_output="polars"), pytest.raises(UsageError, match="polars"):
        small("topk", sparse_output=True).fit_transform(digits)
    frame = sae.set_params(sparse_output=False).transform(digits)
    assert frame.columns[0] == "latent0"


@pytest.mark.parametrize(
    "recipe", ["topk", "abstopk", "batchtopk", "l1", "jumprelu", "gated", "matryoshka"]
)
def test_a_run_of_each_recipe_is_its_estimator(digits, tmp_path, recipe):
    sae = small(recipe, target_l0=6).fit(digits)
    sae.save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run")
    assert type(again) is type(sae)
    np.testing.assert_array_equal(again.transform(digits), sae.transform(digits))
    np.testing.assert_array_equal(again.components_, sae.components_)
    assert again.n_iter_ == sae.n_iter_ == 20
    assert again.get_params() == sae.get_params()
    again.set_params(sparse_output=True)
    assert scipy.sparse.issparse(again.transform(digits))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("l1", {"form": "unit_norm"}),
        ("l1", {"l1_weight": 0.25}),
        ("gated", {"l1_weight": 0.25}),
        ("topk", {"k": 5}),
        ("matryoshka", {"k": 2.5, "widths": [4, 16, 32]}),
        ("topk", {"max_samples": 1234}),
    ],
)
def test_a_run_remembers_what_was_asked(digits, tmp_path, name, changes):
    sae = small(name, **changes).fit(digits)
    sae.save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run").get_params()
    if "k" in changes:
        assert again["k"] is None
        assert again["target_l0"] == changes["k"]
        changes = {key: value for key, value in changes.items() if key != "k"}
    for key, value in changes.items():
        assert again[key] == (tuple(value) if key == "widths" else value)
    if "l1_weight" in changes:
        assert again["target_l0"] == "auto"


def test_a_loaded_estimator_fits_again(digits, tmp_path):
    small("l1").fit(digits).save(tmp_path / "run")
    again = simplecell.load(tmp_path / "run")
    assert clone(again).fit(digits).components_.shape == (32, 64)
    assert again.partial_fit(digits).n_iter_ == 24


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("topk", {"k": 3, "target_l0": 4}, "k is 3 and target_l0 4, .* give one of the two"),
        ("matryoshka", {"k": 3, "target_l0": 3}, "give one of the two"),
        ("l1", {"l1_weight": 0.1, "target_l0": 4}, "l1_weight is 0.1 and target_l0 4"),
        ("gated", {"l1_weight": 0.1, "target_l0": 4}, "give one of the two"),
        ("topk", {"k": 2.5}, "k is 2.5; a whole number"),
        ("topk", {"k": 33}, "k is 33, but .* 1 to 32"),
        ("topk", {"signed": 1}, "signed is 1; True or False"),
        ("topk", {"signed": True, "batchwise": True}, "give one of the two"),
        ("batchtopk", {"k": 0}, "k is 0; a number above 0"),
        ("batchtopk", {"batchwise": "yes"}, "batchwise is 'yes'; True or False"),
        ("l1", {"form": "unitnorm"}, "did you mean 'unit_norm'"),
        ("l1", {"target_l0": 0}, "target_l0 is 0; a number above 0"),
        ("l1", {"target_l0": 33}, "target_l0 is 33, but the model has 32 latents"),
        ("gated", {"target_l0": 33}, "ask for fewer that are active, or give it more latents"),
        ("jumprelu", {"target_l0": 32.5}, "target_l0 is 32.5, but the model has 32 latents"),
        ("l1", {"l1_weight": -1}, "l1_weight is -1; a number of at least 0"),
        ("jumprelu", {"target_l0": "all"}, "target_l0 is 'all'; a number or \"auto\""),
        ("jumprelu", {"n_latents": 0}, "n_latents is 0; a whole number of at least 1"),
        ("jumprelu", {"n_latents": "atuo"}, "n_latents is 'atuo'"),
        ("gated", {"max_samples": 0}, "max_samples is 0; a whole number of at least 1"),
        ("gated", {"batch_size": 0}, "batch_size is 0"),
        ("gated", {"learning_rate": 0}, "learning_rate is 0; a number above 0"),
        ("gated", {"learning_rate": "slow"}, "learning_rate is 'slow'; a number or \"auto\""),
        ("gated", {"preprocess": ["scael"]}, "did you mean 'scale'"),
        ("gated", {"preprocess": "scale"}, "steps"),
        ("matryoshka", {"widths": (8, 31)}, "widths are \\[8, 31\\].* is 32"),
        ("matryoshka", {"widths": (16, 8, 32)}, "ascending"),
        ("matryoshka", {"widths": "half"}, 'must be "auto" or a list'),
        ("topk", {"dtype": "float16"}, "float32"),
        ("topk", {"device": "warp"}, "device 'warp' cannot be used"),
        ("topk", {"sparse_output": "yes"}, "sparse_output is 'yes'; True or False"),
    ],
)
def test_wrong_parameters_are_named(digits, name, changes, words):
    with pytest.raises(UsageError, match=words):
        small(name, **changes).fit_transform(digits)


def test_sizes_left_to_the_data(digits):
    sae = TopKSparseAutoencoder(max_samples=600, random_state=0).fit(digits)
    assert sae.components_.shape == (8 * 64, 64)
    assert sae.get_feature_names_out().shape == (512,)
    assert sae._trained.recipe.target_l0 == 16
    assert sae.notes_[:2] == [
        "target_l0: 16 active latents a sample",
        "latents: 512, for 64 inputs",
    ]
    few = TopKSparseAutoencoder(5, max_samples=600, random_state=0).fit(digits)
    assert few._trained.recipe.target_l0 == 5  # and not 16 of 5
    widths = MatryoshkaSparseAutoencoder(widths=np.array([4, 24]), max_samples=600).fit(digits)
    assert widths.components_.shape == (24, 64)
    weighed = GatedSparseAutoencoder(l1_weight=1.0, max_samples=600).fit(digits)
    assert weighed.components_.shape == (512, 64)


def test_an_l0_that_is_asked_for_is_kept(digits):
    for asked in ({"k": 6}, {"target_l0": np.float64(6)}):
        sae = small("topk", max_samples=4000, **asked).fit(digits)
        assert sae.l0_ == 6
        assert (np.count_nonzero(sae.transform(digits), axis=1) == 6).all()
        np.testing.assert_allclose(sae.density_.sum(), 6)


@pytest.mark.parametrize("name", ["batchtopk", "l1", "l1, unit_norm", "jumprelu", "gated"])
def test_an_l0_is_reached_as_a_mean(digits, name):
    free = small(name, max_samples=1000, target_l0=5).fit(digits).l0_
    sae = small(name, max_samples=20_000, target_l0=5, learning_rate=0.01).fit(digits)
    assert sae.l0_ == pytest.approx(5, rel=0.4)
    assert abs(sae.l0_ - 5) < 0.4 * abs(free - 5)
    assert sae.l0_ == np.count_nonzero(sae.transform(digits.astype(np.float32))) / len(digits)


def test_a_larger_l1_weight_leaves_fewer_active(digits):
    for name in ("l1", "gated"):
        kinds = [small(name, l1_weight=w, max_samples=5000) for w in (0.1, 3)]
        few, many = sorted(sae.fit(digits).l0_ for sae in reversed(kinds))
        assert kinds[1].l0_ == few < 0.7 * many


@every
def test_fitted_attributes(name):
    sae = fitted(name)
    shapes = {"components_": (32, 64), "encoder_": (32, 64), "offset_": (64,), "density_": (32,)}
    own = {
        "gated": {"gate_bias_": (32,), "magnitude_bias_": (32,), "log_scale_": (32,)},
        "jumprelu": {"threshold_": (32,), "scale_": (), "bias_": (32,)},
        "batchtopk": {"threshold_": (), "bias_": (32,)},
    }.get(name, {"bias_": (32,)})
    for attribute, shape in {**shapes, **own, "cost_curve_": (20,)}.items():
        assert isinstance(value := getattr(sae, attribute), np.ndarray)
        assert value.shape == shape, attribute
    assert hasattr(sae, "bias_") == (name != "gated")
    lengths = np.linalg.norm(sae.components_, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == (name not in ("l1", "l1, weight"))


@every
def test_clones_and_pickles(digits, name):
    sae = fitted(name)
    twin = clone(sae)
    assert twin.get_params() == sae.get_params()
    assert not hasattr(twin, "components_")
    same = pickle.loads(pickle.dumps(sae))  # noqa: S301
    np.testing.assert_array_equal(same.transform(digits), sae.transform(digits))


def test_pipeline_and_grid_search_over_target_l0():
    X, y = load_digits(return_X_y=True)
    sae = small("topk", sparse_output=True, max_samples=4000)
    pipeline = make_pipeline(sae, LogisticRegression(max_iter=2000)).fit(X[:400], y[:400])
    assert pipeline.score(X[400:800], y[400:800]) > 0.6
    search = GridSearchCV(sae, {"target_l0": [1, 8]}, cv=2).fit(X[:400])
    assert search.best_params_ == {"target_l0": 8}
    assert search.best_estimator_.l0_ == pytest.approx(8, rel=0.05)


@every
def test_partial_fit_learns(digits, name):
    sae = small(name).partial_fit(digits)
    first = sae.score(digits)
    for _ in range(9):
        sae.partial_fit(digits)
    assert sae.n_iter_ == 40
    assert sae.score(digits) > first + 0.1
    two = pickle.loads(pickle.dumps(sae))  # noqa: S301
    np.testing.assert_array_equal(
        sae.partial_fit(digits).components_, two.partial_fit(digits).components_
    )


@pytest.mark.parametrize("name", ["l1", "jumprelu", "gated"])
def test_partial_fit_is_steered_to_the_same_l0(digits, name):
    sae = small(name, target_l0=5).partial_fit(digits)
    for _ in range(40):
        sae.partial_fit(digits)
    assert sae.l0_ == pytest.approx(5, rel=0.25)


@pytest.mark.parametrize("name", ["l1", "jumprelu", "gated"])
def test_partial_fit_goes_on_from_fit(digits, name):
    sae = small(name, target_l0=5, max_samples=10_000, learning_rate=3e-3).fit(digits)
    before, l0 = sae.score(digits), sae.l0_
    two = pickle.loads(pickle.dumps(sae)).partial_fit(digits)  # noqa: S301
    sae.partial_fit(digits)
    np.testing.assert_array_equal(sae.components_, two.components_)
    assert sae.n_iter_ == 104
    assert sae.score(digits) == pytest.approx(before, abs=0.05)
    assert sae.l0_ == pytest.approx(l0, rel=0.25)


def test_plot_and_notebook():
    sae = fitted("topk")
    assert sae.plot().size[0] > 100
    assert sae.plot("atoms", shape=(4, 16)).size[0] > 100
    assert "data:image/png;base64," in sae._repr_mimebundle_()["text/html"]


def test_codes_with_an_index_beyond_the_latents_are_refused():
    x = np.random.default_rng(0).standard_normal((60, 6))
    sae = TopKSparseAutoencoder(12, k=2, max_samples=600, sparse_output=True, random_state=0)
    codes = sae.fit_transform(x)
    codes.indices[3] = 99
    with pytest.raises(ValueError, match="indices"):
        sae.inverse_transform(codes)


def test_an_l0_that_was_missed_is_told(digits):
    missed = r"but target_l0 is 4 .*train for longer: max_samples=2400"
    with pytest.warns(ConvergenceWarning, match=missed):
        small("jumprelu", max_samples=600, target_l0=4).fit(digits)
    topk = small("topk", max_samples=600, target_l0=4).fit(digits)
    assert not [note for note in topk.notes_ if "target_l0" in note]


def test_a_folder_of_shards_is_fitted_in_chunks_to_the_same_bits(tmp_path, monkeypatch):
    """And never held whole: no more rows are asked for at once than a part of them."""
    x = np.random.default_rng(0).standard_normal((40_000, 12)).astype(np.float32)
    write_shards((part for part in np.split(x, 10)), tmp_path / "acts", rows=7000)
    monkeypatch.setattr(order, "_NUMBERS", 12 * 500)
    monkeypatch.setattr(rows, "_FINGERPRINT_VALUES", 12 * 300)
    told = {"n_latents": 20, "k": 3, "max_samples": 20_000, "random_state": 0}
    whole = simplecell.TopKSparseAutoencoder(**told).fit(x)
    most, read = [], ArraySource.read

    def counted(self, places):
        found = read(self, places)
        most.append(len(found))
        return found

    monkeypatch.setattr(ArraySource, "read", counted)
    chunked = simplecell.TopKSparseAutoencoder(**told).fit(tmp_path / "acts")
    assert max(most) < len(x)
    for name in ("encoder_", "components_", "bias_"):
        np.testing.assert_array_equal(getattr(chunked, name), getattr(whole, name))
    assert chunked.n_features_in_ == 12
    assert not hasattr(chunked, "feature_names_in_")
    assert chunked.score(tmp_path / "acts") == whole.score(x)
    np.testing.assert_array_equal(chunked.transform(tmp_path / "acts"), whole.transform(x))
    parts = [
        simplecell.TopKSparseAutoencoder(**told).partial_fit(data).components_
        for data in (x, tmp_path / "acts")
    ]
    np.testing.assert_array_equal(*parts)
    np.save(tmp_path / "narrow.npy", x[:, :5])
    with pytest.raises(ValueError, match="5 features, but TopKSparseAutoencoder is expecting 12"):
        chunked.transform(tmp_path / "narrow.npy")
