"""Dual points of networks for their certificates, and what bound a dual point gives."""

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from scipy.optimize import linprog

from convexnn._types import Array
from convexnn.activation import activate
from convexnn.cones import prepare_rows
from convexnn.intercepts import balanced, best_intercept, dual_at
from convexnn.losses import LossLike, get_loss, get_separable
from convexnn.network import Network
from convexnn.pricing.search import distinct, search

#: Starts of the search for cuts, and the most rounds of cuts.
_TRIAL = 500
_CUTTING_ROUNDS = 30


def bound_at(nu: Array, y: Array, beta: float, loss: LossLike, rho: float) -> tuple[float, float]:
    """max over t in [0, β/ρ] of D(tν), and that t."""
    function = get_loss(loss)
    t = function.best_scale(nu, y, beta / rho if rho > 0 else np.inf)
    return function.dual_value(t * nu, y), t


def dual_candidate(
    network: Network, X: Array, y: Array, beta: float, loss: LossLike, deadline: float = np.inf,
    intercept: bool = False,
) -> Array:  # fmt: skip
    """ν = −∇L(f); for a loss with kinks, the point that `_kink_dual` finds on rows on or near one.

    With a free intercept (and one output) f is moved to its best, whatever the network's own is.
    """
    function, slope = get_separable(loss), network.negative_slope
    if intercept:
        f = replace(network, intercept=0.0).predict(X)
        if function.is_smooth:
            return dual_at(loss, f, y)
        low, high = function.subgradients(f + best_intercept(loss, f, y), y)
        return _kink_dual(X, y, low, high, beta, loss, deadline, slope, dual_at(loss, f, y))
    f = network.predict(X)
    if function.is_smooth:
        return -function.gradient(f, y)
    low, high = function.subgradients(f, y)
    if y.ndim == 1:
        return _kink_dual(X, y, low, high, beta, loss, deadline, slope)
    outputs = zip(y.T, low.T, high.T, strict=True)
    return np.stack([_kink_dual(X, *output, beta, loss, deadline, slope) for output in outputs], axis=1)


def _kink_dual(
    X: Array, y: Array, low: Array, high: Array, beta: float, loss: LossLike, deadline: float,
    negative_slope: float, start: Array | None = None,
) -> Array:  # fmt: skip
    """Maximise yᵀν over low ≤ ν ≤ high subject to ±νᵀ(Xu)_+ ≤ β: cutting planes over u.

    For the hinge and the quantile loss D(ν) = yᵀν. Each linear program holds the directions found so far; the
    local maxima of its ν above β join them. A slack τ on every cut keeps the program feasible at the price
    D/β that scaling ν by β/ρ would cost. With a `start` whose sum is 0, for a free intercept, every ν has
    1ᵀν = 0.
    """
    free = low < high
    if not free.any():
        return low if start is None else start
    rows, rng = prepare_rows(X, negative_slope), np.random.default_rng(0)
    fixed = np.where(free, 0.0, low)
    most = np.maximum(np.abs(low), np.abs(high))
    price = float(np.sum(np.abs(y) * most)) / beta
    objective = np.append(-y[free], price)
    bounds = [*zip(low[free], high[free], strict=True), (0.0, None)]
    best, best_bound = np.asarray(np.clip(0.0, low, high)) if start is None else start, -np.inf
    even: dict[str, Any] = {}
    if start is not None:
        even = {"A_eq": np.append(np.ones(int(free.sum())), 0.0)[None], "b_eq": [-fixed.sum()]}
    cuts, limits = np.zeros((0, int(free.sum()) + 1)), np.zeros(0)
    for _ in range(_CUTTING_ROUNDS):
        left = {} if np.isinf(deadline) else {"time_limit": max(0.01, deadline - perf_counter())}
        solved = linprog(objective, A_ub=cuts, b_ub=limits, bounds=bounds, options=left, **even).x
        if solved is None:  # out of time
            break
        nu = fixed.copy()
        nu[free] = np.clip(solved[:-1], low[free], high[free])
        nu = nu if start is None else balanced(nu)
        found = search(X, rows, nu, starts=_TRIAL, rng=rng, stop_above=beta * (1.0 + 1e-8), deadline=deadline)
        bound = bound_at(nu, y, beta, loss, found.rho)[0]
        if bound > best_bound:
            best, best_bound = nu, bound
        if not len(found.found.signs) or perf_counter() > deadline:
            break
        new = distinct(found.found, 100, 1.0 - 1e-9)
        activations = activate(X @ new.maxima.directions.T, negative_slope) * new.signs
        slack = -np.ones((len(new.signs), 1))
        cuts = np.concatenate([cuts, np.hstack([activations[free].T, slack])])
        limits = np.concatenate([limits, beta - activations.T @ fixed])
    return best
