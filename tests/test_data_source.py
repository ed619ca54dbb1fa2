"""The door: what each kind of data becomes, and the sentence for what cannot become anything."""

from __future__ import annotations

import inspect
import os
import tarfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io
from scipy import sparse

from simplecell.data import ArraySource, Source, as_source, dead_leaves, split
from simplecell.data.options import Options, Reading
from simplecell.errors import DataError, UsageError
from simplecell.run.schema import Data

LEAVES = dead_leaves(2, 96)


def real(path: str) -> Path:
    folder = os.environ.get("SIMPLECELL_DATA")
    if not folder:
        pytest.skip("SIMPLECELL_DATA does not name the folder of real data")
    return Path(folder) / path


@pytest.mark.parametrize(
    ("data", "kind", "shape", "n"),
    [
        (np.zeros((5, 3)), "array", (3,), 5),
        ([[1, 2], [3, 4], [5, 6]], "array", (2,), 3),
        (sparse.csr_array(np.eye(4)), "array", (4,), 4),
        (np.zeros((5, 28, 28)), "pictures", (28, 28), 5),
        (np.zeros((5, 32, 32, 3), np.uint8), "pictures", (32, 32, 3), 5),
        (np.zeros((5, 8, 8, 1)), "pictures", (8, 8), 5),
        (LEAVES, "patches", (10, 10), 200),
        ([LEAVES[0], LEAVES[1, :70]], "array", (96,), 166),
        (list(LEAVES), "array", (96,), 192),
        ([LEAVES[0], LEAVES[1, :70, :80]], "patches", (10, 10), 200),
        (list((LEAVES * 255).astype(np.uint8)), "patches", (10, 10), 200),
        (np.zeros((20, 30, 3), np.uint8), "patches", (10, 10), 200),
        (Image.fromarray((LEAVES[0] * 255).astype(np.uint8)), "patches", (10, 10), 200),
        ([Image.new("L", (20, 20))], "patches", (10, 10), 200),
    ],
)
def test_kind_by_what_came(data: Any, kind: str, shape: tuple[int, ...], n: int) -> None:
    source = as_source(data, n_patches=200)
    assert (source.kind, source.shape, source.n_samples) == (kind, shape, n)
    assert source.n_inputs == np.prod(shape)
    assert source.read(slice(0, 2)).shape == (2 if n > 1 else 1, source.n_inputs)


def test_kind_can_be_said() -> None:
    whole = as_source(LEAVES, kind="array")
    assert (whole.kind, whole.shape) == ("pictures", (96, 96))
    np.testing.assert_array_equal(whole.read(slice(None)), LEAVES.reshape(2, -1))
    assert as_source(np.zeros((3, 28, 28)), kind="patches", patch=8).shape == (8, 8)
    assert as_source(LEAVES[0], kind="patches").kind == "patches"
    assert as_source(LEAVES[0]).kind == "array"
    assert as_source(np.zeros((64, 70, 3)), kind="patches", color="color").shape == (10, 10, 3)
    white = as_source(LEAVES, kind="array", whiten="1/f").read(slice(None))
    np.testing.assert_allclose(white.std(axis=1), 1, rtol=1e-4)


def test_a_source_is_returned_as_it_is() -> None:
    source = ArraySource(np.zeros((2, 2)))
    assert as_source(source) is source
    assert isinstance(source, Source)


def test_bytes_of_pictures_are_scaled_and_numbers_are_not() -> None:
    full = np.full((2, 4, 4), 255, dtype=np.uint8)
    assert (as_source(full).read(slice(None)) == 1).all()
    assert (as_source(full.reshape(2, 16)).read(slice(None)) == 255).all()
    assert (as_source(np.full((2, 4, 4), 65535, np.uint16)).read(slice(None)) == 1).all()


def test_samples_in_columns() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(as_source(x, samples="columns").read(slice(None)), x.T)
    same = as_source(sparse.csr_array(x), samples="columns").read(slice(None))
    np.testing.assert_array_equal(same, x.T)


def test_matlab_has_the_sample_last(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).random((5, 6, 7))
    scipy_io.savemat(tmp_path / "p.mat", {"p": pictures})
    source = as_source(tmp_path / "p.mat")
    assert (source.shape, source.n_samples) == ((5, 6), 7)
    np.testing.assert_array_equal(source.read(slice(2, 3))[0].reshape(5, 6), pictures[:, :, 2])
    assert as_source(tmp_path / "p.mat", samples="rows").shape == (6, 7)
    scipy_io.savemat(tmp_path / "c.mat", {"c": np.zeros((5, 6, 3, 7))})
    assert as_source(tmp_path / "c.mat").shape == (5, 6, 3)
    scipy_io.savemat(tmp_path / "x.mat", {"x": np.zeros((5, 6))})
    assert as_source(tmp_path / "x.mat").n_samples == 5


