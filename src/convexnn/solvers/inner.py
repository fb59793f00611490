r"""The inner problem of the augmented Lagrangian on the dual, by semismooth Newton steps.

For blocks b = (mask d_b, sign s_b) with centres v_b and a penalty σ:

    min_ν φ(ν) = c(ν) + (σ/2) Σ_b (‖w_b(ν)‖ − β)₊²,   w_b(ν) = Π_{K_b}(v_b/σ + s_b XᵀD_bν)

∇φ = c′ + F U with U_b = σ(1 − β/‖w_b‖)₊ w_b: the new centres, feasible by construction. The Newton matrix
is c″ + σ Σ_b B_bB_bᵀ, B_b = D_b X Q₂(√a I + (1 − √a) ĉĉᵀ), a = 1 − β/‖w_b‖, Q₂ a basis of the null space of
the tight rows, ĉ = Q₂ᵀŵ (Li, Sun & Toh 2018, with exact cone projections).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from convexnn._types import Array, BoolArray, IntArray
from convexnn.cones import FAST, Rows, adjoint_blocks, append_row, dot, project_blocks, run_in_threads
from convexnn.solvers.conjugates import Conjugate
from convexnn.solvers.newton import solve_boxed_newton, solve_newton

_ARMIJO = 1e-4
_HALVINGS = 30
_NOISE = 1e-14


@dataclass
class Blocks:
    """B blocks of the dual; row b of each array belongs to block b. Arrays change in place."""

    masks: BoolArray  # (B, n)
    signs: Array  # (B,) ±1
    v: Array  # (B, d) centres
    tight: IntArray  # (B, d) rows with x_iᵀw_b = 0 in [b, :count[b]]
    count: IntArray  # (B,)

    def __len__(self) -> int:
        return len(self.signs)

    def take(self, index: IntArray | BoolArray) -> "Blocks":
        """The blocks of `index`, copied."""
        return Blocks(
            self.masks[index], self.signs[index], self.v[index], self.tight[index], self.count[index]
        )


def make_blocks(masks: BoolArray, signs: Array, v: Array) -> Blocks:
    """Blocks without tight rows: masks B×n, signs (B,), centres v B×d."""
    return Blocks(
        np.ascontiguousarray(masks),
        np.array(signs, dtype=np.float64),
        np.array(v, dtype=np.float64),
        np.zeros(v.shape, dtype=np.int64),
        np.zeros(len(v), dtype=np.int64),
    )


@dataclass(frozen=True)
class InnerProblem:
    """What stays fixed during the inner iteration."""

    X: Array
    rows: Rows
    conjugate: Conjugate
    beta: float
    sigma: float
    gated: bool = False


@dataclass(frozen=True)
class InnerPoint:
    """φ and everything known at one q."""

    q: Array
    value: float
    gradient: Array  # with respect to q
    w: Array  # (B, d) projections; only norms above β are exact
    norm: Array  # (B,) ‖w_b‖
    active: IntArray  # blocks with ‖w_b‖ > β
    u: Array  # (len(active), d) new centres
    fit: Array  # F U, (n,)


def step_length(blocks: Blocks, point: InnerPoint) -> float:
    """‖U − V‖² of a point's new centres U and the blocks' present ones V."""
    change = -blocks.v
    change[point.active] += point.u
    return float(np.sum(change**2))


def evaluate(problem: InnerProblem, blocks: Blocks, q: Array) -> InnerPoint:
    """φ(q), its gradient, the projections and the new centres; updates the blocks' tight rows."""
    conjugate, beta, sigma = problem.conjugate, problem.beta, problem.sigma
    G = adjoint_blocks(problem.rows, blocks.masks, blocks.signs, conjugate.sign * q, blocks.v / sigma)
    w = project_blocks(
        problem.rows, blocks.masks, G, tight=blocks.tight, count=blocks.count, threshold=beta,
        gated=problem.gated,
    )  # fmt: skip
    norm = np.linalg.norm(w, axis=1)
    active = np.flatnonzero(norm > beta)
    excess = norm[active] - beta
    u = (sigma * excess / norm[active])[:, None] * w[active]
    fit = blocks_fit(problem.X, blocks.masks[active], blocks.signs[active], u)
    value = conjugate.value(q) + 0.5 * sigma * float(np.sum(excess**2))
    return InnerPoint(q, value, conjugate.gradient(q) + conjugate.sign * fit, w, norm, active, u, fit)


