"""Order, finiteness, provenance and fingerprints of any source."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from simplecell.data import ArraySource, Source, Subset, split
from simplecell.data.rows import Meta, survey
from simplecell.errors import DataError, UsageError
from simplecell.run.begin import begin
from simplecell.run.build import new_data
from simplecell.run.directory import Run


def numbers(n: int = 23, d: int = 4) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("form", ["memory", "map", "fortran map", "csr", "coo", "strided"])
def test_every_form_of_an_array_is_the_same_source(form: str, tmp_path: Path) -> None:
    x = numbers()
    x[x < 0] = 0
    stored = np.asfortranarray(x) if form == "fortran map" else x
    np.save(tmp_path / "x.npy", stored)
    data = {
        "memory": x,
        "map": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "fortran map": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "csr": sparse.csr_array(x),
        "coo": sparse.coo_matrix(x),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
    }[form]
    source, plain = ArraySource(data), ArraySource(x)
    assert isinstance(source, Source)
    assert source.fingerprint() == plain.fingerprint()
    for rows in (slice(2, 9), slice(None, None, -3), np.array([5, 1, 1])):
        got = source.read(rows)
        np.testing.assert_array_equal(got, x[rows])
        assert got.flags.c_contiguous
        assert got.flags.writeable
        assert not np.shares_memory(got, x)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("u2", "f4"),
        ("i8", "f8"),
        ("u4", "f8"),
        ("f2", "f4"),
        ("?", "f4"),
        (">f4", "f4"),
        (">f8", "f8"),
    ],
)
def test_dtypes(given: str, read: str) -> None:
    x = ArraySource(np.ones((2, 3), dtype=given)).read(slice(None))
    assert x.dtype == np.dtype(read)
    assert (x == 1).all()


def test_pictures_keep_their_layout_and_bytes_are_divided() -> None:
    pictures = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    source = ArraySource(pictures, kind="pictures", divisor=255)
    assert source.shape == (3, 4, 3)
    expected = pictures.reshape(2, -1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(source.read(slice(None)), expected)


def test_order_without_seed_is_one_pass() -> None:
    x = numbers()
    got = list(ArraySource(x).batches(10))
    assert [len(rows) for _, rows in got] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in got]), x)
    later = list(ArraySource(x).batches(10, start=1))
    np.testing.assert_array_equal(later[0][1], got[1][1])
    assert list(ArraySource(x).batches(10, start=3)) == []


@pytest.mark.parametrize("size", [5, 23, 40])
def test_start_equals_skipping(size: int) -> None:
    source = ArraySource(numbers())
    whole = list(itertools.islice(source.batches(size, seed=3), 12))
    for start in (1, 4, 9):
        later = itertools.islice(source.batches(size, seed=3, start=start), 3)
        for (x, rows), (x_whole, rows_whole) in zip(later, whole[start:], strict=False):
            np.testing.assert_array_equal(rows, rows_whole)
            np.testing.assert_array_equal(x, x_whole)


def test_shuffled_passes() -> None:
    source = ArraySource(numbers())
    rows = [rows for _, rows in itertools.islice(source.batches(5, seed=0), 8)]
    first, second = np.concatenate(rows[:4]), np.concatenate(rows[4:])
    assert all(len(part) == 5 for part in rows)
    assert len(set(first)) == 20 == len(set(second))
    assert first.tolist() != second.tolist()
    other = next(source.batches(5, seed=1))[1]
    assert other.tolist() != rows[0].tolist()
    small = [rows for _, rows in itertools.islice(source.batches(100, seed=0), 2)]
    assert [sorted(part) for part in small] == [list(range(23))] * 2


def test_skipping_far_costs_nothing() -> None:
    _, rows = next(ArraySource(numbers()).batches(5, seed=0, start=10**12))
    assert len(rows) == 5


def test_batches_refuse_nonsense() -> None:
    with pytest.raises(UsageError, match="batch size 0"):
        ArraySource(numbers()).batches(0)


def test_not_finite_names_sample_input_and_count() -> None:
    x = numbers()
    x[7, 2], x[9, 0] = np.nan, np.inf
    source = ArraySource(x, input_names=["a", "b", "c", "d"], name="x.npy")
    source.read(slice(0, 7))
    with pytest.raises(DataError, match=r"sample 7, input 'c' of x\.npy is nan \(2 of the 80"):
        source.read(slice(3, None))
    with pytest.raises(DataError, match=r"sample 9, input 'a' of x\.npy is inf"):
        source.read(np.array([0, 9, 7]))
    with pytest.raises(DataError, match="sample 9"):
        Subset(source, np.array([1, 9])).read(slice(None))


def test_a_sum_that_overflows_is_no_error() -> None:
    x = np.full((2, 2), np.finfo(np.float32).max)
    np.testing.assert_array_equal(ArraySource(x).read(slice(None)), x)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (np.array([["a", 1.0]], dtype=object), "Python objects"),
        (np.ones((2, 2), dtype=complex), "complex"),
        (np.ones(3), "reshape"),
        (np.array(1.0), "0 dimensions"),
        (np.ones((0, 3)), "empty"),
        (np.array([["a"]]), "not numbers"),
        (np.ma.masked_equal([[1, 2]], 2), "masked"),
    ],
)
def test_what_is_not_numbers_is_refused(data: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        ArraySource(data)


def test_about_merges_label_and_meta() -> None:
    source = ArraySource(
        numbers(3), labels=np.array(["x", "y", "z"]), meta=Meta(3, lambda i: {"text": f"t{i}"})
    )
    assert source.about(slice(1, 2)) == [{"row": 1, "label": "y", "text": "t1"}]
    part = Subset(source, np.array([2, 0]))
    assert part.about(np.array([0])) == [{"row": 2, "label": "z", "text": "t2"}]
    assert part.labels is not None
    assert part.labels.tolist() == ["z", "x"]


@pytest.mark.parametrize("wrong", [{"labels": np.zeros(2)}, {"meta": Meta(2, lambda i: {})}])
def test_labels_and_meta_must_fit(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="came for 3 samples"):
        ArraySource(numbers(3), **wrong)  # type: ignore[arg-type]


def test_split_is_a_partition_that_depends_on_seed_and_size_only() -> None:
    source = ArraySource(numbers(50))
    train, held = split(source, 0.2, seed=1)
    assert held is not None
    assert (train.n_samples, held.n_samples) == (40, 10)
    rows = [record["row"] for record in held.about(slice(None))]
    assert rows == sorted(rows)
    both = rows + [record["row"] for record in train.about(slice(None))]
    assert sorted(both) == list(range(50))
    again = split(ArraySource(numbers(50, 2)), 0.2, seed=1)[1]
    assert again is not None
    assert [record["row"] for record in again.about(slice(None))] == rows


@pytest.mark.parametrize(("n", "fraction"), [(50, 0.0), (5, 0.1), (3, 0.9), (1, 0.5)])
def test_split_holds_nothing_out(n: int, fraction: float) -> None:
    source = ArraySource(numbers(n))
    assert split(source, fraction, seed=0) == (source, None)


def test_split_refuses_nonsense() -> None:
    with pytest.raises(UsageError, match="fraction 1"):
        split(ArraySource(numbers()), 1.0, seed=0)


def test_fingerprint_sees_shape_type_and_values() -> None:
    x = numbers()
    prints = {ArraySource(x).fingerprint(), ArraySource(x.astype(float)).fingerprint()}
    prints |= {ArraySource(x[:-1]).fingerprint(), ArraySource(x + 1).fingerprint()}
    prints.add(ArraySource(x.reshape(-1, 2, 2)).fingerprint())
    assert len(prints) == 5
    assert all(text.startswith("sha256:") and len(text) == 71 for text in prints)
    assert ArraySource(np.zeros((2, 2_500_000), np.float32)).fingerprint()


@pytest.mark.parametrize(("n", "d", "dtype"), [(70_000, 20, "f4"), (70_000, 3, "f8"), (5, 4, "f4")])
def test_one_reading_tells_range_and_fingerprint(n: int, d: int, dtype: str) -> None:
    """More values than a fingerprint looks at, and fewer; in several batches, and in one."""
    x = np.random.default_rng(0).standard_normal((n, d)).astype(dtype)
    source = ArraySource(x)
    found = survey(source)
    assert found == (source.fingerprint(), float(x.min()), float(x.max()))
    x[n // 2, 1] = np.nan
    with pytest.raises(DataError, match=f"sample {n // 2}, input 1"):
        survey(source)


def test_inputs_are_matched_by_their_names(tmp_path) -> None:
    """Genes of another batch come in another order, and are not those of the model otherwise."""
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    source = ArraySource(x, input_names=["A", "B", "C", "D"])
    session = begin(x, tmp_path / "run", settings=["train.steps=2"], source=source)
    for _ in session.records():
        pass
    session.finish()
    trained = Run(tmp_path / "run").load()
    assert trained.input_names == ["A", "B", "C", "D"]
    moved = ArraySource(x[:, [2, 0, 3, 1]], input_names=["C", "A", "D", "B"])
    np.testing.assert_array_equal(new_data(trained, moved).read(slice(0, 5)), x[:5])
    wider = ArraySource(np.hstack([x[:, ::-1], x]), input_names=list("DCBAEFGH"))
    found = new_data(trained, wider)
    np.testing.assert_array_equal(found.read(np.array([7, 2])), x[[7, 2]])
    assert found.notes[-1] == "4 of 8 inputs are none of this model's: ignored"
    with pytest.raises(DataError, match=r"no input 'A' \(nor 1 others\)"):
        new_data(trained, ArraySource(x, input_names=["X", "Y", "C", "D"]))
    bare = ArraySource(x)  # nobody says what its columns are
    np.testing.assert_array_equal(new_data(trained, bare).read(slice(0, 2)), x[:2])
