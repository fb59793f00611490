"""Exact enumeration: known arrangements, independent counts, degeneracy of every kind, the exact program."""

from itertools import combinations, product
from math import comb, factorial, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import convexnn.solvers.ssnal as ssnal
from convexnn import ConvexProgram, Patterns, enumeration, solve
from convexnn import _arrangement as arrangement
from convexnn.data import five_points
from convexnn.enumeration import count_patterns, enumerate_packed, estimate_cost, pattern_bound

properties = settings(deadline=None, derandomize=True, max_examples=60)

THREE_ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def integers(n: int, d: int, seed: int, largest: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (n, d)).astype(float)


def braid(n: int) -> np.ndarray:
    """Rows e_i − e_j in R^n: n! cells, one for each order of the coordinates."""
    return np.array([np.eye(n)[i] - np.eye(n)[j] for i, j in combinations(range(n), 2)])


def signed_braid(n: int) -> np.ndarray:
    """Rows e_i and e_i ± e_j: 2^n n! cells, one for each order of the coordinates with signs."""
    return np.vstack([np.eye(n), braid(n), np.abs(braid(n))])


def assert_exact(X: np.ndarray, count: int) -> None:
    """`count` distinct masks, each the signs of its generator; opposite columns; the counter agrees."""
    patterns = Patterns.enumerate(X)
    assert len(patterns) == count_patterns(X) == count
    assert np.unique(patterns.masks, axis=1).shape == patterns.masks.shape
    rows = X.any(axis=1)
    Z = X[rows] @ patterns.generators
    assert (Z != 0).all()
    np.testing.assert_array_equal(patterns.masks[rows], Z > 0)
    assert not patterns.masks[~rows].any()
    if not rows.any():
        return
    half = count // 2
    np.testing.assert_array_equal(patterns.masks[rows, :half], ~patterns.masks[rows, half:])
    assert patterns.masks[np.argmax(rows), :half].all()


# ---- counts that are known ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "count"),
    [
        (THREE_ROWS, 6),
        (five_points().X, 10),
        (np.ones((3, 1)), 2),
        (np.ones((5, 4)), 2),
        *((braid(n), factorial(n)) for n in (3, 4, 5, 6)),
        *((np.eye(d), 2**d) for d in (1, 2, 3, 4, 7)),
        *((signed_braid(n), 2**n * factorial(n)) for n in (2, 3, 4)),
    ],
)
def test_known_arrangements(X: np.ndarray, count: int) -> None:
    assert_exact(X, count)


@pytest.mark.parametrize(
    ("n", "r"), [(1, 1), (5, 2), (5, 3), (10, 3), (12, 4), (9, 5), (8, 8), (40, 3), (11, 6)]
)
def test_general_position_attains_the_bound(n: int, r: int) -> None:
    assert_exact(gaussian(n, r), pattern_bound(n, r)[0])


@pytest.mark.parametrize(("n", "r"), [(6, 1), (9, 2), (9, 3), (9, 4)])
def test_rank_deficient_data_count_by_their_rank(n: int, r: int) -> None:
    assert_exact(gaussian(n, r) @ gaussian(r, r + 2, seed=1), pattern_bound(n, r)[0])


@properties
@given(n=st.integers(1, 8), d=st.integers(1, 5), largest=st.integers(1, 3), seed=st.integers(0, 1000))
def test_integer_data_agree_with_the_sum_over_subsets(n: int, d: int, largest: int, seed: int) -> None:
    """Zaslavsky's theorem in Whitney's form: the number of cells is Σ_S (−1)^(|S| − rank S)."""
    X = integers(n, d, seed, largest)
    rows = X[X.any(axis=1)]
    subsets = [s for k in range(1, len(rows) + 1) for s in combinations(range(len(rows)), k)]
    count = 1 + sum((-1) ** (len(s) - int(np.linalg.matrix_rank(rows[list(s)]))) for s in subsets)
    assert_exact(X, count)


@settings(properties, max_examples=20)
@given(n=st.integers(1, 6), d=st.integers(1, 4), seed=st.integers(0, 1000))
def test_masks_are_the_sign_vectors_that_a_linear_program_finds_feasible(n: int, d: int, seed: int) -> None:
    X = integers(n, d, seed)
    X[~X.any(axis=1), 0] = 1.0
    found = {tuple(mask) for mask in Patterns.enumerate(X).masks.T}
    for signs in product([False, True], repeat=n):
        S = np.where(signs, 1.0, -1.0)[:, None] * X
        feasible = linprog(np.zeros(d), A_ub=-S, b_ub=-np.ones(n), bounds=(None, None)).status == 0
        assert feasible == (signs in found)


@pytest.mark.parametrize("X", [gaussian(12, 4), integers(14, 4, seed=3), braid(5)])
def test_samples_are_among_the_enumerated(X: np.ndarray) -> None:
    found = {mask.tobytes() for mask in Patterns.enumerate(X).masks.T}
    sampled = {mask.tobytes() for mask in Patterns.sample(X, 20_000).masks.T}
    assert sampled <= found
    assert len(sampled) > 0.5 * len(found)


