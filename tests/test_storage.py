"""Files whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from simplecell.errors import RunError, WriteError
from simplecell.run.storage import (
    Lock,
    form_of,
    misfit,
    read_json,
    replacing,
    sweep_temporaries,
    write_json,
    write_tensors,
    write_whole,
    writing,
)
from simplecell.training.state import Stored


def test_a_write_takes_the_place_of_the_file(tmp_path):
    write_whole(tmp_path / "ü b", b"old")
    write_whole(tmp_path / "ü b", b"new")
    assert (tmp_path / "ü b").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["ü b"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    write_whole(tmp_path / "file", b"old")

    def full(*rest):
        raise OSError(28, "No space left on device")

    if call != "write":
        monkeypatch.setattr(os, call, full)
    words = r"could not write '.*file': No space left on device"
    with pytest.raises(WriteError, match=words), replacing(tmp_path / "file") as file:
        file.write(b"new")
        if call == "write":
            full()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_stop_in_the_middle_leaves_nothing(tmp_path, stop):
    with pytest.raises(stop), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise stop
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_refusals_of_the_system_are_sentences(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "no" / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(WriteError, match="could not write"):
            write_whole(path, b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="could not write"):
        write_whole(tmp_path / "folder", b"")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]
    with pytest.raises(WriteError, match="name is needed"):
        write_whole(Path(""), b"")
    with pytest.raises(WriteError, match=r"^one sentence$"), writing(tmp_path):
        raise WriteError("one sentence")


def test_only_our_own_leftovers_are_swept(tmp_path):
    ours = tmp_path / ".0123456789abcdef.tmp"
    others = [tmp_path / name for name in (".notes.tmp", "a.tmp", ".0123456789abcdef.tmp.old")]
    for file in (ours, *others):
        file.write_bytes(b"")
    sweep_temporaries(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    sweep_temporaries(tmp_path / "nowhere")


def test_json_is_written_and_read_back(tmp_path):
    value = {"a": [1, 2.5, None, True, "ü 😀"], "file": "\udcff.png"}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "v.json", {"a": float("nan")})
    assert read_json(tmp_path / "v.json") == value


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff", b"[" * 10**5]
)
def test_broken_json_is_a_run_error(tmp_path, content):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(RunError, match=r"v\.json"):
        read_json(tmp_path / "v.json")


def test_missing_json_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path / "v.json")


FORM = {
    "n": int,
    "x": (None, float),
    "words": [str],
    "deep": {"ok": bool},
    "any": {str: float},
}
GOOD = {"n": 1, "x": 2, "words": ["a"], "deep": {"ok": True}, "any": {"b": 1.5}, "more": object}


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("n", True, "it.n is True"),
        ("n", 1.0, "it.n is 1.0"),
        ("n", None, "it.n is None"),
        ("x", "2", "it.x is '2'"),
        ("x", float("nan"), "it.x is nan"),
        ("x", float("inf"), "it.x is inf"),
        ("x", 10**400, "it.x is 1000"),
        ("words", "a", "it.words is 'a'"),
        ("words", ["a", 3], "it.words[…] is 3"),
        ("deep", {}, "it.deep.ok is None"),
        ("deep", [], "it.deep is []"),
        ("any", {"b": "c"}, "it.any.b is 'c'"),
    ],
)
def test_misfit_says_where(key, value, where):
    assert misfit(GOOD, FORM) is None
    assert misfit({**GOOD, "x": None}, FORM) is None
    assert misfit({**GOOD, "any": {}}, FORM) is None
    assert misfit({**GOOD, key: value}, FORM).startswith(where)


def test_a_lock_is_held_once(tmp_path):
    first = Lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "lock")
    first.release()
    first.release()
    second = Lock(tmp_path / "lock")
    del second  # forgotten is released
    Lock(tmp_path / "lock").release()
    with pytest.raises(WriteError, match="could not write"):
        Lock(tmp_path / "no" / "lock")


def test_a_file_system_without_locks_does_no_harm(tmp_path, monkeypatch):
    from simplecell.run import storage

    class NoLocks:
        LOCK_EX, LOCK_NB = 2, 4

        @staticmethod
        def flock(handle, how):
            raise OSError(95, "Operation not supported")

    for system in (NoLocks, None):
        monkeypatch.setattr(storage, "fcntl", system)
        one, two = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
        one.release()
        two.release()


def test_json_of_any_nesting_is_judged():
    value = json.loads("[" * 500 + "]" * 500)
    assert misfit({"n": value}, {"n": int}).startswith("it.n is [[[")


class Inner(TypedDict):
    n: int


class Outer(Inner):
    words: NotRequired[list[str] | None]
    parts: dict[str, Inner] | None
    any: dict[str, object]


def test_forms_come_from_declared_types():
    assert form_of(Outer) == {
        "n": int,
        "words": (None, (None, [str])),
        "parts": (None, {str: {"n": int}}),
        "any": {str: object},
    }
    good = {"n": 1, "parts": {"a": {"n": 2}}, "any": {"b": [None]}}
    assert misfit(good, form_of(Outer)) is None
    assert misfit({**good, "parts": {"a": {"n": 2.5}}}, form_of(Outer)) == "it.parts.a.n is 2.5"


def test_tensors_are_written_as_the_library_would(tmp_path):
    """A list of rows is the stacked tensor, and read row by row it is the same again."""
    rows = [torch.arange(5.0) + i for i in range(3)]
    tensors = {
        "rows": torch.stack(rows),
        "none": torch.zeros(0, 7),
        "one": torch.tensor(3),
        "wide": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
        "flag": torch.tensor([True, False]),
    }
    write_tensors(tmp_path / "t", {**tensors, "rows": rows})
    read, stored = load_file(tmp_path / "t"), Stored(tmp_path / "t")
    assert set(read) == set(stored) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert torch.equal(stored[name], tensor)
        assert read[name].dtype == stored[name].dtype == tensor.dtype
        assert stored.shape(name) == list(tensor.shape)
    assert torch.equal(stored.row("rows", 1), rows[1])
    with pytest.raises(KeyError):
        stored["other"]
    content = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(content[:-1])
    with pytest.raises(SafetensorError):
        Stored(tmp_path / "t")
