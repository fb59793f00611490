r"""Best-first branch and bound over boxes for h(u) = Σ(a_iᵀu)_+ − Σ(b_iᵀu)_+ + bᵀu, in compiled code.

The linear term (0 for a ReLU) joins the rows that are of one sign on a box, and costs no tightness.

A record of the pool is one open box: [bound, centre (r), half-widths (r), position of its maximiser (k),
axis to split]. `order` is a permutation of the slots: its first `count` entries are a heap, largest bound
first, the others are free. Widths are powers of two and centres multiples of them, so that halving a box
is exact and the boxes always cover the sphere; a box of half-width 2⁻⁴⁵ is set aside, open, and not split.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from convexnn._types import Array, IntArray
from convexnn.cones import FAST
from convexnn.pricing.boxes import Box, Scratch, make_box, make_scratch, to_box
from convexnn.pricing.interior import bound_box

_SMALLEST = 2.0**-45
#: Entries of Tree.tally, and of Tree.found[:3].
COUNT, NODES = 0, 1
PRUNED, STUCK, VALUE = 0, 1, 2


class Tree(NamedTuple):
    """The open boxes of one search and what it has found."""

    A: Array  # (r, p) rows a_i as columns
    B: Array  # (r, m)
    linear: Array  # (r,) b
    pool: Array  # (capacity, 3r + 1)
    order: IntArray  # (capacity,)
    tally: IntArray  # (2,) open boxes, boxes bounded
    found: Array  # (3 + r,) largest bound of a pruned box, of one set aside; best value and its u
    box: Box
    scratch: Scratch
    mass: float
    terms: float

    @property
    def open_bound(self) -> float:
        """Largest bound of an open box, 0 if there is none."""
        return float(self.pool[self.order[0], 0]) if self.tally[COUNT] else 0.0


def make_tree(A: Array, B: Array, linear: Array, *, capacity: int = 512, empty: bool = False) -> Tree:
    """A search over the 2r faces of the cube; rows of A (p×r) and B (m×r) and `linear` as in `Reduced`."""
    r = A.shape[1]
    n = max(len(A), len(B), 1)
    mass = float((np.abs(A).sum() + np.abs(B).sum() + np.abs(linear).sum()) * (1.0 + 1e-9))
    pool, order = np.zeros((capacity, 3 * r + 1)), np.arange(capacity)
    tally = np.array([0 if empty else 2 * r, 0])
    if not empty:
        faces = pool[: 2 * r]
        faces[:, 0] = float(np.linalg.norm(A, axis=1).sum() + np.linalg.norm(linear)) * (1.0 + 1e-9)
        faces[:, 1 + r : 1 + 2 * r] = 1.0
        for f in range(2 * r):
            faces[f, 1 + f // 2] = 1.0 if f % 2 else -1.0
            faces[f, 1 + r + f // 2] = 0.0
    return Tree(
        np.ascontiguousarray(A.T), np.ascontiguousarray(B.T), np.ascontiguousarray(linear), pool, order,
        tally, np.zeros(3 + r), make_box(r, n), make_scratch(r, n), mass,
        float(len(A) + len(B) + r + bool(linear.any())),
    )  # fmt: skip


def grown(tree: Tree) -> Tree:
    """The same search with twice the room."""
    capacity = len(tree.order)
    return tree._replace(
        pool=np.concatenate([tree.pool, np.zeros_like(tree.pool)]),
        order=np.concatenate([tree.order, np.arange(capacity, 2 * capacity)]),
    )


def halved(tree: Tree) -> tuple[Tree, Tree]:
    """Two searches that share the open boxes of one."""
    count = int(tree.tally[COUNT])
    r = len(tree.A)
    parts = []
    for slots in (tree.order[:count:2], tree.order[1:count:2]):
        part = make_tree(tree.A.T, tree.B.T, tree.linear, capacity=max(512, 2 * len(slots)), empty=True)
        records = tree.pool[slots]
        records = records[np.argsort(-records[:, 0], kind="stable")]  # a sorted list is a heap
        part.pool[: len(slots)] = records
        part.tally[COUNT] = len(slots)
        parts.append(part)
    parts[0].tally[NODES] = tree.tally[NODES]
    parts[0].found[: 3 + r] = tree.found
    return parts[0], parts[1]


@njit(cache=True, nogil=True)
def _copy(a, b):  # type: ignore[no-untyped-def]
    """b ← a; a loop compiles much faster than a slice assignment."""
    for i in range(a.shape[0]):
        b[i] = a[i]


@njit(cache=True, nogil=True)
def _sift_down(pool, order, count):  # type: ignore[no-untyped-def]
    """Restore the heap after its root changed."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= count:
            return
        if child + 1 < count and pool[order[child + 1], 0] > pool[order[child], 0]:
            child += 1
        if pool[order[i], 0] >= pool[order[child], 0]:
            return
        order[i], order[child] = order[child], order[i]
        i = child


@njit(cache=True, nogil=True)
def _sift_up(pool, order, i):  # type: ignore[no-untyped-def]
    """Restore the heap after entry i was added."""
    while i > 0:
        parent = (i - 1) // 2
        if pool[order[parent], 0] >= pool[order[i], 0]:
            return
        order[i], order[parent] = order[parent], order[i]
        i = parent


