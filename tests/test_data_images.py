"""Pictures of every mode, broken pictures, and what is done to whole pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from simplecell.data import dead_leaves
from simplecell.data.images import (
    BrokenPictureError,
    halve,
    list_pictures,
    picture_of_array,
    read_picture,
    to_grey,
    whiten_1_over_f,
)
from simplecell.errors import DataError


def grey(h: int = 12, w: int = 17) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (h, w), dtype=np.uint8)


def color(h: int = 12, w: int = 17) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def close(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_grey_and_rgb() -> None:
    close(read_picture(png(Image.fromarray(grey()))).values, grey() / 255)
    close(read_picture(png(Image.fromarray(color()))).values, color() / 255)
    assert not read_picture(png(Image.fromarray(grey()))).jpeg


def test_transparency_lies_over_white() -> None:
    rgba = np.dstack([color(), grey()])
    alpha = grey()[:, :, None] / 255
    expected = color() / 255 * alpha + 1 - alpha
    close(read_picture(png(Image.fromarray(rgba))).values, expected)
    la = Image.merge("LA", [Image.fromarray(grey()), Image.fromarray(grey().T.copy().T)])
    share = grey() / 255
    close(to_grey(read_picture(png(la)).values), share * share + 1 - share)


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    palette = Image.fromarray(color()).quantize(16)
    expected = np.asarray(palette.convert("RGB")) / 255
    palette.save(tmp_path / "p.gif")
    close(read_picture(tmp_path / "p.gif").values, expected)
    clear = np.asarray(palette) == 3
    seen = read_picture(png(palette, transparency=3)).values
    assert (seen[clear] == 1).all()
    close(seen[~clear], expected[~clear])


def test_one_bit_cmyk_16_bit_32_bit_and_float() -> None:
    close(read_picture(Image.fromarray(grey() > 99)).values, grey() > 99)
    cmyk = Image.fromarray(color()).convert("CMYK")
    close(read_picture(cmyk).values, np.asarray(cmyk.convert("RGB")) / 255)
    deep = grey().astype(np.uint16) * 257
    close(read_picture(png(Image.fromarray(deep))).values, grey() / 255)
    close(read_picture(Image.fromarray(deep.astype(np.int32))).values, grey() / 255)
    close(read_picture(Image.fromarray((grey() / 255).astype(np.float32))).values, grey() / 255)
    wide = (grey().astype(np.float32) - 9) * 70
    values = read_picture(Image.fromarray(wide)).values
    assert (values.min(), values.max()) == (0, 1)
    wide[0, 0] = np.nan
    with pytest.raises(BrokenPictureError, match="NaN"):
        read_picture(Image.fromarray(wide))


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(grey()), Image.fromarray(255 - grey())]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    close(to_grey(read_picture(tmp_path / "a.gif").values), grey() / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    image = Image.fromarray(color())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = png(image, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    close(read_picture(data).values, np.asarray(upright) / 255)


def huge_png(side: int) -> bytes:
    """A picture that only says how large it is."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", b""),
    ]:
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    return data


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])
def test_huge_pictures_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(BrokenPictureError, match=r"more .*than the limit of 50 megapixels"):
        read_picture(huge_png(side))


def test_the_limit_can_be_moved() -> None:
    data = png(Image.fromarray(grey()))
    with pytest.raises(BrokenPictureError, match="17x12 pixels are more than the limit"):
        read_picture(data, max_pixels=203)
    read_picture(data, max_pixels=204)
    with pytest.raises(BrokenPictureError, match="broken"):  # allowed, but it has no pixels
        read_picture(huge_png(10_000), max_pixels=100_000_000)