def blocks_fit(X: Array, masks: BoolArray, signs: Array, u: Array) -> Array:
    """Σ_b s_b D_b X u_b, (n,); masks B×n, u B×d."""
    out = np.zeros(len(X))
    step = max(1, 4_000_000 // len(X))
    for start in range(0, len(u), step):
        part = slice(start, start + step)
        out += signs[part] @ ((u[part] @ X.T) * masks[part])
    return out


def minimise_inner(
    problem: InnerProblem,
    blocks: Blocks,
    q: Array,
    *,
    should_stop: Callable[[float, float, InnerPoint], bool],
    max_steps: int = 50,
) -> tuple[InnerPoint, int]:
    """Newton's method on φ from q, with Armijo halving.

    Parameters
    ----------
    should_stop : callable(e, scale, point)
        Called after each step with the stop measure e = Σ(2 g r − r²/D), r = q − P(q − D g), and
        scale = √(Σ q²/D).
    max_steps : int

    Returns
    -------
    point : InnerPoint
        The last point; its `active` and `u` are the new centres.
    steps : int
        Newton steps taken.
    """
    point = evaluate(problem, blocks, q)
    conjugate = problem.conjugate
    for step in range(max_steps):
        D = conjugate.inverse_curvature(point.q)
        dq = _direction(problem, blocks, point, D)
        slope = float(point.gradient @ dq)
        if not np.isfinite(slope) or slope >= 0.0:
            return point, step
        last = -slope <= _NOISE * abs(point.value)  # φ can no longer tell: one full step, and no more
        t = 1.0
        for _ in range(_HALVINGS):
            trial = evaluate(problem, blocks, conjugate.move(point.q, dq, t))
            if last or trial.value <= point.value + _ARMIJO * t * slope:
                break
            t *= 0.5
        else:
            return point, step
        point = trial
        D = conjugate.inverse_curvature(point.q)
        r = point.q - np.clip(point.q - D * point.gradient, conjugate.lower, conjugate.upper)
        measure = max(0.0, float(np.sum(2.0 * point.gradient * r - r * r / D)))
        if last or should_stop(measure, float(np.sqrt(np.sum(point.q**2 / D))), point):
            return point, step + 1
    return point, max_steps


def _direction(problem: InnerProblem, blocks: Blocks, point: InnerPoint, D: Array) -> Array:
    conjugate = problem.conjugate
    Bt = newton_factor(problem, blocks, point)
    if not conjugate.is_boxed:
        Bt *= conjugate.sign
        return solve_newton(Bt, D, problem.sigma, -point.gradient)
    q, g = point.q, point.gradient
    bound = ((q <= conjugate.lower) & (g > 0)) | ((q >= conjugate.upper) & (g < 0))
    Bt *= conjugate.sign
    return solve_boxed_newton(Bt, D, problem.sigma, g, conjugate.lower - q, conjugate.upper - q, ~bound)


def newton_factor(problem: InnerProblem, blocks: Blocks, point: InnerPoint) -> Array:
    """Bᵀ = [B_1 … B_A]ᵀ over the active blocks, M×n with M = Σ (d − tight rows)."""
    active, d = point.active, problem.X.shape[1]
    count = np.zeros(len(active), dtype=np.int64) if problem.gated else blocks.count[active]
    offset = np.concatenate([[0], np.cumsum(d - count)])
    C = np.empty((int(offset[-1]), d))
    run_in_threads(
        _factor_range, len(active), problem.rows.unit, blocks.tight[active], count, point.w[active],
        problem.beta, offset, C,
    )  # fmt: skip
    Bt = C @ problem.X.T
    run_in_threads(_mask_range, len(active), blocks.masks[active], offset, Bt)
    return Bt


@njit(cache=True, fastmath=FAST, nogil=True)
def _factor_range(unit, tight, count, w, beta, offset, C, start, stop):  # type: ignore[no-untyped-def]
    """Rows offset[b]:offset[b+1] of C are (√a I + (1 − √a) ĉĉᵀ) Q₂ᵀ."""
    d = unit.shape[1]
    Q, R, rest, unit_vector, left = (
        np.empty((d, d)),
        np.zeros((d, d + 1)),
        np.empty(d),
        np.zeros(d),
        np.empty(d),
    )
    for b in range(start, stop):
        k = 0
        for j in range(count[b]):
            if append_row(Q, R, k, unit[tight[b, j]], rest):
                k += 1
        for c in range(d):
            left[c] = 1.0
            for j in range(k):
                left[c] -= Q[j, c] * Q[j, c]
        size = d - count[b]
        length = np.sqrt(dot(w[b], w[b]))
        root = np.sqrt(max(0.0, 1.0 - beta / length))
        for m in range(size):  # complete the basis with the unit vectors furthest outside it
            best = 0
            for c in range(d):
                if left[c] > left[best]:
                    best = c
            unit_vector[best] = 1.0
            append_row(Q, R, k, unit_vector, rest)
            unit_vector[best] = 0.0
            for c in range(d):
                left[c] -= Q[k, c] * Q[k, c]
            along = dot(Q[k], w[b]) / length
            for c in range(d):
                C[offset[b] + m, c] = root * Q[k, c] + (1.0 - root) * along * w[b, c] / length
            k += 1


@njit(cache=True, nogil=True)
def _mask_range(masks, offset, Bt, start, stop):  # type: ignore[no-untyped-def]
    n = masks.shape[1]
    for b in range(start, stop):
        for m in range(offset[b], offset[b + 1]):
            for i in range(n):
                if not masks[b, i]:
                    Bt[m, i] = 0.0
