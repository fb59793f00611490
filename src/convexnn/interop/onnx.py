r"""Networks and estimators as ONNX graphs, and ONNX graphs with one hidden layer as networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn.interop._extras import load_extra
from convexnn.interop._steps import (
    Steps,
    label_steps,
    output_steps,
    probability_operator,
    regression_steps,
    score_steps,
)
from convexnn.interop.foreign import Foreign, from_arrays
from convexnn.interop.graph import read_graph
from convexnn.interop.layers import Layers, read_layers

#: Default operator set: onnxruntime reads it from version 1.12 on.
OPSET = 17
#: The first operator set with all operators in the form used here.
_OLDEST = 13
#: Entry of the model's metadata that names the tensor of f.
SCORE, LOSS = "convexnn.score", "convexnn.loss"


def to_onnx(model: Any, *, target_opset: int = OPSET) -> Any:
    r"""A graph of f(x) = ((x − mean) W₁ + b₁)_+ W₂ + b₂ in float32, named as skl2onnx names it.

    The input is ``X``, float32 [None, d]. A network or a regressor has the output ``variable`` [None, c]. A
    classifier has ``label`` [None], int64 or text, and ``probabilities`` [None, k] in the order of
    ``classes_`` (a tensor: no ZipMap); where its loss gives no probabilities, ``scores`` [None, k] in their
    place, (−f, f) for two classes. With several labels a row, ``label`` is [None, k] of 0 and 1. A Poisson
    regression gives exp(f), as `predict` does. Only operators of the standard domain are used.

    Parameters
    ----------
    model : Network or fitted estimator of this package
        A network takes its own columns, an estimator those that its `predict` takes: the scaler is part of
        the graph.
    target_opset : int, default `OPSET`
        From 13 on.

    Returns
    -------
    onnx.ModelProto
        ``onnx.save(model, "model.onnx")`` writes it, ``.SerializeToString()`` is what onnxruntime takes.

    Raises
    ------
    ImportError
        If onnx is missing; the sentence has the command that installs it.
    ValueError
        If `model` is of another kind or not fitted, a weight is beyond float32, a label is neither an integer
        nor text, or the operator set is unknown.
    """
    onnx = load_extra("onnx", "to_onnx", "onnx")
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST <= target_opset <= newest:
        raise ValueError(
            f"target_opset must be {_OLDEST} to {newest} with this onnx ({onnx.__version__}); "
            f"it is {target_opset}."
        )
    layers = read_layers(model)
    steps, outputs, score = _steps_and_outputs(layers, onnx)
    helper, to_tensor = onnx.helper, onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], **more) for op, inputs, output, more in steps.nodes],
        type(model).__name__,
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, layers.W1.shape[0]])],
        outputs,
        [to_tensor(value, key) for key, value in steps.constants.items()],
    )
    opset = helper.make_opsetid("", target_opset)
    result = helper.make_model(
        graph, producer_name="convexnn", opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
    )  # fmt: skip
    helper.set_model_props(result, {SCORE: score} | ({LOSS: layers.loss} if layers.loss else {}))
    onnx.checker.check_model(result)
    return result


def _steps_and_outputs(layers: Layers, onnx: Any) -> tuple[Steps, list[Any], str]:
    """All nodes, the descriptions of the graph's outputs, and the name of the tensor of f."""

    def value(name: str, kind: int, *shape: int | None) -> Any:
        return onnx.helper.make_tensor_value_info(name, kind, list(shape))

    number, c = onnx.TensorProto.FLOAT, layers.W2.shape[1]
    if layers.classes is None:
        steps, score = regression_steps(layers, "X", "variable", np.float32, str)
        return steps, [value("variable", number, None, c)], score
    score = "score"
    steps = score_steps(layers, "X", score, np.float32, str)
    label = label_steps(layers, score, "label", np.float32, str)
    second = "probabilities" if probability_operator(layers) else "scores"
    tail = output_steps(layers, score, second, np.float32, str)
    whole = Steps(steps.nodes + label.nodes + tail.nodes, steps.constants | label.constants | tail.constants)
    if layers.multilabel:
        both = [value("label", onnx.TensorProto.INT64, None, c), value(second, number, None, c)]
        return whole, both, score
    text = whole.constants["classes"].dtype == object
    kind = onnx.TensorProto.STRING if text else onnx.TensorProto.INT64
    return whole, [value("label", kind, None), value(second, number, None, max(c, 2))], score


def from_onnx(source: Any, *, penalize_intercept: bool = True) -> Foreign:
    r"""A graph of f(x) = (x W₁ + b₁)_+ w₂ + b₂ as a network of problem (1), ready for `certify_model`.

    Reads what `to_onnx`, torch's exporter and skl2onnx write for one hidden layer: MatMul or Gemm (with Add),
    Relu, LeakyRelu or Abs, MatMul or Gemm (with Add), the weights stored in the graph; Sub, Add, Mul and Div
    by constants (a scaler) and a final Sigmoid are allowed. Float32 weights come back as they are.

    Parameters
    ----------
    source : str, Path or onnx.ModelProto
        A path is a file.
    penalize_intercept : bool
        As in `from_arrays`.

    Returns
    -------
    Foreign
        ``.network`` takes [X, 1] if the graph has any bias, else X. `loss` is "logistic" after a Sigmoid, or
        what `to_onnx` wrote; `classes` likewise. `own_penalty` counts all numbers, biases included.

    Raises
    ------
    ImportError
        If onnx is missing.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no ONNX model, or the graph is of another form; the sentence says what is read.
    """
    onnx = load_extra("onnx", "from_onnx", "onnx")
    model = source if isinstance(source, onnx.ModelProto) else _load(onnx, source)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    found = read_graph(onnx, model.graph, properties.get(SCORE))
    plain = from_arrays(
        found.W1, found.b1, found.W2, found.b2, found.negative_slope, penalize_intercept=penalize_intercept
    )
    loss = properties.get(LOSS, "logistic" if found.sigmoid else None)
    return replace(plain, loss=loss, classes=_classes(found.constants, properties))


def _classes(constants: dict[str, NDArray[Any]], properties: dict[str, str]) -> NDArray[Any] | None:
    """The two labels of a classifier that `to_onnx` wrote."""
    if SCORE not in properties or "classes" not in constants:
        return None
    labels = constants["classes"]
    if labels.dtype != object:
        return labels
    return np.array([label.decode() if isinstance(label, bytes) else str(label) for label in labels])


def _load(onnx: Any, source: Any) -> Any:
    if not isinstance(source, str | Path):
        raise ValueError(f"from_onnx takes a path or an onnx.ModelProto, not a {type(source).__name__}.")
    if not Path(source).is_file():
        raise FileNotFoundError(f"There is no file {source}.")
    try:
        model = onnx.load(str(source))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's DecodeError, onnx's ValidationError, missing external data
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"{source} cannot be read as an ONNX model ({reason}).") from error
    return model
