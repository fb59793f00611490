r"""Programs min_Z L(A Z, y) + β Ω(Z) by a proximal method on the dual with semismooth Newton steps.

Ω is a norm (nuclear, or a sum of group norms, perhaps over cones) with dual norm ρ(ν) = Ω°(A*ν). With the
centre V and a penalty σ, an outer step minimises

    φ(ν) = L*(−ν) + (σ/2) Σ_i (s_i − β)₊²,   s_i the singular values or group norms of V/σ + A*ν,

and its minimiser gives the next centre U, the proximal point of V. ∇φ = A U + (L*)′, and the Newton matrix
is (L*)″ + σ B Bᵀ with B the square root of the derivative of the thresholding. One penalty class a case
supplies U, A U and B; the rest is here. Source: Li, Sun & Toh (2018), SSNAL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from convexnn._types import Array, Progress
from convexnn.losses import get_loss
from convexnn.solvers.conjugates import Conjugate, make_conjugate, starting_point
from convexnn.solvers.newton import solve_boxed_newton, solve_newton
from convexnn.status import Status

_ARMIJO = 1e-4
_HALVINGS = 30
_NEWTON_STEPS = 50
_ROUNDS = 200
_GROWTH = 4.0
_LARGEST = 1e8  # of σ/σ₀
_SHRINK = 10.0
_POOR = 0.1  # share of the gap by which an inner problem may be off
_WEAKER = (1.0, 1e-3, 1e-6)
_STALLED = 12  # rounds without any progress


@dataclass(frozen=True)
class Trial:
    """The augmented term at one ν.

    Attributes
    ----------
    value : float
        (σ/2) Σ (s_i − β)₊².
    centre : array
        U, the next centre.
    fit : (n,)
        A U.
    size : float
        Ω(U).
    change : float
        ‖U − V‖².
    factor : callable
        Bᵀ, M×n.
    """

    value: float
    centre: Array
    fit: Array
    size: float
    change: float
    factor: Callable[[], Array]


class Penalty(Protocol):
    """A norm with its operator A: what a case supplies."""

    def zero(self) -> Array:
        """The centre Z = 0."""
        ...

    def trial(self, nu: Array, centre: Array, beta: float, sigma: float) -> Trial:
        """The augmented term at ν."""
        ...

    def rho(self, nu: Array) -> float:
        """An upper bound on Ω°(A*ν), tight up to rounding."""
        ...


@dataclass(frozen=True)
class DualPoint:
    """φ and its gradient at q = σ_y ∘ ν."""

    q: Array
    value: float
    gradient: Array
    trial: Trial


def minimise_dual(
    conjugate: Conjugate,
    evaluate: Callable[[Array], Trial],
    sigma: float,
    q: Array,
    should_stop: Callable[[float, DualPoint], bool],
) -> DualPoint:
    """Newton's method on φ from q, with Armijo halving.

    Parameters
    ----------
    evaluate : callable(ν) -> Trial
    should_stop : callable(error, point)
        Asked after each step; `error` is a measure, in the units of φ, of how far the point is from the
        minimum: max(e, √e √(Σ q²/D)) is what the objective may be off by, e = Σ(2 g r − r²/D).
    """

    def at(q: Array) -> DualPoint:
        trial = evaluate(conjugate.sign * q)
        gradient = conjugate.gradient(q) + conjugate.sign * trial.fit
        return DualPoint(q, conjugate.value(q) + trial.value, gradient, trial)

    point = at(q)
    for _ in range(_NEWTON_STEPS):
        dq = _direction(conjugate, sigma, point)
        slope = float(point.gradient @ dq)
        if not np.isfinite(slope) or slope >= -1e-16 * (1.0 + abs(point.value)):
            break
        t = 1.0
        for _ in range(_HALVINGS):
            new = at(conjugate.move(point.q, dq, t))
            if new.value <= point.value + _ARMIJO * t * slope:
                break
            t *= 0.5
        else:
            break
        point = new
        if should_stop(_error(conjugate, point), point):
            break
    return point


def _error(conjugate: Conjugate, point: DualPoint) -> float:
    """e = Σ(2 g r − r²/D), r = q − P(q − D g): zero exactly at the minimum."""
    D = conjugate.inverse_curvature(point.q)
    g = point.gradient
    r = point.q - np.clip(point.q - D * g, conjugate.lower, conjugate.upper)
    return max(0.0, float(np.sum(2.0 * g * r - r * r / D)))


def _direction(conjugate: Conjugate, sigma: float, point: DualPoint) -> Array:
    q, g = point.q, point.gradient
    D = conjugate.inverse_curvature(q)
    Bt = point.trial.factor() * conjugate.sign
    bound = ((q <= conjugate.lower) & (g > 0)) | ((q >= conjugate.upper) & (g < 0))
    for weaker in _WEAKER:  # rounding may leave a matrix with a huge σ indefinite
        try:
            if not conjugate.is_boxed:
                return solve_newton(Bt, D, weaker * sigma, -g)
            low, high = conjugate.lower - q, conjugate.upper - q
            return solve_boxed_newton(Bt, D, weaker * sigma, g, low, high, ~bound)
        except np.linalg.LinAlgError:
            continue
    return -D * g


@dataclass
class DualState:
    """What an outer step changes: the present centre, q and σ, and the best point and bound."""

    centre: Array
    q: Array
    sigma: float
    sigma_start: float
    primal: float
    best: Array  # the centre of `primal`
    ceiling: float = np.inf  # of σ
    bound: float = 0.0
    nu: Array | None = None  # unscaled dual point of `bound`

    @property
    def gap(self) -> float:
        """(primal − bound)/primal."""
        return (self.primal - self.bound) / self.primal if self.primal > 0 else 0.0


def outer_step(
    penalty: Penalty, state: DualState, y: Array, beta: float, loss: str, tol: float, deadline: float
) -> Array:
    """One proximal step: the centre moves to U and σ grows; returns the new q.

    If rounding kept the inner problem from being solved, the centre and q stay and σ falls. `primal` and
    `best` are kept up to date in both cases.
    """
    conjugate = make_conjugate(loss, y, state.q, 0.3 * state.sigma / state.sigma_start)

    def evaluate(nu: Array) -> Trial:
        return penalty.trial(nu, state.centre, beta, state.sigma)

    def should_stop(error: float, point: DualPoint) -> bool:
        scale = float(np.sqrt(np.sum(point.q**2 / conjugate.inverse_curvature(point.q))))
        gap = min(state.primal - state.bound, 0.3 * state.primal)
        floor = 0.1 * max(gap, 0.1 * tol * state.primal)
        return (
            error <= 0.1 * point.trial.change / state.sigma
            or max(0.5 * error, np.sqrt(error) * scale) <= floor
            or perf_counter() > deadline
        )

    point = minimise_dual(conjugate, evaluate, state.sigma, state.q, should_stop)
    trial = point.trial
    t = hinge_scale(y * trial.fit, beta * trial.size) if loss == "hinge" else 1.0
    primal = get_loss(loss).value(t * trial.fit, y) + t * beta * trial.size
    if primal < state.primal:
        state.primal, state.best = primal, t * trial.centre
    error = _error(conjugate, point)
    gap = max(state.gap, tol) * state.primal
    if should_stop(error, point) or 0.5 * error <= _POOR * min(gap, 0.3 * state.primal):
        state.q, state.centre = point.q, point.trial.centre
        state.sigma = max(state.sigma, min(_GROWTH * state.sigma, state.ceiling))
    else:
        state.sigma /= _SHRINK
    return point.q


def hinge_scale(margin: Array, penalty: float) -> float:
    """The t ≥ 0 that minimises Σ (1 − t m_i)₊ + t · penalty.

    Margins a little below 1 cost a lot where the whole objective is small: this takes them to 1 exactly.
    """
    positive = np.sort(margin[margin > 0])[::-1]  # kinks 1/m in ascending order
    if not len(positive):
        return 0.0
    slope = penalty - float(margin[margin < 0].sum()) - float(positive.sum()) + np.cumsum(positive)
    if slope[0] - positive[0] >= 0:
        return 0.0
    return 1.0 / float(positive[int(np.argmax(slope >= 0))])


def lower_bound(nu: Array, y: Array, beta: float, loss: str, rho: float) -> float:
    """max of D(tν) over 0 ≤ t ≤ β/ρ, never below 0."""
    function = get_loss(loss)
    t = function.best_scale(nu, y, beta / rho if rho > 0 else np.inf)
    return max(0.0, function.dual_value(t * nu, y))


@dataclass(frozen=True)
class DualSolution:
    """The best point, the dual point of the best bound, and how it went."""

    centre: Array
    value: float
    nu: Array
    history: list[dict[str, Any]]
    status: Status


def first_sigma(penalty_size: float, start: float, beta: float) -> float:
    """σ₀ in the units of Z/β: Ω(Z) is at most P(0)/β, spread over about `penalty_size` parts."""
    return 0.3 * max(start, 1e-300) / (beta**2 * max(1.0, penalty_size))


def solve_dual(
    penalty: Penalty,
    y: Array,
    beta: float,
    loss: str,
    *,
    parts: int,
    tol: float,
    max_time: float | None,
    progress: Progress | None = None,
) -> DualSolution:
    """min_Z L(A Z, y) + β Ω(Z) to (primal − bound)/primal ≤ tol.

    Parameters
    ----------
    penalty : Penalty
    y : (n,)
    parts : int
        Number of singular values or groups, for the first σ only.
    tol : float
    max_time : float, optional
        Seconds; the best point so far is returned. So it is on Ctrl-C.
    """
    begin = perf_counter()
    deadline = np.inf if max_time is None else begin + max_time
    zero = np.zeros_like(y)
    start = get_loss(loss).value(zero, y)
    sigma = first_sigma(min(parts, len(y)), start, beta)
    state = DualState(penalty.zero(), starting_point(loss, y, zero), sigma, sigma, start, penalty.zero())
    state.ceiling = _LARGEST * sigma
    history: list[dict[str, Any]] = []
    status, idle = Status.ITERATION_LIMIT, 0
    try:
        for iteration in range(_ROUNDS):
            before = (state.primal, state.bound)
            q = outer_step(penalty, state, y, beta, loss, tol, deadline)
            nu = make_conjugate(loss, y).sign * q
            bound = lower_bound(nu, y, beta, loss, penalty.rho(nu))
            if bound > state.bound or state.nu is None:
                state.bound, state.nu = bound, nu
            row = {"seconds": perf_counter() - begin, "iteration": iteration}
            history.append({**row, "primal": state.primal, "bound": state.bound})
            if progress is not None:
                progress(history[-1])
            idle = idle + 1 if (state.primal, state.bound) == before else 0
            reached = state.gap <= tol
            if reached or idle >= _STALLED or perf_counter() > deadline:
                status = (
                    Status.CONVERGED if reached else Status.STALLED if idle >= _STALLED else Status.TIME_LIMIT
                )
                break
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    best_nu = zero if state.nu is None else state.nu
    return DualSolution(state.best, state.primal, best_nu, history, status)