# ---- data that change nothing -------------------------------------------------------------------------


@pytest.mark.parametrize("X", [integers(9, 3, seed=0), integers(8, 4, seed=1), gaussian(7, 3), braid(4)])
def test_zero_parallel_and_opposite_rows_add_no_pattern(X: np.ndarray) -> None:
    more = np.vstack([np.zeros(X.shape[1]), X, X, -X[::-1], 3.7 * X, np.zeros((2, X.shape[1]))])
    assert_exact(more, count_patterns(X))


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 31**-0.5, 1e6, 1e200])
def test_the_scale_of_the_data_does_not_matter(scale: float) -> None:
    assert_exact(scale * braid(5), 120)


def test_units_of_rows_and_columns_do_not_matter() -> None:
    assert_exact(braid(5) * 10.0 ** np.array([0, 3, -3, 2, -2]), 120)
    assert_exact(braid(5) * 10.0 ** np.linspace(-8, 8, 10)[:, None], 120)
    years = np.column_stack([1990.0 + np.arange(12), np.ones(12)])
    assert_exact(years, 24)


def test_degenerate_data_stay_so_after_a_linear_map_in_floating_point() -> None:
    assert_exact(braid(5) @ gaussian(5, 7), 120)
    assert_exact(signed_braid(3) @ gaussian(3, 3, seed=4), 48)
    assert_exact(braid(5) + 1e-15 * gaussian(10, 5), 120)


def test_the_order_of_rows_changes_the_order_of_patterns_only() -> None:
    X = integers(10, 4, seed=5)
    order = np.random.default_rng(0).permutation(10)
    a = Patterns.enumerate(X).masks[order]
    b = Patterns.enumerate(X[order]).masks
    assert {mask.tobytes() for mask in a.T} == {mask.tobytes() for mask in b.T}


def test_the_same_data_give_the_same_bits() -> None:
    a, b = enumerate_packed(gaussian(15, 4)), enumerate_packed(gaussian(15, 4))
    np.testing.assert_array_equal(a.bits, b.bits)
    np.testing.assert_array_equal(a.generators, b.generators)


def test_a_matrix_of_zeros_has_one_pattern() -> None:
    patterns = Patterns.enumerate(np.zeros((3, 2)))
    assert count_patterns(np.zeros((3, 2))) == len(patterns) == 1
    assert not patterns.masks.any()
    assert np.linalg.norm(patterns.generators) == 1


# ---- packed form --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 8, 13])
def test_packed_masks_are_those_of_numpy(n: int) -> None:
    X = np.vstack([gaussian(n - 1, 3), np.zeros(3)])
    packed, patterns = enumerate_packed(X), Patterns.enumerate(X)
    assert len(packed) == len(patterns)
    np.testing.assert_array_equal(packed.bits, np.packbits(patterns.masks, axis=0))
    np.testing.assert_allclose(np.linalg.norm(packed.generators, axis=0), 1, rtol=1e-14)
    some = packed.unpack(np.array([3, 0]))
    np.testing.assert_array_equal(some.masks, patterns.masks[:, [3, 0]])
    np.testing.assert_array_equal(some.generators, patterns.generators[:, [3, 0]])


@pytest.mark.slow
@pytest.mark.parametrize(("n", "r", "count"), [(1000, 3, 999_002), (30, 6, 293_192)])
def test_large_general_arrangements(n: int, r: int, count: int) -> None:
    X = gaussian(n, r)
    packed = enumerate_packed(X)
    assert len(packed) == count_patterns(X) == count
    rows = np.ascontiguousarray(packed.bits.T)
    assert len(np.unique(rows.view(np.dtype((np.void, rows.shape[1]))))) == count
    some = np.random.default_rng(0).choice(count, 5000, replace=False)
    np.testing.assert_array_equal(packed.unpack(some).masks, X @ packed.generators[:, some] > 0)


# ---- bounds and costs ---------------------------------------------------------------------------------


def test_pattern_bound_is_exact_and_its_second_form_is_larger() -> None:
    for n in range(2, 14):
        for r in range(1, n + 1):
            first, second = pattern_bound(n, r)
            assert first == 2 * sum(comb(n - 1, k) for k in range(r)) <= second
    assert pattern_bound(1, 1) == (2, inf)
    assert pattern_bound(5000, 2000)[1] == inf


@pytest.mark.parametrize(("n", "r"), [(3, 0), (3, 4), (0, 0)])
def test_pattern_bound_refuses_impossible_ranks(n: int, r: int) -> None:
    with pytest.raises(ValueError, match="rank r must lie between 1 and n"):
        pattern_bound(n, r)


def test_cost_estimate_multiplies_out() -> None:
    cost = estimate_cost(10, 4, 3)
    assert (cost.patterns, cost.variables, cost.constraints) == (92, 736, 1840)
    assert cost.interior_point == 4**3 * 3**3 * 10**9 // 3**9
    assert (cost.packed_bytes, cost.mask_bytes) == (92 * (2 + 32), 920)
    assert estimate_cost(10, 4).r == 4
    lines = str(cost).splitlines()
    assert lines[0] == "10 samples, dimension 4, rank 3"
    assert "at most 92" in lines[1]
    assert "736 variables, 1,840 constraints" in lines[2]


