"""Tensors in memory and in files: bfloat16 keeps its values, gradients stay behind."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import sparse

from simplecell import TopKSparseAutoencoder
from simplecell.data import as_source
from simplecell.data.lazy import Joined, Positions, Widened
from simplecell.errors import DataError, UsageError

X = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
HALF = X.bfloat16()
EXACT = HALF.float().numpy()


def read(data: object, **options: object) -> np.ndarray:
    return as_source(data, **options).read(slice(None))


def test_tensors_in_memory_keep_their_values() -> None:
    np.testing.assert_array_equal(read(HALF), EXACT)
    np.testing.assert_array_equal(read(X.clone().requires_grad_()), X.numpy())
    np.testing.assert_array_equal(read(X.double() * 3), (X.double() * 3).numpy())
    np.testing.assert_array_equal(
        read(X.to(torch.float8_e4m3fn)), X.to(torch.float8_e4m3fn).float()
    )
    np.testing.assert_array_equal(read(list(HALF)), EXACT)
    np.testing.assert_array_equal(read([HALF, X[:3]]), np.concatenate([EXACT, X[:3]]))


def test_a_sparse_tensor_stays_sparse() -> None:
    some = torch.where(X > 1, X, 0)
    for tensor in (some.to_sparse(), some.bfloat16().to_sparse()):
        source = as_source(tensor)
        assert sparse.issparse(source._data)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(source.read(slice(None)), tensor.to_dense().float().numpy())


def test_estimators_take_tensors() -> None:
    for tensor in (HALF, HALF.clone().requires_grad_(), list(HALF)):
        model = TopKSparseAutoencoder(6, k=2, max_samples=500, random_state=0).fit(tensor)
        same = TopKSparseAutoencoder(6, k=2, max_samples=500, random_state=0).fit(EXACT)
        np.testing.assert_array_equal(model.components_, same.components_)
        np.testing.assert_array_equal(model.transform(tensor), same.transform(EXACT))
        assert model.score(tensor) == same.score(EXACT)


def test_two_bytes_without_a_type_name_bfloat16(tmp_path: Path) -> None:
    voids = HALF.view(torch.int16).numpy().view("V2")
    np.save(tmp_path / "x.npy", voids)
    np.savez(tmp_path / "x.npz", x=voids)
    for what in (tmp_path / "x.npy", tmp_path / "x.npz", voids):
        with pytest.raises(DataError, match=r"bfloat16 .* save them as float32 \(x\.float"):
            as_source(what)
    with pytest.raises(DataError, match="bfloat16"):
        TopKSparseAutoencoder(6, k=2).fit(voids)


def test_safetensors_are_mapped_and_chosen_by_key(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"half": HALF, "full": X}, path)
    np.testing.assert_array_equal(read(path, key="half"), EXACT)
    np.testing.assert_array_equal(read(path, key="full"), X.numpy())
    with pytest.raises(DataError, match=r"several variables: full \(30, 8\), half \(30, 8\)"):
        as_source(path)
    with pytest.raises(UsageError, match=r"unknown variable .* 'hlf'; did you mean 'half'"):
        as_source(path, key="hlf")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x\.safetensors cannot be read"):
        as_source(path, key="half")


def test_torch_files_of_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(HALF, path)
    np.testing.assert_array_equal(read(path), EXACT)
    torch.save({"layers": [HALF, X], "step": 3}, path)
    np.testing.assert_array_equal(read(path, key="layers.1"), X.numpy())
    with pytest.raises(DataError, match=r"several variables: layers\.0 \(30, 8\), layers\.1"):
        as_source(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(DataError, match=r"more than tensors, .*; save the tensor alone"):
        as_source(path)
    torch.save(torch.zeros(1).expand(10**9, 100), path)
    with pytest.raises(DataError, match="a view that repeats them"):
        as_source(path)


def test_torch_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="a plain pickle"):
        as_source(path)
    torch.save(X, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name) + b"\0" * 100_000)
    with pytest.raises(DataError, match="is compressed"):
        as_source(path)


def test_lazy_arrays_are_the_arrays_that_they_stand_for() -> None:
    a, b = np.arange(12.0, dtype=np.float16).reshape(4, 3), np.arange(6.0).reshape(2, 3)
    both, whole = Joined([a, b]), np.concatenate([a, b])
    assert (both.shape, both.dtype, both.place(5)) == ((6, 3), np.float64, (1, 1))
    for rows in (slice(1, 6, 2), np.array([5, 0, 5, -1 + 4]), 4):
        np.testing.assert_array_equal(both[rows], whole[rows])
    np.testing.assert_array_equal(np.asarray(both), whole)
    cube = np.arange(24).reshape(2, 3, 4)
    for axis in range(3):
        flat = np.moveaxis(cube, axis, -1).reshape(-1, cube.shape[axis])
        np.testing.assert_array_equal(np.asarray(Positions(cube, axis)), flat)
    bits = HALF.view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(np.asarray(Widened(bits), np.float64), EXACT)
