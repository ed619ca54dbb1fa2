"""Data frames, whichever library made them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simplecell.data import as_source
from simplecell.errors import DataError

pandas = pytest.importorskip("pandas")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_numbers_and_words(library: str) -> None:
    frames: Any = pytest.importorskip(library)
    frame = frames.DataFrame({"a": [1.0, 2.0, 3.0], "w": ["x", "y", "x"], "y": [0, 1, 0]})
    source = as_source(frame, label="y")
    assert source.kind == "table"
    assert source.input_names == ["a", "w=x", "w=y"]
    np.testing.assert_array_equal(source.read(slice(None)), [[1, 1, 0], [2, 0, 1], [3, 1, 0]])
    assert source.about(slice(1, 2)) == [{"row": 1, "label": 1}]
    again = as_source(frame[["w", "a"]], columns=source.columns)
    assert again.fingerprint() == source.fingerprint()


def test_float32_stays() -> None:
    frame = pandas.DataFrame(np.eye(3, dtype=np.float32))
    assert as_source(frame).read(slice(None)).dtype == np.float32


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_cells_are_named(missing: Any) -> None:
    frame = pandas.DataFrame({"a": [1.0, 2.0], "w": ["x", missing]})
    with pytest.raises(DataError, match=r"row 1 .*column 'w' of the data frame is missing"):
        as_source(frame)
    with pytest.raises(DataError, match="column 'w'"):
        as_source(pandas.DataFrame({"a": [1.0, 2.0], "w": [1.5, missing]}))


def test_dates_and_doubled_names_are_refused() -> None:
    with pytest.raises(DataError, match="column 'd' of the data frame holds datetime64"):
        as_source(pandas.DataFrame({"d": pandas.to_datetime(["2020-01-01"])}))
    with pytest.raises(DataError, match="several columns named 'a'"):
        as_source(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