def test_cost_estimate_survives_numbers_beyond_floats() -> None:
    cost = estimate_cost(10_000, 3072)
    assert cost.seconds == inf
    assert "7.77e2676" in str(cost)


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, 2), "at least 1"), ((5, 3, 4), "min"), ((5, 3, 0), "min")]
)
def test_cost_estimate_refuses_impossible_sizes(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_cost(*arguments)


# ---- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [count_patterns, enumerate_packed, Patterns.enumerate])
@pytest.mark.parametrize(
    ("X", "limit", "message"),
    [
        (
            gaussian(5, 3),
            21,
            r"more than max_patterns = 21 .*5 hyperplanes of rank 3 may have 22.*Patterns\.sample",
        ),
        (gaussian(9, 2), 17, r"more than max_patterns = 17 .*may have 18.*Patterns\.sample"),
        (gaussian(40, 31), 10**6, r"rank 31 or more .* 2\^31 = 2\.15e9 patterns.*Patterns\.sample"),
        (np.ones(3), 100, "n×d"),
        (np.array([[1.0, np.nan]]), 100, "finite"),
    ],
)
def test_refusals_name_the_number_and_the_way_out(call, X: np.ndarray, limit: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(X, max_patterns=limit)


def test_the_limit_itself_is_allowed() -> None:
    assert len(Patterns.enumerate(gaussian(5, 3), max_patterns=22)) == 22


def test_masks_too_large_for_memory_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    X = gaussian(10, 3)  # 92 patterns: 920 bytes, 184 packed
    monkeypatch.setattr(enumeration, "MASK_BYTES", 919)
    with pytest.raises(ValueError, match=r"unpacked would take .*enumerate_packed"):
        Patterns.enumerate(X)
    assert len(enumerate_packed(X)) == 92
    monkeypatch.setattr(enumeration, "MASK_BYTES", 183)
    with pytest.raises(ValueError, match=r"packed would take .*Patterns\.sample"):
        enumerate_packed(X)


def test_a_collision_of_keys_raises_and_gives_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrangement, "words", lambda count: np.zeros(count, dtype=np.uint64))
    with pytest.raises(ArithmeticError, match="neither together nor apart"):
        Patterns.enumerate(gaussian(6, 3))


def test_cells_thinner_than_rounding_are_refused_but_counted() -> None:
    X = np.column_stack([1e8 + np.arange(4.0), np.ones(4)])
    assert count_patterns(X) == 8
    with pytest.raises(ArithmeticError, match="rescale or centre the columns"):
        Patterns.enumerate(X)


# ---- the program over all patterns --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y", "optimum"),
    [
        (THREE_ROWS, np.array([1.0, 0.0, 0.0]), 0.1290241),
        (five_points().X, five_points().y, 0.8914472),
    ],
    ids=["three rows", "five points"],
)
def test_the_complete_program_has_the_known_optimum(X: np.ndarray, y: np.ndarray, optimum: float) -> None:
    solution = solve(ConvexProgram(X, y, Patterns.enumerate(X), 0.1), tol=1e-9)
    assert solution.primal == pytest.approx(optimum, abs=6e-8)
    assert solution.primal - solution.dual <= 1e-9 * solution.primal


def problem(seed: int, beta: float) -> ConvexProgram:
    X, y = gaussian(16, 3, seed), gaussian(16, 1, seed + 100)[:, 0]
    return ConvexProgram(X, y, Patterns.enumerate(X), beta)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_column_generation_agrees_with_all_blocks_at_once(
    seed: int, beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = problem(seed, beta)
    assert 2 * len(program.patterns) > 2 * ssnal._FIRST  # so that a working set is used
    generated = solve(program, tol=1e-9)
    monkeypatch.setattr(ssnal, "_FIRST", 2 * len(program.patterns))
    direct = solve(program, tol=1e-9)
    assert generated.primal == pytest.approx(direct.primal, rel=1e-8)
    assert generated.dual == pytest.approx(direct.primal, rel=1e-8)


@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_column_generation_agrees_with_an_interior_point_method(beta: float) -> None:
    cp = pytest.importorskip("cvxpy")
    program = problem(0, beta)
    masks, d = program.patterns.masks.astype(float), program.X.shape[1]
    v, w = cp.Variable((d, masks.shape[1])), cp.Variable((d, masks.shape[1]))
    fit = cp.sum(cp.multiply(masks, program.X @ (v - w)), axis=1)
    size = cp.sum(cp.norm(v, axis=0)) + cp.sum(cp.norm(w, axis=0))
    cones = [cp.multiply(2 * masks - 1, program.X @ block) >= 0 for block in (v, w)]
    reference = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(fit - program.y) + beta * size), cones)
    reference.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert solve(program, tol=1e-9).primal == pytest.approx(reference.value, rel=1e-8)
