"""The dual as an object: d* = p*, feasibility, kinds, the gap of narrow networks, and minimal width."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, Status, beta_max, solve
from convexnn.data import five_points
from convexnn.dual import DualSolution, is_complete, minimal_width, solve_dual
from convexnn.losses import LOSSES, get_loss
from convexnn.pricing import rho_estimate
from problems import with_labels

FIVE_POINTS_OPTIMUM = 0.8914472026
each_loss = pytest.mark.parametrize("loss", LOSSES)


def small_problem(loss: str, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """n ≤ 8, rank ≤ 3; every third with ties, every fourth with a column of ones, and a β below β_max."""
    rng = np.random.default_rng(seed)
    n, r = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    X = rng.integers(-2, 3, size=(n, r)).astype(float) if seed % 3 == 0 else rng.standard_normal((n, r))
    if seed % 4 == 0:
        X[:, -1] = 1.0
    X[0] += 0.5  # never a matrix of zeros
    y = with_labels(rng.standard_normal(n), loss)
    beta = float(10 ** rng.uniform(-2.5, -0.1)) * beta_max(X, y, loss, starts=100)
    return X, y, beta


def assert_is_what_it_says(s: DualSolution, X: np.ndarray, y: np.ndarray, beta: float, loss: str) -> None:
    """Value, primal and feasibility, recomputed."""
    assert s.value == pytest.approx(get_loss(loss).dual_value(s.nu, y), rel=1e-12, abs=1e-300)
    assert s.primal == pytest.approx(s.network.objective(X, y, beta, loss), rel=1e-12)
    assert s.rho <= beta * (1 + 1e-12)
    assert rho_estimate(X, s.nu, starts=200) <= beta * (1 + 1e-9)


# ---- strong duality -----------------------------------------------------------------------------------


@each_loss
def test_the_dual_value_is_the_primal_value(loss: str) -> None:
    for seed in range(50):
        X, y, beta = small_problem(loss, seed)
        s = solve_dual(X, y, beta, loss)
        assert s.kind == "exact"
        assert s.status in (Status.CONVERGED, Status.ZERO)
        assert -1e-13 <= s.relative_gap <= 1e-8
        assert_is_what_it_says(s, X, y, beta, loss)


@each_loss
def test_the_value_is_that_of_an_independent_solver(loss: str) -> None:
    for seed in range(1, 4):
        X, y, beta = small_problem(loss, seed)
        s = solve_dual(X, y, beta, loss)
        reference = solve(ConvexProgram(X, y, Patterns.enumerate(X), beta, loss), "cvxpy", tol=1e-8)
        assert s.value == pytest.approx(reference.primal, rel=2e-6)
        assert s.value <= reference.primal * (1 + 1e-9)


def test_known_optima() -> None:
    data = five_points()
    s = solve_dual(data.X, data.y, 0.1)
    assert s.value == pytest.approx(FIVE_POINTS_OPTIMUM, abs=1e-9)
    assert minimal_width(s.network, data.X).width == 4
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert solve_dual(X, np.array([1.0, 0.0, 0.0]), 0.1).value == pytest.approx(0.1290241, abs=1e-7)
    for beta in (0.01, 0.3, 0.9):
        one = solve_dual(np.ones((1, 1)), np.ones(1), beta)
        assert one.value == pytest.approx(beta - beta**2 / 2, rel=1e-9)
        assert one.nu == pytest.approx([beta], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_data_do_not_matter(scale: float) -> None:
    X, y, beta = small_problem("squared", 7)
    plain, scaled = solve_dual(X, y, beta), solve_dual(scale * X, y, scale * beta)
    assert scaled.value == pytest.approx(plain.value, rel=1e-7)
    assert scaled.relative_gap <= 1e-8


@each_loss
def test_zero_is_optimal_from_beta_max_on(loss: str) -> None:
    X, y, _ = small_problem(loss, 10)
    top = ConvexProgram(X, y, Patterns.enumerate(X), 1.0, loss).beta_max
    s = solve_dual(X, y, top * (1 + 1e-9), loss)
    assert s.status is Status.ZERO
    assert s.network.n_neurons == 0
    assert s.relative_gap <= 1e-8
    assert solve_dual(X, y, 0.9 * top, loss).primal < s.primal


# ---- kinds --------------------------------------------------------------------------------------------


@each_loss
def test_cutting_planes_agree_with_one_program_and_with_training(loss: str) -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((30, 3))
    X[:, -1] = 1.0
    y = with_labels(np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 0], loss)
    beta = 0.05 * beta_max(X, y, loss)
    patterns = Patterns.enumerate(X)
    few = Patterns(patterns.masks[:, :400], patterns.generators[:, :400])
    cut = solve_dual(X, y, beta, loss)
    whole = solve(ConvexProgram(X, y, patterns, beta, loss), tol=1e-9)
    assert (cut.kind, len(patterns)) == ("exact", 872)
    assert cut.value == pytest.approx(whole.primal, rel=1e-8)
    estimated = solve_dual(X, y, beta, loss, max_patterns=100, tol=1e-7)
    assert estimated.kind == "estimated"
    assert estimated.value == pytest.approx(cut.value, rel=2e-7)
    assert "NOT a proof" in str(estimated)
    assert "optimal" not in str(estimated)
    part = solve_dual(X, y, beta, loss, patterns=few)
    assert part.kind == "patterns"
    assert "NO bound" in str(part)
    assert part.value >= cut.value * (1 - 1e-8)
    assert part.primal >= cut.primal * (1 - 1e-8)


def test_patterns_join_by_price() -> None:
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    s = solve_dual(X, y, 0.1 * beta_max(X, y))
    assert s.iterations > 1
    assert s.relative_gap <= 1e-8
    assert_is_what_it_says(s, X, y, 0.1 * beta_max(X, y), "squared")
    again = solve_dual(X, y, 0.1 * beta_max(X, y))
    assert again.nu.tolist() == s.nu.tolist()


def test_a_complete_list_is_recognised() -> None:
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    full = Patterns.enumerate(X)
    assert is_complete(X, full)
    assert not is_complete(X, Patterns(full.masks[:, :-1], full.generators[:, :-1]))
    assert not is_complete(X, replace(full, masks=~full.masks))
    twice = [*range(len(full) - 1), 0]
    assert not is_complete(X, Patterns(full.masks[:, twice], full.generators[:, twice]))
    given = solve_dual(X, np.arange(5.0), 0.3, patterns=full)
    assert given.kind == "exact"
    assert given.value == pytest.approx(solve_dual(X, np.arange(5.0), 0.3).value, rel=1e-8)


def test_a_time_limit_returns_a_feasible_point() -> None:
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    beta = 0.01 * beta_max(X, y)
    s = solve_dual(X, y, beta, max_time=1e-6)
    assert s.status is Status.TIME_LIMIT
    assert s.value <= s.primal
    assert_is_what_it_says(s, X, y, beta, "squared")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta must be a positive"),
        ({"beta": -1.0}, "beta must be a positive"),
        ({"loss": "cubed"}, "Unknown loss"),
        ({"loss": "hinge"}, r"labels -1 and \+1"),
        ({"tol": 0.0}, "tol must be a positive"),
        ({"max_time": -1.0}, "max_time must be positive"),
        ({"y": np.ones((3, 2))}, "one output"),
    ],
)
def test_bad_input_is_refused(change: dict, message: str) -> None:
    arguments = {"X": np.eye(3), "y": np.array([1.0, 2.0, -1.0]), "beta": 0.1, "loss": "squared"} | change
    with pytest.raises(ValueError, match=message):
        solve_dual(**arguments)


# ---- narrow networks: the non-convex problem has a gap below m* ---------------------------------------


def sectors(X: np.ndarray, patterns: Patterns) -> np.ndarray:
    """The two extreme rays of each cone in the plane, (P, 2, 2)."""
    normals = X / np.linalg.norm(X, axis=1)[:, None]
    candidates = np.concatenate([normals @ [[0, 1], [-1, 0]], normals @ [[0, -1], [1, 0]]])
    rays = []
    for mask in patterns.masks.T:
        signs = np.where(mask, 1.0, -1.0)
        inside = candidates[((candidates @ normals.T) * signs >= -1e-12).all(axis=1)]
        cosine = inside @ inside.T
        rays.append(inside[list(np.unravel_index(cosine.argmin(), cosine.shape))])
    return np.array(rays)


def project(z: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """The nearest point of a sector of less than 180°; (..., 2) and (..., 2, 2)."""
    inside = (np.linalg.solve(np.swapaxes(rays, -1, -2), z[..., None])[..., 0] >= 0).all(axis=-1)
    along = np.maximum(np.einsum("...k,...rk->...r", z, rays), 0.0)
    best = along.argmax(axis=-1)
    edge = np.take_along_axis(rays, best[..., None, None], axis=-2)[..., 0, :] * along.max(axis=-1)[..., None]
    return np.where(inside[..., None], z, edge)


def best_of_width(m: int, beta: float) -> tuple[float, float]:
    """(bound, objective) of the best network of m neurons on the five points, over all cells and signs.

    For fixed cells and signs the problem is convex in v_j = |α_j|u_j. FISTA solves all choices at once,
    and each has its own dual bound.
    """
    X, y = five_points().X, five_points().y
    patterns = Patterns.enumerate(X)
    rays = sectors(X, patterns)
    P, active = len(patterns), patterns.masks.T[:, :, None] * X
    choice = np.array(list(combinations(range(2 * P), m)))
    A = np.concatenate([active, -active])[choice]
    K = np.concatenate([rays, rays])[choice]
    step = 1.0 / (m * np.linalg.norm(X, 2) ** 2)
    v = np.zeros((*choice.shape, 2))
    momentum, old = v.copy(), 1.0
    for _ in range(1000):
        gradient = np.einsum("cjnk,cn->cjk", A, np.einsum("cjnk,cjk->cn", A, momentum) - y)
        inner = project(momentum - step * gradient, K)
        size = np.linalg.norm(inner, axis=-1, keepdims=True)
        new = inner * np.maximum(1.0 - step * beta / np.maximum(size, 1e-300), 0.0)
        t = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * old**2))
        momentum, v, old = new + (old - 1.0) / t * (new - v), new, t
    nu = y - np.einsum("cjnk,cjk->cn", A, v)
    primal = 0.5 * np.sum(nu**2, axis=1) + beta * np.linalg.norm(v, axis=-1).sum(axis=1)
    rho = np.linalg.norm(project(np.einsum("cjnk,cn->cjk", A, nu), K), axis=-1).max(axis=1)
    scale = np.minimum(beta / np.maximum(rho, beta), nu @ y / np.sum(nu**2, axis=1))
    bound = scale * (nu @ y) - 0.5 * scale**2 * np.sum(nu**2, axis=1)
    assert (bound <= primal + 1e-12).all()
    return float(bound.min()), float(primal.min())


def test_networks_narrower_than_the_optimum_have_a_strict_gap() -> None:
    dual = solve_dual(five_points().X, five_points().y, 0.1)
    widths = [best_of_width(m, 0.1) for m in (1, 2, 3)]
    for bound, objective in widths:
        assert bound > dual.value * 1.01
        assert objective == pytest.approx(bound, rel=1e-2)
    assert all(wider[1] < narrower[0] for narrower, wider in pairwise(widths))
    assert minimal_width(dual.network, five_points().X).width == 4


# ---- minimal width ------------------------------------------------------------------------------------


@each_loss
def test_an_optimum_is_reduced_at_no_cost(loss: str) -> None:
    for seed in range(12):
        X, y, beta = small_problem(loss, seed)
        s = solve_dual(X, y, beta, loss)
        reduced = minimal_width(s.network, X)
        assert reduced.bound == len(X)
        assert reduced.width == reduced.network.n_neurons <= min(len(X), max(s.network.n_neurons, 0))
        assert reduced.network.objective(X, y, beta, loss) == pytest.approx(s.primal, rel=1e-7)
        columns = np.maximum(X @ reduced.network.U, 0.0)
        assert np.linalg.matrix_rank(columns) == reduced.width


def test_any_network_is_reduced_to_at_most_n_neurons_at_no_higher_cost() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((5, 3))
        network = Network(rng.standard_normal((3, 25)), rng.standard_normal(25))
        reduced = minimal_width(network, X)
        assert reduced.width <= 5
        assert reduced.network.predict(X) == pytest.approx(network.predict(X), abs=1e-8)
        assert reduced.network.penalty() <= network.penalty() * (1 + 1e-12)


def test_the_zero_network_has_width_zero() -> None:
    assert minimal_width(Network.zero(3), np.eye(3)).width == 0
