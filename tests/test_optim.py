"""L-BFGS against SciPy's, its state, its line search; Adam and its schedule; initialisation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.training.adam import Adam
from simplecell.training.lbfgs import LBFGS
from simplecell.training.steering import SCHEDULES
from simplecell.training.weights import flatten, initialise


class Found(NamedTuple):
    cost: torch.Tensor


class Problem:
    """A function of one vector, and L-BFGS on it."""

    def __init__(self, function, start, dtype=torch.float64, **how):
        self.function = function
        self.flat = torch.as_tensor(start, dtype=dtype).clone()
        self.grad = torch.zeros_like(self.flat)
        self.solver = LBFGS(self.flat, self.grad, self.evaluate, **how)

    def evaluate(self):
        x = self.flat.clone().requires_grad_()
        cost = self.function(x)
        self.grad.copy_(torch.autograd.grad(cost, x)[0])
        return Found(cost.detach())

    def run(self, steps):
        costs = []
        for _ in range(steps):
            costs.append(float(self.solver.advance().cost))
            if self.solver.converged:
                break
        return costs


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def quadratic(n=30, condition=1e3):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    matrix = basis @ torch.diag(torch.logspace(0, math.log10(condition), n).double()) @ basis.T
    target = torch.randn(n, generator=generator, dtype=torch.float64)
    return lambda x: 0.5 * (x - target) @ matrix @ (x - target), target


@pytest.mark.parametrize("n", [2, 10, 20])
def test_rosenbrock_as_scipy(n):
    start = np.full(n, -1.2)
    start[1::2] = 1.0
    problem = Problem(rosenbrock, start, tolerance=1e-12)
    costs = problem.run(1000)
    theirs = minimize(
        rosen, start, jac=rosen_der, method="L-BFGS-B", options={"maxcor": 20, "ftol": 1e-15}
    )
    assert problem.solver.converged
    assert costs[-1] < 1e-10 or costs[-1] <= theirs.fun * 1.001  # it has local minima
    assert all(after <= before + 1e-12 for before, after in pairwise(costs))
    assert problem.solver.n_evaluations <= 1.5 * theirs.nfev + 10
    assert problem.solver.n_evaluations <= 1.5 * len(costs) + 5


def test_a_quadratic_as_scipy():
    function, target = quadratic()
    problem = Problem(function, torch.zeros(30), tolerance=1e-14)
    costs = problem.run(500)

    def both(x):
        problem.flat.copy_(torch.from_numpy(x))
        found = problem.evaluate()
        return float(found.cost), problem.grad.numpy().copy()

    solution = problem.flat.clone()
    theirs = minimize(
        both, np.zeros(30), jac=True, method="L-BFGS-B", options={"maxcor": 20, "ftol": 1e-15}
    )
    assert torch.allclose(solution, target, atol=1e-5)
    assert problem.solver.n_evaluations <= 1.2 * len(costs) + 5  # no evaluation is repeated
    reached = next(i for i, cost in enumerate(costs) if cost <= theirs.fun)
    assert reached <= 1.3 * theirs.nit


def test_the_first_step_goes_down_the_gradient():
    function, _ = quadratic()
    problem = Problem(function, torch.zeros(30))
    problem.evaluate()
    slope = problem.grad.clone()
    problem.run(1)
    cosine = torch.nn.functional.cosine_similarity(problem.flat, -slope, dim=0)
    assert float(cosine) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stop", [0, 1, 5, 30])
def test_state_in_the_middle_goes_on_with_the_same_bits(dtype, stop):
    start = torch.linspace(-1, 2, 12)
    whole = Problem(rosenbrock, start, dtype)
    whole.run(stop)
    state = {name: tensor.clone() for name, tensor in whole.solver.state_dict().items()}
    again = Problem(rosenbrock, whole.flat, dtype)
    again.solver.load_state_dict(state)
    assert whole.run(15) == again.run(15)
    assert torch.equal(whole.flat, again.flat)
    for name, tensor in whole.solver.state_dict().items():
        assert torch.equal(tensor, again.solver.state_dict()[name])


def test_state_is_a_copy():
    problem = Problem(rosenbrock, torch.zeros(4))
    problem.run(3)
    state = problem.solver.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    problem.run(3)
    assert all(torch.equal(before[name], state[name]) for name in state)


@pytest.mark.parametrize("edge", [math.inf, math.nan])
def test_a_region_without_finite_costs_is_left(edge):
    """A log barrier at 0.9, and nothing behind it."""

    def function(x):
        if (x >= 0.9).any():
            return x.sum() * edge
        return ((x - 3) ** 2).sum() - 0.01 * torch.log(0.9 - x).sum()

    problem = Problem(function, torch.full((3,), -5.0))
    costs = problem.run(200)
    assert all(math.isfinite(cost) for cost in costs)
    assert torch.isfinite(problem.flat).all()
    assert (problem.flat < 0.9).all()
    assert (problem.flat > 0.85).all()


def test_converged_says_so_and_then_stays():
    problem = Problem(lambda x: (x**2).sum(), torch.tensor([3.0, -4.0]))
    problem.run(50)
    assert problem.solver.converged
    place, count = problem.flat.clone(), problem.solver.n_evaluations
    cost = float(problem.solver.advance().cost)
    assert cost == pytest.approx(0, abs=1e-12)
    assert torch.equal(problem.flat, place)
    assert problem.solver.n_evaluations == count
    state = problem.solver.state_dict()
    again = Problem(lambda x: (x**2).sum(), place)
    again.solver.load_state_dict(state)
    assert again.solver.converged


def test_at_the_minimum_there_is_nothing_to_do():
    problem = Problem(lambda x: (x**2).sum(), torch.zeros(3))
    problem.run(5)
    assert torch.equal(problem.flat, torch.zeros(3, dtype=torch.float64))
    assert problem.solver.converged


def test_tolerance_decides_when_to_stop():
    lengths = [len(Problem(rosenbrock, torch.zeros(6), tolerance=t).run(500)) for t in (0.1, 1e-9)]
    assert lengths[0] < lengths[1] < 500


def test_float32_ends_where_rounding_begins():
    function, target = quadratic(condition=100)
    single = lambda x: function(x.double()).float()  # noqa: E731
    problem = Problem(single, torch.zeros(30), torch.float32)
    problem.run(300)
    assert problem.solver.converged
    assert torch.allclose(problem.flat.double(), target, atol=1e-3)


def test_history_must_hold_a_pair():
    with pytest.raises(UsageError, match="at least one pair"):
        Problem(rosenbrock, torch.zeros(2), history=0)
    assert Problem(rosenbrock, torch.zeros(2), history=1).run(500)[-1] < 1e-8


# --- Adam ---


def test_the_first_adam_steps_by_hand():
    flat, grad = torch.tensor([1.0, -2.0]), torch.tensor([3.0, -4.0])
    adam = Adam(flat, grad, learning_rate=0.1)
    m = v = np.zeros(2)
    x = np.array([1.0, -2.0])
    for t in range(1, 5):
        g = np.array([3.0, -4.0]) * t
        grad.copy_(torch.from_numpy(g))
        adam.advance(0.0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(flat.numpy(), x, rtol=1e-5)


def test_adams_state_goes_on_with_the_same_bits():
    def walk(adam, flat, grad, steps):
        for _ in range(steps):
            grad.copy_(2 * flat)
            adam.advance(0.0)

    flat, grad = torch.linspace(-1, 1, 7), torch.zeros(7)
    adam = Adam(flat, grad, learning_rate=0.1)
    assert adam.state_dict() == {}
    walk(adam, flat, grad, 4)
    state = {name: tensor.clone() for name, tensor in adam.state_dict().items()}
    other, slope = flat.clone(), torch.zeros(7)
    again = Adam(other, slope, learning_rate=0.1)
    again.load_state_dict(state)
    walk(adam, flat, grad, 4)
    walk(again, other, slope, 4)
    assert torch.equal(flat, other)


def test_the_linear_schedule_falls_over_the_last_fifth():
    linear = SCHEDULES["linear"]
    assert [linear(p) for p in (0, 0.5, 0.8)] == [1, 1, pytest.approx(1)]
    assert linear(0.9) == pytest.approx(0.5)
    assert linear(1) == 0
    flat, grad = torch.zeros(1), torch.ones(1)
    adam = Adam(flat, grad, learning_rate=1.0, schedule="linear")
    adam.advance(0.9)
    assert float(flat) == pytest.approx(-0.5)
    adam.advance(1.0)
    assert float(flat) == pytest.approx(-0.5)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_adam_refuses_what_is_no_rate(rate):
    with pytest.raises(UsageError, match="learning_rate is"):
        Adam(torch.zeros(1), torch.zeros(1), learning_rate=rate)
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        Adam(torch.zeros(1), torch.zeros(1), learning_rate=1, schedule="liner")


# --- initialisation and the flat vector ---


@pytest.mark.parametrize("tied", [False, True])
def test_initialise_as_the_notes(tied):
    model = Autoencoder(64, 25, tied=tied)
    initialise(model, 0)
    radius = math.sqrt(6 / (64 + 25 + 1))
    for matrix in (model.encoder, model.decoder):
        assert float(matrix.detach().abs().max()) <= radius
        assert float(matrix.detach().std()) == pytest.approx(radius / math.sqrt(3), rel=0.05)
    assert not model.bias.any()
    assert not model.offset.any()
    other = Autoencoder(64, 25, tied=tied)
    initialise(other, 0)
    assert torch.equal(model.encoder, other.encoder)
    initialise(other, 1)
    assert not torch.equal(model.encoder, other.encoder)
    double = Autoencoder(64, 25, tied=tied, dtype=torch.float64)
    initialise(double, 0)
    assert torch.equal(double.encoder.float(), model.encoder)


def test_all_parameters_are_views_of_one_vector():
    model = Autoencoder(3, 2)
    initialise(model, 0)
    before = model(torch.ones(1, 3)).recon.clone()
    flat, grad = flatten(model)
    assert len(flat) == len(grad) == 2 * 6 + 2 + 3
    assert torch.equal(model(torch.ones(1, 3)).recon, before)
    flat.fill_(2.0)
    assert all(bool((parameter == 2).all()) for parameter in model.parameters())
    model(torch.ones(1, 3)).recon.sum().backward()
    assert grad.any()
