"""Networks of several layers: autoencoders one inside the other, classifiers, any two modules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from simplecell.errors import UsageError, choice
from simplecell.model.activation import Activation
from simplecell.model.activations import OUTPUTS, activation, settings_of
from simplecell.model.autoencoder import Autoencoder, Layer, Model
from simplecell.model.codes import Codes


class Network(Model):
    """Encoding layers, one on the other: `code = f_n(… f_1(x))`.

    Args:
        layers: from the input to the code; each as wide as the code of the one before.

    Raises:
        UsageError: for no layers, or widths that do not fit.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        if not layers:
            raise UsageError("a network of layers needs at least one")
        for below, above in itertools.pairwise(layers):
            if above.n_inputs != below.n_latents:
                raise UsageError(
                    f"a layer with {above.n_inputs} inputs cannot stand on one with "
                    f"{below.n_latents} latents"
                )
        self.stack = nn.ModuleList(layers)

    @property
    def layers(self) -> Sequence[Layer]:
        return [layer for layer in self.stack if isinstance(layer, Layer)]

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        """Of the innermost code."""
        return self.layers[-1].activation

    @property
    def n_inputs(self) -> int:
        return self.layers[0].n_inputs

    @property
    def n_latents(self) -> int:
        return self.layers[-1].n_latents

    def encode(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        self.check_width(x)
        for layer in self.layers:
            pre, code = layer.encode(x, training=training, generator=generator)
            x = code.dense
        return pre, code

    def upto(self, layer: int) -> Model:
        layers = self.layers
        if not 1 <= layer <= len(layers):
            raise UsageError(
                f"layer {layer} does not exist: layers are counted from 1 to {len(layers)}"
            )
        return layers[0] if layer == 1 else Network(layers[:layer])

    def directions(self) -> Tensor:
        return exciting(self)

    def weights(self) -> dict[str, Tensor]:
        """Those of each layer, behind its number: "0.encoder" …"""
        return {
            f"{k}.{name}": weight
            for k, layer in enumerate(self.layers)
            for name, weight in layer.weights().items()
        }

    def _take(self, name: str, tensor: Tensor) -> None:
        number, _, own = name.partition(".")
        self.layers[int(number)]._take(own, tensor)


class DeepAutoencoder(Network):
    """Autoencoders one inside the other: each encodes the code of the one before.

    `code = f_n(… f_1(x))`, `recon = g_1(… g_n(code))`, f and g the two directions of each layer.
    Layers trained one by one become one network just by standing here: unrolled, in the notes'
    word. Source: UFLDL, Stacked autoencoders. Exact.
    """

    def __init__(self, layers: Sequence[Autoencoder]) -> None:
        super().__init__(layers)
        self.output = layers[0].output

    @classmethod
    def of_sizes(
        cls,
        n_inputs: int,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "sigmoid",
        output: str = "sigmoid",
        tied: bool = False,
        dtype: torch.dtype = torch.float32,
        **settings: object,
    ) -> DeepAutoencoder:
        """A network with layers of `sizes` latents, weights zero until `optim.initialise`.

        `activation` is one name for all layers, or one for each. The output of each layer is what
        reconstructs the codes below it; `output` is that of the whole. `settings` are of those
        activations that have them.
        """
        kinds = [activation] * len(sizes) if isinstance(activation, str) else list(activation)
        if len(kinds) != len(sizes):
            raise UsageError(
                f"{len(kinds)} activations ({', '.join(map(str, kinds))}) for {len(sizes)} "
                "layers; give activation one name for all, or a list with one for each layer"
            )
        layers: list[Autoencoder] = []
        for size, kind in zip(sizes, kinds, strict=True):
            below = layers[-1] if layers else None
            layer = Autoencoder(
                n_inputs if below is None else below.n_latents,
                size,
                activation=kind,
                output=output if below is None else below.activation.output or "linear",
                tied=tied,
                pre_bias=False,
                n_outputs=None,
                dtype=dtype,
                holders=1,
                **{name: settings[name] for name in settings_of(kind) if name in settings},
            )
            layers.append(layer)
        return cls(layers)

    @property
    def layers(self) -> Sequence[Autoencoder]:
        return [layer for layer in self.stack if isinstance(layer, Autoencoder)]

    def decode_raw(self, code: Codes) -> Tensor:
        for layer in reversed(self.layers[1:]):
            code = Codes(layer.decode(code))
        return self.layers[0].decode_raw(code)


class Classifier(Network):
    """Encoding layers and a softmax over classes: `P(j | x) = softmax(code @ decoder + offset)_j`.

    Weight decay acts on the softmax weights alone, in the cost and in the gradient alike. The
    official text leaves open which weights are decayed in fine-tuning: this is its common reading.
    Source: UFLDL, Fine-tuning stacked autoencoders. Exact.

    Args:
        layers: from the input to the code.
        n_classes: K.
    """

    output = "softmax"

    def __init__(self, layers: Sequence[Layer], n_classes: int) -> None:
        super().__init__(layers)
        like = layers[-1].like
        self.decoder = nn.Parameter(like.new_zeros(layers[-1].n_latents, n_classes))
        self.offset = nn.Parameter(like.new_zeros(n_classes))

    def decode_raw(self, code: Codes) -> Tensor:
        """Logits [B, K]."""
        return code.decode(self.decoder) + self.offset

    def finish(self, raw: Tensor) -> Tensor:
        """Class probabilities [B, K]."""
        return torch.softmax(raw, dim=1)

    def matrices(self) -> list[Tensor]:
        """The softmax weights."""
        return [self.decoder]

    def weights(self) -> dict[str, Tensor]:
        """Those of each layer, behind its number, and the softmax's `decoder` and `offset`."""
        return {**super().weights(), "decoder": self.decoder, "offset": self.offset}

    def _take(self, name: str, tensor: Tensor) -> None:
        if "." in name:
            super()._take(name, tensor)
        else:
            getattr(self, name).copy_(tensor)


class ModulePair(Model):
    """Any two torch modules as encoder and decoder: objective and trainer take them as they are.

    `code = activation(encoder(x))`, `recon = output(decoder(code))`. `encode` gives the code,
    `forward(x).recon` the reconstruction. Weights are the modules' own; decay acts on all that
    have two axes or more. Modules that draw noise themselves (dropout) need "adam"; they take it
    from torch's global generator, so that their training cannot be resumed bit for bit.

    Args:
        encoder: [B, D] → [B, M]; decoder: [B, M] → [B, D].
        n_inputs: D.
        activation: on what the encoder gives; a bounded one if KL sparsity is wanted.
        output: on what the decoder gives: a name of `OUTPUTS`.

    Raises:
        UsageError: when the two do not fit together.

    >>> from torch import nn
    >>> pair = ModulePair(nn.Linear(6, 3), nn.Linear(3, 6), n_inputs=6, activation="sigmoid")
    >>> pair(torch.zeros(2, 6)).recon.shape
    torch.Size([2, 6])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        n_inputs: int,
        activation: str = "identity",
        output: str = "linear",
    ) -> None:
        super().__init__()
        choice("output", output, OUTPUTS)
        self.encoder, self.decoder = encoder, decoder
        self.activation, self.output = _activation(activation), output
        self._n_inputs, self._n_latents = n_inputs, 0
        self._n_latents = self._measured()

    @property
    def n_inputs(self) -> int:
        return self._n_inputs

    @property
    def n_latents(self) -> int:
        return self._n_latents

    @property
    def draws_noise(self) -> bool:
        kinds = (nn.modules.dropout._DropoutNd, nn.RReLU)
        return super().draws_noise or any(isinstance(module, kinds) for module in self.modules())

    def encode(
        self, x: Tensor, *, training: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        self.check_width(x)
        pre = self.encoder(x)
        return pre, self.activation(pre, training=training, generator=generator)

    def decode_raw(self, code: Codes) -> Tensor:
        return self.decoder(code.dense)

    def directions(self) -> Tensor:
        return exciting(self)

    @torch.no_grad()
    def _measured(self) -> int:
        """M, from a pass of one sample of zeros."""
        was = self.training
        self.eval()
        try:
            x = torch.zeros(1, self._n_inputs).to(self.like)
            code = self.encode(x)[1]
            shape = tuple(self.decode_raw(code).shape)
        except (RuntimeError, StopIteration) as error:
            raise UsageError(f"these two modules do not fit together: {error}") from error
        finally:
            self.train(was)
        if shape != (1, self._n_inputs) or code.dense.ndim != 2:
            raise UsageError(
                f"for one sample of {self._n_inputs} inputs the encoder gave a code of shape "
                f"{tuple(code.dense.shape)} and the decoder a reconstruction of shape {shape}; "
                f"needed: (1, M) and (1, {self._n_inputs})"
            )
        return code.dense.shape[1]


_activation = activation


def exciting(
    model: Model, jacobian: Tensor | None = None, *, radius: float = 1.0, steps: int = 100
) -> Tensor:
    """The input u of length ≤ `radius` that excites each latent most, [M, D]; found by ascent.

    Maximises the latent before its activation, over the ball around the model's origin, from the
    gradient there: projected steps of falling length, the best point kept. For one layer this is
    the closed form `w / ‖w‖`. Source: UFLDL, Visualizing a trained autoencoder (the problem; the
    notes give no method for deeper layers).

    Args:
        jacobian: J [D', D] of the preparation; u is then in raw units and the model sees u Jᵀ.
        radius: length of the input (input unit).
        steps: of the ascent (count).
    """
    like = model.like
    width = model.n_inputs if jacobian is None else jacobian.shape[1]
    forth = None if jacobian is None else jacobian.to(like).T

    def climb(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.detach().requires_grad_()
        with torch.enable_grad():
            pre = model.encode(u if forth is None else u @ forth)[0]
            height = pre[:, : model.n_latents].diagonal()
            slope = torch.autograd.grad(height.sum(), u)[0]
        return height.detach(), slope

    u = like.new_zeros(model.n_latents, width)
    best = u
    highest, slope = climb(u)
    for k in range(steps + 1):
        stride = radius * (1 + math.cos(math.pi * k / (steps + 1))) / 2
        u = u + stride * normalize(slope)
        u = u * (radius / u.norm(dim=1, keepdim=True).clamp_min(radius))  # back into the ball
        height, slope = climb(u)
        better = height > highest
        best = torch.where(better[:, None], u, best)
        highest = torch.maximum(highest, height)
    return best
