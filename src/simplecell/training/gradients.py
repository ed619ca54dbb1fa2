"""Value and gradient of an objective over all samples, exact over chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from simplecell.distributed import ALONE, Alone
from simplecell.errors import UsageError
from simplecell.model import kernels
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.codes import Codes
from simplecell.model.entries import Pass
from simplecell.model.measures import (
    LogMean,
    average_activation,
    kl_sparsity,
    merge_means,
    squared_weights,
)
from simplecell.training.objective import Objective
from simplecell.training.prepared import Prepared
from simplecell.training.term import Look, Moment
from simplecell.training.terms import KL


class Whole:
    """All samples in memory as one chunk, or the part of them that is a process's own; the target
    is x itself unless given."""

    def __init__(self, x: Tensor, target: Tensor | None = None, ranks: Alone = ALONE) -> None:
        self.x, self.target = x, x if target is None else target
        self.n_samples, self.ranks = ranks.count(len(x)), ranks

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.x, self.target


Chunks = Prepared | Whole
"""All samples as the model sees them, in pieces (x, target) that fit in memory; of samples that
processes share those of one's own, while `n_samples` counts all."""


class Evaluation(NamedTuple):
    """The cost, its unweighted terms, and the mean code of each latent [M].

    Bounded codes are mapped to [0, 1], so that the mean compares with the target ρ.
    """

    cost: Tensor
    terms: dict[str, Tensor]
    mean_activation: Tensor
    codes: Codes | None = None
    """Those of the last chunk, without history; None from a kernel, which keeps none."""
    l0: Tensor | None = None
    """Active latents a sample, *count*: what a trainer made of the codes."""


NOTHING = Moment()


@torch.no_grad()
def average_over(model: Model, chunks: Chunks) -> LogMean:
    """ρ̂ of every latent over all samples: the first of the two passes of the exact method.

    Source: UFLDL, Autoencoders and sparsity ("scan twice"). Exact.
    """
    gain = model.activation.gain
    assert gain is not None, "Objective.check was not called"
    average, seen = None, 0
    for x, _ in chunks:
        part = average_activation(model.encode(x)[0], gain)
        seen += len(x)
        average = part if average is None else merge_means(average, part, len(x) / seen)
    assert average is not None, "no samples"
    return LogMean(*(chunks.ranks.log_mean(part, seen) for part in average))


@torch.no_grad()
def l0_over(model: Model, chunks: Chunks) -> tuple[Tensor, Tensor]:
    """Means over all samples: active latents, *count*, and `‖target − mean‖²`, which weighs them.

    Deviations are measured from each chunk's own mean and merged (Chan, Golub & LeVeque 1983).
    """
    active = squares = torch.zeros((), dtype=torch.float64, device=model.like.device)
    mean, seen = active, 0
    for x, target in chunks:
        active = active + model.encode(x)[1].l0().sum()
        own, share = target.double().mean(0), len(x) / (seen + len(x))
        squares = squares + (target - own).square().sum()
        squares = squares + (own - mean).square().sum() * (seen * share)
        mean, seen = mean + (own - mean) * share, seen + len(x)
    ranks, n_samples = chunks.ranks, chunks.n_samples
    whole = ranks.sum(mean * seen) / n_samples
    squares = squares + seen * (mean - whole).square().sum()
    return ranks.sum(active) / n_samples, ranks.sum(squares) / n_samples


def fused(model: Model, objective: Objective) -> kernels.Classic | None:
    """The kernel for this model and objective, or None: autograd must do."""
    if not isinstance(model, Autoencoder):
        return None
    weights = {term.kind: term.weight for term in objective.active}
    if (
        not weights.keys() <= {"reconstruction", "kl", "decay"}
        or model.activation.kind not in kernels.FORWARD
        or model.output not in kernels.FORWARD
        or model.pre_bias
        or model.centred
    ):
        return None
    return kernels.Classic(model, **weights, target=objective.target or 0.5)


def by_entries(model: Model) -> kernels.Sparse | None:
    """The pass over the entries of sparse codes, or None for codes that have none."""
    if isinstance(model, Autoencoder) and model.activation.sparse:
        return kernels.Sparse(model)
    return None


