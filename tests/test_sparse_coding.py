"""Sparse coding: finite differences, closed forms, scikit-learn's lasso, planted truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from simplecell import check_gradient
from simplecell.data import ArraySource, planted_dictionary
from simplecell.errors import DataError, DivergedError, UsageError
from simplecell.model.measures import cosines
from simplecell.sparse_coding import (
    L1,
    Alternation,
    Smooth,
    code_gradient,
    dictionary_gradient,
    encode,
    improve_atoms,
    objective,
    random_dictionary,
    solve_dictionary,
    torus,
)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture(scope="module")
def problem():
    """40 samples of 12 inputs and a dictionary of 16 unit atoms."""
    return normal(40, 12), random_dictionary(16, 12, 1)


def test_torus_wraps_around_by_hand():
    groups = torus(16, 3)
    # Latent 0 is the corner of a 4×4 torus; its neighbours lie in the last row and column too.
    near = [0, 1, 3, 4, 5, 7, 12, 13, 15]
    assert groups[0].nonzero()[:, 0].tolist() == near
    assert groups[5].nonzero()[:, 0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert torch.equal(groups, groups.T)
    assert torch.equal(torus(9, 1), torch.eye(9, dtype=torch.float64))
    assert torch.equal(torus(9, 3), torch.ones(9, 9, dtype=torch.float64))
    assert torus(36, 2).sum(0).unique().tolist() == [4.0]
    with pytest.raises(UsageError, match="square number of latents; n_latents is 12"):
        torus(12)
    with pytest.raises(UsageError, match="from 1 to 4 fit on this torus"):
        torus(16, 5)


@pytest.mark.parametrize("near", [None, 3, 2])
def test_code_gradient_is_that_of_the_objective(problem, near):
    x, dictionary = problem[0][:3], problem[1]
    groups = None if near is None else torus(16, near)
    penalty = Smooth(0.3, 1e-2, groups)

    def function(theta):
        codes = torch.from_numpy(theta).view(3, 16)
        value = objective(x, codes, dictionary, penalty, 0.1)
        return float(value), code_gradient(x, codes, dictionary, penalty).numpy().ravel()

    assert check_gradient(function, normal(48, seed=2).numpy()).difference < 1e-9


def test_dictionary_gradient_is_that_of_the_objective(problem):
    x, start = problem
    codes, penalty = normal(40, 16, seed=3), Smooth(0.3)

    def function(theta):
        dictionary = torch.from_numpy(theta).view(16, 12)
        value = objective(x, codes, dictionary, penalty, 0.1)
        return float(value), dictionary_gradient(x, codes, dictionary, 0.1).numpy().ravel()

    assert check_gradient(function, start.numpy().ravel()).difference < 1e-9


def test_the_objective_is_its_formula_written_out(problem):
    x, dictionary = problem
    codes, groups = normal(40, 16, seed=4), torus(16, 3)
    s, v = codes.numpy(), groups.numpy()
    slow = sum(
        0.5 * ((x[i].numpy() - s[i] @ dictionary.numpy()) ** 2).sum()
        + 0.3 * sum(math.sqrt((v[g] * s[i] ** 2).sum() + 1e-3) for g in range(16))
        for i in range(40)
    )
    slow = slow / 40 + 0.05 * (dictionary.numpy() ** 2).sum()
    penalty = Smooth(0.3, 1e-3, groups)
    assert float(objective(x, codes, dictionary, penalty, 0.1)) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("gamma", [1e-2, 1e-6])
def test_dictionary_step_leaves_no_gradient(gamma):
    """At the exercise's size: 2,000 patches of 8×8, 121 latents."""
    x, codes = normal(2000, 64), normal(2000, 121, seed=1) * (normal(2000, 121, seed=2) > 1)
    codes[:, 7] = 0  # a latent without use
    dictionary = solve_dictionary(x, codes, gamma)
    assert float(dictionary_gradient(x, codes, dictionary, gamma).norm()) < 1e-10
    assert float(dictionary[7].norm()) == 0


