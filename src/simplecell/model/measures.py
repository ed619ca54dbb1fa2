"""One pure function per formula: what training minimises and what reports print.

Shapes: B samples, D inputs, M latents. Nothing here changes its arguments.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus

from simplecell.distributed import ALONE, Alone

DENSITY_EDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Where a bin of `density_histogram` ends and the next begins."""
_ATOMS_AT_ONCE = 2048


class LogMean(NamedTuple):
    """Logarithms of the average activation ρ̂ and of 1 − ρ̂, each [M].

    Kept as logarithms because a float32 ρ̂ rounds to 0 or 1 long before the latent is beyond
    saving.
    """

    log_mean: Tensor
    log_complement: Tensor

    @property
    def mean(self) -> Tensor:
        """Average activation ρ̂, *fraction 0–1*, [M]."""
        return self.log_mean.exp()


def squared_error(recon: Tensor, target: Tensor) -> Tensor:
    """`(1/B) Σ_i ‖recon_i − target_i‖²`: sum over inputs, mean over samples, *input unit squared*.

    The notes' data term is half of it. Source: UFLDL, Autoencoders and sparsity. Exact.
    """
    return (recon - target).square().sum(1).mean()


def residual_share(recon: Tensor, error: Tensor, ranks: Alone = ALONE) -> Tensor:
    """`‖error − recon‖² / ‖error − mean error‖²` over a batch, [B, D] both; 0 for no error.

    What is left of a residual that something else tries to reconstruct. Batch-level: the mean is
    that of the B samples. Of a batch that processes share it is one's own part of the numerator
    over the whole denominator: these add up. Source: Gao et al. 2024, appendix A.2. Exact.
    """
    left = (error - recon).square().sum()
    total = ranks.sum((error - ranks.mean(error)).square().sum())
    # The gradient must not divide by 0 either, which nan_to_num would leave it to.
    return torch.where(total > 0, left / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)


def squared_weights(*matrices: Tensor) -> Tensor:
    """`Σ w²` over all entries of the given matrices; the notes' weight decay is λ/2 times it.

    Biases are not decayed. Source: UFLDL, Backpropagation algorithm. Exact.
    """
    return sum(
        (torch.dot(m.reshape(-1), m.reshape(-1)) for m in matrices), matrices[0].new_zeros(())
    )


def cross_entropy(raw: Tensor, target: Tensor) -> Tensor:
    """`−(1/B) Σ_i Σ_d t log σ(raw) + (1 − t) log(1 − σ(raw))`: sum over inputs, *nats*.

    From logits: `softplus(raw) − t · raw`, whose gradient `σ(raw) − t` never vanishes by rounding.
    Source: Hinton & Salakhutdinov 2006. Exact.
    """
    return (softplus(raw) - target * raw).sum(1).mean()


def softmax_entropy(raw: Tensor, target: Tensor) -> Tensor:
    """`−(1/B) Σ_i Σ_j t_ij log softmax(raw_i)_j`, *nats*; t is one-hot or a distribution.

    Source: UFLDL, Softmax regression. Exact.
    """
    return -(target * log_softmax(raw, dim=1)).sum(1).mean()


def kl_gaussian(mean: Tensor, log_variance: Tensor) -> Tensor:
    """`KL(N(μ, σ²) ‖ N(0, I)) = −½ Σ_j (1 + log σ² − μ² − σ²)`, mean over samples, *nats*.

    Source: Kingma & Welling 2013, appendix B. Exact.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


def average_activation(pre: Tensor, gain: float) -> LogMean:
    """ρ̂ of latents whose code, mapped to [0, 1], is `sigmoid(gain · pre)`; pre is [B, M].

    gain is 1 for sigmoid codes and 2 for tanh codes, since (1 + tanh z)/2 = σ(2z): the mapped
    range and the factor ½ in the gradient follow by themselves. Computed from log-sigmoids: with
    every pre at ±200 in float32 the value is finite and the gradient is not zero.

    Source: UFLDL, Autoencoders and sparsity. Exact for sigmoid; the notes leave tanh open.
    """
    scaled = gain * pre
    return LogMean(_log_mean_exp(logsigmoid(scaled)), _log_mean_exp(logsigmoid(-scaled)))


def _log_mean_exp(logs: Tensor) -> Tensor:
    """`log mean exp` over samples; subtracting log B from a logsumexp would cancel digits."""
    top = logs.detach().amax(0)
    return top + (logs - top).exp().mean(0).log()


def merge_means(first: LogMean, second: LogMean, share: float) -> LogMean:
    """The average activation of two groups of samples; `share` (0–1) is the second's weight."""
    if share >= 1:
        return second
    keep, add = float(np.log1p(-share)), float(np.log(share))
    return LogMean(
        torch.logaddexp(first.log_mean + keep, second.log_mean + add),
        torch.logaddexp(first.log_complement + keep, second.log_complement + add),
    )


def kl_sparsity(target: ArrayLike, average: LogMean) -> Tensor:
    """`ρ log(ρ/ρ̂) + (1 − ρ) log((1 − ρ)/(1 − ρ̂))` of each latent, *nats*, [M].

    Zero where ρ̂ = ρ and infinite at 0 and 1. The notes sum it over the latents.

    Source: UFLDL, Autoencoders and sparsity. Exact.
    """
    rho: Any = target if isinstance(target, float) else torch.as_tensor(np.asarray(target, float))
    entropy = _plogp(rho) + _plogp(1 - rho)
    return entropy - rho * average.log_mean - (1 - rho) * average.log_complement


def _plogp(p: Any) -> Any:
    if isinstance(p, float):  # an order of magnitude faster than an array of one number
        return p * math.log(p) if p else 0.0
    return torch.xlogy(p, p)


