r"""Exact Euclidean projection onto the cone of a pattern, in compiled code.

K = {u : s_i x_iᵀu ≥ 0 for all i}, s_i = 2d_i − 1. The projection of g is the first part of the Moreau
decomposition g = Π_K(g) + Π_{K°}(g), the two being orthogonal. Method: the dual active set of Goldfarb &
Idnani (1983) with a QR factorisation of the tight rows, started from a given tight set. At every step
u = g + A_Tᵀλ with λ ≥ 0, so ‖u‖ bounds ‖Π_K(g)‖ from above and the search can stop below a threshold.

Layout of the compiled code: rows of X are normalised and stored column by column (``XT``, d×n), so that
products run along contiguous memory. Row i of Q is the i-th basis vector of the span of the tight rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from convexnn._threads import run_in_threads, run_until
from convexnn._types import Array, BoolArray, IntArray

#: Sums may be reordered (vector units); infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}
#: A row counts as violated below −FEASIBLE·‖g‖ (rows have length one).
FEASIBLE = 1e-11
#: A row whose part outside the span of the tight rows is shorter than this adds nothing.
DEPENDENT = 1e-9


class Rows(NamedTuple):
    """X prepared for the compiled code: unit rows, both layouts, and their lengths."""

    unit: Array  # (n, d), zero rows stay zero
    XT: Array  # (d, n), the transpose of `unit`, contiguous
    norms: Array  # (n,)
    negative_slope: float = 0.0  # s of the activation, see `convexnn.activation`


def prepare_rows(X: Array, negative_slope: float = 0.0) -> Rows:
    """Normalise the rows of X (n×d); A_b below is (D_b + s(I − D_b))X."""
    norms = np.linalg.norm(X, axis=1)
    unit = np.ascontiguousarray(X / np.where(norms > 0, norms, 1.0)[:, None])
    return Rows(unit, np.ascontiguousarray(unit.T), norms, negative_slope)


@njit(cache=True, fastmath=FAST, nogil=True)
def times(XT, u, out):  # type: ignore[no-untyped-def]
    """out = X u, four columns at a time."""
    d, n = XT.shape
    for i in range(n):
        out[i] = 0.0
    k = 0
    while k + 4 <= d:
        a, b, c, e = u[k], u[k + 1], u[k + 2], u[k + 3]
        x0, x1, x2, x3 = XT[k], XT[k + 1], XT[k + 2], XT[k + 3]
        for i in range(n):
            out[i] += a * x0[i] + b * x1[i] + c * x2[i] + e * x3[i]
        k += 4
    while k < d:
        a = u[k]
        x0 = XT[k]
        for i in range(n):
            out[i] += a * x0[i]
        k += 1


@njit(cache=True, fastmath=FAST, nogil=True)
def transpose_times(XT, r, out):  # type: ignore[no-untyped-def]
    """out = Xᵀ r."""
    d, n = XT.shape
    for k in range(d):
        total = 0.0
        x = XT[k]
        for i in range(n):
            total += x[i] * r[i]
        out[k] = total


@njit(cache=True, fastmath=FAST, nogil=True)
def dot(a, b):  # type: ignore[no-untyped-def]
    """aᵀb."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(cache=True, fastmath=FAST, nogil=True)
def append_row(Q, R, k, a, rest):  # type: ignore[no-untyped-def]
    """Add the unit vector a to the factorisation of k rows; False if it depends on them.

    Leaves Qa in R[:k, k] and the part of a outside the span in `rest` (Gram–Schmidt, twice).
    """
    d = a.shape[0]
    for c in range(d):
        rest[c] = a[c]
    for j in range(k):
        R[j, k] = 0.0
    for _ in range(2):
        for j in range(k):
            r = dot(Q[j], rest)
            R[j, k] += r
            q = Q[j]
            for c in range(d):
                rest[c] -= r * q[c]
    length = np.sqrt(dot(rest, rest))
    if length <= DEPENDENT:
        return False
    R[k, k] = length
    for c in range(d):
        Q[k, c] = rest[c] / length
    return True


