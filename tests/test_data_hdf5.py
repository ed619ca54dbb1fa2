"""HDF5, MATLAB 7.3, AnnData and 10x, as h5py, hdf5storage and anndata write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from simplecell.data import as_source
from simplecell.data.counts import raw_counts
from simplecell.data.files import read_file
from simplecell.data.options import Options
from simplecell.errors import DataError, UsageError

h5py = pytest.importorskip("h5py")

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
NAMES = ["mat", "pet", "ö x", "1,5", "-", "cat"]


def read(data: object, **options: object) -> np.ndarray:
    return as_source(data, **options).read(slice(None))


def test_hdf5_by_key(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["acts/layer_0"] = X
        file["acts/layer_1"] = X.astype(np.float16) * 2
        file["labels"] = np.arange(6)
        file.create_dataset("packed", data=X, chunks=True, compression="gzip")
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "x")
    np.testing.assert_array_equal(read(path, key="acts/layer_0"), X)
    np.testing.assert_array_equal(read(path, key="acts/layer_1"), X.astype(np.float16) * 2)
    np.testing.assert_array_equal(read(path, key="packed"), X)
    assert isinstance(read_file(path, Options(key="acts/layer_0")).data, np.memmap)
    with pytest.raises(DataError, match=r"acts/layer_0 \(6, 4\), acts/layer_1 \(6, 4\), packed"):
        as_source(path)
    with pytest.raises(UsageError, match=r"data\.layer is for AnnData"):
        as_source(path, layer="acts")


def test_hdf5_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**6, 10**4), "f4", chunks=(1000, 100), compression="gzip")
    with pytest.raises(DataError, match=r"x\.hdf5 declares 37\.3 GiB"):
        as_source(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (6, 4), "f4", external=[("/etc/hostname", 0, 96)])
    with pytest.raises(DataError, match="lies in another file"):
        as_source(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"x\.hdf5 cannot be read"):
        as_source(path)


def test_matlab_73_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:  # as MATLAB writes them
        file["x"] = X.T
        file["x"].attrs["MATLAB_class"] = np.bytes_("single")
        file["name"] = np.frombuffer("word".encode("utf-16-le"), "u2")[:, None]
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
        file["#refs#/a"] = X
        group = file.create_group("s")
        matrix = sparse.csc_array(np.where(X > 0, X, 0).astype(float))
        group.attrs["MATLAB_sparse"] = matrix.shape[0]
        group["data"], group["ir"], group["jc"] = matrix.data, matrix.indices, matrix.indptr
        file["p"] = np.moveaxis(np.stack([X, X * 2]), 0, 0).transpose(0, 2, 1)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    np.testing.assert_array_equal(read(path, key="x"), X)
    np.testing.assert_array_equal(read(path, key="s"), np.where(X > 0, X, 0))
    pictures = as_source(path, key="p")
    assert (pictures.shape, pictures.n_samples) == ((6, 4), 2)
    np.testing.assert_array_equal(pictures.read(slice(1, 2))[0].reshape(6, 4), X * 2)
    with pytest.raises(
        DataError, match=r"several variables: p \(6, 4, 2\), x \(6, 4\), s \(6, 4\)"
    ):
        as_source(path)


def test_matlab_73_of_hdf5storage(tmp_path: Path) -> None:
    hdf5storage = pytest.importorskip("hdf5storage")
    hdf5storage.savemat(
        str(tmp_path / "x.mat"), {"x": X}, format="7.3", store_python_metadata=False
    )
    np.testing.assert_array_equal(read(tmp_path / "x.mat"), X)


COUNTS = np.random.default_rng(0).poisson(0.5, size=(6, 4)).astype(np.float32)
GENES = ["CD3E", "MS4A1", "LYZ", "NKG7"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_anndata(kind: str, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    make = {"dense": np.array, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[kind]
    table = anndata.AnnData(
        make(COUNTS),
        obs=pd.DataFrame(
            {"type": pd.Categorical(["B", "T"] * 3), "n": range(6), "note": NAMES},
            index=[f"cell{i}" for i in range(6)],
        ),
        var=pd.DataFrame(index=GENES),
        layers={"twice": make(COUNTS * 2)},
        obsm={"X_pca": X},
    )
    table.raw = anndata.AnnData(make(COUNTS * 3), obs=table.obs, var=table.var)
    table.write_h5ad(tmp_path / "x.h5ad")
    source = as_source(tmp_path / "x.h5ad")
    assert source.input_names == GENES
    assert sparse.issparse(source._data) == (kind != "dense")  # type: ignore[attr-defined]
    np.testing.assert_array_equal(source.read(slice(None)), COUNTS)
    assert source.about(slice(2, 3)) == [
        {"row": 2, "id": "cell2", "type": "B", "n": 2, "note": "ö x"}
    ]
    assert "layers: twice" in source.notes[0]
    np.testing.assert_array_equal(read(tmp_path / "x.h5ad", layer="twice"), COUNTS * 2)
    np.testing.assert_array_equal(read(tmp_path / "x.h5ad", layer="raw"), COUNTS * 3)
    np.testing.assert_array_equal(read(tmp_path / "x.h5ad", key="obsm/X_pca"), X)
    labelled = as_source(tmp_path / "x.h5ad", label="type")
    assert labelled.about(slice(1, 2))[0] == {
        **{"row": 1, "label": "T", "id": "cell1", "n": 1, "note": "pet"}
    }
    assert "X of x.h5ad holds raw counts" in source.notes[1]
    assert len(as_source(tmp_path / "x.h5ad", key="obsm/X_pca").notes) == 1
    for options in ({"layer": "twce"}, {"key": "obsm/X_pcaa"}, {"label": "typ"}):
        with pytest.raises(UsageError, match="did you mean"):
            as_source(tmp_path / "x.h5ad", **options)


def write_tenx(path: Path, group: str) -> None:
    """As Cell Ranger does: genes x cells, by column."""
    matrix = sparse.csc_array(COUNTS.T.astype(np.int32))
    with h5py.File(path, "w") as file:
        place = file.create_group(group)
        place["barcodes"] = [f"AAA{i}-1".encode() for i in range(6)]
        place["shape"] = np.array(matrix.shape, np.int32)
        for name in ("data", "indices", "indptr"):
            place.create_dataset(name, data=getattr(matrix, name), compression="gzip")
        told = place.create_group("features") if group == "matrix" else place
        old = group != "matrix"
        told["genes" if old else "id"] = [f"ENSG{j}".encode() for j in range(4)]
        told["gene_names" if old else "name"] = [b"CD3E", b"LYZ", b"LYZ", b"CD19"]
        if not old:
            kinds = [b"Gene Expression"] * 3 + [b"Antibody Capture"]
            told["feature_type"] = kinds


def test_raw_counts_are_told_with_the_way_to_logarithms() -> None:
    totals = COUNTS.sum(1)[COUNTS.sum(1) > 0]
    (note,) = raw_counts(COUNTS, "x")
    assert f"x holds raw counts ({totals.min():g} to {totals.max():g} a cell)" in note
    assert "sc.pp.log1p" in note
    assert raw_counts(sparse.csr_array(COUNTS.astype(np.int32)), "x") == [note]
    scaled = np.log1p(1e4 * COUNTS / np.maximum(COUNTS.sum(1, keepdims=True), 1))
    for other in (scaled, COUNTS - 1, (COUNTS > 0) * 1.0, COUNTS * 0, np.full((5, 3), 2)):
        assert raw_counts(other, "x") == []


@pytest.mark.parametrize("group", ["matrix", "GRCh38"])
def test_tenx_of_both_layouts(group: str, tmp_path: Path) -> None:
    write_tenx(tmp_path / "x.h5", group)
    source = as_source(tmp_path / "x.h5")
    assert sparse.issparse(source._data)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(source.read(slice(None)), COUNTS)
    assert source.input_names == ["CD3E", "LYZ (ENSG1)", "LYZ (ENSG2)", "CD19"]
    assert source.about(slice(5, 6)) == [{"row": 5, "id": "AAA5-1"}]
    assert "x.h5 holds raw counts" in source.notes[1]
    if group == "matrix":
        assert "3 Gene Expression, 1 Antibody Capture" in source.notes[0]
