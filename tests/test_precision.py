"""Large numbers that vary little: nothing is rounded before its mean is gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simplecell import SparseAutoencoder, StackedAutoencoder, TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.data import ArraySource, as_source
from simplecell.preprocess import Preprocess
from simplecell.run.directory import Run
from simplecell.training.prepared import prepare, to_model

CLOCK = 1.7e9
"""Seconds since 1970: float32 counts there in steps of 128."""


def rows(n=600, d=6, offset=CLOCK, seed=0):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, d)) @ r.normal(size=(d, d))
    x[:, 0] += offset
    return x


def unexplained(x, recon):
    """Of each column: the share of its variance that does not come back."""
    return ((x - recon) ** 2).sum(0) / ((x - x.mean(0)) ** 2).sum(0)


@pytest.mark.parametrize(
    "steps", [["center"], ["standardize"], ["scale", "center"], ["zca_whiten"]]
)
@pytest.mark.parametrize("like", [torch.float32, torch.float64])
def test_rows_are_prepared_in_their_own_precision(steps, like):
    x = rows()
    chain = Preprocess(steps).fit(lambda: [torch.from_numpy(x)])
    exact = chain.apply(torch.from_numpy(x)).x
    found = to_model(x, chain, torch.empty(0, dtype=like))
    assert found.dtype == like
    torch.testing.assert_close(found, exact.to(like), rtol=0, atol=0)
    assert prepare(x, chain, torch.empty(0, dtype=like)).x.dtype == torch.float64


def test_rows_of_float32_stay_float32_on_their_way():
    x = rows(offset=3.0).astype(np.float32)
    chain = Preprocess(["center"]).fit(lambda: [torch.from_numpy(x)])
    assert prepare(x, chain, torch.empty(0)).x.dtype == torch.float32


@pytest.mark.parametrize("preprocess", [["standardize"], ["center", "scale"]])
def test_a_clock_among_the_columns_is_learned_and_scored_as_it_is(preprocess):
    x = rows()
    model = SparseAutoencoder(
        12, preprocess=preprocess, output="linear", target=0.3, max_iter=150, random_state=0
    ).fit(x)
    lost = unexplained(x, model.inverse_transform(model.transform(x)))
    assert lost.max() < 0.1
    if preprocess == ["standardize"]:  # fvu is of prepared columns, which then weigh the same
        assert model.score(x) == pytest.approx(1 - lost.mean(), abs=1e-3)
        assert model.fvu_ == pytest.approx(lost.mean(), abs=1e-3)


def test_a_stack_is_trained_on_a_clock_as_it_is():
    x = rows()
    stack = StackedAutoencoder(
        (12, 8),
        preprocess=["standardize"],
        output="linear",
        target=0.3,
        max_iter=60,
        fine_tune_iter=60,
        random_state=0,
    ).fit(x)
    assert unexplained(x, stack.inverse_transform(stack.transform(x))).max() < 0.1


def test_the_figure_of_topk_is_that_of_what_comes_back():
    """At an offset of 1e9, 1.0000 was told where 0.27 was true."""
    x = rows(d=16, offset=0.0) + 1e9
    model = TopKSparseAutoencoder(32, k=4, max_samples=20_000, random_state=0).fit(x)
    recon = model.inverse_transform(model.transform(x))
    fvu = ((x - recon) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert model.score(x) == pytest.approx(1 - fvu, abs=2e-3)
    assert model.fvu_ == pytest.approx(fvu, abs=2e-3)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_large_integers_are_read_one_by_one(dtype):
    x = (1_700_000_000 + np.arange(12).reshape(6, 2)).astype(dtype)
    np.testing.assert_array_equal(as_source(x).read(slice(None)).astype(dtype), x)


def test_float16_is_summed_without_overflow():
    x = np.full((4000, 3), 60_000, np.float16)
    x[::2] = 30_000
    source = ArraySource(x)
    chain = Preprocess(["center", "scale"]).fit(
        lambda: (torch.from_numpy(part) for part, _ in source.batches(512))
    )
    prepared = to_model(source.read(slice(None)), chain, torch.empty(0))
    assert float(prepared.square().mean()) == pytest.approx(1)
    assert float(prepared.mean()) == pytest.approx(0, abs=1e-6)


def test_the_command_line_gives_a_clock_back_as_it_came(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x := rows(300))
    settings = ["preprocess.steps=['standardize']", "model.output='linear'", "train.steps=60"]
    words = ["train", "x.npy", "--out", "run", "--recipe", "table", "--set", "model.n_latents=24"]
    run_command_line([*words, *(word for one in settings for word in ("--set", one))])
    run_command_line(["encode", "run", "x.npy", "--out", "codes.npy"])
    run_command_line(["decode", "run", "codes.npy", "--out", "back.npy"])
    trained = Run("run").load()
    exact = trained.decode(trained.encode(x))
    assert np.load("codes.npy").dtype == np.float32
    np.testing.assert_allclose(np.load("codes.npy"), trained.encode(x), atol=1e-5)
    back = np.load("back.npy")
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, exact, atol=1e-3)
    assert unexplained(x, back).max() < 0.3
