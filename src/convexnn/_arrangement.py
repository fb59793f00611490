r"""Cells of a central hyperplane arrangement {u : a_iᵀu = 0} by deletion and restriction, in compiled code.

Rows are inserted one at a time. Row k cuts exactly those cells of rows 0 … k−1 whose interiors meet its
hyperplane, and these are the cells of the restriction of rows 0 … k−1 to that hyperplane, an arrangement of
one dimension less (Zaslavsky 1975: c(A) = c(A∖H) + c(A restricted to H)). So no linear program is solved:
the recursion ends in dimension 2, where cells are intervals between sorted angles. The nodes of the recursion
are the sets without broken circuits, at most as many as there are cells: the cost is proportional to the
output for degenerate arrangements too.

Cells come in opposite pairs; only those with a_0ᵀu > 0 are held ("half"). Every array of rows below is m×r
with unit rows.

A cell is found again by a 64-bit key, the exclusive or of one random word for each positive row. Every cut
must find exactly one cell: a collision of keys, or data that are neither degenerate nor general at the
tolerance, raises an error and never gives a wrong answer.
"""

import numpy as np
from numba import njit

#: Two lines closer than this angle (radians), in whatever flat they were restricted to, are one line.
DEGENERATE = 1e-11


def words(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """One fixed random 64-bit word for each row."""
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)


@njit(cache=True, nogil=True)
def _sort(value, order):  # type: ignore[no-untyped-def]
    """Sort `value` in place and carry `order` along (Shell 1959; far quicker to compile than numpy's)."""
    m = len(value)
    gap = 1
    while gap < m // 2:
        gap = int(2.25 * gap) + 1
    while gap > 0:
        for i in range(gap, m):
            v, o = value[i], order[i]
            j = i
            while j >= gap and value[j - gap] > v:
                value[j], order[j] = value[j - gap], order[j - gap]
                j -= gap
            value[j], order[j] = v, o
        gap = int(gap / 2.25)


@njit(cache=True, nogil=True)
def distinct_lines(A):  # type: ignore[no-untyped-def]
    """The first row on each line, in order, and the indices of these rows."""
    m, r = A.shape
    value, order = np.empty(m), np.empty(m, dtype=np.int64)  # parallel rows have one value: neighbours
    for i in range(m):
        total = 0.0
        for c in range(r):
            total += A[i, c] / (c + 1.37)
        value[i], order[i] = abs(total), i
    _sort(value, order)
    is_first = np.empty(m, dtype=np.bool_)
    for i in range(m):
        is_first[i] = True
    for s in range(m):
        for t in range(s + 1, m):
            if value[t] - value[s] > 2 * DEGENERATE:
                break
            if _parallel(A[order[s]], A[order[t]]):
                is_first[max(order[s], order[t])] = False
    count = 0
    B = np.empty((m, r))
    for i in range(m):
        if is_first[i]:
            order[count] = i
            for c in range(r):
                B[count, c] = A[i, c]
            count += 1
    return B[:count], order[:count]


