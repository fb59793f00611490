r"""The interior point that bounds h on one box: see `convexnn.pricing.boxes` for the statement and the proof.

    min ‖w‖²/2  over w, δ ∈ [0, 1]^N  s.t.  t_σ = (1, σ)ᵀ(Tᵀw + Σδ_iN_i − linear) − c_σ ≥ 0

with multipliers λ_σ of t ≥ 0, α and γ of δ ≥ 0 and δ ≤ 1; w = TΣλ_σ(1, σ) =: Tm and N_iᵀm = γ_i − α_i. With
D_i = γ_i/(1 − δ_i) + α_i/δ_i, e_i = μ/δ_i − μ/(1 − δ_i), K = TᵀT + ΣN_iN_iᵀ/D_i, f = Tᵀw − ΣN_ie_i/D_i,
M = Σ(λ/t)(1, σ)(1, σ)ᵀ and p = Σ(μ/t)(1, σ), a Newton step is m⁺ = K⁻¹(y + f), y = K m⁺ − f and
(M + K⁻¹)y = p − K⁻¹f: one Cholesky factor of K = LLᵀ, one of I + LᵀML, whose eigenvalues are at least 1.
w is a variable of its own and the slacks are recomputed from it, so no error accumulates in them.
"""

import numpy as np
from numba import njit

from convexnn.cones import FAST, dot
from convexnn.pricing.boxes import (
    from_box,
    outward,
    row_sums,
    slacks,
    spread,
    times_rows,
    to_box,
    vertex_values,
    walsh,
)

_MAX_ITERATIONS = 40
#: Complementarity Σ and slack at the start, in units of the expected bound (squared, plain).
_FIRST_GAP, _FIRST_SLACK = 0.02, 0.005
#: Bound and dual value this close mean that the box is solved.
_CLOSE = 1e-9
#: A step goes this far towards the boundary.
_BACK = 0.98


@njit(cache=True, fastmath=FAST, nogil=True)
def _cholesky(K, r):  # type: ignore[no-untyped-def]
    """Lower factor in place; a pivot that rounding made non-positive is replaced by a small one."""
    for j in range(r):
        total = K[j, j]
        floor = 1e-14 * total + 1e-300
        for m in range(j):
            total -= K[j, m] * K[j, m]
        pivot = np.sqrt(max(total, floor))
        K[j, j] = pivot
        for i in range(j + 1, r):
            total = K[i, j]
            for m in range(j):
                total -= K[i, m] * K[j, m]
            K[i, j] = total / pivot


@njit(cache=True, fastmath=FAST, nogil=True)
def _forward(L, r, b):  # type: ignore[no-untyped-def]
    """b ← L⁻¹ b."""
    for i in range(r):
        total = b[i]
        for j in range(i):
            total -= L[i, j] * b[j]
        b[i] = total / L[i, i]


@njit(cache=True, fastmath=FAST, nogil=True)
def _backward(L, r, b):  # type: ignore[no-untyped-def]
    """b ← L⁻ᵀ b."""
    for i in range(r - 1, -1, -1):
        total = b[i]
        for j in range(i + 1, r):
            total -= L[j, i] * b[j]
        b[i] = total / L[i, i]


@njit(cache=True, fastmath=FAST, nogil=True)
def _value(box, s, m):  # type: ignore[no-untyped-def]
    """Σλ_σc_σ + linearᵀm − Σ(N_iᵀm)_+, with N_iᵀm left in z."""
    c, lam, z = s.cube[0], s.cube[2], s.rows[3]
    total = 0.0
    for v in range(1 << box.axes.shape[0]):
        total += lam[v] * c[v]
    for j in range(m.shape[0]):
        total += box.linear[j] * m[j]
    times_rows(box.N, box.used[1], m, z)
    for i in range(box.used[1]):
        total -= max(z[i], 0.0)
    return total


