"""Where an atlas lies: beside a run that can be written, else in the user's cache."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from simplecell.errors import RunError, WriteError
from simplecell.explorer.export import export
from simplecell.explorer.make import atlas as place
from simplecell.explorer.make.atlas import build_atlas, folder_of
from simplecell.explorer.report import report
from simplecell.explorer.serve.library import Library, open_library
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run

pytest_plugins = ["children"]
COMMAND = [sys.executable, "-m", "simplecell"]
QUIET = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache, of the test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(place, "_cache", lambda: folder)
    return folder


@pytest.fixture
def run(tmp_path):
    x = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    one = begin(str(tmp_path / "x.npy"), tmp_path / "run", settings=["train.steps=3"])
    for _ in one.records():
        pass
    one.finish()
    return Run(tmp_path / "run")


@pytest.fixture
def forbid(monkeypatch):
    """`forbid(run)`: nothing can be written there, as on a read-only disk; None ends it."""
    temporary = tempfile.TemporaryFile

    def forbid(run, number=errno.EROFS):
        def refused(*, dir):
            if run is not None and Path(dir) == run.path:
                raise OSError(number, os.strerror(number))
            return temporary(dir=dir)

        monkeypatch.setattr(tempfile, "TemporaryFile", refused)

    return forbid


def build(run):
    trained = run.load()
    return list(build_atlas(run, trained, all_data(trained)))


def powerless():
    """What to say before a command so that permissions hold for it: nothing forbids root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and setpriv is not installed")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@POSIX
def test_a_run_that_cannot_be_written_is_shown_from_the_cache(run, tmp_path):
    home = {**os.environ, **QUIET, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    home |= {"HOME": str(tmp_path / "home")}
    before = sorted(path.name for path in run.path.iterdir())
    mode = stat.S_IMODE(run.path.stat().st_mode)
    run.path.chmod(0o555)
    words = ["explore", run.path, "--export", tmp_path / "site"]
    try:
        command = [*powerless(), *COMMAND, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=home)
    finally:
        run.path.chmod(mode)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("run cannot be written: its atlas is in '")
    assert sorted(path.name for path in run.path.iterdir()) == before
    assert (tmp_path / "site" / "data" / "run" / "latents-0.js").is_file()
    caches = "Library/Caches" if sys.platform == "darwin" else ""
    made = (tmp_path / "home" / caches if caches else tmp_path / "cache") / "simplecell" / "atlas"
    (found,) = made.iterdir()
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert (found / "atlas" / "atlas.json").is_file()


def test_whoever_reads_finds_the_atlas_in_the_cache(run, cache, forbid, tmp_path, capsys):
    forbid(run)
    library = open_library([run.path])
    assert "run cannot be written" in capsys.readouterr().err
    (shown,) = library
    assert not (run.path / "atlas").exists()
    assert shown.atlas.is_relative_to(cache)
    assert shown.overview()["n_latents"] == shown.row()["n_latents"]
    assert shown.latent(1)["latent"] == 1
    assert len(shown.file("columns.bin")) > 0
    assert "6 inputs" in report(run)
    assert export([run.path], tmp_path / "site").is_file()
    (shown.atlas / "data.json").write_text("{")
    with pytest.raises(RunError, match=r"data\.json' cannot be read") as caught:
        shown.data()
    assert str(cache) in str(caught.value)
    assert str(cache) not in shown.plain(str(caught.value))


def test_an_atlas_in_the_cache_is_used_again_and_goes_when_the_run_has_its_own(run, cache, forbid):
    forbid(run)
    build(run)
    made = (folder_of(run) / "atlas.json").stat().st_mtime_ns
    assert build(run) == [1.0]
    assert (folder_of(run) / "atlas.json").stat().st_mtime_ns == made
    forbid(None)
    build(run)
    assert folder_of(run) == run.path / "atlas"
    assert list((cache / "simplecell" / "atlas").iterdir()) == []


def test_an_atlas_in_a_run_that_cannot_be_written_is_used_if_it_is_right(run, cache, forbid):
    build(run)
    forbid(run)
    assert build(run) == [1.0]
    assert folder_of(run) == run.path / "atlas"
    assert not cache.exists()
    manifest = run.path / "atlas" / "atlas.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "key": "other"}))
    build(run)
    assert folder_of(run).is_relative_to(cache)


def test_a_full_disk_and_a_user_without_a_home_are_errors(run, forbid, monkeypatch):
    forbid(run, errno.ENOSPC)
    with pytest.raises(WriteError, match="No space left"):
        build(run)
    forbid(run)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(place, "_cache", homeless)
    with pytest.raises(WriteError, match="Read-only"):
        build(run)
    assert Library.open([run.path]).rows()["runs"][0]["status"] == "finished"


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches"),
        ("linux", {"XDG_CACHE_HOME": "caches"}, "/home/me/.cache"),
        ("linux", {}, "/home/me/.cache"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "/home/me/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
        ("win32", {}, "/home/me/AppData/Local"),
    ],
)
def test_each_system_has_its_folder_for_caches(monkeypatch, system, variables, expected):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place._cache() == Path(expected)


@POSIX
def test_what_a_killed_build_left_goes_with_the_next(run, children):
    slow = (
        "import time\n"
        "from simplecell.run.build import all_data\n"
        "from simplecell.explorer.make.atlas import build_atlas\n"
        "from simplecell.run.directory import Run\n"
        f"run = Run({str(run.path)!r}); trained = run.load()\n"
        "for share in build_atlas(run, trained, all_data(trained)):\n"
        "    print(share, flush=True); time.sleep(60)\n"
    )
    child = children.start(cwd=run.path.parent, before=slow)
    children.wait_for(child.first_line)
    assert len(list(run.path.glob(".*.tmp"))) == 1
    child.kill()
    assert child.wait()[0] == -signal.SIGKILL
    build(run)
    assert list(run.path.glob(".*.tmp")) == []
    assert (run.path / "atlas" / "atlas.json").is_file()
