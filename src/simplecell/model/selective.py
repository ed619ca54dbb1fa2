"""Codes that are 0 where a latent is not active: by rank, by thresholds, by a gate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from simplecell.distributed import ALONE, Alone
from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.codes import Codes
from simplecell.model.places import Places
from simplecell.model.selection import above, largest, leading, least_kept, strongest, top


def _below(values: Tensor, wanted: float, ranks: Alone = ALONE) -> Tensor:
    """The largest of values [B, M] that `wanted` a sample, mean over the B, are above."""
    flat = values.reshape(-1)
    kept = min(round(wanted * len(values)), ranks.all_latents(flat.numel()) - 1)
    flat = ranks.rivals_of_latents(flat, kept + 1)
    return flat.kthvalue(flat.numel() - kept).values


UNSET = -1.0


class TopK(Activation):
    """The k largest of each sample, where they are positive; all others 0.

    Args:
        k: latents kept a sample, *count*.

    Source: Gao et al. 2024, section 2.3, the ReLU as in its code. Exact.
    """

    kind, output, sparse, smooth = "topk", "relu", True, False
    counts, page = "k", ("topk", "k")

    def __init__(
        self, n_latents: int = 1, *, k: float = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        if not (float(k).is_integer() and 1 <= k <= n_latents):
            raise UsageError(
                f"{self.kind}: k is {k:g}, but a whole number of latents is kept of each sample, "
                f"1 to {n_latents}"
            )
        self.k = int(k)

    def code(self, pre: Tensor) -> Tensor:
        return strongest(pre, self.k, self.ranks, signed=self.signed)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return pre if self.signed else pre.relu()

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        return top(self.strength(pre), self.k, ordered=not training, ranks=self.ranks)

    def threshold_of(self, pre: Tensor) -> Tensor:
        """The sample's own: the smallest strength kept."""
        return leading(self.strength(pre.detach()), self.k, self.ranks)[2].clamp_min(0)


class AbsTopK(TopK):
    """The k of each sample that are largest in size, with their signs; all others 0.

    For data that are sums of few things which come with either sign, such as signals: codes of at
    least 0 need two latents, opposite to each other, for each of these.

    Args:
        k: latents kept a sample, *count*.

    Source: AbsTopK, arXiv 2510.00404, as SAELens has it. Exact.
    """

    kind, output, signed = "abstopk", "linear", True
    page = ("abstopk", "k")


