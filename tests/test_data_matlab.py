"""The reader of MATLAB files, with SciPy's writer and reader as the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import io, sparse

from simplecell.data.files import read_file
from simplecell.data.options import Options
from simplecell.errors import DataError, SimplecellError

RNG = np.random.default_rng(0)
VALUES: dict[str, Any] = {
    dtype: (RNG.random((3, 4, 2)) * 9).astype(dtype)
    for dtype in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
}
VALUES["whole_doubles"] = np.arange(12.0).reshape(3, 4)
VALUES["logical"] = RNG.random((3, 4)) > 0.5
VALUES["sparse"] = sparse.random_array((5, 6), density=0.3, rng=RNG).tocsc()
VALUES["empty_sparse"] = sparse.csc_array((2, 3))


@pytest.mark.parametrize("how", [{"do_compression": False}, {"do_compression": True}])
def test_reads_what_scipy_reads(how: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    io.savemat(path, VALUES, **how)
    for name in VALUES:
        data, oracle = (
            read_file(path, Options(key=name)).data,
            io.loadmat(path, mat_dtype=True)[name],
        )
        if hasattr(oracle, "toarray"):
            data, oracle = data.toarray(), oracle.toarray()
        np.testing.assert_array_equal(data, oracle, err_msg=name)
        assert data.dtype == oracle.dtype or name == "logical"


def test_version_4_goes_through_scipy(tmp_path: Path) -> None:
    io.savemat(tmp_path / "x.mat", {"x": VALUES["whole_doubles"]}, format="4")
    data = read_file(tmp_path / "x.mat").data
    np.testing.assert_array_equal(data, VALUES["whole_doubles"])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("text", "is text, a cell or a struct"),
        ({"a": 1.0}, "is text, a cell or a struct"),
        (np.array([[1, "a"]], dtype=object), "is text, a cell or a struct"),
        (np.ones((2, 2)) * 1j, "is complex"),
        (np.zeros((0, 2)), "is empty"),
    ],
)
def test_what_is_not_numbers(value: Any, sentence: str, tmp_path: Path) -> None:
    io.savemat(tmp_path / "x.mat", {"x": value})
    with pytest.raises(DataError, match=f"'x'.* {sentence}"):
        read_file(tmp_path / "x.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_give_numbers_or_a_sentence(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    both = {"x": VALUES["f8"], "s": VALUES["sparse"]}
    io.savemat(path, both, do_compression=compressed)
    whole, n_refused = path.read_bytes(), 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for at in rng.integers(120, len(data), size=3):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
        for key in both:
            try:
                read_file(path, Options(key=key))
            except SimplecellError:
                n_refused += 1
    assert n_refused > 50
