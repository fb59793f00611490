r"""Compiled float32 sums over all rows for smoothed neurons: what pricing and sliding cost at large n.

    φ_b(z) = z p + b p(1 − p),  p = clip(z/2b + ½, 0, 1),  ∂φ/∂z = p,  ∂φ/∂b = p(1 − p)

which is the ReLU outside |z| < b. X is stored column by column (``XT``, d×n, float32); rows are taken in
blocks that stay in the cache, with the neurons inside, so that no n×M array is formed. The sums of a block
are float32, their totals float64.
"""

import numpy as np
from numba import njit

from convexnn.cones import FAST

BLOCK = 1024


@njit(cache=True, fastmath=FAST, nogil=True)
def _block_times(XT, lo, size, u, z):  # type: ignore[no-untyped-def]
    """z[:size] = X[lo : lo + size] u, five columns at a time."""
    d = XT.shape[0]
    k = 0
    z[:size] = 0.0
    while k + 5 <= d:
        a, b, c, e, f = u[k], u[k + 1], u[k + 2], u[k + 3], u[k + 4]
        x0, x1, x2 = XT[k, lo : lo + size], XT[k + 1, lo : lo + size], XT[k + 2, lo : lo + size]
        x3, x4 = XT[k + 3, lo : lo + size], XT[k + 4, lo : lo + size]
        for i in range(size):
            z[i] += a * x0[i] + b * x1[i] + c * x2[i] + e * x3[i] + f * x4[i]
        k += 5
    while k + 2 <= d:
        a, b = u[k], u[k + 1]
        x0, x1 = XT[k, lo : lo + size], XT[k + 1, lo : lo + size]
        for i in range(size):
            z[i] += a * x0[i] + b * x1[i]
        k += 2
    while k < d:
        a = u[k]
        x0 = XT[k, lo : lo + size]
        for i in range(size):
            z[i] += a * x0[i]
        k += 1


@njit(cache=True, fastmath=FAST, nogil=True)
def _add_transpose_times(XT, lo, size, r, out):  # type: ignore[no-untyped-def]
    """out += X[lo : lo + size]ᵀ r, four columns at a time."""
    d = XT.shape[0]
    zero = np.float32(0.0)
    k = 0
    while k + 4 <= d:
        x0, x1 = XT[k, lo : lo + size], XT[k + 1, lo : lo + size]
        x2, x3 = XT[k + 2, lo : lo + size], XT[k + 3, lo : lo + size]
        t0, t1, t2, t3 = zero, zero, zero, zero
        for i in range(size):
            t0 += r[i] * x0[i]
            t1 += r[i] * x1[i]
            t2 += r[i] * x2[i]
            t3 += r[i] * x3[i]
        out[k] += t0
        out[k + 1] += t1
        out[k + 2] += t2
        out[k + 3] += t3
        k += 4
    while k < d:
        x0 = XT[k, lo : lo + size]
        t0 = zero
        for i in range(size):
            t0 += r[i] * x0[i]
        out[k] += t0
        k += 1


@njit(cache=True, fastmath=FAST, nogil=True)
def _weigh(r, z, b, size, out):  # type: ignore[no-untyped-def]
    """out = r p, and Σ r p(1 − p)."""
    inverse, half = np.float32(0.5) / b, np.float32(0.5)
    zero, one = np.float32(0.0), np.float32(1.0)
    total = zero
    for i in range(size):
        p = min(max(z[i] * inverse + half, zero), one)
        t = r[i] * p
        out[i] = t
        total += t * (one - p)
    return total


@njit(cache=True, fastmath=FAST, nogil=True)
def _add_curvature(XT, lo, size, nu, z, b, rows, near, H):  # type: ignore[no-untyped-def]
    """H += Σ_{|z| < b} ν_i x_i x_iᵀ (lower triangle); the rows inside are first copied together."""
    d = XT.shape[0]
    count = 0
    for i in range(size):
        rows[count] = i
        count += 1 if abs(z[i]) < b else 0
    for k in range(d):
        x = XT[k, lo : lo + size]
        target = near[k]
        for j in range(count):
            target[j] = x[rows[j]]
    weighted = near[d]
    for k in range(d):
        x = near[k]
        for j in range(count):
            weighted[j] = nu[lo + rows[j]] * x[j]
        for m in range(k + 1):
            other = near[m]
            total = np.float32(0.0)
            for j in range(count):
                total += weighted[j] * other[j]
            H[k, m] += total


@njit(cache=True, fastmath=FAST, nogil=True)
def price_range(XT, nu, U, b, with_curvature, G, W, H, start, stop):  # type: ignore[no-untyped-def]
    """For neuron s: G_s = Σ ν_i p_i x_i, W_s = Σ ν_i p_i(1 − p_i), H_s = Σ_{|z| < b_s} ν_i x_i x_iᵀ."""
    d, n = XT.shape
    z, r = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    rows, near = np.empty(BLOCK + 1, np.int32), np.empty((d + 1, BLOCK), np.float32)
    for lo in range(0, n, BLOCK):
        size = min(BLOCK, n - lo)
        for s in range(start, stop):
            _block_times(XT, lo, size, U[s], z)
            W[s] += _weigh(nu[lo : lo + size], z, b[s], size, r)
            _add_transpose_times(XT, lo, size, r, G[s])
            if with_curvature:
                _add_curvature(XT, lo, size, nu, z, b[s], rows, near, H[s])


@njit(cache=True, fastmath=FAST, nogil=True)
def slide_range(XT, y, V, signs, b, bounds, G, W, value, start, stop):  # type: ignore[no-untyped-def]
    """½‖f − y‖², f = Σ_j s_j φ_{b_j}(Xv_j), with G_j = Σ r_i p_ij x_i and W_j = Σ r_i p(1 − p), r = f − y.

    Part c takes rows bounds[c] to bounds[c + 1] and writes value[c], G[c] and W[c].
    """
    z, t = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    f = np.empty(BLOCK, np.float32)
    half, zero, one = np.float32(0.5), np.float32(0.0), np.float32(1.0)
    for c in range(start, stop):
        for lo in range(bounds[c], bounds[c + 1], BLOCK):
            size = min(BLOCK, bounds[c + 1] - lo)
            for i in range(size):
                f[i] = -y[lo + i]
            for j in range(V.shape[0]):
                _block_times(XT, lo, size, V[j], z)
                inverse, s, bj = half / b[j], signs[j], b[j]
                for i in range(size):
                    p = min(max(z[i] * inverse + half, zero), one)
                    f[i] += s * (z[i] * p + bj * p * (one - p))
            total = zero
            for i in range(size):
                total += f[i] * f[i]
            value[c] += half * total
            for j in range(V.shape[0]):
                _block_times(XT, lo, size, V[j], z)
                W[c, j] += _weigh(f, z, b[j], size, t)
                _add_transpose_times(XT, lo, size, t, G[c, j])


@njit(cache=True, fastmath=FAST, nogil=True)
def values_range(X, nu, U, values, start, stop):  # type: ignore[no-untyped-def]
    """values_s = νᵀ(Xu_s)_+ in float64; X is d×n, float64."""
    n = X.shape[1]
    z = np.empty(BLOCK)
    for lo in range(0, n, BLOCK):
        size = min(BLOCK, n - lo)
        for s in range(start, stop):
            _block_times(X, lo, size, U[s], z)
            total = 0.0
            for i in range(size):
                total += nu[lo + i] * max(z[i], 0.0)
            values[s] += total
