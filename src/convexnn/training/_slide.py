r"""L-BFGS over all neurons at once on the smoothed, tied objective, in the metric of a Kronecker factor.

The Hessian is near C ⊗ XᵀX + βI, C_kl = (1/n) Σ_i h_i √c_k s_kφ′_ik √c_l s_lφ′_il + δ_kl κ_k (h the loss's second
derivative, κ the curvature at the kinks). With C = E diag(e)Eᵀ and X in principal axes it is diagonal in UE:
entries λ_j e_l + β.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from convexnn._types import Array
from convexnn.losses import Logistic, Squared, SquaredHinge, get_loss
from convexnn.training._principal import Real
from convexnn.training._smoothed import Tied, blocks, forward, kink_curvature

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
    function = get_loss(problem.loss)
    assert isinstance(function, (Squared, Logistic, SquaredHinge))
    n, m = len(problem.X), U.shape[1]
    length = np.sqrt(np.einsum("ij,ij->j", U, U)) + np.float32(1e-20)
    unit = U / length
    mass = problem.signs * length**2
    width = np.float32(problem.b)
    C = np.zeros((m, m))
    nu = np.empty(n)
    for rows in blocks(n):
        Z = problem.X[rows] @ unit
        f = np.empty(len(Z), np.float32)
        forward(Z, width, mass, f)
        fit = f.astype(np.float64)
        nu[rows] = -function.gradient(fit, problem.y[rows])
        root = np.sqrt(function.hessian(fit, problem.y[rows])).astype(np.float32)
        np.clip(Z / (2 * width) + np.float32(0.5), 0, 1, out=Z)
        Z *= root[:, None]
        C += Z.T @ Z
    weight = (problem.signs * length).astype(np.float64)
    C *= np.outer(weight, weight) / n
    kappa = kink_curvature(problem.X, nu.astype(np.float32), unit, problem.b, problem.signs)
    C[np.diag_indices(m)] += kappa
    e, E = sl.eigh(C, driver="evd", overwrite_a=True, check_finite=False)
    scale = np.outer(eigenvalues[: len(U)], np.maximum(e, 0.0)) + problem.beta
    return Metric(E.astype(np.float32), (1.0 / scale).astype(np.float32))


def slide(problem: Tied, U: Real, metric: Metric, steps: int, deadline: float) -> Real:
    """Up to `steps` iterations of L-BFGS from U (k×m); returns the last, and best, point."""
    value, G = problem.evaluate(U)
    pairs: list[tuple[Real, Real, float]] = []
    for _ in range(steps):
        P = _direction(G, metric, pairs)
        slope = float(np.vdot(G, P))
        if slope >= 0:
            pairs = []
            P = _direction(G, metric, pairs)
            slope = float(np.vdot(G, P))
        t, new, H = 1.0, np.inf, G
        for _ in range(8):
            new, H = problem.evaluate(U + np.float32(t) * P)
            if new <= value + 1e-4 * t * slope or perf_counter() > deadline:
                break
            t *= 0.4
        if not new <= value + 1e-4 * t * slope:
            break
        step, change = np.float32(t) * P, H - G
        inner = float(np.vdot(step, change))
        if inner > 1e-8 * float(np.vdot(change, change)) * 0 + 1e-12:
            pairs.append((step, change, 1.0 / inner))
            del pairs[:-_PAIRS]
        done = value - new < 1e-7 * abs(value)
        U, G, value = U + step, H, new
        if done or perf_counter() > deadline:
            break
    return U


def _direction(G: Real, metric: Metric, pairs: list[tuple[Real, Real, float]]) -> Real:
    """The two-loop recursion."""
    P = G.copy()
    weights = []
    for step, change, rho in reversed(pairs):
        weight = np.float32(rho * float(np.vdot(step, P)))
        P -= weight * change
        weights.append(weight)
    P = metric.apply(P)
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        P += (weight - np.float32(rho * float(np.vdot(change, P)))) * step
    return np.negative(P, out=P)
