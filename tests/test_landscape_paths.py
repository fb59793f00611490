"""Stationary points, their own programs, and paths to the optimum."""

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, solve
from convexnn.descent import descend
from convexnn.landscape import (
    OptimalSet,
    is_stationary,
    optimal_network,
    optimal_set,
    own_program,
    path_to_optimum,
    refine,
    stationarity,
    vertices,
)
from landscape_problems import (
    BETA,
    five_points,
    objective,
    small_program,
)
from problems import LOSS_NAMES

SMOOTH = ("squared", "logistic", "squared_hinge")


@pytest.fixture(scope="module")
def five() -> tuple[ConvexProgram, OptimalSet, Network]:
    return five_points()


@pytest.fixture(scope="module")
def local_minimum(five: tuple[ConvexProgram, OptimalSet, Network]) -> Network:
    """The worst stationary point that L-BFGS with five neurons reaches from 20 seeds."""
    program = five[0]
    found = []
    for seed in range(20):
        rest = descend(program.X, program.y, BETA, neurons=5, method="lbfgs", steps=3000, seed=seed).network
        point = refine(rest, program.X, program.y, BETA)
        if is_stationary(point, program.X, program.y, BETA, tol=1e-9):
            found.append(point)
    return max(found, key=lambda net: objective(program, net))


def widened(network: Network, width: int) -> Network:
    extra = width - network.U.shape[1]
    return Network(np.pad(network.U, ((0, 0), (0, extra))), np.pad(network.alpha, (0, extra)))


def test_one_sample_by_hand():
    one, y, beta = np.ones((1, 1)), np.ones(1), 0.3
    root = np.sqrt(1 - beta)
    assert stationarity(Network([[root]], [root]), one, y, beta) < 1e-14
    assert stationarity(Network([[1.1 * root]], [root / 1.1]), one, y, beta) > 0.1
    assert stationarity(Network([[-1.0]], [0.0]), one, y, beta) == pytest.approx(1.0)
    assert is_stationary(Network.zero(1), one, y, beta)
    assert is_stationary(Network([[0.0]], [0.0]), one, y, beta)


@pytest.mark.parametrize(("second", "stationary"), [(-1.0, False), (1.0, True)])
def test_dependent_kinks_use_the_cells_and_not_the_box(second, stationary):
    # u = (0, √a) lies on the kinks of x and −x: Clarke's set there is x₁·conv{ν₁, −ν₂}, the box is larger
    X, y, beta = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), np.array([1.0, second, 1.0]), 0.5
    root = np.sqrt(1 - beta)
    network = Network([[0.0], [root]], [root])
    assert is_stationary(network, X, y, beta) is stationary
    if not stationary:
        moved = Network([[1e-3], [root]], [root])
        assert moved.objective(X, y, beta) < network.objective(X, y, beta) - 1e-4


@pytest.mark.parametrize("loss", SMOOTH)
def test_global_optima_are_stationary_and_solve_their_own_program(loss):
    for seed in range(3):
        program = small_program(seed, loss)
        optima = optimal_set(program)
        network = optimal_network(optima, vertices(optima)[:, 0])
        assert is_stationary(network, program.X, program.y, program.beta, loss)
        pushed = Network(network.U * 1.01, network.alpha)
        assert not is_stationary(pushed, program.X, program.y, program.beta, loss, tol=1e-3)
        own = own_program(network, program.X, program.y, program.beta, loss)
        assert solve(own, tol=1e-10).primal / 2 == pytest.approx(optima.objective, rel=1e-8)


def test_a_local_minimum_is_the_optimum_of_its_own_program(five, local_minimum):
    cvxpy = pytest.importorskip("cvxpy")
    program, optima, _ = five
    value = objective(program, local_minimum)
    assert value > 1.5 * optima.objective
    own = own_program(local_minimum, program.X, program.y, BETA)
    assert solve(own, tol=1e-11).primal / 2 == pytest.approx(value, rel=1e-9)
    # the same program written out, with equations for the kinks
    cells = np.unique(
        np.where(abs(program.X @ local_minimum.U) < 1e-8, 0, np.sign(program.X @ local_minimum.U)), axis=1
    )
    fit, size, constraints = 0, 0, []
    for t in cells.T:
        for sign in (1.0, -1.0):
            v = cvxpy.Variable(2)
            fit = fit + sign * ((t > 0)[:, None] * program.X) @ v
            size = size + cvxpy.norm(v, 2)
            constraints += [(t[:, None] * program.X)[t != 0] @ v >= 0]
            constraints += [program.X[t == 0] @ v == 0] if (t == 0).any() else []
    problem = cvxpy.Problem(
        cvxpy.Minimize(0.5 * cvxpy.sum_squares(fit - program.y) + BETA * size), constraints
    )
    assert problem.solve(solver="CLARABEL") == pytest.approx(value, rel=1e-6)


