r"""Gated networks in other libraries: f(x) = Σ_j 1[xᵀg_j + h_j ≥ 0] (xᵀw_j + b_j).

A gate is a step, so rounding xᵀg_j near 0 changes f by all of xᵀw_j + b_j. The gates are therefore computed
in float64 everywhere, also where the values are float32: for an x of float32 numbers they open as in
`predict`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array
from convexnn.gated_network import GatedNetwork
from convexnn.interop._extras import load_extra
from convexnn.interop._steps import FLOAT, FLOAT64, Steps, add_gemm, rounded
from convexnn.interop.layers import Layers


@dataclass(frozen=True, eq=False, kw_only=True)
class GatedLayers(Layers):
    """f(x)_c = Σ_j 1[(x − shift) W₁ + b₁ ≥ 0]_j ((x − shift) V + v)_jc.

    W1 and b1 are the gates, W2 and b2 zeros of the shape that a ReLU network's would have.

    Attributes
    ----------
    V : (d, m, c);  v : (m, c) or None
    """

    V: Array
    v: Array | None

    def folded(self) -> tuple[Array, Array | None]:
        """No ReLU network is this one."""
        raise ValueError("A gated network has gates in place of ReLUs: scikit-learn has no such model.")


def is_gated(model: Any) -> bool:
    """Whether this is a `GatedNetwork`, or a fitted estimator with one."""
    return isinstance(model, GatedNetwork) or isinstance(getattr(model, "network_", None), GatedNetwork)


def read_gated(model: Any) -> GatedLayers:
    """The layers of a `GatedNetwork` or a fitted estimator with one, on the columns of its `predict`."""
    network = getattr(model, "network_", model)
    G, W = network.G, network.W if network.W.ndim == 3 else network.W[:, :, None]
    if not G.shape[1]:  # other libraries know no empty layer
        G, W = np.zeros((len(G), 1)), np.zeros((len(W), 1, W.shape[2]))
    m, c = W.shape[1:]
    W2, b2 = np.zeros((m, c)), np.zeros(c)
    if network is model:
        return GatedLayers(G, None, W2, b2, V=W, v=None)
    scaler, d = model.scaler_, len(G) - 1
    root = 1.0 if scaler is None else np.sqrt(d + 1.0)
    scale = np.ones(d) if scaler is None else scaler.scale * root
    return GatedLayers(
        G[:d] / scale[:, None], G[d] / root, W2, b2, V=W[:d] / scale[:, None, None], v=W[d] / root,
        shift=None if scaler is None else scaler.mean, classes=getattr(model, "classes_", None),
        loss=model.loss_, names=getattr(model, "feature_names_in_", None),
        multilabel=getattr(model, "multilabel_", False),
    )  # fmt: skip


def gated_steps(
    layers: GatedLayers, source: str, score: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> Steps:
    """From the tensor `source` (n, d) to the tensor `score` (n, c): the ONNX nodes."""
    steps, (d, m, c) = Steps(), layers.V.shape
    opened = _gate_steps(steps, layers, source, dtype, name)
    V, v = layers.V.reshape(d, m * c), None if layers.v is None else layers.v.reshape(m * c)
    if layers.shift is not None:
        near = rounded(layers.shift, dtype)
        v = (0.0 if v is None else v) - (layers.shift - near.astype(np.float64)) @ V
        steps.constants[shift := name("shift")] = near
        steps.nodes.append(("Sub", [source, shift], moved := name("shifted"), {}))
        source = moved
    add_gemm(steps, source, V, v, flat := name("values_flat"), dtype, (name("V"), name("v")))
    steps.constants[shape := name("values_shape")] = np.array([-1, m, c], np.int64)
    steps.nodes.append(("Reshape", [flat, shape], values := name("values"), {}))
    steps.constants[last := name("last_axis")] = np.array([2], np.int64)
    steps.nodes.append(("Unsqueeze", [opened, last], gates := name("gates_column"), {}))
    steps.nodes.append(("Mul", [values, gates], passed := name("passed"), {}))
    steps.constants[axis := name("gate_axis")] = np.array([1], np.int64)
    steps.nodes.append(("ReduceSum", [passed, axis], score, {"keepdims": 0}))
    return steps


def _gate_steps(
    steps: Steps, layers: GatedLayers, source: str, dtype: type[np.floating[Any]], name: Callable[[str], str]
) -> str:
    """Add the nodes of 1[(x − shift) W₁ + b₁ ≥ 0], compared in float64; the name of that tensor."""
    if dtype is not np.float64:
        steps.nodes.append(("Cast", [source], wide := name("wide"), {"to": FLOAT64}))
        source = wide
    if layers.shift is not None:
        steps.constants[shift := name("gate_shift")] = layers.shift
        steps.nodes.append(("Sub", [source, shift], moved := name("gate_input"), {}))
        source = moved
    steps.constants[gates := name("gates")] = layers.W1
    steps.nodes.append(("MatMul", [source, gates], side := name("side"), {}))
    if layers.b1 is not None:
        steps.constants[bias := name("gate_bias")] = layers.b1
        steps.nodes.append(("Add", [side, bias], moved := name("side_biased"), {}))
        side = moved
    steps.constants[zero := name("gate_zero")] = np.zeros(1)
    steps.nodes.append(("GreaterOrEqual", [side, zero], is_open := name("is_open"), {}))
    kind = FLOAT64 if dtype is np.float64 else FLOAT
    steps.nodes.append(("Cast", [is_open], opened := name("gates_open"), {"to": kind}))
    return opened


def gated_to_torch(model: Any, dtype: Any = None) -> Any:
    """`convexnn.interop.to_torch` of a gated network: a `convexnn.interop.gated_module.GatedReLU`."""
    torch = load_extra("torch", "to_torch", "torch")
    from convexnn.interop.gated_module import GatedReLU

    layers = read_gated(model)

    def tensor(values: NDArray[Any] | None) -> Any:
        return None if values is None else torch.from_numpy(np.array(values, dtype=np.float64))

    kind = dtype or torch.float32
    module = GatedReLU(*map(tensor, (layers.W1, layers.b1, layers.V, layers.v, layers.shift)), dtype=kind)
    if not all(bool(torch.isfinite(value).all()) for value in module.parameters()):
        raise ValueError(f"A weight of this network is beyond {kind}: pass dtype=torch.float64.")
    return module
