r"""Mini-batch Adam on L((XU)_+α, y) + (β/2)(‖U‖² + ‖α‖²) in principal axes: where training starts.

Rotated data make Adam's metric, one rate for each coordinate, nearly the right one: the same epochs end at a
third of the objective that they reach on pixels.
"""

import math
from time import perf_counter

import numpy as np

from convexnn._relu_gradient import adam_update, compile_kernels, fill_gradient, make_buffers
from convexnn._types import Array
from convexnn.descent import schedule_factor
from convexnn.losses import LossLike, split_weights
from convexnn.training._wide_axes import Real

_RATE, _BETA1, _BETA2, _EPS = 1e-2, 0.9, 0.99, 1e-8
_BATCH = 500


def adam(
    X: Real, y: Array, beta: float, loss: LossLike, neurons: int, epochs: int, seed: int, deadline: float
) -> tuple[Real, Array]:
    """(U, α), k×m and (m,), after the epochs or at the deadline."""
    n, k = X.shape
    batch = min(_BATCH, max(1, n // 4))
    rng = np.random.default_rng(seed)
    work = make_buffers(
        0.1 * rng.standard_normal((k, neurons)), 0.1 * rng.standard_normal(neurons), batch, "float32"
    )
    compile_kernels("float32")
    first, second = np.zeros_like(work.theta), np.zeros_like(work.theta)
    keep = np.array([1.0 - _BETA1, _BETA2, 1.0 - _BETA2], np.float32)
    targets = y.astype(np.float32)
    base, weights = split_weights(loss)
    starts = range(0, n, batch)
    steps, t = epochs * len(starts), 0
    for _ in range(epochs):
        order = rng.permutation(n)
        for begin in starts:
            rows = order[begin : begin + batch]
            own = None if weights is None else weights[rows].astype(np.float32)
            fill_gradient(X[rows], targets[rows], work, base, beta, n / len(rows), sample_weight=own)
            rate = _RATE * schedule_factor("one-cycle", t, steps)
            t += 1
            scaled, root = rate / (1.0 - _BETA1**t), math.sqrt(1.0 - _BETA2**t)
            scalars = (np.float32(scaled), np.float32(root), np.float32(_EPS))
            adam_update(work.theta, work.grad, first, second, keep, *scalars)  # type: ignore[arg-type]
        if perf_counter() > deadline:
            break
    return work.U.copy(), work.alpha.astype(np.float64)