def test_stationarity_refuses(five):
    program, _, network = five
    labels = np.sign(program.y)
    edge = Network([[0.0], [1.0]], [1.0])
    with pytest.raises(ValueError, match="squared hinge"):
        stationarity(edge, program.X, labels, BETA, "hinge")
    with pytest.raises(ValueError, match="features"):
        stationarity(network, program.X[:, :1], program.y, BETA)
    with pytest.raises(ValueError, match="no neurons"):
        own_program(Network.zero(2), program.X, program.y, BETA)
    assert refine(Network.zero(2), program.X, program.y, BETA).n_neurons == 0


def assert_descends(path_objective: np.ndarray) -> None:
    assert (np.diff(path_objective) <= 1e-10 * path_objective[:-1]).all()


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_paths_from_random_networks_never_rise(loss, five):
    program = five[0] if loss == "squared" else small_program(1, loss)
    optima = optimal_set(program)
    optimum = optimal_network(optima, vertices(optima)[:, 0])
    width, d = len(program.X) + optimum.n_neurons, program.X.shape[1]
    rng = np.random.default_rng(2)
    for k in range(20):
        start = Network(rng.normal(size=(d, width + k % 3)), rng.normal(size=width + k % 3))
        path = path_to_optimum(start, optimum, program.X, program.y, program.beta, loss, steps=150)
        assert_descends(path.objective)
        assert path.objective[0] == pytest.approx(objective(program, start), rel=1e-14)
        assert path.objective[-1] == pytest.approx(optima.objective, rel=1e-9)
        assert path.networks[-1].U.shape == start.U.shape
        assert len(path.networks) == len(path.stages) == len(path.objective)


def test_a_path_leaves_the_local_minimum(five, local_minimum):
    program, optima, optimum = five
    start = widened(local_minimum, 5 + optimum.n_neurons)
    path = path_to_optimum(start, optimum, program.X, program.y, BETA, steps=500)
    assert_descends(path.objective)
    assert path.objective[0] > 1.5 * optima.objective
    np.testing.assert_allclose(path.networks[-1].predict(program.X), optimum.predict(program.X), atol=1e-9)


def test_paths_are_continuous(five):
    program, _, optimum = five
    rng = np.random.default_rng(5)
    start = Network(rng.normal(size=(2, 11)), np.r_[rng.normal(size=10), 0.0])
    jumps = []
    for steps in (20, 320):
        nets = path_to_optimum(start, optimum, program.X, program.y, BETA, steps=steps).networks
        theta = np.array([np.r_[net.U.ravel(), net.alpha] for net in nets])
        jumps.append(np.abs(np.diff(theta, axis=0)).max())
    assert jumps[1] <= 0.3 * jumps[0]


def test_paths_refuse(five):
    program, _, optimum = five
    with pytest.raises(ValueError, match=r"5 \+ 4 = 9 neurons; the network has 8"):
        path_to_optimum(widened(optimum, 8), optimum, program.X, program.y, BETA)
    with pytest.raises(ValueError, match="above that of the network"):
        path_to_optimum(widened(optimum, 9), Network([[1.0], [0.0]], [9.0]), program.X, program.y, BETA)
    with pytest.raises(ValueError, match="steps"):
        path_to_optimum(widened(optimum, 9), optimum, program.X, program.y, BETA, steps=0)


def test_a_path_to_a_network_that_is_not_quite_optimal_does_not_rise(five):
    program, _, optimum = five
    rough = Network(1.02 * optimum.U, optimum.alpha)
    start = widened(optimum, 9)
    start = Network(start.U * 1.5, start.alpha)
    path = path_to_optimum(start, rough, program.X, program.y, BETA)
    assert_descends(path.objective)
    assert path.objective[-1] <= objective(program, rough)
