r"""The inner problem of the augmented Lagrangian on the dual, by semismooth Newton steps.

For blocks b = (mask d_b, sign s_b) with centres v_b and a penalty σ:

    min_ν φ(ν) = c(ν) + (σ/2) Σ_b (‖w_b(ν)‖ − β)₊²,   w_b(ν) = Π_{K_b}(v_b/σ + s_b XᵀD_bν)

∇φ = c′ + F U with U_b = σ(1 − β/‖w_b‖)₊ w_b: the new centres, feasible by construction. The Newton matrix
is c″ + σ Σ_b B_bB_bᵀ, B_b = D_b X Q₂(√a I + (1 − √a) ĉĉᵀ), a = 1 − β/‖w_b‖, Q₂ a basis of the null space of
the tight rows, ĉ = Q₂ᵀŵ (Li, Sun & Toh 2018, with exact cone projections). An unpenalised intercept adds the
constraint 1ᵀν = 0: φ gains b₀1ᵀν + (σ₀/2)(1ᵀν)², the matrix σ₀11ᵀ, and b₀ + σ₀1ᵀν is the new b₀.
For another activation than the ReLU, D_b is D_b + s(I − D_b) in all of this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from convexnn._threads import run_in_threads
from convexnn._types import Array, BoolArray, IntArray
from convexnn.activation import gains
from convexnn.cones import FAST, Rows, adjoint_blocks, append_row, dot, project_blocks
from convexnn.solvers.conjugates import Conjugate
from convexnn.solvers.newton import DIRECT, solve_boxed_newton, solve_gram, solve_newton, square

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
    deadline: float = np.inf
    intercept: float = 0.0  # the multiplier b₀ of 1ᵀν = 0
    pull: float = 0.0  # the penalty σ₀ of that constraint; 0 for none


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
    fit: Array  # F U, and with a free intercept its new value more, (n,)
    intercept: float = 0.0


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
        gated=problem.gated, deadline=problem.deadline,
    )  # fmt: skip
    norm = np.linalg.norm(w, axis=1)
    active = np.flatnonzero(norm > beta)
    excess = norm[active] - beta
    u = (sigma * excess / norm[active])[:, None] * w[active]
    slope = problem.rows.negative_slope
    fit = blocks_fit(problem.X, blocks.masks[active], blocks.signs[active], u, slope)
    value = conjugate.value(q) + 0.5 * sigma * float(np.sum(excess**2))
    intercept = 0.0
    if problem.pull:
        total = float(conjugate.sign @ q)  # 1ᵀν
        intercept = problem.intercept + problem.pull * total
        fit += intercept
        value += 0.5 * (problem.intercept + intercept) * total
    gradient = conjugate.gradient(q, conjugate.sign * fit)
    return InnerPoint(q, value, gradient, w, norm, active, u, fit, intercept)


def blocks_fit(X: Array, masks: BoolArray, signs: Array, u: Array, negative_slope: float = 0.0) -> Array:
    """Σ_b s_b D_b X u_b, (n,); masks B×n, u B×d."""
    out = np.zeros(len(X))
    step = max(1, 4_000_000 // len(X))
    for start in range(0, len(u), step):
        part = slice(start, start + step)
        out += signs[part] @ ((u[part] @ X.T) * gains(masks[part], negative_slope))
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
        lower, upper = conjugate.bounds(point.q, point.gradient)
        r = point.q - np.clip(point.q - D * point.gradient, lower, upper)
        measure = max(0.0, float(np.sum(2.0 * point.gradient * r - r * r / D)))
        if last or should_stop(measure, float(np.sqrt(np.sum(point.q**2 / D))), point):
            return point, step + 1
    return point, max_steps


def _direction(problem: InnerProblem, blocks: Blocks, point: InnerPoint, D: Array) -> Array:
    conjugate = problem.conjugate
    if not conjugate.is_boxed and _prefers_gram(problem, blocks, point):
        K = gram(problem, blocks, point)
        if problem.pull:
            K += problem.pull / problem.sigma
        return solve_gram(K, np.sqrt(D), conjugate.sign, problem.sigma, -point.gradient)
    Bt = newton_factor(problem, blocks, point)
    if problem.pull:
        Bt = np.vstack([Bt, np.full(Bt.shape[1], np.sqrt(problem.pull / problem.sigma))])
    if not (conjugate.sign == 1.0).all():
        Bt *= conjugate.sign
    if not conjugate.is_boxed:
        return solve_newton(Bt, D, problem.sigma, -point.gradient)
    q, g = point.q, point.gradient
    lower, upper = conjugate.bounds(q, g)
    bound = ((q <= lower) & (g > 0)) | ((q >= upper) & (g < 0)) | (np.equal(lower, upper) & (q == lower))
    return solve_boxed_newton(Bt, D, problem.sigma, g, lower - q, upper - q, ~bound)


def _tight_count(problem: InnerProblem, blocks: Blocks, point: InnerPoint) -> IntArray:
    """Tight rows of the active blocks; none without cones."""
    return np.zeros_like(point.active) if problem.gated else blocks.count[point.active]


def _prefers_gram(problem: InnerProblem, blocks: Blocks, point: InnerPoint) -> bool:
    """Whether the n×n system is the smaller, and `gram` needs fewer products than the factor."""
    (n, d), count = problem.X.shape, _tight_count(problem, blocks, point)
    factor = int(np.sum(d - count))
    return n <= min(factor, DIRECT) and int(np.sum(count + 2)) < factor


def gram(problem: InnerProblem, blocks: Blocks, point: InnerPoint) -> Array:
    """Σ_b B_bB_bᵀ over the active blocks, n×n, from Σ (2 + tight rows) products.

    With an orthonormal basis Q_T of the tight rows, a = 1 − β/‖w‖ and r = D_bXŵ,
    B_bB_bᵀ = a D_bXXᵀD_b − a (D_bXQ_Tᵀ)(D_bXQ_Tᵀ)ᵀ + (1 − a) r rᵀ, and the first terms add up to
    XXᵀ ∘ (Σ a d_b d_bᵀ).
    """
    active, norm = point.active, point.norm[point.active]
    a = 1.0 - problem.beta / norm
    masks: Any = gains(blocks.masks[active], problem.rows.negative_slope)
    K = square(np.sqrt(a)[:, None] * masks)
    K *= problem.X @ problem.X.T
    K += square(masks * ((point.w[active] * (np.sqrt(1.0 - a) / norm)[:, None]) @ problem.X.T))
    count = _tight_count(problem, blocks, point)
    if count.any():
        offset = np.concatenate([[0], np.cumsum(count)])
        C = np.empty((int(offset[-1]), problem.X.shape[1]))
        run_in_threads(
            _tight_range, len(active), problem.rows.unit, blocks.tight[active], count, np.sqrt(a), offset, C
        )
        K -= square(_masked_products(C, offset, blocks.masks[active], problem))
    return K


@njit(cache=True, fastmath=FAST, nogil=True)
def _tight_range(unit, tight, count, root, offset, C, start, stop):  # type: ignore[no-untyped-def]
    """Rows offset[b]:offset[b+1] of C are √a times a basis of the tight rows (0 where they are dependent)."""
    d = unit.shape[1]
    Q, R, rest = np.empty((d, d)), np.zeros((d, d + 1)), np.empty(d)
    for b in range(start, stop):
        k = np.int64(0)
        for j in range(count[b]):
            for c in range(d):
                C[offset[b] + j, c] = 0.0
            if append_row(Q, R, k, unit[tight[b, j]], rest):
                for c in range(d):
                    C[offset[b] + k, c] = root[b] * Q[k, c]
                k += 1


def _masked_products(C: Array, offset: IntArray, masks: BoolArray, problem: InnerProblem) -> Array:
    """C Xᵀ, block b (rows offset[b]:offset[b+1]) zero outside its mask, or times the slope there."""
    X, slope = problem.X, float(problem.rows.negative_slope)
    out = np.empty((len(C), len(X)))

    def fill(start: int, stop: int) -> None:
        rows = slice(offset[start], offset[stop])
        np.matmul(C[rows], X.T, out=out[rows])
        _mask_range(masks, slope, offset, out, start, stop)

    run_in_threads(fill, len(masks))
    return out


def newton_factor(problem: InnerProblem, blocks: Blocks, point: InnerPoint) -> Array:
    """Bᵀ = [B_1 … B_A]ᵀ over the active blocks, M×n with M = Σ (d − tight rows)."""
    active, d = point.active, problem.X.shape[1]
    count = _tight_count(problem, blocks, point)
    offset = np.concatenate([[0], np.cumsum(d - count)])
    C = np.empty((int(offset[-1]), d))
    run_in_threads(
        _factor_range, len(active), problem.rows.unit, blocks.tight[active], count, point.w[active],
        problem.beta, offset, C,
    )  # fmt: skip
    return _masked_products(C, offset, blocks.masks[active], problem)


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
        k = np.int64(0)
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
def _mask_range(masks, slope, offset, Bt, start, stop):  # type: ignore[no-untyped-def]
    n = masks.shape[1]
    for b in range(start, stop):
        for m in range(offset[b], offset[b + 1]):
            for i in range(n):
                if not masks[b, i]:
                    Bt[m, i] *= slope
