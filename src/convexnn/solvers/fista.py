r"""FISTA with adaptive restart, for gated programs with a smooth loss.

    min  L(Σ_i D_i X z_i, y) + β Σ_i ‖z_i‖

Without cones v_i = z_i, w_i = 0 is as good as any split z_i = v_i − w_i. Step:

    z⁺ = prox(x − XᵀD_i∇L(F x)/ℓ),  prox(g) = (1 − (β/ℓ)/‖g‖)₊ g,  x = z⁺ + ((t − 1)/t⁺)(z⁺ − z)

with the curvature ℓ found by backtracking, and t set back to 1 whenever the momentum points uphill.
Sources: Beck & Teboulle (2009); O'Donoghue & Candès (2015).
"""

from dataclasses import dataclass, field
from math import sqrt
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array, Progress
from convexnn.program import ConvexProgram
from convexnn.solvers.solution import Solution, make_solution, record
from convexnn.status import Status

_STEPS = 200_000
_CHECK = 10  # steps between two duality gaps
_PATIENCE = 500  # checks without any progress before the run counts as stalled
_POWER_STEPS = 10


@dataclass
class _State:
    """Everything that changes; z, x and the best point are d×P."""

    z: Array
    x: Array
    fit_z: Array  # F z
    fit_x: Array  # F x
    curvature: float
    t: float = 1.0
    best: Array = field(default_factory=lambda: np.zeros(0))
    primal: float = np.inf
    dual: float = 0.0  # D(0) = 0 for every loss
    nu: Array = field(default_factory=lambda: np.zeros(0))
    idle: int = 0  # checks since the primal or the dual value last improved
    history: list[dict[str, Any]] = field(default_factory=list)


def solve_fista(
    program: ConvexProgram,
    *,
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Minimise L(Σ D_iX(v_i − w_i), y) + β Σ(‖v_i‖ + ‖w_i‖) without cones, to (primal − dual)/primal ≤ tol.

    Parameters
    ----------
    program : ConvexProgram
        Gated, with a differentiable loss.
    tol : float
        Relative duality gap over the program's pattern set.
    max_time : float, optional
        Seconds; the best point so far is returned.
    warm_start : Solution, optional
        A point of a program with the same patterns.
    progress : callable, optional
        Receives each row of the history, one for every ten steps.

    Raises
    ------
    ValueError
        If the program is not gated, its loss has kinks, or the warm start has another shape.
    """
    if not program.gated:
        raise ValueError("fista is for gated programs (gated=True); use solver='ssnal' for the ReLU program.")
    if not program.loss_function.is_smooth:
        raise ValueError(
            f"fista needs a smooth loss, and {program.loss_function.name} is not: use solver='ssnal'."
        )
    begin = perf_counter()
    state = _start(program, warm_start)
    status = Status.ITERATION_LIMIT
    try:
        _check(program, state)
        for iteration in range(_STEPS):
            if state.primal - state.dual <= tol * state.primal:
                status = Status.CONVERGED
                break
            if max_time is not None and perf_counter() - begin > max_time:
                status = Status.TIME_LIMIT
                break
            if state.idle >= _PATIENCE:
                status = Status.STALLED
                break
            _step(program, state)
            if (iteration + 1) % _CHECK:
                continue
            _check(program, state)
            record(
                state.history,
                progress,
                begin=begin,
                iteration=iteration,
                primal=state.primal,
                bound=state.dual,
            )
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    zero = np.zeros_like(state.best)
    return make_solution(program, state.best, zero, state.nu, state.dual, status, state.history)


def _start(program: ConvexProgram, warm_start: Solution | None) -> _State:
    z = np.zeros_like(program.patterns.generators)
    if warm_start is not None:
        z = warm_start.v - warm_start.w
    fit = program.predict(z, np.zeros_like(z))
    state = _State(z, z, fit, fit, _curvature(program))
    state.best, state.nu = z, np.zeros(len(program.y))
    state.primal = _value(program, z, fit)
    return state


def _curvature(program: ConvexProgram) -> float:
    """A first guess of ‖F‖² times the loss's largest curvature, by a few power steps; an underestimate."""
    r = np.ones(len(program.y))
    norm = 1.0
    for _ in range(_POWER_STEPS):
        G = program.adjoint(r / np.linalg.norm(r))
        norm = float(np.sum(G * G))
        r = program.predict(G, np.zeros_like(G))
        if not norm > 0:
            return 1.0
    curvature: Any = program.loss_function  # its `hessian` is there where it is smooth
    return norm * max(float(curvature.hessian(np.zeros(len(program.y)), program.y).max()), 1e-3)


def _value(program: ConvexProgram, z: Array, fit: Array) -> float:
    size = float(np.linalg.norm(z, axis=0).sum())
    return program.loss_function.value(fit, program.y) + program.beta * size


def _step(program: ConvexProgram, state: _State) -> None:
    """One proximal gradient step from x, with backtracking, momentum and restart."""
    loss, y = program.loss_function, program.y
    slope = loss.gradient(state.fit_x, y)
    G = program.adjoint(slope)
    base = loss.value(state.fit_x, y)
    while True:
        z = _shrink(state.x - G / state.curvature, program.beta / state.curvature)
        fit = program.predict(z, np.zeros_like(z))
        move = z - state.x
        model = base + float(np.sum(G * move)) + 0.5 * state.curvature * float(np.sum(move * move))
        if loss.value(fit, y) <= model + 1e-12 * abs(base) or not move.any():
            break
        state.curvature *= 1.5
    if float(np.sum(move * (z - state.z))) < 0:  # the momentum points uphill
        state.t = 1.0
    t = 0.5 * (1.0 + sqrt(1.0 + 4.0 * state.t**2))
    momentum = (state.t - 1.0) / t
    state.x = z + momentum * (z - state.z)
    state.fit_x = fit + momentum * (fit - state.fit_z)
    state.z, state.fit_z, state.t = z, fit, t


def _shrink(g: Array, threshold: float) -> Array:
    """(1 − threshold/‖g_i‖)₊ g_i for each column."""
    norms = np.linalg.norm(g, axis=0)
    return np.asarray(g * np.maximum(1.0 - threshold / np.where(norms > 0, norms, 1.0), 0.0))


def _check(program: ConvexProgram, state: _State) -> None:
    """Keep the best primal and dual points."""
    state.idle += 1
    primal = _value(program, state.z, state.fit_z)
    if primal < state.primal:
        state.primal, state.best, state.idle = primal, state.z, 0
    dual, nu = program.dual(-program.loss_function.gradient(state.fit_z, program.y))
    if dual > state.dual:
        state.dual, state.nu, state.idle = dual, nu, 0