@njit(cache=True, fastmath=FAST, nogil=True)
def drop_row(Q, R, k, j):  # type: ignore[no-untyped-def]
    """Remove row j of k from the factorisation, with Givens rotations."""
    d = Q.shape[1]
    for c in range(j, k - 1):
        for r in range(c + 2):
            R[r, c] = R[r, c + 1]
    for c in range(j, k - 1):
        a, b = R[c, c], R[c + 1, c]
        length = np.hypot(a, b)
        if length == 0.0:
            continue
        a /= length
        b /= length
        R[c, c], R[c + 1, c] = length, 0.0
        for m in range(c + 1, k - 1):
            top, low = R[c, m], R[c + 1, m]
            R[c, m] = a * top + b * low
            R[c + 1, m] = a * low - b * top
        for m in range(d):
            top, low = Q[c, m], Q[c + 1, m]
            Q[c, m] = a * top + b * low
            Q[c + 1, m] = a * low - b * top


@njit(cache=True, fastmath=FAST, nogil=True)
def solve_upper(R, k, b):  # type: ignore[no-untyped-def]
    """b ← R⁻¹ b for the leading k×k block."""
    for i in range(k - 1, -1, -1):
        total = b[i]
        for j in range(i + 1, k):
            total -= R[i, j] * b[j]
        b[i] = total / R[i, i]


@njit(cache=True, fastmath=FAST, nogil=True)
def factor_rows(unit, tight, k, Q, R, rest):  # type: ignore[no-untyped-def]
    """Factorise the rows tight[:k], dropping dependent ones from the list; returns how many remain."""
    kept = np.int64(0)  # typed from the start, or its users are compiled twice
    for j in range(k):
        if append_row(Q, R, kept, unit[tight[j]], rest):
            tight[kept] = tight[j]
            kept += 1
    return kept


@njit(cache=True, fastmath=FAST, nogil=True)
def _outside(Q, k, g, u, coefficients):  # type: ignore[no-untyped-def]
    """u = g minus its part in the span of the k basis vectors; coefficients = Q g."""
    for c in range(u.shape[0]):
        u[c] = g[c]
    for j in range(k):
        r = dot(Q[j], g)
        coefficients[j] = r
        q = Q[j]
        for c in range(u.shape[0]):
            u[c] -= r * q[c]


@njit(cache=True, fastmath=FAST, nogil=True)
def _multipliers(Q, R, k, g, mask, tight, u, lam):  # type: ignore[no-untyped-def]
    """u = projection of g onto the null space of the tight rows, λ the multipliers of s_i x_i."""
    _outside(Q, k, g, u, lam)
    solve_upper(R, k, lam)
    for j in range(k):
        lam[j] = -lam[j] if mask[tight[j]] else lam[j]


@njit(cache=True, fastmath=FAST, nogil=True)
def project(unit, XT, mask, g, threshold, tight, k, Q, R, lam, u, z, work, halt):  # type: ignore[no-untyped-def]
    """Project g onto the cone of `mask`; returns the number of tight rows.

    Inputs: tight[:k] is a guess of the tight rows. Outputs: u, tight, λ (multipliers of s_i x_i), Q, R.
    Stops early, with a u that only bounds ‖Π_K(g)‖, once ‖u‖ ≤ threshold, or at halt[0]. `work` is (3, d).
    """
    d, n = XT.shape
    rest, r, a = work[0], work[1], work[2]
    k = factor_rows(unit, tight, k, Q, R, rest)
    while True:
        _multipliers(Q, R, k, g, mask, tight, u, lam)
        worst: Any = np.int64(-1)
        for j in range(k):
            if lam[j] < 0.0 and (worst < 0 or lam[j] < lam[worst]):
                worst = j
        if worst < 0:
            break
        drop_row(Q, R, k, worst)
        for j in range(worst, k - 1):
            tight[j] = tight[j + 1]
        k -= 1
    scale = np.sqrt(dot(g, g))
    for _ in range(50 + 20 * d):
        if dot(u, u) <= threshold * threshold or halt[0]:
            break
        times(XT, u, z)
        new, worst_value = -1, -FEASIBLE * scale
        for i in range(n):
            value = z[i] if mask[i] else -z[i]
            if value < worst_value:
                new, worst_value = i, value
        if new < 0:
            break
        sign = 1.0 if mask[new] else -1.0
        already = False
        for j in range(k):
            already = already or tight[j] == new
        if already:  # rounding only: the row is tight
            break
        for c in range(d):
            a[c] = sign * unit[new, c]
        lam_new = 0.0
        finished = False
        while not finished:
            independent = k < d and append_row(Q, R, k, a, rest)
            for j in range(k):
                r[j] = R[j, k] if k < d else dot(Q[j], a)
            solve_upper(R, k, r)
            drop: Any = np.int64(-1)
            step = np.inf
            for j in range(k):  # r is in units of x_i; multipliers are in units of s_i x_i
                rate = r[j] if mask[tight[j]] else -r[j]
                if rate > 0.0 and lam[j] < step * rate:
                    drop, step = j, lam[j] / rate
            if independent:
                full = -dot(a, u) / dot(rest, rest)
                if full <= step:
                    drop, step = -1, full
            elif drop < 0:
                finished = True
                continue
            for j in range(k):
                rate = r[j] if mask[tight[j]] else -r[j]
                lam[j] -= step * rate
            lam_new += step
            if independent:
                for c in range(d):
                    u[c] += step * rest[c]
            if drop < 0:
                if sign < 0:  # the factorisation holds x_i, not s_i x_i
                    for j in range(k):
                        R[j, k] = -R[j, k]
                    R[k, k] = -R[k, k]
                tight[k] = new
                lam[k] = lam_new
                k += 1
                finished = True
            else:
                drop_row(Q, R, k, drop)
                for j in range(drop, k - 1):
                    tight[j] = tight[j + 1]
                    lam[j] = lam[j + 1]
                k -= 1
    _multipliers(Q, R, k, g, mask, tight, u, lam)
    return k


