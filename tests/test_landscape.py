"""Optimal sets, pruning, stationary points, paths, and the pictures of the theory."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from convexnn import ConvexProgram, Network, Patterns, solve
from convexnn.descent import descend
from convexnn.landscape import (
    OptimalSet,
    is_minimal,
    is_stationary,
    optimal_network,
    optimal_set,
    own_program,
    path_to_optimum,
    permute,
    prune,
    refine,
    sample_optima,
    split,
    stationarity,
    vertices,
)
from convexnn.theory_plots import (
    plot_arrangement,
    plot_closing,
    plot_dual,
    plot_function,
    plot_optimal_set,
    plot_path,
)
from problems import LOSS_NAMES, bank, with_labels

ROOT = Path(__file__).parents[1]
BETA = 0.1
Data = tuple[np.ndarray, np.ndarray]
SMOOTH = ("squared", "logistic", "squared_hinge")


def octagon(loss: str = "squared", beta: float = 0.3) -> ConvexProgram:
    """Eight points on the circle with equal targets: the half-wave cosine lacks the harmonics 3, 4 and 5."""
    t = np.arange(8) * np.pi / 4
    X = np.stack([np.cos(t), np.sin(t)], axis=1)
    return ConvexProgram(X, np.ones(8), Patterns.enumerate(X), beta, loss)


def small_program(seed: int, loss: str, *, integers: bool = False) -> ConvexProgram:
    """All patterns of a small random problem, at a tenth of β_max."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(5, 12)), int(rng.integers(2, 4))
    X = rng.integers(-1, 2, size=(n, d)).astype(float) if integers else rng.standard_normal((n, d))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(n)
    program = ConvexProgram(X, with_labels(y, loss), Patterns.enumerate(X), 1.0, loss)
    return replace(program, beta=0.1 * program.beta_max)


def objective(program: ConvexProgram, network: Network) -> float:
    return network.objective(program.X, program.y, program.beta, program.loss)


def assert_all_optimal(program: ConvexProgram, optima: OptimalSet, points: np.ndarray) -> None:
    """Every column is an optimum: same objective to 1e-8, amplitudes non-negative."""
    for a in points.T:
        assert (a >= 0).all()
        assert objective(program, optimal_network(optima, a)) == pytest.approx(optima.objective, rel=1e-8)


@pytest.fixture(scope="module")
def five() -> tuple[ConvexProgram, OptimalSet, Network]:
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    X, y = np.stack([x, np.ones(5)], axis=1), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    program = ConvexProgram(X, y, Patterns.enumerate(X), BETA)
    optima = optimal_set(program)
    return program, optima, optimal_network(optima, vertices(optima)[:, 0])


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


# --- the optimal set ------------------------------------------------------------------------------------


def test_five_points_have_one_network_but_many_program_solutions(five):
    program, optima, network = five
    assert optima.objective == pytest.approx(0.8914472, abs=5e-8)
    assert optima.unique
    assert not optima.program_unique
    assert "kink" in optima.reason
    assert optima.dimension == 0
    assert vertices(optima).shape == (4, 1)
    np.testing.assert_allclose(np.linalg.norm(optima.directions, axis=0), BETA, rtol=1e-9)
    np.testing.assert_allclose(optima.nu @ optima.columns, BETA**2, rtol=1e-8)
    assert objective(program, network) == pytest.approx(optima.objective, rel=1e-12)
    # a neuron on a kink may be spread over its two cells in the program, at no cost
    k = next(k for k in np.flatnonzero(optima.active) if len(optima.blocks[k]) > 1)
    v, w = np.zeros((2, 2, len(program.patterns)))
    a = vertices(optima)[:, 0]
    for j, cells in enumerate(optima.blocks):
        (v if optima.signs[j] > 0 else w)[:, cells[0]] += a[j] * optima.directions[:, j]
    side = v if optima.signs[k] > 0 else w
    one, other = optima.blocks[k][:2]
    side[:, other] += 0.4 * side[:, one]
    side[:, one] *= 0.6
    assert program.violation(v, w) < 1e-9
    assert program.primal(v, w) == pytest.approx(optima.objective, rel=1e-10)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_octagon_has_a_polytope_of_optima(loss):
    program = octagon(loss)
    optima = optimal_set(program)
    assert not optima.unique
    assert "Not unique" in optima.reason
    assert (len(optima.signs), optima.dimension) == (8, 3)
    corners = vertices(optima)
    assert corners.shape == (8, 10)
    assert_all_optimal(program, optima, corners)
    inside = sample_optima(optima, 20, seed=3)
    assert_all_optimal(program, optima, inside)
    assert np.ptp(inside, axis=1).min() > 0.1 * inside.max()
    np.testing.assert_array_equal(inside, sample_optima(optima, 20, seed=3))
    for a in corners.T:
        used = optima.columns[:, a > 0]
        assert np.linalg.matrix_rank(used) == used.shape[1]


