"""CIFAR-10's two layouts give the same pictures, and no archive can run or fill anything."""

from __future__ import annotations

import gzip
import io
import os
import pickle  # only to write what must never be unpickled
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from simplecell.data import as_source, cifar
from simplecell.data.cifar import CLASSES, read_cifar
from simplecell.errors import DataError

RNG = np.random.default_rng(0)
BATCHES = {
    name: (RNG.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), RNG.integers(0, 10, n).tolist())
    for name, n in [("test_batch", 4), ("data_batch_2", 3), ("data_batch_1", 5)]
}


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"cifar-10/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def text(value):
    return b"U" + bytes([len(value)]) + value


def python_2(pixels, labels):
    """A batch as Toronto's Python 2 pickled it, opcode by opcode."""
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\nq\x05(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffK\x00tb"
    flat = pixels.tobytes()
    shape = b"K" + bytes([len(pixels)]) + b"M\x00\x0c\x86"
    held = b"T" + struct.pack("<i", len(flat)) + flat
    array = reconstruct + b"(K\x01" + shape + dtype + b"\x89" + held + b"tb"
    listed = b"]q\x02(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    said = text(b"data") + array + text(b"labels") + listed + text(b"batch_label") + text(b"one")
    return b"\x80\x02}q\x01(" + said + b"u."


def python_3(pixels, labels, key=b"data", order="C", **more):
    flat = np.asarray(pixels.reshape(len(pixels), -1), order=order)
    return pickle.dumps({b"labels": labels, key: flat, **more}, protocol=4)


def binary(pixels, labels):
    flat = pixels.reshape(len(pixels), -1)
    return np.column_stack([np.array(labels, dtype=np.uint8), flat]).tobytes()


def members(write, suffix="", **changed):
    whole = {f"{name}{suffix}": write(*batch) for name, batch in BATCHES.items()}
    return {**whole, "batches.meta": b"never read", **changed}


LAYOUTS = {"python 2": (python_2, ""), "python 3": (python_3, ""), "binary": (binary, ".bin")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pictures(tmp_path, layout):
    found = read_cifar(archive(tmp_path / "c.tar.gz", members(*LAYOUTS[layout])))
    one, two, test = (BATCHES[name] for name in ("data_batch_1", "data_batch_2", "test_batch"))
    planes = np.concatenate([one[0], two[0]])
    assert found.train_pictures.shape == (8, 32, 32, 3)
    assert found.train_pictures.dtype == np.uint8
    assert found.train_pictures.flags.writeable
    for k, top, left, color in [(0, 0, 0, 0), (3, 31, 2, 1), (7, 5, 30, 2)]:
        assert found.train_pictures[k, top, left, color] == planes[k, color, top, left]
    np.testing.assert_array_equal(found.test_pictures, test[0].transpose(0, 2, 3, 1))
    assert found.train_labels.tolist() == one[1] + two[1]
    assert found.test_labels.tolist() == test[1]
    assert len(CLASSES) == 10


def test_the_pickles_of_these_tests_are_real():
    for write in (python_2, python_3):
        opened = pickle.loads(write(*BATCHES["test_batch"]), encoding="bytes")  # noqa: S301
        np.testing.assert_array_equal(
            opened[b"data"].reshape(-1, 3, 32, 32), BATCHES["test_batch"][0]
        )
        assert opened[b"labels"] == BATCHES["test_batch"][1]


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path, protocol):
    trap = tmp_path / "ran"
    batch = BATCHES["data_batch_1"]
    table = {b"labels": batch[1], b"data": batch[0].reshape(5, -1), b"x": Hostile(str(trap))}
    hostile = pickle.dumps(table, protocol=protocol)
    path = archive(tmp_path / "c.tar.gz", members(python_3, data_batch_1=hostile))
    with pytest.raises(DataError, match="data_batch_1 is a pickle"):
        read_cifar(path)
    assert not trap.exists()
    pickle.loads(hostile)  # noqa: S301
    assert trap.exists()  # it was a trap


def buried(key, value):
    """A batch whose key stands below the top, where it names nothing."""
    pixels, labels = BATCHES["data_batch_1"]
    table = {b"x": {key: value}, b"data": pixels.reshape(5, -1), b"labels": labels}
    del table[key]
    return pickle.dumps(table, protocol=4)


@pytest.mark.parametrize("key", [b"labels", b"data"])
def test_a_key_mentioned_deeper_changes_nothing(tmp_path, key):
    pixels, labels = BATCHES["data_batch_1"]
    flat = pixels.reshape(5, -1)
    decoy = {b"x": [key, [3] * 5, flat[::-1].copy()], b"labels": labels, b"data": flat}
    data = pickle.dumps(decoy, protocol=4)
    one = read_cifar(archive(tmp_path / "c.tar.gz", members(python_3, data_batch_1=data)))
    assert one.train_labels[:5].tolist() == labels
    np.testing.assert_array_equal(one.train_pictures[:5], pixels.transpose(0, 2, 3, 1))


def broken():
    pixels, labels = BATCHES["data_batch_1"]
    good = python_2(pixels, labels)
    return {
        "cut off": (good[:9000], "cannot be read"),
        "no pickle": (b"hello", "not one of CIFAR-10's"),
        "labels missing": (python_3(pixels, labels[:-1]), "has 5 pictures and 4 labels"),
        "labels too large": (python_3(pixels, [0, 1, 2, 3, 10]), "the label 10"),
        "another key": (python_3(pixels, labels, b"fine"), "no array of bytes"),
        "another order": (python_3(pixels, labels, order="F"), "no array of bytes"),
        "another type": (python_3(pixels.astype(np.int8), labels), "no array of bytes"),
        "another width": (python_3(pixels[:, :2], labels), "no array of bytes"),
        "no data": (pickle.dumps({b"labels": labels}, protocol=4), "no array of bytes"),
        "labels deep inside": (buried(b"labels", [3] * 5), "no list of labels"),
        "labels nested": (python_3(pixels, [[label] for label in labels]), "no list of labels"),
        "labels large": (python_3(pixels, [300, 1, 2, 3, 4]), "no list of labels"),
        "pixels deep inside": (buried(b"data", pixels.reshape(5, -1)), "no array of bytes"),
        "another shape": (
            python_3(pixels.reshape(10, -1), labels),
            "no array of bytes",
        ),
        "no dictionary": (pickle.dumps([1, 2], protocol=4), "not of a dictionary"),
        "short stack": (b"\x80\x02\x86.", "not one of CIFAR-10's"),
        "endless": (b"\x80\x02" + b"]" * 300_000 + b".", "not one of CIFAR-10's"),
    }


@pytest.mark.parametrize("what", broken())
def test_broken_batches_are_refused(tmp_path, what):
    data, sentence = broken()[what]
    path = archive(tmp_path / "c.tar.gz", members(python_3, data_batch_1=data))
    with pytest.raises(DataError, match=sentence):
        read_cifar(path)


def test_broken_archives_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_cifar(tmp_path / "none.tar.gz")
    whole = archive(tmp_path / "c.tar.gz", members(binary, ".bin")).read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.tar.gz").write_bytes(b"noise" * 200)
    for name in ("half.tar.gz", "noise.tar.gz"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            read_cifar(tmp_path / name)
    with pytest.raises(DataError, match="holds no batches; CIFAR-10's"):
        read_cifar(archive(tmp_path / "other.tar.gz", {"readme.html": b"hello"}))
    alone = {"data_batch_1": python_3(*BATCHES["data_batch_1"])}
    with pytest.raises(DataError, match="holds data_batch_1; CIFAR-10's archives"):
        read_cifar(archive(tmp_path / "alone.tar.gz", alone))
    odd = members(binary, ".bin", **{"data_batch_1.bin": b"\0" * 3074})
    with pytest.raises(DataError, match="has 3074 bytes; records of 3073"):
        read_cifar(archive(tmp_path / "odd.tar.gz", odd))


def test_archives_that_expand_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "_MOST_A_MEMBER", 2**20)
    monkeypatch.setattr(cifar, "_MOST_UNPACKED", 2**22)
    large = members(binary, ".bin", **{"data_batch_1.bin": b"\0" * 2**21})
    with pytest.raises(DataError, match=r"data_batch_1\.bin expands to more than"):
        read_cifar(archive(tmp_path / "member.tar.gz", large))
    skipped = {"readme.html": b"\0" * 2**23, **members(binary, ".bin")}
    with pytest.raises(DataError, match="expands to more than 4 MiB"):
        read_cifar(archive(tmp_path / "bomb.tar.gz", skipped))
    links = tarfile.TarInfo("x")
    links.type, links.size = tarfile.GNUTYPE_LONGNAME, 2**33
    (tmp_path / "name.tar.gz").write_bytes(
        gzip.compress(links.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**23)
    )
    with pytest.raises(DataError):
        read_cifar(tmp_path / "name.tar.gz")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_long_header_is_refused_before_it_is_held(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 2**29
    packed = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**16)
    (tmp_path / "long.tar.gz").write_bytes(packed)
    with pytest.raises(DataError, match="a header of 536870912 bytes is declared"):
        read_cifar(tmp_path / "long.tar.gz")


def test_an_uncompressed_archive_and_a_link_out_of_it(tmp_path):
    path = archive(tmp_path / "c.tar.gz", members(binary, ".bin"))
    (tmp_path / "c.tar").write_bytes(gzip.decompress(path.read_bytes()))
    assert len(read_cifar(tmp_path / "c.tar").train_labels) == 8
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="no batches"):
        read_cifar(tmp_path / "link.tar.gz")