class BatchTopK(Activation):
    """The k·B largest positive values of a batch of B samples; in use, all above a threshold.

    `threshold` is the running mean of the smallest value kept, so that in use a sample's code does
    not depend on its neighbours; where there are held-out samples, it is in the end what keeps k of
    these.

    Args:
        k: latents kept a sample, *count*, mean over a batch; need not be whole.

    Source: Bussmann et al. 2024. Exact, save that values equal to the last one kept are kept too;
    the running mean's rate is ours.
    """

    kind, output, sparse, smooth = "batchtopk", "relu", True, False
    counts, page = "k", ("batchtopk", "threshold")
    rate = 0.02
    """Share of the newest batch in the running threshold."""
    slack = 0.9
    """Of the running threshold: what a batch's own is hardly ever below."""
    threshold: Tensor

    def __init__(
        self, n_latents: int = 1, *, k: float = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        if not 0 < k <= n_latents:
            raise UsageError(
                f"batchtopk: k is {k:g}, but it must be above 0 and at most {n_latents} "
                "latents a sample"
            )
        self.k = float(k)
        self.register_buffer("threshold", torch.tensor(UNSET, dtype=dtype))

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        if not training:
            return super().forward(pre)
        code = pre.relu()
        least = least_kept(code.detach(), self.k, self.ranks)
        return Codes(code * (code >= least))

    def code(self, pre: Tensor) -> Tensor:
        code = pre.relu()
        return code * (code > self.threshold)

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        return pre.relu()

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        if training:
            return largest(pre, self.k, self.slack * self.threshold, self.ranks)
        return above(pre, self.threshold_of(pre))

    def threshold_of(self, pre: Tensor) -> Tensor:
        """As long as the threshold is unset, 0 is in its place."""
        return self.threshold.clamp_min(0).reshape(1)

    @torch.no_grad()
    def observe(self, codes: Codes) -> None:
        least = self.ranks.smallest(codes.smallest())
        moved = self.threshold + self.rate * (least - self.threshold)
        found = torch.where(self.threshold < 0, least, moved)
        self.threshold.copy_(torch.where(torch.isfinite(least), found, self.threshold))

    @torch.no_grad()
    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Set the threshold such that k·B of these values are above it."""
        self.threshold.copy_(_below(pre.relu(), self.k, self.ranks))


class JumpReLU(Activation):
    """`code = z · 1[z > θ]`, a threshold θ ≥ 0 for each latent, learned.

    `∂code/∂z = 1[z > θ]`; θ's pseudo-derivatives are `−(θ/ε) K((z − θ)/ε)` of the code and
    `−(1/ε) K((z − θ)/ε)` of the count `1[z > θ]`, with `K(u) = 1[|u| < ½]`.

    Args:
        bandwidth: ε, as a multiple of the inputs' root mean square.
        threshold: θ at the start, likewise.

    Source: Rajamanoharan et al. 2024b, section 3. Differs: θ itself is learned, since its
    logarithm freezes under Adam; ε is relative to the inputs.
    """

    kind, output, sparse, smooth = "jumprelu", "relu", True, False
    stated, page = ("bandwidth",), ("jumprelu", "threshold")
    stretch = 1.25
    reach = 0.5001
    """Of the bandwidth, below a threshold: half, and a little for rounding."""
    scale: Tensor

    def __init__(
        self,
        n_latents: int = 1,
        *,
        bandwidth: float = 0.5,
        threshold: float = 0.5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if not (0 < bandwidth < math.inf and 0 <= threshold < math.inf):
            raise UsageError(
                f"jumprelu: bandwidth is {bandwidth:g} and threshold {threshold:g}; the former "
                "must be above 0, the latter at least 0"
            )
        self.relative_bandwidth = float(bandwidth)
        self.threshold = nn.Parameter(torch.full((n_latents,), float(threshold), dtype=dtype))
        self.register_buffer("scale", torch.tensor(1.0, dtype=dtype))

    @property
    def bandwidth(self) -> Tensor:
        """ε in the units of pre."""
        return self.relative_bandwidth * self.scale

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        found: Tensor = _Jump.apply(pre, *of_latents, self.bandwidth)
        return found

    def of_latents(self) -> tuple[Tensor, ...]:
        return (self.threshold,)

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        """Where there is a gradient, those just below the threshold as well: they have a say."""
        threshold = self.threshold.detach()
        felt = training or torch.is_grad_enabled()
        return above(pre, threshold - self.reach * self.bandwidth if felt else threshold)

    @torch.no_grad()
    def observe(self, codes: Codes) -> None:
        self.threshold.clamp_(min=0)

    @torch.no_grad()
    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Stretch all thresholds alike, by a quarter at most, so that `wanted` are active."""
        if not wanted:
            return
        shares = pre / self.threshold.clamp_min(torch.finfo(pre.dtype).tiny)
        self.threshold.mul_(_below(shares, wanted).clamp(1 / self.stretch, self.stretch))

    def threshold_of(self, pre: Tensor) -> Tensor:
        return self.threshold.detach()

    @torch.no_grad()
    def set_scale(self, scale: float) -> None:
        self.threshold.mul_(scale / self.scale)
        self.scale.fill_(scale)

    def count(self, pre: Tensor, code: Codes) -> Tensor:
        return code.elementwise(self._step, pre, self.threshold).sums()

    def _step(self, pre: Tensor, threshold: Tensor) -> Tensor:
        found: Tensor = _Step.apply(pre, threshold, self.bandwidth)
        return found


class _Jump(torch.autograd.Function):
    """z · 1[z > θ] with the pseudo-derivative of θ."""

    @staticmethod
    def forward(ctx: FunctionCtx, pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
        ctx.save_for_backward(pre, threshold, bandwidth)
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold, bandwidth = ctx.saved_tensors
        near = _window(pre, threshold, bandwidth)
        of_threshold = -(threshold / bandwidth) * _to_latents(grad * near, threshold)
        return grad * (pre > threshold), of_threshold, None


class _Step(torch.autograd.Function):
    """1[z > θ] with the pseudo-derivative of θ; none of z."""

    @staticmethod
    def forward(ctx: FunctionCtx, pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
        ctx.save_for_backward(pre, threshold, bandwidth)
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold, bandwidth = ctx.saved_tensors
        near = _window(pre, threshold, bandwidth)
        return None, -_to_latents(grad * near, threshold) / bandwidth, None


def _to_latents(grads: Tensor, like: Tensor) -> Tensor:
    """Of all samples [B, M] to one of each latent; entries [n] have their own thresholds."""
    return grads.sum(0) if grads.ndim > like.ndim else grads


def _window(pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
    return (pre - threshold).abs() < bandwidth / 2


class Gated(Activation):
    """Whether a latent is active, and how much, by two biases and a scale for each latent.

    `code = 1[z + b_gate > 0] · ReLU(e^r · z + b_mag)`; z has no bias of its own. The step passes
    no gradient, so the gate learns through `soft`, its ReLU: the L1 term and the gate's own
    reconstruction act on that.

    Source: Rajamanoharan et al. 2024a, section 3.2. Exact.
    """

    kind, output, sparse, smooth, owns_bias = "gated", "relu", True, False, True
    page = ("gated", "gate_bias", "magnitude_bias", "log_scale")
    shift = 0.25

    def __init__(self, n_latents: int = 1, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.gate_bias, self.magnitude_bias, self.log_scale = (
            nn.Parameter(torch.zeros(n_latents, dtype=dtype)) for _ in range(3)
        )

    def value(self, pre: Tensor, *of_latents: Tensor) -> Tensor:
        gate_bias, magnitude_bias, log_scale = of_latents
        return (log_scale.exp() * pre + magnitude_bias).relu() * (pre + gate_bias > 0)

    def of_latents(self) -> tuple[Tensor, ...]:
        return self.gate_bias, self.magnitude_bias, self.log_scale

    def places(self, pre: Tensor, *, training: bool) -> Places | None:
        """Where the gate is open: `soft` codes are not 0 there, whatever the magnitude."""
        return above(pre, -self.gate_bias.detach())

    def _magnitude(self, pre: Tensor) -> Tensor:
        return (self.log_scale.exp() * pre + self.magnitude_bias).relu()

    @torch.no_grad()
    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Shift all gates alike, by a quarter of their mean opening at most, to `wanted` active."""
        gate = pre + self.gate_bias
        if not wanted or not bool((gate > 0).any()):
            return
        # One without a magnitude is not active, however wide its gate.
        gates = gate.masked_fill(self._magnitude(pre) <= 0, -math.inf)
        most = self.shift * gate[gate > 0].mean()
        self.gate_bias.sub_(_below(gates, wanted).clamp(-most, most))

    def soft(self, pre: Tensor, code: Codes) -> Codes:
        """What the gate sees: `ReLU(z + b_gate)`."""
        return code.elementwise(lambda pre, bias: (pre + bias).relu(), pre, self.gate_bias)

    def threshold_of(self, pre: Tensor) -> Tensor:
        """The gate's."""
        return -self.gate_bias