def test_an_undetermined_dictionary_is_refused():
    with pytest.raises(UsageError, match="take gamma above 0"):
        solve_dictionary(normal(5, 4), torch.zeros(5, 3, dtype=torch.float64), 0.0)
    with pytest.raises(DivergedError, match="scale the data"):
        solve_dictionary(normal(5, 4), torch.full((5, 3), torch.inf, dtype=torch.float64), 1.0)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("n_latents", [16, 40])  # with and without the Gram matrix
def test_l1_codes_are_scikit_learns_lasso(positive, n_latents):
    x, dictionary, alpha = normal(15, 12), random_dictionary(n_latents, 12, 1), 0.2
    codes, excess, _ = encode(x, dictionary, L1(alpha, positive), tol=1e-15, max_iter=20_000)
    lasso = Lasso(alpha / 12, fit_intercept=False, positive=positive, tol=1e-14, max_iter=10**6)
    for row, code in zip(x.numpy(), codes.numpy(), strict=True):
        lasso.fit(dictionary.numpy().T, row)
        np.testing.assert_allclose(code, lasso.coef_, atol=1e-6)
    assert float(excess.max()) < 1e-12


def test_the_gap_bounds_the_distance_from_the_optimum(problem):
    x, dictionary = problem
    best = encode(x, dictionary, L1(0.2), tol=0, max_iter=5000).codes
    for n in (1, 5, 20):
        codes, excess, done = encode(x, dictionary, L1(0.2), tol=0, max_iter=n)
        assert done == n
        for i in range(len(x)):
            one = (x[i : i + 1], codes[i : i + 1])
            above = objective(*one, dictionary, L1(0.2)) - objective(
                x[i : i + 1], best[i : i + 1], dictionary, L1(0.2)
            )
            assert -1e-12 < float(above) <= float(excess[i] * x[i].square().sum() / 2) + 1e-12


def test_one_atom_has_the_soft_threshold():
    x = torch.tensor([[3.0], [0.5], [-2.0]])
    codes = encode(x, torch.ones(1, 1), L1(1.0)).codes[:, 0]
    assert codes.tolist() == pytest.approx([2.0, 0.0, -1.0])
    codes = encode(x, torch.ones(1, 1), L1(1.0, positive=True)).codes[:, 0]
    assert codes.tolist() == pytest.approx([2.0, 0.0, 0.0])


@pytest.mark.parametrize("near", [None, 3])
@pytest.mark.parametrize("positive", [False, True])
def test_smooth_codes_have_no_gradient(problem, near, positive):
    x, dictionary = problem
    groups = None if near is None else torus(16, near)
    penalty = Smooth(0.2, 1e-4, groups, positive)
    codes, excess, _ = encode(x, dictionary, penalty, tol=1e-9, max_iter=20_000)
    gradient = code_gradient(x, codes, dictionary, penalty) * len(x)
    if positive:
        assert bool((codes >= 0).all())
        assert float(gradient.min()) > -1e-8
        gradient = gradient[codes > 0]
    assert float(gradient.abs().max()) < 1e-8
    assert float(excess.max()) <= 1e-9


@pytest.mark.parametrize("near", [None, 3])
def test_the_smooth_step_without_momentum_never_rises(problem, near):
    x, dictionary = problem
    penalty = Smooth(0.2, 1e-6, None if near is None else torus(16, near))
    curvature = float(torch.linalg.matrix_norm(dictionary, 2) ** 2)
    codes, last = 5 * normal(40, 16, seed=5), math.inf
    for _ in range(30):
        moved = codes + (x - codes @ dictionary) @ dictionary.T / curvature
        codes = penalty.shrink(codes, moved, curvature)
        value = float(objective(x, codes, dictionary, penalty))
        assert value <= last
        last = value


def test_smooth_becomes_l1_as_epsilon_vanishes(problem):
    x, dictionary = problem
    sharp = encode(x, dictionary, L1(0.2), tol=1e-12, max_iter=5000).codes
    smooth = encode(x, dictionary, Smooth(0.2, 1e-12), tol=1e-9, max_iter=20_000).codes
    np.testing.assert_allclose(smooth, sharp, atol=1e-4)


