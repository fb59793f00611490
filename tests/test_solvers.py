"""Every solver on one bank of problems; optimality is recomputed here, with nothing of the solvers."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import nnls

from convexnn.patterns import Patterns
from convexnn.pricing import beta_max
from convexnn.program import ConvexProgram
from convexnn.solvers import SOLVERS, Solution, solve
from convexnn.solvers.fista import solve_fista
from convexnn.solvers.newton import solve_boxed_newton
from convexnn.status import Status
from problems import bank, breast_cancer, breast_cancer_program, gated_bank, make_program

TOL = 1e-8  # the gap asked of the solvers
BANK, GATED = dict(bank()), dict(gated_bank())
SMOOTH_GATED = [name for name, program in GATED.items() if program.loss != "hinge"]
ALL = {**BANK, **GATED}


@cache
def solved(name: str, solver: str = "ssnal") -> Solution:
    return solve(ALL[name], solver, tol=TOL)


@cache
def oracle(name: str) -> Solution:
    return solve(ALL[name], "cvxpy", tol=TOL)


# ---- optimality, from scratch -------------------------------------------------------------------------


def explicit_blocks(program: ConvexProgram) -> list[tuple[np.ndarray, np.ndarray]]:
    """D_iX and the cone matrix (2D_i − I)X of each pattern."""
    masks = program.patterns.masks
    return [(m[:, None] * program.X, (2.0 * m - 1.0)[:, None] * program.X) for m in masks.T]


def projection_norm(cone: np.ndarray, g: np.ndarray, gated: bool) -> float:
    """‖Π_K(g)‖ = min over λ ≥ 0 of ‖g + Aᵀλ‖, by non-negative least squares."""
    return float(np.linalg.norm(g)) if gated else float(nnls(cone.T, -g)[1])


def loss_value(loss: str, f: np.ndarray, y: np.ndarray) -> float:
    if loss == "squared":
        return 0.5 * float(np.sum((f - y) ** 2))
    if loss == "logistic":
        return float(np.sum(np.logaddexp(0.0, -y * f)))
    return float(np.sum(np.maximum(1 - y * f, 0.0) ** (2 if loss == "squared_hinge" else 1))) / (
        2 if loss == "squared_hinge" else 1
    )


def loss_slope(loss: str, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """−∇L of a smooth loss."""
    if loss == "squared":
        return y - f
    return y / (1 + np.exp(y * f)) if loss == "logistic" else y * np.maximum(1 - y * f, 0.0)


def dual_value(loss: str, nu: np.ndarray, y: np.ndarray) -> float:
    q = y * nu
    if loss == "squared":
        return float(np.sum(y * nu - 0.5 * nu**2))
    assert q.min() >= 0.0
    if loss == "squared_hinge":
        return float(np.sum(q - 0.5 * q**2))
    assert q.max() <= 1.0 + 1e-15
    if loss == "hinge":
        return float(np.sum(q))
    inside = q[(q > 0) & (q < 1)]
    return float(-np.sum(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)))


def primal_value(program: ConvexProgram, solution: Solution) -> tuple[float, np.ndarray]:
    fit = np.zeros(len(program.y))
    size = 0.0
    for (FX, _), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        fit += FX @ (v - w)
        size += float(np.linalg.norm(v) + np.linalg.norm(w))
    return loss_value(program.loss, fit, program.y) + program.beta * size, fit


def assert_feasible(program: ConvexProgram, solution: Solution) -> None:
    """Rows inside the cones to 1e-9 of the block's size."""
    if program.gated:
        return
    lengths = np.maximum(np.linalg.norm(program.X, axis=1), 1e-300)
    for (_, cone), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        for block in (v, w):
            assert np.min(cone @ block / lengths) >= -1e-9 * max(1.0, float(np.linalg.norm(block)))


def assert_certified(program: ConvexProgram, solution: Solution, tol: float) -> None:
    """The stated values are those of (v, w) and ν, ν is feasible, and the gap between them is small."""
    primal, _ = primal_value(program, solution)
    assert primal == pytest.approx(solution.primal, rel=1e-11)
    assert dual_value(program.loss, solution.nu, program.y) == pytest.approx(solution.dual, rel=1e-9)
    for FX, cone in explicit_blocks(program):
        for sign in (1.0, -1.0):
            norm = projection_norm(cone, sign * (FX.T @ solution.nu), program.gated)
            assert norm <= program.beta * (1 + 1e-9)
    assert primal - solution.dual <= (tol + 1e-12) * primal
    assert solution.relative_gap == pytest.approx(
        (solution.primal - solution.dual) / solution.primal, abs=1e-15
    )


