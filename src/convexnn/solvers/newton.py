r"""Newton systems of the inner problem: (diag(1/D) + σ B Bᵀ) x = b, with or without bounds on x.

B is n×M and given transposed. The smaller of the n×n and M×M systems is factorised; when both are large,
conjugate gradients need only products with B.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from convexnn._threads import THREADS, submit
from convexnn._types import Array, BoolArray

#: Systems larger than this on both sides are solved by conjugate gradients.
DIRECT = 5000
#: Products of fewer operations are not worth a second thread.
_SMALL = 10_000_000
_ACTIVE_SET_STEPS = 20
_PROJECTED_STEPS = 40
_SMALLEST_STEP = 1e-10
_ENOUGH = 1e-12


def solve_newton(Bt: Array, D: Array, sigma: float, b: Array) -> Array:
    """Return x with (diag(1/D) + σ BBᵀ) x = b; Bt is M×n, D and b are (n,)."""
    M, n = Bt.shape
    if M == 0 or n == 0:
        return D * b
    root = np.sqrt(D)
    scaled = Bt if (root == 1.0).all() else Bt * root  # B̃ᵀ with x = √D z: (I + σ B̃B̃ᵀ) z = √D b
    rhs = root * b
    if min(n, M) > DIRECT:
        operator = LinearOperator((n, n), matvec=lambda z: z + sigma * (scaled.T @ (scaled @ z)))
        z = cg(operator, rhs, rtol=1e-8, maxiter=500)[0]
        return np.asarray(root * z)
    if n <= M:
        K = _gram(scaled, sigma)
        return np.asarray(root * solve_definite(K, rhs))
    K = _gram(scaled.T, sigma)
    inner = solve_definite(K, scaled @ rhs)
    return np.asarray(root * (rhs - sigma * (scaled.T @ inner)))


def solve_gram(K: Array, root: Array, sign: Array, sigma: float, b: Array) -> Array:
    """`solve_newton` where K = BBᵀ without its signs is at hand (and overwritten); root is √D."""
    scale = root * sign
    K *= (sigma * scale)[:, None]
    K *= scale
    K[np.diag_indices(len(K))] += 1.0
    return np.asarray(root * solve_definite(K, root * b))


def square(A: Array) -> Array:
    """AᵀA, a share of the rows of A in each thread: matmul, unlike SciPy's BLAS, lets other threads run."""
    step = max(1, -(-len(A) // THREADS)) if A.size * A.shape[1] > _SMALL else len(A)
    jobs = [submit(_square, A[start : start + step]) for start in range(0, len(A), step)]
    K = jobs[0].result()
    for job in jobs[1:]:
        K += job.result()
    return np.asarray(K)


def _square(A: Array) -> Array:
    return np.asarray(A.T @ A)


def _gram(A: Array, sigma: float) -> Array:
    """I + σAᵀA."""
    K = square(A)
    K *= sigma
    K[np.diag_indices(len(K))] += 1.0
    return K


def solve_definite(K: Array, b: Array) -> Array:
    """K⁻¹ b for a positive definite K given by its lower triangle.

    Where rounding has made K indefinite (entries over more than sixteen decades), a multiple of the largest
    diagonal entry is added until it is not.
    """
    ridge = 0.0
    while True:
        try:
            factor = cho_factor(K, lower=True, check_finite=False)
            return np.asarray(cho_solve(factor, b, check_finite=False))
        except LinAlgError:
            step = max(9.0 * ridge, 1e-15 * float(np.abs(np.diag(K)).max()))
            if not np.isfinite(step) or ridge > np.abs(np.diag(K)).max():
                raise
            K[np.diag_indices(len(K))] += step
            ridge += step


def solve_boxed_newton(
    Bt: Array, D: Array, sigma: float, gradient: Array, low: Array, high: Array, free: BoolArray
) -> Array:
    """Minimise gᵀx + ½ xᵀ(diag(1/D) + σBBᵀ)x over low ≤ x ≤ high, x = 0 outside `free`.

    Primal–dual active set (Hintermüller, Ito & Kunisch 2003). It may cycle: then its clipped iterate, or 0
    if that is no better, starts a projected Newton method (Bertsekas 1982), which only ever goes down.
    The value at the result is therefore never above 0. low ≤ 0 ≤ high.
    """
    n = len(gradient)
    at = np.zeros(n, dtype=np.int8)  # −1 at low, +1 at high, 0 inside
    x = np.zeros(n)
    for _ in range(_ACTIVE_SET_STEPS):
        inside = free & (at == 0)
        x = np.where(at < 0, low, np.where(at > 0, high, 0.0))
        x[~free] = 0.0
        x[inside] = _solve_inside(Bt, D, sigma, (gradient + _product(Bt, sigma, x))[inside], inside)
        slope = gradient + x / D + _product(Bt, sigma, x)
        new = np.zeros(n, dtype=np.int8)
        new[inside & (x < low)] = -1
        new[inside & (x > high)] = 1
        new[free & (at < 0) & (slope > 0)] = -1
        new[free & (at > 0) & (slope < 0)] = 1
        if np.array_equal(new, at):
            return x
        at = new
    return _projected_newton(Bt, D, sigma, gradient, low, high, free, np.clip(x, low, high))


def _projected_newton(
    Bt: Array, D: Array, sigma: float, g: Array, low: Array, high: Array, free: BoolArray, x: Array
) -> Array:
    """Newton steps over the rows not held at a bound, cut back to the box, halved until the value falls."""
    slope = g + x / D + _product(Bt, sigma, x)
    value = 0.5 * float(x @ (g + slope))
    if not value < 0.0:
        x, slope, value = np.zeros_like(g), g, 0.0
    for _ in range(_PROJECTED_STEPS):
        inside = free & ~((x <= low) & (slope > 0)) & ~((x >= high) & (slope < 0))
        step = np.zeros_like(x)
        step[inside] = _solve_inside(Bt, D, sigma, slope[inside], inside)
        t = 1.0
        while t > _SMALLEST_STEP:
            trial = np.clip(x + t * step, low, high)
            trial_slope = g + trial / D + _product(Bt, sigma, trial)
            trial_value = 0.5 * float(trial @ (g + trial_slope))
            if trial_value < value:
                break
            t *= 0.5
        else:
            return x
        gain = value - trial_value
        x, slope, value = trial, trial_slope, trial_value
        if gain <= _ENOUGH * abs(value):
            return x
    return x


def _solve_inside(Bt: Array, D: Array, sigma: float, slope: Array, inside: BoolArray) -> Array:
    """The Newton step over the rows `inside`, the others fixed."""
    return solve_newton(np.ascontiguousarray(Bt[:, inside]), D[inside], sigma, -slope)


def _product(Bt: Array, sigma: float, x: Array) -> Array:
    """σ B Bᵀ x."""
    return np.asarray(sigma * ((Bt @ x) @ Bt)) if x.any() else np.zeros_like(x)
