"""What is minimised: a weighted sum of terms. A new term is one class and one row of `TERMS`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from simplecell.distributed import ALONE, Alone
from simplecell.errors import UsageError, choice
from simplecell.model.activation import Activation
from simplecell.model.activations import ACTIVATIONS
from simplecell.model.autoencoder import Autoencoder, Model, Output
from simplecell.model.codes import Codes
from simplecell.model.measures import (
    LogMean,
    average_activation,
    cross_entropy,
    kl_gaussian,
    kl_sparsity,
    residual_share,
    softmax_entropy,
    squared_error,
    squared_weights,
)
from simplecell.model.selection import strongest


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a trainer knows at one step, beside the samples: a new need is a new field, here."""

    average: LogMean | None = None
    """The average activation over all samples when B are only some of them; None: B are all."""
    dead: Tensor | None = None
    """Latents that have been silent for long, bool [M]; None outside training."""
    l0: Tensor | None = None
    """Active latents a sample, mean over all samples when B are only some of them."""
    variance: Tensor | None = None
    """Of the targets, mean over all samples of `‖target − mean‖²` when B are only some of them."""
    push: float | Tensor = 0.0
    """What the controller of l0 adds to its relative excess, to leave none in the end."""
    ease: float = 1.0
    """What the controller multiplies the wanted l0 by: more than 1 at the beginning."""
    factors: Mapping[str, float | Tensor] = field(default_factory=dict)
    """On the weights of single terms."""
    generator: torch.Generator | None = None
    """For activations that draw noise."""
    ranks: Alone = ALONE
    """The processes that hold the other parts of a batch of which B are one's own."""


@dataclass(frozen=True)
class Look(Moment):
    """Everything a term may look at: B samples, what the model made of them, and the moment."""

    x: Tensor
    """[B, D], as the model sees it."""
    target: Tensor
    """[B, D]: what the reconstruction is compared with; of a classifier [B, K], one-hot."""
    output: Output
    model: Model
    share: float = 1.0
    """B over the number of samples that the cost is a mean over."""

    def pre_of(self, latents: Tensor) -> Tensor:
        """What stands before the activation of some latents, a bool [M]: [B, m]."""
        if self.output.by is None:
            return self.output.pre[:, latents]
        return self.output.by.columns(latents.nonzero()[:, 0])

    def atoms_of(self, latents: Tensor) -> Tensor:
        """The atoms of some latents, a bool [M]: [m, D_out]."""
        if self.output.by is None:
            return self._decoder[latents]
        return self.output.by.atoms(latents.nonzero()[:, 0])

    def atom_lengths(self) -> Tensor:
        """The length of each atom, [M]."""
        return self._decoder.norm(dim=1) if self.output.by is None else self.output.by.lengths()

    @property
    def _decoder(self) -> Tensor:
        assert isinstance(self.model, Autoencoder), "Objective.check was not called"
        return self.model.decoder


class Need(NamedTuple):
    """Codes that a term has a meaning for, in words and as a question."""

    words: str
    has: Callable[[Activation | type[Activation]], bool]


SPARSE = Need("that are 0 where a latent is not active", lambda one: one.sparse)


