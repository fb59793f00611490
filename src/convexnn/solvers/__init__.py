"""Solvers for a fixed pattern set: one algorithm a file, ``(program, options) -> Solution``."""

from collections.abc import Callable
from time import perf_counter

import numpy as np

from convexnn._types import Progress
from convexnn.program import ConvexProgram
from convexnn.solvers.admm import solve_admm
from convexnn.solvers.fista import solve_fista
from convexnn.solvers.reference import solve_cvxpy
from convexnn.solvers.solution import Solution, feasible_start, make_solution
from convexnn.solvers.ssnal import solve_ssnal
from convexnn.status import Status

__all__ = ["SOLVERS", "Solution", "solve"]

#: Names that `solve` knows; ``"cvxpy:NAME"`` names one of CVXPY's own solvers.
SOLVERS: dict[str, Callable[..., Solution]] = {
    "auto": solve_ssnal,
    "ssnal": solve_ssnal,
    "fista": solve_fista,
    "admm": solve_admm,
    "cvxpy": solve_cvxpy,
}


def solve(
    program: ConvexProgram,
    solver: str = "auto",
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
) -> Solution:
    r"""Solve the convex program over its pattern set.

    min  L(Σ_i D_i X (v_i − w_i), y) + β Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  v_i, w_i ∈ K_i  (no cones if gated)

    Parameters
    ----------
    program : ConvexProgram
        Data, patterns, β and loss.
    solver : str
        ``"auto"``, which is ``"ssnal"`` (every program); ``"fista"`` (gated programs with a smooth loss);
        ``"admm"`` (the squared loss; slow, a cross-check);
        ``"cvxpy"`` for Clarabel through CVXPY; ``"cvxpy:ECOS"``, ``"cvxpy:SCS"`` and so on for its others.
    tol : float
        Positive. The run ends once (primal − dual)/primal ≤ tol. Both values are those of the sums that
        define the program, nothing is divided by n. The dual value is a bound over this pattern set only: a
        gap of 0 says nothing about patterns that are not in the program.
    max_time : float, optional
        Seconds, positive; the best point so far is returned.
    warm_start : Solution, optional
        A solution of a program with the same patterns (another β or loss will do).
    progress : callable, optional
        Receives each row of the history: a dict with the keys seconds, iteration, primal, bound. A
        KeyboardInterrupt that it raises ends the run like Ctrl-C.

    Returns
    -------
    Solution
        The best point found, feasible, with `v` and `w` d×P, its status, values, gap and history. Exactly
        zero, with `Status.ZERO_HERE`, if β ≥ `program.beta_max`.

    Raises
    ------
    ValueError
        If the solver is unknown or cannot take this program, tol or max_time is not positive, or the warm
        start has other shapes.
    ImportError
        If CVXPY or one of its solvers is missing; the message says what to install.

    Notes
    -----
    Program (2) is of Pilanci & Ergen, ICML 2020; the semismooth Newton augmented Lagrangian method follows
    Li, Sun & Toh (2018).
    """
    name, _, option = solver.partition(":")
    if name not in SOLVERS or (":" in solver and (name != "cvxpy" or not option)):
        known = ", ".join(map(repr, SOLVERS))
        raise ValueError(f"Unknown solver {solver!r}: choose one of {known}, or 'cvxpy:NAME'.")
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive finite number; it is {tol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be positive or None; it is {max_time!r}.")
    if name == "fista" and not program.gated:
        raise ValueError("fista is for gated programs; for this one, with cones, use ssnal.")
    start = None if warm_start is None else feasible_start(program, warm_start)
    begin = perf_counter()
    if program.zero_is_optimal(np.inf if max_time is None else begin + 0.3 * max_time):
        return _zero(program)
    if max_time is not None:
        max_time = max(1e-3, max_time - (perf_counter() - begin))
    options = {"solver_name": option} if option else {}
    run = SOLVERS[name]
    return run(program, tol=tol, max_time=max_time, warm_start=start, progress=progress, **options)


def _zero(program: ConvexProgram) -> Solution:
    zero = np.zeros_like(program.patterns.generators)
    dual, nu = program.dual(-program.loss_function.gradient(np.zeros_like(program.y), program.y))
    return make_solution(program, zero, zero.copy(), nu, dual, Status.ZERO_HERE, [])
