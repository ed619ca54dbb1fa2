"""The gradient of matrices by the entries of a code, taken down during autograd's way back.

Autograd would make a dense `[M, D]` gradient at every use of a matrix, and a dense `[B, M]` one of
the code. Here the way back runs over entries alone: each use writes down *which* rows are to be
added to which latents, and `Ledger.settle` adds them all, one product of a sparse matrix each.
Source: the chain rule; Gao et al. 2024, appendix D.2, has kernels for the same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from simplecell.model.places import Places
from simplecell.model.products import rounded


class Share(NamedTuple):
    """A part of the gradient of a matrix [M, D]: `Σ weight · row` over the entries."""

    places: Places
    weights: Tensor
    """[n]."""
    rows: Tensor
    """[B, D]."""


class Ledger:
    """What a step owes each matrix of latents [M, D]: its gradient, in parts."""

    def __init__(self) -> None:
        # By where it lies: what autograd hands back need not be the same object.
        self._shares: dict[int, list[Share]] = {}
        self._others: dict[int, list[Callable[[Tensor], object]]] = {}

    def owe(self, matrix: Tensor, share: Share) -> None:
        """Take down a sum over entries."""
        self._shares.setdefault(matrix.data_ptr(), []).append(share)

    def owe_rows(self, matrix: Tensor, latents: Tensor, rows: Tensor) -> None:
        """Take down the gradients [m, D] of some latents [m], none of them twice."""
        self._other(matrix, lambda grad: grad.index_add_(0, latents, rows))

    def owe_product(self, matrix: Tensor, code: Tensor, rows: Tensor) -> None:
        """Take down `codeᵀ @ rows`, dense [B, M] and [B, D]."""
        self._other(matrix, lambda grad: grad.addmm_(code.T, rows))

    def owe_multiple(self, matrix: Tensor, factors: Tensor) -> None:
        """Take down each row of the matrix itself, times its factor [M]."""
        self._other(matrix, lambda grad: grad.addcmul_(matrix, factors[:, None]))

    def _other(self, matrix: Tensor, add: Callable[[Tensor], object]) -> None:
        self._others.setdefault(matrix.data_ptr(), []).append(add)

    @torch.no_grad()
    def settle(self, matrix: Tensor, grad: Tensor, *, add: bool) -> None:
        """Write what a matrix is owed into `grad` [M, D], or add it to what is there."""
        shares = self._shares.pop(matrix.data_ptr(), [])
        if shares:
            whole = _joined(shares)
            whole.places.spread(whole.weights, whole.rows, grad, add=add)
        elif not add:
            grad.zero_()
        for add_to in self._others.pop(matrix.data_ptr(), []):
            add_to(grad)


def _joined(shares: list[Share]) -> Share:
    """One share of several: their rows below one another, so that one product does for all."""
    if len(shares) == 1:
        return shares[0]
    if all(share.rows is shares[0].rows for share in shares):
        first, rows = [0] * len(shares), shares[0].rows
    else:
        rows = torch.cat([share.rows for share in shares])
        first, below = [], 0
        for share in shares:
            first.append(below)
            below += len(share.rows)
    parts = [share.places.samples + start for share, start in zip(shares, first, strict=True)]
    samples = torch.cat(parts)
    latents = torch.cat([share.places.latents for share in shares])
    weights = torch.cat([share.weights for share in shares])
    if first[-1] == 0:  # the same rows: samples must ascend again
        samples, order = samples.sort(stable=True)
        latents, weights = latents[order], weights[order]
    places = Places.of_pairs(samples, latents, len(rows), shares[0].places.n_latents)
    return Share(places, weights, rows)


def decoded(values: Tensor, dictionary: Tensor, places: Places, ledger: Ledger | None) -> Tensor:
    """`code @ dictionary`, [B, D]; the dictionary's gradient goes to the ledger if there is one."""
    if not torch.is_grad_enabled() or not (values.requires_grad or dictionary.requires_grad):
        return places.decode(values, dictionary)
    found: Tensor = _Decode.apply(values, dictionary, places, ledger)
    return found