@njit(cache=True, fastmath=FAST, nogil=True)
def _start(box, s, x, tau):  # type: ignore[no-untyped-def]
    """Product weights λ at the position x, rows centred at the first μ, w moved to where t is positive."""
    k = box.axes.shape[0]
    lam, w, m = s.cube[2], s.small[0], s.small[1]
    lam[0] = 1.0
    m[0] = 1.0
    half = 1
    for j in range(k):
        m[j + 1] = x[j]
        for v in range(half):
            lam[v + half] = lam[v] * 0.5 * (1.0 + x[j])
            lam[v] *= 0.5 * (1.0 - x[j])
        half *= 2
    length = from_box(box, m, w)
    goal = max(tau, _value(box, s, m) / length)
    scale = goal / length
    for v in range(1 << k):
        lam[v] *= scale
    mn = box.used[1]
    mu = _FIRST_GAP * goal * goal / ((1 << k) + 2 * mn)
    delta, alpha, gamma, z = s.rows[0], s.rows[1], s.rows[2], s.rows[3]
    for i in range(mn):
        q = scale * z[i] / mu
        delta[i] = min(1.0 - 1e-9, max(1e-9, 0.5 + 0.5 * q / (np.sqrt(q * q + 4.0) + 2.0)))
        alpha[i] = mu / delta[i]
        gamma[i] = mu / (1.0 - delta[i])
    for j in range(w.shape[0]):
        w[j] *= scale
    lift = max(0.0, _FIRST_SLACK * goal - slacks(box, s))
    for j in range(w.shape[0]):
        w[j] += lift * box.centre[j]


@njit(cache=True, fastmath=FAST, nogil=True)
def _dual(box, s, x):  # type: ignore[no-untyped-def]
    """(value of λ over ‖Vλ‖, Σ of the complementarity products); m = moments of λ, x its position."""
    k, V, mn = box.axes.shape[0], 1 << box.axes.shape[0], box.used[1]
    t, lam, moments, m = s.cube[1], s.cube[2], s.cube[4], s.small[1]
    delta, alpha, gamma = s.rows[0], s.rows[1], s.rows[2]
    gap = 0.0
    for v in range(V):
        moments[v] = lam[v]
        gap += lam[v] * t[v]
    for i in range(mn):
        gap += alpha[i] * delta[i] + gamma[i] * (1.0 - delta[i])
    walsh(moments, k)
    m[0] = moments[0]
    for j in range(k):
        m[j + 1] = moments[1 << j]
        x[j] = m[j + 1] / m[0]
    return _value(box, s, m) / from_box(box, m, s.small[7]), gap


@njit(cache=True, fastmath=FAST, nogil=True)
def _system(box, s, mu):  # type: ignore[no-untyped-def]
    """K = TᵀT + ΣN_iN_iᵀ/D_i, f = Tᵀw − ΣN_ie_i/D_i, M = Σ(λ/t)(1,σ)(1,σ)ᵀ, p = Σ(μ/t)(1,σ)."""
    k, r, mn = box.axes.shape[0], box.axes.shape[0] + 1, box.used[1]
    t, lam, weight, push = s.cube[1], s.cube[2], s.cube[4], s.cube[5]
    delta, alpha, gamma, z, inverse, e = s.rows[0], s.rows[1], s.rows[2], s.rows[3], s.rows[4], s.rows[5]
    y, f, p, K, M, N = s.small[2], s.small[3], s.small[5], s.mats[0], s.mats[1], box.N
    for i in range(mn):
        inverse[i] = 1.0 / (gamma[i] / (1.0 - delta[i]) + alpha[i] / delta[i])
        e[i] = mu / delta[i] - mu / (1.0 - delta[i])
        z[i] = e[i] * inverse[i]
    row_sums(N, mn, z, y)
    to_box(box, s.small[0], f)
    for a in range(r):
        f[a] -= y[a]
        for i in range(mn):
            z[i] = N[a, i] * inverse[i]
        for b in range(a + 1):
            total = 0.0
            for i in range(mn):
                total += z[i] * N[b, i]
            K[a, b] = total
    K[0, 0] += dot(box.centre, box.centre)
    for j in range(k):
        a = box.axes[j]
        K[j + 1, 0] += box.centre[a] * box.half[a]
        K[j + 1, j + 1] += box.half[a] * box.half[a]
    for v in range(1 << k):
        weight[v] = lam[v] / t[v]
        push[v] = mu / t[v]
    walsh(weight, k)
    walsh(push, k)
    p[0], M[0, 0] = push[0], weight[0]
    for a in range(k):
        p[a + 1] = push[1 << a]
        M[a + 1, 0] = M[0, a + 1] = weight[1 << a]
        M[a + 1, a + 1] = weight[0]
        for b in range(a):
            M[a + 1, b + 1] = M[b + 1, a + 1] = weight[(1 << a) | (1 << b)]


