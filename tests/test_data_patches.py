"""Patches: each equals the crop that `about` says it is, and depends on (seed, i) only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simplecell.data import PatchSource, Skipped, split
from simplecell.data.images import (
    Gallery,
    Opener,
    Preparation,
    openers_of_arrays,
    picture_of_array,
    read_picture,
)
from simplecell.data.images import openers_of_files as files
from simplecell.data.patches import random_patches, tiles
from simplecell.errors import DataError

RNG = np.random.default_rng(0)
SIZES = [(20, 30), (31, 17), (40, 40)]
ARRAYS = [RNG.random(size, dtype=np.float32) for size in SIZES]


def gallery(patch: int = 8, pictures: list[np.ndarray] = ARRAYS, **how: str) -> Gallery:
    return Gallery(openers_of_arrays(pictures, "p"), Preparation(patch=patch, **how))  # type: ignore[arg-type]


def test_a_patch_is_the_crop_at_its_place() -> None:
    source = random_patches(gallery(), 200)
    assert source.shape == (8, 8)
    for x, place in zip(source.read(slice(None)), source.about(slice(None)), strict=True):
        picture = ARRAYS[int(place["file"][2])]
        crop = picture[place["top"] : place["top"] + 8, place["left"] : place["left"] + 8]
        np.testing.assert_array_equal(x.reshape(8, 8), crop)


def test_a_colour_patch_has_its_channels_last() -> None:
    pictures = [RNG.random((20, 20, 3), dtype=np.float32), ARRAYS[0]]
    source = random_patches(gallery(5, pictures, color="color"), 60)
    assert source.shape == (5, 5, 3)
    for x, place in zip(source.read(slice(None)), source.about(slice(None)), strict=True):
        picture = pictures[int(place["file"][2])]
        picture = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
        crop = picture[place["top"] : place["top"] + 5, place["left"] : place["left"] + 5]
        np.testing.assert_array_equal(x.reshape(5, 5, 3), crop)


def test_pictures_and_places_are_drawn_alike() -> None:
    source = random_patches(gallery(14), 30_000, held_out=0)
    places = source.about(slice(None))
    counts = np.bincount([int(place["file"][2]) for place in places])
    np.testing.assert_allclose(counts, 10_000, rtol=0.03)
    lefts = np.bincount([p["left"] for p in places if p["file"] == "p[1]"])
    assert len(lefts) == 17 - 14 + 1
    np.testing.assert_allclose(lefts, 2_500, rtol=0.08)
    tops = np.bincount([p["top"] for p in places if p["file"] == "p[1]"])
    assert len(tops) == 31 - 14 + 1
    both = np.array([(p["top"], p["left"]) for p in places if p["file"] == "p[2]"]).T
    assert abs(np.corrcoef(both)[0, 1]) < 0.05


def write_photographs(folder: Path) -> list[Path]:
    """Three good pictures, one smaller than a patch, one cut off, one that is no picture."""
    for k, (h, w) in enumerate([(90, 100), (100, 90), (80, 80)]):
        pixels = np.random.default_rng(k).integers(0, 256, (h, w, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.jpg")
    Image.fromarray(np.zeros((5, 9), np.uint8)).save(folder / "small.png")
    data = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "text.jpg").write_text("no picture")
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("error")
def test_unusable_pictures_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path)
    source = random_patches(Gallery(files(tmp_path, 10**6), Preparation(patch=8)), 300)
    assert [skipped.file for skipped in source.skipped] == ["cut.jpg", "small.png", "text.jpg"]
    assert source.skipped[1] == Skipped("small.png", "9x5 pixels, smaller than a patch of 8x8")
    assert {place["file"] for place in source.about(slice(None))} == {p.name for p in paths[:3]}
    with pytest.raises(DataError, match=r"cut\.jpg: broken: .*truncated"):
        random_patches(Gallery(files(tmp_path, 10**6), Preparation(patch=8), False), 300)


def test_patch_i_does_not_depend_on_how_many(tmp_path: Path) -> None:
    write_photographs(tmp_path)

    def read(n: int, seed: int = 0) -> tuple[np.ndarray, PatchSource]:
        how = Preparation(patch=8, whiten="1/f")
        source = random_patches(Gallery(files(tmp_path, 10**6), how), n, seed=seed)
        return source.read(slice(None)), source

    (many, _), (few, short) = read(400), read(60)
    np.testing.assert_array_equal(many[:60], few)
    assert short.held_out is not None
    np.testing.assert_array_equal(many[60:66], short.held_out.read(slice(None)))
    assert not np.array_equal(read(60, seed=1)[0], few)


def test_each_picture_is_decoded_once_when_all_are_usable() -> None:
    opened: list[int] = []

    def opener(k: int) -> Opener:
        return Opener(str(k), lambda: (opened.append(k), picture_of_array(ARRAYS[k], ""))[1])

    random_patches(Gallery([opener(k) for k in range(3)], Preparation(patch=8)), 500)
    assert opened == [0, 1, 2]


def test_all_requested_patches_are_trained_on() -> None:
    source = random_patches(gallery(), 70, held_out=0.1)
    train, held = split(source, 0.1, seed=0)
    assert train is source
    assert held is not None
    assert (train.n_samples, held.n_samples) == (70, 7)
    assert split(source, 0.0, seed=0) == (source, None)
    assert random_patches(gallery(), 70, held_out=0).held_out is None
    assert held.about(slice(0, 1))[0].keys() == {"file", "top", "left"}


def test_no_usable_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"50x50 pixels fits in none of the 3 .* is 40x40 \(p\[2\]"):
        random_patches(gallery(50), 10)
    with pytest.raises(DataError, match="fits in none"):
        tiles(gallery(50))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("text")
    with pytest.raises(DataError, match=r"none of the 2 pictures can be read; the first, a\.jpg"):
        random_patches(Gallery(files(tmp_path, 10**6), Preparation(patch=8)), 10)
    with pytest.raises(DataError, match=r"the picture cannot be read: a\.jpg: not a picture"):
        tiles(Gallery(files(tmp_path / "a.jpg", 10**6), Preparation(patch=8)))


def test_tiles_cover_every_picture_in_order() -> None:
    source = tiles(gallery(8))
    assert source.n_samples == 2 * 3 + 3 * 2 + 5 * 5
    places = source.about(slice(None))
    assert [(p["top"], p["left"]) for p in places[:4]] == [(0, 0), (0, 8), (0, 16), (8, 0)]
    assert places[-1] == {"file": "p[2]", "top": 32, "left": 32}
    for x, place in zip(source.read(slice(None)), places, strict=True):
        picture = ARRAYS[int(place["file"][2])]
        crop = picture[place["top"] : place["top"] + 8, place["left"] : place["left"] + 8]
        np.testing.assert_array_equal(x.reshape(8, 8), crop)


def test_photographs_are_halved_and_say_where_they_were(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    how = Preparation(patch=8, whiten="1/f")
    source = random_patches(Gallery(files(tmp_path, 10**6), how), 50)
    assert source.notes[0].startswith("3 JPEG photographs were averaged to half size")
    assert len(source.notes) == 1
    place = source.about(slice(0, 1))[0]
    whole, scale = how.apply(read_picture(tmp_path / place["file"]))
    assert scale == 2 == place["scale"]
    top, left = place["top"] // 2, place["left"] // 2
    crop = whole[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(source.read(slice(0, 1)).reshape(8, 8), crop)


@pytest.mark.parametrize(
    ("how", "jpeg", "scale"),
    [
        ({"whiten": "1/f"}, True, 2),
        ({"whiten": "1/f"}, False, 1),
        ({"whiten": "none"}, True, 1),
        ({"whiten": "1/f", "shrink": "none"}, True, 1),
        ({"whiten": "none", "shrink": "half"}, False, 2),
        ({"whiten": "1/f", "patch": 11}, True, 1),
    ],
)
def test_what_is_halved(how: dict[str, object], jpeg: bool, scale: int, tmp_path: Path) -> None:
    path = tmp_path / ("x.jpg" if jpeg else "x.png")
    Image.fromarray(np.arange(80 * 90, dtype=np.uint8).reshape(80, 90) % 251).save(path)
    values, got = Preparation(**{"patch": 10} | how).apply(read_picture(path))  # type: ignore[arg-type]
    assert got == scale
    assert values.shape == (80 // scale, 90 // scale)