def assert_stationary(program: ConvexProgram, solution: Solution, tol: float) -> None:
    """‖Π(±XᵀD_iν)‖ ≤ β and νᵀF_bv_b = β‖v_b‖ at ν = −∇L(fit), within √(2·gap) of the optimal ν."""
    primal, fit = primal_value(program, solution)
    nu = loss_slope(program.loss, fit, program.y)
    error = np.sqrt(2 * tol * primal)
    scale = float(np.linalg.norm(program.X, 2))
    for (FX, cone), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        for sign, block in ((1.0, v), (-1.0, w)):
            norm = projection_norm(cone, sign * (FX.T @ nu), program.gated)
            assert norm <= program.beta * (1 + 1e-9) + scale * error
            slack = program.beta * np.linalg.norm(block) - sign * float(nu @ (FX @ block))
            assert abs(slack) <= np.linalg.norm(FX @ block) * error + tol * primal


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


def test_box_newton_solves_its_quadratic_program() -> None:
    """KKT of min gᵀx + ½xᵀ(1/D + σBBᵀ)x over a box, with strong coupling, where active sets may cycle."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        n, m = rng.integers(2, 12, size=2)
        Bt, g = rng.standard_normal((m, n)), 5 * rng.standard_normal(n)
        D, sigma = np.full(n, 10.0 ** rng.uniform(-1, 3)), 10.0 ** rng.uniform(-1, 3)
        low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
        free = rng.random(n) < 0.8
        x = solve_boxed_newton(Bt, D, sigma, g, low, high, free)
        slope = g + x / D + sigma * ((Bt @ x) @ Bt)
        rate = 1 / D + sigma * np.sum(Bt**2, axis=0)
        residual = np.where(free, x - np.clip(x - slope / rate, low, high), x)
        assert np.abs(residual).max() <= 1e-6
        assert g @ x + 0.5 * x @ (slope - g) <= 1e-12


# ---- limits, starts and ends --------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["ssnal", "fista", "cvxpy"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "squared_hinge", "hinge"])
def test_exactly_zero_from_beta_max_on(solver: str, loss: str) -> None:
    for fraction in (1.0, 1.5):
        program = make_program("ties", loss, fraction, gated=solver == "fista")
        solution = solve(program, solver)
        assert solution.status is Status.ZERO
        assert not solution.v.any()
        assert not solution.w.any()
        assert solution.relative_gap <= 1e-11
        assert_certified(program, solution, 1e-11)


@pytest.mark.parametrize("loss", ["squared", "logistic", "squared_hinge", "hinge"])
def test_not_zero_below_beta_max(loss: str) -> None:
    program = make_program("ties", loss, 0.97)
    assert not program.zero_is_optimal()
    assert solve(program, tol=TOL).v.any() or solve(program, tol=TOL).w.any()


@pytest.mark.parametrize("name", [*BANK, "gated-gaussian-0.1-squared", "gated-gaussian-0.1-hinge"])
def test_warm_start_takes_no_more_steps(name: str) -> None:
    cold = solved(name)
    warm = solve(ALL[name], tol=TOL, warm_start=cold)
    assert len(warm.history) <= len(cold.history)
    assert warm.primal == pytest.approx(cold.primal, rel=2 * TOL)


@pytest.mark.parametrize("solver", ["ssnal", "cvxpy:SCS", "fista"])
def test_warm_start_from_another_beta(solver: str) -> None:
    name = "gated-gaussian-0.1-squared"
    near = replace(GATED[name], beta=1.1 * GATED[name].beta)
    solution = solve(GATED[name], solver, tol=1e-4, warm_start=solve(near, tol=1e-4))
    assert solution.primal == pytest.approx(solved(name).primal, rel=2e-4)


@pytest.mark.parametrize("solver", ["ssnal", "fista", "cvxpy"])
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


@pytest.mark.parametrize("solver", ["ssnal", "fista", "cvxpy"])
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
    for solution in (solved("gaussian-hinge"), solve(GATED[SMOOTH_GATED[0]], "fista", tol=1e-6)):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "beta", "count"),
    [("squared", 0.1, 100), ("logistic", 0.0787, 20), ("squared_hinge", 0.157, 20), ("hinge", 0.157, 20)],
)
def test_breast_cancer_agrees_with_clarabel(loss: str, beta: float, count: int) -> None:
    program = breast_cancer_program(count, beta, loss)
    reference = solve(program, "cvxpy", tol=1e-6)
    assert solve(program, tol=1e-8).primal == pytest.approx(reference.primal, rel=1e-6)
