"""Convolution, connectivity and templates: quick variants, and the arithmetic they rest on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from simplecell.data.cifar import CLASSES, Cifar
from simplecell.reproduce import RESULTS, Bench, classifiers, convolution
from simplecell.reproduce.classifiers import judge, paired_interval, simplest

RNG = np.random.default_rng(0)


@pytest.fixture
def quick(tmp_path):
    return Bench(tmp_path, quick=True)


def measured(name, bench):
    outcome = RESULTS[name].measure(bench)
    assert RESULTS[name].needs == ("cifar-10",)
    assert all(math.isfinite(number) for figure in outcome.figures for number in figure.ours)
    assert outcome.pictures
    for picture in outcome.pictures:
        with Image.open(bench.out / picture) as image:
            assert np.asarray(image).std() > 5
    return {figure.what: figure.ours[0] for figure in outcome.figures}


@pytest.mark.slow  # test_reproduce.py runs it, too
def test_pooled_features_beat_raw_pixels(quick):
    found = measured("convolution", quick)
    gain = found["gain over raw pixels"]
    assert gain == found["accuracy of pooled features"] - found["accuracy of raw pixels"]
    low, high = (found[f"{end} in the 95 % interval of the gain"] for end in ("least", "most"))
    assert 0 < low < gain < high
    assert (low + high) / 2 == pytest.approx(gain)


@pytest.mark.slow  # test_reproduce.py runs it, too
def test_what_a_connection_takes(quick):
    found = measured("connectivity", quick)

    def thousands(how):
        return found[f"{how}: parameters"], found[f"{how}: products a picture"]

    # 16 latents of 8×8 pixels, or of tiles and patches of 4×4, at 5×5 places
    assert thousands("fully connected") == (16 * 65 / 1000, 16 * 64 / 1000)
    assert thousands("locally connected") == (16 * 17 / 1000, 16 * 16 / 1000)
    assert thousands("convolved, 3×3 regions") == (16 * 17 / 1000, 16 * 16 * 25 / 1000)
    accuracy = {how: found[f"convolved, {how} regions: accuracy"] for how in ("1×1", "3×3")}
    assert 50 < accuracy["1×1"] < accuracy["3×3"]


def test_the_paired_interval_by_hand():
    # differences 1, 0, 0, 1: mean 1/2, s = √(1/3), t(0.975, 3) = 3.18245
    first, second = np.array([[1, 1, 0, 1]], bool), np.array([[0, 1, 0, 0]], bool)
    half = 100 * 3.182446305 * math.sqrt(1 / 3) / 2
    assert paired_interval(first, second) == pytest.approx((50 - half, 50 + half))


def test_the_interval_is_over_pictures_and_their_pairs():
    right = RNG.random((3, 200)) < 0.7
    worse = right & (RNG.random((3, 200)) < 0.9)
    # a seed said twice brings no new pictures
    twice = (np.concatenate([part, part]) for part in (right, worse))
    assert paired_interval(*twice) == pytest.approx(paired_interval(right, worse))
    # pairs are what makes it narrow: among strangers it is wider
    (low, high), (far_low, far_high) = (
        paired_interval(right, other) for other in (worse, RNG.permutation(worse, axis=1))
    )
    assert low + high == pytest.approx(far_low + far_high)
    assert high - low < 0.6 * (far_high - far_low)
    assert paired_interval(right, right) == (0, 0)


def test_the_simplest_within_one_standard_error():
    folds = np.array([[0.1, 0.2, 0.1, 0.2], [0.5, 0.6, 0.6, 0.5], [0.5, 0.7, 0.6, 0.5]])
    results = {"mean_test_score": folds.mean(1), "std_test_score": folds.std(1)}
    error = folds[2].std(ddof=1) / 2
    assert folds.mean(1)[1] > folds.mean(1)[2] - error
    assert simplest(results) == 1
    assert simplest({**results, "std_test_score": np.zeros(3)}) == 2


def test_more_features_than_pictures_do_not_change_the_answers(quick):
    data = classifiers.pictures(quick)
    data = data._replace(train=data.train[:300], train_labels=data.train_labels[:300])
    few = judge(*data.rows, data, 0)
    # a column that never varies is standardised to nothing: only the number of features grows
    wide = (np.hstack([rows, np.zeros((len(rows), 300), rows.dtype)]) for rows in data.rows)
    many = judge(*wide, data, 0)
    assert many.strength == few.strength
    assert (many.right == few.right).mean() > 0.99


def test_a_latent_is_drawn_where_it_looks():
    patches = RNG.random((2, 3 * 3 * 3))
    whole = convolution.placed(patches, (1, 4), 3, (6, 8, 3)).reshape(2, 6, 8, 3)
    np.testing.assert_array_equal(whole[:, 1:4, 4:7].reshape(2, -1), patches)
    assert whole.sum() == pytest.approx(patches.sum())


def test_local_tiles_cover_the_picture_once(quick, monkeypatch):
    cut = []

    def keep(found, corner, patch):
        cut.append((corner, patch))
        return whole_cut(found, corner, patch)

    whole_cut = convolution.cut
    monkeypatch.setattr(convolution, "cut", keep)
    convolution.locally(quick, classifiers.pictures(quick), 0)
    seen = np.zeros((8, 8), int)
    for (top, left), patch in cut:
        seen[top : top + patch, left : left + patch] += 1
    assert (seen == 2).all()  # once in each part


def test_the_four_classes_of_the_archive(tmp_path, monkeypatch):
    labels = np.arange(20, dtype=np.uint8) % 10
    found = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "cifar-10-part.tar.gz").touch()
    monkeypatch.setattr(
        classifiers, "read_cifar", lambda _: Cifar(found, labels, found[:10], labels[:10])
    )
    data = classifiers.pictures(Bench(tmp_path, tmp_path), convolution.FOUR)
    assert sorted(set(data.train_labels)) == sorted(convolution.FOUR)
    assert len(data.train) == 8
    assert len(data.test) == 4
    assert data.train.dtype == np.float32
    for picture, name in zip(data.train, data.train_labels, strict=True):
        like = found[labels == CLASSES.index(name)] / np.float32(255)
        assert (picture == like).all((1, 2, 3)).any()
    assert "8 pictures of 32×32 to learn from, 4 to test" in data.about