@njit(cache=True, fastmath=FAST, nogil=True)
def _mixed(rows, box, sign, out):  # type: ignore[no-untyped-def]
    """Copy the columns of `rows` that change sign on the box; add sign × the positive ones to `linear`."""
    r, n = rows.shape
    found = 0
    for i in range(n):
        centre, reach = 0.0, 0.0
        for j in range(r):
            centre += box.centre[j] * rows[j, i]
            reach += box.half[j] * abs(rows[j, i])
        if abs(centre) < reach:
            out[0, found] = centre
            for j in range(r - 1):
                out[j + 1, found] = box.half[box.axes[j]] * rows[box.axes[j], i]
            found += 1
        elif centre > 0.0:
            box.linear[0] += sign * centre
            for j in range(r - 1):
                box.linear[j + 1] += sign * box.half[box.axes[j]] * rows[box.axes[j], i]
    return found


@njit(cache=True, nogil=True)
def _set_box(tree, centre, half):  # type: ignore[no-untyped-def]
    """Fill tree.box for the box with this centre and these half-widths."""
    box = tree.box
    at = 0
    for j in range(centre.shape[0]):
        box.centre[j], box.half[j] = centre[j], half[j]
        if half[j] > 0.0:
            box.axes[at] = j
            at += 1
    to_box(box, tree.linear, box.linear)
    box.used[0] = _mixed(tree.A, box, 1.0, box.P)
    box.used[1] = _mixed(tree.B, box, -1.0, box.N)


@njit(cache=True, fastmath=FAST, nogil=True)
def _best_axis(box):  # type: ignore[no-untyped-def]
    """Index in box.axes of the axis along which the mixed rows a_i vary most; the widest if none is mixed."""
    best, largest = 0, 0.0
    for j in range(box.axes.shape[0]):
        total = 1e-300 * box.half[box.axes[j]]
        for i in range(box.used[0]):
            total += abs(box.P[j + 1, i])
        if total > largest:
            best, largest = j, total
    return best


@njit(cache=True, fastmath=FAST, nogil=True)
def _note_value(tree, x, u):  # type: ignore[no-untyped-def]
    """Keep the direction at position x of the box if h is the largest there so far."""
    box, k = tree.box, x.shape[0]
    for j in range(k + 1):
        u[j] = box.centre[j]
    value = box.linear[0]
    for j in range(k):
        u[box.axes[j]] += box.half[box.axes[j]] * x[j]
        value += box.linear[j + 1] * x[j]
    for kind in range(2):
        rows = box.P if kind == 0 else box.N
        for i in range(box.used[kind]):
            z = rows[0, i]
            for j in range(k):
                z += rows[j + 1, i] * x[j]
            if z > 0.0:
                value += z if kind == 0 else -z
    length = 0.0
    for j in range(k + 1):
        length += u[j] * u[j]
    if value > tree.found[VALUE] * np.sqrt(length):
        tree.found[VALUE] = value / np.sqrt(length)
        _copy(u, tree.found[3:])


@njit(cache=True, nogil=True)
def advance(tree, tau, limit):  # type: ignore[no-untyped-def]
    """Split the box of largest bound until none is above τ, `limit` boxes are bounded or the pool is full."""
    pool, order, tally, found, box = tree.pool, tree.order, tree.tally, tree.found, tree.box
    r = tree.A.shape[0]
    k = r - 1
    record, x, u, last = np.empty(3 * r + 1), np.empty(k), np.empty(r), tally[NODES] + limit
    while tally[COUNT] > 0 and tally[NODES] < last and tally[COUNT] < order.shape[0]:
        _copy(pool[order[0]], record)
        if record[0] <= tau:
            return
        tally[COUNT] -= 1
        order[0], order[tally[COUNT]] = order[tally[COUNT]], order[0]
        _sift_down(pool, order, tally[COUNT])
        centre, half = record[1 : 1 + r], record[1 + r : 1 + 2 * r]
        axis = int(record[3 * r])
        at = 0
        for j in range(axis):
            at += 1 if half[j] > 0.0 else 0
        if half[axis] == 0.0:  # a face of the cube: its first axis
            axis = 1 if half[0] == 0.0 else 0
            at = 0
        width = 0.5 * half[axis]
        if width < _SMALLEST:
            found[STUCK] = max(found[STUCK], record[0])
            continue
        middle, position = centre[axis], record[1 + 2 * r + at]
        half[axis] = width
        for side in range(2):
            sign = 2.0 * side - 1.0
            centre[axis] = middle + sign * width
            _set_box(tree, centre, half)
            _copy(record[1 + 2 * r : 1 + 2 * r + k], x)
            x[at] = 2.0 * position - sign
            bound = bound_box(box, tree.scratch, x, tau, record[0], tree.mass, tree.terms)
            tally[NODES] += 1
            if bound <= tau:
                found[PRUNED] = max(found[PRUNED], bound)
                continue
            _note_value(tree, x, u)
            child = pool[order[tally[COUNT]]]
            _copy(record, child)  # with the centre and half-widths of this child
            _copy(x, child[1 + 2 * r : 1 + 2 * r + k])
            child[0], child[3 * r] = bound, box.axes[_best_axis(box)]
            tally[COUNT] += 1
            _sift_up(pool, order, tally[COUNT] - 1)
