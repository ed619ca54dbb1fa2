"""The compiled tier says what torch says, on every size and at every edge; without it all works."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from simplecell.distributed import ALONE
from simplecell.errors import DataError
from simplecell.model import native, selection
from simplecell.model.codes import Rows, SparseCodes
from simplecell.model.native.update import Moved, Pace, residuals, update
from simplecell.model.places import Places

needs_library = pytest.mark.skipif(native.library() is None, reason="not compiled here")
SIZES = [(1, 1, 1), (3, 5, 2), (2, 31, 3), (7, 32, 1), (5, 33, 8), (40, 200, 17), (9, 1000, 40)]


def drawn(n_samples, n_latents, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randn(n_samples, n_latents, generator=generator, dtype=torch.float64).to(dtype)
    if n_samples > 2:
        pre[1] = pre[0].round()  # many equal values
        pre[2] = -1.0
    return pre


def without_library(monkeypatch):
    monkeypatch.setattr(native, "library", lambda *tensors: None)


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_samples", "n_latents", "k"), SIZES)
def test_the_k_largest(n_samples, n_latents, k, dtype):
    pre = drawn(n_samples, n_latents, dtype)
    found = native.library(pre).top(pre, k)
    assert torch.equal(found, found.sort(dim=1).values)
    assert all(len(set(row)) == k for row in found.tolist())
    want = pre.topk(k, dim=1).values
    assert torch.equal(pre.gather(1, found).sort(dim=1, descending=True).values, want)
    rest = pre.scatter(1, found, -torch.inf).amax(1)
    assert bool((rest <= want[:, -1]).all())


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_samples", "n_latents", "k"), SIZES)
@pytest.mark.parametrize("own", [True, False])
def test_what_is_above_a_threshold(n_samples, n_latents, k, own, dtype):
    pre = drawn(n_samples, n_latents, dtype)
    threshold = drawn(1, n_latents, dtype, 1)[0] if own else torch.zeros(1, dtype=dtype)
    want = (pre > threshold).nonzero().T
    for room in (n_latents, n_latents // 2):
        found = native.library(pre, threshold).above(pre, threshold, room)
        if int((pre > threshold).sum(1).max()) > room:
            assert found is None
            continue
        assert torch.equal(found[0], want[0])
        assert torch.equal(found[1], want[1])
        assert found[2].diff().tolist() == (pre > threshold).sum(1).tolist()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("guess", [-1.0, 0.5, 1e-3, 50.0])
@pytest.mark.parametrize("count", [1, 5, 9, 30])
def test_the_largest_of_a_batch_do_not_depend_on_the_guess(count, guess, compiled, monkeypatch):
    if not compiled:
        without_library(monkeypatch)
    monkeypatch.setattr(selection, "CROSSOVER", 1.0)
    pre = drawn(12, 60, torch.float64)
    pre[3] = 0.001 * pre[3].abs() + 4.0  # one sample holds nearly all of the largest
    found = selection.largest(pre, count / 12, torch.tensor(guess, dtype=torch.float64), ALONE)
    least = pre.view(-1).topk(count).values[-1]
    want = (pre >= least).nonzero()
    assert torch.equal(torch.stack([found.samples, found.latents], 1), want)


def test_a_batch_with_too_few_positive_values_keeps_these():
    pre = -drawn(12, 60, torch.float64).abs()
    pre[4, 7] = 1.0
    found = selection.largest(pre, 9 / 12, torch.tensor(-1.0), ALONE)
    assert (found.samples.tolist(), found.latents.tolist()) == ([4], [7])


@needs_library
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 7, 16, 50])
def test_sums_equal_those_of_torch_and_no_thread_changes_a_bit(width, dtype, threads, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    pre = drawn(30, 200, dtype)
    pre[5] = -9.0  # a sample without entries
    places = Places.of_pairs(*(pre > 1.0).nonzero().T, 30, 200)
    values = torch.randn(len(places), generator=generator, dtype=dtype)
    rows = torch.randn(30, width, generator=generator, dtype=dtype)
    dictionary = torch.randn(200, width, generator=generator, dtype=dtype)

    def sums():
        fresh = Places(places.samples, places.latents, places.offsets, 200)
        spread, added = torch.empty_like(dictionary), dictionary.clone()
        fresh.spread(values, rows, spread)
        fresh.spread(values, rows, added, add=True)
        with torch.no_grad():
            return [fresh.decode(values, dictionary), fresh.dots(rows, dictionary), spread, added]

    before = torch.get_num_threads()
    once = sums()
    try:
        torch.set_num_threads(threads)
        assert all(map(torch.equal, sums(), once))
    finally:
        torch.set_num_threads(before)
    without_library(monkeypatch)
    for mine, plain in zip(once, sums(), strict=True):
        torch.testing.assert_close(mine, plain)


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_thread_changes_a_bit_of_an_update(dtype):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    pre, x, target, offset = drawn(50, 300, dtype), draw(50, 21), draw(50, 21), draw(21)
    begun = [Moved(draw(300, 21), draw(300, 21), draw(300, 21).square()) for _ in range(2)]
    pace = Pace(0.9, 0.999, 0.01, 1.5, 1e-8)

    def moved(threads):
        torch.set_num_threads(threads)
        places, library = selection.top(pre, 9), native.library(pre)
        encoder, decoder = (Moved(*(part.clone() for part in one[:3])) for one in begun)
        found = residuals(library, places, pre, decoder.rows, offset, target, 0.1)
        update(library, places, found, x, encoder, decoder, pace, unit=True)
        return [*found, *encoder[:3], *decoder[:3]]

    before = torch.get_num_threads()
    try:
        once, *others = (moved(threads) for threads in (1, 2, 3))
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(once[4], begun[0].rows)
    for other in others:
        assert all(map(torch.equal, other, once))


def test_what_is_no_number_never_leaves_the_array():
    """Values without an order must not lead a selection astray, whatever it then finds."""
    for hole in (torch.nan, torch.inf, -torch.inf):
        pre = drawn(6, 300, torch.float32)
        pre[0, ::3], pre[1], pre[3, 299] = hole, hole, hole
        found = selection.top(pre, 20)
        assert 0 <= int(found.latents.min()) <= int(found.latents.max()) < 300
        assert len(found) == 6 * 20


@pytest.mark.parametrize(
    ("latents", "offsets"),
    [
        ([0, 5], [0, 2]),
        ([-1, 1], [0, 2]),
        ([0, 1], [0, 3]),
        ([0, 1], [1, 2]),
        ([0, 1], [0, 2, 1, 2]),
    ],
)
def test_others_rows_are_looked_at_before_they_are_used(latents, offsets):
    rows = Rows(torch.ones(2), torch.tensor(latents), torch.tensor(offsets))
    with pytest.raises(DataError, match="no compressed sparse rows over 5 latents"):
        SparseCodes.of_rows(rows, 5)


def test_it_can_be_switched_off():
    program = "from simplecell.model import native; print(*native.tier(), native.library())"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**__import__("os").environ, "SIMPLECELL_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == "torch SIMPLECELL_NATIVE=0 is set None"


@needs_library
def test_a_library_of_other_sources_is_left_alone(monkeypatch):
    """As after new sources were fetched and not installed again."""
    from simplecell import tier

    monkeypatch.setattr(tier, "EDITION", 99)
    found = tier.tier.__wrapped__()
    assert found.library is None
    assert "install simplecell again" in found.reason


def test_a_run_goes_on_with_the_kernels_that_it_began_with(tmp_path, monkeypatch):
    """Cut off with the compiled tier or without, it ends in the bits of the uninterrupted run."""
    from itertools import islice

    import numpy as np

    from simplecell import tier
    from simplecell.model.native import compiled as room
    from simplecell.run.begin import begin, resume
    from simplecell.run.recipe import Recipe

    x = np.random.default_rng(0).normal(size=(600, 12)).astype("f4")
    np.save(tmp_path / "x.npy", x)
    small = Recipe.load("topk").changed(
        ["model.n_latents=60", "model.target_l0=4", "train.steps=12", "optim.batch_size=50"]
    )
    named = {tier.PLAIN, native.tier().name}
    for name in sorted(named):
        monkeypatch.setattr(room, "_chosen", name)
        whole = begin(str(tmp_path / "x.npy"), tmp_path / f"{name}-w", small)
        list(whole.records())
        cut = begin(str(tmp_path / "x.npy"), tmp_path / f"{name}-c", small)
        list(islice(cut.records(), 5))
        cut.save()
        cut.lock.release()
        monkeypatch.setattr(room, "_chosen", None)
        again = resume(tmp_path / f"{name}-c")
        list(again.records())
        assert native.tier().name == name
        assert torch.equal(whole.trainer.flat, again.trainer.flat)