class Gradient:
    """Calling it evaluates the objective over chunks and fills the parameters' `.grad`.

    Where processes share the samples the evaluation is of them all, and the gradient is one's own
    part of it: the parts add up.

    Args:
        fast: use the fused kernel where there is one; otherwise autograd, to which it is equal.

    Raises:
        UsageError: when a term has no meaning for the model.
    """

    def __init__(self, model: Model, objective: Objective, *, fast: bool = True) -> None:
        objective.check(model)
        self.model, self.objective = model, objective
        self.kernel = fused(model, objective) if fast else None
        self.sparse = by_entries(model) if fast and self.kernel is None else None

    def __call__(
        self, chunks: Chunks, moment: Moment = NOTHING, one: Pass | None = None
    ) -> Evaluation:
        """Cost and gradient; `one` is what `sparse.before` gave for the only chunk, if it did.

        Raises:
            UsageError: for an l0 term over several chunks: it has a gradient over one batch only.
        """
        if len(chunks) > 1 and self.objective.find("l0"):
            raise UsageError(
                "an l0 term is learned batch by batch; use solver 'adam' for this objective"
            )
        given = moment.average
        moment = self._overall(chunks, moment)
        if self.kernel is not None:
            just_made = moment.average is not given
            return self._by_kernel(self.kernel, chunks, moment.average, just_made)
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.sparse is not None:
            return self._by_entries(self.sparse, chunks, moment, one)
        self.model.zero_grad(set_to_none=False)
        return self._plain(chunks, moment, backward=True)

    def _average(self, chunks: Chunks, backward: bool) -> LogMean:
        """ρ̂ over all samples; a kernel keeps their codes, if there is room, for its second pass."""
        if self.kernel is None or not backward or not isinstance(chunks, Prepared):
            return average_over(self.model, chunks)
        n_samples = chunks.source.n_samples
        size = n_samples * self.model.n_latents * chunks.like.element_size()
        own = self.kernel.average_over(chunks, size <= chunks.cache)
        return LogMean(*(chunks.ranks.log_mean(part, n_samples) for part in own))

    def _overall(self, chunks: Chunks, moment: Moment, *, backward: bool = True) -> Moment:
        """With the means over all samples that terms need, where these come in several chunks."""
        if len(chunks) == chunks.ranks.sharers == 1:
            return moment
        if self.objective.find("kl") and moment.average is None:
            moment = dataclasses.replace(moment, average=self._average(chunks, backward))
        if self.objective.find("l0") and moment.ranks is ALONE:
            l0, variance = l0_over(self.model, chunks)
            moment = dataclasses.replace(moment, l0=l0, variance=variance)
        return moment

    @torch.no_grad()
    def _by_kernel(
        self, kernel: kernels.Classic, chunks: Chunks, average: LogMean | None, just_made: bool
    ) -> Evaluation:
        kernel.begin(decayed=chunks.ranks.leads)
        squared: Tensor | float = 0.0
        code_sum: Tensor | float = 0.0
        for k, (x, target) in enumerate(chunks):
            number = k if just_made else None
            error, codes, average = kernel.add(x, target, chunks.n_samples, average, number)
            squared, code_sum = squared + error, code_sum + codes
        terms: dict[str, Tensor] = {}
        for term in self.objective.active:
            if isinstance(term, KL):
                assert average is not None, "the kernel makes it where none was given"
                terms[term.kind] = kl_sparsity(term.target, average).sum().double()
            elif term.of_weights:
                terms[term.kind] = squared_weights(*self.model.matrices()).double()
            else:
                total = chunks.ranks.sum(torch.as_tensor(squared))
                terms[term.kind] = total / chunks.n_samples
        code_sum = chunks.ranks.sum(torch.as_tensor(code_sum))
        mean = (code_sum / chunks.n_samples - kernel.low) / kernel.width
        return Evaluation(self.objective.cost(terms), terms, mean)

    def _by_entries(
        self, kernel: kernels.Sparse, chunks: Chunks, moment: Moment, one: Pass | None
    ) -> Evaluation:
        totals: dict[str, Tensor] = {}
        mean: Tensor | float = 0.0
        first = True
        for x, target in chunks:
            output = kernel.forward(x, moment.generator, one)
            share = len(x) / chunks.n_samples
            look = Look(x, target, output, self.model, share=share, **vars(moment))
            loss = self._add(look, totals, chunks.ranks.leads)
            kernel.backward(loss, output, add=not first)
            code, first = output.code.detach(), False
            mean = mean + code.mean() * share
        totals = self._whole(totals, chunks.ranks)
        cost = self.objective.cost(totals, moment.factors)
        mean = self.model.ranks.latents(chunks.ranks.sum(torch.as_tensor(mean)))
        return Evaluation(cost, totals, mean, code)

    @torch.no_grad()
    def value(self, chunks: Chunks, moment: Moment = NOTHING) -> Evaluation:
        """The cost without its gradient, for held-out samples."""
        return self._plain(chunks, self._overall(chunks, moment, backward=False), backward=False)

    def _plain(self, chunks: Chunks, moment: Moment, *, backward: bool) -> Evaluation:
        totals: dict[str, Tensor] = {}
        codes: Tensor | float = 0.0
        for x, target in chunks:
            output = self.model(x, training=backward, generator=moment.generator)
            share = len(x) / chunks.n_samples
            look = Look(x, target, output, self.model, share=share, **vars(moment))
            loss = self._add(look, totals, chunks.ranks.leads)
            if backward and loss.requires_grad:  # auxk and preact alone are 0 while none is dead
                loss.backward()
            code = output.code.detach()
            low, high = self.model.activation.bounds or (0.0, 1.0)
            codes = codes + (code.mean() - low) * (len(x) / (high - low))
        mean = chunks.ranks.sum(torch.as_tensor(codes)) / chunks.n_samples
        mean = self.model.ranks.latents(mean)
        totals = self._whole(totals, chunks.ranks)
        cost = self.objective.cost(totals, moment.factors)
        return Evaluation(cost, totals, mean, code)

    def _whole(self, totals: dict[str, Tensor], ranks: Alone) -> dict[str, Tensor]:
        """Terms over the samples of all processes, from those over one's own."""
        once = {term.kind for term in self.objective.active if term.of_weights or term.of_mean}
        return {kind: value if kind in once else ranks.sum(value) for kind, value in totals.items()}

    def _add(self, look: Look, totals: dict[str, Tensor], leads: bool) -> Tensor:
        """The loss of one chunk, and its terms added to the totals.

        What depends on the weights alone is in the loss of one process.
        """
        loss: Tensor | float = 0.0
        for term in self.objective.active:
            if term.of_weights and term.kind in totals:
                continue
            value = term(look)
            if term.of_weights and not leads:
                totals[term.kind] = value.detach().double()
                continue
            loss = loss + term.weight * look.factors.get(term.kind, 1.0) * value
            once = term.of_weights or term.of_mean
            before = 0.0 if once else totals.get(term.kind, 0.0)
            totals[term.kind] = before + value.detach().double()
        return torch.as_tensor(loss)
