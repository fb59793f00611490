r"""The convex program handed to CVXPY: slow, independent, the reference of the other solvers.

    min  L(A(v − w), y) + β Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  (2D_i − I) X v_i ≥ 0,  (2D_i − I) X w_i ≥ 0

A = [D_1X … D_PX] is formed. The fit f = A(v − w) is a variable of its own, so that the multiplier of this
constraint is the dual vector ν of every loss, the hinge included (written with slacks ξ ≥ 0, ξ ≥ 1 − y∘f).
The answer is projected on the cones, and its values are recomputed.
Source: Diamond & Boyd, CVXPY (2016); Goulart & Chen, Clarabel (2024).
"""

import warnings
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array, Progress
from convexnn.activation import gains
from convexnn.losses import (
    Hinge,
    Huber,
    Logistic,
    LossLike,
    Poisson,
    Quantile,
    Squared,
    SquaredEpsilonInsensitive,
    SquaredHinge,
    get_separable,
    split_weights,
)
from convexnn.program import ConvexProgram
from convexnn.solvers.solution import Solution, make_solution, project_on_cones, record
from convexnn.status import Status

#: What to install for a solver that CVXPY can call.
_INSTALL = {
    "CLARABEL": "pip install 'convexnn[cvxpy]'",
    "ECOS": "pip install ecos",
    "SCS": "pip install scs",
    "MOSEK": "pip install mosek",
    "GUROBI": "pip install gurobipy",
    "CVXOPT": "pip install cvxopt",
    "COPT": "pip install coptpy",
}
#: The part of the tolerance that goes to the solver: its answer still has to be projected.
_SHARE = 1e-2
_TIGHTEST = 1e-11
_LOOSEST = 1e-7


@dataclass(frozen=True)
class _Model:
    """A CVXPY problem with the variables that are read from it; v and w are d×P."""

    problem: Any
    v: Any
    w: Any
    link: Any  # the constraint f = A(v − w)


def solve_cvxpy(
    program: ConvexProgram,
    *,
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
    solver_name: str = "CLARABEL",
) -> Solution:
    """Minimise L(Σ D_iX(v_i − w_i), y) + β Σ(‖v_i‖ + ‖w_i‖) over the cones, with CVXPY.

    Parameters
    ----------
    program : ConvexProgram
        ReLU or gated, any loss.
    tol : float
        Relative duality gap over the program's pattern set that counts as converged. A hundredth of it goes
        to the solver.
    max_time : float, optional
        Seconds, for the solvers that take a limit (Clarabel, SCS). CVXPY passes on no point of a Clarabel run
        that was cut short: the warm start, or zero, comes back.
    warm_start : Solution, optional
        A point of a program with the same patterns; only SCS makes use of it.
    progress : callable, optional
        Receives the one row of the history, at the end.
    solver_name : str
        A conic solver that CVXPY knows: CLARABEL, ECOS, SCS, ...

    Raises
    ------
    ImportError
        If CVXPY or the solver is not installed; the message says what to install.
    ValueError
        If the solver cannot take this program (OSQP has no second-order cones), or the warm start has another
        shape.
    """
    begin = perf_counter()
    name = solver_name.upper()
    cvxpy = _import_cvxpy(name)
    v, w = _starting_point(program, warm_start)
    model = _build(cvxpy, program, v, w)
    _require_cones(cvxpy, model, name, program)
    candidates = [_gradient_nu(program, v, w)]
    failed, stop = True, None
    try:
        for accuracy in (_SHARE * tol, _LOOSEST):  # some solvers give up on a tight tolerance
            failed = not _run(cvxpy, model, name, max(accuracy, _TIGHTEST), max_time)
            if not failed or (max_time is not None and perf_counter() - begin > max_time):
                break
    except KeyboardInterrupt:
        stop = Status.INTERRUPTED
    if not failed:
        answer = project_on_cones(program, model.v.value), project_on_cones(program, model.w.value)
        if program.primal(*answer) <= program.primal(v, w):
            v, w = answer
        candidates = [_gradient_nu(program, *answer), _multiplier(program, model)]
    dual, nu = max((program.dual(nu) for nu in candidates), key=lambda pair: pair[0])
    primal = program.primal(v, w)
    seconds = perf_counter() - begin
    status = stop or _status(
        primal - dual <= tol * primal, failed, max_time is not None and seconds > max_time
    )
    history: list[dict[str, Any]] = []
    try:
        record(history, progress, begin=begin, iteration=0, primal=primal, bound=dual)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return make_solution(program, v, w, nu, dual, status, history)


def _import_cvxpy(name: str) -> Any:
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError(
            "The solver 'cvxpy' needs the package cvxpy: pip install 'convexnn[cvxpy]'."
        ) from error
    installed: list[str] = cvxpy.installed_solvers()  # type: ignore[no-untyped-call]
    if name not in installed:
        line = _INSTALL.get(name)
        advice = f"install it with {line}" if line else "CVXPY does not list it either under this name"
        raise ImportError(
            f"The solver {name} of CVXPY is not installed: {advice} (installed: {', '.join(installed)})."
        )
    return cvxpy


def _starting_point(program: ConvexProgram, warm_start: Solution | None) -> tuple[Array, Array]:
    shape = program.patterns.generators.shape
    if warm_start is None:
        return np.zeros(shape), np.zeros(shape)
    return warm_start.v, warm_start.w


