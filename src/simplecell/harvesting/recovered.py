"""Loss recovered: how much of what a layer is worth to a model its reconstruction keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from simplecell.errors import DataError, UsageError, unknown
from simplecell.harvesting.activations import Activations
from simplecell.harvesting.inputs import Call, Given, run
from simplecell.harvesting.listening import evaluating
from simplecell.harvesting.rows import Picking
from simplecell.harvesting.splicing import attach, module_of

Loss = Callable[[Any, Any], Tensor]
"""The mean loss of a batch, from the model's output and the batch."""
COSINE = "cosine"


class Recovered(NamedTuple):
    """Mean losses over all samples, and how much the reconstruction recovers."""

    recovered: float
    """A fraction: 1 is as good as the layer itself, 0 as bad as its mean; may be negative."""
    loss: float
    spliced: float
    """With the reconstruction in the place of the layer's output, without its error."""
    ablated: float
    """With the mean of the layer's output in its place."""
    n_samples: int


def loss_recovered(
    model: nn.Module,
    layer: str,
    sae: Any,
    inputs: Any,
    loss: Loss | str | None = None,
    *,
    batch_size: int = 32,
    mask: object = None,
    axis: int | None = None,
    sample_axis: int | None = None,
    call: Call | None = None,
) -> Recovered:
    """Loss recovered where a dictionary's reconstruction takes the place of a layer's output.

    `(ablated − spliced) / (ablated − loss)`. Ablation puts the mean over all rows that are no
    padding, at every position. Source: Rajamanoharan et al. 2024a, 2.3. Differs: the mean where
    they put zero, which no model has seen.

    Args:
        layer, inputs, batch_size, mask, axis, sample_axis, call: as in `activations`; inputs are
            gone through twice.
        sae: as in `attach`.
        loss: the mean loss of a batch, `loss(output, batch)`; None: the output's own `loss`. For a
            model without a loss "cosine", or "cosine:PATH" into its output: 1 − the cosine of what
            it gives for a sample and of what it gives without splicing, which has a loss of 0.

    Raises:
        UsageError: as `attach`; where there is no loss; and for inputs that can be read only once.
        DataError: where the mean in its place loses nothing, so that nothing can be recovered.
    """
    if _once(inputs):
        raise UsageError(
            "the inputs can be read only once, and loss_recovered goes through them twice; give a "
            "list, an array or a DataLoader"
        )
    picking = Picking(axis=axis, sample_axis=sample_axis)
    running = Activations(
        model, layer, inputs, batch_size=batch_size, picking=picking, mask=mask, call=call
    )
    module, told = module_of(sae, model), {"axis": axis, "sample_axis": sample_axis}
    mean = _Mean(_mean_of(running))
    sums, n = torch.zeros(3, dtype=torch.float64), 0
    for given in running.inputs.batches(model):
        size = _size(given)
        with evaluating(model):
            plain = run(model, given, call)
            judge = _distance_from(plain, loss) if isinstance(loss, str) else loss
            sums[0] += size * _loss_of(plain, given, judge)
            for k, dictionary in enumerate((module, mean), 1):
                with attach(model, layer, dictionary, error=False, **told):
                    output = run(model, given, call)
                sums[k] += size * _loss_of(output, given, judge)
        n += size
    whole, spliced, ablated = (sums / n).tolist()
    if not abs(ablated - whole) > 1e-12 * max(1.0, abs(whole)):
        raise DataError(
            f"the loss is {whole:.6g} with the mean in the place of layer '{layer}' as without, so "
            "nothing can be recovered; choose a layer that the loss depends on"
        )
    return Recovered((ablated - spliced) / (ablated - whole), whole, spliced, ablated, n)


class _Mean(nn.Module):
    """A dictionary whose reconstruction is always the same."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.mean = mean

    def encode(self, x: Tensor) -> Tensor:
        return x[..., :0]

    def decode(self, codes: Tensor) -> Tensor:
        return self.mean.to(codes).expand(*codes.shape[:-1], -1)


def _mean_of(running: Activations) -> Tensor:
    """The mean [D] of all rows, in float64."""
    total, n = torch.zeros(()), 0
    for batch in running:
        total = total + batch.x.double().sum(0)
        n += len(batch.x)
    return total / n


def _size(given: Given) -> int:
    """Samples of a batch, by its first axis."""
    if given.mask is not None:
        return len(given.mask)
    return (given.leading or (1,))[0]


def _loss_of(output: Any, given: Given, loss: Loss | None) -> float:
    if loss is not None:
        return _number(loss(output, given.batch))
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if own is None:
        raise UsageError(
            "the model's output has no loss of its own; give loss=, a function of (output, batch)"
        )
    return _number(own)


def _distance_from(plain: Any, loss: str) -> Loss:
    """How far an output is from a model's own, as `loss` says."""
    kind, _, path = loss.partition(":")
    if kind != COSINE:
        raise unknown("loss", kind, [COSINE])
    own = _at(plain, path)

    def distance(output: Any, batch: Any) -> Tensor:
        return 1 - nn.functional.cosine_similarity(_at(output, path), own).mean()

    return distance


def _at(output: Any, path: str) -> Tensor:
    """What an output says of each sample, [B, D]."""
    found = output
    for key in path.split(".") if path else ():
        try:
            found = found[key] if isinstance(found, Mapping) else found[int(key)]
        except (LookupError, ValueError, TypeError):
            has = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise UsageError(
                f"the model's output has no '{path}' (it has {has}); say loss='{COSINE}:PATH' of a "
                "tensor with a row a sample"
            ) from None
    if not isinstance(found, Tensor) or found.ndim < 2:
        raise UsageError(
            f"the model's output{f' {path!r}' if path else ''} is a {type(found).__name__}; say "
            f"loss='{COSINE}:PATH' of a tensor with a row a sample"
        )
    return found.double().flatten(1)


def _number(loss: Any) -> float:
    """A loss as a number. Raises UsageError for several, or none."""
    shape = tuple(getattr(loss, "shape", ()))
    if not isinstance(loss, Tensor | float | int) and not hasattr(loss, "__float__"):
        raise UsageError(f"the loss is a {type(loss).__name__}; one number a batch is needed")
    if shape and torch.Size(shape).numel() != 1:
        raise UsageError(
            f"the loss has the shape {shape}; one number a batch is needed: its mean, say"
        )
    return float(loss)


def _once(inputs: object) -> bool:
    """Whether inputs are an iterator, which ends for good."""
    return isinstance(inputs, Iterator)
