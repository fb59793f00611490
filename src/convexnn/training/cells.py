r"""Bookkeeping of the cells that training works with: relabel, merge, move, add, drop.

A block is a cell (mask d_b) with a sign. Its solution w_b may lie on hyperplanes of the cell, the tight rows;
there the cell is a matter of choice, and the multipliers of the tight rows say which side descends.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from convexnn._threads import run_in_threads
from convexnn._types import Array, BoolArray, IntArray
from convexnn.activation import one_side
from convexnn.cones import FAST, Rows, dot, factor_rows, solve_upper, transpose_times
from convexnn.pricing.search import Found
from convexnn.solvers.inner import Blocks, make_blocks

#: Rounds without mass after which a block is dropped.
_PATIENCE = 4


@dataclass
class Cells:
    """Blocks with the number of rounds since each last had mass."""

    blocks: Blocks
    idle: IntArray  # (B,)

    def take(self, index: IntArray | BoolArray) -> "Cells":
        """Some of them, copied."""
        return Cells(self.blocks.take(index), self.idle[index])

    @property
    def active(self) -> IntArray:
        """Blocks with mass."""
        return np.flatnonzero(self.blocks.v.any(axis=1))


def cells_of_neurons(X: Array, v: Array, signs: Array, negative_slope: float = 0.0) -> Cells:
    """The cells 1[X v ≥ 0] of the rows of v (m×d), with v as their mass (or −v, if that is the same)."""
    if negative_slope != 0.0:
        v = one_side(v, negative_slope)[:, None] * v
    masks = (v @ X.T >= 0) & X.any(axis=1)
    return Cells(make_blocks(masks, signs, v), np.zeros(len(v), dtype=np.int64))


def drop_idle(cells: Cells) -> Cells:
    """Without the blocks that had no mass for more than four rounds."""
    return cells.take(cells.idle <= _PATIENCE)


def relabel(rows: Rows, cells: Cells, nu: Array) -> None:
    """Put every tight row on the side where its multiplier λ at ν descends (in place).

    With q = sν and c = Σ_{active, not tight} q_ix_i, λ solves c = w + Σ_T λ_ix_i. A row with q < 0 belongs
    at 0 if λ < 0 and at 1 if λ > |q|; a row with q > 0 at 0 if λ ≤ −q, at 1 if λ ≥ 0, else at the nearer.
    With a slope t below zero, q is (1 − t)sν and c has the linear term t·sXᵀν more.
    """
    b, slope = cells.blocks, float(rows.negative_slope)
    run_in_threads(
        _relabel_range, len(b), rows.unit, rows.XT, rows.norms * nu, slope, b.masks, b.signs, b.tight, b.count
    )


@njit(cache=True, fastmath=FAST, nogil=True)
def _relabel_range(unit, XT, q, slope, masks, signs, tight, count, start, stop):  # type: ignore[no-untyped-def]
    d, n = XT.shape
    Q, R, rest, lam, c, r = (
        np.empty((d, d)),
        np.zeros((d, d + 1)),
        np.empty(d),
        np.empty(d),
        np.empty(d),
        np.empty(n),
    )
    for b in range(start, stop):
        if count[b] == 0:
            continue
        k = factor_rows(unit, tight[b], count[b], Q, R, rest)
        count[b] = k
        for i in range(n):
            r[i] = signs[b] * q[i] if masks[b, i] else slope * (signs[b] * q[i])
        for j in range(k):
            r[tight[b, j]] = slope * (signs[b] * q[tight[b, j]])
        transpose_times(XT, r, c)
        for j in range(k):
            lam[j] = dot(Q[j], c)
        solve_upper(R, k, lam)
        for j in range(k):
            i = tight[b, j]
            p = (1.0 - slope) * (signs[b] * q[i])
            if p < 0.0:
                if lam[j] < 0.0:
                    masks[b, i] = False
                elif lam[j] > -p:
                    masks[b, i] = True
            else:
                masks[b, i] = lam[j] > -0.5 * p


def sides(masks: BoolArray, tight: IntArray, count: IntArray) -> tuple[Array, Array]:
    """(up, down): float32 B×n indicators of the rows strictly on either side."""
    up = masks.astype(np.float32)
    down = 1.0 - up
    row = np.repeat(np.arange(len(masks)), count)
    column = tight[np.arange(tight.shape[1])[None, :] < count[:, None]]
    up[row, column] = 0.0
    down[row, column] = 0.0
    return up, down  # type: ignore[return-value]


def merge(cells: Cells) -> Cells:
    """Add up blocks of one sign whose cells agree on every row that is tight in neither.

    Blocks with mass may share a closed cell through their tight rows; blocks without mass must agree on
    every row (their tight rows are only a guess).
    """
    b = cells.blocks
    loose = np.where(b.v.any(axis=1), b.count, 0)
    up, down = sides(b.masks, b.tight, loose)
    conflicts = up @ down.T
    conflicts += conflicts.T.copy()
    conflicts[b.signs[:, None] != b.signs[None, :]] = 1.0
    first, second = np.nonzero(np.triu(conflicts == 0.0, 1))
    gone = np.zeros(len(b), dtype=bool)
    changed = np.zeros(len(b), dtype=bool)
    for i, j in zip(first, second, strict=True):
        if gone[i] or gone[j]:
            continue
        if (changed[i] or changed[j]) and (up[i] @ down[j] + down[i] @ up[j]) > 0:
            continue
        _merge_pair(b, loose, int(i), int(j))
        cells.idle[i] = min(cells.idle[i], cells.idle[j])
        np.maximum(up[i], up[j], out=up[i])
        np.maximum(down[i], down[j], out=down[i])
        gone[j], changed[i] = True, True
    return cells.take(~gone) if gone.any() else cells


def _merge_pair(b: Blocks, loose: IntArray, i: int, j: int) -> None:
    """Add block j to block i: rows tight in i alone take the side of j; rows tight in both stay tight."""
    tight_i, tight_j = b.tight[i, : loose[i]], b.tight[j, : loose[j]]
    both = np.intersect1d(tight_i, tight_j)
    only_i = np.setdiff1d(tight_i, tight_j)
    b.masks[i, only_i] = b.masks[j, only_i]
    b.v[i] += b.v[j]
    b.tight[i, : len(both)] = both
    b.count[i] = loose[i] = len(both)


def absorb(X: Array, cells: Cells, found: Found) -> tuple[Cells, int]:
    """Take in the cells of local maxima: relabel a compatible block of the same sign, or add a new one.

    Returns the cells and how many were new.
    """
    maxima, signs = found
    if not len(signs):
        return cells, 0
    masks = maxima.directions @ X.T >= 0
    masks &= X.any(axis=1)
    row = np.repeat(np.arange(len(masks)), maxima.n_tight)
    inside = np.arange(maxima.tight.shape[1])[None, :] < maxima.n_tight[:, None]
    masks[row, maxima.tight[inside]] = maxima.labels[inside]
    b = cells.blocks
    loose = np.where(b.v.any(axis=1), b.count, 0)
    up, down = sides(b.masks, b.tight, loose)
    new_up, new_down = sides(masks, maxima.tight, maxima.n_tight)
    conflicts = new_up @ down.T + new_down @ up.T
    conflicts[signs[:, None] != b.signs[None, :]] = 1.0
    moved = np.zeros(len(b), dtype=bool)
    fresh: list[int] = []
    for s in range(len(signs)):
        matches = np.flatnonzero((conflicts[s] == 0.0) & ~moved)
        if not len(matches):
            fresh.append(s)
            continue
        k = int(matches[np.argmax(b.v[matches].any(axis=1))])
        moved[k] = True
        _move(b, k, masks[s], maxima.tight[s, : maxima.n_tight[s]], has_mass=bool(b.v[k].any()))
        cells.idle[k] = 0
    added = make_blocks(masks[fresh], signs[fresh], np.zeros((len(fresh), X.shape[1])))
    added.tight[:] = maxima.tight[fresh]
    added.count[:] = maxima.n_tight[fresh]
    return Cells(_join(b, added), np.concatenate([cells.idle, np.zeros(len(fresh), dtype=np.int64)])), len(
        fresh
    )


def _move(b: Blocks, k: int, mask: BoolArray, tight: IntArray, *, has_mass: bool) -> None:
    """Relabel block k to a maximum's cell: with mass, only its tight rows may change side."""
    if has_mass:
        own = np.setdiff1d(b.tight[k, : b.count[k]], tight)
        b.masks[k, own] = mask[own]
    else:
        b.masks[k] = mask
        b.tight[k, : len(tight)] = tight
        b.count[k] = len(tight)


def _join(a: Blocks, b: Blocks) -> Blocks:
    return Blocks(
        np.concatenate([a.masks, b.masks]),
        np.concatenate([a.signs, b.signs]),
        np.concatenate([a.v, b.v]),
        np.concatenate([a.tight, b.tight]),
        np.concatenate([a.count, b.count]),
    )
