r"""f(x) = Σ_j (xᵀW₁ + b₁)_+ w₂ + b₂ as a network of problem (1): biases are weights of a column of ones.

With ``penalize_intercept=False`` the output bias b₂ is the network's unpenalised `intercept` instead.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._types import Array
from convexnn.losses import get_loss
from convexnn.network import Network

ONE_HIDDEN = "a certificate is for one hidden layer"


@dataclass(frozen=True)
class Foreign:
    """A model of another library as a network of problem (1).

    Attributes
    ----------
    network : Network
        On [X, 1] if the model has a bias that is penalised, else on X; weights as they were, not rescaled.
    output_bias : float
        c; its neuron, if c ≠ 0 and it is penalised, is the last one of `network`.
    has_ones : bool
        Whether `design` appends the column of ones.
    own_penalty : float
        ½ Σ of the squares that the library penalises: weights only (scikit-learn), all parameters otherwise.
    loss : str or None
        The loss the model was trained with, where the model says so.
    classes : (2,) array or None
        Labels of a classifier: the first is −1.
    penalize_intercept : bool
        Whether the problem is that in which c costs β|c|; else c is free.
    """

    network: Network
    output_bias: float
    has_ones: bool
    own_penalty: float
    loss: str | None = None
    classes: NDArray[Any] | None = None
    penalize_intercept: bool = True

    def design(self, X: ArrayLike) -> Array:
        """[X, 1] (n, d+1), or X for a model without biases."""
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2:
            raise ValueError(f"X must be n×d; its shape is {rows.shape}.")
        return np.column_stack([rows, np.ones(len(rows))]) if self.has_ones else rows

    def predict(self, X: ArrayLike) -> Array:
        """The model's output before any sigmoid, (n,)."""
        return self.network.predict(self.design(X))

    def targets(self, y: ArrayLike) -> Array:
        """y as floats (n,); −1 and +1 for the labels of a classifier, or for labels 0 and 1."""
        values = np.asarray(y)
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if self.classes is not None:
            if not np.isin(values, self.classes).all():
                raise ValueError(f"y has labels other than the model's two, {self.classes.tolist()}.")
            return np.where(values == self.classes[1], 1.0, -1.0)
        return np.asarray(values, dtype=np.float64)

    def own_objective(self, X: ArrayLike, y: ArrayLike, beta: float, loss: str = "squared") -> float:
        """L(f, y) + β·own_penalty: the library's objective in the units of this package."""
        return get_loss(loss).value(self.predict(X), self.targets(y)) + beta * self.own_penalty


def from_arrays(
    W1: ArrayLike,
    b1: ArrayLike | None,
    w2: ArrayLike,
    b2: ArrayLike | None = None,
    negative_slope: float = 0.0,
    *,
    penalize_intercept: bool = True,
) -> Foreign:
    r"""f(x) = Σ_j (xᵀW₁ + b₁)_+ w₂ + b₂ as a network of problem (1).

    Parameters
    ----------
    W1 : (d, m)
        One column a neuron (the transpose of a torch weight).
    b1 : (m,) or None
    w2 : (m,) or (m, 1)
    b2 : float, (1,) or None
    negative_slope : float
        s of the activation σ_s(z) = (z)_+ − s(−z)_+; 0 is the ReLU.
    penalize_intercept : bool
        False: b₂ becomes the network's `intercept`, which β does not count.

    Raises
    ------
    ValueError
        If shapes disagree, there are several outputs, or a value is not finite.
    """
    out = np.asarray(w2, dtype=np.float64)
    if out.ndim == 2 and out.shape[1] > 1:
        raise ValueError(
            f"The model has {out.shape[1]} outputs: weight decay on several outputs is not the penalty "
            "‖α_j‖₁² that a certificate needs, so give one output at a time."
        )
    out = out.reshape(-1)
    c = 0.0 if b2 is None else float(np.asarray(b2, dtype=np.float64).reshape(()))
    bias_out = None if b2 is None else np.asarray(c)
    network, has_ones = network_from_arrays(
        W1, b1, out, bias_out, negative_slope, penalize_intercept=penalize_intercept
    )
    W = np.asarray(W1, dtype=np.float64)
    bias = np.zeros(1) if b1 is None else np.asarray(b1, dtype=np.float64)
    last = c**2 if penalize_intercept else 0.0
    penalty = 0.5 * float(np.sum(W**2) + np.sum(bias**2) + np.sum(out**2) + last)
    return Foreign(network, c, has_ones, penalty, penalize_intercept=penalize_intercept)


def network_from_arrays(
    W1: ArrayLike,
    b1: ArrayLike | None,
    W2: ArrayLike,
    b2: ArrayLike | None,
    negative_slope: float = 0.0,
    *,
    penalize_intercept: bool = True,
) -> tuple[Network, bool]:
    r"""f(X) = (XW₁ + b₁)_+ W₂ + b₂ as (network, whether it takes [X, 1] in place of X), for any outputs.

    b₂ ≠ 0 becomes the last neuron, u = √‖b₂‖₁ e_ones with α = b₂/√‖b₂‖₁: balanced, at the penalty β‖b₂‖₁;
    or, if it is not to be penalised, the network's `intercept`.

    Parameters
    ----------
    W1 : (d, m);  b1 : (m,) or None;  W2 : (m,) or (m, c);  b2 : scalar, (c,) or None

    Raises
    ------
    ValueError
        If shapes disagree or a value is not finite.
    """
    W = np.asarray(W1, dtype=np.float64)
    out = np.asarray(W2, dtype=np.float64)
    bias = np.zeros(len(out)) if b1 is None else np.asarray(b1, dtype=np.float64)
    if W.ndim != 2 or bias.shape != (len(out),) or W.shape[1] != len(out):
        raise ValueError(
            f"W1 must be d×m with b1 and w2 of length m; they are {W.shape}, {bias.shape} and {out.shape}."
        )
    if not penalize_intercept and b2 is not None:
        free = np.asarray(b2, dtype=np.float64).reshape(out.shape[1:])
        U = W if b1 is None else np.vstack([W, bias])
        return Network(U, out, intercept=free, negative_slope=negative_slope), b1 is not None
    has_ones = b1 is not None or b2 is not None
    U = np.vstack([W, bias]) if has_ones else W
    if b2 is not None:
        c = np.asarray(b2, dtype=np.float64).reshape(out.shape[1:])
        size = float(np.abs(c).sum())
        if size:
            neuron = np.zeros((len(U), 1))
            neuron[-1] = np.sqrt(size)
            # For one output α is exactly ±√|c|, so that the neuron costs β|c| to the last bit.
            last = np.sign(c) * np.sqrt(size) if c.size == 1 else c / np.sqrt(size)
            U, out = np.hstack([U, neuron]), np.concatenate([out, last[None]])
    return Network(U, out, negative_slope=negative_slope), has_ones
