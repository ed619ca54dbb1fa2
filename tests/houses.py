"""A made-up table of houses: measures, a price and a kind that follow from them, and a note."""

from __future__ import annotations

import csv

import numpy as np

COLUMNS = ["area", "rooms", "age", "distance", "garden", "floor", "noise", "light"]


def houses(n=420, seed=0):
    """Measures [n, 8]; prices [n], which area and garden raise and distance lowers; kinds [n]."""
    random = np.random.default_rng(seed)
    x = np.abs(random.normal(size=(n, 8))) * [60, 2, 30, 8, 200, 3, 10, 5]
    price = 2000 * x[:, 0] - 9000 * x[:, 3] + 300 * x[:, 4] + random.normal(scale=2e4, size=n)
    kind = np.where(x[:, 5] > 2.4, "flat", np.where(x[:, 4] > 130, "villa", "terrace"))
    return x, np.round(2e5 + price), kind


def write_houses(path, n=420):
    """houses.csv with a column `street`, of words that never repeat, and `price` and `kind`."""
    x, price, kind = houses(n)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["street", *COLUMNS, "price", "kind"])
        for i in range(n):
            street = f"Long Street {i * 7919 % 9973}"
            table.writerow([street, *(f"{v:.4f}" for v in x[i]), f"{price[i]:.0f}", kind[i]])
    return path
