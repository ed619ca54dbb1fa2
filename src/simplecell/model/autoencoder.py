"""What a trainer moves: a model encodes samples and decodes codes; the autoencoder is the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, UsageError, choice
from simplecell.model.activation import Activation
from simplecell.model.activations import OUTPUTS, activation
from simplecell.model.codes import Codes
from simplecell.model.entries import Pass


class Output(NamedTuple):
    """What a forward pass gives: before the activation [B, M], the code, the reconstruction."""

    pre: Tensor
    code: Codes
    recon: Tensor
    raw: Tensor
    """The reconstruction before the output function, [B, D]: what likelihoods are made of."""
    by: Pass | None = None
    """What hands out parts of `pre` and of the dictionary, where `pre` has no history itself."""


class Model(nn.Module):
    """Encodes samples [B, D] to codes [B, M], and decodes codes; a subclass says how.

    Objective, gradient, trainer and evaluation use what stands here and nothing else.
    """

    activation: Activation
    """Of the code."""
    output: str
    """The name of `finish`, the function on what `decode_raw` gives."""
    n_outputs: int | None = None
    """D' of a transcoder, which reconstructs something else than its inputs; else None."""
    holders: int = 1
    """Processes that the latents are dealt to: those here are one's own, and M counts them."""
    ranks: Alone = ALONE
    """The processes that train it; a trainer says who they are."""

    @property
    def n_inputs(self) -> int:
        """D."""
        raise NotImplementedError

    @property
    def n_latents(self) -> int:
        """M."""
        raise NotImplementedError

    @property
    def draws_noise(self) -> bool:
        """Whether two passes in training differ."""
        return self.activation.kind == "gaussian"

    @property
    def like(self) -> Tensor:
        """A tensor of the model's precision, on its device."""
        return next(self.parameters()).detach()

    @property
    def layers(self) -> Sequence[Layer]:
        """What is initialised, from the input to the code."""
        return ()

    def upto(self, layer: int) -> Model:
        """The encoding layers up to that one, counted from 1; shared, not copied.

        Raises:
            UsageError: when there is no such layer.
        """
        if layer != 1:
            raise UsageError(f"layer {layer} does not exist: this model has one layer")
        return self

    def encode(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        """(pre, code) of x [B, D]; the generator is for activations that draw noise."""
        raise NotImplementedError

    def decode_raw(self, code: Codes) -> Tensor:
        """The reconstruction [B, D] of a code, before the output function."""
        raise NotImplementedError

    def finish(self, raw: Tensor) -> Tensor:
        """The output function, on what `decode_raw` gives."""
        return OUTPUTS[self.output](raw)

    def decode(self, code: Codes) -> Tensor:
        """The reconstruction [B, D] of a code."""
        return self.finish(self.decode_raw(code))

    def forward(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> Output:
        """(pre, code, recon, raw) of x [B, D]; changes nothing."""
        pre, code = self.encode(x, training=training, generator=generator)
        raw = self.decode_raw(code)
        return Output(pre, code, self.finish(raw), raw)

    def matrices(self) -> list[Tensor]:
        """The parameters that weight decay acts on: matrices, never biases."""
        return [p for p in self.parameters() if p.ndim > 1]

    def directions(self) -> Tensor:
        """The input of unit length that excites each latent most, [M, D] (up to length)."""
        raise NotImplementedError

    @torch.no_grad()
    def atoms(self) -> Tensor:
        """What a code of 1 for each latent alone adds before the output function, [M, D]."""
        ones = torch.eye(self.n_latents, dtype=self.like.dtype, device=self.like.device)
        return self.decode_raw(Codes(ones)) - self.decode_raw(Codes(torch.zeros_like(ones[:1])))

    def weights(self) -> dict[str, Tensor]:
        """Everything that was learned, by the names that files use."""
        return self.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """The weights as files take them: without history, on the CPU, contiguous."""
        return {name: w.detach().cpu().contiguous() for name, w in self.weights().items()}

    def check_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise DataError unless every weight is among them, in its shape."""
        for name, mine in self.weights().items():
            theirs = tensors.get(name)
            if theirs is None or theirs.shape != mine.shape:
                found = "missing" if theirs is None else f"of shape {tuple(theirs.shape)}"
                raise DataError(f"weights: '{name}' is {found}; needed {tuple(mine.shape)}")
        if strange := sorted(set(tensors) - set(self.weights())):
            raise DataError(f"weights: '{strange[0]}' belongs to no part of this model")

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights that `tensors` gave.

        Raises:
            DataError: if one is missing or has another shape.
        """
        self.check_tensors(tensors)
        for name in self.weights():
            self._take(name, tensors[name])

    def _take(self, name: str, tensor: Tensor) -> None:
        self.state_dict()[name].copy_(tensor)

    def check_width(self, x: Tensor) -> None:
        """Raise DataError unless x is [B, D]."""
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise DataError(
                f"x has {x.shape[-1]} inputs per sample, but this model was built for "
                f"{self.n_inputs}; x.shape is {tuple(x.shape)}"
            )


class Layer(Model):
    """The encoding half: `code = activation((x − center) @ encoder.T + bias)`.

    Args:
        n_inputs: D, inputs per sample.
        n_latents: M.
        activation: a name of `ACTIVATIONS`; "gaussian" needs two rows a latent: first come all
            means, then all logarithms of variances. "gated" codes have biases of their own.
        dtype: torch.float32 or torch.float64.
        holders: processes that the latents are dealt to; this model has its share of the M.
        settings: of the activation, such as k=32 for "topk".

    Weights are zero until `optim.initialise`; `center` is 0 until `set_center`, and not trained.

    Raises:
        UsageError: unknown names, or sizes that are not positive.
    """

    centred = False
    """Whether a center is subtracted."""

    def __init__(
        self,
        n_inputs: int,
        n_latents: int,
        *,
        activation: str = "sigmoid",
        dtype: torch.dtype = torch.float32,
        holders: int = 1,
        **settings: object,
    ) -> None:
        super().__init__()
        if n_inputs < 1 or n_latents < 1:
            raise UsageError(
                f"an autoencoder needs at least one input and one latent; "
                f"got n_inputs={n_inputs}, n_latents={n_latents}"
            )
        if n_latents % holders:
            raise UsageError(
                f"{n_latents} latents cannot be dealt to {holders} processes, as many to each; "
                f"take {-(-n_latents // holders) * holders}, or another number of processes"
            )
        self.holders = holders
        self.activation = _activation(activation, n_latents, dtype=dtype, **settings)
        rows = n_latents // holders * self.activation.pre_per_latent
        self.encoder = nn.Parameter(torch.zeros(rows, n_inputs, dtype=dtype))
        if not self.activation.owns_bias:
            self.bias = nn.Parameter(torch.zeros(rows, dtype=dtype))
        self.register_buffer("_center", torch.zeros(n_inputs, dtype=dtype))

    @property
    def n_inputs(self) -> int:
        return self.encoder.shape[1]

    @property
    def n_latents(self) -> int:
        return self.encoder.shape[0] // self.activation.pre_per_latent

    @property
    def center(self) -> Tensor:
        """What is subtracted before the encoder, [D]."""
        return self.get_buffer("_center")

    def set_center(self, center: Tensor) -> None:
        """Fix what is subtracted before the encoder: a mean [D], which training leaves alone."""
        self.get_buffer("_center").copy_(center)
        self.centred = self.centred or bool(center.any())

    @property
    def layers(self) -> Sequence[Layer]:
        return (self,)

    def encode(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        self.check_width(x)
        pre = self.projected(self.centered(x))
        return pre, self.activation(pre, training=training, generator=generator)

    def projected(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`x @ encoder.T + bias` of what `centered` gave, [B, M]; in `out` if there is one."""
        # addmm copies the bias into every row beforehand, which costs up to a third of the product.
        pre = torch.mm(x, self.encoder.T, out=out)
        return pre if self.activation.owns_bias else pre.add_(self.bias)

    def centered(self, x: Tensor) -> Tensor:
        """What the encoder sees of x [B, D]."""
        return x - self.center if self.centred else x

    def directions(self) -> Tensor:
        """Encoder rows: they need only be brought to unit length.

        Source: UFLDL, Visualizing a trained autoencoder. Exact.
        """
        return self.encoder.detach()[: self.n_latents]

    def weights(self) -> dict[str, Tensor]:
        biases = {} if self.activation.owns_bias else {"bias": self.bias}
        return {
            "encoder": self.encoder,
            **biases,
            "center": self.center,
            **self.activation.weights(),
        }

    def _take(self, name: str, tensor: Tensor) -> None:
        if name == "center":
            self.set_center(tensor)
        elif name in (own := self.activation.weights()):
            own[name].copy_(tensor)
        else:
            getattr(self, name).copy_(tensor)


class Autoencoder(Layer):
    """One hidden layer; rows of both matrices belong to latents.

    `code = activation((x − center) @ encoder.T + bias)`,
    `recon = output(code @ decoder + offset)`.

    Args:
        n_inputs: D, inputs per sample.
        n_latents: M.
        activation: a name of `ACTIVATIONS`.
        output: a name of `OUTPUTS`: "sigmoid", "tanh", "linear" or "relu".
        tied: one matrix for both directions, `decoder = encoder`.
        pre_bias: subtract `offset` before the encoder (`center` *is* `offset`); off in the
            classic rows, where center is fixed: one vector for both costs edge detectors.
        n_outputs: inputs of what is reconstructed, where that is not the sample itself (a
            transcoder); D unless given.
        dtype: torch.float32 or torch.float64.
        holders: processes that the latents are dealt to; this model has its share of the M.
        settings: of the activation, such as k=32 for "topk".

    Weights are zero until `optim.initialise`. Source: UFLDL, Autoencoders and sparsity. Exact.

    Raises:
        UsageError: unknown names, or sizes that are not positive.
    """

    def __init__(
        self,
        n_inputs: int,
        n_latents: int,
        *,
        activation: str = "sigmoid",
        output: str = "sigmoid",
        tied: bool = False,
        pre_bias: bool = False,
        n_outputs: int | None = None,
        dtype: torch.dtype = torch.float32,
        holders: int = 1,
        **settings: object,
    ) -> None:
        choice("output", output, OUTPUTS)
        super().__init__(
            n_inputs, n_latents, activation=activation, dtype=dtype, holders=holders, **settings
        )
        if n_outputs is not None and (tied or pre_bias):
            raise UsageError(
                "a transcoder reconstructs something else than its inputs, so that neither "
                "tied nor pre_bias has a meaning; leave them out"
            )
        self.n_outputs, n_outputs = n_outputs, n_outputs or n_inputs
        if tied and self.activation.pre_per_latent > 1:
            raise UsageError(
                f"a tied model has one row a latent, but '{activation}' codes need "
                f"{self.activation.pre_per_latent}; use tied=False"
            )
        self.output, self.tied, self.pre_bias = output, tied, pre_bias
        if not tied:
            self._decoder = nn.Parameter(torch.zeros(n_latents // holders, n_outputs, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(n_outputs, dtype=dtype))

    @property
    def decoder(self) -> nn.Parameter:
        """The dictionary [M, D]; the encoder itself when tied."""
        return self.encoder if self.tied else self._decoder

    @property
    def center(self) -> Tensor:
        """What is subtracted before the encoder, [D]."""
        return self.offset if self.pre_bias else super().center

    def centered(self, x: Tensor) -> Tensor:
        return super().centered(x - self.offset if self.pre_bias else x)

    def decode_raw(self, code: Codes) -> Tensor:
        return self.ranks.total(code.decode(self.decoder)) + self.ranks.once(self.offset)

    def matrices(self) -> list[Tensor]:
        """Encoder and decoder; a tied matrix is decayed once."""
        return [self.encoder] if self.tied else [self.encoder, self.decoder]

    def atoms(self) -> Tensor:
        """The dictionary."""
        return self.decoder.detach()

    def weights(self) -> dict[str, Tensor]:
        """A tied decoder is left out, and so is a center that is the offset."""
        kept = {**super().weights(), "offset": self.offset}
        if self.pre_bias:
            del kept["center"]
        return kept if self.tied else {**kept, "decoder": self.decoder}


_activation = activation