def kl_bernoulli(p: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """KL(p‖q) of two Bernoulli variables, elementwise, *nats*; q strictly between 0 and 1.

    It is neither symmetric nor a metric.

    >>> [round(float(kl_bernoulli(p, q)), 4) for p, q in [(0.2, 0.4), (0.4, 0.2), (0.5, 0.5)]]
    [0.0915, 0.1046, 0.0]
    """
    q_log, q_complement = np.log(np.asarray(q, float)), np.log1p(-np.asarray(q, float))
    average = LogMean(torch.as_tensor(q_log), torch.as_tensor(q_complement))
    divergence = kl_sparsity(p, average)
    return np.maximum(divergence.numpy(), 0.0)


def fvu(squared_errors: float, squared_deviations: float) -> float:
    """Fraction of variance unexplained: `Σ‖x − recon‖² / Σ‖x − mean x‖²`; 0 perfect, 1 as the mean.

    Both are sums over samples and inputs. Data that never vary have no variance to explain:
    0 when reproduced exactly, otherwise infinity.
    """
    if squared_deviations > 0:
        return squared_errors / squared_deviations
    return 0.0 if squared_errors == 0 else float("inf")


NOISE = 1e-30
"""Variance, as a share of the mean square, that is but the rounding of sums in float64."""
EXACT = 1e-12
"""Squared error, as a share of the mean square, up to which float32 reproduces exactly."""


def explained(
    squared_errors: float, squared_deviations: float, squares: float, numbers: int
) -> float:
    """Fraction of variance explained, 1 − fvu; finite for every data, as scikit-learn's r2_score.

    Data that never vary have none to explain: 1 where they are reproduced exactly, up to rounding,
    else 0. `squares` is `Σ x²` over samples and inputs, `numbers` how many numbers these are: of
    data that are 0 throughout the error is held against 1.
    """
    if squared_deviations > NOISE * squares:
        return 1 - squared_errors / squared_deviations
    return 1.0 if squared_errors <= EXACT * (squares or numbers) else 0.0


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of every row of [M, D] with every row of [N, D]: [M, N]; 0 for a zero row."""
    tiny = torch.finfo(first.dtype).tiny
    norms = [rows.norm(dim=1, keepdim=True).clamp_min(tiny) for rows in (first, second)]
    return (first / norms[0]) @ (second / norms[1]).T


def edge_coherence(filters: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How much each filter [M, D] is an edge: structure-tensor coherence, *fraction 0–1*, [M].

    `√((Jxx − Jyy)² + 4 Jxy²) / (Jxx + Jyy)`, J summed over the whole patch (and its channels):
    1 when all gradients share one orientation. White noise stays below 0.30 (8×8) and 0.25
    (10×10) in 95 % of cases. A flat filter gives 0.

    Source: Bigün & Granlund 1987, structure tensor. Exact.
    """
    jxx, jyy, jxy = _structure(filters, shape)
    total = jxx + jyy
    along = np.sqrt((jxx - jyy) ** 2 + 4 * jxy**2)
    return np.divide(along, total, out=np.zeros_like(total), where=total > 0)


def edge_orientation(filters: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The direction that the edge of each filter [M, D] runs in, *degrees from vertical*, [M].

    0 is vertical, ±90 horizontal, positive leaning to the right at the top ("/"):
    `½ atan2(2 Jxy, Jxx − Jyy)` of the structure tensor is across the edge. Of noise it says
    nothing: ask `edge_coherence` first. Source: Bigün & Granlund 1987, structure tensor. Exact.
    """
    jxx, jyy, jxy = _structure(filters, shape)
    return np.degrees(np.arctan2(2 * jxy, jxx - jyy) / 2)


def _structure(filters: NDArray[Any], shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """(Jxx, Jyy, Jxy) of each filter, [M] each, over the whole patch and its channels."""
    pictures = np.asarray(filters, float).reshape(len(filters), *shape)
    down, right = np.gradient(pictures, axis=(1, 2))
    axes = tuple(range(1, pictures.ndim))
    return (right**2).sum(axes), (down**2).sum(axes), (right * down).sum(axes)


def coherence(atoms: Tensor) -> Tensor:
    """`max_{j ≠ i} |cos(atom_i, atom_j)|` of each atom of [M, D], *0–1*, [M].

    1 where another atom is the same up to length and sign, 0 for a single atom or one of zeros.
    In blocks: no matrix of M × M is made.

    Source: Donoho & Huo 2001, mutual coherence. Differs: kept for each atom; theirs is the largest.
    """
    best = atoms.new_zeros(len(atoms))
    starts = range(0, len(atoms), _ATOMS_AT_ONCE)
    for i, j in itertools.combinations_with_replacement(starts, 2):
        mine, theirs = slice(i, i + _ATOMS_AT_ONCE), slice(j, j + _ATOMS_AT_ONCE)
        block = cosines(atoms[mine], atoms[theirs]).abs()
        if i == j:
            block.fill_diagonal_(0)
        best[mine] = torch.maximum(best[mine], block.amax(1))
        best[theirs] = torch.maximum(best[theirs], block.amax(0))
    return best.clamp_max(1)


def density_histogram(density: NDArray[np.float64]) -> NDArray[np.int64]:
    """Latents in each of 7 bins of density, *counts*, from densities [M], *fraction 0–1*.

    Density 0 (dead); above 0 and below 1e-5; then a bin for each power of ten, from its lower edge
    up to the next: 1e-5, 1e-4, 1e-3, 1e-2, and 0.1 to 1 with both ends. Bins are powers of ten as
    in Bricken et al. 2023; the edges are ours.
    """
    bins = np.where(density > 0, 1 + np.searchsorted(DENSITY_EDGES, density, side="right"), 0)
    return np.bincount(bins, minlength=len(DENSITY_EDGES) + 2)