@njit(cache=True, fastmath=FAST, nogil=True)
def _project_range(unit, XT, masks, gated, G, threshold, tight, count, W, halt, start, stop):  # type: ignore[no-untyped-def]
    d, n = XT.shape
    Q, R, lam, z, work = np.empty((d, d)), np.zeros((d, d + 1)), np.empty(d), np.empty(n), np.empty((3, d))
    for b in range(start, stop):
        length = np.sqrt(dot(G[b], G[b]))
        if gated or length <= threshold:
            for c in range(d):
                W[b, c] = G[b, c]
        else:
            count[b] = project(
                unit, XT, masks[b], G[b], threshold, tight[b], count[b], Q, R, lam, W[b], z, work, halt
            )


@njit(cache=True, fastmath=FAST, nogil=True)
def _adjoint_range(XT, norms, slope, masks, signs, nu, shift, G, start, stop):  # type: ignore[no-untyped-def]
    d, n = XT.shape
    r = np.empty(n)
    for b in range(start, stop):
        mask = masks[b]
        s = signs[b]
        for i in range(n):
            r[i] = s * norms[i] * nu[i] if mask[i] else slope * (s * norms[i] * nu[i])
        transpose_times(XT, r, G[b])
        for c in range(d):
            G[b, c] += shift[b, c]


def adjoint_blocks(rows: Rows, masks: BoolArray, signs: Array, nu: Array, shift: Array) -> Array:
    """Row b is shift_b + s_b A_bᵀν, A_b = D_bX for a ReLU. `masks` is B×n."""
    G = np.empty_like(shift)
    slope = float(rows.negative_slope)
    run_in_threads(_adjoint_range, len(masks), rows.XT, rows.norms, slope, masks, signs, nu, shift, G)
    return G


def project_blocks(
    rows: Rows,
    masks: BoolArray,
    G: Array,
    *,
    tight: IntArray,
    count: IntArray,
    threshold: float = 0.0,
    gated: bool = False,
    deadline: float = np.inf,
) -> Array:
    """Row b is Π_{K_b}(G_b), exactly where its norm exceeds `threshold`, an upper bound in norm elsewhere.

    Parameters
    ----------
    masks : (B, n) bool, G : (B, d)
    tight : (B, d) int, count : (B,) int
        tight[b, :count[b]] are the guessed tight rows; both are overwritten with the final ones.
    gated : bool
        No cone: returns G.
    deadline : float
        Value of `time.perf_counter` at which to give up, by OutOfTime.
    """
    G = np.ascontiguousarray(G)  # one layout, compiled once
    W = np.empty_like(G)
    run_until(
        deadline, _project_range, len(masks), rows.unit, rows.XT, masks, gated, G, threshold, tight, count, W
    )
    return W


def project_cone(X: Array, mask: BoolArray, g: Array) -> Array:
    """Π_K(g) for K = {u : (2 diag(mask) − I) X u ≥ 0}.

    Parameters
    ----------
    X : (n, d), mask : (n,) bool, g : (d,)
    """
    rows = prepare_rows(np.asarray(X, dtype=np.float64))
    d = rows.unit.shape[1]
    masks = np.ascontiguousarray(np.asarray(mask, dtype=bool)[None])
    G = np.array(g, dtype=np.float64)[None]
    tight, count = np.zeros((1, d), dtype=np.int64), np.zeros(1, dtype=np.int64)
    return project_blocks(rows, masks, G, tight=tight, count=count).reshape(d)
