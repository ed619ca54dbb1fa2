"""The classic cost and gradient in plain float64 NumPy, written from the notes alone."""

from __future__ import annotations

import numpy as np

FUNCTIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "linear": (lambda z: z, np.ones_like),
    "identity": (lambda z: z, np.ones_like),
}


def classic(w1, w2, b1, b2, x, *, activation, output, decay, sparsity, target, tied=False):
    """J_sparse and its gradient (dw1, dw2, db1, db2); w1 [M, D], w2 [M, D], x [m, D].

    When tied, w2 is w1, decayed once, and dw1 is the sum over both paths.
    """
    f, df = FUNCTIONS[activation]
    g, dg = FUNCTIONS[output]
    m = len(x)
    a = f(x @ w1.T + b1)
    h = g(a @ w2 + b2)
    cost = 0.5 * np.sum((h - x) ** 2) / m
    cost += decay / 2 * (np.sum(w1**2) + (0 if tied else np.sum(w2**2)))
    d3 = (h - x) * dg(h)
    back = d3 @ w2.T
    if sparsity:
        rho_hat = (a.mean(0) + 1) / 2 if activation == "tanh" else a.mean(0)
        factor = 0.5 if activation == "tanh" else 1.0
        cost += sparsity * np.sum(
            target * np.log(target / rho_hat) + (1 - target) * np.log((1 - target) / (1 - rho_hat))
        )
        back = back + sparsity * factor * (-target / rho_hat + (1 - target) / (1 - rho_hat))
    d2 = back * df(a)
    dw1 = d2.T @ x / m + decay * w1
    dw2 = a.T @ d3 / m + (0 if tied else decay * w2)
    if tied:
        dw1 = dw1 + dw2
    return cost, (dw1, dw2, d2.mean(0), d3.mean(0))
