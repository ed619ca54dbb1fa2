"""viz.files: whole files or none; and what importing viz loads."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from simplecell import viz
from simplecell.errors import UsageError, WriteError


@pytest.fixture
def image():
    return viz.tiles(np.eye(4), (2, 2), zoom=4)


@pytest.fixture(params=["image", "figure"])
def write(request, image):
    """A function of a path that saves a picture there, either kind."""
    if request.param == "image":
        return lambda path: viz.save(image, path)
    figure = viz.network([2, 1, 2])
    return lambda path: viz.save_figure(figure, path)


def test_a_saved_picture_reads_back_and_replaces_the_old(tmp_path, image):
    path = tmp_path / "features.png"
    path.write_bytes(b"old")
    viz.save(image, path)
    with Image.open(path) as again:
        assert again.format == "PNG"
        assert again.tobytes() == image.tobytes()
    assert os.listdir(tmp_path) == ["features.png"]


def test_the_same_picture_gives_the_same_bytes(tmp_path, write):
    write(tmp_path / "a.png")
    write(str(tmp_path / "b.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_vector_figures_are_the_same_bytes_too(tmp_path, suffix):
    for name in "ab":
        viz.save_figure(viz.network([2, 1, 2]), tmp_path / (name + suffix))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, write, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(WriteError, match=r"p\.png.*No space left"):
        write(path)
    assert os.listdir(tmp_path) == ["p.png"]
    assert path.read_bytes() == b"old"


def test_an_interruption_leaves_nothing_either(tmp_path, write, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "p.png")
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_and_an_unknown_suffix_are_named(tmp_path, write):
    with pytest.raises(WriteError, match=r"could not write '.*none.p\.png'"):
        write(tmp_path / "none" / "p.png")
    for name in ("picture", "picture.xyz"):
        with pytest.raises(UsageError, match=r"end the name in \.png"):
            write(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_tiles_load_neither_matplotlib_nor_torch():
    code = (
        "import sys, numpy, simplecell.viz as v;"
        "v.tiles(numpy.eye(4), (2, 2), labels=list('abcd'));"
        "print([m for m in ('matplotlib', 'torch', 'sklearn') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]", result.stdout


def test_figures_never_load_pyplot():
    code = (
        "import sys, simplecell.viz as v; v.network([3, 2, 3]); v.bars([[1.0, 2.0]], ['a', 'b']);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