@dataclass(frozen=True)
class Term:
    """A part of the objective: `weight` times the unweighted value that the call returns."""

    weight: float
    kind: ClassVar[str]
    of_weights: ClassVar[bool] = False
    """Depends on the parameters alone: counted once, not once a chunk."""
    of_mean: ClassVar[bool] = False
    """Depends on the mean code over *all* samples, so chunks need it beforehand."""
    alone: ClassVar[bool] = False
    """Is for one layer."""
    output: ClassVar[str | None] = None
    """The output that it is for, where it is for one only."""
    codes: ClassVar[Need | None] = None
    """The codes that it is for; None: any."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise UsageError(f"{self.kind}: weight is {self.weight}; it must be 0 or more")

    def __call__(self, look: Look) -> Tensor:
        raise NotImplementedError

    def check(self, model: Model) -> None:
        """Raise UsageError where the term has no meaning for that model."""
        if self.alone:
            _single(self, model)
        if self.output not in (None, model.output):
            raise UsageError(
                f"{self.kind} needs the output '{self.output}', but this model's is "
                f"'{model.output}'"
            )
        if self.codes is not None and not self.codes.has(model.activation):
            *others, last = [repr(kind) for kind, one in ACTIVATIONS.items() if self.codes.has(one)]
            use = f"{', '.join(others)} or {last}" if others else last
            raise UsageError(
                f"{self.kind} needs codes {self.codes.words}, but these are "
                f"'{model.activation.kind}' codes; use activation={use}, or leave the term out"
            )


@dataclass(frozen=True)
class Reconstruction(Term):
    """Mean over samples of the squared error, summed over inputs.

    Source: UFLDL, with weight ½. Exact.
    """

    weight: float = 0.5
    kind = "reconstruction"

    def __call__(self, look: Look) -> Tensor:
        return look.share * squared_error(look.output.recon, look.target)


@dataclass(frozen=True)
class Decay(Term):
    """Sum of squares of the model's matrices, biases left alone; a tied matrix counts once.

    Source: UFLDL, with weight λ/2. Exact.
    """

    weight: float = 5e-5
    kind = "decay"
    of_weights = True

    def __call__(self, look: Look) -> Tensor:
        return squared_weights(*look.model.matrices())


@dataclass(frozen=True)
class KL(Term):
    """KL divergence of the wanted average activation from each latent's, summed over latents.

    `target` is ρ. When B are only some of the samples (`look.average` given), the value is that
    of all of them and the gradient that of the linear surrogate
    `⟨∂KL/∂ρ̂, Σ code⟩/m`: summed over chunks it equals the gradient in memory.

    Source: UFLDL, with weight β. Exact (a mini-batch mean would be a biased stand-in).
    """

    weight: float = 3.0
    target: float = 0.01
    kind = "kl"
    of_mean = True
    codes = Need("of a bounded range", lambda one: one.gain is not None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < 1:
            raise UsageError(
                f"kl: target is {self.target}; the average activation must lie between 0 and 1 "
                "(both excluded), for instance 0.05"
            )

    def __call__(self, look: Look) -> Tensor:
        gain = look.model.activation.gain
        assert gain is not None, "Objective.check was not called"
        if look.average is None:
            return kl_sparsity(self.target, average_activation(look.output.pre, gain)).sum()
        scaled, average = gain * look.output.pre, look.average
        on = (logsigmoid(scaled) - average.log_mean).exp().mean(0)
        off = (logsigmoid(-scaled) - average.log_complement).exp().mean(0)
        surrogate = -look.share * (self.target * on + (1 - self.target) * off).sum()
        return kl_sparsity(self.target, average).sum() + (surrogate - surrogate.detach())


@dataclass(frozen=True)
class CrossEntropy(Term):
    """Bernoulli cross-entropy of the reconstruction, summed over inputs, *nats*.

    For targets in [0, 1] and a sigmoid output. Source: Hinton & Salakhutdinov 2006. Exact.
    """

    weight: float = 1.0
    kind = "cross_entropy"
    output = "sigmoid"

    def __call__(self, look: Look) -> Tensor:
        return look.share * cross_entropy(look.output.raw, look.target)


@dataclass(frozen=True)
class Softmax(Term):
    """Cross-entropy of the class probabilities, the target one-hot, *nats*.

    Source: UFLDL, Softmax regression. Exact.
    """

    weight: float = 1.0
    kind = "softmax"
    output = "softmax"

    def __call__(self, look: Look) -> Tensor:
        return look.share * softmax_entropy(look.output.raw, look.target)


@dataclass(frozen=True)
class GaussianKL(Term):
    """KL divergence of each sample's code distribution from N(0, I), summed over latents, *nats*.

    With `CrossEntropy`, or `Reconstruction(½)`, the negative of the ELBO (for the latter up to a
    constant: unit variance). Source: Kingma & Welling 2013, appendix B. Exact.
    """

    weight: float = 1.0
    kind = "gaussian_kl"
    codes = Need("that are drawn from a Gaussian", lambda one: one.kind == "gaussian")

    def __call__(self, look: Look) -> Tensor:
        mean, log_variance = look.output.pre.chunk(2, dim=1)
        return look.share * kl_gaussian(mean, log_variance)


@dataclass(frozen=True)
class L1(Term):
    """`Σ_i code_i ‖atom_i‖`, mean over samples: the size of what each latent adds.

    With atoms of free length this is the April-2024 form, which longer atoms cannot evade; held at
    unit length (`unit_norm`) they make it the 2023 form, `Σ_i code_i`. Gated codes are penalised
    through what their gate sees.

    Source: Bricken et al. 2023; Anthropic, Circuits Updates April 2024; Rajamanoharan et al.
    2024a. Exact.
    """

    weight: float = 1.0
    kind = "l1"
    alone, codes = True, SPARSE

    def __call__(self, look: Look) -> Tensor:
        soft = look.model.activation.soft(look.output.pre, look.output.code)
        return look.share * look.model.ranks.total(soft.abs_sum(look.atom_lengths())).mean()


@dataclass(frozen=True)
class L0(Term):
    """`V (l0 / target − 1)²`, l0 the active latents of a sample, mean over the batch.

    V is the target's variance, mean over samples of `‖target − mean‖²`: the weight does not depend
    on the scale of the data. The gradient is the pseudo-gradient of the thresholds. A batch-level
    term: over chunks l0 and V are those of them all. A controller adds its
    `push` inside the square, so that l0 ends at the target and not where reconstruction outweighs
    the square, and starts from a target that is `ease` times as large.

    Source: Rajamanoharan et al. 2024b, section 3 (the count); the square as in later practice.
    Differs: V, the push (method of multipliers; Hestenes 1969) and the ease.
    """

    weight: float = 1.0
    target: float = 32.0
    kind = "l0"
    codes = Need(
        "with thresholds that it can move (model.target_l0 says how many of others are active)",
        lambda one: one.kind == "jumprelu",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < float("inf"):
            raise UsageError(
                f"l0: target is {self.target:g}; the number of active latents a sample must be "
                "above 0"
            )

    def __call__(self, look: Look) -> Tensor:
        count = look.l0
        if count is None:
            counts = look.model.activation.count(look.output.pre, look.output.code)
            count = look.ranks.mean(counts)
        excess = count / (self.target * look.ease) - 1 + look.push
        return look.share * _variance(look) * excess.square()


@dataclass(frozen=True)
class AuxK(Term):
    """Dead latents learn from what the living leave: `V ‖e − ê‖² / ‖e − mean e‖²` over a batch.

    `e = target − recon`, without gradient; ê decodes, without offset, the `k` largest of the dead
    latents of each sample (in size, of signed codes); V is the target's variance, mean over
    samples of `‖target − mean‖²`. 0 while none is dead, and outside training.

    Source: Gao et al. 2024, appendix A.2, its whole objective times V, which makes the
    reconstruction term the plain squared error. Exact (k: half the inputs, to a power of two,
    where it is 0).
    """

    weight: float = 1 / 32
    k: float = 0.0
    kind = "auxk"
    alone, codes = True, SPARSE

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (float(self.k).is_integer() and self.k >= 0):
            raise UsageError(
                f"auxk: k is {self.k:g}; a whole number of dead latents is needed, or 0 for half "
                "the inputs"
            )

    def __call__(self, look: Look) -> Tensor:
        if look.dead is None or not look.model.ranks.any(look.dead):
            return look.x.new_zeros(())
        model = _single(self, look.model)
        error = (look.target - look.output.recon).detach()
        pre = look.pre_of(look.dead)
        wanted = int(self.k) or 2 ** max(0, model.n_inputs.bit_length() - 2)
        code = Codes(strongest(pre, wanted, model.ranks, signed=model.activation.signed))
        recon = look.model.ranks.total(code.decode(look.atoms_of(look.dead)))
        return residual_share(recon, error, look.ranks) * _variance(look)


@dataclass(frozen=True)
class PreAct(Term):
    """Dead latents come nearer: `√V/M Σ_dead min_b ReLU(θ_i − z_bi) ‖atom_i‖`, b a batch's samples.

    θ is the threshold: 0 of 'relu' codes and of a gate, of 'topk' codes the sample's k-th largest
    value, of 'abstopk' ones that of |z|, which then stands in the place of z; it and the atoms are
    held fixed. V is the target's variance, mean over samples of `‖target − mean‖²`, so that the
    weight depends neither on the scale of the data nor on M. A latent that is active for no sample
    has no other gradient that could bring it over its threshold: `auxk` gives it a direction, this
    term the strength. 0 while none is dead, and outside training.

    Source: Anthropic, Circuits Updates January 2025 (the pre-activation loss). Differs: of dead
    latents alone, as SAELens has it, and of each one's nearest sample, where the mean over samples
    raises the bias until they answer to all and are struck down again; θ and the atoms get no
    gradient; V and M.
    """

    weight: float = 1.0
    kind = "preact"
    alone, codes = True, SPARSE

    def __call__(self, look: Look) -> Tensor:
        if look.dead is None or not look.model.ranks.any(look.dead):
            return look.x.new_zeros(())
        model = _single(self, look.model)
        threshold = model.activation.threshold_of(look.output.pre)
        if threshold.shape[-1] > 1:
            threshold = threshold[..., look.dead]
        strength = model.activation.strength(look.pre_of(look.dead))
        nearest = look.ranks.least((threshold - strength).relu().amin(0))
        size = look.model.ranks.total(nearest @ model.decoder.detach()[look.dead].norm(dim=1))
        return _variance(look).sqrt() * size / look.model.ranks.all_latents(model.n_latents)


@dataclass(frozen=True)
class Gate(Term):
    """Squared error of what the gate alone would reconstruct: `ReLU(z + b_gate)` decoded.

    Decoder and offset get no gradient as what decodes; an offset that is also subtracted before
    the encoder (`pre_bias`) learns from that. Source: Rajamanoharan et al. 2024a, equation 8.
    Exact.
    """

    weight: float = 1.0
    kind = "gate"
    codes = Need("with a gate", lambda one: one.kind == "gated")

    def __call__(self, look: Look) -> Tensor:
        model = _single(self, look.model)
        soft = model.activation.soft(look.output.pre, look.output.code)
        recon = model.finish(soft.decode(model.decoder.detach()) + model.offset.detach())
        return look.share * squared_error(recon, look.target)


@dataclass(frozen=True)
class Nested(Term):
    """Squared error of what the first m_1, m_2, … latents reconstruct, mean over these widths.

    Stands in the place of `reconstruction`. Decoded block by block.
    Source: Bussmann et al. 2025. Differs: a mean over widths where the paper has a sum, so that
    other weights keep their meaning.

    Args:
        widths: numbers of latents, ascending; the last is M. A recipe's "auto" is no number yet.
    """

    weight: float = 1.0
    widths: Literal["auto"] | list[int] = field(default_factory=list)
    kind = "nested"

    def __call__(self, look: Look) -> Tensor:
        model = _single(self, look.model)
        assert not isinstance(self.widths, str), "Objective.check was not called"
        recon: Tensor = model.offset
        total: Tensor | float = 0.0
        for part in look.output.code.decode_parts(model.decoder, self.widths).unbind(1):
            recon = recon + part
            total = total + squared_error(model.finish(recon), look.target)
        return look.share * torch.as_tensor(total) / len(self.widths)

    def check(self, model: Model) -> None:
        n_latents = _single(self, model).n_latents
        widths = [] if isinstance(self.widths, str) else list(self.widths)
        rising = all(a < b for a, b in itertools.pairwise([0, *widths]))
        if not widths or not rising or widths[-1] != n_latents:
            raise UsageError(
                f"nested: widths are {self.widths}; ascending numbers of latents are needed, of "
                f"which the last is {n_latents}, all of them"
            )


def _variance(look: Look) -> Tensor:
    """Mean over a batch of `‖target − mean‖²`."""
    if look.variance is not None:
        return look.variance
    return look.ranks.mean((look.ranks.mean(look.target) - look.target).square().sum(1))


def _single(term: Term, model: Model) -> Autoencoder:
    if not isinstance(model, Autoencoder):
        raise UsageError(f"{term.kind} is for an autoencoder of one layer, not for a deep network")
    return model


_ALL: tuple[type[Term], ...] = (
    *(Reconstruction, CrossEntropy, Softmax, KL, GaussianKL, Decay),
    *(L1, L0, AuxK, PreAct, Gate, Nested),
)
TERMS = {term.kind: term for term in _ALL}


def _term(kind: str, values: Mapping[str, object]) -> Term:
    choice("term", kind, TERMS)
    made: Callable[..., Term] = TERMS[kind]
    fields = {field.name for field in dataclasses.fields(TERMS[kind])}
    for name in values:
        choice(f"key of term '{kind}'", name, fields)
    return made(**values)


class Objective:
    """A weighted sum of terms; terms of weight 0 are left out.

    >>> Objective.classic(weight_decay=1e-4, sparsity_weight=3.0, target=0.01).table()["kl"]
    {'weight': 3.0, 'target': 0.01}
    """

    def __init__(self, terms: Mapping[str, Mapping[str, object]]) -> None:
        self.terms = tuple(_term(kind, values) for kind, values in terms.items())
        self.active = tuple(term for term in self.terms if term.weight)
        if not self.active:
            raise UsageError("an objective needs at least one term with a weight above 0")

    @classmethod
    def classic(cls, *, weight_decay: float, sparsity_weight: float, target: float) -> Objective:
        """The notes' objective by the notes' letters: λ, β, ρ."""
        terms: dict[str, dict[str, float]] = {"reconstruction": {"weight": 0.5}}
        if sparsity_weight:
            terms["kl"] = {"weight": sparsity_weight, "target": target}
        terms["decay"] = {"weight": weight_decay / 2}
        return cls(terms)

    def table(self) -> dict[str, dict[str, object]]:
        """The terms as a recipe writes them."""
        return {term.kind: dataclasses.asdict(term) for term in self.terms}

    def find(self, kind: str) -> Term | None:
        """The active term of that kind, or None."""
        return next((term for term in self.active if term.kind == kind), None)

    @property
    def target(self) -> float | None:
        """The wanted average activation, or None."""
        term = self.find("kl")
        return term.target if isinstance(term, KL) else None

    def check(self, model: Model) -> None:
        """Raise UsageError where a term has no meaning for that model."""
        for term in self.active:
            term.check(model)

    def cost(
        self,
        terms: Mapping[str, Tensor],
        factors: Mapping[str, float | Tensor] | None = None,
        of: Sequence[Term] | None = None,
    ) -> Tensor:
        """The weighted sum of unweighted values; `factors` are on the weights of single terms.

        `of` says which terms, where not all that are active are meant.
        """
        factors = factors or {}
        return functools.reduce(
            operator.add,
            (
                term.weight * factors.get(term.kind, 1.0) * terms[term.kind]
                for term in (self.active if of is None else of)
            ),
        )