def test_vertices_are_the_basic_solutions():
    optima = optimal_set(octagon())
    columns, rank = optima.columns, int(np.linalg.matrix_rank(optima.columns))
    fit = columns @ sample_optima(optima, 1)[:, 0]
    found = set()
    for basis in combinations(range(8), rank):
        chosen = list(basis)
        if np.linalg.matrix_rank(columns[:, chosen]) < rank:
            continue
        x = np.linalg.lstsq(columns[:, chosen], fit, rcond=None)[0]
        if x.min() > -1e-9 and np.abs(columns[:, chosen] @ x - fit).max() < 1e-9:
            a = np.zeros(8)
            a[chosen] = x
            found.add(tuple(np.round(np.abs(a), 6)))
    assert found == {tuple(np.round(np.abs(a), 6)) for a in vertices(optima).T}


def test_a_solution_of_another_solver_lies_in_the_set():
    program = octagon()
    optima = optimal_set(program)
    other = Network.from_solution(solve(program, "cvxpy", tol=1e-7))
    unit = optima.directions / np.linalg.norm(optima.directions, axis=0)
    a = np.zeros(len(optima.signs))
    for u, alpha in zip(other.U.T, other.alpha, strict=True):
        mass = np.linalg.norm(u) * abs(alpha)
        if mass > 1e-3:
            k = int(np.argmax(unit.T @ u))
            assert unit[:, k] @ u >= (1 - 1e-4) * np.linalg.norm(u)
            assert np.sign(alpha) == optima.signs[k]
            a[k] += mass / program.beta
    fit = optima.columns @ vertices(optima)[:, 0]
    np.testing.assert_allclose(optima.columns @ a, fit, atol=2e-3)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("integers", [False, True])
def test_small_complete_problems(loss, integers):
    for seed in range(4):
        program = small_program(seed, loss, integers=integers)
        optima, solution = optimal_set(program), solve(program, tol=1e-10)
        assert solution.dual * (1 - 1e-9) <= optima.objective <= solution.primal * (1 + 1e-9)
        assert solution.relative_gap < 1e-6
        assert_all_optimal(program, optima, vertices(optima))
        assert_all_optimal(program, optima, sample_optima(optima, 3))
        shape = optima.columns.shape[1]
        if np.linalg.matrix_rank(optima.columns, tol=1e-7 * program.beta) == shape and loss in SMOOTH[:2]:
            assert optima.unique


def test_incomplete_pattern_sets():
    for name, program in bank()[:20]:
        optima = optimal_set(program)
        assert optima.objective == pytest.approx(solve(program, tol=1e-10).primal, rel=1e-8), name
        assert_all_optimal(program, optima, sample_optima(optima, 2))


def test_dependent_columns_may_still_leave_one_optimum():
    program = octagon()
    at_top = optimal_set(replace(program, beta=program.beta_max))
    assert len(at_top.signs) == 8
    assert np.linalg.matrix_rank(at_top.columns) < 8
    assert at_top.unique
    assert "dependent, but only 0" in at_top.reason
    assert optimal_network(at_top, vertices(at_top)[:, 0]).n_neurons == 0
    above = optimal_set(replace(program, beta=1.1 * program.beta_max))
    assert "no neuron" in above.reason
    assert vertices(above).shape == (0, 1)