def _build(cvxpy: Any, program: ConvexProgram, v0: Array, w0: Array) -> _Model:
    X, y, masks = program.X, program.y, program.patterns.masks
    v, w = cvxpy.Variable(v0.shape, value=v0), cvxpy.Variable(v0.shape, value=w0)
    D = gains(masks, program.negative_slope)
    A = np.concatenate([D[:, [i]] * X for i in range(masks.shape[1])], axis=1)
    fit = cvxpy.Variable(len(y))
    link = fit == A @ cvxpy.vec(v - w, order="F")
    constraints = [link]
    if not program.gated:
        kept = X.any(axis=1)
        signs = 2.0 * masks[kept] - 1.0
        constraints += [cvxpy.multiply(signs, X[kept] @ block) >= 0 for block in (v, w)]
    loss, more = _expression(cvxpy, program.loss, fit, y)
    constraints += more
    size = cvxpy.sum(cvxpy.norm(v, 2, axis=0)) + cvxpy.sum(cvxpy.norm(w, 2, axis=0))
    problem = cvxpy.Problem(cvxpy.Minimize(loss + program.beta * size), constraints)
    return _Model(problem, v, w, link)


def _expression(cvxpy: Any, loss: LossLike, fit: Any, y: Array) -> tuple[Any, list[Any]]:
    """Σ ω_i ℓ(f_i, y_i) less its constants, as CVXPY takes it, and the constraints of its slacks."""
    base, weights = split_weights(loss)
    weights = np.ones(len(y)) if weights is None else weights
    root, own = np.sqrt(weights), get_separable(base)
    slack = cvxpy.Variable(len(y), nonneg=True)

    def square(values: Any) -> Any:
        return 0.5 * cvxpy.sum_squares(cvxpy.multiply(root, values))

    def total(values: Any) -> Any:
        return weights @ values

    if isinstance(own, Squared):
        return square(fit - y), []
    if isinstance(own, Logistic):
        return total(cvxpy.logistic(-cvxpy.multiply(y, fit))), []
    if isinstance(own, Hinge):
        return total(slack), [slack >= 1 - cvxpy.multiply(y, fit)]
    if isinstance(own, SquaredHinge):
        return square(slack), [slack >= 1 - cvxpy.multiply(y, fit)]
    if isinstance(own, Huber):
        return 0.5 * total(cvxpy.huber(fit - y, own.delta)), []
    if isinstance(own, Quantile):
        return total(slack), [slack >= own.level * (y - fit), slack >= (own.level - 1) * (y - fit)]
    if isinstance(own, SquaredEpsilonInsensitive):
        return square(slack), [slack >= y - fit - own.epsilon, slack >= fit - y - own.epsilon]
    if isinstance(own, Poisson):
        return total(cvxpy.exp(fit) - cvxpy.multiply(y, fit)), []
    raise ValueError(f"The cvxpy solver does not know the loss {own.name}.")


def _require_cones(cvxpy: Any, model: _Model, name: str, program: ConvexProgram) -> None:
    """Compile once (CVXPY keeps the result), so that an unsuitable solver is told from one that fails."""
    try:
        model.problem.get_problem_data(solver=name)
    except cvxpy.error.SolverError as error:
        raise ValueError(
            f"The solver {name} has no cones for the {program.loss_function.name} program with its norms: "
            "use CLARABEL, ECOS or SCS."
        ) from error


def _run(cvxpy: Any, model: _Model, name: str, inner: float, max_time: float | None) -> bool:
    """Solve; whether a point came back. Accuracy is judged later, by the recomputed gap."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            warnings.filterwarnings("ignore", category=FutureWarning)
            model.problem.solve(solver=name, warm_start=True, **_options(name, inner, max_time))
    except cvxpy.error.SolverError:
        return False
    values = model.v.value, model.w.value
    return all(value is not None and np.isfinite(value).all() for value in values)


def _options(name: str, inner: float, max_time: float | None) -> dict[str, Any]:
    """The solver's own names for tolerance and time limit; nothing for one not listed."""
    options: dict[str, Any] = {}
    if name == "CLARABEL":
        options = {"tol_gap_rel": inner, "tol_gap_abs": inner, "tol_feas": inner}
    elif name == "ECOS":
        options = {"reltol": inner, "abstol": inner, "feastol": inner, "max_iters": 500}
    elif name == "SCS":
        options = {"eps_rel": inner, "eps_abs": inner, "max_iters": 200_000}
    if max_time is not None and name in ("CLARABEL", "SCS"):
        options["time_limit" if name == "CLARABEL" else "time_limit_secs"] = max_time
    return options


def _gradient_nu(program: ConvexProgram, v: Array, w: Array) -> Array:
    return -program.loss_function.gradient(program.predict(v, w), program.y)


def _multiplier(program: ConvexProgram, model: _Model) -> Array:
    """The solver's own dual vector, moved into the domain of the loss's conjugate."""
    conjugate = program.loss_function.conjugate(program.y)
    return conjugate.sign * conjugate.inside(conjugate.sign * np.ravel(model.link.dual_value))


def _status(closed: bool, failed: bool, late: bool) -> Status:
    if closed:
        return Status.CONVERGED
    if late:
        return Status.TIME_LIMIT
    return Status.FAILED if failed else Status.STALLED
