r"""Dual points of softmax cross-entropy made for a proven bound of ρ, over all outputs together.

    max over z of D(tν),  ν = ω (Y − softmax(z)),  t = min(1, β/ρ̄),  ρ̄ = max_k max ρ̄(±ν_k)

with the sector bounds ρ̄ of `convexnn.pricing.spectral`, smoothed and cut as there: Adam on the logits z and
on the multipliers of every output. The value returned is recomputed with rounding included and is a bound.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from convexnn._threads import single_blas
from convexnn._types import Array
from convexnn.losses.softmax import Softmax
from convexnn.pricing._bound_steps import (
    CHECK,
    CUT_FROM,
    CUT_TO,
    DECAY,
    LOGIT_RATE,
    RATES,
    ROUNDS,
    Best,
    Effort,
    Fixed,
    State,
    begin_state,
    cut,
    smoothing,
)
from convexnn.pricing._sectors import Moments, certified_maximum, gradients, maximise, quadratic_forms
from convexnn.pricing.spectral import INSIDE, reduce_rows

_EPS = float(np.finfo(np.float64).eps)
#: log P at the start is not below the logarithm of this.
_LEAST = 1e-6
_STEPS = 1200
_SECTORS = 32


class _Problem(NamedTuple):
    """The dual over the rows that are not zero, X scaled to spectral norm one."""

    loss: Softmax
    Y: Array
    beta: float

    def nu(self, z: Array) -> Array:
        return np.asarray(self.loss.row_weights(len(z)) * (self.Y - softmax(z, axis=1)))

    def slopes(self, nu: Array, rho: float) -> tuple[float, Array]:
        """Derivatives of −D(tν) in ρ and (ρ held) in ν."""
        t = min(1.0, self.beta / rho) if rho > 0 else 1.0
        slope = np.log(np.maximum(self.Y - t * nu / self.loss.row_weights(len(nu)), 1e-300))
        return max(0.0, float(np.sum(nu * slope))) * t / rho if t < 1 else 0.0, -t * slope

    def chain(self, z: Array, d_nu: Array) -> Array:
        """Derivative in z of what has derivative d_nu in ν."""
        p = softmax(z, axis=1)
        inner = d_nu - np.sum(p * d_nu, axis=1, keepdims=True)
        return np.asarray(-self.loss.row_weights(len(z)) * p * inner)


def spectral_softmax(
    X: Array, Y: Array, beta: float, loss: Softmax, nu0: Array, *, primal: float, tol: float, max_time: float,
    negative_slope: float = 0.0,
) -> tuple[Array, float]:  # fmt: skip
    r"""A dual point ν (n, c) with a proven ρ̄ ≥ max_k max ρ(±ν_k), ρ̄ ≤ β, and D(ν) as large as this allows.

    Parameters
    ----------
    X : (n, d), Y : (n, c) of probabilities, beta : float, loss : Softmax
    nu0 : (n, c)
        Where to start, such as a solver's dual point; Y − ν₀/ω is moved into the simplex.
    primal, tol : float
        Stop as soon as primal − D(ν) ≤ tol · primal.
    max_time : float
        Seconds. The schedule follows the clock, so the value depends on the machine's speed.
    negative_slope : float
        s of the activation; 0 is the ReLU.

    Returns
    -------
    nu : (n, c)
    rho : float
        The bound ρ̄ at this ν.
    """
    begin = perf_counter()
    data = reduce_rows(X)
    weights = loss.row_weights(len(Y))
    result = weights * (Y - 1.0 / Y.shape[1])  # rows x_i = 0 are free: the largest entropy
    if not data.X.size:
        return result, 0.0
    used = data.rows
    rest = np.setdiff1d(np.arange(len(Y)), used)
    free = Softmax(weights[rest, 0]).dual_value(result[rest], Y[rest]) if rest.size else 0.0
    part = Softmax(weights[used, 0])
    problem = _Problem(part, Y[used], beta / data.scale)
    z = log_softmax(np.log(np.maximum(Y[used] - nu0[used] / weights[used], _LEAST)), axis=1)
    goal = primal * (1.0 - tol) - free
    effort = Effort(_STEPS, _SECTORS, max_time, begin, data.stretch, data.rest, goal)
    with single_blas():
        best = _run(problem, data.X, z, effort, negative_slope)
    result[used] = best.nu * INSIDE
    return result, best.rho * INSIDE * (1.0 + 16 * _EPS) * data.scale


def _run(problem: _Problem, X: Array, z: Array, effort: Effort, negative_slope: float) -> Best:
    """Minimise −D; returns the best certified point."""
    c = z.shape[1]
    signs = np.array([1.0, -1.0])
    states = [begin_state(X, signs, np.zeros(0), 0.0, negative_slope) for _ in range(c)]
    averages = (np.zeros_like(z), np.zeros_like(z))
    best = Best(-np.inf, np.zeros_like(z), 0.0)
    limit = max(4, effort.sectors // c)
    rounds = step = 0
    while True:
        share = effort.progress(step)
        if step % CHECK == 0 or share >= 1.0:
            best = max(best, _certify(problem, states, z, effort), key=lambda one: one.value)
            if share >= 1.0 or best.value >= effort.goal:
                return best
        due = ROUNDS * min(1.0, max(0.0, (share - CUT_FROM) / (CUT_TO - CUT_FROM)))
        if rounds < int(due):
            rounds += 1
            for state, column in zip(states, problem.nu(z).T, strict=True):
                cut(state, Fixed(column), problem.beta, 2 + -(-(limit - 2) * rounds // ROUNDS))
        _step(problem, states, z, averages, share)
        step += 1


def _certify(problem: _Problem, states: list[State], z: Array, effort: Effort) -> Best:
    """The proven value at the present ν."""
    nu, rho = problem.nu(z), 0.0
    for state, column in zip(states, np.ascontiguousarray(nu.T), strict=True):
        top = float(certified_maximum(state.sectors, column, state.multipliers, problem.beta).max())
        rho = max(rho, effort.stretch * max(0.5 * top, 0.0) + effort.rest * float(np.linalg.norm(column)))
    rho *= 1.0 + 1e-12
    t = problem.loss.best_scale(nu, problem.Y, problem.beta / rho if rho > 0 else np.inf)
    return Best(problem.loss.dual_value(t * nu, problem.Y), t * nu, t * rho)


def _step(
    problem: _Problem, states: list[State], z: Array, averages: tuple[Array, Array], share: float
) -> None:
    """One step of Adam on z and the multipliers of every output, in place."""
    nu = np.ascontiguousarray(problem.nu(z))
    columns = np.ascontiguousarray(nu.T)
    barrier, temperature = smoothing(problem.beta, share)
    moments: list[Moments] = [
        maximise(quadratic_forms(state.sectors, column, state.multipliers, problem.beta), barrier)
        for state, column in zip(states, columns, strict=True)
    ]
    top = max(0.5 * float(one.values.max()) for one in moments)
    weights = [np.exp((0.5 * one.values - top) / temperature) for one in moments]
    total = sum(float(one.sum()) for one in weights)
    d_rho, d_nu = problem.slopes(nu, top + temperature * float(np.log(total)))
    count = states[0].count + 1
    rate = (1.0 - share) ** 1.5 * np.sqrt(1.0 - DECAY[1] ** count) / (1.0 - DECAY[0] ** count)
    for k, (state, column, own) in enumerate(zip(states, columns, weights, strict=True)):
        own = own / total
        state.weights = 0.98 * state.weights + 0.02 * own
        state.count = count
        if d_rho <= 0:
            continue
        d_multipliers, d_column = gradients(
            state.sectors, column, state.multipliers, problem.beta, moments[k], 0.5 * d_rho * own
        )
        d_nu[:, k] += d_column
        for j, part in enumerate(d_multipliers):
            adam = (state.means[j + 1], state.squares[j + 1])
            _adam(state.multipliers[j], part, adam, rate * RATES[j])
        np.maximum(state.multipliers.pair, 0.0, out=state.multipliers.pair)
    _adam(z, problem.chain(z, d_nu), averages, rate * LOGIT_RATE)


def _adam(target: Array, part: Array, averages: tuple[Array, Array], rate: float) -> None:
    """target −= rate · mean/√square, in place."""
    mean, square = averages
    mean += (1.0 - DECAY[0]) * (part - mean)
    square += (1.0 - DECAY[1]) * (part * part - square)
    target -= rate * mean / (np.sqrt(square) + 1e-100)
