"""Every solver on one bank of problems, its limits, refusals and known values."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from convexnn.patterns import Patterns
from convexnn.pricing import beta_max
from convexnn.program import ConvexProgram
from convexnn.solvers import SOLVERS, Solution, solve
from convexnn.solvers.admm import solve_admm
from convexnn.solvers.fista import solve_fista
from convexnn.status import Status
from optimality import assert_certified, assert_feasible, assert_stationary
from problems import bank, breast_cancer, breast_cancer_program, gated_bank, make_program

TOL = 1e-8  # the gap asked of the solvers
BANK, GATED = dict(bank()), dict(gated_bank())
SMOOTH_GATED = [name for name, program in GATED.items() if program.loss != "hinge"]
ALL = {**BANK, **GATED}
SQUARED = [name for name, program in ALL.items() if program.loss == "squared"]


@cache
def solved(name: str, solver: str = "ssnal") -> Solution:
    return solve(ALL[name], solver, tol=TOL)


@cache
def oracle(name: str) -> Solution:
    return solve(ALL[name], "cvxpy", tol=TOL)


# ---- optimality on the bank -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_ssnal_is_optimal(name: str) -> None:
    program, solution = ALL[name], solved(name)
    assert solution.status is Status.CONVERGED
    assert_feasible(program, solution)
    assert_certified(program, solution, TOL)
    if program.loss != "hinge":
        assert_stationary(program, solution, TOL)


@pytest.mark.parametrize("name", ALL)
def test_ssnal_agrees_with_clarabel(name: str) -> None:
    assert solved(name).primal == pytest.approx(oracle(name).primal, rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_the_reference_returns_a_feasible_point_and_a_true_bound(name: str) -> None:
    program, solution = ALL[name], oracle(name)
    assert_feasible(program, solution)
    assert_certified(program, solution, 1e-6)
    assert (solution.status is Status.CONVERGED) == (solution.relative_gap <= TOL)


@pytest.mark.parametrize("solver", ["cvxpy:ECOS", "cvxpy:SCS"])
@pytest.mark.parametrize(
    "name", ["gaussian-squared", "ties-hinge", "wide-logistic", "zero_row-squared_hinge"]
)
def test_other_solvers_of_cvxpy(name: str, solver: str) -> None:
    pytest.importorskip(solver.partition(":")[2].lower())
    solution = solve(BANK[name], solver, tol=1e-3)
    assert_feasible(BANK[name], solution)
    assert_certified(BANK[name], solution, 1e-3)
    assert solution.status is Status.CONVERGED


@pytest.mark.parametrize("name", SMOOTH_GATED)
def test_fista_agrees_with_ssnal(name: str) -> None:
    program, solution = GATED[name], solve(GATED[name], "fista", tol=1e-7)
    assert solution.status is Status.CONVERGED
    assert_certified(program, solution, 1e-7)
    assert_stationary(program, solution, 1e-7)
    assert solution.primal == pytest.approx(solved(name).primal, rel=2e-7)


@pytest.mark.parametrize("name", SQUARED)
def test_admm_agrees_with_ssnal(name: str) -> None:
    tol = 1e-2 if "tiny_beta" in name else 1e-5  # plain ADMM is slow
    program, solution = ALL[name], solve(ALL[name], "admm", tol=tol)
    assert solution.status is Status.CONVERGED
    assert_feasible(program, solution)
    assert_certified(program, solution, tol)
    assert_stationary(program, solution, tol)
    assert solution.primal == pytest.approx(solved(name).primal, rel=2 * tol)


@pytest.mark.parametrize("name", ["gaussian-squared", "gated-wide-0.1-squared"])
def test_the_step_of_admm_solves_its_normal_equations(name: str) -> None:
    """(FᵀF + ρ(I + GᵀG)) u is the right-hand side, with explicit matrices; u is read off the first step."""
    from convexnn.solvers import admm

    program = ALL[name]
    n, P = program.patterns.masks.shape
    operator = admm._operator(program)
    state = admm._start(program, operator, None)
    admm._step(program, operator, state)
    masks = [mask.astype(float) for mask in program.patterns.masks.T]
    F = np.hstack([mask[:, None] * program.X for mask in masks])
    A = np.eye(F.shape[1])
    if not program.gated:
        F = np.hstack([F, -F])
        A = np.kron(np.eye(2 * P), np.eye(program.X.shape[1]) + program.X.T @ program.X / state.rho)
    u = np.linalg.solve(F.T @ F + state.rho * A, F.T @ program.y)
    assert state.rho == pytest.approx(np.linalg.norm(program.X, 2) ** 2)
    np.testing.assert_allclose(state.fit, F @ u, atol=1e-10 * n)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_admm_does_not_depend_on_units(scale: float) -> None:
    program = BANK["ties-squared"]
    other = replace(program, X=scale * program.X, beta=scale * program.beta)
    one, two = (solve(p, "admm", tol=1e-4) for p in (program, other))
    assert two.primal == pytest.approx(one.primal, rel=1e-6)
    assert len(two.history) == len(one.history)


# ---- limits, starts and ends --------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["ssnal", "fista", "admm", "cvxpy"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "squared_hinge", "hinge"])
def test_exactly_zero_from_beta_max_on(solver: str, loss: str) -> None:
    for fraction in (1.0, 1.5):
        program = make_program("ties", loss, fraction, gated=solver == "fista")
        solution = solve(program, solver)
        assert solution.status is Status.ZERO_HERE
        assert not solution.v.any()
        assert not solution.w.any()
        assert solution.relative_gap <= 1e-11
        assert_certified(program, solution, 1e-11)


@pytest.mark.parametrize("loss", ["squared", "logistic", "squared_hinge", "hinge"])
def test_not_zero_below_beta_max(loss: str) -> None:
    program = make_program("ties", loss, 0.97)
    assert not program.zero_is_optimal()
    solution = solve(program, tol=TOL)
    assert solution.v.any() or solution.w.any()


@pytest.mark.parametrize("name", [*BANK, "gated-gaussian-0.1-squared", "gated-gaussian-0.1-hinge"])
def test_warm_start_takes_no_more_steps(name: str) -> None:
    cold = solved(name)
    warm = solve(ALL[name], tol=TOL, warm_start=cold)
    assert len(warm.history) <= len(cold.history)
    assert warm.primal == pytest.approx(cold.primal, rel=2 * TOL)


@pytest.mark.parametrize("solver", ["ssnal", "cvxpy:SCS", "fista", "admm"])
def test_warm_start_from_another_beta(solver: str) -> None:
    name = "gated-gaussian-0.1-squared"
    near = replace(GATED[name], beta=1.1 * GATED[name].beta)
    solution = solve(GATED[name], solver, tol=1e-4, warm_start=solve(near, tol=1e-4))
    assert solution.primal == pytest.approx(solved(name).primal, rel=2e-4)


@pytest.mark.parametrize("solver", ["ssnal", "fista", "admm", "cvxpy"])
def test_warm_start_of_other_patterns_is_refused(solver: str) -> None:
    other = solve(make_program("gaussian", "squared", 0.5, count=3, gated=True))
    with pytest.raises(ValueError, match="other patterns"):
        solve(GATED["gated-gaussian-0.1-squared"], solver, warm_start=other)


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        ("ssnal", "gaussian-squared"),
        ("ssnal", "gaussian-hinge"),
        ("fista", "gated-gaussian-0.01-logistic"),
        ("admm", "gaussian-squared"),
        ("cvxpy", "gaussian-squared"),
    ],
)
def test_time_limit_gives_the_best_point_so_far(solver: str, name: str) -> None:
    program = ALL[name]
    solution = solve(program, solver, tol=1e-12, max_time=1e-9)
    assert solution.status is Status.TIME_LIMIT
    assert_feasible(program, solution)
    assert solution.dual <= solved(name).primal * (1 + TOL)
    assert solved(name).dual * (1 - TOL) <= solution.primal
    assert solution.primal <= program.primal(*(np.zeros_like(solution.v),) * 2)


@pytest.mark.parametrize("solver", ["ssnal", "fista", "admm", "cvxpy"])
def test_interruption_gives_the_best_point_so_far(solver: str) -> None:
    rows = []

    def interrupt(row: dict[str, float]) -> None:
        rows.append(row)
        raise KeyboardInterrupt

    name = "gated-gaussian-0.01-squared"
    solution = solve(GATED[name], solver, tol=1e-10, progress=interrupt)
    assert solution.status is Status.INTERRUPTED
    assert solution.history == rows
    assert set(rows[0]) == {"seconds", "iteration", "primal", "bound"}
    assert solution.primal == pytest.approx(rows[0]["primal"], rel=1e-12)
    assert solution.dual <= solved(name).primal * (1 + TOL)


def test_history_is_monotone() -> None:
    for solution in (
        solved("gaussian-hinge"),
        solve(GATED[SMOOTH_GATED[0]], "fista", tol=1e-6),
        solve(BANK["ties-squared"], "admm"),
    ):
        primal = [row["primal"] for row in solution.history]
        bound = [row["bound"] for row in solution.history]
        assert primal == sorted(primal, reverse=True)
        assert bound == sorted(bound)


def test_the_same_call_gives_the_same_bits() -> None:
    first, second = (solve(BANK["gaussian-logistic"], tol=TOL) for _ in range(2))
    np.testing.assert_array_equal(first.v, second.v)
    np.testing.assert_array_equal(first.nu, second.nu)


# ---- names and refusals -------------------------------------------------------------------------------


def test_auto_is_ssnal() -> None:
    np.testing.assert_array_equal(solve(BANK["ties-squared"], tol=TOL).v, solved("ties-squared").v)


@pytest.mark.parametrize("solver", ["", "sgd", "SSNAL", "ssnal:fast", "cvxpy:"])
def test_unknown_solver_lists_those_there_are(solver: str) -> None:
    with pytest.raises(ValueError, match="Unknown solver") as caught:
        solve(BANK["ties-squared"], solver)
    assert all(name in str(caught.value) for name in SOLVERS)


@pytest.mark.parametrize("tol", [0.0, -1e-3, np.nan, np.inf])
def test_tol_must_be_positive(tol: float) -> None:
    with pytest.raises(ValueError, match="tol must be"):
        solve(BANK["ties-squared"], tol=tol)


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_time_limit_must_be_positive(limit: float) -> None:
    with pytest.raises(ValueError, match="max_time must be"):
        solve(BANK["ties-squared"], max_time=limit)


def test_fista_refuses_cones_and_the_hinge() -> None:
    with pytest.raises(ValueError, match=r"gated programs .*'ssnal'"):
        solve_fista(BANK["ties-squared"])
    with pytest.raises(ValueError, match=r"smooth loss.*'ssnal'"):
        solve_fista(GATED["gated-ties-0.1-hinge"])


def test_admm_refuses_other_losses() -> None:
    with pytest.raises(ValueError, match=r"squared loss.*'ssnal'"):
        solve_admm(BANK["ties-logistic"])


def test_missing_cvxpy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"pip install 'convexnn\[cvxpy\]'"):
        solve(BANK["ties-squared"], "cvxpy")


def test_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import cvxpy

    monkeypatch.setattr(cvxpy, "installed_solvers", lambda: ["CLARABEL"])
    with pytest.raises(ImportError, match=r"ECOS .* pip install ecos"):
        solve(BANK["ties-squared"], "cvxpy:ecos")
    with pytest.raises(ImportError, match=r"NOSUCH .* not installed"):
        solve(BANK["ties-squared"], "cvxpy:nosuch")


def test_a_solver_without_the_cones_is_named() -> None:
    pytest.importorskip("osqp")
    with pytest.raises(ValueError, match="OSQP has no cones"):
        solve(BANK["ties-squared"], "cvxpy:OSQP")


def test_a_failing_solver_gives_zero_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import cvxpy

    def fail(*args: object, **kwargs: object) -> None:
        raise cvxpy.error.SolverError("no luck")

    monkeypatch.setattr(cvxpy.Problem, "solve", fail)
    solution = solve(BANK["ties-squared"], "cvxpy")
    assert solution.status is Status.FAILED
    assert not solution.v.any()
    assert_certified(BANK["ties-squared"], solution, 1.0)


def test_cvxpy_is_imported_only_when_called() -> None:
    code = "import sys, convexnn.solvers; sys.exit('cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- known values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.01, 0.5, 0.9])
def test_one_sample(beta: float) -> None:
    X = np.ones((1, 1))
    solution = solve(ConvexProgram(X, np.ones(1), Patterns.sample(X, 20), beta), tol=TOL)
    assert solution.primal == pytest.approx(beta - beta**2 / 2, rel=TOL)
    assert np.count_nonzero(solution.v) == 1
    assert not solution.w.any()


def test_case_zero() -> None:
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0, 0.0])
    program = ConvexProgram(X, y, Patterns.sample(X, 200), 0.1)
    solution = solve(program, tol=1e-10)
    assert len(program.patterns) == 6
    assert solution.primal == pytest.approx(0.1290241, abs=5e-8)
    active = np.concatenate([solution.v, solution.w], axis=1)
    np.testing.assert_allclose(
        active[:, np.linalg.norm(active, axis=0) > 1e-6][:, 0], [0.86, -0.79], atol=0.01
    )


def test_five_points() -> None:
    X, y = np.c_[np.arange(-2.0, 3.0), np.ones(5)], np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    program = ConvexProgram(X, y, Patterns.sample(X, 1000), 0.1)
    assert len(program.patterns) == 10
    assert solve(program, tol=1e-10).primal == pytest.approx(0.8914472, abs=5e-8)


@pytest.mark.parametrize(("count", "optimum"), [(20, 34.43340), (100, 22.10390)])
def test_breast_cancer_squared(count: int, optimum: float) -> None:
    solution = solve(breast_cancer_program(count, 0.1), tol=1e-7)
    assert solution.status is Status.CONVERGED
    assert solution.primal == pytest.approx(optimum, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "beta", "optimum"),
    [("logistic", 0.0787, 36.98404), ("squared_hinge", 0.157, 21.54514), ("hinge", 0.157, 31.35661)],
)
def test_breast_cancer_other_losses(loss: str, beta: float, optimum: float) -> None:
    """β is β_max/1000 of the full problem, to three digits."""
    assert beta_max(*breast_cancer(), loss, starts=200) / 1000 == pytest.approx(beta, rel=5e-3)
    solution = solve(breast_cancer_program(20, beta, loss), tol=1e-8)
    assert solution.status is Status.CONVERGED
    assert solution.primal == pytest.approx(optimum, abs=1e-5)


@pytest.mark.parametrize("beta", [15.7, 1.57e-3])
@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_hinges_converge_at_both_ends_of_beta(loss: str, beta: float) -> None:
    """β_max/10 holds every row at a bound at first; β_max/100,000 needs the box's own Newton method."""
    solution = solve(breast_cancer_program(100, beta, loss), tol=1e-8)
    assert solution.status is Status.CONVERGED
    assert len(solution.history) <= 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "beta", "count"),
    [("squared", 0.1, 100), ("logistic", 0.0787, 20), ("squared_hinge", 0.157, 20), ("hinge", 0.157, 20)],
)
def test_breast_cancer_agrees_with_clarabel(loss: str, beta: float, count: int) -> None:
    program = breast_cancer_program(count, beta, loss)
    reference = solve(program, "cvxpy", tol=1e-6)
    assert solve(program, tol=1e-8).primal == pytest.approx(reference.primal, rel=1e-6)
