"""Convolved codes equal those of each patch; pooling by hand; blocks equal the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional

from simplecell.errors import DataError, UsageError
from simplecell.estimators.convolved import Convolution, bounds, fold, patch_encoder, places
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.recipe import Recipe
from simplecell.run.trained import Trained

CHAINS = {
    "none": [],
    "zca": [{"kind": "zca_whiten", "epsilon": 0.1}],
    "dc, pca": ["remove_dc", {"kind": "pca_whiten", "epsilon": 0.01, "retained": 0.9}],
    "range, standardize": [{"kind": "range", "low": -1}, "standardize"],
    "clipped": ["remove_dc", "patch_range"],
}


def pictures(colors, n=6, size=17, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, size, size + 3, colors) if colors else (n, size, size + 3)
    return rng.random(shape).cumsum(1) / size


def cut(x, k, top, left, patch):
    return x[k, top : top + patch[0], left : left + patch[1]].reshape(-1)


def trained(chain, x, patch, *, n_latents=12, activation="sigmoid", pre_bias=False, seed=0):
    rng = np.random.default_rng(seed)
    h, w = x.shape[1] - patch[0] + 1, x.shape[2] - patch[1] + 1
    where = zip(*(rng.integers(size, size=400) for size in (len(x), h, w)), strict=True)
    rows = torch.tensor(np.array([cut(x, *place, patch) for place in where]))
    preprocess = Preprocess(chain).fit(lambda: [rows])
    model = Autoencoder(
        preprocess.n_outputs,
        n_latents,
        activation=activation,
        output="linear",
        pre_bias=pre_bias,
        dtype=torch.float64,
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return Trained(model, preprocess, Recipe(), {"data": {"shape": [rows.shape[1]]}})


@pytest.mark.parametrize("colors", [0, 3])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("stride", "pre_bias"), [(1, False), (2, True)])
def test_maps_are_the_codes_of_each_patch(colors, chain, stride, pre_bias):
    x, patch = pictures(colors), (5, 4)
    model = trained(CHAINS[chain], x, patch, pre_bias=pre_bias)
    assert (fold(model.model, model.preprocess) is None) == (chain == "clipped")
    convolution = Convolution(patch_encoder(model, torch.float64), patch, stride)
    maps = convolution.maps(torch.tensor(x)).numpy()
    assert maps.shape[:3] == (6, *places(x.shape[1:3], patch, stride))
    rng = np.random.default_rng(1)
    points = np.stack([rng.integers(size, size=1000) for size in maps.shape[:3]], 1)
    patches = [cut(x, k, stride * i, stride * j, patch) for k, i, j in points]
    direct = model.encode(np.array(patches))
    assert np.abs(maps[tuple(points.T)] - direct).max() < 1e-9
    assert direct.std() > 0.05


def test_maps_are_torchs_own_correlation():
    x = pictures(3)
    model = trained(CHAINS["zca"], x, (4, 4), activation="identity")
    filters = fold(model.model, model.preprocess)
    kernels = filters.weight.reshape(12, 4, 4, 3).permute(0, 3, 1, 2)
    planes = torch.tensor(x).permute(0, 3, 1, 2)
    want = torch.nn.functional.conv2d(planes, kernels, filters.bias, stride=3)
    maps = Convolution(filters, (4, 4), 3).maps(torch.tensor(x))
    torch.testing.assert_close(maps.permute(0, 3, 1, 2), want, rtol=0, atol=1e-10)


def test_codes_with_two_numbers_a_latent_are_encoded_step_by_step():
    x = pictures(0)
    model = trained([], x, (3, 3), activation="gaussian")
    assert fold(model.model, model.preprocess) is None
    maps = Convolution(patch_encoder(model, torch.float64), (3, 3)).maps(torch.tensor(x))
    want = model.encode(cut(x, 2, 4, 5, (3, 3))[None])[0]
    np.testing.assert_allclose(maps[2, 4, 5].numpy(), want, atol=1e-12)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_by_hand(pooling):
    x = pictures(3)
    model = trained(CHAINS["zca"], x, (5, 4))
    convolution = Convolution(patch_encoder(model, torch.float64), (5, 4))
    pooled = convolution.pooled(x, (3, 2), pooling)
    maps = convolution.maps(torch.tensor(x)).numpy()
    assert maps.shape == (6, 13, 17, 12)
    by_hand = getattr(np, pooling)
    for i, (top, bottom) in enumerate([(0, 4), (4, 8), (8, 13)]):
        for j, (left, right) in enumerate([(0, 8), (8, 17)]):
            want = by_hand(maps[:, top:bottom, left:right], axis=(1, 2))
            np.testing.assert_allclose(pooled[:, i, j], want, atol=1e-12)


@pytest.mark.parametrize("chain", ["zca", "clipped"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_blocks_are_the_whole_and_keep_their_bound(chain, pooling):
    x = pictures(3, n=9)
    model = trained(CHAINS[chain], x, (5, 4))
    encode, sizes = patch_encoder(model, torch.float64), []

    def watched(patches):
        sizes.append(len(patches))
        return encode(patches)

    whole = Convolution(encode, (5, 4), max_bytes=2**40).pooled(x, (3, 3), pooling)
    numbers = 4 * 60 + 2 * 12
    for n_bytes in (1, 8 * numbers * 17 * 2, 8 * numbers * 17 * 9):
        sizes.clear()
        got = Convolution(watched, (5, 4), max_bytes=n_bytes).pooled(x, (3, 3), pooling)
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-12)
        assert max(sizes) * numbers * 8 <= max(n_bytes, numbers * 17 * 8)
        assert len(sizes) > 9


def test_float32_stays_near_float64():
    x = pictures(3)
    model = trained(CHAINS["zca"], x, (5, 4))
    single = Convolution(patch_encoder(model, torch.float32), (5, 4)).pooled(x, (3, 3))
    double = Convolution(patch_encoder(model, torch.float64), (5, 4)).pooled(x, (3, 3))
    assert single.dtype == np.float32
    assert model.model.like.dtype == torch.float64
    np.testing.assert_allclose(single, double, atol=1e-5)


@pytest.mark.parametrize("n_places", [1, 5, 25, 57])
def test_regions_are_disjoint_and_cover_everything(n_places):
    for k in range(1, min(n_places, 9) + 1):
        parts = bounds(n_places, k)
        assert [i for a, b in parts for i in range(a, b)] == list(range(n_places))
        assert {b - a for a, b in parts} <= {n_places // k, -(-n_places // k)}
    assert bounds(57, 3) == [(0, 19), (19, 38), (38, 57)] or n_places != 57


def test_refusals():
    with pytest.raises(DataError, match=r"4x9 pixels, smaller than a patch of 5x4"):
        places((4, 9), (5, 4), 1)
    with pytest.raises(UsageError, match="7 regions a side were asked for, but there are 6"):
        bounds(6, 7)
    with pytest.raises(UsageError, match="stride 0"):
        Convolution(lambda x: x, (2, 2), 0)
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        Convolution(lambda x: x, (2, 2)).pooled(pictures(0), (1, 1), "maen")
