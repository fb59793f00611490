"""Networks in files of other tools, and tables for them: torch state dicts and ONNX graphs.

Nothing in a file is run: a torch file is read with ``weights_only=True``, an ONNX file as data. What is read
is f(x) = Σ_j (xᵀW₁ + b₁)_+ w₂ + b₂, see `convexnn.interop.from_arrays`.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn._columns import texts_of, to_numbers
from convexnn._types import Array
from convexnn.data import TableEncoder, read_table
from convexnn.interop import Foreign, from_arrays, from_onnx
from convexnn.interop._extras import load_extra
from convexnn.losses import LossLike, get_loss

__all__ = ["numeric_rows", "read_network"]

_SHAPE = "a certificate is for Linear, ReLU, Linear with one output"


def read_network(path: Path, negative_slope: float = 0.0, *, penalize_intercept: bool = True) -> Foreign:
    """The network in a ``.pt``, ``.pth`` or ``.onnx`` file.

    `negative_slope` is that of a state dict, which does not hold it; an ONNX graph does. With
    ``penalize_intercept=False`` the output bias is the network's free `intercept`.

    Raises
    ------
    FileNotFoundError, ImportError
        If the file, or torch or onnx, is not there.
    ValueError
        One sentence if the file is damaged or holds another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file at {path}.")
    if path.suffix.lower() == ".onnx":
        return from_onnx(path, penalize_intercept=penalize_intercept)
    layers = _linear_layers(path, _state_dict(path))
    if len(layers) != 2 or layers[1][0].shape != (layers[0][0].shape[1], 1):
        shapes = ", ".join("→".join(map(str, W.shape)) for W, _ in layers)
        raise ValueError(f"{path} holds the linear layers {shapes}: {_SHAPE}.")
    (W1, b1), (W2, b2) = layers
    return from_arrays(W1, b1, W2, b2, negative_slope, penalize_intercept=penalize_intercept)


def _state_dict(path: Path) -> dict[str, Any]:
    torch = load_extra("torch", f"Reading {path}", "torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError and others
        raise ValueError(
            f"{path} cannot be read as plain weights: write it with torch.save(model.state_dict(), …)."
        ) from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ValueError(f"{path} is not a state dict of tensors: save model.state_dict().")
    return state


def _linear_layers(path: Path, state: dict[str, Any]) -> list[tuple[Array, Array | None]]:
    """(W as inputs×outputs, bias or None) in the order of the file."""
    layers: list[tuple[Array, Array | None]] = []
    for name, tensor in state.items():
        array = np.asarray(tensor.double().numpy(), dtype=np.float64)
        if array.ndim == 2 and name.endswith("weight"):
            layers.append((array.T, None))
        elif array.ndim == 1 and name.endswith("bias") and layers and len(array) == layers[-1][0].shape[1]:
            layers[-1] = (layers[-1][0], array)
        else:
            raise ValueError(f"{path} holds {name!r} of shape {array.shape}: {_SHAPE}.")
    return layers


def numeric_rows(
    path: Path, target: str, foreign: Foreign, loss: LossLike
) -> tuple[Array, NDArray[Any], list[str]]:
    """(X, y, names of the columns of X): all columns but the target, in the order of the table.

    y is as the network's classes are where it names them; else, for the losses of classes, −1 and +1 for the
    two values of the target in sorted order.

    Raises
    ------
    ValueError
        One sentence if a cell is missing or no number, or the columns are not as many as the inputs.
    """
    frame = read_table(path, target)
    names = [str(name) for name in frame.columns if name != target]
    inputs = foreign.network.n_features - foreign.has_ones
    if len(names) != inputs:
        raise ValueError(
            f"The network takes {inputs} inputs, and the table has {len(names)} columns besides {target!r}: "
            "give exactly its columns, in its order."
        )
    X = np.column_stack([to_numbers(frame[name], name) for name in names])
    if np.isnan(X).any():
        row, column = map(int, np.argwhere(np.isnan(X))[0])
        raise ValueError(
            f"Column {names[column]!r}, line {frame.index[row]}: the value is missing; the network needs all."
        )
    if foreign.classes is not None and foreign.classes.dtype.kind in "UO":
        return X, np.array(texts_of(frame[target]), dtype=str), names
    task = "classification" if get_loss(loss).is_classification and foreign.classes is None else "regression"
    number = dict.fromkeys(names, "number")
    encoder = TableEncoder.fit(frame, target, task, number)  # type: ignore[arg-type]
    return X, encoder.encode_target(frame), names
