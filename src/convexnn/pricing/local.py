r"""Local maxima of h(u) = νᵀ(Xu)_+ over the unit ball, exactly, from many starts (compiled).

ρ(ν) = max_{‖u‖≤1} h(u). Since h is positively homogeneous, ρ²/2 = max_u h(u) − ½‖u‖², attained at ρû. Rows
with ν_i > 0 are convex in u, so at the present activations they are a fixed linear minorant; with it the
problem is concave, and an active set of tight rows with ν_i < 0 solves it: step towards the projection of
c = Σ_active ν_i x_i onto the null space of the tight rows, stop at the kink where the slope ends (that row
becomes tight), let rows with ν_i > 0 flip after every step, and release a tight row whose multiplier leaves
[0, |ν_i|]. Every step raises h(u) − ½‖u‖², and the end is an exact local maximum.

A linear term bᵀu, which other activations than the ReLU bring (`convexnn.activation`), only adds b to c.

What is found is a lower bound on ρ: useful evidence, never a proof.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from convexnn._threads import run_until
from convexnn._types import Array, BoolArray, IntArray
from convexnn.activation import one_side
from convexnn.cones import (
    FAST,
    Rows,
    append_row,
    dot,
    drop_row,
    prepare_rows,
    solve_upper,
    times,
    transpose_times,
)

_MAX_STEPS = 400
#: Ascents from a perturbed end where other rows vanish there too (ties in integer data).
_RETRIES = 4
#: A step shorter than this, relative to ‖c‖, has arrived.
_ARRIVED = 1e-11


class Maxima(NamedTuple):
    """Local maxima, one a row; a tight row's label is its side in the cell to take."""

    values: Array  # (S,) h(u); negative where the ascent shrank towards the maximum 0 at u = 0
    directions: Array  # (S, d) unit vectors u, or 0 where the value is 0
    tight: IntArray  # (S, d) rows with x_iᵀu = 0 in [s, :n_tight[s]]
    labels: BoolArray  # (S, d)
    n_tight: IntArray  # (S,)

    def take(self, index: IntArray | BoolArray) -> "Maxima":
        """Some of the maxima."""
        return Maxima(
            self.values[index],
            self.directions[index],
            self.tight[index],
            self.labels[index],
            self.n_tight[index],
        )


def climb(
    rows: Rows,
    nu: Array,
    starts: Array,
    *,
    cut: float = 0.0,
    deadline: float = np.inf,
    linear: Array | None = None,
) -> Maxima:
    """The local maximum of νᵀσ_s(Xu) + linearᵀu that exact ascent reaches from each start.

    Parameters
    ----------
    rows : Rows
        `convexnn.cones.prepare_rows` of X (n×d), with the slope s.
    nu : (n,)
    starts : (S, d)
        Any lengths; a zero row starts from a fixed direction.
    cut : float
        Abandon a start whose value is below 0.5, 0.75, 0.85, 0.92 times `cut` after 10, 20, 30, 40 steps;
        its value so far is reported. 0 never abandons.
    deadline : float
        Value of `time.perf_counter` at which to give up, by OutOfTime.
    linear : (d,), optional
        Zero by default.
    """
    S, d = starts.shape
    out = Maxima(
        np.zeros(S), np.zeros((S, d)), np.zeros((S, d), dtype=np.int64),
        np.zeros((S, d), dtype=bool), np.zeros(S, dtype=np.int64),
    )  # fmt: skip
    q = np.ascontiguousarray(nu * rows.norms)
    base = np.zeros(d) if linear is None else np.array(linear, dtype=np.float64)
    slope = rows.negative_slope
    if slope != 0.0:
        base += slope * (rows.XT @ q)
        q *= 1.0 - slope
    starts = np.ascontiguousarray(starts, dtype=np.float64)
    run_until(deadline, _climb_range, S, rows.unit, rows.XT, q, base, starts, cut, *out)
    flipped = one_side(out.directions, slope) < 0
    if flipped.any():
        out.directions[flipped] *= -1.0
        out.labels[flipped] = ~out.labels[flipped]
    return out