@pytest.mark.parametrize("penalty", [L1(0.2), Smooth(0.2, 1e-4, torus(16))], ids=["l1", "smooth"])
def test_a_sample_has_its_codes_whatever_stands_beside_it(problem, penalty):
    x, dictionary = problem
    scaled = x * torch.logspace(-2, 2, 40, dtype=torch.float64)[:, None]
    how = {"tol": 1e-8, "max_iter": 1000}
    together = encode(scaled, dictionary, penalty, **how).codes[::13]
    alone = [encode(row[None], dictionary, penalty, **how) for row in scaled[::13]]
    np.testing.assert_allclose(together, torch.cat([a.codes for a in alone]), atol=1e-9)
    single = encode(x.float(), dictionary, penalty, tol=1e-6).codes
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, encode(x, dictionary, penalty).codes, atol=2e-3)


def test_only_what_was_observed_is_coded(problem):
    x, dictionary = problem
    mask = (normal(40, 12, seed=6) > 0).double()
    hidden = torch.where(mask > 0, x, 1e3)
    found = encode(
        hidden,
        dictionary,
        L1(0.1),
        project=lambda d, rows: d * mask[rows],
        tol=1e-12,
        max_iter=9999,
    )
    for i in range(0, 40, 13):
        seen = mask[i] > 0
        part = encode(x[i : i + 1, seen], dictionary[:, seen], L1(0.1), tol=1e-12, max_iter=9999)
        np.testing.assert_allclose(found.codes[i], part.codes[0], atol=1e-5)


def test_atoms_improve_to_the_constrained_optimum():
    """Against many projected gradient steps on the same quadratic."""
    x, codes = normal(60, 8), normal(60, 10, seed=1)
    gram, pull = codes.T @ codes, codes.T @ x
    atoms = improve_atoms(gram, pull, random_dictionary(10, 8, 0), sweeps=200)
    slow, step = random_dictionary(10, 8, 0), 1 / float(torch.linalg.eigvalsh(gram)[-1])
    for _ in range(1000):
        slow = slow + step * (pull - gram @ slow)
        slow = slow / slow.norm(dim=1, keepdim=True).clamp_min(1)
    np.testing.assert_allclose(atoms, slow, atol=1e-6)
    assert float(atoms.norm(dim=1).max()) <= 1 + 1e-12


@pytest.mark.parametrize("penalty", [L1(0.15), Smooth(0.15)], ids=["l1", "smooth"])
def test_a_planted_dictionary_is_found(penalty):
    truth = planted_dictionary(3000, n_inputs=16, n_atoms=24, n_active=2, noise=0.02)
    training = Alternation(
        random_dictionary(24, 16, 0).float(), penalty, batch_size=500, code_iter=30
    )
    for record in training.run(ArraySource(truth.x), 40):
        assert math.isfinite(float(record.cost))
    best = cosines(training.dictionary, torch.from_numpy(truth.atoms)).abs().amax(0)
    assert float((best > 0.95).float().mean()) > 0.9


@pytest.mark.parametrize("gamma", [None, 1e-3])
def test_interrupted_training_goes_on_bit_for_bit(gamma):
    source = ArraySource(normal(300, 12).numpy())

    def fresh():
        return Alternation(random_dictionary(16, 12, 0), L1(0.2), gamma=gamma, batch_size=64)

    whole = fresh()
    costs = [float(record.cost) for record in whole.run(source, 9)]
    first, second = fresh(), fresh()
    list(first.run(source, 4))
    second.load_state_dict(first.state_dict())
    rest = list(second.run(source, 9))
    assert [record.step for record in rest] == [5, 6, 7, 8, 9]
    assert [float(record.cost) for record in rest] == costs[4:]
    assert torch.equal(second.dictionary, whole.dictionary)
    with pytest.raises(DataError, match="belongs to other settings"):
        Alternation(random_dictionary(9, 12, 0), L1(0.2)).load_state_dict(first.state_dict())


