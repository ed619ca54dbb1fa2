"""pre → code. A new activation is one class and one row of `ACTIVATIONS`.

Its settings are the keywords of its constructor: names, types and defaults are read there, and each
is a key of a recipe's [model]. The explorer's page computes it if it says how (`page`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import UnionType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from simplecell.errors import UsageError, choice
from simplecell.model.codes import Codes, Rows, SparseCodes


class Activation(nn.Module):
    """`code = f(pre)`, pre [B, M · pre_per_latent]. Pure: `forward` changes nothing.

    `n_latents` is M; only activations with parameters of their own look at it.
    """

    kind: ClassVar[str]
    gain: ClassVar[float | None] = None
    """For bounded codes: the code mapped to [0, 1] is `sigmoid(gain · pre)`; None if unbounded."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The code's range, or None."""
    pre_per_latent: ClassVar[int] = 1
    """Numbers that a latent needs before the activation: rows of the encoder."""
    output: ClassVar[str | None] = None
    """The output of a layer that reconstructs these codes, or None: their range has none."""
    sparse: ClassVar[bool] = False
    """Whether codes are exactly 0 where a latent is not active, and never below."""
    smooth: ClassVar[bool] = True
    """Whether the code has a gradient everywhere that matters: L-BFGS needs it."""
    owns_bias: ClassVar[bool] = False
    """Whether biases are the activation's own, and the layer has none."""
    counts: ClassVar[str | None] = None
    """The setting that says how many latents are active of a sample: `target_l0` of a recipe."""
    stated: ClassVar[tuple[str, ...]] = ()
    """Settings that every recipe states, whatever its codes; others are stated where told."""
    page: ClassVar[tuple[str, ...] | None] = None
    """Its function in the explorer's page, and the attributes that this is given; None: it has
    none."""

    def __init__(self, n_latents: int = 1, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        """The code of `pre`; `training` and `generator` matter where training and use differ."""
        return Codes(self.code(pre))

    def code(self, pre: Tensor) -> Tensor:
        """The code of `pre` where training and use are the same, [B, M]."""
        raise NotImplementedError

    def observe(self, codes: Codes) -> None:
        """Called by the trainer after a step: the only writer of an activation's own state."""

    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Take `pre` [B, M] of samples not trained on as what codes in use will see; at the end.

        `wanted` is how many latents are to be active of each, if anybody said so.
        """

    @property
    def calibrates(self) -> bool:
        """Whether samples not trained on have a say in its thresholds."""
        return type(self).calibrate is not Activation.calibrate

    def set_scale(self, scale: float) -> None:
        """Take the root mean square of the inputs as the unit of what is relative to it."""

    def soft(self, pre: Tensor, code: Codes) -> Codes:
        """The code that an L1 penalty acts on."""
        return code

    def lack(self, pre: Tensor) -> Tensor:
        """What each latent of each sample lacks to be active, [B, M], 0 where it is.

        Of sparse codes alone. Thresholds are held fixed: the gradient is that of `pre`, and of a
        bias that is the activation's own.
        """
        return (-pre).relu()

    def count(self, pre: Tensor, code: Codes) -> Tensor:
        """Active latents of each sample, *count*, [B], differentiable where that is defined."""
        return code.l0().to(pre.dtype)

    def weights(self) -> dict[str, Tensor]:
        """The activation's own parameters and state, by the names that files use."""
        return dict(self.state_dict(keep_vars=True))


class Identity(Activation):
    """`f(z) = z`: linear codes, whose optimum spans PCA's subspace."""

    kind, output, page = "identity", "linear", ("identity",)

    def code(self, pre: Tensor) -> Tensor:
        return pre


class Sigmoid(Activation):
    """`f(z) = 1/(1 + e^−z)`. Source: UFLDL, Neural networks. Exact."""

    kind, output, page = "sigmoid", "sigmoid", ("sigmoid",)
    gain, bounds = 1.0, (0.0, 1.0)

    def code(self, pre: Tensor) -> Tensor:
        return torch.sigmoid(pre)


class Tanh(Activation):
    """`f(z) = tanh z`, inactive at −1. Source: UFLDL, Neural networks. Exact."""

    kind, output, page = "tanh", "tanh", ("tanh",)
    gain, bounds = 2.0, (-1.0, 1.0)

    def code(self, pre: Tensor) -> Tensor:
        return torch.tanh(pre)


class ReLU(Activation):
    """`f(z) = max(0, z)`: unbounded, so no KL sparsity."""

    kind, output, sparse, page = "relu", "relu", True, ("relu",)

    def code(self, pre: Tensor) -> Tensor:
        return torch.relu(pre)


class Gaussian(Activation):
    """`code = μ + σ ∘ ε`, ε ~ N(0, I) while training; μ itself in use. `pre` is (μ, log σ²).

    The noise comes from the generator that the caller gives, so that a step can be repeated.
    Source: Kingma & Welling 2013, section 2.4 (reparameterisation). Exact.
    """

    kind, output, pre_per_latent = "gaussian", "linear", 2
    page = ("identity",)  # of the mean, which is what is used

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        mean, log_variance = pre.chunk(2, dim=1)
        if not training:
            return Codes(mean)
        noise = torch.randn(mean.shape, generator=generator, dtype=pre.dtype, device=pre.device)
        return Codes(mean + (log_variance / 2).exp() * noise)


def _below(values: Tensor, wanted: float) -> Tensor:
    """The largest of values [B, M] that `wanted` a sample, mean over the B, are above."""
    flat = values.reshape(-1)
    kept = min(round(wanted * len(values)), flat.numel() - 1)
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
                f"topk: k is {k:g}, but a whole number of latents is kept of each sample, "
                f"1 to {n_latents}"
            )
        self.k = int(k)

    def forward(
        self, pre: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Codes:
        values, indices = pre.topk(self.k, dim=1, sorted=False)
        kept = values.relu()
        if training:
            return Codes(torch.zeros_like(pre).scatter(1, indices, kept))
        indices, order = indices.sort(dim=1)
        kept = kept.gather(1, order)
        positive = kept > 0
        counts = positive.sum(1)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return SparseCodes(Rows(kept[positive], indices[positive], offsets), pre.shape[1])

    def lack(self, pre: Tensor) -> Tensor:
        """The threshold is the sample's own: the smallest value kept."""
        least = pre.detach().topk(self.k, dim=1, sorted=False).values.amin(1, keepdim=True)
        return (least.clamp_min(0) - pre).relu()


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
        code = pre.relu()
        if not training:
            return Codes(code * (code > self.threshold))
        flat = code.detach().reshape(-1)
        kept = max(1, min(round(self.k * len(pre)), flat.numel()))
        least = flat.kthvalue(flat.numel() - kept + 1).values
        return Codes(code * (code >= least))

    def lack(self, pre: Tensor) -> Tensor:
        """As long as the threshold is unset, 0 is in its place."""
        return (self.threshold.clamp_min(0) - pre).relu()

    @torch.no_grad()
    def observe(self, codes: Codes) -> None:
        values = codes.rows().values
        if not len(values):
            return
        moved = self.threshold + self.rate * (values.min() - self.threshold)
        self.threshold.copy_(torch.where(self.threshold < 0, values.min(), moved))

    @torch.no_grad()
    def calibrate(self, pre: Tensor, wanted: float | None = None) -> None:
        """Set the threshold such that k·B of these values are above it."""
        self.threshold.copy_(_below(pre.relu(), self.k))


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

    def code(self, pre: Tensor) -> Tensor:
        return _Jump.apply(pre, self.threshold, self.bandwidth)

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

    def lack(self, pre: Tensor) -> Tensor:
        return (self.threshold.detach() - pre).relu()

    @torch.no_grad()
    def set_scale(self, scale: float) -> None:
        self.threshold.mul_(scale / self.scale)
        self.scale.fill_(scale)

    def count(self, pre: Tensor, code: Codes) -> Tensor:
        return _Step.apply(pre, self.threshold, self.bandwidth).sum(1)


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
        of_threshold = -(threshold / bandwidth) * (grad * near).sum(0)
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
        return None, -(grad * near).sum(0) / bandwidth, None


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

    def code(self, pre: Tensor) -> Tensor:
        return self._magnitude(pre) * (pre + self.gate_bias > 0)

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
        return Codes((pre + self.gate_bias).relu())

    def lack(self, pre: Tensor) -> Tensor:
        """What the gate lacks."""
        return (-pre - self.gate_bias).relu()


_ALL: tuple[type[Activation], ...] = (
    *(Identity, Sigmoid, Tanh, ReLU, Gaussian),
    *(TopK, BatchTopK, JumpReLU, Gated),
)
ACTIVATIONS = {one.kind: one for one in _ALL}

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda pre: pre,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}

