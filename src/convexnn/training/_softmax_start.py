r"""Adam on networks whose neurons feed one output each, for softmax cross-entropy: the start of training.

    L((XU)_+ A, Y) + (β/2) Σ_j (‖u_j‖² + α_j²),   A (m, c) with α_j at (j, k_j), k_j the output of neuron j

All rows at a time, float32, a rate that falls linearly to zero. It takes no part in any certificate.
"""

from time import perf_counter

import numpy as np

from convexnn._relu_gradient import Real
from convexnn._types import Array, IntArray
from convexnn.activation import gains
from convexnn.network import Network

_RATE = 0.05
_DECAY = (0.9, 0.999)
_EPS = 1e-8
_SCALE = 0.1
#: Multiply–adds of a run, and the fewest and most steps whatever that says.
_WORK, _FEWEST, _MOST = 3e10, 200, 1500


def softmax_descent(
    X: Array, Y: Array, beta: float, neurons: int, *, seed: int, deadline: float = np.inf,
    negative_slope: float = 0.0,
) -> Network:  # fmt: skip
    """A short run of Adam from random weights, in units where rows of X have size one.

    Parameters
    ----------
    X : (n, d), Y : (n, c) of probabilities, beta : float
    neurons : int
        For each output.
    """
    row = float(np.sqrt(np.mean(np.sum(X**2, axis=1)))) or 1.0
    outputs = np.repeat(np.arange(Y.shape[1]), neurons)
    rng = np.random.default_rng(seed)
    m, d = len(outputs), X.shape[1]
    theta = (_SCALE * rng.standard_normal((d + 1, m))).astype(np.float32)  # U above α
    data = (np.asarray(X / row, dtype=np.float32), Y.astype(np.float32), beta / row)
    steps = int(np.clip(_WORK / (3 * X.size * m), _FEWEST, _MOST))
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(steps):
        g = _gradient(*data, theta, outputs, negative_slope)
        first += (1 - _DECAY[0]) * (g - first)
        second += (1 - _DECAY[1]) * (g * g - second)
        size = np.sqrt(second / (1 - _DECAY[1] ** (step + 1))) + _EPS
        rate = _RATE * (1 - step / steps) / (1 - _DECAY[0] ** (step + 1))
        theta -= (rate * first / size).astype(np.float32)
        if perf_counter() > deadline:
            break
    alpha = np.zeros((m, Y.shape[1]))
    alpha[np.arange(m), outputs] = theta[d] / np.sqrt(row)
    return Network(theta[:d] / np.sqrt(row), alpha, negative_slope=negative_slope)


def _gradient(X: Real, Y: Real, beta: float, theta: Real, outputs: IntArray, negative_slope: float) -> Real:
    """∂P/∂U above ∂P/∂α, (d + 1)×m."""
    U, alpha = theta[:-1], theta[-1]
    Z = X @ U
    slopes = None if negative_slope == 0.0 else gains(Z > 0, negative_slope).astype(Z.dtype)
    Z = np.maximum(Z, 0, out=Z) if slopes is None else Z * slopes
    per_output = len(outputs) // Y.shape[1]
    f = (Z * alpha).reshape(len(X), Y.shape[1], per_output).sum(axis=2)
    f -= f.max(axis=1, keepdims=True)
    p = np.exp(f)
    p /= p.sum(axis=1, keepdims=True)
    R = (p - Y)[:, outputs]
    g_alpha = np.einsum("ij,ij->j", Z, R)
    R *= alpha
    R *= Z > 0 if slopes is None else slopes
    out = np.empty_like(theta)
    out[:-1] = X.T @ R
    out[-1] = g_alpha
    return out + beta * theta
