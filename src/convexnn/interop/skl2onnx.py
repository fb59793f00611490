"""A converter for skl2onnx, so that a scikit-learn Pipeline with our estimators in it converts whole."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from convexnn.interop._extras import load_extra
from convexnn.interop._steps import Steps, label_steps, output_steps, regression_steps, score_steps
from convexnn.interop.layers import read_layers

_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
    "nocl": [True, False],
}


def register_skl2onnx() -> None:
    """Let ``skl2onnx.to_onnx`` and ``convert_sklearn`` convert our estimators, alone or inside a Pipeline.

    Call it once before a conversion; calling it again does nothing new. Outputs are those of skl2onnx: a
    regressor and `ReLUFeatures` have ``variable``, a classifier ``label`` and ``probabilities``.
    As for LinearSVC there, a classifier without probabilities puts its scores into ``probabilities``, (−f, f)
    for two classes. With several labels a row both outputs are tensors [None, k], ``label`` of 0 and 1,
    whatever ``zipmap`` says. The options are ``zipmap``, ``output_class_labels``, ``raw_scores`` and
    ``nocl``, as for linear models there; they belong to the estimator:
    ``options={id(pipeline[-1]): {"zipmap": False}}``.

    Raises
    ------
    ImportError
        If skl2onnx is missing; the sentence has the command that installs it.
    """
    register = load_extra("skl2onnx", "register_skl2onnx", "onnx").update_registered_converter
    shapes = load_extra("skl2onnx.common.shape_calculator", "register_skl2onnx", "onnx")
    for model in _estimators():
        name = f"ConvexNN{model.__name__}"
        if hasattr(model, "predict") and hasattr(model, "decision_function"):
            shape = shapes.calculate_linear_classifier_output_shapes
            register(model, name, shape, _convert_classifier, parser=_parse_classifier, options=_OPTIONS)
        else:
            register(model, name, _regressor_shape, _convert_regressor)


def _estimators() -> list[type]:
    from convexnn.estimators import (
        ConvexReLUClassifier,
        ConvexReLUClassifierCV,
        ConvexReLURegressor,
        ConvexReLURegressorCV,
        GatedReLUClassifier,
        GatedReLURegressor,
        ReLUFeatures,
    )

    return [
        ConvexReLUClassifier,
        ConvexReLUClassifierCV,
        ConvexReLURegressor,
        ConvexReLURegressorCV,
        GatedReLUClassifier,
        GatedReLURegressor,
        ReLUFeatures,
    ]


def _parse_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Called by skl2onnx: the outputs of a classifier; no ZipMap for several labels a row."""
    parse = load_extra("skl2onnx._parse", "register_skl2onnx", "onnx")
    if getattr(model, "multilabel_", False):
        return parse._parse_sklearn_simple_model(scope, model, inputs, custom_parsers=custom_parsers)
    return parse._parse_sklearn_classifier(scope, model, inputs, custom_parsers=custom_parsers)


def _regressor_shape(operator: Any) -> None:
    """Called by skl2onnx: the output is (n, c), of the type of the input."""
    shapes = load_extra("skl2onnx.common.shape_calculator", "register_skl2onnx", "onnx")
    shapes.calculate_linear_regressor_output_shapes(operator)
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type.shape = [rows, read_layers(operator.raw_operator).W2.shape[1]]


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Called by skl2onnx: add the nodes of a regressor to `container`."""
    source, dtype = _source(scope, operator, container)
    layers = read_layers(operator.raw_operator)
    name = scope.get_unique_variable_name
    _add(scope, container, regression_steps(layers, source, operator.outputs[0].full_name, dtype, name)[0])


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Called by skl2onnx: add the nodes of a classifier to `container`."""
    source, dtype = _source(scope, operator, container)
    model = operator.raw_operator
    classes = load_extra("skl2onnx.common.utils_classifier", "register_skl2onnx", "onnx").get_label_classes
    layers = replace(read_layers(model), classes=classes(scope, model))
    name: Callable[[str], str] = scope.get_unique_variable_name
    score = name("score")
    label, second = (output.full_name for output in operator.outputs)
    raw = bool(container.get_options(model, {"raw_scores": False})["raw_scores"])
    _add(scope, container, score_steps(layers, source, score, dtype, name))
    _add(scope, container, label_steps(layers, score, label, dtype, name))
    _add(scope, container, output_steps(layers, score, second, dtype, name, raw=raw))


def _source(scope: Any, operator: Any, container: Any) -> tuple[str, type[np.floating[Any]]]:
    """The input as float32, or float64 if it is that already, and the type."""
    types = load_extra("skl2onnx.common.data_types", "register_skl2onnx", "onnx")
    entry = operator.inputs[0]
    if isinstance(entry.type, types.DoubleTensorType):
        return entry.full_name, np.float64
    if isinstance(entry.type, types.FloatTensorType):
        return entry.full_name, np.float32
    cast: str = scope.get_unique_variable_name("as_float")
    container.add_node("Cast", entry.full_name, cast, name=scope.get_unique_operator_name("Cast"), to=1)
    return cast, np.float32


def _add(scope: Any, container: Any, steps: Steps) -> None:
    onnx = load_extra("onnx", "register_skl2onnx", "onnx")
    for key, value in steps.constants.items():
        if value.dtype == object:
            text = [label.encode() for label in value]
            container.add_initializer(key, onnx.TensorProto.STRING, value.shape, text)
        else:
            container.add_initializer(key, None, None, onnx.numpy_helper.from_array(value, key))
    for op, inputs, output, more in steps.nodes:
        container.add_node(op, inputs, [output], name=scope.get_unique_operator_name(op), **more)
