"""A trained model as other libraries hold one: two matrices and two biases in the user's units.

They know no preparation, so it is folded in, exactly: with `x′(x)` the prepared sample, T its
matrix and c the center, for any z

    pre = encoder (x′(x) − c) + bias  =  (encoder T) (x − z) + [bias + encoder (x′(z) − c)]

and what the decoder gives is brought back by the inverse of the preparation. Codes and thresholds
stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.autoencoder import Autoencoder
from simplecell.preprocess.chain import Preprocess
from simplecell.run.trained import Trained

PER_SAMPLE = ("remove_dc", "patch_range")
HELD = ("relu", "topk", "abstopk", "batchtopk", "jumprelu", "gated")


@dataclass(frozen=True)
class Plain:
    """A model without a preparation, in float64; M latents, D inputs, D' outputs."""

    encoder: Tensor
    """[M, D]."""
    decoder: Tensor
    """[M, D']."""
    offset: Tensor
    """[D']."""
    activation: Activation
    transcoder: bool
    subtracts: bool
    """Whether its encoder subtracts the offset by itself, rather than nothing."""
    dtype: torch.dtype
    """Of the weights as they were trained."""
    lost: list[str]
    """What the model and its preparation have, and a plain model has not."""
    _raw: tuple[Tensor, Tensor, Tensor, Preprocess]

    @property
    def k(self) -> float | None:
        """Latents kept a sample, of codes that count them."""
        k: float | None = getattr(self.activation, "k", None)
        return k

    def shift_at(self, z: Tensor) -> Tensor:
        """What `encoder (x − z)` lacks of the model's own product, [M]."""
        encoder, _, center, preprocess = self._raw
        return (preprocess.apply(z[None]).x[0] - center) @ encoder.T

    def bias_at(self, z: Tensor) -> Tensor:
        """The bias [M] of an encoder that subtracts z [D] from its samples."""
        return self._raw[1] + self.shift_at(z)


@torch.no_grad()
def plain(trained: Trained, library: str) -> Plain:
    """The model that `library` can hold.

    Raises:
        UsageError: for what no other library has: deep networks, bounded codes or outputs, steps
            that look at each sample.
    """
    model = trained.model
    _check(trained, library)
    assert isinstance(model, Autoencoder)
    encoder, decoder, offset, center = (
        t.detach().cpu().double()
        for t in (model.encoder, model.decoder, model.offset, model.center)
    )
    bias = torch.zeros(model.n_latents, dtype=torch.float64)
    if not model.activation.owns_bias:
        bias = model.bias.detach().cpu().double()
    before, after = trained.preprocess, trained.recon_preprocess
    transcoder = trained.target_preprocess is not None
    zero = torch.zeros(before.n_inputs, dtype=torch.float64)
    untouched = not bool((before.apply(zero[None]).x[0] - center).any())
    return Plain(
        encoder=before.pixels(encoder),
        decoder=after.atoms(decoder),
        offset=after.invert(offset[None])[0],
        activation=model.activation,
        transcoder=transcoder,
        subtracts=not (transcoder or (untouched and not model.pre_bias)),
        dtype=model.like.dtype,
        lost=_lost(trained),
        _raw=(encoder, bias, center, before),
    )


def _check(trained: Trained, library: str) -> None:
    model = trained.model
    if not isinstance(model, Autoencoder):
        raise UsageError(f"{library} holds models of one layer, and this one is deep")
    if model.activation.kind not in HELD:
        raise UsageError(
            f"{library} holds sparse codes ({', '.join(HELD)}), and this model has "
            f"{model.activation.kind} codes; --to onnx takes any"
        )
    if model.output != "linear":
        raise UsageError(
            f"{library} holds linear reconstructions, and this model's output is {model.output}"
        )
    chains = [trained.preprocess, trained.recon_preprocess]
    steps = [step["kind"] for chain in chains for step in chain.steps]
    if odd := [step for step in steps if step in PER_SAMPLE]:
        raise UsageError(
            f"{library} knows no preparation, and '{odd[0]}' looks at each sample, so that it "
            "cannot be folded into the weights; prepare samples before training (preprocess "
            "without it)"
        )


def _lost(trained: Trained) -> list[str]:
    """What is left behind, in sentences."""
    recipe, info, lost = trained.recipe, trained.info, []
    steps = ", ".join(str(step["kind"]) for step in trained.preprocess.steps)
    if steps:
        lost.append(f"preparation ({steps}): folded into the weights, which are in raw units now")
    if trained.input_names:
        lost.append("names of the inputs")
    if info["data"]["columns"] is not None:
        lost.append("how columns of a table become numbers: give numbers")
    if info["data"]["kind"] == "patches" or recipe.data.whiten != "none":
        lost.append("how patches are cut and whitened: give rows that are")
    if "nested" in recipe.objective:
        lost.append(f"Matryoshka's widths {recipe.objective['nested']['widths']}")
    if trained.model.activation.kind == "batchtopk":
        lost.append("k of BatchTopK: its threshold decides, as in use here")
    return lost if info["figures"] is None else [*lost, "recipe, log and figures of the training"]
