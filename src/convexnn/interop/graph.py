r"""Reading f(x) = (x W₁ + b₁)_+ W₂ + b₂ out of an ONNX graph: one chain of affine nodes with one Relu.

Each stage keeps x → xA + t. Before the first matrix A is diagonal, a vector or a number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array

_READS = (
    "from_onnx reads one hidden layer, MatMul or Gemm (with Add), Relu (or LeakyRelu, Abs), MatMul or Gemm "
    "(with Add), whose weights are stored in the graph"
)
#: Nodes between the two layers.
_ACTIVATIONS = {"Relu", "LeakyRelu", "Abs"}
#: Nodes that pass a matrix of rows on as it is.
_PASS = {"Identity", "Cast", "Dropout", "Flatten"}
#: Nodes that may also follow the last layer: they only change the shape of the result.
_RESHAPE = {"Reshape", "Squeeze"}


@dataclass
class Found:
    """The arrays of the two layers (a bias is None if the graph adds none), and the graph's constants."""

    W1: Array
    b1: Array | None
    W2: Array
    b2: Array | None
    sigmoid: bool
    constants: dict[str, NDArray[Any]]
    negative_slope: float = 0.0  # of a LeakyRelu; −1 for Abs


@dataclass
class _Affine:
    """x → xA + t; A a vector or number before the first matrix, t None if nothing was added."""

    A: Array
    t: Array | None = None

    def matrix(self, W: Array) -> "_Affine":
        if self.A.ndim == 2 and self.A.shape[1] != W.shape[0]:
            raise ValueError(f"{_READS}; this graph multiplies {self.A.shape} by {W.shape}.")
        A = self.A @ W if self.A.ndim == 2 else np.broadcast_to(self.A, W.shape[:1])[:, None] * W
        t = None if self.t is None else np.broadcast_to(self.t, W.shape[:1]) @ W
        return _Affine(A, t)

    def scale(self, s: Array) -> "_Affine":
        return _Affine(self.A * s, None if self.t is None else self.t * s)

    def shift(self, t: Array) -> "_Affine":
        return _Affine(self.A, t if self.t is None else self.t + t)


def read_graph(onnx: Any, graph: Any, score: str | None) -> Found:
    """Follow the input to the tensor `score`, to a Sigmoid, or to the end; ValueError for any other graph."""
    constants = _constants(onnx, graph)
    inputs = [entry.name for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1:
        raise ValueError(f"{_READS}, with one input; this graph has {len(inputs)}.")
    tensor, stages, sigmoid, slope = inputs[0], [_Affine(np.ones(()))], False, 0.0
    while tensor != score:
        users = [node for node in graph.node if tensor in node.input]
        if not users and tensor in {entry.name for entry in graph.output}:
            break
        if len(users) != 1:
            raise ValueError(f"{_READS}, one after the other; {len(users)} nodes use {tensor!r} here.")
        (node,) = users
        if node.op_type == "Sigmoid" and len(stages) == 2:
            sigmoid = True
            break
        if node.op_type in _ACTIVATIONS:
            if stages[-1].A.ndim < 2 or len(stages) == 2:
                hidden = sum(other.op_type in _ACTIVATIONS for other in graph.node)
                raise ValueError(
                    f"{_READS}; this graph has {hidden} Relu nodes, one not between the two layers."
                )
            stages.append(_Affine(np.ones(())))
            slope = _slope(onnx, node)
        else:
            stages[-1] = _apply(onnx, node, tensor, stages[-1], constants, last=len(stages) == 2)
        tensor = node.output[0]
    if len(stages) < 2 or stages[1].A.ndim < 2:
        raise ValueError(f"{_READS}; this graph has {len(stages) - 1} Relu between matrices.")
    first, second = stages
    return Found(first.A, _vector(first), second.A, _vector(second), sigmoid, constants, slope)


def _slope(onnx: Any, node: Any) -> float:
    """The slope below 0 of an activation."""
    if node.op_type == "LeakyRelu":
        more = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        return _short(more.get("alpha", 0.01))
    return -1.0 if node.op_type == "Abs" else 0.0


def _short(number: float) -> float:
    """The shortest decimal with the same float32: attributes are float32, and 0.1 should come back as 0.1."""
    return float(str(np.float32(number)))


def _vector(stage: _Affine) -> Array | None:
    return None if stage.t is None else np.broadcast_to(stage.t, stage.A.shape[1:]).copy()


def _apply(
    onnx: Any, node: Any, tensor: str, stage: _Affine, constants: dict[str, NDArray[Any]], *, last: bool
) -> _Affine:
    """`stage` followed by one node other than Relu."""
    kind = node.op_type
    if kind in _PASS or (kind in _RESHAPE and last and stage.A.ndim == 2 and stage.A.shape[1] == 1):
        return stage
    if kind not in ("MatMul", "Gemm", "Add", "Sub", "Mul", "Div") or node.domain not in ("", "ai.onnx"):
        raise ValueError(f"{_READS}; this graph has a node {kind}.")
    others = [name for name in node.input if name and name != tensor]
    if len(others) != len(node.input) - 1 or any(name not in constants for name in others):
        raise ValueError(f"{_READS}; in this graph a factor of {kind} is computed, not stored.")
    values = [np.asarray(constants[name], dtype=np.float64) for name in others]
    in_front = node.input[0] == tensor
    if kind in ("MatMul", "Gemm"):
        return _matrix(onnx, node, stage, values, in_front)
    value = values[0]
    if value.size != value.shape[-1:][0] if value.ndim else False:
        raise ValueError(f"{_READS}; this graph has a node {kind} with an array of shape {value.shape}.")
    value = value.reshape(-1) if value.ndim else value
    if kind == "Add":
        return stage.shift(value)
    if kind == "Mul":
        return stage.scale(value)
    if kind == "Sub":
        return stage.shift(-value) if in_front else stage.scale(np.array(-1.0)).shift(value)
    if not in_front:
        raise ValueError(f"{_READS}; this graph divides by a computed number.")
    return stage.scale(1.0 / value)


def _matrix(onnx: Any, node: Any, stage: _Affine, values: list[Array], in_front: bool) -> _Affine:
    more = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    if not in_front or values[0].ndim != 2 or more.get("transA", 0):
        raise ValueError(f"{_READS}; in this graph {node.op_type} is not rows times a matrix.")
    W = values[0].T if more.get("transB", 0) else values[0]
    result = stage.matrix(more.get("alpha", 1.0) * W)
    if len(values) == 2:
        result = result.shift(more.get("beta", 1.0) * values[1].reshape(-1))
    return result


def _constants(onnx: Any, graph: Any) -> dict[str, NDArray[Any]]:
    """Name → array of initialisers, Constant nodes, and Transpose, Identity or Cast of either."""
    to_array = onnx.numpy_helper.to_array
    constants = {entry.name: to_array(entry) for entry in graph.initializer}
    for node in graph.node:
        more = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "Constant" and "value" in more:
            constants[node.output[0]] = to_array(more["value"])
        elif node.op_type == "Constant" and "value_float" in more:
            constants[node.output[0]] = np.asarray(more["value_float"])
        elif node.op_type in ("Transpose", "Identity", "Cast") and node.input[0] in constants:
            value = constants[node.input[0]]
            constants[node.output[0]] = (
                value.transpose(more.get("perm")) if node.op_type == "Transpose" else value
            )
    return constants