def test_the_fit_of_a_hinge_need_not_be_unique():
    # (1 − a)₊ + a: every a in [0, 1] is optimal
    one = np.ones((1, 1))
    program = ConvexProgram(one, np.ones(1), Patterns.enumerate(one), 1.0, "hinge")
    optima = optimal_set(program)
    assert optima.dimension == 1
    np.testing.assert_allclose(np.sort(vertices(optima)[0]), [0.0, 1.0], atol=1e-9)
    fits = sample_optima(optima, 50)[0]
    assert fits.min() < 0.3
    assert fits.max() > 0.7
    assert_all_optimal(program, optima, fits[None])


def test_a_rough_solution_is_refined_or_refused(five):
    program, optima, _ = five
    again = optimal_set(program, solve(program, tol=1e-4))
    assert again.objective == pytest.approx(optima.objective, rel=1e-10)
    other = solve(replace(program, beta=0.5), tol=1e-10)
    zeros = replace(other, v=0 * other.v, w=0 * other.w)
    with pytest.raises(ValueError, match="smaller tol"):
        optimal_set(program, zeros)
    with pytest.raises(ValueError, match="other patterns"):
        optimal_set(octagon(), other)
    with pytest.raises(ValueError, match="gated"):
        optimal_set(replace(program, gated=True))
    with pytest.raises(ValueError, match="amplitudes"):
        optimal_network(optima, -np.ones(4))
    with pytest.raises(ValueError, match="count"):
        sample_optima(optima, 0)


# --- splitting, permuting, pruning ----------------------------------------------------------------------


def test_split_and_permute_keep_the_objective(five):
    program, optima, network = five
    pieces = split(network, 1, [0.2, 0.5, 0.3])
    assert pieces.U.shape[1] == 6
    mixed = permute(pieces, [5, 0, 3, 1, 4, 2])
    assert objective(program, mixed) == pytest.approx(optima.objective, rel=1e-13)
    np.testing.assert_allclose(mixed.predict(program.X), network.predict(program.X), atol=1e-13)
    assert is_minimal(network, program.X, kink=1e-9)
    assert not is_minimal(mixed, program.X, kink=1e-9)
    assert not is_minimal(Network(2 * network.U, network.alpha / 2), program.X)
    two = Network(np.eye(2), np.ones((2, 2)))
    assert split(two, 0, [0.25, 0.75]).objective(np.eye(2), np.eye(2), 1.0) == pytest.approx(
        two.objective(np.eye(2), np.eye(2), 1.0)
    )


def test_split_and_permute_refuse(five):
    network = five[2]
    for neuron, shares in ((4, [1.0]), (0, [0.5, 0.4]), (0, [1.5, -0.5]), (0, [])):
        with pytest.raises(ValueError, match=r"neuron|shares"):
            split(network, neuron, shares)
    with pytest.raises(ValueError, match="permutation"):
        permute(network, [0, 0, 1, 2])


def test_pruning_random_networks():
    rng = np.random.default_rng(0)
    for _ in range(150):
        n, d, m = int(rng.integers(2, 10)), int(rng.integers(1, 5)), int(rng.integers(1, 30))
        X = rng.integers(-1, 2, size=(n, d)).astype(float) if rng.random() < 0.3 else rng.normal(size=(n, d))
        network = Network(rng.normal(size=(d, m)), rng.normal(size=m))
        y = rng.normal(size=n)
        small = prune(network, X)
        columns = np.maximum(X @ small.U, 0.0)
        assert small.U.shape[1] <= n
        assert np.linalg.matrix_rank(columns) == small.U.shape[1]
        fit = network.predict(X)
        np.testing.assert_allclose(small.predict(X), fit, atol=1e-9 * max(1.0, np.abs(fit).max()))
        assert small.objective(X, y, 1.0) <= network.objective(X, y, 1.0) * (1 + 1e-10)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_pruning_at_an_optimum_keeps_the_objective(loss):
    program = octagon(loss)
    optima = optimal_set(program)
    wide = optimal_network(optima, sample_optima(optima, 1)[:, 0])
    small = prune(split(wide, 0, [0.5, 0.5]), program.X)
    assert wide.n_neurons == 8
    assert small.n_neurons <= 5
    assert objective(program, small) == pytest.approx(optima.objective, rel=1e-10)
    with pytest.raises(ValueError, match="one output"):
        prune(Network(np.eye(2), np.ones((2, 3))), np.eye(2))