@njit(cache=True, nogil=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    """aᵀb."""
    total = 0.0
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@njit(cache=True, nogil=True)
def _parallel(a, b):  # type: ignore[no-untyped-def]
    """Whether unit vectors a and b span one line."""
    inner = _dot(a, b)
    rest = 0.0
    for c in range(a.shape[0]):
        rest += (b[c] - inner * a[c]) ** 2
    return rest <= DEGENERATE * DEGENERATE


@njit(cache=True, nogil=True)
def _intervals(A):  # type: ignore[no-untyped-def]
    """Dimension 2: the q×2 angles (from a_0) between which no row vanishes, within (−π/2, π/2)."""
    m = A.shape[0]
    x, y = A[0, 0], A[0, 1]
    zeros, order = np.empty(m), np.empty(m, dtype=np.int64)
    zeros[0] = 0.5 * np.pi  # a_0 itself vanishes at both ends
    for i in range(1, m):
        along, across = x * A[i, 0] + y * A[i, 1], x * A[i, 1] - y * A[i, 0]
        zeros[i] = np.arctan(-along / across) if across != 0.0 else 0.5 * np.pi
    _sort(zeros, order)
    out = np.empty((m, 2))
    count = 0
    last = -0.5 * np.pi
    for i in range(m):
        if zeros[i] - last > DEGENERATE:
            out[count, 0], out[count, 1] = last, zeros[i]
            count += 1
        last = zeros[i]
    return out[:count]


@njit(cache=True, nogil=True)
def _interval_cells(A):  # type: ignore[no-untyped-def]
    """Dimension 2: a unit vector in the middle of each cell, q×2."""
    ends = _intervals(A)
    G = np.empty((len(ends), 2))
    for j in range(len(ends)):
        angle = 0.5 * (ends[j, 0] + ends[j, 1])
        c, s = np.cos(angle), np.sin(angle)
        G[j, 0] = c * A[0, 0] - s * A[0, 1]
        G[j, 1] = c * A[0, 1] + s * A[0, 0]
    return G


@njit(cache=True, nogil=True)
def _reflector(a):  # type: ignore[no-untyped-def]
    """The vector h such that u ↦ u − (hᵀu) h takes the unit vector a to the first axis."""
    h = np.empty(len(a))
    scale = np.sqrt(1.0 / (1.0 + abs(a[0])))
    for c in range(len(a)):
        h[c] = a[c] * scale
    h[0] += scale if a[0] >= 0.0 else -scale
    return h


@njit(cache=True, nogil=True)
def _restrict(A, k, h):  # type: ignore[no-untyped-def]
    """Rows 0 … k−1 on the hyperplane of row k: unit rows k×(r−1), and their lengths before scaling."""
    r = A.shape[1]
    B, length = np.empty((k, r - 1)), np.empty(k)
    for i in range(k):
        inner = _dot(A[i], h)
        total = 0.0
        for c in range(1, r):
            B[i, c - 1] = A[i, c] - inner * h[c]
            total += B[i, c - 1] ** 2
        length[i] = np.sqrt(total)
        for c in range(r - 1):
            B[i, c] /= length[i]
    return B, length


@njit(cache=True, nogil=True)
def count_half(A, limit):  # type: ignore[no-untyped-def]
    """Half the number of cells of distinct lines A, or some number above `limit` once it exceeds that."""
    m, r = A.shape
    if r == 1:
        return 1
    if r == 2:
        return len(_intervals(A))
    total = 1
    for k in range(1, m):
        B, _ = _restrict(A, k, _reflector(A[k]))
        if r > 3:
            B, _ = distinct_lines(B)
        total += count_half(B, limit - total)
        if total > limit:
            break
    return total


@njit(cache=True, nogil=True)
def _sides(A, k, B, length, P, h, z, key, low, high):  # type: ignore[no-untyped-def]
    """For each cell (row of P) of the restriction B: its key, and a vector on either side of row k.

    The vectors halve the angle from the cell's own vector p towards ±a_k, as far as the first row met.
    """
    r = A.shape[1]
    slope = np.empty(k)  # row i is proportional to v_i + t·slope_i at p + t a_k
    for i in range(k):
        slope[i] = _dot(A[i], A[k]) / length[i]
    p = np.empty(r)
    for b in range(len(P)):
        word = np.uint64(0)
        up, up_base, down, down_base = 0.0, 1.0, 0.0, 1.0  # largest −slope/v and slope/v, as fractions
        for i in range(k):
            v = _dot(B[i], P[b])
            s = slope[i]
            if v > 0.0:
                word ^= z[i]
            else:
                v, s = -v, -s
            if s * down_base > down * v:
                down, down_base = s, v
            elif -s * up_base > up * v:
                up, up_base = -s, v
        key[b] = word
        inner = 0.0
        for c in range(1, r):
            inner += h[c] * P[b, c - 1]
        p[0] = -inner * h[0]
        for c in range(1, r):
            p[c] = P[b, c - 1] - inner * h[c]
        above, below = 0.5 * np.arctan2(up_base, up), 0.5 * np.arctan2(down_base, down)
        for c in range(r):
            high[b, c] = np.cos(above) * p[c] + np.sin(above) * A[k, c]
            low[b, c] = np.cos(below) * p[c] - np.sin(below) * A[k, c]


@njit(cache=True, nogil=True)
def _table(key):  # type: ignore[no-untyped-def]
    """Open-addressing table of the places of `key`; −1 is free. Its size is a power of two."""
    size = 4
    while size < 2 * len(key):
        size *= 2
    table = np.empty(size, dtype=np.int64)
    for free in range(size):
        table[free] = -1
    for b in range(len(key)):
        slot = np.int64(key[b] & np.uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = b
    return table


@njit(cache=True, nogil=True)
def _split(a, word, G, keys, count, key, low, high):  # type: ignore[no-untyped-def]
    """Cut the cells with a key in `key`; new halves go behind the `count` cells. False if one is missing."""
    r = len(a)
    table = _table(key)
    last = len(table) - 1
    seen = np.zeros(len(key), dtype=np.bool_)
    found = 0
    for j in range(count):
        slot = np.int64(keys[j] & np.uint64(last))
        b = table[slot]
        while b >= 0 and key[b] != keys[j]:
            slot = (slot + 1) & last
            b = table[slot]
        if b >= 0:
            if seen[b]:
                return False
            seen[b] = True
            found += 1
            for c in range(r):
                G[j, c], G[count + b, c] = low[b, c], high[b, c]
            keys[count + b] = keys[j] ^ word
        elif _dot(a, G[j]) > 0.0:
            keys[j] ^= word
    return found == len(key)


@njit(cache=True, nogil=True)
def _room(G, keys, count, size):  # type: ignore[no-untyped-def]
    """Copies of the first `count` cells in arrays of at least `size`."""
    r = G.shape[1]
    wide, long = np.empty((size, r)), np.empty(size, dtype=np.uint64)
    for j in range(count):
        long[j] = keys[j]
        for c in range(r):
            wide[j, c] = G[j, c]
    return wide, long


@njit(cache=True, nogil=True)
def half_cells(A, z):  # type: ignore[no-untyped-def]
    """A unit vector strictly inside each cell of distinct lines A with a_0ᵀu > 0, one a row.

    `z` holds at least m random words. Raises ArithmeticError where the tolerance decides inconsistently.
    """
    m, r = A.shape
    if r == 1:
        return A[:1]
    if r == 2:
        return _interval_cells(A)
    count = np.int64(1)  # typed from the start, or its users are compiled twice
    G, keys = _room(A, z, count, 4 * m)  # row 0 is the first cell
    for k in range(1, m):
        h = _reflector(A[k])
        B, length = _restrict(A, k, h)
        P = half_cells(distinct_lines(B)[0] if r > 3 else B, z)
        cut = len(P)
        key, low, high = np.empty(cut, dtype=np.uint64), np.empty((cut, r)), np.empty((cut, r))
        _sides(A, k, B, length, P, h, z, key, low, high)
        if count + cut > len(G):
            G, keys = _room(G, keys, count, 2 * (count + cut))
        if not _split(A[k], z[k], G, keys, count, key, low, high):
            raise ArithmeticError("cells disagree")
        count += cut
    return G[:count]


@njit(cache=True, nogil=True)
def pack_signs(A, G, bits):  # type: ignore[no-untyped-def]
    """Set bit i of column j of `bits` where a_iᵀg_j ≥ 0 and a_i ≠ 0; returns the smallest |a_iᵀg_j| there.

    G is r×P, `bits` is ⌈m/8⌉×P with the first row in the highest bit.
    """
    m, r = A.shape
    nearest = np.inf
    used = np.empty(m, dtype=np.bool_)
    for i in range(m):
        used[i] = _dot(A[i], A[i]) > 0.0
    for byte in range(bits.shape[0]):
        for j in range(G.shape[1]):
            out = 0
            for i in range(8 * byte, min(m, 8 * byte + 8)):
                if used[i]:
                    v = 0.0
                    for c in range(r):
                        v += A[i, c] * G[c, j]
                    nearest = min(nearest, abs(v))
                    if v >= 0.0:
                        out |= 128 >> (i - 8 * byte)
            bits[byte, j] = out
    return nearest
