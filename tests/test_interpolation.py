"""β → 0: least-norm fits, their dual, the limit of p*/β, and the sentence where no fit exists."""

import numpy as np
import pytest

from convexnn import ConvexProgram, Patterns, Status, beta_max
from convexnn.data import five_points
from convexnn.dual import solve_dual
from convexnn.interpolation import Interpolation, interpolate
from convexnn.pricing import rho_estimate
from problems import with_labels

FIVE_POINTS_COST = 10.12899
each_kind = pytest.mark.parametrize("loss", ["squared", "hinge"])


def random_problem(seed: int, loss: str) -> tuple[np.ndarray, np.ndarray]:
    """4 to 8 rows of dimension 2 or 3; every second problem has a column of ones."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    X = rng.standard_normal((n, d))
    if seed % 2:
        X[:, -1] = 1.0
    return X, with_labels(rng.standard_normal(n), loss)


def assert_proven(result: Interpolation, X: np.ndarray, y: np.ndarray, loss: str, tol: float = 1e-8) -> None:
    """The network fits, its cost is its penalty, ν is feasible and closes the gap."""
    f = result.network.predict(X)
    error = np.abs(f - y) if loss == "squared" else np.maximum(1 - y * f, 0)
    assert error.max() == result.residual <= 1e-9 * np.abs(y).max()
    assert result.cost == pytest.approx(result.network.penalty(), rel=1e-14)
    assert result.bound == pytest.approx(y @ result.nu, rel=1e-12)
    assert -1e-10 <= result.relative_gap <= tol
    assert rho_estimate(X, result.nu, starts=200) <= 1 + 1e-9
    if loss != "squared":
        assert (y * result.nu >= 0).all()
    assert result.network.n_neurons <= len(y)


def cone_program(X: np.ndarray, y: np.ndarray, loss: str) -> float:
    """The same optimum by CVXPY."""
    cvxpy = pytest.importorskip("cvxpy")
    masks = Patterns.enumerate(X).masks
    v, w = (cvxpy.Variable((X.shape[1], masks.shape[1])) for _ in range(2))
    fit = cvxpy.sum(cvxpy.multiply(masks.astype(float), X @ (v - w)), axis=1)
    signs = 2.0 * masks - 1.0
    constraints = [cvxpy.multiply(signs, X @ block) >= 0 for block in (v, w)]
    constraints.append(fit == y if loss == "squared" else cvxpy.multiply(y, fit) >= 1)
    size = cvxpy.sum(cvxpy.norm(v, 2, axis=0)) + cvxpy.sum(cvxpy.norm(w, 2, axis=0))
    options = dict.fromkeys(("tol_gap_rel", "tol_gap_abs", "tol_feas"), 1e-10)
    return float(cvxpy.Problem(cvxpy.Minimize(size), constraints).solve(solver="CLARABEL", **options))


# ---- the optimum --------------------------------------------------------------------------------------


@each_kind
def test_the_cost_of_the_five_points(loss: str) -> None:
    data = five_points()
    result = interpolate(data.X, data.y, loss)
    assert result.kind == "exact"
    assert result.status is Status.CONVERGED
    assert result.cost == pytest.approx(FIVE_POINTS_COST, abs=1e-5)
    assert "over all patterns" in str(result)
    assert_proven(result, data.X, data.y, loss)


def test_one_row_costs_its_target_over_its_length() -> None:
    result = interpolate(np.array([[3.0, 4.0]]), np.array([-2.0]))
    assert result.cost == pytest.approx(0.4, rel=1e-12)
    assert result.nu == pytest.approx([-0.2], rel=1e-10)


@each_kind
def test_random_problems_are_closed(loss: str) -> None:
    for seed in range(30):
        X, y = random_problem(seed, loss)
        result = interpolate(X, y, loss)
        assert result.status is Status.CONVERGED
        assert_proven(result, X, y, loss)


@each_kind
def test_the_cone_program_has_the_same_optimum(loss: str) -> None:
    for seed in range(5):
        X, y = random_problem(seed, loss)
        assert interpolate(X, y, loss).cost == pytest.approx(cone_program(X, y, loss), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_cost_scales_with_the_units(scale: float) -> None:
    X, y = random_problem(3, "squared")
    cost = interpolate(X, y).cost
    assert interpolate(scale * X, y).cost == pytest.approx(cost / scale, rel=1e-7)
    assert interpolate(X, scale * y).cost == pytest.approx(cost * scale, rel=1e-7)


def test_hinge_and_squared_hinge_have_one_limit() -> None:
    X, y = random_problem(4, "hinge")
    assert interpolate(X, y, "squared_hinge").cost == interpolate(X, y, "hinge").cost


def test_targets_of_zero_cost_nothing() -> None:
    result = interpolate(np.eye(2), np.zeros(2))
    assert (result.cost, result.bound, result.network.n_neurons) == (0.0, 0.0, 0)
    assert result.status is Status.ZERO


def test_equal_rows_with_one_target_are_one_row() -> None:
    X, y = random_problem(6, "squared")
    twice = interpolate(np.vstack([X, X[:2]]), np.append(y, y[:2]))
    assert twice.cost == pytest.approx(interpolate(X, y).cost, rel=1e-7)


# ---- the limit of the training problem ----------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "squared_hinge"])
def test_the_optimum_over_beta_tends_to_the_least_cost(loss: str) -> None:
    for seed in range(5):
        X, y = random_problem(seed, loss)
        result = interpolate(X, y, loss)
        half = 0.5 * float(result.nu @ result.nu)
        top = beta_max(X, y, loss)
        ratios = []
        for share in (1e-2, 1e-3, 1e-4):
            beta = share * top
            ratio = solve_dual(X, y, beta, loss).value / beta
            assert result.bound - beta * half <= ratio * (1 + 1e-7)
            assert ratio <= result.cost * (1 + 1e-9)
            ratios.append(ratio)
        assert ratios == sorted(ratios)
        assert ratios[-1] == pytest.approx(result.cost, rel=1.1e-4 * top * half / result.cost + 1e-7)


def test_the_hinge_reaches_the_limit_at_a_positive_beta() -> None:
    for seed in range(5):
        X, y = random_problem(seed, "hinge")
        result = interpolate(X, y, "hinge")
        largest = np.abs(result.nu).max()
        for share in (1.0, 0.1):
            beta = share / largest
            dual = solve_dual(X, y, beta, "hinge")
            assert dual.value / beta == pytest.approx(result.cost, rel=1e-7)


# ---- patterns -----------------------------------------------------------------------------------------


def test_given_patterns_cost_no_less() -> None:
    data = five_points()
    full = Patterns.enumerate(data.X)
    part = Patterns(full.masks[:, 1:], full.generators[:, 1:])
    result = interpolate(data.X, data.y, patterns=part)
    assert result.kind == "patterns"
    assert "NO global bound" in str(result)
    assert result.cost >= FIVE_POINTS_COST - 1e-5
    assert interpolate(data.X, data.y, patterns=full).kind == "exact"
    program = ConvexProgram(data.X, data.y, part, 1.0)
    assert program.rho(result.nu) <= 1 + 1e-12


def test_too_many_patterns_are_refused_with_advice() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"max_patterns.*Patterns\.sample"):
        interpolate(rng.standard_normal((30, 3)), rng.standard_normal(30), max_patterns=100)


def test_a_fit_over_sampled_patterns_of_high_rank() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((20, 25)), rng.standard_normal(20)
    result = interpolate(X, y, patterns=Patterns.sample(X, 100), tol=1e-6)
    assert result.kind == "patterns"
    assert result.residual <= 1e-9 * np.abs(y).max()
    assert result.relative_gap <= 1e-6


# ---- no fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y", "loss", "message"),
    [
        ([[1, 2], [1, 2], [0, 1]], [1, 2, 3], "squared", "rows 0 and 1 of X are equal, and .* 1 and 2"),
        ([[1, 2], [0, 1], [2, 4]], [1, 3, 1], "squared", "rows 0 and 2 of X point the same way"),
        ([[0, 0], [0, 1]], [1, 1], "squared", "row 0 of X is zero, .* column of ones would help"),
        ([[1, 2], [1, 2]], [1, -1], "hinge", "rows 0 and 1 of X are equal"),
        ([[1, 2], [3, 6]], [1, -1], "squared_hinge", "point the same way"),
        ([[0, 0], [1, 1]], [-1, 1], "hinge", "row 0 of X is zero"),
        # f(x) − f(−x) is linear in x on these rows, whatever the network
        ([[1, 0], [0, 1], [1, 1], [-1, 0], [0, -1], [-1, -1]], [1, 1, 1, 0, 0, 0], "squared", "rank 5 of 6"),
        ([[1, 0], [0, 1], [1, 1], [-1, 0], [0, -1], [-1, -1]], [1, 1, -1, -1, -1, 1], "hinge", "rank 5 of 6"),
    ],
)  # fmt: skip
def test_where_no_network_fits_a_sentence_says_why(X: list, y: list, loss: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"There is no exact fit: .*{message}"):
        interpolate(np.array(X, dtype=float), np.array(y, dtype=float), loss)


def test_opposite_rows_fit_where_the_linear_part_agrees() -> None:
    X = np.array([[1.0, 0], [0, 1], [1, 1], [-1, 0], [0, -1], [-1, -1]])
    y = np.array([1.0, 1, 2, 0, 0, 0])
    assert_proven(interpolate(X, y), X, y, "squared")


def test_few_patterns_without_a_fit_say_that_more_may_have_one() -> None:
    data = five_points()
    with pytest.raises(ValueError, match=r"these patterns have rank 2 of 5 .* with more patterns"):
        interpolate(data.X, data.y, patterns=Patterns.from_generators(data.X, np.array([[0.0], [1.0]])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "logistic"}, "never zero, so .* may diverge"),
        ({"tol": 0.0}, "tol must be a positive"),
        ({"max_time": 0.0}, "max_time must be positive"),
        ({"y": np.ones((3, 2))}, "one output"),
        ({"y": np.array([1.0, np.nan, 1.0])}, "y must be finite"),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    arguments = {"X": np.eye(3), "y": np.ones(3)} | options
    with pytest.raises(ValueError, match=message):
        interpolate(**arguments)


def test_a_time_limit_returns_a_fit_that_is_not_yet_cheapest() -> None:
    data = five_points()
    result = interpolate(data.X, data.y, max_time=1e-9)
    assert result.status is Status.TIME_LIMIT
    assert result.bound <= FIVE_POINTS_COST + 1e-5 <= result.cost + 2e-5
    assert result.residual <= 1e-9