def test_as_source_reads_the_training_pictures(tmp_path):
    source = as_source(archive(tmp_path / "c.tar.gz", members(python_3)))
    assert (source.kind, source.n_samples, source.shape) == ("pictures", 8, (32, 32, 3))
    pixels, labels = BATCHES["data_batch_1"]
    x = source.read(slice(0, 1))[0].reshape(32, 32, 3)
    np.testing.assert_allclose(x, pixels[0].transpose(1, 2, 0) / np.float32(255), atol=1e-7)
    assert [record["label"] for record in source.about(slice(0, 2))] == [
        CLASSES[k] for k in labels[:2]
    ]
    assert "the 4 test pictures of c.tar.gz are left out" in source.notes


def protocol(number):
    def write(pixels, labels):
        flat = pixels.reshape(len(pixels), -1)
        table = {b"batch_label": b"", b"labels": labels, b"data": flat, b"filenames": [b"a.png"]}
        return pickle.dumps(table, protocol=number)

    return write


UNPACKED = LAYOUTS | {f"protocol {n}": (protocol(n), "") for n in (2, 3, 4, 5)}


def unpack(folder, write, suffix, names=tuple(BATCHES)):
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}{suffix}").write_bytes(write(*BATCHES[name]))
    (folder / "batches.meta").write_bytes(b"never read")
    (folder / "._data_batch_1").write_bytes(b"what a Mac leaves")
    return folder