@njit(cache=True, fastmath=FAST, nogil=True)
def _solve(s):  # type: ignore[no-untyped-def]
    """y = Lx and the new m = L⁻ᵀ(x + L⁻¹f), where (I + LᵀML)x = Lᵀp − L⁻¹f and K = LLᵀ."""
    K, M, Q, product = s.mats[0], s.mats[1], s.mats[2], s.mats[3]
    y, f, x, p, mnew = s.small[2], s.small[3], s.small[4], s.small[5], s.small[6]
    r = y.shape[0]
    _cholesky(K, r)
    _forward(K, r, f)
    for a in range(r):
        for b in range(r):
            total = 0.0
            for q in range(b, r):
                total += M[a, q] * K[q, b]
            product[a, b] = total
    for a in range(r):
        x[a] = -f[a]
        for q in range(a, r):
            x[a] += K[q, a] * p[q]
        for b in range(a + 1):
            total = 0.0
            for q in range(a, r):
                total += K[q, a] * product[q, b]
            Q[a, b] = total
        Q[a, a] += 1.0
    _cholesky(Q, r)
    _forward(Q, r, x)
    _backward(Q, r, x)
    for a in range(r):
        total = 0.0
        for q in range(a + 1):
            total += K[a, q] * x[q]
        y[a] = total
        mnew[a] = x[a] + f[a]
    _backward(K, r, mnew)


@njit(cache=True, fastmath=FAST, nogil=True)
def _step(box, s, mu):  # type: ignore[no-untyped-def]
    """Move primal (w, δ) and dual (λ, α, γ) variables, each short of its boundary; the shorter length."""
    V, mn = 1 << box.axes.shape[0], box.used[1]
    t, lam, dt, change = s.cube[1], s.cube[2], s.cube[3], s.cube[4]
    delta, alpha, gamma = s.rows[0], s.rows[1], s.rows[2]
    ddelta, dgamma, dalpha = s.rows[3], s.rows[4], s.rows[5]  # where z, 1/D and e are
    w, wnew = s.small[0], s.small[7]
    spread(s.small[2], box.axes.shape[0], dt)
    times_rows(box.N, mn, s.small[6], ddelta)
    primal, dual = _BACK, _BACK  # _BACK over them, at least
    for v in range(V):
        change[v] = (mu - lam[v] * dt[v]) / t[v] - lam[v]
        primal = max(primal, -dt[v] / t[v])
        dual = max(dual, -change[v] / lam[v])
    for i in range(mn):
        low, high = 1.0 / delta[i], 1.0 / (1.0 - delta[i])
        step = (ddelta[i] + dalpha[i]) * dgamma[i]
        ddelta[i] = step
        dalpha[i] = (mu - alpha[i] * step) * low - alpha[i]
        dgamma[i] = (mu + gamma[i] * step) * high - gamma[i]
        primal = max(primal, max(-step * low, step * high))
        dual = max(dual, max(-dalpha[i] / alpha[i], -dgamma[i] / gamma[i]))
    primal, dual = _BACK / primal, _BACK / dual
    from_box(box, s.small[6], wnew)
    for j in range(w.shape[0]):
        w[j] += primal * (wnew[j] - w[j])
    for i in range(mn):
        delta[i] = max(1e-12, min(1.0 - 1e-12, delta[i] + primal * ddelta[i]))
        alpha[i] += dual * dalpha[i]
        gamma[i] += dual * dgamma[i]
    for v in range(V):
        lam[v] += dual * change[v]
    return min(primal, dual)


@njit(cache=True, fastmath=FAST, nogil=True)
def bound_box(box, s, x, tau, parent, mass, terms):  # type: ignore[no-untyped-def]
    """A proven bound of h on the box's cone ∩ unit ball, ≤ `parent`: ≤ τ if any such bound is.

    x (k,) is a guess of the position of the maximiser in [−1, 1]^k, then a better one; `mass` is
    Σ|a_i|₁ + Σ|b_i|₁ rounded up, `terms` n + r.
    """
    k = box.axes.shape[0]
    vertex_values(box.P, box.used[0], k, s.cube[0], s.cube[6], s.cube[7])
    for j in range(k):
        x[j] = max(-0.8, min(0.8, x[j]))
    _start(box, s, x, tau)
    best, sigma = parent, 0.2
    for _ in range(_MAX_ITERATIONS):
        least = slacks(box, s)
        bound = outward(box, s.small[0], least, mass, terms)
        if bound < best:
            best = bound
        if best <= tau:
            break
        value, gap = _dual(box, s, x)
        if not (value <= tau and least > 0.0 and bound - value > _CLOSE * bound):
            break
        mu = sigma * gap / ((1 << k) + 2 * box.used[1])
        _system(box, s, mu)
        _solve(s)
        length = _step(box, s, mu)
        sigma = 0.1 if length > 0.8 else 0.3 if length > 0.4 else 0.6
    return best
