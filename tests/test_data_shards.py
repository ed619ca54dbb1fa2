"""Several files, or several matrices, that are one array: order, width, where a row came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import sparse

from simplecell.data import as_source, dead_leaves
from simplecell.data.lazy import Joined
from simplecell.errors import DataError, UsageError
from simplecell.run.begin import begin, resume

RNG = np.random.default_rng(0)
PARTS = [RNG.normal(size=(3 + i, 5)).astype(np.float32) for i in range(3)]
WHOLE = np.concatenate(PARTS)


def folder_of(folder: Path, names: list[str]) -> Path:
    for name, part in zip(names, PARTS, strict=True):
        np.save(folder / name, part)
    return folder


def test_a_folder_a_pattern_and_a_list_are_one_array(tmp_path: Path) -> None:
    folder_of(tmp_path, ["acts_2.npy", "acts_9.npy", "acts_10.npy"])
    paths = [tmp_path / f"acts_{i}.npy" for i in (2, 9, 10)]
    for data in (tmp_path, str(tmp_path / "acts_*.npy"), paths, [str(p) for p in paths]):
        source = as_source(data)
        assert (source.kind, source.shape, source.n_samples) == ("array", (5,), 12)
        np.testing.assert_array_equal(source.read(slice(None)), WHOLE)
        assert source.about(np.array([0, 3, 11])) == [
            {"row": 0, "file": "acts_2.npy"},
            {"row": 0, "file": "acts_9.npy"},
            {"row": 4, "file": "acts_10.npy"},
        ]
        assert "3 files of " in source.notes[0]
        assert "acts_2.npy … acts_10.npy in this order" in source.notes[0]
        assert source.fingerprint() == as_source(WHOLE).fingerprint()
    assert isinstance(source._data, Joined)  # type: ignore[attr-defined]
    assert all(isinstance(part, np.memmap) for part in source._data._parts)  # type: ignore[attr-defined]


def test_formats_and_precisions_may_be_mixed(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", PARTS[0].astype(np.float16))
    np.savez(tmp_path / "1.npz", x=PARTS[1])
    save_file({"x": torch.from_numpy(PARTS[2]).bfloat16()}, tmp_path / "2.safetensors")
    (tmp_path / "readme.md").write_text("hello")
    (tmp_path / ".hidden.npy").write_text("hello")
    source = as_source(tmp_path)
    x = source.read(slice(None))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:3], PARTS[0].astype(np.float16))
    np.testing.assert_array_equal(x[3:7], PARTS[1])
    np.testing.assert_array_equal(x[7:], torch.from_numpy(PARTS[2]).bfloat16().float())
    assert source.notes[-1] == "1 other file left out (of another format): readme.md"


def test_tables_are_joined_by_the_first_ones_encoding(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("a,w\n1,x\n2,y\n3,x\n")
    (tmp_path / "1.csv").write_text("w,a\ny,7\nx,8\n")
    source = as_source(tmp_path)
    assert (source.kind, source.input_names) == ("table", ["a", "w=x", "w=y"])
    np.testing.assert_array_equal(source.read(slice(2, 5)), [[3, 1, 0], [7, 0, 1], [8, 1, 0]])


def test_tables_and_folders_that_are_not_one(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("a,b\n1,2\n2,3\n")
    (tmp_path / "1.csv").write_text("c,d\n1,2\n2,3\n")
    with pytest.raises(DataError, match=r"1\.csv .* \(0\.csv says how tables that make one array"):
        as_source(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("hello")
    with pytest.raises(DataError, match=r"no files of numbers .*; it holds a\.md: give one"):
        as_source(tmp_path / "texts")


def test_what_does_not_belong_together_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, ["0.npy", "1.npy", "2.npy"])
    np.save(tmp_path / "1.npy", PARTS[1][:, :4])
    with pytest.raises(DataError, match=r"1\.npy has 4 inputs a sample, but 0\.npy has 5; .*width"):
        as_source(tmp_path)
    np.save(tmp_path / "1.npy", np.arange(3))
    with pytest.raises(DataError, match=r"1\.npy has 1 dimension"):
        as_source(tmp_path)
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"pictures \(a\.png\) and files of numbers; give one kind"):
        as_source([tmp_path / "a.png", tmp_path / "0.npy"])
    assert "3 other files left out" in as_source(tmp_path, n_patches=5).notes[-1]
    with pytest.raises(DataError, match=r"no file matches .*no_\*\.npy"):
        as_source(tmp_path / "no_*.npy")
    with pytest.raises(DataError, match="nowhere does not exist"):
        as_source([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="label 'y' names a column"):
        as_source(tmp_path / "[02].npy", label="y")


def test_a_pattern_of_pictures_is_pictures(tmp_path: Path) -> None:
    for k in range(2):
        Image.new("L", (20, 20)).save(tmp_path / f"{k}.png")
    assert as_source(tmp_path / "?.png", n_patches=5).kind == "patches"


def test_matrices_of_one_width_are_one_array() -> None:
    for data in (PARTS, [torch.from_numpy(part) for part in PARTS], tuple(PARTS)):
        source = as_source(data)
        assert (source.kind, source.shape) == ("array", (5,))
        np.testing.assert_array_equal(source.read(slice(None)), WHOLE)
        assert source.about(np.array([3])) == [{"row": 0, "matrix": 1}]
        assert "3 matrices is one array of 12 rows of 5 inputs" in source.notes[0]
    matrices = [sparse.csr_array(part) for part in PARTS]
    np.testing.assert_array_equal(as_source(matrices).read(slice(None)), WHOLE)
    columns = as_source([part.T for part in PARTS], inputs="first")
    np.testing.assert_array_equal(columns.read(slice(None)), WHOLE)


def test_large_matrices_are_no_pictures_unless_it_is_said() -> None:
    leaves = dead_leaves(2, 96)
    assert as_source(list(leaves)).shape == (96,)
    assert as_source(list(leaves), kind="patches").kind == "patches"
    different = as_source([leaves[0], leaves[1, :, :80]], n_patches=5)
    assert "2 arrays of different sizes, which are taken for pictures" in different.notes[-1]


def test_a_run_on_shards_goes_on(tmp_path: Path) -> None:
    (tmp_path / "acts").mkdir()
    folder_of(tmp_path / "acts", ["0.npy", "1.npy", "2.npy"])
    told = ["train.steps=2", "model.n_latents=4"]
    for i, data in enumerate((tmp_path / "acts", str(tmp_path / "acts" / "*.npy"))):
        run = tmp_path / "acts" / f"run{i}"  # beside its data, which it is no part of
        session = begin(data, run, settings=told)
        for _ in session.records():
            pass
        if session.lock is not None:
            session.lock.release()
        Image.new("L", (20, 20)).save(run / "features.png")
        assert resume(run, steps=2).source.n_samples == 12
