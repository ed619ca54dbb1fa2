"""viz.grid and viz.reconstructions: pixel values at known places."""

import numpy as np
import pytest
from PIL import Image

from simplecell.errors import DataError, UsageError
from simplecell.viz import most_tiles, near_square, rows_of_tiles, tiles
from simplecell.viz.grid import GAP, LARGEST, side_by_side

RNG = np.random.default_rng(0)


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_signed_tiles_are_scaled_by_their_own_maximum_around_mid_grey():
    picture = pixels(tiles([[0, 1, -1, 0.5], [0, 100, -50, 0]], (2, 2), zoom=4, columns=2))
    # gap of 4 pixels, tiles of 8: a source pixel (row, column) of tile i starts here
    at = lambda i, row, column: picture[4 + 4 * row + 1, 4 + 12 * i + 4 * column + 1]  # noqa: E731
    assert [at(0, r, c)[0] for r in (0, 1) for c in (0, 1)] == [128, 255, 0, 191]
    assert [at(1, r, c)[0] for r in (0, 1) for c in (0, 1)] == [128, 255, 64, 128]
    # enlarged by whole blocks, grey in all three channels
    assert (picture[4:8, 8:12] == 255).all()


def test_unsigned_tiles_go_from_their_own_least_to_their_own_largest():
    picture = pixels(tiles([[2, 3, 4, 2], [-1, -1, 1, 9]], (2, 2), zoom=4, signed=False))
    assert [picture[r, c, 0] for r in (5, 9) for c in (5, 9)] == [0, 128, 255, 0]
    assert [picture[r, c, 0] for r in (5, 9) for c in (17, 21)] == [0, 0, 51, 255]


@pytest.mark.parametrize(("signed", "shades"), [(True, [191, 255]), (False, [0, 255])])
def test_shared_tiles_have_one_scale(signed, shades):
    values = [[1, 1, 1, 1], [2, 2, 2, 2]]
    picture = pixels(tiles(values, (2, 2), zoom=4, columns=2, signed=signed, shared=True))
    assert [picture[6, 6, 0], picture[6, 18, 0]] == shades
    alone = pixels(tiles(values, (2, 2), zoom=4, columns=2, signed=signed))
    assert alone[6, 6, 0] == alone[6, 18, 0]


@pytest.mark.parametrize("signed", [True, False])
def test_an_empty_tile_is_mid_grey(signed):
    assert (pixels(tiles(np.zeros((1, 4)), (2, 2), zoom=4, signed=signed))[4:12, 4:12] == 128).all()


def test_a_constant_tile_of_data_is_mid_grey_even_with_rounding():
    values = np.full((1, 9), 0.1, dtype=np.float32)
    values[0, 0] = np.nextafter(values[0, 0], np.float32(1))
    picture = pixels(tiles(values, (3, 3), zoom=4, signed=False))
    assert np.ptp(picture[4:16, 4:16].astype(int)) == 0
    assert picture[5, 5, 0] == 128


@pytest.mark.parametrize("size", [1e-310, 1e300])
def test_very_small_and_very_large_weights_keep_their_picture(size):
    values = RNG.normal(size=(3, 16))
    scaled = values * size
    if size > 1:
        assert tiles(scaled, (4, 4)).tobytes() == tiles(values, (4, 4)).tobytes()
    else:  # subnormal numbers have few digits
        near = pixels(tiles(scaled, (4, 4))).astype(int) - pixels(tiles(values, (4, 4)))
        assert np.abs(near).max() <= 1


def test_gaps_and_border_have_their_own_shade():
    picture = pixels(tiles(RNG.normal(size=(6, 16)), (4, 4), zoom=5, columns=3, gap=2))
    gap, step = 10, 30
    assert picture.shape == (gap + 2 * step, gap + 3 * step, 3)
    inside = np.zeros(picture.shape[:2], dtype=bool)
    for row in range(2):
        for column in range(3):
            inside[gap + row * step :, gap + column * step :][:20, :20] = True
    assert (picture[~inside] == GAP).all()
    assert (picture[inside] != GAP).any(axis=1).all()


def test_a_gap_is_at_least_two_pixels_wide():
    assert tiles(np.eye(4), (2, 2), zoom=1, gap=1).size == (2 + 2 * 4, 2 + 2 * 4)
    assert tiles(np.eye(4), (2, 2), zoom=1, gap=0).size == (10, 10)