@pytest.mark.parametrize("layout", UNPACKED)
def test_an_unpacked_folder_is_read_as_its_archive_is(tmp_path, layout):
    packed = as_source(archive(tmp_path / "c.tar.gz", members(*LAYOUTS["python 2"])))
    folder = unpack(tmp_path / "there" / "cifar-10-batches-py", *UNPACKED[layout])
    loose = as_source(folder)
    assert (loose.kind, loose.n_samples, loose.shape) == ("pictures", 8, (32, 32, 3))
    np.testing.assert_array_equal(loose.read(slice(None)), packed.read(slice(None)))
    assert loose.about(slice(None)) == packed.about(slice(None))
    assert loose.notes == [
        "the 4 test pictures of cifar-10-batches-py are left out",
        "cifar-10-batches-py holds data_batch_1, data_batch_2, and no more of the 5 batches",
    ]
    above = as_source(tmp_path / "there")
    np.testing.assert_array_equal(above.read(slice(None)), packed.read(slice(None)))
    assert above.notes[0] == "cifar-10-batches-py in there is read, and nothing else that is there"
    assert read_cifar(folder).test_labels.tolist() == BATCHES["test_batch"][1]


def test_some_batches_are_enough(tmp_path):
    one = as_source(unpack(tmp_path / "one", binary, ".bin", ["data_batch_2"]))
    assert (one.n_samples, one.labels[0]) == (3, CLASSES[BATCHES["data_batch_2"][1][0]])
    assert one.notes == ["one holds data_batch_2, and no more of the 5 batches"]
    alone = as_source(tmp_path / "one" / "data_batch_2.bin")
    np.testing.assert_array_equal(alone.read(slice(None)), one.read(slice(None)))
    test = as_source(unpack(tmp_path / "test", python_3, "", ["test_batch"]))
    assert (test.n_samples, test.notes) == (
        4,
        ["test holds the test pictures alone, and they are read"],
    )
    unpack(tmp_path / "both", binary, ".bin", ["data_batch_1"])
    (tmp_path / "both" / "data_batch_1").write_bytes(python_3(*BATCHES["data_batch_1"]))
    with pytest.raises(DataError, match=r"both holds data_batch_1 twice, pickled and as data_"):
        as_source(tmp_path / "both")


def test_a_hostile_batch_in_a_folder_is_refused_and_never_runs(tmp_path):
    folder, trap = unpack(tmp_path / "f", python_3, ""), tmp_path / "ran"
    for number in (2, 4, 5):
        table = {b"labels": [1], b"data": Hostile(str(trap))}
        (folder / "data_batch_1").write_bytes(pickle.dumps(table, protocol=number))
        with pytest.raises(DataError, match="data_batch_1 is a pickle that would call"):
            as_source(folder)
    assert not trap.exists()
    (folder / "data_batch_1").write_bytes(b"")
    with pytest.raises(DataError, match="data_batch_1"):
        as_source(folder)


def test_the_real_archive():
    if "SIMPLECELL_DATA" not in os.environ:
        pytest.skip("SIMPLECELL_DATA names no folder of real data")
    folder = Path(os.environ["SIMPLECELL_DATA"])
    found = read_cifar(folder / "cifar10" / "cifar-10-batches-py_4000.tar.gz")
    assert found.train_pictures.shape == (4000, 32, 32, 3)
    assert found.train_labels[:5].tolist() == [
        6,
        9,
        9,
        4,
        1,
    ]  # frog, truck, truck, deer, automobile
    assert np.bincount(found.test_labels).sum() == 1000
