"""The transformer of whole pictures: scikit-learn's checks, and equality with the core."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from simplecell import SparseAutoencoder
from simplecell.errors import DataError, UsageError
from simplecell.estimators.convolved import Convolution, ConvolvedFeatures, patch_encoder


def small(**changes):
    patches = SparseAutoencoder(**{"n_latents": 6, "target": 0.1, "max_iter": 10, **changes})
    return patches.set_params(output="linear", preprocess=["remove_dc", "center"])


def features(estimator=None, **changes):
    options = {"patch": 3, "n_patches": 200, "regions": 2, "random_state": 0, **changes}
    return ConvolvedFeatures(estimator or small(), **options)


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:60] / 16


@pytest.fixture(scope="module")
def colors():
    return np.random.default_rng(0).random((12, 9, 11, 3)).astype(np.float32)


@parametrize_with_checks([features(n_patches=50)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_it_equals_the_core(colors, pooling):
    convolved = features(pooling=pooling, stride=2).fit(colors)
    got = convolved.transform(colors)
    encode = patch_encoder(convolved.estimator_._trained, torch.float32)
    want = Convolution(encode, (3, 3), 2).pooled(colors, (2, 2), pooling)
    np.testing.assert_array_equal(got, want.reshape(12, -1))
    assert got.dtype == np.float32
    double = convolved.transform(colors.astype(np.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(got, double, atol=1e-5)


def test_rows_and_arrays_are_the_same_pictures(colors, digits):
    rows = colors.reshape(12, -1)
    by_array = features().fit(colors)
    by_rows = features(image_shape=(9, 11, 3)).fit(rows)
    np.testing.assert_array_equal(by_array.transform(colors), by_rows.transform(rows))
    np.testing.assert_array_equal(by_array.transform(rows), by_rows.transform(colors))
    square = features().fit(digits.reshape(60, -1))
    assert square.image_shape_ == (8, 8, 1)
    np.testing.assert_array_equal(square.transform(digits), features().fit_transform(digits))


def test_bytes_are_pictures_from_0_to_1(colors):
    pictures = (colors * 255).astype(np.uint8)
    unit = pictures.astype(np.float32) / 255
    of_bytes, of_units = features().fit(pictures), features().fit(unit)
    np.testing.assert_array_equal(of_bytes.transform(pictures), of_units.transform(unit))


def test_rows_that_are_no_square_are_a_line():
    X = np.random.default_rng(0).random((20, 13))
    convolved = ConvolvedFeatures(small(), n_patches=50).fit(X)
    assert convolved.image_shape_ == (1, 13, 1)
    assert convolved.patch_shape_ == (1, 8)
    assert convolved.regions_ == (1, 3)
    assert convolved.transform(X).shape == (20, 18)


def test_names_say_region_and_latent(digits):
    convolved = features(regions=3).fit(digits)
    names = convolved.get_feature_names_out()
    assert len(names) == convolved.transform(digits).shape[1] == 54
    assert names[0] == "region0_0_latent0"
    assert names[-1] == "region2_2_latent5"
    assert names[7] == "region0_1_latent1"


def test_the_same_seed_gives_the_same_features(digits):
    one, two = (features().fit(digits).transform(digits) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = features(random_state=1).fit(digits).transform(digits)
    assert np.abs(one - other).max() > 1e-3


def test_patches_come_from_the_pictures_alone(digits):
    seen = []

    class Watching(KMeans):
        def fit(self, X, y=None, sample_weight=None):
            seen.append(X)
            return super().fit(X)

    features(Watching(3, n_init=1)).fit(digits)
    windows = np.lib.stride_tricks.sliding_window_view(digits, (3, 3), axis=(1, 2))
    known = {row.tobytes() for row in windows.reshape(-1, 9)}
    assert len(seen[0]) == 200
    assert all(row.tobytes() in known for row in seen[0])


def test_a_frozen_estimator_is_used_as_it_is(digits):
    patches = small(random_state=0).fit(digits[:, :3, :3].reshape(60, -1))
    frozen = FrozenEstimator(patches)
    convolved = features(frozen).fit(digits)
    assert convolved.estimator_ is frozen
    by_hand = patches.transform(digits[:, 4:7, 2:5].reshape(60, -1))
    sizes = {"stride": 10, "regions": 1}
    got = features(frozen, **sizes).fit(digits[:, 4:7, 2:5]).transform(digits[:, 4:7, 2:5])
    np.testing.assert_allclose(got, by_hand, atol=1e-12)
    with pytest.raises(NotFittedError):
        features(FrozenEstimator(small())).fit(digits)
    with pytest.raises(UsageError, match="takes 9 inputs a sample, but a patch of the shape"):
        features(frozen, patch=4).fit(digits)


def test_any_transformer_learns_the_patches(digits):
    means = KMeans(4, n_init=1, random_state=0)
    convolved = features(means, pooling="max").fit(digits)
    got = convolved.transform(digits[:1])
    windows = np.lib.stride_tricks.sliding_window_view(digits[0], (3, 3))[:3, :3].reshape(-1, 9)
    want = convolved.estimator_.transform(windows).max(0)
    np.testing.assert_allclose(got[0, :4], want, atol=1e-12)


def test_the_default_is_a_sparse_autoencoder_of_whitened_patches(colors):
    convolved = ConvolvedFeatures(patch=2, n_patches=30, regions=1).fit(colors)
    assert convolved.estimator_._trained.preprocess.steps[0]["kind"] == "zca_whiten"
    assert convolved.transform(colors).shape == (12, 400)


def test_in_a_pipeline_and_a_search(digits):
    labels = load_digits().target[:60] % 2
    pipeline = make_pipeline(features(), LogisticRegression(C=1e4))
    search = GridSearchCV(pipeline, {"convolvedfeatures__regions": [1, 2]}, cv=2)
    assert search.fit(digits.reshape(60, -1), labels).score(digits.reshape(60, -1), labels) > 0.6
    assert clone(pipeline).get_params()["convolvedfeatures__patch"] == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pooling": "median"}, "unknown pooling 'median'"),
        ({"patch": 0}, "patch is 0; .* at least 1"),
        ({"image_shape": (8, 9)}, r"image_shape is \(8, 9\), but X has 64 numbers"),
        ({"image_shape": (8, 8), "regions": 7}, "7 regions a side were asked for, but there are 6"),
        *[({"image_shape": wrong}, "image_shape is") for wrong in (64, "ab", (-8, -8), (8.0, 8.0))],
        ({"pooling": ["mean"]}, "unknown pooling"),
        ({"patch": 1.5}, "patch is 1.5; a whole number"),
        ({"n_patches": "a"}, "n_patches is 'a'"),
        ({"estimator": 3}, "estimator is 3; an instance of a scikit-learn transformer"),
        ({"estimator": SparseAutoencoder}, "an instance of a scikit-learn transformer"),
    ],
)
def test_what_does_not_fit_is_refused(digits, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        features(**changes).fit(digits.reshape(60, -1))


def test_pictures_that_do_not_fit_are_refused(digits, colors):
    with pytest.raises(DataError, match="smaller than a patch of 12x12"):
        features(patch=12).fit(digits)
    with pytest.raises(
        UsageError, match=r"image_shape is \(4, 16\), but the pictures are \(8, 8\)"
    ):
        features(image_shape=(4, 16)).fit(digits)
    fitted = features().fit(colors)
    with pytest.raises(UsageError, match=r"were \(9, 11, 3\) at fit"):
        fitted.transform(colors.transpose(0, 2, 1, 3))
