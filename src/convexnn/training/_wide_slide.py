r"""L-BFGS over all neurons at once on the smoothed, tied objective, in the metric of a Kronecker factor.

The Hessian is near C ⊗ XᵀX + βI, C_kl = (1/n) Σ_i h_i √c_k s_kφ′_ik √c_l s_lφ′_il + δ_kl κ_k (h the loss's
second derivative, κ the curvature at the kinks). With C = E diag(e)Eᵀ and X in principal axes it is diagonal
in UE: entries λ_j e_l + β. L-BFGS scales this metric to its last pair, which lets nearly every step be taken
whole; without the scale each took three evaluations.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from convexnn._types import Array
from convexnn.losses import get_separable, rows_of
from convexnn.training._wide_axes import Real
from convexnn.training._wide_smoothed import Tied, blocks, curvature, forward, kink_curvature

_PAIRS = 20


class Metric(NamedTuple):
    """The inverse of the approximate Hessian."""

    E: Real  # (m, m)
    inverse: Real  # (k, m)

    def apply(self, G: Real) -> Real:
        """(C ⊗ Λ + β)⁻¹ G."""
        return np.asarray(((G @ self.E) * self.inverse) @ self.E.T)


def make_metric(problem: Tied, U: Real, eigenvalues: Array) -> Metric:
    """C from one pass over the rows, and its eigenvectors."""
    n, m = len(problem.X), U.shape[1]
    length = np.sqrt(np.einsum("ij,ij->j", U, U)) + np.float32(1e-20)
    unit = U / length
    mass = problem.signs * length**2
    width = np.float32(problem.b)
    C, nu = np.zeros((m, m)), np.empty(n, np.float32)
    for rows in blocks(n):
        Z = problem.X[rows] @ unit
        f = np.empty(len(Z), np.float32)
        forward(Z, width, mass, f)
        own = rows_of(get_separable(problem.loss), rows)
        slope, second = curvature(own, f.astype(np.float64), problem.y[rows])
        nu[rows] = -slope
        np.clip(Z / (2 * width) + np.float32(0.5), 0, 1, out=Z)
        Z *= np.sqrt(second)[:, None].astype(np.float32)
        C += Z.T @ Z
    weight = (problem.signs * length).astype(np.float64)
    C *= np.outer(weight, weight) / n
    C[np.diag_indices(m)] += kink_curvature(problem.X, nu, unit, problem.b, problem.signs)
    e, E = sl.eigh(C, driver="evd", overwrite_a=True, check_finite=False)
    scale = np.outer(eigenvalues[: len(U)], np.maximum(e, 0.0)) + problem.beta
    return Metric(E.astype(np.float32), (1.0 / scale).astype(np.float32))


def slide(problem: Tied, U: Real, metric: Metric, steps: int, deadline: float) -> Real:
    """Up to `steps` iterations of L-BFGS from U (k×m); returns the last, and best, point."""
    value, G = problem.evaluate(U)
    image = metric.apply(G)
    memory: list[_Pair] = []
    first = 0.1  # the metric knows nothing of neurons whose kinks lie close together
    for _ in range(steps):
        P = _direction(G, image, memory)
        slope = float(np.vdot(G, P))
        if slope >= 0:
            memory.clear()
            P = _direction(G, image, memory)
            slope = float(np.vdot(G, P))
        t, new, H = 1.0 if memory else first, np.inf, G
        for _ in range(8):
            new, H = problem.evaluate(U + np.float32(t) * P)
            if new <= value + 1e-4 * t * slope or perf_counter() > deadline:
                break
            t *= min(0.5, max(0.1, -0.5 * t * slope / (new - value - t * slope)))
        if not new <= value + 1e-4 * t * slope:
            break
        new_image = metric.apply(H)
        _remember(memory, np.float32(t) * P, H - G, new_image - image)
        done = value - new < 1e-7 * abs(value)
        U, G, value, image = U + np.float32(t) * P, H, new, new_image
        if done or perf_counter() > deadline:
            break
    return U


class _Pair(NamedTuple):
    """A step, the gradient's change, the metric's image of that, 1/(step · change) and the metric's scale."""

    step: Real
    change: Real
    image: Real
    rho: float
    scale: float


def _remember(memory: list[_Pair], step: Real, change: Real, image: Real) -> None:
    """Keep a pair of positive curvature, and at most twenty."""
    inner = float(np.vdot(step, change))
    if inner > 0:
        memory.append(_Pair(step, change, image, 1.0 / inner, inner / float(np.vdot(change, image))))
        del memory[:-_PAIRS]


def _direction(G: Real, image: Real, memory: list[_Pair]) -> Real:
    """The two-loop recursion around the metric, whose image of G is given, scaled to the last pair."""
    rest, P = G.copy(), image.copy()
    weights = []
    for pair in reversed(memory):
        weight = np.float32(pair.rho * float(np.vdot(pair.step, rest)))
        rest -= weight * pair.change
        P -= weight * pair.image
        weights.append(weight)
    if memory:
        P *= np.float32(memory[-1].scale)
    for pair, weight in zip(memory, reversed(weights), strict=True):
        P += (weight - np.float32(pair.rho * float(np.vdot(pair.change, P)))) * pair.step
    return np.negative(P, out=P)
