r"""Upper bounds of h(u) = Σ(a_iᵀu)_+ − Σ(b_iᵀu)_+ on the cone over a box, in compiled code.

The cone. A face of the cube [−1, 1]^r (u_f = ±1) is cut into boxes, lo_j ≤ u_j ≤ hi_j for the k = r − 1
other axes; a box stands for the cone of its 2^k vertices v. With T = [centre, half-widths along the axes]
a vertex is T(1, σ), σ ∈ {−1, 1}^k, and every row a becomes Tᵀa in "box coordinates".

The bound. If δ ∈ [0, 1]^N and vᵀ(w + Bᵀδ) ≥ h₊(v), h₊(u) = Σ(a_iᵀu)_+, at every vertex, then h(u) ≤ ‖w‖ on
cone ∩ unit ball: u = Σλ_v v with λ ≥ 0, h₊(u) ≤ Σλ_v h₊(v) by convexity, −(b_iᵀu)_+ ≤ −δ_i b_iᵀu; add.
Minimising ‖w‖ is the dual of max Σλ_v h₊(v) − Σ(b_iᵀVλ)_+ over λ ≥ 0, ‖Vλ‖ ≤ 1, so a primal-dual
interior point gives both a bound (stop and prune once it is ≤ τ) and a proof that no such bound is ≤ τ
(stop and split). Its systems are r×r; sums over vertices are Walsh-Hadamard transforms of length 2^k.

Rounding. Nothing but the last check (`outward`) carries the proof, and it takes any w and δ. The slacks
t_v = vᵀ(w + Bᵀδ) − h₊(v) are sums of at most n rows of r terms, every |v_j| ≤ 1, so whatever the order of
summation they are off by at most e = ERROR·(n + r)·2⁻⁵³·(Σ|a_i|₁ + Σ|b_i|₁ + |w|₁); a row taken for
one-signed although a vertex lies beyond its plane by rounding adds a term of the same kind. Moving w along
the centre C, for which vᵀC ≥ 1 at every vertex, by (e − min t) restores every constraint exactly.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from convexnn._types import Array, IntArray
from convexnn.cones import FAST, dot

#: Factor of the rounding error of a slack; a count of all roundings gives less than 16.
ERROR = 32.0
_UNIT = 2.0**-53


class Box(NamedTuple):
    """One box and the rows that are not of one sign on it, in box coordinates."""

    centre: Array  # (r,) with ±1 on the axis of the face
    half: Array  # (r,) half-widths, 0 on the axis of the face
    axes: IntArray  # (k,) the other axes, ascending
    linear: Array  # (r,) sum of the rows a_i, −b_i that are positive all over the box
    P: Array  # (r, ·) mixed rows a_i, one a column
    N: Array  # (r, ·) mixed rows b_i
    used: IntArray  # (2,) columns of P and N in use


class Scratch(NamedTuple):
    """Working memory of one thread."""

    cube: Array  # (8, 2^k): c, t, λ, dt or dλ, two to transform, two small tables
    rows: Array  # (6, n): δ, α (multiplier of δ ≥ 0), γ (of δ ≤ 1), z, inverse diagonal, e
    small: Array  # (8, r): w, m, y, f, right-hand side, p, new m, new w
    mats: Array  # (4, r, r): K, M, Q, product


def make_box(r: int, n: int) -> Box:
    """Memory for a box in R^r with up to n mixed rows of each kind."""
    P, N = np.zeros((r, n)), np.zeros((r, n))
    return Box(
        np.zeros(r), np.zeros(r), np.zeros(r - 1, dtype=np.int64), np.zeros(r), P, N,
        np.zeros(2, dtype=np.int64),
    )  # fmt: skip


def make_scratch(r: int, n: int) -> Scratch:
    """Working memory for rank r and n rows."""
    return Scratch(
        np.zeros((8, max(8, 1 << (r - 1)))), np.zeros((6, n)), np.zeros((8, r)), np.zeros((4, r, r))
    )


@njit(cache=True, fastmath=FAST, nogil=True)
def walsh(a, k):  # type: ignore[no-untyped-def]
    """a ← its moments: a[S] = Σ_σ a_σ Π_{j∈S} σ_j, bit j of an index meaning σ_j = +1."""
    half = 1
    for _ in range(k):
        for start in range(0, 1 << k, 2 * half):
            for i in range(start, start + half):
                low, high = a[i], a[i + half]
                a[i] = low + high
                a[i + half] = high - low
        half *= 2


@njit(cache=True, fastmath=FAST, nogil=True)
def spread(y, k, out):  # type: ignore[no-untyped-def]
    """out_σ = y_0 + Σ_j σ_j y_j."""
    out[0] = y[0]
    half = 1
    for j in range(k):
        step = y[j + 1]
        for i in range(half):
            out[i + half] = out[i] + step
            out[i] -= step
        half *= 2


@njit(cache=True, fastmath=FAST, nogil=True)
def vertex_values(P, mp, k, c, low, high):  # type: ignore[no-untyped-def]
    """c_σ = Σ_i (P_iᵀ(1, σ))_+ over the first mp columns of P (r × ·)."""
    k1 = min(k, 3)
    n1, n2 = 1 << k1, 1 << (k - k1)
    c[: n1 * n2] = 0.0
    for i in range(mp):
        low[0] = P[0, i]
        half = 1
        for j in range(k1):
            step = P[j + 1, i]
            for s in range(half):
                low[s + half] = low[s] + step
                low[s] -= step
            half *= 2
        high[0] = 0.0
        half = 1
        for j in range(k1, k):
            step = P[j + 1, i]
            for s in range(half):
                high[s + half] = high[s] + step
                high[s] -= step
            half *= 2
        for q in range(n2):
            shift = high[q]
            base = q * n1
            for s in range(n1):
                c[base + s] += max(low[s] + shift, 0.0)


@njit(cache=True, fastmath=FAST, nogil=True)
def times_rows(N, mn, y, out):  # type: ignore[no-untyped-def]
    """out_i = N_iᵀ y over the first mn columns."""
    y0 = y[0]
    for i in range(mn):
        out[i] = y0 * N[0, i]
    for a in range(1, y.shape[0]):
        ya = y[a]
        for i in range(mn):
            out[i] += ya * N[a, i]


@njit(cache=True, fastmath=FAST, nogil=True)
def row_sums(N, mn, weight, out):  # type: ignore[no-untyped-def]
    """out = Σ_i weight_i N_i."""
    for a in range(out.shape[0]):
        total = 0.0
        for i in range(mn):
            total += N[a, i] * weight[i]
        out[a] = total


@njit(cache=True, fastmath=FAST, nogil=True)
def to_box(box, w, out):  # type: ignore[no-untyped-def]
    """out = Tᵀ w."""
    total = 0.0
    for j in range(w.shape[0]):
        total += box.centre[j] * w[j]
    out[0] = total
    for j in range(box.axes.shape[0]):
        a = box.axes[j]
        out[j + 1] = box.half[a] * w[a]


@njit(cache=True, fastmath=FAST, nogil=True)
def from_box(box, m, out):  # type: ignore[no-untyped-def]
    """out = T m; returns its length."""
    for j in range(out.shape[0]):
        out[j] = box.centre[j] * m[0]
    for j in range(box.axes.shape[0]):
        a = box.axes[j]
        out[a] += box.half[a] * m[j + 1]
    return np.sqrt(dot(out, out))


@njit(cache=True, fastmath=FAST, nogil=True)
def slacks(box, s):  # type: ignore[no-untyped-def]
    """t_σ = (1, σ)ᵀ(Tᵀw + Σδ_iN_i − linear) − c_σ; returns the smallest."""
    k = box.axes.shape[0]
    c, t, y, f = s.cube[0], s.cube[1], s.small[2], s.small[3]
    row_sums(box.N, box.used[1], s.rows[0], y)
    to_box(box, s.small[0], f)
    for j in range(k + 1):
        y[j] += f[j] - box.linear[j]
    spread(y, k, t)
    least = np.inf
    for v in range(1 << k):
        t[v] -= c[v]
        least = min(least, t[v])
    return least


@njit(cache=True, fastmath=FAST, nogil=True)
def outward(box, w, least, mass, terms):  # type: ignore[no-untyped-def]
    """A proven bound from w and the computed smallest slack: see the module's note on rounding."""
    r = w.shape[0]
    size, reach, longest, square, along = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(r):
        centre = box.centre[j]
        size += abs(w[j])
        reach += abs(centre)
        along += w[j] * centre
        square += centre * centre
        longest += abs(centre) * box.half[j]
    longest += square
    room = least - ERROR * terms * _UNIT * (mass + size)
    if room > 0.0:  # vᵀC lies between 1 and `longest`; no further than the foot of w on C
        shift = min(room / (longest * (1.0 + 1e-12)), max(0.0, along / square))
    else:
        shift = room * (1.0 + 1e-12)
    total = 0.0
    for j in range(r):
        x = w[j] - shift * box.centre[j]
        total += x * x
    slop = 64 * r * _UNIT
    return np.sqrt(total) * (1.0 + slop) + slop * (size + abs(shift) * reach)
