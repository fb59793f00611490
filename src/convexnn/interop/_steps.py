r"""The nodes of an ONNX graph for a network, shared by `to_onnx` and the converter of skl2onnx.

f = ((x − shift) W₁ + b₁)_+ W₂ + b₂ is Sub, Gemm, Relu, Gemm. The shift stays a node of its own: x − shift is
exact in float32 where both are close, where a bias folded in advance would lose the digits of x.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn.interop.layers import Layers

#: ``onnx.TensorProto.FLOAT``, ``INT64`` and ``DOUBLE``.
FLOAT, INT64, FLOAT64 = 1, 7, 11
#: Added to probabilities of one against the rest, so that they sum to one where all are 0.
_TINY = 1e-37


@dataclass
class Steps:
    """Nodes (operator, inputs, output, attributes) in order, and the constants they use."""

    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)


def score_steps(
    layers: Layers, source: str, score: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> Steps:
    """From the tensor `source` (n, d) to the tensor `score` (n, c); `name` makes a name unique."""
    from convexnn.interop.gated import GatedLayers, gated_steps  # which imports this module

    if isinstance(layers, GatedLayers):
        return gated_steps(layers, source, score, dtype, name)
    steps = Steps()
    W1, b1, shift = layers.W1, layers.b1, layers.shift
    if shift is not None:
        # What the rounding of the shift leaves out goes to the bias.
        near = rounded(shift, dtype)
        b1 = (0.0 if b1 is None else b1) - (shift - near.astype(np.float64)) @ W1
        moved = name("shifted")
        steps.constants[name_of := name("shift")] = near
        steps.nodes.append(("Sub", [source, name_of], moved, {}))
        source = moved
    hidden, positive = name("hidden"), name("hidden_relu")
    add_gemm(steps, source, W1, b1, hidden, dtype, (name("W1"), name("b1")))
    slope = {} if layers.negative_slope == 0.0 else {"alpha": layers.negative_slope}
    steps.nodes.append(("LeakyRelu" if slope else "Relu", [hidden], positive, slope))
    b2 = layers.b2 if layers.b2.any() else None
    add_gemm(steps, positive, layers.W2, b2, score, dtype, (name("W2"), name("b2")))
    return steps


def add_gemm(
    steps: Steps,
    source: str,
    W: NDArray[Any],
    bias: NDArray[Any] | None,
    target: str,
    dtype: type[np.floating[Any]],
    names: tuple[str, str],
) -> None:
    steps.constants[names[0]] = rounded(W, dtype)
    inputs = [source, names[0]]
    if bias is not None:
        steps.constants[names[1]] = rounded(bias, dtype)
        inputs.append(names[1])
    steps.nodes.append(("Gemm", inputs, target, {}))


def rounded(values: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        near = values.astype(dtype)
    if not np.isfinite(near).all():
        raise ValueError(f"A weight of this network is beyond {np.dtype(dtype)}, the type of an ONNX input.")
    return near


def regression_steps(
    layers: Layers, source: str, output: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> tuple[Steps, str]:
    """From the tensor `source` to the prediction `output`, exp(f) for rates; and the name of f."""
    if not layers.is_rate:
        return score_steps(layers, source, output, dtype, name), output
    score = name("score")
    steps = score_steps(layers, source, score, dtype, name)
    steps.nodes.append(("Exp", [score], output, {}))
    return steps, score


def label_steps(
    layers: Layers, score: str, label: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> Steps:
    """The label of each row: the second class where the score is positive, or the class of largest score.

    With several labels a row: (n, k) of 0 and 1.
    """
    steps, index, flat = Steps(), name("index"), name("index_flat")
    if layers.multilabel:
        positive = name("positive")
        steps.constants[zero := name("zero")] = np.zeros(1, dtype)
        steps.nodes.append(("Greater", [score, zero], positive, {}))
        steps.nodes.append(("Cast", [positive], label, {"to": INT64}))
        return steps
    if layers.W2.shape[1] == 1:
        positive = name("positive")
        steps.constants[zero := name("zero")] = np.zeros(1, dtype)
        steps.nodes.append(("Greater", [score, zero], positive, {}))
        steps.nodes.append(("Cast", [positive], index, {"to": INT64}))
    else:
        steps.nodes.append(("ArgMax", [score], index, {"axis": 1, "keepdims": 1}))
    steps.constants[shape := name("row")] = np.array([-1], np.int64)
    steps.constants[table := name("classes")] = onnx_labels(layers.classes)
    steps.nodes.append(("Reshape", [index, shape], flat, {}))
    steps.nodes.append(("Gather", [table, flat], label, {"axis": 0}))
    return steps


def onnx_labels(classes: Any) -> NDArray[Any]:
    """Labels as int64 or text (object), as skl2onnx has them; ValueError for other numbers."""
    labels = np.asarray(classes)
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64)
    if labels.dtype.kind == "f":
        if not np.array_equal(labels, np.rint(labels)):
            raise ValueError(f"ONNX labels are integers or text; these classes are {labels.tolist()}.")
        return labels.astype(np.int64)
    if not all(isinstance(label, str) for label in labels.tolist()):
        raise ValueError(f"ONNX labels are integers or text; these classes are {labels.tolist()}.")
    return labels.astype(object)


def output_steps(
    layers: Layers,
    score: str,
    output: str,
    dtype: type[np.floating[Any]],
    name: Callable[[str], str],
    *,
    raw: bool = False,
) -> Steps:
    """(n, k) probabilities in the order of the classes, or the scores where there are none or `raw` is set.

    For two classes the scores are (−f, f).
    """
    steps, both = Steps(), score
    if layers.W2.shape[1] == 1 and not layers.multilabel:
        minus, both = name("minus_score"), name("scores_both")
        steps.nodes.append(("Neg", [score], minus, {}))
        steps.nodes.append(("Concat", [minus, score], both, {"axis": 1}))
    last = None if raw else probability_operator(layers)
    if last == "Sigmoid" and both == score and not layers.multilabel:
        _add_shares(steps, score, output, dtype, name)
    else:
        steps.nodes.append((last or "Identity", [both], output, {"axis": 1} if last == "Softmax" else {}))
    return steps


def _add_shares(
    steps: Steps, score: str, output: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> None:
    """σ(f) of one class against the rest, scaled to sum to one; equal shares where all are 0."""
    steps.nodes.append(("Sigmoid", [score], own := name("own"), {}))
    steps.constants[tiny := name("tiny")] = np.full(1, _TINY, dtype)
    steps.nodes.append(("Add", [own, tiny], positive := name("own_positive"), {}))
    steps.constants[axis := name("class_axis")] = np.array([1], np.int64)
    steps.nodes.append(("ReduceSum", [positive, axis], total := name("total"), {"keepdims": 1}))
    steps.nodes.append(("Div", [positive, total], output, {}))


def probability_operator(layers: Layers) -> str | None:
    """What makes probabilities of the scores; None where the classifier's loss gives none."""
    if layers.loss == "softmax" and layers.W2.shape[1] > 1:
        return "Softmax"
    return "Sigmoid" if layers.loss == "logistic" else None