def test_colour_is_row_major_channels_last_with_one_scale_for_the_channels():
    red_then_dim_green = np.zeros((1, 2, 2, 3))
    red_then_dim_green[0, 0, 0, 0] = 4
    red_then_dim_green[0, 0, 1, 1] = 2
    red_then_dim_green[0, 1, 0, 2] = -4
    picture = pixels(tiles(red_then_dim_green.reshape(1, 12), (2, 2, 3), zoom=4))
    assert picture[5, 5].tolist() == [255, 128, 128]
    assert picture[5, 9].tolist() == [128, 191, 128]
    assert picture[9, 5].tolist() == [128, 128, 0]


def test_bands_stand_side_by_side():
    bands = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)  # [n, h, w, c]
    beside, shape = side_by_side(bands.reshape(2, -1), (3, 4, 5))
    assert shape == (3, 20)
    for b in range(5):
        found = beside.reshape(2, 3, 20)[:, :, 4 * b : 4 * b + 4]
        np.testing.assert_array_equal(found, bands[..., b])
    for same in ((3, 4), (3, 4, 3)):
        assert side_by_side(bands, same) == (bands, same)


def test_tall_tiles_are_not_transposed():
    picture = pixels(tiles([[1, 0, 0, 0, 0, -1]], (3, 2), zoom=4))
    assert picture.shape[:2] == (4 + 16, 4 + 12)
    assert picture[5, 5, 0] == 255
    assert picture[13, 9, 0] == 0


def test_columns_are_as_in_the_notes():
    assert [near_square(n) for n in (1, 2, 25, 100, 196, 6, 30, 7, 13)] == [
        1, 2, 5, 10, 14, 3, 6, 3, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "side"), [(25, 8), (100, 10), (36, 28), (1, 8)])
def test_a_default_picture_is_about_800_pixels_wide(n, side):
    image = tiles(RNG.normal(size=(n, side * side)), (side, side))
    assert 600 <= image.width <= 1000
    assert image.width == image.height


def test_many_small_patches_stay_fourfold_and_within_the_limit():
    assert tiles(RNG.normal(size=(1024, 64)), (8, 8)).width == 4 + 32 * 36
    assert max(tiles(np.eye(100), (10, 10), columns=1).size) <= LARGEST


def test_too_many_tiles_are_refused_and_most_tiles_says_how_many_fit(monkeypatch):
    with pytest.raises(UsageError, match=r"14000×14000 pixels.*fewer tiles"):
        tiles(np.eye(4), (2, 2), zoom=2000)
    monkeypatch.setattr("simplecell.viz.grid.LARGEST", 62)
    assert most_tiles((4, 4)) == 100
    for n in range(1, 101):  # 99 = 11 × 9 would be too wide
        assert max(tiles(np.zeros((n, 16)), (4, 4)).size) <= 62
    with pytest.raises(UsageError, match="at most 62 a side"):
        tiles(np.zeros((101, 16)), (4, 4))
    assert most_tiles((4, 4), labels=True) == 4
    assert most_tiles((4, 4), gap=5) == 36


def test_labels_are_written_below_and_cut_to_the_tile():
    values = RNG.normal(size=(2, 64))
    short = pixels(tiles(values, (8, 8), zoom=8, labels=["a", "b"]))
    assert short.shape == (8 + 64 + 18 + 8, 8 + 2 * 72, 3)
    below = short[72:90]
    assert (below[:, 8:72] != GAP).any()
    assert (below[:, 72:80] == GAP).all()
    long = pixels(tiles(values, (8, 8), zoom=8, labels=["very " * 20, "$x_1$\nμ"]))
    assert (long[72:90, 72:80] == GAP).all()


