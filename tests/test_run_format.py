"""What docs/run-format.md promises: its own reader, of NumPy and safetensors, reads all runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from family_runs import KINDS, samples
from simplecell.model.activations import ACTIVATIONS
from simplecell.preprocess.chain import STEPS

PAGE = (Path(__file__).parents[1] / "docs" / "run-format.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture(scope="module")
def reader():
    names = {}
    exec(compile(CODE, "docs/run-format.md", "exec"), names)
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_of_the_page_says_what_the_run_says(reader, run_of, kind):
    run, x = run_of(kind), samples(60, seed=21)
    codes = reader["codes_of"](run.path, x)
    wanted = run.load().encode(x)
    assert codes.shape == wanted.shape
    assert np.abs(codes - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert (wanted != 0).any()


def test_center_stands_in_the_file_where_it_is_not_the_offset(run_of):
    for kind in KINDS:
        run = run_of(kind)
        names = load_file(run.path / "model.safetensors")
        assert any(name.endswith("center") for name in names) is not run.recipe().model.pre_bias


def test_no_kind_is_missing(reader, run_of):
    assert set(reader["ACTIVATIONS"]) == set(ACTIVATIONS)
    chains = [run_of(kind).load().preprocess.steps for kind in KINDS]
    assert {str(step["kind"]) for steps in chains for step in steps} == set(STEPS)