OUTPUT_BOUNDS: dict[str, tuple[float, float] | None] = {
    "linear": None,
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": None,
}


def _declared(kind: str) -> dict[str, inspect.Parameter]:
    choice("activation", kind, ACTIVATIONS)
    given = inspect.signature(ACTIVATIONS[kind], eval_str=True).parameters
    return {name: given[name] for name in given if name not in ("n_latents", "dtype")}


def settings_of(kind: str) -> tuple[str, ...]:
    """The names of an activation's own settings, such as ("k",).

    Raises:
        UsageError: for an unknown activation.
    """
    return tuple(_declared(kind))


def recipe_settings() -> dict[str, type | UnionType]:
    """The keys of [model] that are settings of some activation, and their types."""
    types: dict[str, type | UnionType] = {}
    for kind, made in ACTIVATIONS.items():
        for name, given in _declared(kind).items():
            if name != made.counts:
                types[name] = types.get(name, given.annotation) | given.annotation
    return types


def stated_settings() -> dict[str, object]:
    """The settings that every recipe states, with their defaults."""
    return {
        name: _declared(kind)[name].default
        for kind, made in ACTIVATIONS.items()
        for name in made.stated
    }


def activation(
    kind: str, n_latents: int = 1, *, dtype: torch.dtype = torch.float32, **settings: object
) -> Activation:
    """The activation of that name for M latents.

    Raises:
        UsageError: for an unknown name, or a setting that it does not have.
    """
    known = settings_of(kind)
    for name in settings:
        choice(f"setting of '{kind}' codes", name, known)
    made: Callable[..., Activation] = ACTIVATIONS[kind]
    return made(n_latents, dtype=dtype, **settings)
