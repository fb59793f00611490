r"""A table's model for other tools, its scaling folded in.

With z = [(x − mean)/scale, 1]/√(d+1) of `Scaler` and the target (y − m)/s, f(x) = s·(zᵀU)_+ α + m is again
one hidden layer: the last entry of z is constant, so m is one more neuron, and positive, so it is one for
every slope of the activation. A free output bias b₀ takes m in instead: s·b₀ + m. With the Poisson loss the
target is not scaled, and the prediction is exp(f). x are the columns of the encoded table,
`TableEncoder.feature_names`, unscaled.
"""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convexnn._files import write_file
from convexnn.network import Network
from convexnn.table_losses import parse_loss
from convexnn.table_model import TableModel

ENDINGS = {"onnx": ".onnx", "torch": ".pt", "safetensors": ".safetensors", "json": ".json"}


def as_estimator(model: TableModel) -> Any:
    """A fitted `ConvexReLUClassifier` or `ConvexReLURegressor` on the encoded columns, unscaled.

    Its `predict` gives the classes as text, or the target in its unit.
    """
    from convexnn import ConvexReLUClassifier, ConvexReLURegressor

    pipeline = model.pipeline
    encoder, network, name = pipeline.encoder, model.network, parse_loss(model.loss)[0]
    form: dict[str, Any] = {"penalize_intercept": not model.free_intercept}
    form["negative_slope"] = network.negative_slope
    estimator: Any
    if encoder.task == "classification":
        estimator = ConvexReLUClassifier(beta=model.beta, loss=model.loss, **form)
        estimator.classes_, estimator.multilabel_ = np.array(encoder.classes), False
    else:
        estimator = ConvexReLURegressor(beta=model.beta, loss=model.trained_loss, **form)
        if not pipeline.is_rate:
            network = _unscaled(network, pipeline.target_mean, pipeline.target_scale)
    estimator.network_, estimator.scaler_, estimator.loss_ = network, pipeline.scaler, name
    estimator.intercept_ = network.intercept
    estimator.feature_names_in_ = np.array(encoder.feature_names, dtype=object)
    estimator.n_features_in_ = len(encoder.feature_names)
    return estimator


def _unscaled(network: Network, mean: float, scale: float) -> Network:
    """scale·f + mean as a network: the mean joins b₀, or is one more neuron, on the constant entry of z."""
    if network.has_intercept:
        return replace(network, alpha=network.alpha * scale, intercept=network.intercept * scale + mean)
    constant = np.zeros((network.n_features, 1))
    constant[-1] = np.sqrt(network.n_features)
    U, alpha = np.hstack([network.U, constant]), np.append(network.alpha * scale, mean)
    return replace(network, U=U, alpha=alpha)


def write_export(model: TableModel, to: str, path: Path) -> None:
    """Write `model` as one of `ENDINGS`, atomically; ImportError with the line that installs an extra."""
    write_file(path, {"onnx": _onnx, "torch": _torch, "safetensors": _safetensors, "json": _json}[to](model))


def _onnx(model: TableModel) -> bytes:
    """Input ``X`` float32 [None, d]; output ``variable``, or ``label`` and ``probabilities``/``scores``."""
    from convexnn.interop import to_onnx

    content: bytes = to_onnx(as_estimator(model)).SerializeToString()
    return content


def _torch(model: TableModel) -> bytes:
    """The float64 state dict of ``Sequential(Linear, ReLU, Linear)``: 0.weight, 0.bias, 2.weight.

    Also 2.bias where the network has a free output bias. A state dict does not say the slope of a LeakyReLU.
    """
    from convexnn.interop._extras import load_extra

    torch = load_extra("torch", "The export to torch", "torch")
    from convexnn.interop import to_torch

    buffer = io.BytesIO()
    torch.save(to_torch(as_estimator(model), dtype=torch.float64).state_dict(), buffer)
    return buffer.getvalue()


def _safetensors(model: TableModel) -> bytes:
    """The tensors of the torch export, float64; the inputs' names and the slope in the header."""
    from safetensors.numpy import save

    W1, b1, W2, b2 = _arrays(model)
    tensors = {"0.weight": W1.T, "0.bias": b1, "2.weight": W2.T} | ({"2.bias": b2} if b2.any() else {})
    header = {"inputs": json.dumps(list(model.pipeline.encoder.feature_names))}
    header["negative_slope"] = repr(model.network.negative_slope)
    content: bytes = save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata=header)
    return content


def _json(model: TableModel) -> bytes:
    """Weights, inputs, the encoding of the columns and the certificate of the training."""
    W1, b1, W2, b2 = _arrays(model)
    encoder = model.pipeline.encoder
    record = {
        "format": "convexnn-export-1",
        "function": "f(x)_c = sum over j of a(sum over k of x_k W1_kj + b1_j) W2_jc + b2_c",
        "activation": "a(z) = max(0, z) + negative_slope min(0, z)",
        "negative_slope": model.network.negative_slope,
        "prediction": "exp(f)" if model.pipeline.is_rate else "class of f" if encoder.classes else "f",
        "inputs": list(encoder.feature_names),
        "target": encoder.target,
        "classes": list(encoder.classes),
        "W1": W1.tolist(),
        "b1": b1.tolist(),
        "W2": W2.tolist(),
        "b2": b2.tolist(),
        "encoding": encoder.to_json(),
        "loss": model.loss,
        "beta": model.beta,
        "certificate": model.record.get("certificate"),
    }
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _arrays(model: TableModel) -> tuple[Any, Any, Any, Any]:
    """(W1, b1, W2, b2) on the unscaled columns, float64."""
    from convexnn.interop.layers import read_layers

    layers = read_layers(as_estimator(model))
    W1, b1 = layers.folded()
    return W1, b1, layers.W2, layers.b2
