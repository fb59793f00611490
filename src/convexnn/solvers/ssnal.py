r"""Augmented Lagrangian on the dual with semismooth Newton steps (SSNAL), for a fixed pattern set.

Outer step: V ← argmin of the proximal dual problem (`convexnn.solvers.inner`), σ ← 3σ. The new V is
feasible by construction. Only a working set of blocks takes part; the others are priced by ‖Π_K(±XᵀD_iν)‖
and enter when that exceeds β. A bound is stated only after a pass over every block.
Source: Li, Sun & Toh (2018), here with exact cone projections.
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._threads import OutOfTime, single_blas
from convexnn._types import Array, IntArray, Progress
from convexnn.cones import adjoint_blocks, project_blocks
from convexnn.program import ConvexProgram
from convexnn.solvers.conjugates import Conjugate, make_conjugate
from convexnn.solvers.inner import Blocks, InnerPoint, InnerProblem, make_blocks, minimise_inner, step_length
from convexnn.solvers.solution import Solution, make_solution, record
from convexnn.status import Status

_FIRST = 200  # blocks of the first working set
_CHUNK = 500  # blocks priced at a time
_ROUNDS = 500
_GROWTH = 3.0
_LARGEST = 1e5  # of σ/σ₀: beyond it rounding spoils the Newton systems
_NEWTON_STEPS = 50
_SLOW = 3  # rounds at the largest σ in which the gap may stand still
_PATIENCE = 40  # rounds without any progress before the run counts as stalled
_HINGE_TAU = 0.3  # of τ/(σ/σ₀), in units of the margin


@dataclass
class _State:
    """Everything that changes between outer steps. Block b < P is +pattern b, block P + b is −pattern b."""

    blocks: Blocks  # all 2P, masks shared by both signs
    work: IntArray
    q: Array
    sigma: float
    sigma0: float  # its first value
    largest: float  # limit of σ
    mark: float = np.inf  # primal − dual when it last fell by a tenth
    slow: int = 0  # rounds since then
    deadline: float = np.inf  # on the clock of perf_counter
    primal: float = np.inf
    dual: float = 0.0  # D(0) = 0 for every loss
    idle: int = 0  # rounds since the primal or the dual value last improved
    v: Array = field(default_factory=lambda: np.zeros(0))  # best centres
    nu: Array = field(default_factory=lambda: np.zeros(0))  # best dual point
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def gap(self) -> float:
        return (self.primal - self.dual) / self.primal if self.primal > 0 else 0.0


def solve_ssnal(
    program: ConvexProgram,
    *,
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Solve program (2) (ReLU or gated) to (primal − dual)/primal ≤ tol.

    Parameters
    ----------
    program : ConvexProgram
        Any loss, with cones or gated.
    tol : float
        Relative duality gap over the program's pattern set.
    max_time : float, optional
        Seconds; the best point so far is returned.
    warm_start : Solution, optional
        A feasible point of a program with the same patterns, as `solve` makes it.
    progress : callable, optional
        Receives each row of the history.
    """
    begin = perf_counter()
    state = _start(program, warm_start)
    state.deadline = np.inf if max_time is None else begin + max_time
    try:
        with single_blas():
            status = _rounds(program, state, tol, begin, progress)
    except OutOfTime:
        status = Status.TIME_LIMIT
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    P = len(program.patterns)
    return make_solution(program, state.v[:P].T, state.v[P:].T, state.nu, state.dual, status, state.history)


def _rounds(
    program: ConvexProgram, state: _State, tol: float, begin: float, progress: Progress | None
) -> Status:
    for iteration in range(_ROUNDS):
        state.idle += 1
        steps = _outer_step(program, state, tol)
        _price(program, state)
        record(
            state.history, progress, begin=begin, iteration=iteration, primal=state.primal, bound=state.dual
        )
        if state.gap <= tol:
            return Status.CONVERGED
        if perf_counter() > state.deadline:
            return Status.TIME_LIMIT
        if state.idle >= _PATIENCE:
            return Status.STALLED
        _next_sigma(state, steps)
    return Status.ITERATION_LIMIT


def _start(program: ConvexProgram, warm_start: Solution | None) -> _State:
    n, P = program.patterns.masks.shape
    masks = np.ascontiguousarray(program.patterns.masks.T)
    V = np.zeros((2 * P, program.X.shape[1]))
    if warm_start is not None:
        V = np.concatenate([warm_start.v.T, warm_start.w.T])
    blocks = make_blocks(np.concatenate([masks, masks]), np.repeat([1.0, -1.0], P), V)
    fit = program.predict(V[:P].T, V[P:].T)
    scale = 2.0 * program.loss_function.value(np.zeros(n), program.y)  # ‖y‖² for the squared loss
    sigma = min(
        0.3 * scale / (program.beta**2 * min(2 * P, n)) if scale > 0 else 1.0,
        1e6 / max(float(np.sum(program.X**2)), 1e-300),
    )
    order = np.random.default_rng(0).permutation(2 * P)
    chosen = order if 2 * P <= 2 * _FIRST else order[:_FIRST]
    work = np.union1d(chosen, np.flatnonzero(V.any(axis=1)))
    conjugate = make_conjugate(program.loss, program.y)
    q = conjugate.start(fit)
    if warm_start is not None and warm_start.nu.any():
        q = conjugate.inside(conjugate.sign * warm_start.nu)
    state = _State(blocks, work, q, sigma, sigma, _LARGEST * sigma)
    state.v, state.nu = V.copy(), np.zeros(n)
    state.primal = program.primal(V[:P].T, V[P:].T)
    return state