def test_a_map_equals_its_array(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((300, 20), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped, memory = as_source(str(tmp_path / "x.npy")), as_source(x)
    assert mapped.fingerprint() == memory.fingerprint()
    for (a, rows), (b, _) in zip(mapped.batches(64), memory.batches(64), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, x[rows])


def test_a_table_keeps_label_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,w,y\n1,x,0\n2,y,1\n3,x,0\n")
    source = as_source(tmp_path / "t.csv", label="y")
    assert (source.kind, source.input_names) == ("table", ["a", "w=x", "w=y"])
    assert source.about(slice(1, 2)) == [{"row": 1, "label": 1}]
    (tmp_path / "n.csv").write_text("a,w\n7,y\n8,z\n")
    new = as_source(tmp_path / "n.csv", columns=source.columns)
    np.testing.assert_array_equal(new.read(slice(None)), [[7, 0, 1], [8, 0, 0]])
    assert "1 of 2 values" in new.notes[-1]
    (tmp_path / "wide.csv").write_text("1,2,3,4,5\n")
    with pytest.raises(DataError, match="has 5 columns, but this model was built for 3"):
        as_source(tmp_path / "wide.csv", columns=source.columns)


def folder_of(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in [("a.png", (40, 50)), ("b.jpg", (60, 40, 3)), ("rgba.png", (40, 40, 4))]:
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
    Image.open(tmp_path / "b.jpg").quantize(8).save(tmp_path / "c.gif")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:900])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "readme.txt").write_text("ignored")
    return tmp_path


@pytest.mark.parametrize("color", ["grey", "color"])
def test_a_folder_of_all_sorts(color: str, tmp_path: Path) -> None:
    source = as_source(folder_of(tmp_path), n_patches=200, whiten="1/f", color=color)
    assert [skipped.file for skipped in source.skipped] == ["cut.jpg", "text.jpg"]
    assert source.shape == ((10, 10) if color == "grey" else (10, 10, 3))
    assert "200 random patches" in source.notes[0]
    assert "4 of 6 pictures, and 20 held out" in source.notes[0]
    assert split(source, 0.1, seed=0)[0].n_samples == 200
    again = as_source(tmp_path, n_patches=200, whiten="1/f", color=color)
    assert again.fingerprint() == source.fingerprint()
    assert as_source(tmp_path, sampling="tiles").n_samples == 4 * 5 + 6 * 4 * 2 + 4 * 4
    with pytest.raises(DataError, match=r"cut\.jpg: broken"):
        as_source(tmp_path, skip_broken=False)


def test_a_folder_of_equal_pictures_as_vectors(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 6, 7), dtype=np.uint8)
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    (tmp_path / "1b.png").write_text("broken")
    source = as_source(tmp_path, kind="array")
    assert (source.kind, source.shape) == ("pictures", (6, 7))
    np.testing.assert_allclose(source.read(slice(None)), pictures.reshape(3, -1) / 255, atol=1e-6)
    assert source.about(np.array([2])) == [{"row": 2, "file": "2.png"}]
    assert [skipped.file for skipped in source.skipped] == ["1b.png"]
    Image.new("L", (4, 4)).save(tmp_path / "9.png")
    with pytest.raises(DataError, match=r"9\.png \(4, 4\); whole pictures need one size"):
        as_source(tmp_path, kind="array")


