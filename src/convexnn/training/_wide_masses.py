r"""min over c ≥ 0 of L(Ac, y) + β Σ c: the best masses of given neurons, A_ik = s_k(x_iᵀû_k)_+.

Squared loss: one quadratic program on the Gram matrix by Mehrotra's predictor–corrector. Other smooth losses:
proximal Newton steps, each such a program with the Hessian's diagonal in the Gram matrix.
"""

import numpy as np
import scipy.linalg as sl

from convexnn._types import Array
from convexnn.losses import LossLike, get_loss
from convexnn.training._wide_axes import Real
from convexnn.training._wide_smoothed import blocks, curvature

_STEPS = 80
_NEWTON = 25


def activations(X: Real, U: Real, signs: Array) -> Real:
    """A = (XU)_+ diag(s), n×m in float32."""
    out = np.empty((len(X), U.shape[1]), np.float32)
    for rows in blocks(len(X)):
        np.matmul(X[rows], U, out=out[rows])
        np.maximum(out[rows], 0, out=out[rows])
    out *= signs.astype(np.float32)
    return out


def gram(A: Real, right: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """(AᵀWA, Aᵀ right) in float64 over row blocks: a float32 Gram matrix is not positive definite enough."""
    m = A.shape[1]
    total, product = np.zeros((m, m)), np.zeros(m)
    for rows in blocks(len(A)):
        part = A[rows].astype(np.float64)
        product += part.T @ right[rows]
        if weights is not None:
            part *= np.sqrt(weights[rows, None])
        total += part.T @ part
    return total, product


def best_masses(A: Real, y: Array, beta: float, loss: LossLike, start: Array) -> Array:
    """The minimiser c; `start` (m,) is where Newton steps begin (any non-negative guess)."""
    if loss == "squared":
        G, b = gram(A, y)
        return nonnegative(G, b - beta)
    function = get_loss(loss)
    c = start.copy()
    f = (A @ c.astype(np.float32)).astype(np.float64)
    value = function.value(f, y) + beta * c.sum()
    for _ in range(_NEWTON):
        gradient, h = curvature(loss, f, y)
        G, g = gram(A, gradient, h + 1e-6)
        g += beta
        step = nonnegative(G, G @ c - g) - c
        df = (A @ step.astype(np.float32)).astype(np.float64)
        slope = float(g @ step)
        t = 1.0
        while t > 1e-6:
            new = function.value(f + t * df, y) + beta * float(np.sum(c + t * step))
            if new <= value + 1e-4 * t * slope:
                break
            t *= 0.5
        else:
            break
        c, f = np.maximum(c + t * step, 0.0), f + t * df
        done = value - new <= 1e-7 * abs(value)
        value = new
        if done:
            break
    return c


def nonnegative(G: Array, b: Array) -> Array:
    """min over c ≥ 0 of ½cᵀGc − bᵀc, to high accuracy; exact zeros where c is not needed."""
    m = len(b)
    if not m or b.max() <= 0:
        return np.zeros(m)
    ridge = 1e-10 * float(np.mean(np.diag(G)))
    G = G + ridge * np.eye(m)
    scale = float(b.max() / np.mean(np.diag(G)))
    c = np.full(m, scale / np.sqrt(m))
    z = np.maximum(np.abs(G @ c - b), 0.1 * b.max())
    goal = 1e-11 * float(b.max()) * scale
    for _ in range(_STEPS):
        residual = G @ c - b - z
        mu = float(c @ z) / m
        if mu < goal and np.abs(residual).max() < 1e-9 * b.max():
            break
        c, z = _mehrotra_step(G, c, z, residual, mu)
    active = np.flatnonzero(c * np.diag(G) > z)
    out = np.zeros(m)
    if active.size:
        out[active] = sl.cho_solve(_factor(G[np.ix_(active, active)]), b[active], check_finite=False)
        if out.min() < 0:
            out[:] = 0.0
            out[active] = c[active]
    return out


def _mehrotra_step(G: Array, c: Array, z: Array, residual: Array, mu: float) -> tuple[Array, Array]:
    """One predictor–corrector step on (c, z) > 0."""
    K = G.copy()
    K[np.diag_indices_from(K)] += z / c
    factor = _factor(K)
    dc = sl.cho_solve(factor, -residual - z, check_finite=False)
    dz = -z - z / c * dc
    t = min(_reach(c, dc), _reach(z, dz))
    sigma = (float((c + t * dc) @ (z + t * dz)) / len(c) / mu) ** 3
    goal = sigma * mu - c * z - dc * dz
    dc = sl.cho_solve(factor, -residual + goal / c, check_finite=False)
    dz = (goal - z * dc) / c
    t = 0.995 * min(_reach(c, dc) / 0.995, _reach(z, dz) / 0.995, 1.0 / 0.995)
    t = min(1.0, 0.995 * t)
    return c + t * dc, z + t * dz


def _factor(K: Array) -> tuple[Array, bool]:
    """The Cholesky factor of K, with as much on the diagonal as it takes."""
    extra = 0.0
    while True:
        try:
            K = K + extra * np.eye(len(K)) if extra else K
            factor: tuple[Array, bool] = sl.cho_factor(K, lower=True, check_finite=False)
            return factor
        except sl.LinAlgError:
            extra = max(1e-12 * float(np.diag(K).max()), 100.0 * extra)


def _reach(x: Array, dx: Array) -> float:
    """The largest t ≤ 1 with x + t dx ≥ 0."""
    down = dx < 0
    return float(min(1.0, np.min(-x[down] / dx[down], initial=1.0)))