# --- stationary points ----------------------------------------------------------------------------------


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


# --- paths ----------------------------------------------------------------------------------------------


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


# --- pictures -------------------------------------------------------------------------------------------


def legend(ax: Axes) -> str:
    return " ".join(text.get_text() for text in ax.get_legend().get_texts())


def test_arrangement_writes_each_pattern_in_its_cell(five):
    program, _, network = five
    ax = plot_arrangement(program.X, program.patterns, network=network)
    written = [t for t in ax.texts if re.fullmatch("[01]{5}", t.get_text())]
    assert len(written) == 10
    for text in written:
        mask = program.X @ np.array(text.get_position()) >= 0
        assert text.get_text() == "".join("01"[int(on)] for on in mask)
    assert "α < 0" in legend(ax)
    many = np.random.default_rng(0).normal(size=(40, 2))
    assert "80 patterns" in plot_arrangement(many, Patterns.enumerate(many)).texts[0].get_text()
    with pytest.raises(ValueError, match="two columns"):
        plot_arrangement(np.eye(3), program.patterns)


def test_function_pictures(five):
    program, _, network = five
    ax = plot_function(network, program.X, program.y)
    x, f = ax.lines[0].get_data()
    np.testing.assert_allclose(f, network.predict(np.stack([x, np.ones_like(x)], axis=1)), atol=1e-12)
    assert "kink" in legend(ax)
    plane = np.random.default_rng(0).normal(size=(9, 2))
    ax = plot_function(network, plane, plane[:, 0])
    assert len(ax.figure.axes) == 2  # with a colour bar
    with pytest.raises(ValueError, match="columns vary"):
        plot_function(Network.zero(3), np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9))


def test_dual_picture_touches_but_does_not_cross_the_lines(five):
    program, optima, network = five
    ax = plot_dual(program.X, optima.nu, BETA, network=network)
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    assert np.abs(curves["νᵀ(Xu)₊"]).max() <= BETA * (1 + 1e-9)
    np.testing.assert_allclose(np.abs(curves["neurons"]), BETA, rtol=1e-8)


def test_optimal_set_picture():
    optima = optimal_set(octagon())
    corners = vertices(optima)
    ax = plot_optimal_set(corners, samples=sample_optima(optima, 30))
    outline = ax.patches[0].get_path()
    inside = np.stack(ax.lines[0].get_data(), axis=1)
    assert (
        outline.contains_points(inside, radius=1e-9).all()
        or outline.contains_points(inside, radius=-1e-9).all()
    )
    flat = plot_optimal_set(corners, neurons=(0, 1))
    assert "neuron 1" in flat.get_ylabel()
    point = plot_optimal_set(corners[:, :1])
    assert isinstance(point, Axes)


def test_path_and_certificate_pictures():
    ax = plot_path(np.array([3.0, 2.0, 1.0]), ["align", "reduce", "interpolate"], optimum=1.0)
    assert all(word in legend(ax) for word in ("align", "reduce", "interpolate", "end point: 1"))
    rows = [
        {"seconds": 0.1, "primal": 3.0, "bound": 0.5},
        {"seconds": 0.2, "primal": 2.0, "bound": 1.5},
        {"seconds": 0.3, "primal": 2.5, "bound": None},
    ]
    ax = plot_closing(rows, kind="estimated")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [3.0, 2.0, 2.0])
    assert "estimated lower bound: 1.5" in legend(ax)
    assert "bound" not in legend(plot_closing(rows, kind="patterns"))
    assert not plot_closing([], kind="exact").lines


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "optimal_sets.md").read_text(encoding="utf-8")
    scope: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "optimal_sets.md", "exec"), scope)
    assert (tmp_path / "optimal_set.png").stat().st_size > 1000
    assert (tmp_path / "path.png").stat().st_size > 1000