@pytest.mark.parametrize(
    ("values", "shape", "options", "message"),
    [
        (np.ones((2, 60)), (8, 8), {}, r"values has 60 columns, but shape \(8, 8\) needs 64"),
        (np.ones((2, 64)), (8, 8, 3), {}, r"needs 192"),
        (np.ones((2, 64)), (8, 4, 2), {}, r"a tile is \(h, w\) or \(h, w, 3\)"),
        (np.ones((2, 64)), (-8, -8), {}, r"a tile is"),
        *[
            (np.ones((2, 64)), wrong, {}, r"a tile is")
            for wrong in (8, "88", (8.0, 8.0), (8, None))
        ],
        *[
            (np.ones((2, 4)), (2, 2), {name: 1.5}, f"{name} is 1.5.* whole number")
            for name in ("zoom", "columns", "gap")
        ],
        (np.ones(64), (8, 8), {}, r"has shape \(64,\)"),
        (np.ones((0, 64)), (8, 8), {}, r"n > 0"),
        (np.array([["a"] * 4]), (2, 2), {}, r"real numbers"),
        (np.ones((2, 4)), (2, 2), {"labels": ["a"]}, r"labels has 1 entries, but values has 2"),
        (np.ones((2, 4)), (2, 2), {"zoom": 0}, r"zoom is 0"),
        (np.ones((2, 4)), (2, 2), {"columns": -1}, r"columns is -1"),
        (np.ones((2, 4)), (2, 2), {"gap": -1}, r"gap is -1"),
    ],
)
def test_wrong_sizes_are_named(values, shape, options, message):
    with pytest.raises(UsageError, match=message):
        tiles(values, shape, **options)


def test_values_that_are_not_finite_are_named_with_their_row():
    values = np.ones((5, 4))
    values[3, 1] = np.nan
    values[4, 0] = np.inf
    with pytest.raises(DataError, match=r"2 values that are not finite, the first in row 3"):
        tiles(values, (2, 2))


def test_tiles_neither_change_their_input_nor_vary():
    values = RNG.normal(size=(7, 27))
    values.setflags(write=False)
    kept = values.copy()
    first = tiles(values, (3, 3, 3), labels=list("abcdefg"))
    assert first.tobytes() == tiles(values, (3, 3, 3), labels=list("abcdefg")).tobytes()
    assert (values == kept).all()


def test_input_and_output_share_a_scale_and_the_difference_has_its_own():
    given, made = np.array([[0.0, 1.0, 2.0, 2.0]]), np.array([[1.0, 1.0, 1.0, 4.0]])
    picture = pixels(rows_of_tiles([given, made, given - made], (2, 2), zoom=8))
    wanted = [[0, 64, 128, 128], [64, 64, 64, 255], [64, 128, 191, 0]]
    # the first tile's left edge is where the first row's gap shade and text end
    left = picture.shape[1] - 1
    while (picture[12 + 4, left] == GAP).all():
        left -= 1
    left -= 15
    for row, greys in enumerate(wanted):
        top = 12 + row * (16 + 8)
        found = [picture[top + 8 * r + 4, left + 8 * c + 4, 0] for r in (0, 1) for c in (0, 1)]
        assert found == greys


def test_many_reconstructions_wrap_into_bands():
    values = RNG.uniform(size=(50, 784))
    image = rows_of_tiles([values, values, values * 0], (28, 28))
    assert image.width <= 850
    assert image.height > 4 * (3 * 56)
    one_row = rows_of_tiles([values[:12], values[:12], values[:12] * 0], (28, 28), columns=6)
    assert one_row.height < image.height


@pytest.mark.parametrize("n", [13, 25, 14])
def test_bands_of_reconstructions_are_of_one_length(n):
    """Twelve of these tiles fit: 13 are 7 and 6, not 12 and 1."""
    values = RNG.uniform(size=(n, 784))
    alone = rows_of_tiles([values, values, values * 0], (28, 28))
    even = -(-n // -(-n // 12))
    told = rows_of_tiles([values, values, values * 0], (28, 28), columns=even)
    assert alone.tobytes() == told.tobytes()


def test_signed_reconstructions_keep_zero_mid_grey():
    values = np.array([[0.0, 1.0, 2.0, 3.0]])
    unsigned = pixels(rows_of_tiles([values, values, values * 0], (2, 2), zoom=8))
    signed = pixels(rows_of_tiles([values, values, values * 0], (2, 2), zoom=8, signed=True))
    zeros = (signed[12:28] == 128).all(axis=2).sum()
    assert zeros >= 64
    assert (unsigned[12:28] == 128).all(axis=2).sum() < 64


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([np.ones((2, 4))] * 2, "2 groups"),
        ([np.ones((2, 4)), np.ones((2, 4)), np.ones((3, 4))], "input 2, output 2, difference 3"),
        ([np.ones((2, 4)), np.ones((2, 5)), np.ones((2, 4))], "output has 5 columns"),
    ],
)
def test_reconstructions_that_do_not_match_are_named(groups, message):
    with pytest.raises(UsageError, match=message):
        rows_of_tiles(groups, (2, 2))
