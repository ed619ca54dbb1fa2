"""Pages, depth and bands: files that tifffile, Pillow, imageio and Netpbm's layout give, and what
each level of theirs is read as."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from simplecell.data import as_source, pages, tiff
from simplecell.data.images import read_picture
from simplecell.data.pixels import OWN_RANGE, BrokenPictureError
from simplecell.errors import DataError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (24, 30, 3), dtype=np.uint16)
DARK = (DEEP % 2231 + 500).astype(np.uint16)
STACK = RNG.integers(0, 256, (5, 24, 30), dtype=np.uint8)


def close(found, levels, white=65535):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.asarray(levels) / white, atol=2e-7)


def grey_png_chunks(levels, color_type):
    """A PNG of 16 bits as its standard lays it out, rows unfiltered."""
    h, w = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    body = [
        (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, color_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, held in body:
        data += struct.pack(">I", len(held)) + kind + held
        data += struct.pack(">I", zlib.crc32(kind + held))
    return data


def over(levels):
    """What lies over white of [h, w, c + 1] of 16 bits."""
    unit = levels / 65535
    return unit[:, :, :-1] * unit[:, :, -1:] + 1 - unit[:, :, -1:]


# --- 16 bits ---------------------------------------------------------------------------------


def test_a_png_of_16_bits_keeps_every_level(tmp_path):
    close(read_picture(grey_png_chunks(DARK, 2)).values, DARK)
    assert len(np.unique(read_picture(grey_png_chunks(DARK, 2)).values)) == len(np.unique(DARK))
    rgba = np.dstack([DEEP, DEEP[:, :, 0]])
    np.testing.assert_allclose(read_picture(grey_png_chunks(rgba, 6)).values, over(rgba), atol=1e-6)
    pair = DEEP[:, :, :2]
    found = read_picture(grey_png_chunks(pair, 4)).values
    np.testing.assert_allclose(found, over(pair)[:, :, 0], atol=1e-6)
    (tmp_path / "x.png").write_bytes(grey_png_chunks(DARK, 2))
    with Image.open(tmp_path / "x.png") as image:  # Pillow has read nothing of it yet
        close(read_picture(image).values, DARK)


@pytest.mark.parametrize("interlace", [False, True])
def test_a_png_that_pypng_wrote(interlace):
    png = pytest.importorskip("png")
    file = io.BytesIO()
    writer = png.Writer(30, 24, greyscale=False, bitdepth=16, interlace=interlace)
    writer.write(file, DARK.reshape(24, -1).tolist())
    close(read_picture(file.getvalue()).values, DARK)


@pytest.mark.parametrize("white", [65535, 4095, 1023])
def test_a_ppm_of_a_raw_converter_keeps_every_level(white):
    levels = np.minimum(DEEP, white)
    data = b"P6\n30 24\n%d\n" % white + levels.astype(">u2").tobytes()
    close(read_picture(data).values, levels, white)


def test_a_jpeg_2000_of_16_bits_is_no_8_bits(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpeg2k_encode(DEEP, level=0)
    with pytest.raises(BrokenPictureError, match="a JPEG 2000 of 16 bits a colour"):
        read_picture(data)


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_of_16_bits_keeps_every_level(tmp_path, planes, order, compression, tile):
    tifffile = pytest.importorskip("tifffile")
    if compression == "lzw":
        pytest.importorskip("imagecodecs")
    levels = DARK if planes == "contig" else np.ascontiguousarray(DARK.transpose(2, 0, 1))
    tifffile.imwrite(
        tmp_path / "x.tif",
        levels,
        photometric="rgb",
        planarconfig=planes,
        compression=compression,
        byteorder=order,
        tile=tile,
    )
    close(read_picture(tmp_path / "x.tif").values, DARK)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_transparency_of_16_bits_lies_over_white(tmp_path, planes):
    tifffile = pytest.importorskip("tifffile")
    rgba = np.dstack([DEEP, DEEP[:, :, 0]])
    levels = rgba if planes == "contig" else np.ascontiguousarray(rgba.transpose(2, 0, 1))
    how = {"photometric": "rgb", "planarconfig": planes}
    tifffile.imwrite(tmp_path / "x.tif", levels, extrasamples=["unassalpha"], **how)
    np.testing.assert_allclose(read_picture(tmp_path / "x.tif").values, over(rgba), atol=1e-6)
    tifffile.imwrite(tmp_path / "x.tif", levels, extrasamples=["unspecified"], **how)
    found = read_picture(tmp_path / "x.tif")
    close(found.values, DEEP)
    assert found.notes[0].startswith("1 more channel than colours")
    close(read_picture(tmp_path / "x.tif", channels="bands").values, rgba)


def test_floats_in_colour_and_numbers_without_a_white(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    unit = RNG.random((24, 30, 3), dtype=np.float32)
    tifffile.imwrite(tmp_path / "x.tif", unit, photometric="rgb")
    close(read_picture(tmp_path / "x.tif").values, unit, 1)
    assert read_picture(tmp_path / "x.tif").notes == ()
    tifffile.imwrite(tmp_path / "x.tif", unit * 50 - 3, photometric="rgb")
    found = read_picture(tmp_path / "x.tif")
    close(found.values, (unit - unit.min()) / (unit.max() - unit.min()), 1)
    assert found.notes == (OWN_RANGE,)
    wide = STACK[0].astype(np.uint32) * 16_000_000  # half of it is negative to Pillow
    tifffile.imwrite(tmp_path / "x.tif", wide)
    low, high = float(wide.min()), float(wide.max())
    close(read_picture(tmp_path / "x.tif").values, (wide - low) / (high - low), 1)
    tifffile.imwrite(tmp_path / "x.tif", DEEP[:, :, 0], photometric="miniswhite")
    close(read_picture(tmp_path / "x.tif").values, 65535 - DEEP[:, :, 0].astype(int))
    unit[0, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "x.tif", unit, photometric="rgb")
    with pytest.raises(BrokenPictureError, match="NaN"):
        read_picture(tmp_path / "x.tif")


def test_without_tifffile_a_sentence_names_the_extra(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "x.tif", DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError) as caught:
        as_source(tmp_path / "x.tif")
    assert str(caught.value) == (
        "the picture cannot be read: x.tif: is a TIFF of 3 channels of 16 bits in planes, which "
        "tifffile reads; it is not installed, say pip install 'simplecell[pictures]'"
    )


def test_a_compression_without_imagecodecs_names_the_extra(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    floats = RNG.random((24, 30, 3), dtype=np.float32)
    tifffile.imwrite(tmp_path / "x.tif", floats, photometric="rgb", compression="lzw")
    close(read_picture(tmp_path / "x.tif").values, floats, 1)
    monkeypatch.setattr(
        tifffile.tifffile.TiffPage, "asarray", _complain("requires the 'imagecodecs' package")
    )
    with pytest.raises(BrokenPictureError, match=r"compressed; say pip install 'simplecell\[pict"):
        read_picture(tmp_path / "x.tif")


def _complain(sentence):
    def asarray(*_, **__):
        raise ValueError(sentence)

    return asarray


def test_a_tiff_cut_off_is_broken_and_never_filled(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    floats = RNG.random((24, 30, 3), dtype=np.float32)
    for compression in (None, "zlib"):
        how = {"photometric": "rgb", "compression": compression, "rowsperstrip": 4}
        tifffile.imwrite(tmp_path / "x.tif", floats, **how)
        data = (tmp_path / "x.tif").read_bytes()
        (tmp_path / "x.tif").write_bytes(data[:-700])
        with pytest.raises(BrokenPictureError, match="broken"):
            read_picture(tmp_path / "x.tif")


# --- pages -----------------------------------------------------------------------------------


def levels_of(source):
    return np.unique(np.rint(source.read(slice(None)) * 255)).astype(int).tolist()


def plain_pages(count=12):
    return [Image.fromarray(np.full((24, 30), 20 * k, np.uint8)) for k in range(count)]


@pytest.mark.parametrize("name", ["m.tif", "m.gif", "m.png", "m.webp"])
def test_every_page_that_pillow_wrote_is_a_picture(tmp_path, name):
    first, *rest = plain_pages()
    how = {"lossless": True} if name.endswith("webp") else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, **how)
    source = as_source(tmp_path, sampling="tiles", kind="patches", patch=10)
    assert levels_of(source) == [20 * k for k in range(12)]
    assert source.notes == [f"{name} has 12 pages, each a picture of its own"]
    assert source.about(slice(6, 7)) == [{"file": name, "page": 2, "top": 0, "left": 0}]
    drawn = as_source(tmp_path / name, n_patches=200, seed=1)
    for x, place in zip(drawn.read(slice(None)), drawn.about(slice(None)), strict=True):
        np.testing.assert_allclose(x * 255, 20 * (place["page"] - 1), atol=1e-4)
    assert drawn.photograph(name, 3).getpixel((5, 5)) in (40, (40, 40, 40))
    whole = as_source(tmp_path / name, kind="array")
    assert (whole.n_samples, whole.shape) == (12, (24, 30))
    assert whole.about(slice(3, 4)) == [{"row": 3, "file": name, "page": 4}]


@pytest.mark.parametrize("writer", ["tifffile", "imagej", "ome", "bigtiff", "imageio"])
def test_every_page_that_scientists_wrote_is_a_picture(tmp_path, writer):
    tifffile, path = pytest.importorskip("tifffile"), tmp_path / "x.tif"
    if writer == "imageio":
        pytest.importorskip("imageio").v3.imwrite(path, STACK)
    else:
        how = {"tifffile": {}, "imagej": {"imagej": True}, "bigtiff": {"bigtiff": True}}
        ome = {"ome": True, "metadata": {"axes": "TYX"}, "photometric": "minisblack"}
        tifffile.imwrite(path, STACK, **how.get(writer, ome))
    whole = as_source(path, kind="array")
    close(whole.read(slice(None)), STACK.reshape(5, -1), 255)
    assert "x.tif has 5 pages, each a picture of its own" in whole.notes


def test_pages_of_16_bits_in_colour(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = np.stack([DARK, DEEP, DARK[::-1]])
    for planes in ("contig", "separate"):
        levels = pages if planes == "contig" else np.ascontiguousarray(pages.transpose(0, 3, 1, 2))
        tifffile.imwrite(tmp_path / "x.tif", levels, photometric="rgb", planarconfig=planes)
        whole = as_source(tmp_path / "x.tif", kind="array", color="color")
        close(whole.read(slice(None)), pages.reshape(3, -1))


@pytest.mark.parametrize("count", [3, 4])
def test_pages_that_a_writer_took_for_colours_are_said_and_can_be_pages(tmp_path, count):
    tifffile = pytest.importorskip("tifffile")
    with pytest.warns(DeprecationWarning, match="stored as RGB"):
        tifffile.imwrite(tmp_path / "x.tif", STACK[:count])
    one = as_source(tmp_path / "x.tif", kind="array")
    assert one.n_samples == 1
    assert one.notes == [
        "x.tif: colours stored as planes, taken for one picture as the header says; where each is "
        "a page of its own, data.channels=pages makes them pictures"
    ]
    several = as_source(tmp_path / "x.tif", kind="array", channels="pages")
    close(several.read(slice(None)), STACK[:count].reshape(count, -1), 255)
    assert [record["page"] for record in several.about(slice(None))] == list(range(1, count + 1))


def test_small_copies_and_masks_are_counted_and_left_out(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(STACK[0])
        file.write(STACK[0, ::2, ::2], subfiletype=1)
        file.write(STACK[0] > 99, subfiletype=4, photometric="mask")
    one = as_source(tmp_path / "x.tif", kind="array")
    close(one.read(slice(None)), STACK[:1].reshape(1, -1), 255)
    assert one.notes == ["x.tif: 2 pages that are a small copy or a mask of another, left out"]
    assert one.about(slice(None)) == [{"row": 0, "file": "x.tif"}]


@pytest.mark.parametrize("how", [{"imagej": True}, {}])
def test_pages_without_a_header_are_counted(tmp_path, how):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "x.tif", STACK, truncate=True, **how)
    source = as_source(tmp_path / "x.tif", kind="array")
    assert source.n_samples == 1
    assert source.notes[0].startswith(
        "x.tif: its description speaks of 5 pages, but only 1 can be found by its headers; the "
        "other 4 are left out"
    )


def test_a_broken_page_is_skipped_by_its_number(tmp_path):
    first, *rest = plain_pages(4)
    first.save(tmp_path / "x.tif", save_all=True, append_images=rest)
    data = bytearray((tmp_path / "x.tif").read_bytes())
    third = tiff.pages_of(tmp_path / "x.tif")[2]
    entries = struct.unpack_from("<H", data, third.offset)[0]
    for k in range(entries):
        if struct.unpack_from("<H", data, third.offset + 2 + 12 * k)[0] == 273:  # StripOffsets
            struct.pack_into("<I", data, third.offset + 2 + 12 * k + 8, 10**7)
    (tmp_path / "x.tif").write_bytes(data)
    source = as_source(tmp_path, kind="patches", n_patches=60, patch=5)
    assert [one.file for one in source.skipped] == ["x.tif, page 3"]
    assert levels_of(source) == [0, 20, 60]


def test_images_of_pillow_have_pages_too(tmp_path):
    first, *rest = plain_pages(3)
    first.save(tmp_path / "x.gif", save_all=True, append_images=rest)
    with Image.open(tmp_path / "x.gif") as image:
        image.seek(1)
        whole = as_source(image, kind="array")
        assert [record.get("page") for record in whole.about(slice(None))] == [1, 2, 3]
        assert image.tell() == 1
    assert levels_of(whole) == [0, 20, 40]


def test_records_come_a_page_or_a_file(tmp_path):
    first, *rest = plain_pages(3)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    first.save(tmp_path / "b.png")
    for rows, expected in [("w\np\nq\nr\ns\n", "pqrs"), ("w\nann\nbob\n", None)]:
        (tmp_path / "m.csv").write_text(rows)
        whole = as_source(tmp_path, kind="array", meta=str(tmp_path / "m.csv"))
        found = [record["w"] for record in whole.about(slice(None))]
        assert found == (list(expected) if expected else ["ann", "ann", "ann", "bob"])
    (tmp_path / "m.csv").write_text("w\np\nq\nr\n")
    with pytest.raises(DataError, match="3 records of meta came for 4 pictures in 2 files"):
        as_source(tmp_path, kind="array", meta=str(tmp_path / "m.csv"))


def test_all_pages_together_are_held_against_the_file(tmp_path):
    frames = [Image.new("L", (900, 900), k) for k in range(4)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    as_source(tmp_path / "x.gif", n_patches=5)
    with pytest.raises(DataError, match="its 4 pages of 3 megapixels together are over the limit"):
        as_source(tmp_path / "x.gif", n_patches=5, max_pixels=10**6)
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    as_source(tmp_path / "x.tif", n_patches=5, max_pixels=10**6)  # 3 MB may have as many pixels
    with pytest.raises(DataError, match="900x900 pixels are more than the limit"):
        as_source(tmp_path / "x.tif", n_patches=5, max_pixels=10**5)


def test_frames_that_are_only_declared_are_refused(tmp_path):
    first, *rest = plain_pages(3)
    first.save(tmp_path / "x.png", save_all=True, append_images=rest)
    data = bytearray((tmp_path / "x.png").read_bytes())
    at = data.index(b"acTL")
    struct.pack_into(">I", data, at + 4, 2**31 - 1)
    struct.pack_into(">I", data, at + 12, zlib.crc32(bytes(data[at : at + 12])))
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match=r"broken: 2147483647 pages are declared in \d+ bytes"):
        as_source(tmp_path / "x.png")


def test_headers_in_a_circle_end(tmp_path, monkeypatch):
    first, *rest = plain_pages(3)
    first.save(tmp_path / "x.tif", save_all=True, append_images=rest)
    data = bytearray((tmp_path / "x.tif").read_bytes())
    offsets = [page.offset for page in tiff.pages_of(tmp_path / "x.tif")]
    end = offsets[2] + 2 + 12 * struct.unpack_from("<H", data, offsets[2])[0]
    struct.pack_into("<I", data, end, offsets[0])
    assert [page.offset for page in tiff.pages_of(bytes(data))] == offsets
    monkeypatch.setattr(tiff, "MOST_PAGES", 2)
    with pytest.raises(BrokenPictureError, match="more than 2 pages; split it"):
        tiff.pages_of(bytes(data))


def test_mutated_stacks_never_escape(tmp_path):
    first, *rest = plain_pages(3)
    for kind in ("tif", "gif", "png", "webp"):
        first.save(tmp_path / f"x.{kind}", save_all=True, append_images=rest)
        whole = (tmp_path / f"x.{kind}").read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for at in RNG.integers(0, len(data), size=3):
                data[at] = RNG.integers(256)
            (tmp_path / f"y.{kind}").write_bytes(data)
            try:
                source = as_source(tmp_path / f"y.{kind}", n_patches=5, patch=4)
            except DataError:
                continue
            assert np.isfinite(source.read(slice(None))).all()


def test_a_jfif_is_a_jpeg(tmp_path):
    Image.fromarray(STACK[0]).save(tmp_path / "x.jfif", "JPEG", quality=95)
    whole = as_source(tmp_path, kind="array")
    np.testing.assert_allclose(whole.read(slice(None))[0], STACK[0].ravel() / 255, atol=0.15)
    assert whole.about(slice(None)) == [{"row": 0, "file": "x.jfif"}]


def test_a_camera_s_second_picture_is_counted(tmp_path):
    first, second = (Image.fromarray(one) for one in STACK[:2])
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    one = as_source(tmp_path / "x.jpg", kind="array")
    assert one.notes == [
        "x.jpg: 1 more picture in the same file (a preview, depth, a second eye), left out"
    ]


# --- bands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4, 5, 12])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_bands_are_channels(tmp_path, count, planes, dtype):
    tifffile = pytest.importorskip("tifffile")
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    levels = (RNG.random((24, 30, count)) * white).astype(dtype)
    held = levels if planes == "contig" else np.ascontiguousarray(levels.transpose(2, 0, 1))
    extra = ["unspecified"] * (count - 1)
    how = {"photometric": "minisblack", "planarconfig": planes, "extrasamples": extra}
    tifffile.imwrite(tmp_path / "x.tif", held, **how)
    source = as_source(tmp_path / "x.tif", kind="patches", patch=6, sampling="tiles")
    assert source.shape == (6, 6, count)
    close(source.read(slice(0, 1))[0], levels[:6, :6].astype(float).ravel(), white)
    assert source.notes == [
        f"x.tif: {count} channels that are no colours, kept as bands, all of them inputs (of a "
        "TIFF, data.channels=pages makes each a picture of its own)"
    ]
    if count != 3:
        assert source.input_names[count] == "row 0, column 1, band 0"
    split = as_source(tmp_path / "x.tif", kind="array", channels="pages")
    close(
        split.read(slice(None)), levels.astype(float).transpose(2, 0, 1).reshape(count, -1), white
    )


def test_bands_are_whitened_one_by_one_and_arrays_have_them_too():
    cubes = [RNG.random((40, 44, 6)), RNG.random((48, 40, 6))]
    source = as_source(cubes, kind="patches", patch=8, n_patches=50, whiten="1/f")
    assert source.shape == (8, 8, 6)
    assert source.photograph("the list[1]").size == (40, 48)
    pair = as_source([cubes[0][:, :, :2], cubes[1][:, :, :2]], patch=8, n_patches=50)
    assert pair.shape == (8, 8, 2)


def test_bands_and_others_are_not_mixed(tmp_path):
    mixed = [RNG.random((20, 20, 5)), RNG.random((24, 20))]
    with pytest.raises(
        DataError, match=r"the list\[0\] has 5 channels a pixel, but the list\[1\] h"
    ):
        as_source(mixed, patch=8, n_patches=50)


def test_the_limit_counts_bands(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    how = {"photometric": "minisblack", "planarconfig": "contig"}
    extra = ["unspecified"] * 19
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((50, 60, 20), "u1"), extrasamples=extra, **how)
    read_picture(tmp_path / "x.tif", max_pixels=15_000)
    with pytest.raises(BrokenPictureError, match="60x50 pixels of 20 channels are more than the"):
        read_picture(tmp_path / "x.tif", max_pixels=14_999)


def test_one_animation_is_kept_open_and_no_more(tmp_path):
    first, *rest = plain_pages(3)
    first.save(tmp_path / "x.gif", save_all=True, append_images=rest)
    shared = pages.OneFile()
    openers = pages.pages_of_file(tmp_path / "x.gif", 10**6, "x.gif", "auto", shared)
    kept = []
    for k in (0, 1, 0, 2):
        value = openers[k].open().values
        assert float(value.max()) == pytest.approx(20 * k / 255, abs=1e-6)
        kept.append(shared.image)
    assert kept[0] is kept[1]
    assert kept[3] is None
