"""Codes: the sparse layout says and differentiates the same as the dense one."""

from __future__ import annotations

import pytest
import torch

from simplecell.model.codes import Codes, Rows, SparseCodes

M = 7


def dense_code(n_samples=9, seed=0, dtype=torch.float64):
    """Mostly zeros, a sample without any active latent, a latent that never is."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.rand(n_samples, M, generator=generator, dtype=torch.float64)
    code = code * (torch.rand(n_samples, M, generator=generator) < 0.4)
    code[4], code[:, 2] = 0, 0
    return code.to(dtype)


def signed():
    return dense_code() * torch.where(torch.arange(9 * M).view(9, M) % 3 == 0, -1.0, 1.0).double()


BATCHES = {
    "usual": dense_code,
    "signed": signed,
    "float32": lambda: dense_code(dtype=torch.float32),
    "first and last empty": lambda: dense_code(5, 3) * torch.tensor([[0.0], [1], [1], [1], [0]]),
    "one sample": lambda: dense_code()[:1],
    "none active": lambda: torch.zeros(3, M, dtype=torch.float64),
    "all active": lambda: dense_code() + 1,
    "no samples": lambda: torch.zeros(0, M, dtype=torch.float64),
}
METHODS = {
    "dense": lambda codes: codes.dense,
    "detach": lambda codes: codes.detach().dense,
    "mean": lambda codes: codes.mean(),
    "l0": lambda codes: codes.l0(),
    "active": lambda codes: codes.active(),
    "abs_sum": lambda codes: codes.abs_sum(),
    "abs_sum, weighted": lambda codes: codes.abs_sum(weights_like(codes)),
    "decode": lambda codes: codes.decode(dictionary_like(codes)),
    "part": lambda codes: codes.part(2, 5).dense,
    "part, its l0": lambda codes: codes.part(2, 5).l0(),
    "part, decoded": lambda codes: codes.part(2, 5).decode(dictionary_like(codes)[2:5]),
    "part of a part": lambda codes: codes.part(1, 6).part(1, 3).dense,
    "empty part": lambda codes: codes.part(3, 3).dense,
    "prefix": lambda codes: codes.part(0, 4).dense,
    "prefix, its active": lambda codes: codes.part(0, 4).active(),
}


def weights_like(codes):
    return torch.linspace(0.5, 2.0, M, dtype=codes.dense.dtype)


def dictionary_like(codes):
    generator = torch.Generator().manual_seed(1)
    draw = torch.randn(M, 4, generator=generator, dtype=torch.float64)
    return draw.to(codes.dense.dtype)


def sparse(code):
    return SparseCodes.of_rows(Codes(code).rows(), M)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", BATCHES)
def test_sparse_says_what_dense_says(batch, method):
    code = BATCHES[batch]()
    expected, found = METHODS[method](Codes(code)), METHODS[method](sparse(code))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, equal_nan=True)  # the dtype too


def test_by_hand():
    code = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    dictionary = torch.tensor([[1.0, 0.0], [0.0, 10.0], [5.0, 5.0]])
    rows = Rows(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([1, 0, 2]), torch.tensor([0, 1, 3, 3]))
    for codes in (Codes(code), SparseCodes.of_rows(rows, 3)):
        torch.testing.assert_close(codes.mean(), torch.tensor([-1 / 3, 2 / 3, 1.0]))
        assert codes.l0().tolist() == [1, 2, 0]
        assert codes.active().tolist() == [1, 1, 1]
        assert codes.abs_sum().tolist() == [2, 4, 0]
        assert codes.abs_sum(torch.tensor([1.0, 10.0, 100.0])).tolist() == [20, 301, 0]
        assert codes.decode(dictionary).tolist() == [[0, 20], [14, 15], [0, 0]]
        assert codes.part(1, 3).dense.tolist() == [[2, 0], [0, 3], [0, 0]]
        assert codes.part(0, 1).dense.tolist() == [[0], [-1], [0]]


@pytest.mark.parametrize("batch", BATCHES)
def test_rows_there_and_back(batch):
    code = BATCHES[batch]()
    rows = Codes(code).rows()
    assert rows.indices.dtype == rows.offsets.dtype == torch.int64
    assert (rows.values != 0).all()
    assert rows.offsets[0] == 0
    assert rows.offsets[-1] == len(rows.values) == len(rows.indices)
    again = SparseCodes.of_rows(rows, M)
    assert torch.equal(again.dense, code)
    for found, expected in zip(Codes(again.dense).rows(), again.rows(), strict=True):
        assert torch.equal(found, expected)
    for first, last in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
        within = rows.indices[first:last]
        assert (within.diff() > 0).all()


@pytest.mark.parametrize("batch", sorted(set(BATCHES) - {"no samples", "none active", "float32"}))
@pytest.mark.parametrize("method", ["decode", "abs_sum", "abs_sum, weighted", "part", "mean"])
def test_sparse_has_the_gradient_of_dense(batch, method):
    """Of a random functional, with respect to the values and to what they are multiplied by."""
    code = BATCHES[batch]()
    found = []
    for layout in (Codes, sparse):
        values, other = code.clone().requires_grad_(), other_of(method)
        # Gathering the values is part of the path, so that both end in the same leaf.
        codes = layout(values)
        result = apply(codes, method, other)
        generator = torch.Generator().manual_seed(2)
        push = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        (result * push).sum().backward()
        found.append((values.grad * (code != 0), None if other is None else other.grad))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-12, atol=1e-14)
    assert found[0][0].abs().sum() > 0
    if found[0][1] is not None:
        torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-12, atol=1e-14)


def other_of(method):
    generator = torch.Generator().manual_seed(1)
    shape = {"decode": (M, 4), "abs_sum, weighted": (M,)}.get(method)
    if shape is None:
        return None
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def apply(codes, method, other):
    if method == "decode":
        return codes.decode(other)
    if method.startswith("abs_sum"):
        return codes.abs_sum(other)
    return codes.part(1, 6).dense if method == "part" else codes.mean()


def test_a_batch_without_active_latents_still_trains_the_offset():
    """The reconstruction is then the offset alone: its gradient is there, the atoms' is nothing."""
    dictionary = torch.ones(M, 4, requires_grad=True)
    offset = torch.zeros(4, requires_grad=True)
    codes = sparse(torch.zeros(3, M))
    (codes.decode(dictionary) + offset).sum().backward()
    assert offset.grad.tolist() == [3, 3, 3, 3]
    assert dictionary.grad is None or not dictionary.grad.any()


def test_detached_codes_have_no_history():
    values = dense_code().requires_grad_()
    for codes in (Codes(values), sparse(values)):
        assert codes.dense.requires_grad
        assert not codes.detach().dense.requires_grad
        assert type(codes.detach()) is type(codes)


def test_sparse_stays_sparse():
    """No method but `dense` may make the dense form: that is what the layout is for."""
    codes = sparse(dense_code())
    for name, method in METHODS.items():
        if name not in ("dense", "detach") and "weighted" not in name and "decode" not in name:
            method(codes)
    codes.decode(torch.zeros(M, 4, dtype=torch.float64))
    codes.abs_sum(torch.ones(M, dtype=torch.float64))
    codes.rows()
    assert "dense" not in vars(codes)
    assert codes.n_latents == M
    assert codes.part(0, 4).n_latents == 4