def test_broken_pictures_have_short_reasons(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(color(200, 200)).save(buffer, "JPEG")
    for data, reason in [
        (buffer.getvalue()[: len(buffer.getvalue()) // 2], "truncated"),
        (b"this is text", "not a picture"),
        (b"", "not a picture"),
        (png(Image.fromarray(grey()))[:60], "broken"),
    ]:
        (tmp_path / "x.jpg").write_bytes(data)
        with pytest.raises(BrokenPictureError, match=reason) as caught:
            read_picture(tmp_path / "x.jpg")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_mutated_pictures_never_escape(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(color()).save(buffer, kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(buffer.getvalue())
        for at in rng.integers(0, len(data), size=4):
            data[at] = rng.integers(256)
        try:
            picture = read_picture(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]))
        except BrokenPictureError:
            continue
        assert np.isfinite(picture.values).all()


def test_list_pictures(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("b/2.PNG", "b/1.jpg", "a.tif", ".hidden.png", ".cache/x.png", "notes.txt"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert found == ["a.tif", "b/1.jpg", "b/2.PNG"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no pictures; files ending in \.bmp, .*\.webp"):
        list_pictures(tmp_path / "empty")


def test_pictures_of_arrays() -> None:
    close(picture_of_array(grey(), "p").values, grey() / 255)
    close(picture_of_array(grey()[:, :, None], "p").values, grey() / 255)
    close(picture_of_array(np.full((2, 2), 65535, np.uint16), "p").values, np.ones((2, 2)))
    close(picture_of_array(np.full((2, 2), -3.0), "p").values, np.full((2, 2), -3))
    for wrong, sentence in [
        (np.zeros((2, 2, 5, 1)), "has the shape"),
        (np.zeros(3), "has the shape"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([["a"]]), "not numbers"),
    ]:
        with pytest.raises(DataError, match=sentence):
            picture_of_array(wrong, "p")


def test_grey_weighs_the_colours() -> None:
    picture = np.eye(3, dtype=np.float32)[None]
    close(to_grey(picture), np.array([[0.299, 0.587, 0.114]]))
    close(to_grey(np.ones((2, 2, 3), np.float32)), np.ones((2, 2)))


def test_halving_averages_and_drops_the_odd_edge() -> None:
    picture = color(5, 7).astype(np.float32)
    expected = [
        [picture[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(0, 1)) for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(halve(picture), expected, rtol=1e-6)
    assert halve(picture[:, :, 0]).shape == (2, 3)


@pytest.mark.parametrize("shape", [(12, 12), (13, 20), (31, 9)])
def test_whitening_equals_the_slow_obvious_version(shape: tuple[int, int]) -> None:
    h, w = shape
    picture = np.random.default_rng(0).random(shape)
    y, x = np.arange(h), np.arange(w)
    total = np.zeros(shape, dtype=complex)
    for u in range(h):
        for v in range(w):
            fu, fv = (u if u <= h / 2 else u - h) / h, (v if v <= w / 2 else v - w) / w
            f = np.hypot(fu, fv)
            wave = np.exp(2j * np.pi * (u * y[:, None] / h + v * x / w))
            amplitude = (picture * wave.conj()).sum() / (h * w)
            total += amplitude * f * np.exp(-((f / 0.3) ** 4)) * wave
    expected = (total.real - total.real.mean()) / total.real.std()
    np.testing.assert_allclose(whiten_1_over_f(picture, 0.3), expected, atol=2e-5)


def test_whitening_flattens_the_spectrum_and_ignores_brightness() -> None:
    picture = dead_leaves(1, 128)[0]
    white = whiten_1_over_f(picture)
    assert white.dtype == np.float32
    assert abs(float(white.mean())) < 1e-5
    assert float(white.std()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(whiten_1_over_f(3 * picture + 7), white, atol=2e-4)
    power = np.abs(np.fft.fft2(white)) ** 2
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    low, middle = (power[(f > a) & (f < 2 * a)].mean() for a in (0.04, 0.12))
    assert 0.4 < low / middle < 2.5
    raw = np.abs(np.fft.fft2(picture)) ** 2
    assert raw[(f > 0.04) & (f < 0.08)].mean() > 5 * raw[(f > 0.12) & (f < 0.24)].mean()


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_a_constant_picture_becomes_zeros(value: float) -> None:
    assert (whiten_1_over_f(np.full((9, 10), value, np.float32)) == 0).all()
