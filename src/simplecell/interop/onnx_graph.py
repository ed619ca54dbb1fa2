"""A trained model as the nodes of an ONNX graph: preparation, encoder, decoder.

Each step of a preparation and each activation has one function here; what they compute is said
where they are defined. Matrices are kept as they stand, rows belong to latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simplecell.errors import UsageError
from simplecell.model.activation import Activation
from simplecell.model.autoencoder import Autoencoder, Layer, Model
from simplecell.model.deep import DeepAutoencoder
from simplecell.model.selective import AbsTopK, BatchTopK, Gated, JumpReLU, TopK
from simplecell.preprocess.affine import Affine, PatchRange, Range, RemoveDC
from simplecell.preprocess.chain import Preprocess, Step


def library() -> Any:
    """onnx, which is an extra. Raises UsageError, naming it, where it is missing."""
    try:
        import onnx
    except ImportError:
        raise UsageError(
            "ONNX files are made by onnx, which is not installed; say "
            "pip install 'simplecell[onnx]'"
        ) from None
    return onnx


class Graph:
    """Nodes and constants in the order in which they are added; results are called by strings."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Tensor] = {}

    def constant(self, name: str, value: Tensor | float, dtype: torch.dtype | None = None) -> str:
        """A constant by that name, or by one with a number where another has it already."""
        tensor = torch.as_tensor(value).detach().to("cpu", dtype or self.dtype).contiguous()
        number, free = 1, name
        while free in self.constants and not _same(self.constants[free], tensor):
            number, free = number + 1, f"{name}_{number + 1}"
        self.constants[free] = tensor
        return free

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node of that kind; the name of its result."""
        return self.add_several(kind, 1, *inputs, **attributes)[0]

    def add_several(self, kind: str, n: int, *inputs: str, **attributes: object) -> list[str]:
        """The same for a node of n results."""
        names = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(n)]
        node = library().helper.make_node(kind, list(inputs), names, names[0], **attributes)
        self.nodes.append(node)
        return names

    @property
    def kind(self) -> int:
        """The number that the format has for the precision."""
        proto = library().TensorProto
        return int(proto.DOUBLE if self.dtype == torch.float64 else proto.FLOAT)

    def call_last(self, name: str) -> None:
        """Give the newest result the name that the world knows it by."""
        self.nodes[-1].output[0] = name


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def prepared(graph: Graph, chain: Preprocess, x: str) -> str:
    """Samples as the model sees them."""
    for step in chain.fitted_steps:
        x = _forth(graph, step, x)
    return x


def unprepared(graph: Graph, chain: Preprocess, x: str) -> str:
    """Reconstructions in the units of the samples; what a sample carried itself is 0."""
    for step in reversed(chain.fitted_steps):
        x = _back(graph, step, x)
    return x


def _forth(graph: Graph, step: Step, x: str) -> str:
    if isinstance(step, RemoveDC):
        return graph.add("Sub", x, graph.add("ReduceMean", x, axes=[1], keepdims=1))
    x = graph.add("Sub", x, graph.constant("mean", step.tensors["mean"]))
    x = _times(graph, x, step, "matrix")
    if isinstance(step, Range):
        x = graph.add("Add", x, graph.constant("low", step.options["low"]))
    if isinstance(step, PatchRange):
        ends = (graph.constant(name, step.options[name]) for name in ("low", "high"))
        x = graph.add("Clip", x, *ends)
    return x


def _back(graph: Graph, step: Step, x: str) -> str:
    if isinstance(step, RemoveDC):
        return x
    if isinstance(step, Range):
        x = graph.add("Sub", x, graph.constant("low", step.options["low"]))
    x = _times(graph, x, step, "inverse")
    return graph.add("Add", x, graph.constant("mean", step.tensors["mean"]))


def _times(graph: Graph, x: str, step: Affine, name: str) -> str:
    factor = step.tensors[name]
    if factor.ndim < 2:
        return graph.add("Mul", x, graph.constant(name, factor))
    return graph.add("MatMul", x, graph.constant(name, factor.T))


def encoded(graph: Graph, model: Model, x: str) -> str:
    """Codes of prepared samples."""
    for layer in model.layers:
        x = _layer(graph, layer, x)
    return x


def _layer(graph: Graph, layer: Layer, x: str) -> str:
    n = layer.n_latents  # of a Gaussian code the means, which come first, are what is used
    if bool(layer.center.any()):
        x = graph.add("Sub", x, graph.constant("center", layer.center))
    weights = [graph.constant("encoder", layer.encoder[:n])]
    if not layer.activation.owns_bias:
        weights.append(graph.constant("bias", layer.bias[:n]))
    pre = graph.add("Gemm", x, *weights, transB=1)
    return _node_of(layer.activation)(graph, layer.activation, pre)


def decoded(graph: Graph, model: Model, codes: str) -> str:
    """Reconstructions of codes, prepared units."""
    layers = model.layers
    if not isinstance(model, Autoencoder | DeepAutoencoder):
        raise UsageError(
            f"a {type(model).__name__} has no decoder that is a chain of layers, which an ONNX "
            "file needs; write its encoder alone"
        )
    for layer in reversed(layers):
        assert isinstance(layer, Autoencoder)
        name = "encoder" if layer.tied else "decoder"
        weights = graph.constant(name, layer.decoder), graph.constant("offset", layer.offset)
        codes = _finished(graph, layer.output, graph.add("Gemm", codes, *weights))
    return codes


def _finished(graph: Graph, output: str, raw: str) -> str:
    return raw if output == "linear" else graph.add(OUTPUT_NODES[output], raw)


OUTPUT_NODES = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
"""The node of each output function, the linear one apart: it has none."""


def _simple(kind: str) -> Callable[[Graph, Any, str], str]:
    return lambda graph, activation, pre: graph.add(kind, pre)


def _unchanged(graph: Graph, activation: Activation, pre: str) -> str:
    return pre


def _topk(graph: Graph, activation: TopK, pre: str) -> str:
    values, places = _largest(graph, activation, pre)
    return _scattered(graph, pre, places, graph.add("Relu", values))


def _abstopk(graph: Graph, activation: AbsTopK, pre: str) -> str:
    _, places = _largest(graph, activation, graph.add("Abs", pre))
    return _scattered(graph, pre, places, graph.add("GatherElements", pre, places, axis=1))


def _largest(graph: Graph, activation: TopK, strength: str) -> tuple[str, str]:
    """The k largest of each sample, and where they are."""
    k = graph.constant("k", torch.tensor([activation.k]), torch.int64)
    values, places = graph.add_several("TopK", 2, strength, k, axis=1, largest=1, sorted=0)
    return values, places


def _scattered(graph: Graph, pre: str, places: str, values: str) -> str:
    """Values at places, 0 elsewhere, in the shape of pre."""
    zero = library().helper.make_tensor("zero", graph.kind, [1], [0.0])
    zeros = graph.add("ConstantOfShape", graph.add("Shape", pre), value=zero)
    return graph.add("ScatterElements", zeros, places, values, axis=1)


def _batchtopk(graph: Graph, activation: BatchTopK, pre: str) -> str:
    return _above(graph, pre, activation.threshold.clamp_min(0))


def _jumprelu(graph: Graph, activation: JumpReLU, pre: str) -> str:
    return _above(graph, pre, activation.threshold)


def _above(graph: Graph, pre: str, threshold: Tensor) -> str:
    """pre where it exceeds a threshold, else 0."""
    active = graph.add("Greater", pre, graph.constant("threshold", threshold))
    return graph.add("Where", active, pre, graph.constant("zero", 0.0))


def _gated(graph: Graph, activation: Gated, pre: str) -> str:
    zero = graph.constant("zero", 0.0)
    gate = graph.add("Add", pre, graph.constant("gate_bias", activation.gate_bias))
    size = graph.add("Mul", pre, graph.constant("scale", activation.log_scale.exp()))
    size = graph.add("Add", size, graph.constant("magnitude_bias", activation.magnitude_bias))
    active = graph.add("Greater", gate, zero)
    return graph.add("Where", active, graph.add("Relu", size), zero)


ACTIVATION_NODES: dict[str, Callable[[Graph, Any, str], str]] = {
    "identity": _unchanged,
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("Tanh"),
    "relu": _simple("Relu"),
    "gaussian": _unchanged,
    "topk": _topk,
    "abstopk": _abstopk,
    "batchtopk": _batchtopk,
    "jumprelu": _jumprelu,
    "gated": _gated,
}
"""What makes codes of `pre`, by the kind of activation; pre has one number a latent here."""


def _node_of(activation: Activation) -> Callable[[Graph, Any, str], str]:
    if activation.kind not in ACTIVATION_NODES:
        raise UsageError(
            f"'{activation.kind}' codes have no form in ONNX files yet; known are "
            f"{', '.join(ACTIVATION_NODES)}"
        )
    return ACTIVATION_NODES[activation.kind]
