r"""Local maxima of h(u) = s νᵀ(Xu)_+ on the unit sphere by L-BFGS on a smoothed h, many starts at once.

Each start has its own step length and its own curvature pairs; an iteration is one pair of matrix products
for all of them. The first metric is diag(max(h, 0.3β) + κλ), the curvature on the sphere with that of the
kinks. Values are those of the exact h, in float32; `exact_values` gives float64.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from convexnn._types import Array, IntArray
from convexnn.training._wide_axes import Real, leading
from convexnn.training._wide_smoothed import blocks, kink_curvature, mean_spread, pull

_PAIRS = 6
#: Two maxima of one sign with a larger cosine are one.
SAME = 0.99
_TINY = np.float32(1e-30)


class Ascent(NamedTuple):
    """Directions found, by value."""

    values: Array  # (S,) s νᵀ(Xu)_+
    U: Real  # (k, S) unit columns
    signs: Array  # (S,)
    finished: bool = True  # False if a deadline cut the climb: then maxima may lie far above `values`

    def take(self, index: IntArray) -> "Ascent":
        """Some of them."""
        return Ascent(self.values[index], self.U[:, index], self.signs[index], self.finished)


#: (width over the mean spread of Xu, iterations, share of the variance that is left out) of each stage.
Schedule = Sequence[tuple[float, int, float]]


def ascend(
    X: Real,
    eigenvalues: Array,
    nu: Array,
    U: Real,
    signs: Array,
    beta: float,
    schedule: Schedule,
    *,
    floor: float = 0.0,
    deadline: float = np.inf,
) -> Ascent:
    """Climb from the unit columns of U (k×S); duplicates are merged after each stage.

    `floor`: after the first stage, drop what is below this value. X (n×k) is in principal axes.
    """
    low = nu.astype(np.float32)
    for stage, (relative, steps, share) in enumerate(schedule):
        b = max(relative * mean_spread(X, U, eigenvalues), 1e-20)
        k = leading(eigenvalues[: len(U)], share)
        part, full = (X, U) if k == len(U) else (np.ascontiguousarray(X[:, :k]), np.zeros_like(U))
        unit = U[:k] / (np.sqrt(_dots(U[:k], U[:k])) + _TINY)
        full[:k], value = _stage(part, eigenvalues, low, unit, signs, beta, b, steps, deadline)
        U = full
        keep = distinct(U, signs, value)
        if stage == 0 and floor > 0:
            keep = keep[value[keep] > floor] if (value[keep] > floor).any() else keep[:1]
        U, signs, value = U[:, keep], signs[keep], value[keep]
        if perf_counter() > deadline:
            break
    values = relu_values(X, nu, U) * signs
    order = np.argsort(-values, kind="stable")
    finished = perf_counter() <= deadline
    return Ascent(values[order], np.ascontiguousarray(U[:, order]), signs[order], finished)


def _stage(
    X: Real,
    eigenvalues: Array,
    nu: Real,
    U: Real,
    signs: Array,
    beta: float,
    b: float,
    steps: int,
    deadline: float,
) -> tuple[Real, Array]:
    """`steps` iterations of L-BFGS at one width; returns the unit columns and their smoothed values."""
    s32 = signs.astype(np.float32)
    value, G = pull(X, nu, U, b)
    value, G = value * signs, G * s32
    kappa = kink_curvature(X, nu, U, b, signs)
    metric = np.maximum(value, 0.3 * beta) + eigenvalues[: len(U), None] * kappa
    inverse = (1.0 / metric).astype(np.float32)
    G -= U * _dots(G, U)
    pairs: list[tuple[Real, Real, Real]] = []
    P = _direction(G, U, inverse, pairs)
    t = np.ones(U.shape[1], np.float32)
    for _ in range(steps):
        if perf_counter() > deadline:
            break
        slope = _dots(G, P)
        trial = U + t * P
        trial /= np.sqrt(_dots(trial, trial)) + _TINY
        new, H = pull(X, nu, trial, b)
        new, H = new * signs, H * s32
        H -= trial * _dots(H, trial)
        accepted = new >= value + 1e-4 * t * slope - 1e-6 * np.abs(value)
        step = np.where(accepted, trial - U, np.float32(0))
        change = np.where(accepted, G - H, np.float32(0))
        inner = _dots(step, change)
        good = inner > 1e-10 * _dots(change, change)
        pairs.append((step, change, np.where(good, 1.0 / np.where(good, inner, 1.0), 0.0).astype(np.float32)))
        del pairs[:-_PAIRS]
        U = np.where(accepted, trial, U)
        G = np.where(accepted, H, G)
        value = np.where(accepted, new, value)
        fresh = _direction(G, U, inverse, pairs)
        P = np.where(accepted, fresh, P)
        t = np.where(accepted, np.float32(1), np.float32(0.35) * t)
    return U, value


def _dots(A: Real, B: Real) -> Real:
    """Column by column AᵀB."""
    return np.asarray(np.einsum("ij,ij->j", A, B))


def _direction(G: Real, U: Real, inverse: Real, pairs: list[tuple[Real, Real, Real]]) -> Real:
    """The two-loop recursion, tangential and at most of length one."""
    P = G.copy()
    weights = []
    for step, change, rho in reversed(pairs):
        weight = rho * _dots(step, P)
        P -= weight * change
        weights.append(weight)
    P *= inverse
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        P += (weight - rho * _dots(change, P)) * step
    P -= U * _dots(P, U)
    uphill = _dots(P, G) > 0
    P = np.where(uphill, P, G * inverse)
    P -= U * _dots(P, U)
    P /= np.maximum(np.sqrt(_dots(P, P)), np.float32(1))
    return P


def distinct(U: Real, signs: Array, values: Array, cosine: float = SAME) -> IntArray:
    """Indices by falling value, without those too close to a better one of their sign."""
    order = np.argsort(-values, kind="stable")
    V = U[:, order] * signs[order].astype(np.float32)
    close = np.greater(V.T @ V, cosine)
    same = signs[order][:, None] == signs[order][None, :]
    close &= same
    kept = np.zeros(len(order), dtype=bool)
    for j in range(len(order)):
        kept[j] = not (close[j, :j] & kept[:j]).any()
    return np.asarray(order[kept])


def relu_values(X: Real, nu: Array, U: Real) -> Array:
    """νᵀ(XU)_+ for X in float32, summed in float64 over row blocks."""
    total = np.zeros(U.shape[1])
    low = nu.astype(np.float32)
    for rows in blocks(len(X)):
        Z = X[rows] @ U
        np.maximum(Z, 0, out=Z)
        total += low[rows] @ Z
    return total


def exact_values(X: Array, nu: Array, U: Array) -> Array:
    """νᵀ(XU)_+ / ‖u‖ in float64."""
    total = np.zeros(U.shape[1])
    for rows in blocks(len(X)):
        Z = X[rows] @ U
        np.maximum(Z, 0.0, out=Z)
        total += nu[rows] @ Z
    return np.asarray(total / np.linalg.norm(U, axis=0))