@njit(cache=True, fastmath=FAST, nogil=True)
def _climb_range(unit, XT, q, base, starts, cut, values, directions, tight, labels, count, halt, start, stop):  # type: ignore[no-untyped-def]
    d, n = XT.shape
    Q, R = np.empty((d, d)), np.zeros((d, d + 1))
    vectors, lengths = np.empty((6, d)), np.empty((3, n))
    for m in range(d):
        vectors[5, m] = base[m]
    on, concave = np.empty(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    flags = np.zeros(-(-n // 8) * 8, dtype=np.bool_)
    kinks = np.empty(n, dtype=np.int64)
    u, rows, sides = np.empty(d), np.empty(d, dtype=np.int64), np.empty(d, dtype=np.bool_)
    for s in range(start, stop):
        for m in range(d):
            u[m] = starts[s, m]
        for attempt in range(_RETRIES):
            value, k = _climb_one(
                unit, XT, q, u, cut, rows, sides, Q, R, vectors, lengths, on, concave, kinks, flags, halt
            )
            if attempt == 0 or value > values[s] * (1.0 + 1e-12):
                values[s], count[s] = value, k
                for m in range(d):
                    directions[s, m], tight[s, m], labels[s, m] = u[m], rows[m], sides[m]
            elif attempt > 0:
                break
            if not _is_degenerate(q, lengths[0], concave):
                break
            for m in range(d):  # a fixed, dense perturbation
                u[m] = directions[s, m] + 1e-5 * np.sin(12.9898 * (m + 1) * (attempt + 1))


@njit(cache=True, fastmath=FAST, nogil=True)
def _is_degenerate(q, z, concave):  # type: ignore[no-untyped-def]
    """Whether u (of length one) lies on the hyperplane of a row that is not among the tight ones."""
    for i in range(z.shape[0]):  # noqa: SIM110 (no generators in compiled code)
        if (q[i] > 0.0 or concave[i]) and abs(z[i]) <= 1e-11:
            return True
    return False


@njit(cache=True, fastmath=FAST, nogil=True)
def _climb_one(unit, XT, q, u, cut, tight, labels, Q, R, vectors, lengths, on, concave, kinks, flags, halt):  # type: ignore[no-untyped-def]
    """Ascent from u in place; returns (h(u/‖u‖), tight rows) and leaves u normalised."""
    d = XT.shape[0]
    c, p, lam, rest = vectors[0], vectors[1], vectors[2], vectors[3]
    z, dz, reach = lengths[0], lengths[1], lengths[2]
    _begin(XT, q, vectors[5], u, z, dz, on, c)
    for i in range(q.shape[0]):
        concave[i] = q[i] < 0.0
    k = np.int64(0)
    for step in range(_MAX_STEPS):
        size = np.sqrt(dot(c, c))
        if size == 0.0 or halt[0]:
            break
        for m in range(d):
            p[m] = c[m]
        for j in range(k):
            r = dot(Q[j], c)
            lam[j] = r
            row = Q[j]
            for m in range(d):
                p[m] -= r * row[m]
        for m in range(d):
            p[m] -= u[m]
        slope = dot(p, p)
        if slope <= (_ARRIVED * size) ** 2:
            released = _release(unit, q, Q, R, k, lam, tight, labels, on, concave, c, size)
            if released < 0:
                if _leave_convex_kink(unit, q, Q, k, z, u, on, c, rest):
                    continue
                break
            drop_row(Q, R, k, released)
            for j in range(released, k - 1):
                tight[j] = tight[j + 1]
            k -= 1
            continue
        times(XT, p, dz)
        t, kink = _line_search(z, dz, on, concave, q, slope, reach, kinks, flags)
        for m in range(d):
            u[m] += t * p[m]
        if kink >= 0 and k < d - 1 and append_row(Q, R, k, unit[kink], rest):
            tight[k] = kink
            k += 1
            if on[kink]:
                for m in range(d):
                    c[m] -= q[kink] * unit[kink, m]
                on[kink] = False
            concave[kink] = False
        elif kink >= 0:  # dependent on the tight rows: let it cross
            z[kink] = 1e-300 if dz[kink] > 0 else -1e-300
            dz[kink] = 0.0
        _flip(unit, q, z, dz, t, on, tight, k, c, flags)
        if cut > 0.0 and step in (9, 19, 29, 39):
            share = 0.5 if step == 9 else 0.75 if step == 19 else 0.85 if step == 29 else 0.92
            if dot(c, u) < share * cut * np.sqrt(dot(u, u)):
                break
    return _finish(XT, q, vectors[5], u, z), k


@njit(cache=True, fastmath=FAST, nogil=True)
def _begin(XT, q, base, u, z, work, on, c):  # type: ignore[no-untyped-def]
    """Scale u to h(û)û, or to a tenth of ‖c‖ if h(û) is smaller; set z = Xu, activations and c."""
    d, n = XT.shape
    length = np.sqrt(dot(u, u))
    if length > 0.0:
        for m in range(d):
            u[m] /= length
    times(XT, u, z)
    for i in range(n):
        on[i] = z[i] > 0.0
        work[i] = q[i] if on[i] else 0.0
    transpose_times(XT, work, c)
    for m in range(d):
        c[m] += base[m]
    scale = max(dot(c, u), 0.1 * np.sqrt(dot(c, c)))
    for m in range(d):
        u[m] *= scale
    for i in range(n):
        z[i] *= scale


@njit(cache=True, fastmath=FAST, nogil=True)
def _release(unit, q, Q, R, k, lam, tight, labels, on, concave, c, size):  # type: ignore[no-untyped-def]
    """At the target: index of the tight row whose multiplier leaves [0, |q_i|] most, −1 if none does."""
    solve_upper(R, k, lam)
    worst, excess = -1, 1e-10 * size
    for j in range(k):
        limit = -q[tight[j]]
        labels[j] = lam[j] > 0.5 * limit
        out = max(-lam[j], lam[j] - limit)
        if out > excess:
            worst, excess = j, out
    if worst >= 0:
        i = tight[worst]
        concave[i] = q[i] < 0.0
        on[i] = labels[worst]
        if on[i]:
            for m in range(c.shape[0]):
                c[m] += q[i] * unit[i, m]
    return worst


@njit(cache=True, fastmath=FAST, nogil=True)
def _leave_convex_kink(unit, q, Q, k, z, u, on, c, rest):  # type: ignore[no-untyped-def]
    """Flip one row with q > 0 that u lies on: h rises to both sides of it, so u is no maximum."""
    close = 1e-12 * np.sqrt(dot(u, u))
    for i in range(z.shape[0]):
        if q[i] > 0.0 and abs(z[i]) <= close:
            row = unit[i]
            for m in range(rest.shape[0]):
                rest[m] = row[m]
            for j in range(k):
                r = dot(Q[j], row)
                for m in range(rest.shape[0]):
                    rest[m] -= r * Q[j, m]
            if dot(rest, rest) > 1e-16:
                on[i] = not on[i]
                r = q[i] if on[i] else -q[i]
                for m in range(rest.shape[0]):
                    c[m] += r * unit[i, m]
                return True
    return False


@njit(cache=True, fastmath=FAST, nogil=True)
def _line_search(z, dz, on, concave, q, slope, reach, kinks, flags):  # type: ignore[no-untyped-def]
    """Exact maximum along p over the kinks of rows with q < 0: (t, row whose kink stops it or −1).

    Signs are unpredictable, so branches on them are slow: they are flagged for all rows at once, and the few
    flags are then looked for eight at a time.
    """
    for i in range(z.shape[0]):
        flags[i] = concave[i] & (on[i] ^ (z[i] + dz[i] > 0.0))
    total = 0
    words = flags.view(np.uint64)
    for w in range(words.shape[0]):
        if words[w] != 0:
            for i in range(8 * w, 8 * w + 8):
                if flags[i] and dz[i] != 0.0:
                    kinks[total] = i
                    reach[total] = max(0.0, -z[i] / dz[i])
                    total += 1
    lost = 0.0
    while True:
        first = -1
        for j in range(total):
            if first < 0 or reach[j] < reach[first]:
                first = j
        if first < 0 or slope * (1.0 - reach[first]) <= lost:
            return 1.0 - lost / slope, -1
        t, i = reach[first], kinks[first]
        lost -= q[i] * abs(dz[i])
        if slope * (1.0 - t) <= lost:
            return t, i
        total -= 1
        reach[first], kinks[first] = reach[total], kinks[total]


@njit(cache=True, fastmath=FAST, nogil=True)
def _flip(unit, q, z, dz, t, on, tight, k, c, flags):  # type: ignore[no-untyped-def]
    """Move z by t dz and update the activations and c."""
    for i in range(z.shape[0]):
        z[i] += t * dz[i]
    for j in range(k):
        z[tight[j]] = 0.0
    for i in range(z.shape[0]):
        flags[i] = on[i] ^ (z[i] > 0.0)
    words = flags.view(np.uint64)
    for w in range(words.shape[0]):
        if words[w] != 0:
            for i in range(8 * w, 8 * w + 8):
                if flags[i]:
                    on[i] = not on[i]
                    r = q[i] if on[i] else -q[i]
                    row = unit[i]
                    for m in range(c.shape[0]):
                        c[m] += r * row[m]


@njit(cache=True, fastmath=FAST, nogil=True)
def _finish(XT, q, base, u, z):  # type: ignore[no-untyped-def]
    """Normalise u and return h(u), computed afresh."""
    length = np.sqrt(dot(u, u))
    if length == 0.0:
        return 0.0
    for m in range(u.shape[0]):
        u[m] /= length
    times(XT, u, z)
    total = 0.0
    for i in range(z.shape[0]):
        total += q[i] * max(z[i], 0.0)
    return total + dot(base, u)


def fresh_starts(X: Array, neurons: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` random starts: the neurons and their mirror images with noise, Gaussians, data rows.

    Parameters
    ----------
    X : (n, d)
    neurons : (m, d)
        Directions of a network's neurons of one sign; m may be 0. The mirror −u matters:
        h(−u) = h(u) − νᵀXu, and Xᵀν is small near an optimum.
    count : int
    """
    n, d = X.shape
    m = len(neurons)
    near = int(0.85 * count) if m else 0
    rows = (count - near) // 3
    starts: Array = rng.standard_normal((count, d)) / np.sqrt(d)
    if near:
        units = neurons / np.linalg.norm(neurons, axis=1, keepdims=True)
        mirror, width = np.array([(-1, 0.3), (1, 0.3), (1, 0.6), (-1, 0.6), (1, 1.0), (1, 1.4)]).T
        kind = np.arange(near) % len(width)
        starts[:near] *= width[kind][:, None]
        starts[:near] += mirror[kind][:, None] * units[rng.integers(m, size=near)]
    if rows:
        norms = np.linalg.norm(X, axis=1, keepdims=True)
        picked = rng.integers(n, size=rows)
        sign = rng.choice([-1.0, 1.0], size=(rows, 1))
        starts[near : near + rows] = sign * X[picked] / np.maximum(norms[picked], 1e-300)
        starts[near : near + rows] += 0.1 * rng.standard_normal((rows, d)) / np.sqrt(d)
    return starts


def rho_estimate(
    X: Array, nu: Array, starts: int = 2000, seed: int = 0, negative_slope: float = 0.0
) -> float:
    """The largest of many local maxima of ±νᵀσ_s(Xu) on the unit ball: a lower bound on max ρ(±ν)."""
    rows = prepare_rows(X, negative_slope)
    rng = np.random.default_rng(seed)
    none = np.zeros((0, X.shape[1]))
    return max(
        float(climb(rows, sign * nu, fresh_starts(X, none, starts // 2, rng)).values.max(initial=0.0))
        for sign in (1.0, -1.0)
    )
