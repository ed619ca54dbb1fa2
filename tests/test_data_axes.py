"""Arrays of three axes that are no pictures, and matrices of MATLAB's that may lie either way."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import io as scipy_io

from simplecell.data import as_source
from simplecell.errors import DataError, UsageError
from simplecell.run.begin import default_recipe

TRIALS = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("inputs", "axis"),
    [("first", 0), ("middle", 1), ("last", 2), (0, 0), (1, 1), (-1, 2)],
)
def test_the_axis_of_inputs_can_be_said(inputs: str | int, axis: int, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", TRIALS)
    for data in (TRIALS, tmp_path / "x.npy", list(TRIALS)):
        source = as_source(np.stack(data) if isinstance(data, list) else data, inputs=inputs)
        flat = np.moveaxis(TRIALS, axis, -1).reshape(-1, TRIALS.shape[axis])
        assert (source.kind, source.shape) == ("array", (TRIALS.shape[axis],))
        np.testing.assert_array_equal(source.read(slice(None)), flat)
        others = [k for k in range(3) if k != axis]
        place = np.unravel_index(7, [TRIALS.shape[k] for k in others])
        assert source.about(np.array([7])) == [
            {"row": 7} | {f"axis {k}": int(at) for k, at in zip(others, place, strict=True)}
        ]
        assert f"axis {axis} holds the {TRIALS.shape[axis]} inputs" in source.notes[0]


def test_labels_of_the_first_axis_are_those_of_all_in_it(tmp_path: Path) -> None:
    pictures = struct.pack(">HBB3I", 0, 8, 3, 2, 3, 2) + bytes(range(12))
    (tmp_path / "t-images-idx3-ubyte").write_bytes(pictures)
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + b"\7\1")
    source = as_source(tmp_path / "t-images-idx3-ubyte", inputs="last")
    np.testing.assert_array_equal(source.read(slice(None)), np.arange(12).reshape(6, 2))
    assert source.labels is not None
    assert source.labels.tolist() == [7, 7, 7, 1, 1, 1]


def test_all_axes_but_the_first() -> None:
    source = as_source(TRIALS, inputs="all")
    assert (source.kind, source.shape) == ("array", (30,))
    np.testing.assert_array_equal(source.read(slice(None)), TRIALS.reshape(4, 30))


def test_shards_and_bfloat16_of_three_axes(tmp_path: Path) -> None:
    half = torch.from_numpy(TRIALS).bfloat16()
    for i in range(2):
        save_file({"x": half * (i + 1)}, tmp_path / f"{i}.safetensors")
    source = as_source(tmp_path, inputs="middle")
    flat = half.float().numpy().transpose(0, 2, 1).reshape(-1, 5)
    np.testing.assert_array_equal(source.read(slice(None)), np.concatenate([flat, 2 * flat]))
    assert source.about(np.array([25])) == [
        {"row": 1, "file": "1.safetensors", "axis 0": 0, "axis 2": 1}
    ]
    whole = as_source(tmp_path / "0.safetensors", inputs="all").read(slice(None))
    np.testing.assert_array_equal(whole, half.float().numpy().reshape(4, 30))


def test_matrices_and_more_axes() -> None:
    x = TRIALS[0]
    np.testing.assert_array_equal(as_source(x, inputs="last").read(slice(None)), x)
    np.testing.assert_array_equal(as_source(x, inputs="first").read(slice(None)), x.T)
    five = TRIALS.reshape(2, 2, 5, 3, 2)
    source = as_source(five, inputs=2)
    assert (source.n_samples, source.n_inputs) == (24, 5)
    with pytest.raises(DataError, match=r"\(data\.inputs=last\)"):
        as_source(five)


@pytest.mark.parametrize("shape", [(40, 64, 128), (80, 70, 90), (30, 20, 50), (9, 12, 64, 7)])
def test_what_was_assumed_is_said_with_the_way_out(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    notes = [note for note in as_source(x, n_patches=9).notes if "taken for" in note]
    assert len(notes) == 1
    for word in (f"{shape[0]} pictures", "data.inputs=last", "data.kind=array"):
        assert word in notes[0]
    assert not any("taken for" in note for note in as_source(x, inputs="last").notes)
    bytes_alone = as_source(np.zeros((3, 28, 28), np.uint8))
    assert bytes_alone.notes == []
    cube = as_source(np.zeros((30, 20, 50), np.uint8))
    assert "data.inputs=last" in cube.notes[0]


def test_matlab_axes_are_told_as_matlab_counts_them(tmp_path: Path) -> None:
    pictures = TRIALS.transpose(1, 2, 0)
    scipy_io.savemat(tmp_path / "x.mat", {"x": pictures})
    source = as_source(tmp_path / "x.mat")
    assert "x.mat, 5 x 6 x 4, is taken for 4 pictures of 5 x 6" in source.notes[0]
    np.testing.assert_array_equal(
        as_source(tmp_path / "x.mat", inputs="last").read(slice(None)), pictures.reshape(30, 4)
    )
    np.testing.assert_array_equal(
        as_source(tmp_path / "x.mat", inputs="all").read(slice(None)), TRIALS.reshape(4, 30)
    )


def test_the_command_line_says_it_too() -> None:
    x = np.random.default_rng(0).normal(size=(5, 64, 70)).astype(np.float32)
    _, notes, _ = default_recipe(x, [])
    assert any("data.inputs=last" in note for note in notes)
    _, notes, source = default_recipe(x, ["data.inputs=last"])
    assert source is not None
    assert (source.kind, source.n_samples, source.n_inputs) == ("array", 320, 70)


def test_matlab_matrices_that_lie_down_ask(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(16, 300))
    scipy_io.savemat(tmp_path / "x.mat", {"x": x})
    source = as_source(tmp_path / "x.mat")
    assert source.n_inputs == 300
    assert "which way round is x.mat, 16 x 300?" in source.notes[0]
    assert "data.samples=columns takes its 300 columns" in source.notes[0]
    for samples, n in (("rows", 16), ("columns", 300)):
        said = as_source(tmp_path / "x.mat", samples=samples)
        assert (said.n_samples, said.notes) == (n, [])
    scipy_io.savemat(tmp_path / "x.mat", {"x": x.T})
    assert as_source(tmp_path / "x.mat").notes == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inputs": "lst"}, "unknown data.inputs 'lst'; did you mean 'last'"),
        ({"inputs": 3}, r"data.inputs is 3, but the array has 3 axes \(4 x 5 x 6\)"),
        ({"inputs": "last", "samples": "columns"}, "data.inputs says all"),
        ({"inputs": "last", "kind": "patches"}, "data.inputs says all"),
    ],
)
def test_axes_that_are_not_there(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        as_source(TRIALS, **options)
