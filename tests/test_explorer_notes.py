"""Notes on latents: kept whole, stale for other weights, never overwritten blindly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from simplecell.errors import RunError, UsageError, WriteError
from simplecell.run.notes import LONGEST, Notes
from simplecell.run.storage import Lock

KEY = "a" * 64


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes.json")


def test_what_is_written_is_read_by_others(notes):
    assert notes.read(KEY) == {}
    assert notes.write(17, "likes vertical edges", KEY) == {
        "text": "likes vertical edges",
        "stale": False,
    }
    notes.write(3, "竖边 <script>alert(1)</script> \ud800 \0", KEY)
    again = Notes(notes.path).read(KEY)
    assert list(again) == ["3", "17"]
    assert again["17"] == {"text": "likes vertical edges", "stale": False}
    assert again["3"]["text"] == "竖边 <script>alert(1)</script> \ud800 \0"
    assert {path.name for path in notes.path.parent.iterdir()} == {"notes.json", ".notes.lock"}


def test_a_note_for_other_weights_is_stale_until_it_is_written_again(notes):
    notes.write(1, "an edge", KEY)
    assert notes.read("b" * 64) == {"1": {"text": "an edge", "stale": True}}
    notes.write(1, "an edge", "b" * 64)
    assert notes.read("b" * 64)["1"]["stale"] is False


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_no_text_removes_the_note(notes, nothing):
    assert notes.write(2, nothing, KEY) is None
    assert not notes.path.exists()
    notes.write(2, "text", KEY)
    assert notes.write(2, nothing, KEY) is None
    assert notes.read(KEY) == {}


def test_a_note_has_a_length(notes):
    notes.write(0, "字" * LONGEST, KEY)
    with pytest.raises(UsageError, match="at most 10,000 are kept"):
        notes.write(0, "x" * (LONGEST + 1), KEY)
    assert len(notes.read(KEY)["0"]["text"]) == LONGEST


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b'{"format": 1, "notes": []}',
        b'{"format": true, "notes": {}}',
        b'{"format": 3, "notes": {}}',
        b'{"format": 1, "notes": {"1": "text"}}',
        b'{"format": 1, "notes": {"1": {"text": 3, "key": "k"}}}',
        b'{"format": 1, "notes": {"1": {"text": "t"}}}',
        b'{"format": 2, "notes": {}, "names": {"1": {"name": "a"}}}',
        b'{"format": 2, "notes": {}, "names": {"x": {"name": "a", "weights": "w"}}}',
        b'{"format": 1, "notes": {"-1": {"text": "t", "key": "k"}}}',
        b'{"format": 1, "notes": {"01": {"text": "t", "key": "k"}}}',
        '{"format": 1, "notes": {"١": {"text": "t", "key": "k"}}}'.encode(),
        b'{"format": 1, "notes": ' + b'{"1": ' * 100_000,
    ],
)
def test_a_damaged_file_is_one_sentence_and_stays(notes, content):
    notes.path.write_bytes(content)
    with pytest.raises(RunError, match=r"notes\.json' (is damaged|cannot be read|does not hold)"):
        notes.read(KEY)
    with pytest.raises(RunError):
        notes.write(1, "new", KEY)
    with pytest.raises(RunError):
        notes.write(1, "", KEY)
    assert notes.path.read_bytes() == content


def test_a_broken_link_or_a_folder_is_not_written_over(notes):
    os.symlink("nowhere", notes.path)
    with pytest.raises(RunError, match="cannot be read"):
        notes.write(1, "new", KEY)
    notes.path.unlink()
    notes.path.mkdir()
    with pytest.raises(RunError, match="cannot be read"):
        notes.write(1, "new", KEY)


def test_a_full_disk_is_a_sentence_and_the_old_notes_stay(notes, monkeypatch):
    notes.write(1, "old", KEY)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        notes.write(1, "new", KEY)
    monkeypatch.undo()
    assert notes.read(KEY)["1"]["text"] == "old"
    assert {path.name for path in notes.path.parent.iterdir()} == {"notes.json", ".notes.lock"}


def test_many_at_once_lose_nothing(notes):
    writers = [threading.Thread(target=notes.write, args=(i, f"note {i}", KEY)) for i in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert list(notes.read(KEY)) == [str(i) for i in range(20)]
    assert json.loads(notes.path.read_text(encoding="utf-8"))["format"] == 1


def test_two_explorers_that_take_turns_lose_nothing(notes):
    """Each has read the file before the other wrote."""
    other = Notes(notes.path)
    for i in range(0, 20, 2):
        notes.write(i, f"note {i}", KEY)
        other.write(i + 1, f"note {i + 1}", KEY)
    assert {k: n["text"] for k, n in notes.read(KEY).items()} == {
        str(i): f"note {i}" for i in range(20)
    }
    other.write(3, "", KEY)
    assert "3" not in notes.read(KEY)


def test_two_processes_at_once_lose_nothing(notes):
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from simplecell.run.notes import Notes\n"
        "notes = Notes(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for i in range(int(sys.argv[2]), 100, 2): notes.write(i, f'note {i}', 'k')"
    )
    words = [sys.executable, "-c", program, str(notes.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*words, "0"], **pipes) as one,
        subprocess.Popen([*words, "1"], **pipes) as other,
    ):
        for child in (one, other):
            assert child.stdout.readline() == "ready\n"
        for child in (one, other):
            child.stdin.write("\n")
            child.stdin.flush()
        assert [child.wait(60) for child in (one, other)] == [0, 0]
    assert {k: n["text"] for k, n in notes.read("k").items()} == {
        str(i): f"note {i}" for i in range(100)
    }


def test_one_who_keeps_the_file_is_told_of(notes, monkeypatch):
    monkeypatch.setattr("simplecell.run.notes.PATIENCE", 0.02)
    held = Lock(notes.path.with_name(".notes.lock"))
    with pytest.raises(WriteError, match=r"notes\.json': another process has kept it"):
        notes.write(1, "text", KEY)
    held.release()
    notes.write(1, "text", KEY)