class _Decode(torch.autograd.Function):
    """`code @ dictionary` by entries."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, dictionary: Tensor, places: Places, ledger: Ledger | None
    ) -> Tensor:
        ctx.save_for_backward(values, dictionary)
        ctx.places, ctx.ledger = places, ledger
        return places.decode(values, dictionary)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, dictionary = ctx.saved_tensors
        of_values, of_dictionary = None, None
        grad = grad.contiguous()
        if ctx.needs_input_grad[0]:
            of_values = ctx.places.dots(grad, dictionary)
        if ctx.needs_input_grad[1] and ctx.ledger is not None:
            ctx.ledger.owe(dictionary, Share(ctx.places, values, grad))
        elif ctx.needs_input_grad[1]:
            of_dictionary = torch.empty_like(dictionary)
            ctx.places.spread(values, grad, of_dictionary)
        return of_values, of_dictionary, None, None


class Pass:
    """One forward pass of an autoencoder whose way back runs over entries.

    What stands before the activation, the atoms and their lengths are handed out here, with a
    history that ends in the ledger; the dense values are without.

    Args:
        pre: `x @ encoder.T + bias` [B, M], without history.
        x: what the encoder saw [B, D], its center taken off.
        encoder, decoder: [M, D] and [M, D_out].
        bias: [M], or None where it is the activation's own.
        offset: [D] where it was taken off x, else None.
    """

    def __init__(
        self,
        pre: Tensor,
        x: Tensor,
        encoder: Tensor,
        decoder: Tensor,
        bias: Tensor | None,
        offset: Tensor | None,
    ) -> None:
        self.pre, self.x, self.encoder, self.decoder = pre, x, encoder, decoder
        self.bias, self.offset = bias, offset
        self.ledger = Ledger()

    def whole(self) -> Tensor:
        """`pre` with its history, [B, M]."""
        found: Tensor = _Whole.apply(self.encoder, self.bias, self.offset, self)
        return found

    def at(self, places: Places) -> Tensor:
        """`pre` at places, [n]."""
        found: Tensor = _At.apply(self.encoder, self.bias, self.offset, self, places)
        return found

    def columns(self, latents: Tensor) -> Tensor:
        """`pre` of some latents [m], [B, m]."""
        found: Tensor = _Columns.apply(self.encoder, self.bias, self.offset, self, latents)
        return found

    def atoms(self, latents: Tensor) -> Tensor:
        """The atoms of some latents [m], [m, D_out]."""
        found: Tensor = _Atoms.apply(self.decoder, self.ledger, latents)
        return found

    def lengths(self) -> Tensor:
        """The length of each atom, [M]."""
        found: Tensor = _Lengths.apply(self.decoder, self.ledger)
        return found

    def before(self, of_bias: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        """What `pre`'s gradient, summed over samples [M], is to the bias and to what x lost.

        That for the offset through every sample would be a product `[B, M] × [M, D]` of its own;
        only its sum over the samples is asked for, and that is a product with one vector.
        """
        of_offset = None if self.offset is None else -(of_bias @ self.encoder)
        return None, None if self.bias is None else of_bias, of_offset


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, encoder: Tensor, bias: Any, offset: Any, one: Pass) -> Tensor:
        ctx.one = one
        return one.pre.view_as(one.pre)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one: Pass = ctx.one
        one.ledger.owe_product(one.encoder, grad, one.x)
        return *one.before(grad.new_ones(len(grad)) @ grad), None


class _At(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, encoder: Tensor, bias: Any, offset: Any, one: Pass, places: Places
    ) -> Tensor:
        ctx.one, ctx.places = one, places
        if not rounded(one.pre.device):
            return one.pre.view(-1)[places.flat()]
        # The product has chosen; what it chose is computed anew, exactly.
        found = places.dots(one.x, encoder)
        return found if bias is None else found + bias[places.latents]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one: Pass = ctx.one
        one.ledger.owe(one.encoder, Share(ctx.places, grad, one.x))
        return *one.before(ctx.places.sums(grad)), None, None


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, encoder: Tensor, bias: Any, offset: Any, one: Pass, latents: Tensor
    ) -> Tensor:
        ctx.one, ctx.latents = one, latents
        return one.pre[:, latents]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one: Pass = ctx.one
        one.ledger.owe_rows(one.encoder, ctx.latents, grad.T @ one.x)
        of_bias = grad.new_zeros(len(one.encoder)).index_copy_(0, ctx.latents, grad.sum(0))
        return *one.before(of_bias), None, None


class _Atoms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decoder: Tensor, ledger: Ledger, latents: Tensor) -> Tensor:
        ctx.decoder, ctx.ledger, ctx.latents = decoder, ledger, latents
        return decoder[latents]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        ctx.ledger.owe_rows(ctx.decoder, ctx.latents, grad)
        return None, None, None


class _Lengths(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decoder: Tensor, ledger: Ledger) -> Tensor:
        ctx.decoder, ctx.ledger, ctx.lengths = decoder, ledger, decoder.norm(dim=1)
        found: Tensor = ctx.lengths
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        factors = torch.where(ctx.lengths > 0, grad / ctx.lengths, 0.0)
        ctx.ledger.owe_multiple(ctx.decoder, factors)
        return None, None
