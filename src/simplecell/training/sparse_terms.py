"""The terms of codes that are 0 where a latent is not active: L1, l0, AuxK, gates, widths."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes
from simplecell.model.measures import residual_share, squared_error
from simplecell.model.selection import strongest
from simplecell.training.term import SPARSE, Look, Need, Term, single


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
        return look.share * variance(look) * excess.square()


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
        model = single(self, look.model)
        error = (look.target - look.output.recon).detach()
        pre = look.pre_of(look.dead)
        wanted = int(self.k) or 2 ** max(0, model.n_inputs.bit_length() - 2)
        code = Codes(strongest(pre, wanted, model.ranks, signed=model.activation.signed))
        recon = look.model.ranks.total(code.decode(look.atoms_of(look.dead)))
        return residual_share(recon, error, look.ranks) * variance(look)


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
        model = single(self, look.model)
        threshold = model.activation.threshold_of(look.output.pre)
        if threshold.shape[-1] > 1:
            threshold = threshold[..., look.dead]
        strength = model.activation.strength(look.pre_of(look.dead))
        nearest = look.ranks.least((threshold - strength).relu().amin(0))
        size = look.model.ranks.total(nearest @ model.decoder.detach()[look.dead].norm(dim=1))
        return variance(look).sqrt() * size / look.model.ranks.all_latents(model.n_latents)


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
        model = single(self, look.model)
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
        model = single(self, look.model)
        assert not isinstance(self.widths, str), "Objective.check was not called"
        recon: Tensor = model.offset
        total: Tensor | float = 0.0
        for part in look.output.code.decode_parts(model.decoder, self.widths).unbind(1):
            recon = recon + part
            total = total + squared_error(model.finish(recon), look.target)
        return look.share * torch.as_tensor(total) / len(self.widths)

    def check(self, model: Model) -> None:
        n_latents = single(self, model).n_latents
        widths = [] if isinstance(self.widths, str) else list(self.widths)
        rising = all(a < b for a, b in itertools.pairwise([0, *widths]))
        if not widths or not rising or widths[-1] != n_latents:
            raise UsageError(
                f"nested: widths are {self.widths}; ascending numbers of latents are needed, of "
                f"which the last is {n_latents}, all of them"
            )


def variance(look: Look) -> Tensor:
    """Mean over a batch of `‖target − mean‖²`."""
    if look.variance is not None:
        return look.variance
    return look.ranks.mean((look.ranks.mean(look.target) - look.target).square().sum(1))
