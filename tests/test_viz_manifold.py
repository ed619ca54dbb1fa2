"""viz.manifold: which code stands where, and on which scale."""

from statistics import NormalDist

import numpy as np
import pytest

from simplecell.errors import UsageError
from simplecell.viz import manifold

PLANE = np.eye(2, 4)  # the first latent lights the first pixel, the second the second


def whole(image, columns, side, zoom=1):
    """The tiles without the gaps between them."""
    pixels, gap = np.asarray(image).astype(int), max(2, zoom)
    step = side * zoom + gap
    kept = [gap + i * step + j for i in range(columns) for j in range(side * zoom)]
    return pixels[np.ix_(kept, kept)]


def test_codes_are_the_normals_quantiles_first_latent_right_second_up():
    seen = []

    def decode(codes):
        seen.append(codes)
        return codes @ PLANE

    picture = whole(manifold(decode, (2, 2), columns=4, zoom=1), 4, 2)[..., 0]
    codes = seen[0].reshape(4, 4, 2)
    quantiles = [NormalDist().inv_cdf(p) for p in (0.125, 0.375, 0.625, 0.875)]
    np.testing.assert_allclose(codes[2, :, 0], quantiles)
    np.testing.assert_allclose(codes[:, 1, 1], quantiles[::-1])
    right, up = picture[0::2, 0::2], picture[0::2, 1::2]
    assert (np.diff(right, axis=1) > 0).all()
    assert (np.diff(right, axis=0) == 0).all()
    assert (np.diff(up, axis=0) < 0).all()
    # one scale for all: the extremes of the whole picture, and zero at their middle
    assert (picture.min(), picture.max()) == (0, 255)
    assert set(picture[1::2, :].ravel()) == {128}


def test_two_of_many_latents_and_the_others_at_zero():
    seen = []

    def decode(codes):
        seen.append(codes)
        return np.abs(codes[:, :4])

    manifold(decode, (2, 2), columns=3, n_latents=5, latents=(3, 1))
    codes = seen[0]
    assert codes.shape == (9, 5)
    assert (codes[:, [0, 2, 4]] == 0).all()
    assert codes[0, 3] == codes[3, 3] < codes[1, 3]
    assert codes[0, 1] == codes[1, 1] > codes[3, 1]


def test_colour_and_sign():
    image = manifold(lambda codes: codes @ np.eye(2, 12), (2, 2, 3), columns=2, zoom=3)
    colour = whole(image, 2, 2, zoom=3)
    assert colour.shape == (12, 12, 3)
    # the red of the first pixel follows the first latent, its green the second
    assert colour[0, 0, 0] == 0 < colour[0, 6, 0] == 255
    assert colour[6, 0, 1] == 0 < colour[0, 0, 1] == 255
    around_zero = manifold(lambda codes: codes @ PLANE + 1, (2, 2), columns=1, signed=True, zoom=1)
    assert set(whole(around_zero, 1, 2).ravel().tolist()) == {255}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latents": (0, 0)}, "two different ones of 0 to 1"),
        ({"latents": (0, 2)}, "two different ones"),
        *[({"latents": w}, "two different ones") for w in ((0, 1, 2), 3, (0.0, 1.0), "01", None)],
        ({"n_latents": 2.5}, "n_latents is 2.5"),
        ({"columns": 0}, "columns is 0"),
        ({"columns": 1.5}, "columns is 1.5"),
        ({"zoom": 0}, "zoom is 0"),
    ],
)
def test_wrong_planes_are_named(options, words):
    with pytest.raises(UsageError, match=words):
        manifold(lambda codes: codes @ PLANE, (2, 2), **options)


def test_a_decoder_that_does_not_fit_is_named():
    with pytest.raises(UsageError, match="values has 2 columns"):
        manifold(lambda codes: codes, (2, 2))
    with pytest.raises(UsageError, match="gave 0 samples"):
        manifold(lambda codes: 3, (2, 2))
    with pytest.raises(UsageError, match="gave 399 samples for 400 codes"):
        manifold(lambda codes: codes[1:] @ PLANE, (2, 2))
