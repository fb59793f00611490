"""The optimal set, splitting, permuting and pruning."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, solve
from convexnn.landscape import (
    OptimalSet,
    is_minimal,
    optimal_network,
    optimal_set,
    permute,
    prune,
    sample_optima,
    split,
    vertices,
)
from landscape_problems import (
    BETA,
    assert_all_optimal,
    five_points,
    objective,
    octagon,
    small_program,
)
from problems import LOSS_NAMES, bank

SMOOTH = ("squared", "logistic", "squared_hinge")


@pytest.fixture
def five() -> tuple[ConvexProgram, OptimalSet, Network]:
    return five_points()


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