def _conjugate(program: ConvexProgram, state: _State) -> Conjugate:
    return make_conjugate(program.loss, program.y, state.q, _HINGE_TAU * state.sigma / state.sigma0)


def _next_sigma(state: _State, steps: int) -> None:
    """σ ← 3σ once the inner problem is solved, up to a limit that falls when rounding stops the progress."""
    if state.primal - state.dual <= 0.9 * state.mark:
        state.mark, state.slow = state.primal - state.dual, 0
    state.slow += 1
    if state.sigma >= state.largest and state.slow > _SLOW:
        state.largest = max(0.1 * state.largest, state.sigma0)
        state.sigma, state.slow = state.largest, 0
    elif steps < _NEWTON_STEPS:
        state.sigma = min(_GROWTH * state.sigma, state.largest)


def _outer_step(program: ConvexProgram, state: _State, tol: float) -> int:
    """One step of the proximal point iteration over the working set; keeps the best primal point.

    Returns the Newton steps it took.
    """
    part = state.blocks.take(state.work)
    problem = InnerProblem(
        program.X, program._rows, _conjugate(program, state), program.beta, state.sigma, program.gated,
        state.deadline,
    )  # fmt: skip

    def should_stop(measure: float, scale: float, point: InnerPoint) -> bool:
        gap = min(state.primal - state.dual, 0.3 * state.primal)
        floor = 0.1 * max(gap, 0.1 * tol * state.primal)
        excess = max(np.sqrt(measure) * scale, 0.5 * measure)
        solved = measure <= 0.1 * step_length(part, point) / state.sigma or excess <= floor
        return solved or perf_counter() > state.deadline

    point, steps = minimise_inner(problem, part, state.q, should_stop=should_stop, max_steps=_NEWTON_STEPS)
    state.q = point.q
    state.blocks.v[:] = 0.0
    state.blocks.v[state.work[point.active]] = point.u
    state.blocks.tight[state.work] = part.tight
    state.blocks.count[state.work] = part.count
    size = float(np.linalg.norm(point.u, axis=1).sum())
    primal = program.loss_function.value(point.fit, program.y) + program.beta * size
    if primal < state.primal:
        state.primal, state.v, state.idle = primal, state.blocks.v.copy(), 0
    return steps


def _price(program: ConvexProgram, state: _State) -> None:
    """Add violated blocks to the working set; after a full pass also update the bound."""
    nu = _conjugate(program, state).sign * state.q
    total = len(state.blocks)
    is_active = state.blocks.v.any(axis=1)
    active = np.flatnonzero(is_active)
    if len(state.work) > 4 * max(len(active), _FIRST):
        state.work = active
    outside = np.setdiff1d(np.arange(total), state.work)
    np.random.default_rng(len(state.history)).shuffle(outside)
    wanted = max(len(active), 50)
    largest, violators, values = 0.0, np.zeros(0, dtype=np.int64), np.zeros(0)
    complete = True
    chunks = [state.work, *np.split(outside, range(_CHUNK, len(outside), _CHUNK))]
    for k, chunk in enumerate(chunks):
        norms = _prices(program, state, chunk, nu, keep_tight=k > 0)
        largest = max(largest, float(norms.max(initial=0.0)))
        if k > 0:
            violators = np.concatenate([violators, chunk[norms > program.beta]])
            values = np.concatenate([values, norms[norms > program.beta]])
        if len(violators) >= 2 * wanted:
            complete = k == len(chunks) - 1
            break
    if complete:
        t = program.loss_function.best_scale(nu, program.y, program.beta / max(largest, program.beta))
        dual = program.loss_function.dual_value(t * nu, program.y)
        if dual > state.dual:
            state.dual, state.nu, state.idle = dual, t * nu, 0
    best = violators[np.argsort(-values, kind="stable")[:wanted]]
    state.work = np.union1d(state.work, best)


def _prices(program: ConvexProgram, state: _State, chunk: IntArray, nu: Array, *, keep_tight: bool) -> Array:
    """‖Π_K(s XᵀD_iν)‖ of some blocks, exact where above β."""
    part = state.blocks.take(chunk)
    G = adjoint_blocks(program._rows, part.masks, part.signs, nu, np.zeros_like(part.v))
    W = project_blocks(
        program._rows, part.masks, G, tight=part.tight, count=part.count, threshold=program.beta,
        gated=program.gated, deadline=state.deadline,
    )  # fmt: skip
    if keep_tight:
        state.blocks.tight[chunk] = part.tight
        state.blocks.count[chunk] = part.count
    return np.asarray(np.linalg.norm(W, axis=1))
