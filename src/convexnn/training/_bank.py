r"""Masses of a bank of neurons over many rows: a non-negative lasso through the M×M Gram matrix.

    min_{c ≥ 0}  ½‖Fc − y‖² + β Σ c_k,   column k of F is s_k (Xu_k)_+ with ‖u_k‖ = 1

F (n×M) is never formed: its Gram matrix is summed over row blocks, products in float32, sums in float64.
An interior point on the Gram matrix comes first; then Newton steps on the active neurons with residuals
recomputed from all rows in float64, so that the rounding of the Gram matrix does not stay in the result.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from convexnn._threads import THREADS, run_in_threads, submit
from convexnn._types import Array, BoolArray
from convexnn.pricing.smooth import Columns, exact_values

_GRAM_ROWS = 4096
_FIT_ROWS = 2048
#: Of the unit diagonal of the scaled Gram matrix, whose rounding is float32; tenfold on failure.
_RIDGE = 3e-7
_STEPS = 60
_ACTIVE = 1e-7  # masses below this share of the largest are dropped
_POLISH = 8
#: |F_kᵀν − β| on the active neurons, relative to β, at which polishing ends.
ACCURATE = 1e-4


class Bank(NamedTuple):
    """Unit directions, signs and masses, one neuron a row."""

    directions: Array  # (M, d)
    signs: Array  # (M,)
    masses: Array  # (M,)

    def take(self, index: BoolArray) -> "Bank":
        """Some of the neurons."""
        return Bank(self.directions[index], self.signs[index], self.masses[index])


class Point(NamedTuple):
    """A bank with the exact residual ν = y − Fc and objective of all rows."""

    bank: Bank
    nu: Array
    primal: float


def fit_of(columns: Columns, bank: Bank) -> Array:
    """Σ_k c_k s_k (Xu_k)_+ in float64 by row blocks."""
    V, weights = np.ascontiguousarray(bank.directions.T), bank.signs * bank.masses
    out = np.empty(columns.rows)

    def fill(start: int, stop: int) -> None:
        for lo in range(start * _FIT_ROWS, min(stop * _FIT_ROWS, columns.rows), _FIT_ROWS):
            Z = columns.fine[:, lo : lo + _FIT_ROWS].T @ V
            np.maximum(Z, 0.0, out=Z)
            np.matmul(Z, weights, out=out[lo : lo + _FIT_ROWS])

    run_in_threads(fill, -(-columns.rows // _FIT_ROWS))
    return out


def evaluate(columns: Columns, y: Array, beta: float, bank: Bank) -> Point:
    """The bank's residual and objective, in float64 over all rows."""
    nu = y - fit_of(columns, bank)
    return Point(bank, nu, 0.5 * float(nu @ nu) + beta * float(bank.masses.sum()))


def gram(columns: Columns, U: Array, signs: Array) -> Array:
    """FᵀF (M×M)."""
    V = U.T.astype(np.float32)

    def add(first: int) -> Array:
        part = np.zeros((len(U), len(U)))
        for lo in range(first * _GRAM_ROWS, columns.rows, THREADS * _GRAM_ROWS):
            Z = columns.coarse[:, lo : lo + _GRAM_ROWS].T @ V
            np.maximum(Z, np.float32(0.0), out=Z)
            part += Z.T @ Z
        return part

    total: Array = sum(job.result() for job in [submit(add, first) for first in range(THREADS)])
    total *= signs[:, None]
    total *= signs
    return total


def solve_bank(columns: Columns, y: Array, beta: float, bank: Bank) -> Point:
    """The optimal masses of the bank, without the neurons that get none."""
    G = gram(columns, bank.directions, bank.signs)
    scale = np.sqrt(np.maximum(G.diagonal(), 1e-300))
    useful = scale > 1e-7 * scale.max(initial=0.0)
    bank, scale, G = bank.take(useful), scale[useful], G[np.ix_(useful, useful)]
    G /= scale[:, None]
    G /= scale
    linear = (bank.signs * exact_values(columns, y, bank.directions) - beta) / scale
    masses = _interior_point(G, linear) / scale
    active = masses > _ACTIVE * masses.max(initial=0.0)
    point = evaluate(columns, y, beta, bank._replace(masses=masses).take(active))
    return _polish(columns, y, beta, point, G[np.ix_(active, active)], scale[active])


def _factor(A: Array) -> tuple[Array, bool]:
    """Cholesky of A, with a ridge that grows until there is one; ArithmeticError if A is not finite."""
    ridge = _RIDGE
    while ridge < 1e6:
        try:
            L, lower = cho_factor(A + ridge * np.eye(len(A)), lower=True, check_finite=False)
            return L, bool(lower)
        except LinAlgError:
            ridge *= 10.0
    raise ArithmeticError("The Gram matrix of the neurons is not finite: rescale the data.")


def _interior_point(G: Array, q: Array) -> Array:
    """min ½cᵀGc − qᵀc over c ≥ 0, G of unit diagonal: predictor and corrector, one Cholesky a step."""
    M = len(q)
    if not M or q.max() <= 0.0:
        return np.zeros(M)
    c = np.full(M, float(np.abs(q).mean()) / M)
    slack = np.maximum(G @ c - q, 0.1 * np.abs(q).max())
    for _ in range(_STEPS):
        residual = G @ c - q - slack
        mu = float(c @ slack) / M
        if mu * M <= 1e-8 * abs(float(q @ c)) and np.abs(residual).max() <= 1e-8 * np.abs(q).max():
            break
        factor = _factor(G + np.diag(slack / c))
        dc = cho_solve(factor, -residual - slack, check_finite=False)
        ds = -slack - slack / c * dc
        a, b = _longest(c, dc), _longest(slack, ds)
        centre = mu * (float((c + a * dc) @ (slack + b * ds)) / (M * mu)) ** 3
        target = (centre - dc * ds) / c - slack
        dc = cho_solve(factor, target - residual, check_finite=False)
        ds = target - slack / c * dc
        step = 0.995 * min(_longest(c, dc), _longest(slack, ds))
        c, slack = c + step * dc, slack + step * ds
    return c


def _longest(x: Array, dx: Array) -> float:
    """The largest step ≤ 1 that keeps x + t dx ≥ 0."""
    falling = dx < 0
    return min(1.0, float(np.min(-x[falling] / dx[falling], initial=np.inf)))


def _polish(columns: Columns, y: Array, beta: float, point: Point, G: Array, scale: Array) -> Point:
    """Newton steps on the active masses with exact residuals; neurons whose mass would turn negative go."""
    best = point
    for _ in range(_POLISH):
        bank = point.bank
        slope = bank.signs * exact_values(columns, point.nu, bank.directions) - beta
        if not len(slope) or np.abs(slope).max() <= ACCURATE * beta:
            break
        masses = bank.masses + cho_solve(_factor(G), slope / scale) / scale
        keep = masses > _ACTIVE * masses.max()
        point = evaluate(columns, y, beta, bank._replace(masses=masses).take(keep))
        G, scale = G[np.ix_(keep, keep)], scale[keep]
        if point.primal < best.primal:
            best = point
    return best
