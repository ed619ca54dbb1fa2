"""The hot path of the classic rows: cost and gradient without autograd.

One hidden layer, elementwise activations, squared error, KL sparsity, weight decay. Five matrix
products and a few passes over the activations; nothing is allocated after the first call of a
size. Each figure equals the plain autograd version, which stays as the tests' oracle.

    δ3 = (recon − target) ∘ g′          ∇decoder = 2w δ3ᵀ… (rows belong to latents: codeᵀ δ3)
    δ2 = (2w δ3 decoderᵀ + β ∂KL/∂code) ∘ f′          ∇encoder = δ2ᵀ x / m

On a CPU the compiled tier does it where there is one (`native`): a layer whose weights stay in the
cache, block of rows by block of rows; of a larger one what stands between the products.

Source: UFLDL, Autoencoders and sparsity (backpropagation with the KL row). Exact; for tanh
∂KL/∂code carries the factor ½ that the notes leave out of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from simplecell.model import native
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.measures import LogMean, average_activation, merge_means

_aten = torch.ops.aten

# Beyond these, ρ̂ or 1 − ρ̂ computed from the rounded codes says nothing: use the logarithms.
_DEAD, _SATURATED = 1e-20, 1e-3
_IN_CACHE = 2**16  # weights of a matrix up to which blocks of rows were measured to be faster
_PIECE = 2**20  # numbers added in float32 before the sum goes on in float64


FORWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda pre: pre,
    "linear": lambda pre: pre,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}
"""In place: pre → code."""

BACKWARD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda grad, code: grad,
    "linear": lambda grad, code: grad,
    "sigmoid": lambda grad, code: _aten.sigmoid_backward.grad_input(grad, code, grad_input=grad),
    "tanh": lambda grad, code: _aten.tanh_backward.grad_input(grad, code, grad_input=grad),
    "relu": lambda grad, code: _aten.threshold_backward.grad_input(grad, code, 0, grad_input=grad),
}
"""In place on grad: times f′, written in terms of the code."""


@dataclass
class Classic:
    """Value and gradient of the classic objective, added up chunk by chunk into `.grad`.

    The model's parameters have `.grad` buffers; it may be tied. The others are the weights of the
    three terms, and the target ρ.
    """

    model: Autoencoder
    reconstruction: float = 0.0
    kl: float = 0.0
    decay: float = 0.0
    target: float = 0.5
    _buffers: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _codes: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _code_sums: list[Tensor] = field(default_factory=list, init=False, repr=False)
    """Of each chunk, from the pass that averages to the one that adds up."""

    def __post_init__(self) -> None:
        model, activation = self.model, self.model.activation
        self.encoder, self.decoder = model.encoder, model.decoder
        self.bias, self.offset = model.bias, model.offset
        self.activation, self.output = activation.kind, model.output
        self.gain = activation.gain or 1.0
        self.low, high = activation.bounds or (0.0, 1.0)
        self.width = high - self.low
        self._small = self.encoder.numel() <= _IN_CACHE and self.decoder.numel() <= _IN_CACHE

    @torch.no_grad()
    def begin(self, *, decayed: bool = True) -> None:
        """Start a sum: the gradient of weight decay (`decay · Σ w²`), or 0; biases 0."""
        decay = self.decay if decayed else 0.0
        torch.mul(self.encoder, 2 * decay, out=_grad(self.encoder))
        if self.decoder is not self.encoder:
            torch.mul(self.decoder, 2 * decay, out=_grad(self.decoder))
        _grad(self.bias).zero_()
        _grad(self.offset).zero_()

    @torch.no_grad()
    def average_over(self, chunks: Iterable[tuple[Tensor, Tensor]], keep: bool) -> LogMean:
        """ρ̂ over all samples, which come in chunks (x, target); with `keep` their codes stay."""
        total: Tensor | float = 0.0
        samples = 0
        self._code_sums.clear()
        for k, (x, _) in enumerate(chunks):
            code_sum = self._encode(x, self._place(k, x) if keep else self._of_latents("code", x))
            total, samples = total + code_sum.double(), samples + len(x)
            self._code_sums.append(code_sum)
        assert samples, "no samples"
        del self._codes[k + 1 if keep else 0 :]
        mean = (torch.as_tensor(total) / samples - self.low) / self.width
        average = _average_of(mean.clamp_(0, 1).to(self.bias))
        columns = _extreme(average.mean)
        if columns is not None:
            self._by_logs(average, columns, chunks)
        return average

    def _place(self, chunk: int, x: Tensor) -> Tensor:
        """Where the codes of a chunk stay; the same memory in every evaluation."""
        if chunk == len(self._codes):
            self._codes.append(x.new_empty(0))
        if self._codes[chunk].shape != (len(x), self.bias.shape[0]):
            self._codes[chunk] = self._room_for_codes(x)
        return self._codes[chunk]

    def _by_logs(
        self, average: LogMean, columns: Tensor, chunks: Iterable[tuple[Tensor, Tensor]]
    ) -> None:
        """Put the ρ̂ of some latents right, whose codes round to 0 or 1."""
        exact, seen = None, 0
        for x, _ in chunks:
            part = average_activation(self._pre(x, columns), self.gain)
            seen += len(x)
            exact = part if exact is None else merge_means(exact, part, len(x) / seen)
        assert exact is not None
        average.log_mean[columns] = exact.log_mean
        average.log_complement[columns] = exact.log_complement

    @torch.no_grad()
    def add(
        self,
        x: Tensor,
        target: Tensor,
        samples: int,
        average: LogMean | None,
        chunk: int | None = None,
    ) -> tuple[Tensor, Tensor, LogMean | None]:
        """Add the gradient of x [B, D] as B of `samples` samples.

        `average` is ρ̂ over all samples, None when these B are all; `chunk` is the number of these
        where `average_over` has just made it, and may have kept their codes. Returns the sum of
        squared errors of the B (0-d, float64), the sum of their codes [M], and the ρ̂ that was used.
        """
        if chunk is not None and chunk < len(self._codes):
            code, code_sum = self._codes[chunk], self._code_sums[chunk]
        else:
            code_sum = self._encode(x, code := self._of_latents("code", x))
        push, columns = torch.zeros_like(self.bias), None
        if self.kl:
            average, columns = self._average(x, code_sum, average)
            push = self._push(average, columns)
        compiled = native.library(x, target) if columns is None else None
        if compiled is not None:
            way = self._by_blocks if self._small else self._by_passes
            return way(compiled, x, target, code, push, samples), code_sum, average
        squared, back = self._through_output(x, target, code, push, samples)
        BACKWARD[self.activation](back, code)
        if columns is not None:
            assert average is not None
            back[:, columns] += self._push_of_logs(x, average, columns)
        _grad(self.encoder).addmm_(back.T, x, alpha=1 / samples)
        _grad(self.bias).addmv_(back.T, self._ones(x), alpha=1 / samples)
        return squared, code_sum, average

    def _through_output(
        self, x: Tensor, target: Tensor, code: Tensor, push: Tensor, samples: int
    ) -> tuple[Tensor, Tensor]:
        """The squared error, and what flows back into the codes; decoder and offset have theirs."""
        recon = self._buffer("recon", x, self.offset.shape[0])
        delta = FORWARD[self.output](torch.addmm(self.offset, code, self.decoder, out=recon))
        torch.sub(delta, target, out=(error := self._buffer("error", x, self.offset.shape[0])))
        squared = _squared(error)
        BACKWARD[self.output](error, delta)
        weight, back = 2 * self.reconstruction, self._of_latents("back", x)
        torch.addmm(push, error, self.decoder.T, alpha=weight, out=back)
        _grad(self.decoder).addmm_(code.T, error, alpha=weight / samples)
        _grad(self.offset).addmv_(error.T, self._ones(x), alpha=weight / samples)
        return squared, back

    def _by_blocks(
        self,
        compiled: native.Library,
        x: Tensor,
        target: Tensor,
        code: Tensor,
        push: Tensor,
        samples: int,
    ) -> Tensor:
        """Add the gradients, all made block of rows by block of rows; the squared error."""
        layer, weight = self._layer(x), 2 * self.reconstruction
        sizes = [p.numel() for p in (self.decoder, self.encoder, self.offset, self.bias)]
        parts = self._buffer("parts", x[: layer.chunks], sum(sizes))
        squares = compiled.derivatives(
            layer, x, target, code, self.decoder, self.offset, weight, push, parts
        )
        decoder, encoder, offset, bias = parts.split(sizes, dim=1)
        compiled.add_chunks(decoder, weight / samples, _grad(self.decoder))
        compiled.add_chunks(encoder, 1 / samples, _grad(self.encoder))
        compiled.add_chunks(offset, weight / samples, _grad(self.offset))
        compiled.add_chunks(bias, 1 / samples, _grad(self.bias))
        return squares.sum()

    def _by_passes(
        self,
        compiled: native.Library,
        x: Tensor,
        target: Tensor,
        code: Tensor,
        push: Tensor,
        samples: int,
    ) -> Tensor:
        """The same where products are torch's, and between two of them is one pass."""
        layer, weight = self._layer(x), 2 * self.reconstruction
        delta = self._buffer("recon", x, layer.outputs)
        torch.mm(code, self.decoder, out=delta)
        squares, sums = compiled.deltas(layer, target, self.offset, delta)
        compiled.add_chunks(sums, weight / samples, _grad(self.offset))
        _grad(self.decoder).addmm_(code.T, delta, alpha=weight / samples)
        back = self._of_latents("back", x)
        torch.mm(delta, self.decoder.T, out=back)
        sums = compiled.pushed(layer, weight, push, code, back)
        compiled.add_chunks(sums, 1 / samples, _grad(self.bias))
        _grad(self.encoder).addmm_(back.T, x, alpha=1 / samples)
        return squares.sum()

    def _layer(self, x: Tensor) -> native.Layer:
        n_latents, n_inputs = self.encoder.shape
        sizes = (len(x), n_inputs, self.offset.shape[0], n_latents)
        return native.Layer(*sizes, self.activation, self.output)

    def _of_latents(self, name: str, x: Tensor) -> Tensor:
        """A buffer [B, M]."""
        if name not in self._buffers or len(self._buffers[name]) < len(x):
            self._buffers[name] = self._room_for_codes(x)
        return self._buffers[name][: len(x)]

    def _room_for_codes(self, x: Tensor) -> Tensor:
        """Memory [B, M]; in the compiled tier, rows are whole vectors apart.

        A product of 784 inputs into 196 latents took 1.4 times as long into rows without a gap.
        """
        n_latents = self.bias.shape[0]
        width = native.padded(n_latents, x.dtype) if native.library(x) else n_latents
        return x.new_empty(len(x), width)[:, :n_latents]

    def _encode(self, x: Tensor, code: Tensor) -> Tensor:
        """Fill in the codes of x; their sum [M]."""
        compiled = native.library(x)
        if compiled is None:
            FORWARD[self.activation](torch.addmm(self.bias, x, self.encoder.T, out=code))
            return self._ones(x) @ code
        layer = self._layer(x)
        if self._small:
            sums = compiled.codes(layer, x, self.encoder, self.bias, code)
        else:
            torch.mm(x, self.encoder.T, out=code)
            sums = compiled.activated(layer, self.bias, code)
        return compiled.add_chunks(sums, 1.0, torch.zeros_like(self.bias))

    def _average(
        self, x: Tensor, code_sum: Tensor, given: LogMean | None
    ) -> tuple[LogMean, Tensor | None]:
        """ρ̂, of these samples unless given, and the latents where logarithms must be used."""
        if given is not None:
            return given, _extreme(given.mean)
        mean = code_sum.mul(1 / (x.shape[0] * self.width)).sub_(self.low / self.width).clamp_(0, 1)
        average = _average_of(mean)
        columns = _extreme(mean)
        if columns is not None:
            exact = average_activation(self._pre(x, columns), self.gain)
            average.log_mean[columns] = exact.log_mean
            average.log_complement[columns] = exact.log_complement
        return average, columns

    def _push(self, average: LogMean, columns: Tensor | None) -> Tensor:
        """∂(β KL)/∂code of each latent; 0 where logarithms must be used."""
        scale = self.kl / self.width
        push = (-average.log_complement).exp_().mul_(scale * (1 - self.target))
        push.sub_((-average.log_mean).exp_(), alpha=scale * self.target)
        if columns is not None:
            push[columns] = 0
        return push

    def _push_of_logs(self, x: Tensor, average: LogMean, columns: Tensor) -> Tensor:
        """∂(β KL)/∂pre of the given latents, never 0 · ∞; [B, columns]."""
        scaled = self._pre(x, columns) * self.gain
        slope = logsigmoid(scaled) + logsigmoid(-scaled)
        on = (slope - average.log_mean[columns]).exp()
        off = (slope - average.log_complement[columns]).exp()
        return self.kl * self.gain * ((1 - self.target) * off - self.target * on)

    def _pre(self, x: Tensor, columns: Tensor) -> Tensor:
        return torch.addmm(self.bias[columns], x, self.encoder[columns].T)

    def _ones(self, x: Tensor) -> Tensor:
        if "ones" not in self._buffers or self._buffers["ones"].shape[0] < x.shape[0]:
            self._buffers["ones"] = x.new_ones(x.shape[0])
        return self._buffers["ones"][: x.shape[0]]

    def _buffer(self, name: str, x: Tensor, columns: int) -> Tensor:
        if name not in self._buffers or self._buffers[name].shape[0] < x.shape[0]:
            self._buffers[name] = x.new_empty(x.shape[0], columns)
        return self._buffers[name][: x.shape[0]]


def _average_of(mean: Tensor) -> LogMean:
    return LogMean(mean.log(), torch.log1p(-mean))


def _squared(error: Tensor) -> Tensor:
    """Sum of squares in float64 over float32 pieces: torch adds a whole matrix in one running
    float32 sum, which was found wrong by 0.5 % at 60,000 × 784."""
    flat = error.view(-1)
    total = torch.dot(flat[:_PIECE], flat[:_PIECE]).double()
    for piece in flat[_PIECE:].split(_PIECE) if flat.shape[0] > _PIECE else ():
        total += torch.dot(piece, piece)
    return total


def _extreme(mean: Tensor) -> Tensor | None:
    least, most = torch.aminmax(mean)
    if least.item() >= _DEAD and most.item() <= 1 - _SATURATED:
        return None
    return ((mean < _DEAD) | (mean > 1 - _SATURATED)).nonzero().squeeze(1)


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "parameters need .grad buffers: see optim.flatten"
    return parameter.grad