@pytest.mark.parametrize("gamma", [None, 1e-2])
def test_on_one_batch_the_cost_falls_and_is_the_objective(gamma):
    x, penalty = normal(200, 12), Smooth(0.2, 1e-4)
    training = Alternation(
        random_dictionary(16, 12, 0), penalty, gamma=gamma, code_iter=200, tol=1e-6
    )
    costs = [float(training.step(x).cost) for _ in range(6)]
    assert all(after < before for before, after in itertools.pairwise(costs[1:]))
    codes = training.encode(x).codes
    now = float(objective(x, codes, training.dictionary, penalty, gamma or 0.0))
    assert now <= costs[-1]


@pytest.mark.parametrize("gamma", [None, 1e-2])
def test_idle_atoms_are_put_to_work(gamma):
    x, start = normal(200, 12), random_dictionary(16, 12, 0)
    start[3] = 0
    training = Alternation(start, L1(0.2), gamma=gamma)
    training.step(x)
    assert float(training.dictionary[3].norm()) > 0.1
    assert float((training.encode(x).codes[:, 3] != 0).double().sum()) > 0


def test_what_cannot_be_used_is_said(problem):
    x, dictionary = problem
    with pytest.raises(DataError, match=r"x has shape \(40, 12\) and the dictionary \(16, 11\)"):
        encode(x, dictionary[:, :11], L1(0.1))
    with pytest.raises(DataError, match="not finite"):
        encode(x * torch.nan, dictionary, L1(0.1))
    with pytest.raises(DivergedError, match="not finite"):
        encode(x, dictionary * torch.inf, L1(0.1))
    with pytest.raises(UsageError, match="alpha is -1"):
        L1(-1)
    with pytest.raises(UsageError, match="epsilon is 0"):
        Smooth(0.1, 0)
    with pytest.raises(UsageError, match="batch_size is 0"):
        Alternation(dictionary, L1(0.1), batch_size=0)
    with pytest.raises(UsageError, match="gamma is -1"):
        Alternation(dictionary, L1(0.1), gamma=-1)
    with pytest.raises(DivergedError, match="diverged in step 1"):
        Alternation(dictionary.float(), L1(0.1)).step(x.float() * 1e30)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, a: encode(x, a[:0], L1(0.1)), r"shape \(0, 12\); at least one atom"),
        (lambda x, a: encode(x[:, :0], a[:, :0], L1(0.1)), r"shape \(16, 0\); at least one atom"),
        (lambda x, a: encode(x.long(), a, L1(0.1)), "x holds torch.int64"),
        (lambda x, a: encode((x * 1e300).float(), a, L1(0.1)), "finite in float32.*scale the data"),
        (lambda x, a: encode(x, a, L1(0.1), max_iter=1.5), "max_iter is 1.5"),
        (lambda x, a: encode(x, a, L1(0.1), tol=math.nan), "tol is nan"),
        (lambda x, a: Alternation(a, L1(0.1), batch_size=1.5), "batch_size is 1.5"),
        (lambda x, a: Alternation(a, L1(0.1), code_iter=True), "code_iter is True"),
        (lambda x, a: Alternation(a, L1(0.1), tol=-1), "tol is -1"),
        (lambda x, a: L1("a"), "alpha is 'a'; a number of at least 0"),
        (lambda x, a: L1(0.1, "x"), "positive is 'x'; True or False"),
        (lambda x, a: Smooth(0.1, positive=None), "positive is None"),
        (lambda x, a: torus(16, 1.5), "neighbourhood is 1.5; a whole number"),
        (lambda x, a: random_dictionary(10**12, 12, 0), "at most 2147483647"),
    ],
)
def test_settings_that_are_no_numbers_are_named(problem, call, words):
    with pytest.raises((UsageError, DataError), match=words):
        call(*problem)


def test_groups_follow_the_codes_precision():
    codes, penalty = normal(5, 16), Smooth(0.3, 1e-2, torus(16, 3))
    for found in (penalty.value, penalty.weights, penalty.gradient):
        single = found(codes.float())
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single, found(codes), rtol=1e-5, atol=1e-6)
