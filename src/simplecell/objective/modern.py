"""The terms of today's family: L1, a wanted l0, dead latents, the gate, nested dictionaries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simplecell.codes import Codes
from simplecell.errors import UsageError
from simplecell.measures import residual_share, squared_error
from simplecell.model import Autoencoder, Model
from simplecell.objective.look import Look, Term


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

    def __call__(self, look: Look) -> Tensor:
        model = _single(self, look.model)
        soft = model.activation.soft(look.output.pre, look.output.code)
        return look.share * soft.abs_sum(model.decoder.norm(dim=1)).mean()

    def check(self, model: Model) -> None:
        _single(self, model)
        _needs_sparse(self, model)


@dataclass(frozen=True)
class L0(Term):
    """`V (l0 / target − 1)²`, l0 the active latents of a sample, mean over the batch.

    V is the target's variance, mean over samples of `‖target − mean‖²`: the weight does not depend
    on the scale of the data. The gradient is the pseudo-gradient of the thresholds. A batch-level
    term: over chunks l0 is that of them all, and V the mean of theirs. A controller adds its
    `push` inside the square, so that l0 ends at the target and not where reconstruction outweighs
    the square, and starts from a target that is `ease` times as large.

    Source: Rajamanoharan et al. 2024b, section 3 (the count); the square as in later practice.
    Differs: V, the push (method of multipliers; Hestenes 1969) and the ease.
    """

    weight: float = 1.0
    target: float = 32.0
    kind = "l0"

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
            count = look.model.activation.count(look.output.pre, look.output.code).mean()
        excess = count / (self.target * look.ease) - 1 + look.push
        return look.share * _variance(look.target) * excess.square()

    def check(self, model: Model) -> None:
        if model.activation.kind != "jumprelu":
            raise UsageError(
                "an l0 term moves thresholds, and only 'jumprelu' codes have them; for other "
                "codes say how many latents may be active by model.target_l0"
            )


@dataclass(frozen=True)
class AuxK(Term):
    """Dead latents learn from what the living leave: `V ‖e − ê‖² / ‖e − mean e‖²` over a batch.

    `e = target − recon`, without gradient; ê decodes, without offset, the `k` largest of the dead
    latents of each sample; V is the target's variance, mean over samples of `‖target − mean‖²`.
    0 while none is dead, and outside training.

    Source: Gao et al. 2024, appendix A.2, its whole objective times V, which makes the
    reconstruction term the plain squared error. Exact (k: half the inputs, to a power of two,
    where it is 0).
    """

    weight: float = 1 / 32
    k: float = 0
    kind = "auxk"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (float(self.k).is_integer() and self.k >= 0):
            raise UsageError(
                f"auxk: k is {self.k:g}; a whole number of dead latents is needed, or 0 for half "
                "the inputs"
            )

    def __call__(self, look: Look) -> Tensor:
        if look.dead is None or not bool(look.dead.any()):
            return look.x.new_zeros(())
        model = _single(self, look.model)
        error = (look.target - look.output.recon).detach()
        pre = look.output.pre[:, look.dead]
        wanted = int(self.k) or 2 ** max(0, model.n_inputs.bit_length() - 2)
        values, indices = pre.topk(min(wanted, pre.shape[1]), dim=1, sorted=False)
        code = Codes(torch.zeros_like(pre).scatter(1, indices, values.relu()))
        share = residual_share(code.decode(model.decoder[look.dead]), error)
        return share * _variance(look.target)

    def check(self, model: Model) -> None:
        _single(self, model)
        _needs_sparse(self, model)


@dataclass(frozen=True)
class PreAct(Term):
    """Dead latents come nearer: `√V/M Σ_dead min_b ReLU(θ_i − z_bi) ‖atom_i‖`, b a batch's samples.

    θ is the threshold: 0 of 'relu' codes and of a gate, of 'topk' codes the sample's k-th largest
    value; it and the atoms are held fixed. V is the target's variance, mean over samples of
    `‖target − mean‖²`, so that the weight depends neither on the scale of the data nor on M. A
    latent that is active for no sample has no other gradient that could bring it over its
    threshold: `auxk` gives it a direction, this term the strength. 0 while none is dead, and
    outside training.

    Source: Anthropic, Circuits Updates January 2025 (the pre-activation loss). Differs: of dead
    latents alone, as SAELens has it, and of each one's nearest sample, where the mean over samples
    raises the bias until they answer to all and are struck down again; θ and the atoms get no
    gradient; V and M.
    """

    weight: float = 1.0
    kind = "preact"

    def __call__(self, look: Look) -> Tensor:
        if look.dead is None or not bool(look.dead.any()):
            return look.x.new_zeros(())
        model = _single(self, look.model)
        nearest = model.activation.lack(look.output.pre)[:, look.dead].amin(0)
        size = nearest @ model.decoder.detach()[look.dead].norm(dim=1)
        return look.share * _variance(look.target).sqrt() * size / model.n_latents

    def check(self, model: Model) -> None:
        _single(self, model)
        _needs_sparse(self, model)


@dataclass(frozen=True)
class Gate(Term):
    """Squared error of what the gate alone would reconstruct: `ReLU(z + b_gate)` decoded.

    Decoder and offset get no gradient as what decodes; an offset that is also subtracted before
    the encoder (`pre_bias`) learns from that. Source: Rajamanoharan et al. 2024a, equation 8.
    Exact.
    """

    weight: float = 1.0
    kind = "gate"

    def __call__(self, look: Look) -> Tensor:
        model = _single(self, look.model)
        soft = model.activation.soft(look.output.pre, look.output.code)
        recon = model.finish(soft.decode(model.decoder.detach()) + model.offset.detach())
        return look.share * squared_error(recon, look.target)

    def check(self, model: Model) -> None:
        if model.activation.kind != "gated":
            raise UsageError(
                f"a gate term needs 'gated' codes, but these are '{model.activation.kind}'; "
                "leave it out"
            )


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
    widths: Sequence[int] | str = ()
    kind = "nested"

    def __call__(self, look: Look) -> Tensor:
        model = _single(self, look.model)
        recon: Tensor = model.offset
        total: Tensor | float = 0.0
        for first, last in itertools.pairwise([0, *self.widths]):
            part = look.output.code.part(first, last)
            recon = recon + part.decode(model.decoder[first:last])
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


def _variance(target: Tensor) -> Tensor:
    """Mean over a batch of `‖target − mean‖²`."""
    return squared_error(target.mean(0), target)


def _single(term: Term, model: Model) -> Autoencoder:
    if not isinstance(model, Autoencoder):
        raise UsageError(f"{term.kind} is for an autoencoder of one layer, not for a deep network")
    return model


def _needs_sparse(term: Term, model: Model) -> None:
    if not model.activation.sparse:
        raise UsageError(
            f"{term.kind} needs codes that are 0 where a latent is not active, but these are "
            f"'{model.activation.kind}' codes; use 'relu', 'topk', 'batchtopk', 'jumprelu' or "
            "'gated'"
        )
