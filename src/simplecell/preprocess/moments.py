"""The moments of rows that a preparation is made of, in one pass over them, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from simplecell.distributed import Alone
from simplecell.errors import DataError

_NUMBERS, _ROWS = 2**17, 8192
"""In float64 at once: they stay in the processor's cache, where a value costs 3 ns; in pieces of
8192 x 768 it costs 35."""


def rows_in_cache(n_inputs: int) -> int:
    """Rows of a piece: a power of two, so that pieces are the same however many rows are read."""
    return 1 << (max(1, min(_ROWS, _NUMBERS // n_inputs)).bit_length() - 1)


class Moments:
    """Mean [D], variance [D] (with `full` also covariance [D, D]), least and largest entry of
    batches [B, D].

    Batches may come one by one (`add`). Where each has a whole number of pieces (`rows_in_cache`),
    the result is the same, bit for bit, in whatever batches the rows came.

    Source: Chan, Golub & LeVeque 1983, equation 2.1. Exact.
    """

    def __init__(self, batches: Iterable[Tensor] = (), full: bool = False) -> None:
        self.full, self.count = full, 0
        self.ends: tuple[Tensor, Tensor] | None = None
        """The least and the largest entry of all."""
        for x in batches:
            self.add(x)

    def add(self, x: Tensor) -> None:
        """Take in x [B, D], on the CPU, in any precision."""
        if not len(x):
            return
        if not self.count:
            # Measured from the first row, a constant column has a variance of exactly 0.
            self._origin, n_inputs = x[0].double(), x.shape[1]
            self._shift = torch.zeros_like(self._origin)
            self._scatter = self._origin.new_zeros((n_inputs,) * (1 + self.full))
        # Products of matrices are better the larger they are; the rest is better in the cache.
        for piece in x.split(_ROWS if self.full else rows_in_cache(x.shape[1])):
            self._add(piece)

    def _add(self, x: Tensor) -> None:
        low, high = (end.double() for end in x.aminmax())
        before = self.ends or (low, high)
        self.ends = before[0].minimum(low), before[1].maximum(high)
        apart, total = torch.sub(x, self._origin), self.count + len(x)
        mean = apart.mean(0)
        apart.sub_(mean)
        delta = mean - self._shift
        between = torch.outer(delta, delta) if self.full else delta.square()
        if self.full:
            self._scatter.addmm_(apart.T, apart)
        else:
            self._scatter += apart.square_().sum(0)
        self._scatter += between.mul_(self.count * len(x) / total)
        self._shift += delta * (len(x) / total)
        self.count = total

    def share(self, ranks: Alone) -> None:
        """Take in what other processes have, each of rows of its own."""
        if ranks.sharers == 1:
            return
        total, mean = ranks.count(self.count), self.mean
        whole = ranks.sum(mean * self.count) / total
        apart = mean - whole
        between = torch.outer(apart, apart) if self.full else apart.square()
        self._scatter = ranks.sum(self._scatter + between * self.count)
        self._origin, self._shift, self.count = whole, torch.zeros_like(whole), total

    def state(self) -> dict[str, Tensor]:
        """What `from_state` takes up: `count` and the tensors of `form`, once there are rows."""
        if not self.count:
            return {}
        own = {"origin": self._origin, "shift": self._shift, "scatter": self._scatter}
        return {"count": torch.tensor(self.count), **{name: t.clone() for name, t in own.items()}}

    @staticmethod
    def form(n_inputs: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what `state` holds of full moments."""
        return {"origin": (n_inputs,), "shift": (n_inputs,), "scatter": (n_inputs, n_inputs)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Moments:
        """Full moments that take in more rows; of the ends of those before nothing is known."""
        found = cls(full=True)
        found.count = int(state["count"])
        found._origin, found._shift, found._scatter = (
            state[name].clone() for name in ("origin", "shift", "scatter")
        )
        return found

    def mapped(self, matrix: Tensor, mean: Tensor) -> Moments:
        """Those of rows times a matrix (of one axis: column by column; of none: a number), [K]."""
        found = Moments(full=self.full)
        found.count, found._origin, found._shift = self.count, mean, torch.zeros_like(mean)
        if matrix.ndim == 2:
            found._scatter = matrix @ self._scatter @ matrix.T
        elif self.full:
            found._scatter = self._scatter * torch.outer(*[matrix.expand(len(mean))] * 2)
        else:
            found._scatter = self._scatter * matrix.square()
        return found

    @property
    def mean(self) -> Tensor:
        """[D]."""
        return self._origin + self._shift

    @property
    def variance(self) -> Tensor:
        """[D]."""
        return (self._scatter.diagonal() if self.full else self._scatter) / self.count

    @property
    def covariance(self) -> Tensor:
        """[D, D], with `full`."""
        return self._scatter / self.count

    def check(self) -> None:
        """Raise DataError where a variance is beyond float64."""
        if not torch.isfinite(self._scatter).all():
            raise DataError("the values are too large for a variance in float64: scale them first")
