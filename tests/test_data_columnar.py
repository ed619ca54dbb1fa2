"""Parquet, Feather and Arrow, as pyarrow, pandas and polars write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from simplecell.data import as_source, columnar
from simplecell.errors import DataError, UsageError

pa = pytest.importorskip("pyarrow")

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
NAMES = ["mat", "pet", "ö x", "1,5", "-", "cat"]
DTYPES = [np.float16, np.float32, np.float64]


def read(data: object, **options: object) -> np.ndarray:
    return as_source(data, **options).read(slice(None))


def ids(path: Path, **options: object) -> list[object]:
    return [record["id"] for record in as_source(path, **options).about(slice(None))]


def arrow_table(dtype: type = np.float32) -> pa.Table:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.astype(dtype).ravel()), 4)
    return pa.table({"id": NAMES, "embedding": lists, "title": [f"the {n} is here" for n in NAMES]})


def write_arrow(path: Path, table: pa.Table) -> None:
    new = pa.ipc.new_file if path.name != "stream.arrow" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table)


def write_parquet(path: Path, table: pa.Table) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


def write_feather(path: Path, table: pa.Table) -> None:
    from pyarrow import feather

    feather.write_feather(table, str(path), compression="zstd")


COLUMNAR: dict[str, Callable[[Path, pa.Table], None]] = {
    "x.parquet": write_parquet,
    "x.feather": write_feather,
    "x.arrow": write_arrow,
    "stream.arrow": write_arrow,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLUMNAR)
def test_lists_in_a_column_are_inputs_and_the_rest_records(
    name: str, dtype: type, tmp_path: Path
) -> None:
    COLUMNAR[name](tmp_path / name, arrow_table(dtype))
    source = as_source(tmp_path / name)
    assert source.input_names == [f"embedding.{j}" for j in range(4)]
    np.testing.assert_array_equal(source.read(slice(None)), X.astype(dtype))
    record = source.about(slice(0, 1))[0]
    assert (record["id"], record["title"]) == ("mat", "the mat is here")


def test_frames_of_pandas_and_polars(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.to_parquet(tmp_path / "pandas.parquet")
    frame.to_feather(tmp_path / "pandas.feather")
    pl.DataFrame({"v": X.tolist(), "id": NAMES}).write_parquet(tmp_path / "polars.parquet")
    pl.DataFrame({c: X[:, j] for j, c in enumerate("abcd")}).write_ipc(tmp_path / "polars.arrow")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read(path), X, err_msg=path.name)
    assert ids(tmp_path / "polars.parquet") == NAMES


def test_shards_of_parquet_are_one_table(tmp_path: Path) -> None:
    for part, name in ((slice(0, 4), "0.parquet"), (slice(4, 6), "1.parquet")):
        write_parquet(tmp_path / name, arrow_table().slice(part.start, part.stop - part.start))
    source = as_source(tmp_path)
    np.testing.assert_array_equal(source.read(slice(None)), X)
    about = source.about(slice(5, 6))[0]
    assert (about["file"], about["row"], about["id"]) == ("1.parquet", 1, "cat")


def test_one_of_several_lists(tmp_path: Path) -> None:
    table = arrow_table().append_column("other", pa.array((X * 2).tolist()))
    write_parquet(tmp_path / "x.parquet", table)
    assert as_source(tmp_path / "x.parquet", key="other").input_names == [
        f"other.{j}" for j in range(4)
    ]
    with pytest.raises(UsageError, match=r"unknown column of lists .*did you mean 'other'"):
        as_source(tmp_path / "x.parquet", key="othr")


def test_broken_columns(tmp_path: Path) -> None:
    for name, write in COLUMNAR.items():
        write(tmp_path / name, arrow_table())
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            as_source(tmp_path / name)


def test_a_small_file_of_many_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(
        tmp_path / "x.parquet", pa.table({"a": np.zeros(10**6, np.int8), "b": [0] * 10**6})
    )
    assert as_source(tmp_path / "x.parquet").n_samples == 10**6
    monkeypatch.setattr(columnar, "_SMALL_BYTES", 2**20)
    with pytest.raises(DataError, match=r"declares 0\.0149 GiB of values in"):
        as_source(tmp_path / "x.parquet")
