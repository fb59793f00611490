r"""Proven upper bounds of ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ at any rank, and dual points made for such a bound.

With another activation σ_s in place of (·)_+ the same bound has a linear term more (`convexnn.activation`).

For any ℓ_i > 0 and δ_i ∈ [0, 1], with z = Xu,

    2νᵀ(Xu)_+ ≤ Σ_{ν_i>0} ν_i (z_i + 1/(2ℓ_i) + ½ℓ_i z_i²) − Σ_{ν_i<0} 2|ν_i| δ_i z_i        on ‖u‖ = 1,

a quadratic form in r = rank X variables, so ρ is at most half its largest value: the Shor (semidefinite)
relaxation. It is tightened by cutting the sphere: on a sector {Au ≥ 0} the multipliers may depend on u
(`convexnn.pricing._sectors`), and ρ is at most the largest bound over the sectors. The sectors that hold the
bound up are cut again, across the leading direction of their own relaxed optimum (the top eigenvector of
its second moment), as in branch and bound; all multipliers, and ν if it is free, move together by Adam on
values smoothed by a log-barrier, with smoothing and rate falling to 0. A step costs O(S n r²) for S sectors.
Whatever the optimisation does, the value returned is recomputed with rounding included and is a bound.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np

from convexnn._threads import single_blas
from convexnn._types import Array, IntArray
from convexnn.activation import checked_slope
from convexnn.intercepts import balanced
from convexnn.losses import check_problem, get_loss
from convexnn.pricing._balanced_dual import BalancedDual
from convexnn.pricing._bound_steps import Dual, Effort, Fixed, begin_state, run

#: What a dual point is scaled down by, so that ρ̄ ≤ β holds after rounding.
INSIDE = 1.0 - 32 * float(np.finfo(np.float64).eps)
_EPS = float(np.finfo(np.float64).eps)


def spectral_bound(
    X: Array,
    nu: Array,
    *,
    steps: int = 600,
    sectors: int = 16,
    max_time: float | None = None,
    negative_slope: float = 0.0,
) -> float:
    r"""A number ≥ ρ(ν) = max_{‖u‖≤1} νᵀσ_s(Xu), rounding included.

    Parameters
    ----------
    X : (n, d), nu : (n,)
        Any finite values. In units: X times ν.
    steps : int
        Of the optimisation; 0 gives the bound at its start.
    sectors : int
        How many pieces the sphere may be cut into; 1 is the plain eigenvalue bound, more are tighter.
    max_time : float, optional
        Seconds. The schedule then follows the clock, so the value depends on the machine's speed; without
        it the same input gives the same value. Nothing here is random.
    negative_slope : float
        s of the activation; 0 is the ReLU.

    Raises
    ------
    ValueError
        If the shapes disagree, a value is not finite, or `steps` < 0 or `sectors` < 1.
    """
    begin = perf_counter()
    X, nu = _check_vector(X, nu)
    _check_effort(steps, sectors, 1)
    slope = checked_slope(negative_slope)
    if not (nu > 0).any() and slope <= 0:
        return 0.0
    data = reduce_rows(X[nu != 0])
    if not data.X.size:  # of zero rows only, or none
        return 0.0
    size = float(np.abs(nu).max())
    fixed = Fixed(nu[nu != 0][data.rows] / size)
    rough = simple_bound(data.X, fixed.vector)
    state = begin_state(data.X, np.array([1.0]), np.zeros(0), 0.0, slope)
    with single_blas():
        best = run(state, fixed, max(rough, 1e-100), _effort(data, steps, sectors, max_time, begin))
    return float(np.nextafter(best.rho * size * data.scale, np.inf)) if best.rho > 0 else 0.0


def spectral_dual(
    X: Array,
    y: Array,
    beta: float,
    loss: str,
    nu0: Array,
    *,
    primal: float | None = None,
    tol: float | None = None,
    steps: int = 1200,
    sectors: int = 32,
    max_time: float | None = None,
    negative_slope: float = 0.0,
    intercept: bool = False,
) -> tuple[Array, float]:
    r"""A dual point ν with a proven ρ̄ ≥ max ρ(±ν), ρ̄ ≤ β, and D(ν) as large as this bound allows.

    D(tν), t = min(1, β/ρ̄), is maximised over ν and the multipliers of ρ̄(ν) and ρ̄(−ν) together, from ν₀.
    D(ν) is a lower bound on the optimum of the training problem.

    Parameters
    ----------
    X : (n, d), y : (n,), beta : float, loss : str
        The problem; several outputs are separate problems, one for each column of y.
    nu0 : (n,)
        Where to start, such as a solver's dual point. It need not be feasible: q = yν is clipped to the
        domain of the loss.
    primal, tol : float, optional
        Together: stop as soon as primal − D(ν) ≤ tol · primal.
    steps, sectors, max_time, negative_slope
        As in `spectral_bound`; `sectors` counts those of ν and of −ν.
    intercept : bool
        Keep 1ᵀν = 0 exactly, for a free intercept; ρ̄ may then exceed β by rounding. No row of X may be zero.

    Returns
    -------
    nu : (n,)
    rho : float
        The bound ρ̄ at this ν.

    Raises
    ------
    ValueError
        If the problem is not valid, y has several columns, or ν₀ is not a finite vector of n entries.
    """
    begin = perf_counter()
    X, y, beta = check_problem(X, y, beta, loss)
    if y.ndim != 1:
        raise ValueError(f"One output at a time: pass the columns of y one by one; y has shape {y.shape}.")
    X, nu0 = _check_vector(X, nu0)
    _check_effort(steps, sectors, 2)
    data = reduce_rows(X)
    largest = float(np.abs(y).max())
    unit = largest if loss == "squared" and largest > 0 else 1.0
    result = _free_optimum(y, loss)
    if not data.X.size:
        return result, 0.0
    dual = Dual(loss, get_loss(loss), y[data.rows] / unit, beta / unit / data.scale)
    if intercept and len(data.rows) < len(y):
        raise ValueError("With an intercept no row of X may be zero.")
    objective = BalancedDual(dual) if intercept else dual
    start = dual.start(nu0[data.rows] / unit)
    slope = checked_slope(negative_slope)
    state = begin_state(data.X, np.array([1.0, -1.0]), start, dual.rate(start), slope)
    goal = np.inf
    if primal is not None and tol is not None:
        rest = np.setdiff1d(np.arange(len(y)), data.rows)
        goal = (primal * (1.0 - tol) - get_loss(loss).dual_value(result[rest], y[rest])) / unit**2
    effort = _effort(data, steps, sectors, max_time, begin, goal)
    with single_blas():
        best = run(state, objective, dual.beta, effort)
    result[data.rows] = best.nu * (unit * INSIDE)
    rho = best.rho * INSIDE * (1.0 + 16 * _EPS) * unit * data.scale
    if not intercept:
        return result, rho
    even = balanced(result)  # scaling has rounded the sum
    return even, rho + float(np.abs(even - result) @ np.linalg.norm(X, axis=1)) * (1.0 + 1e-9)


def simple_bound(X: Array, nu: Array) -> float:
    r"""½‖Xᵀν‖ + ½√n σ_max(diag|ν| X) ≥ max ρ(±ν), rounding included: several times weaker, at no cost.

    From 2(z)_+ = z + |z| and Cauchy–Schwarz. X is (n, d) and ν (n,), any finite values.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not finite.
    """
    X, nu = _check_vector(X, nu)
    if not X.any() or not nu.any():
        return 0.0
    x_size, nu_size = float(np.abs(X).max()), float(np.abs(nu).max())
    X, nu = X / x_size, nu / nu_size
    weighted = np.abs(nu)[:, None] * X
    value = 0.5 * np.linalg.norm(X.T @ nu) + 0.5 * np.sqrt(len(X)) * np.linalg.norm(weighted, 2)
    rounding = _EPS * (len(X) + 100) * np.sqrt(len(X)) * np.linalg.norm(weighted)
    return float(np.nextafter((value + rounding) * x_size * nu_size, np.inf))


class Reduced(NamedTuple):
    """Rows X_i = scale (X̂Vᵀ + R)_i, zero rows left out: ρ(ν) ≤ scale (stretch ρ̂(ν) + rest ‖ν‖)."""

    X: Array  # (n', r) X̂
    rows: IntArray  # (n',) the rows kept
    scale: float
    stretch: float  # ≥ ‖V‖₂
    rest: float  # ≥ ‖R‖_F


def reduce_rows(X: Array) -> Reduced:
    """X in coordinates of its row space, of spectral norm about one, with proven bounds of what is lost."""
    rows = np.flatnonzero(X.any(axis=1))
    kept = X[rows]
    if not rows.size:
        return Reduced(np.zeros((0, 1)), rows, 1.0, 1.0, 0.0)
    scale = float(np.abs(kept).max())
    kept = kept / scale
    values, basis = np.linalg.svd(kept, full_matrices=False)[1:]
    scale, kept = scale * float(values[0]), kept / values[0]
    V = basis[values > max(X.shape) * _EPS * values[0]].T
    reduced = kept @ V
    rounding = 4 * _EPS * (sum(V.shape) + 4) * float(np.linalg.norm(kept)) * float(np.linalg.norm(V))
    rest = 1.01 * (float(np.linalg.norm(kept - reduced @ V.T)) + rounding)
    uneven = float(np.linalg.norm(V.T @ V - np.eye(V.shape[1])))
    return Reduced(reduced, rows, scale, 1.0 + uneven + 8 * _EPS * V.size, rest)


def _effort(
    data: Reduced, steps: int, sectors: int, max_time: float | None, begin: float, goal: float = np.inf
) -> Effort:
    return Effort(steps, sectors, max_time, begin, data.stretch, data.rest, goal)


def _free_optimum(y: Array, loss: str) -> Array:
    """The ν that maximises D without any constraint: what rows x_i = 0 are given."""
    return y * 0.5 if loss == "logistic" else y.copy()


def _check_vector(X: Array, nu: Array) -> tuple[Array, Array]:
    X = np.ascontiguousarray(X, dtype=np.float64)
    nu = np.ascontiguousarray(nu, dtype=np.float64)
    if X.ndim != 2 or nu.shape != (len(X),):
        raise ValueError(f"X must be n×d and nu of length n; their shapes are {X.shape} and {nu.shape}.")
    if not (np.isfinite(X).all() and np.isfinite(nu).all()):
        raise ValueError("X and nu must be finite.")
    return X, nu


def _check_effort(steps: int, sectors: int, least: int) -> None:
    if steps < 0 or sectors < least:
        raise ValueError(f"steps must be ≥ 0 and sectors ≥ {least}; they are {steps} and {sectors}.")