def test_files_can_be_listed_and_have_meta(tmp_path: Path) -> None:
    for k in range(2):
        Image.new("L", (20, 20)).save(tmp_path / f"{k}.png")
    (tmp_path / "m.csv").write_text("who\nann\nbob\n")
    paths = [tmp_path / "1.png", tmp_path / "0.png"]
    source = as_source(paths, sampling="tiles", meta=tmp_path / "m.csv")
    assert source.about(slice(0, 1)) == [{"file": "1.png", "top": 0, "left": 0, "who": "ann"}]
    with pytest.raises(DataError, match="2 records of meta came for 1 pictures"):
        as_source(tmp_path / "1.png", meta=tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "patch"}, "unknown data.kind 'patch'; did you mean 'patches'"),
        ({"samples": "cols"}, "unknown data.samples"),
        ({"sampling": "tile"}, "did you mean 'tiles'"),
        ({"whiten": "zca"}, "unknown data.whiten 'zca'"),
        ({"color": "gray"}, "did you mean 'grey'"),
        ({"shrink": "no"}, "unknown data.shrink"),
        ({"patch": 0}, "data.patch is 0"),
        ({"n_patches": 0}, "data.n_patches is 0"),
        ({"held_out": 1.0}, "data.held_out is 1.0"),
        ({"cutoff": 0.0}, "data.cutoff is 0.0"),
        ({"label": "y"}, "label 'y' names a column of a table"),
        ({"whiten": "1/f"}, "1/f whitening is for pictures"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_source(np.zeros((9, 3)), **options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("nowhere", "nowhere does not exist"),
        (np.array([[None]]), "Python objects"),
        (np.zeros(3), "reshape"),
        ([[1, 2], [3]], "different lengths"),
        ([], "1 dimension"),
        (np.zeros((2, 2, 2, 2, 2)), "2, 3 or 4 dimensions"),
        (np.full((2, 70, 70), np.nan), r"the array\[0\] has pixels that are NaN"),
    ],
)
def test_data_that_cannot_be_samples(data: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        as_source(data)


def test_tables_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    with pytest.raises(UsageError, match="is a table"):
        as_source(tmp_path / "t.csv", kind="patches")
    with pytest.raises(UsageError, match="is a table"):
        as_source(sparse.csr_array(np.eye(3)), whiten="1/f")
    np.save(tmp_path / "x.npy", np.eye(3))
    with pytest.raises(UsageError, match="names a column"):
        as_source(tmp_path / "x.npy", label=0)


def test_real_whitened_pictures() -> None:
    source = as_source(real("ufldl/IMAGES.mat"), patch=8)
    raw = scipy_io.loadmat(real("ufldl/IMAGES.mat"))["IMAGES"]
    x, place = source.read(slice(5, 6))[0], source.about(slice(5, 6))[0]
    k, top, left = int(place["file"][-2]), place["top"], place["left"]
    np.testing.assert_allclose(x.reshape(8, 8), raw[top : top + 8, left : left + 8, k], rtol=1e-6)


def test_real_photographs(tmp_path: Path) -> None:
    with tarfile.open(real("photos/bsds500_train_100.tar")) as archive:
        archive.extractall(tmp_path, filter="data")
    source = as_source(folder_of(tmp_path), whiten="1/f")
    assert [skipped.file for skipped in source.skipped] == ["cut.jpg", "text.jpg"]
    assert source.notes[1].startswith("100 JPEG photographs")


@pytest.mark.parametrize(
    ("path", "label", "n", "d"),
    [
        ("tabular/winequality-white.csv", -1, 4898, 11),
        ("tabular/KDDTrain+_20Percent.txt.gz", 41, 25192, 119),
        ("tabular/ECG5000_TRAIN.txt.gz", 0, 500, 140),
        ("mnist/t10k-images-idx3-ubyte.gz", None, 10_000, 784),
    ],
)
def test_real_tables_and_mnist(path: str, label: int | None, n: int, d: int) -> None:
    source = as_source(real(path), label=label)
    assert (source.n_samples, source.n_inputs) == (n, d)
    assert source.labels is not None
    source.read(slice(None))


def test_a_picture_of_400_megapixels_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match=r"huge\.png: more pixels than the limit of 50 megapixels"):
        as_source(tmp_path / "huge.png")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match=r"huge\.png: .* the limit of 50 megapixels; max_pixels"):
        as_source(tmp_path)


def test_an_option_that_does_not_exist_names_the_nearest():
    with pytest.raises(UsageError, match="unknown option of as_source 'patchs'; did you mean 'pat"):
        as_source(np.zeros((3, 2)), patchs=3)
    shown = str(inspect.signature(as_source))
    assert shown.startswith("(data, *, kind: 'str' = 'auto', key: ")


def test_options_are_declared_once():
    """A recipe's [data] table is the reading's own options, and what is said of it alone."""
    reading, table = ({field.name for field in fields(kind)} for kind in (Reading, Data))
    assert table - reading == {"targets", "block"}
    assert {field.name for field in fields(Options)} - reading == {
        *("columns", "sampling", "seed", "skip_broken")
    }
