r"""What a Network or a fitted estimator computes, as the plain arrays that other libraries hold.

f(x) = ((x − shift) W₁ + b₁)_+ W₂ + b₂

An estimator maps x to [(x − mean)/scale, 1]/√(d+1) =: z and z to (zᵀU)_+ α. With U = [V; v] this is
W₁ = V/(scale·√(d+1)), b₁ = v/√(d+1), shift = mean, W₂ = α, b₂ = b₀: the same d columns as its `predict`
takes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array
from convexnn.network import Network


@dataclass(frozen=True, eq=False)
class Layers:
    """f(x) = ((x − shift) W₁ + b₁)_+ W₂ + b₂.

    Attributes
    ----------
    W1 : (d, m);  b1 : (m,) or None;  W2 : (m, c);  b2 : (c,)
        m ≥ 1: a network without neurons has one of zeros, since other libraries know no empty layer.
    shift : (d,) or None
        Kept apart from b₁, so that float32 loses nothing for columns far from zero.
    classes : (k,) array or None
        Labels of a classifier; c is 1 for two classes.
    loss : str or None
        The loss that was trained. `predict` of a Poisson regression is exp(f), see `is_rate`.
    multilabel : bool
        Whether a classifier has one label for each output.
    names : (d,) array or None
        Names of its columns.
    negative_slope : float
        s of the activation σ_s(z) = (z)_+ − s(−z)_+; 0 is the ReLU of the formula.
    """

    W1: Array
    b1: Array | None
    W2: Array
    b2: Array
    shift: Array | None = None
    classes: NDArray[Any] | None = None
    loss: str | None = None
    names: NDArray[Any] | None = None
    multilabel: bool = False
    negative_slope: float = 0.0

    @property
    def is_rate(self) -> bool:
        """Whether the prediction is exp(f)."""
        return self.loss == "poisson"

    def folded(self) -> tuple[Array, Array | None]:
        """(W₁, b₁ − shiftᵀW₁): the first layer on x itself."""
        if self.shift is None:
            return self.W1, self.b1
        return self.W1, (0.0 if self.b1 is None else self.b1) - self.shift @ self.W1


def read_layers(model: Any) -> Layers:
    """The layers of a `Network`, a fitted estimator, or `ReLUFeatures`, whose output is the hidden layer.

    Raises
    ------
    ValueError
        If the estimator is not fitted, or `model` is neither.
    """
    if isinstance(model, Network):
        U, W2 = _with_neurons(model)
        return Layers(U, None, W2, _output_bias(model), negative_slope=model.negative_slope)
    if hasattr(model, "transform") and hasattr(model, "estimator_"):
        return _hidden(read_layers(model.estimator_), getattr(model, "feature_names_in_", None))
    if not isinstance(getattr(model, "network_", None), Network):
        from convexnn.interop.gated import is_gated, read_gated

        if is_gated(model):
            return read_gated(model)
        what = type(model).__name__
        if type(model).__module__.startswith("convexnn."):
            raise ValueError(f"This {what} is not fitted yet: call fit first.")
        raise ValueError(f"An export takes a Network or a fitted estimator of this package, not a {what}.")
    U, W2 = _with_neurons(model.network_)
    d = len(U) - 1
    scaler = model.scaler_
    root = 1.0 if scaler is None else np.sqrt(d + 1.0)
    W1 = U[:d] if scaler is None else U[:d] / (scaler.scale[:, None] * root)
    return Layers(
        W1, U[d] / root, W2, _output_bias(model.network_), shift=None if scaler is None else scaler.mean,
        classes=getattr(model, "classes_", None),
        loss=getattr(model, "loss_", getattr(model.loss, "name", model.loss)),
        names=getattr(model, "feature_names_in_", None), multilabel=getattr(model, "multilabel_", False),
        negative_slope=model.network_.negative_slope,
    )  # fmt: skip


def _hidden(layers: Layers, names: NDArray[Any] | None) -> Layers:
    """The hidden layer as the output: W₂ is the identity."""
    m = layers.W1.shape[1]
    slope = layers.negative_slope
    return Layers(
        layers.W1, layers.b1, np.eye(m), np.zeros(m), layers.shift, names=names, negative_slope=slope
    )


def _output_bias(network: Network) -> Array:
    """b₀ as (c,)."""
    return np.atleast_1d(np.array(network.intercept, dtype=np.float64))


def _with_neurons(network: Network) -> tuple[Array, Array]:
    """U and α as (m, c), with a neuron of zeros if there is none."""
    alpha = network.alpha if network.alpha.ndim == 2 else network.alpha[:, None]
    if not len(alpha):
        return np.zeros((network.n_features, 1)), np.zeros((1, alpha.shape[1]))
    return network.U, alpha
