"""Pricing: local maxima of νᵀ(Xu)_+ are exact, and the largest of many is ρ(ν) where ρ is known."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convexnn._threads
from convexnn.cones import prepare_rows
from convexnn.data import five_points
from convexnn.patterns import Patterns
from convexnn.pricing import beta_max, climb, fresh_starts, rho_estimate
from convexnn.pricing.search import search
from convexnn.program import ConvexProgram

properties = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 10**6)


def h(X: np.ndarray, nu: np.ndarray, u: np.ndarray) -> float:
    return float(nu @ np.maximum(X @ u, 0.0))


def units(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def gaussian(n: int, d: int, seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, ν and unit starts."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n), units(rng.standard_normal((count, d)))


def integers(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """X and ν of small integers: ties, repeated and opposite rows, zero rows, zero weights."""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 3, (n, d)).astype(float), rng.integers(-3, 4, n).astype(float)


def best_of_200(X: np.ndarray, nu: np.ndarray) -> float:
    starts = np.random.default_rng(5).standard_normal((200, X.shape[1]))
    return float(climb(prepare_rows(X), nu, starts).values.max(initial=0.0))


def brute_force_rho(X: np.ndarray, nu: np.ndarray) -> float:
    """ρ(ν) for d ≤ 3: on each face of each cell the maximiser is along a projection of c = XᵀDν.

    h is evaluated at these points, so a superfluous one can only fall short of the maximum.
    """
    d = X.shape[1]
    rows = X[X.any(axis=1)]
    rays = [np.linalg.svd(rows[list(pair)])[2][-1] for pair in combinations(range(len(rows)), d - 1)]
    around = np.concatenate([np.array(rays), -np.array(rays)]) if rays else np.zeros((0, d))
    noise = np.random.default_rng(0).standard_normal((60, 1, d))
    inside = np.concatenate(
        [(around + 1e-3 * noise).reshape(-1, d), noise[:, 0]]
    )  # all cells at every vertex
    C = np.unique(((inside @ X.T > 0) * nu) @ X, axis=0)
    points = [around, C]
    if d == 3:
        for x in units(rows):
            points.append(C - np.outer(C @ x, x))
    U = np.concatenate(points)
    U = units(U[np.linalg.norm(U, axis=1) > 1e-9])
    return float(np.max(np.maximum(U @ X.T, 0.0) @ nu, initial=0.0))


# ---- one ascent ---------------------------------------------------------------------------------------


@properties
@given(n=st.integers(1, 30), d=st.integers(1, 6), seed=seeds)
def test_the_value_is_h_of_the_direction(n: int, d: int, seed: int) -> None:
    X, nu, starts = gaussian(n, d, seed)
    maxima = climb(prepare_rows(X), nu, starts)
    scale = np.abs(nu) @ np.linalg.norm(X, axis=1)
    for value, u in zip(maxima.values, maxima.directions, strict=True):
        assert value == pytest.approx(h(X, nu, u), abs=1e-13 * scale)
        assert np.linalg.norm(u) == pytest.approx(1.0 if value != 0 else np.linalg.norm(u), rel=1e-12)


@properties
@given(n=st.integers(1, 30), d=st.integers(1, 6), seed=seeds)
def test_the_value_is_never_below_that_of_the_start(n: int, d: int, seed: int) -> None:
    X, nu, starts = gaussian(n, d, seed)
    maxima = climb(prepare_rows(X), nu, starts)
    before = np.array([h(X, nu, u) for u in starts])
    assert (np.maximum(maxima.values, 0.0) >= before - 1e-12 * np.abs(before).max()).all()


@properties
@given(seed=seeds)
def test_the_value_is_never_below_that_of_the_start_on_ties(seed: int) -> None:
    X, nu = integers(10, 3, seed)
    starts = np.random.default_rng(seed).integers(-1, 2, (20, 3)).astype(float)
    starts = units(starts[starts.any(axis=1)])
    before = np.array([h(X, nu, u) for u in starts])
    values = np.maximum(climb(prepare_rows(X), nu, starts).values, 0.0)
    assert (values >= before - 1e-12 * (1 + np.abs(before).max())).all()


@pytest.mark.parametrize(("n", "d"), [(5, 2), (20, 3), (60, 5), (200, 10)])
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_the_end_is_a_local_maximum(n: int, d: int, size: float) -> None:
    X, nu, starts = gaussian(n, d, seed=n)
    maxima = climb(prepare_rows(X), nu, starts)
    rng = np.random.default_rng(0)
    found = maxima.values > 0
    size = min(size, 0.02 / n)  # smaller than most cells are wide
    for value, u in zip(maxima.values[found], maxima.directions[found], strict=True):
        near = units(u + size * units(rng.standard_normal((200, d))))
        assert np.max(np.maximum(near @ X.T, 0.0) @ nu) <= value * (1 + 1e-12)
    assert found.any()


def test_tight_rows_are_zero_at_the_direction() -> None:
    X, nu, starts = gaussian(60, 6, seed=1)
    maxima = climb(prepare_rows(X), nu, starts)
    on_kinks = 0
    for s, u in enumerate(maxima.directions):
        tight = maxima.tight[s, : maxima.n_tight[s]]
        assert np.abs(X[tight] @ u).max(initial=0.0) <= 1e-10
        assert (nu[tight] < 0).all()
        on_kinks += len(tight)
    assert on_kinks > 0


def test_the_multipliers_of_the_tight_rows_explain_the_direction() -> None:
    X, nu, starts = gaussian(40, 5, seed=2)
    maxima = climb(prepare_rows(X), nu, starts)
    for s, u in enumerate(maxima.directions):
        tight = maxima.tight[s, : maxima.n_tight[s]]
        on = X @ u > 0
        on[tight] = False
        lam = np.linalg.lstsq(X[tight].T, maxima.values[s] * u - X[on].T @ nu[on])[0]
        np.testing.assert_allclose(X[on].T @ nu[on] + X[tight].T @ lam, maxima.values[s] * u, atol=1e-9)
        assert ((nu[tight] - 1e-9 <= lam) & (lam <= 1e-9)).all()


def test_lengths_of_starts_do_not_matter() -> None:
    X, nu, starts = gaussian(30, 4, seed=3)
    a, b = (climb(prepare_rows(X), nu, factor * starts) for factor in (1.0, 1e-6))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-10)


def test_a_cut_only_lowers_values() -> None:
    X, nu, starts = gaussian(200, 10, seed=4)
    full = climb(prepare_rows(X), nu, starts).values
    cut = climb(prepare_rows(X), nu, starts, cut=2 * full.max()).values
    assert (cut <= full * (1 + 1e-12)).all()
    assert (cut < full * (1 - 1e-6)).any()


# ---- the largest of many is ρ -------------------------------------------------------------------------


@properties
@given(n=st.integers(1, 12), seed=seeds)
def test_rank_two_maximum_is_ρ_on_ties(n: int, seed: int) -> None:
    X, nu = integers(n, 2, seed)
    assert best_of_200(X, nu) == pytest.approx(brute_force_rho(X, nu), rel=1e-10, abs=1e-12)


@properties
@given(n=st.integers(1, 12), seed=seeds)
def test_rank_two_maximum_is_ρ_on_gaussian_data(n: int, seed: int) -> None:
    X, nu, _ = gaussian(n, 2, seed)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    sweep = np.maximum(np.c_[np.cos(angles), np.sin(angles)] @ X.T, 0.0) @ nu
    rho = best_of_200(X, nu)
    assert rho >= sweep.max() * (1 - 1e-12)
    assert rho == pytest.approx(brute_force_rho(X, nu), rel=1e-10, abs=1e-12)


@properties
@given(n=st.integers(2, 8), seed=seeds)
def test_rank_three_maximum_is_ρ_on_ties(n: int, seed: int) -> None:
    X, nu = integers(n, 3, seed)
    assert best_of_200(X, nu) == pytest.approx(brute_force_rho(X, nu), rel=1e-10, abs=1e-12)


@properties
@given(n=st.integers(2, 8), seed=seeds)
def test_the_maximum_over_all_cells_of_projections_is_ρ(n: int, seed: int) -> None:
    X, nu = integers(n, 3, seed)
    program = ConvexProgram(X, np.ones(n), Patterns.sample(X, 2000), 1.0)
    best = max(best_of_200(X, nu), best_of_200(X, -nu))
    assert program.rho(nu) == pytest.approx(best, rel=1e-10, abs=1e-12)


@properties
@given(seed=seeds, d=st.integers(1, 3))
def test_dimension_one_and_rank_one_have_a_closed_form(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    x, nu = rng.integers(-3, 4, 6).astype(float), rng.standard_normal(6)
    direction = units(rng.standard_normal((1, d)))
    expected = max(0.0, nu @ np.maximum(x, 0), nu @ np.maximum(-x, 0))
    assert best_of_200(x[:, None] * direction, nu) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_ρ_is_homogeneous(size: float) -> None:
    X, nu, _ = gaussian(40, 4, seed=6)
    assert rho_estimate(X, size * nu) == pytest.approx(size * rho_estimate(X, nu), rel=1e-9)
    assert rho_estimate(size * X, nu) == pytest.approx(size * rho_estimate(X, nu), rel=1e-9)


def test_ρ_estimate_is_over_both_signs() -> None:
    X, nu, _ = gaussian(20, 2, seed=7)
    both = max(brute_force_rho(X, nu), brute_force_rho(X, -nu))
    assert rho_estimate(X, nu) == pytest.approx(both, rel=1e-10)
    assert rho_estimate(X, -nu) == pytest.approx(both, rel=1e-10)


# ---- degenerate input ---------------------------------------------------------------------------------


def test_zero_rows_change_nothing() -> None:
    X, nu, starts = gaussian(20, 3, seed=8)
    plain = climb(prepare_rows(X), nu, starts)
    padded = climb(prepare_rows(np.vstack([X, np.zeros((5, 3))])), np.r_[nu, np.ones(5)], starts)
    np.testing.assert_allclose(padded.values, plain.values, rtol=1e-12)


@pytest.mark.parametrize("zero", ["X", "nu"])
def test_a_zero_problem_has_value_zero(zero: str) -> None:
    X, nu, starts = gaussian(10, 3, seed=9)
    X, nu = (0 * X, nu) if zero == "X" else (X, 0 * nu)
    assert np.array_equal(climb(prepare_rows(X), nu, starts).values, np.zeros(len(starts)))
    assert rho_estimate(X, nu) == 0.0


def test_a_zero_start_ends_at_a_local_maximum_or_at_zero() -> None:
    X, nu, _ = gaussian(10, 3, seed=10)
    maxima = climb(prepare_rows(X), nu, np.zeros((2, 3)))
    assert maxima.values[0] == maxima.values[1] >= 0.0
    assert h(X, nu, maxima.directions[0]) == pytest.approx(maxima.values[0], rel=1e-12)


def test_no_value_is_positive_where_h_is_concave() -> None:
    X, nu, starts = gaussian(50, 3, seed=11)
    assert climb(prepare_rows(X), -np.abs(nu), starts).values.max() <= 0.0


def test_no_starts_give_no_maxima() -> None:
    X, nu, _ = gaussian(5, 3, seed=12)
    assert climb(prepare_rows(X), nu, np.zeros((0, 3))).values.shape == (0,)


# ---- determinism --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_the_result_does_not_depend_on_the_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, nu, starts = gaussian(50, 5, seed=13, count=101)
    rows = prepare_rows(X)
    usual = climb(rows, nu, starts)
    monkeypatch.setattr(convexnn._threads, "THREADS", threads)
    again = climb(rows, nu, starts)
    for name in ("values", "directions", "n_tight"):
        assert np.array_equal(getattr(usual, name), getattr(again, name))


def test_a_start_is_independent_of_the_others() -> None:
    X, nu, starts = gaussian(50, 5, seed=14, count=20)
    rows = prepare_rows(X)
    together = climb(rows, nu, starts).values
    alone = [climb(rows, nu, start[None]).values[0] for start in starts]
    assert np.array_equal(together, alone)


def test_take_selects_rows_of_every_part() -> None:
    X, nu, starts = gaussian(20, 3, seed=15)
    maxima = climb(prepare_rows(X), nu, starts)
    part = maxima.take(np.array([3, 1]))
    assert part.values.tolist() == maxima.values[[3, 1]].tolist()
    assert part.tight.shape == (2, 3)


# ---- starts and search --------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0, 1, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 101])
def test_fresh_starts_have_the_shape_asked_for_and_are_reproducible(m: int, count: int) -> None:
    X, _, neurons = gaussian(9, 4, seed=16, count=m)
    a, b = (fresh_starts(X, neurons, count, np.random.default_rng(1)) for _ in range(2))
    assert a.shape == (count, 4)
    assert np.isfinite(a).all()
    assert np.array_equal(a, b)


def test_fresh_starts_gather_around_the_neurons_and_their_mirror_images() -> None:
    neuron = np.zeros((1, 50))
    neuron[0, 0] = 9.0
    cosines = units(fresh_starts(np.eye(50), neuron, 400, np.random.default_rng(0)))[:, 0]
    assert (cosines > 0.9).sum() > 40
    assert (cosines < -0.9).sum() > 40


def test_fresh_starts_survive_zero_rows() -> None:
    assert np.isfinite(fresh_starts(np.zeros((4, 3)), np.zeros((0, 3)), 30, np.random.default_rng(0))).all()


def test_search_finds_ρ_of_both_signs_and_counts_its_starts() -> None:
    X, nu, _ = gaussian(15, 2, seed=17)
    result = search(X, prepare_rows(X), nu, starts=1000, rng=np.random.default_rng(0))
    assert result.rho == pytest.approx(max(brute_force_rho(X, nu), brute_force_rho(X, -nu)), rel=1e-10)
    assert result.starts >= 1000
    assert len(result.found.signs) == 0


def test_search_returns_what_exceeds_a_threshold_best_first() -> None:
    X, nu, _ = gaussian(40, 4, seed=18)
    rho = rho_estimate(X, nu)
    result = search(X, prepare_rows(X), nu, starts=5000, rng=np.random.default_rng(0), stop_above=0.8 * rho)
    values = result.found.maxima.values
    assert values[0] == result.rho > 0.8 * rho
    assert (np.diff(values) <= 0).all()
    assert values[-1] > 0.8 * rho
    assert result.starts < 5000
    for s, u, value in zip(result.found.signs, result.found.maxima.directions, values, strict=True):
        assert h(X, s * nu, u) == pytest.approx(value, rel=1e-12)


def test_search_past_its_deadline_makes_one_chunk() -> None:
    X, nu, _ = gaussian(20, 3, seed=19)
    result = search(X, prepare_rows(X), nu, starts=100_000, rng=np.random.default_rng(0), deadline=-np.inf)
    assert 100 <= result.starts < 2000
    assert result.rho > 0


# ---- β_max --------------------------------------------------------------------------------------------


def test_beta_max_of_the_five_points_is_four_over_root_five() -> None:
    data = five_points()
    assert beta_max(data.X, data.y) == pytest.approx(4 / np.sqrt(5), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "y", "value"),
    [
        ("squared", 3.0, 6.0),
        ("squared", -3.0, 6.0),
        ("logistic", 1.0, 1.0),
        ("hinge", -1.0, 2.0),
        ("squared_hinge", 1.0, 2.0),
    ],
)
def test_beta_max_of_one_sample_is_the_slope_of_the_loss_times_its_length(
    loss: str, y: float, value: float
) -> None:
    assert beta_max(np.array([[2.0]]), np.array([y]), loss) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_beta_max_of_orthonormal_rows_is_the_longer_half_of_y(seed: int) -> None:
    y = np.random.default_rng(seed).standard_normal(6)
    expected = max(np.linalg.norm(y[y > 0]), np.linalg.norm(y[y < 0]))
    assert beta_max(np.eye(6), y) == pytest.approx(expected, rel=1e-10)


def test_beta_max_of_several_outputs_is_that_of_the_worst() -> None:
    data = five_points()
    Y = np.c_[data.y, 3 * data.y]
    assert beta_max(data.X, Y) == pytest.approx(12 / np.sqrt(5), rel=1e-12)


def test_beta_max_checks_its_labels() -> None:
    with pytest.raises(ValueError, match=r"labels -1 and \+1"):
        beta_max(np.eye(2), np.array([0.0, 1.0]), "hinge")
