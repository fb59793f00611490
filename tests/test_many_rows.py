"""Global training with many rows and few columns: agreement with the form on cells, limits, memory."""

import tracemalloc

import numpy as np
import pytest

import convexnn
from convexnn import Network, Status
from convexnn.cones import prepare_rows
from convexnn.data import Scaler
from convexnn.pricing import rho_estimate
from convexnn.pricing.local import climb
from convexnn.pricing.smooth import VERIFY, climb_smoothly, prepare_columns, rho_smoothly
from convexnn.training._bank import Bank, evaluate, gram, solve_bank
from convexnn.training._slide import _Problem, objective
from convexnn.training.loop import make_task, run, start_state
from convexnn.training.many_rows import has_many_rows, train_many_rows

GAUSS = np.random.default_rng(7)
X = np.hstack([GAUSS.standard_normal((5000, 4)), np.ones((5000, 1))]) / np.sqrt(5)
Y = np.maximum(X @ GAUSS.standard_normal((5, 4)), 0.0) @ np.array([2.0, -2.0, 1.5, -1.0])
Y = (Y - Y.mean()) / Y.std() + 0.3 * GAUSS.standard_normal(5000)
TOP = rho_smoothly(X, Y)
BETA = TOP / 30


def train(X, y, beta, *, tol=2e-3, **options):
    """Training of data that this form is for."""
    assert has_many_rows(X, "squared")
    return convexnn.train(X, y, beta, tol=tol, **options)


@pytest.fixture(scope="module")
def solved():
    """The problem above, trained to a small gap."""
    return train(X, Y, BETA)


def test_the_rule_asks_for_many_rows_few_columns_and_the_squared_loss():
    assert has_many_rows(X, "squared")
    assert not has_many_rows(X[:4000], "squared")
    assert not has_many_rows(np.zeros((5000, 41)), "squared")
    assert not has_many_rows(X, "logistic")


def test_smoothed_ascent_ends_where_exact_ascent_does():
    rng = np.random.default_rng(0)
    starts, nu = rng.standard_normal((12, 5)), Y - X @ np.linalg.lstsq(X, Y)[0]
    smooth = climb_smoothly(prepare_columns(X), nu, starts, np.ones(12), VERIFY)
    np.testing.assert_allclose(smooth.values, np.maximum(X @ smooth.directions.T, 0.0).T @ nu, rtol=1e-10)
    exact = climb(prepare_rows(X), nu, smooth.directions)
    assert (exact.values >= smooth.values * (1 - 1e-12)).all()
    np.testing.assert_allclose(smooth.values, exact.values, rtol=2e-3)


def test_the_largest_value_is_that_of_the_exact_search():
    few = X[:1500]
    assert rho_smoothly(few, Y[:1500]) == pytest.approx(rho_estimate(few, Y[:1500], starts=200), rel=1e-4)


def test_gradient_of_the_slide_is_that_of_its_objective():
    columns, rng = prepare_columns(X), np.random.default_rng(1)
    U, D = 0.3 * rng.standard_normal((2, 6, 5))
    problem = _Problem(columns, Y.astype(np.float32), BETA, rng.choice([-1.0, 1.0], 6), 0.3)
    slope = (objective(problem, U + 1e-2 * D)[0] - objective(problem, U - 1e-2 * D)[0]) / 2e-2
    assert np.sum(objective(problem, U)[1] * D) == pytest.approx(slope, rel=5e-3)


def test_masses_of_a_bank_satisfy_the_optimality_conditions():
    columns, rng = prepare_columns(X), np.random.default_rng(2)
    U = rng.standard_normal((40, 5))
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    U[20:] = U[:20]  # duplicates make the Gram matrix singular
    bank = Bank(U, np.where(np.arange(40) % 4 < 2, 1.0, -1.0), np.zeros(40))
    F = np.maximum(X @ U.T, 0.0) * bank.signs
    np.testing.assert_allclose(gram(columns, U, bank.signs), F.T @ F, atol=1e-5 * np.sum(F**2, axis=0).max())
    point = solve_bank(columns, Y, BETA, bank)
    assert (F.T @ point.nu <= BETA * (1 + 1e-3)).all()
    own = np.maximum(X @ point.bank.directions.T, 0.0).T @ point.nu * point.bank.signs
    np.testing.assert_allclose(own, BETA, rtol=1e-3)
    assert point.primal == evaluate(columns, Y, BETA, point.bank).primal


def test_an_empty_bank_is_the_zero_network():
    empty = Bank(np.zeros((0, 5)), np.zeros(0), np.zeros(0))
    assert solve_bank(prepare_columns(X), Y, BETA, empty).primal == pytest.approx(0.5 * Y @ Y)


def test_the_gap_is_reached_and_verified(solved):
    assert solved.status is Status.CONVERGED
    assert solved.certificate.starts >= 4000
    assert 0 <= solved.certificate.relative_gap <= 2e-3
    primal = [row["primal"] for row in solved.history]
    assert primal == sorted(primal, reverse=True)


def test_exact_ascent_does_not_refute_the_certificate(solved):
    nu = solved.certificate.nu
    near = np.vstack([solved.network.U.T, np.random.default_rng(3).standard_normal((50, 5))])
    rows = prepare_rows(X)
    worst = max(climb(rows, sign * nu, near).values.max() for sign in (1.0, -1.0))
    assert worst <= BETA * (1 + 3e-4)


def test_it_agrees_with_the_form_on_cells_within_the_gaps():
    X_few, y_few = X[:1000], Y[:1000]
    beta = rho_smoothly(X_few, y_few) / 10
    rows_task = make_task(X_few, y_few, beta, "squared", 1e-3, None, 0, is_large=True)
    ours, _ = train_many_rows(rows_task, lambda best: None)
    task = make_task(X_few, y_few, beta, "squared", 1e-3, None, 0)
    state = start_state(task, Network.zero(5))
    run(task, state, lambda best: None)
    assert ours.bound <= state.best.primal * (1 + 1e-9)
    assert state.best.bound <= ours.primal * (1 + 1e-9)


def test_same_seed_gives_the_same_bits():
    first, second = (train(X, Y, TOP / 5, tol=1e-2, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.network.U, second.network.U)
    np.testing.assert_array_equal(first.certificate.nu, second.certificate.nu)
    assert first.certificate.lower_bound == second.certificate.lower_bound


@pytest.mark.parametrize(("a", "b"), [(1e6, 1e-3), (1e-6, 1e4)])
def test_scaling_data_and_targets_scales_the_optimum(a, b, solved):
    scaled = train(a * X, b * Y, a * b * BETA)
    assert scaled.status is Status.CONVERGED
    assert scaled.certificate.primal == pytest.approx(b**2 * solved.certificate.primal, rel=3e-3)


def test_interruption_returns_the_best_so_far_with_its_certificate(solved):
    def stop(row):
        if row["iteration"] == 1:
            raise KeyboardInterrupt

    result = train(X, Y, BETA, tol=1e-9, progress=stop)
    assert result.status is Status.INTERRUPTED
    assert result.certificate.starts > 0
    assert 0 < result.certificate.lower_bound <= solved.certificate.primal


def test_time_limit_returns_the_best_so_far_with_its_certificate(solved):
    result = train(X, Y, TOP / 300, tol=1e-9, max_time=1.0)
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.starts > 0
    assert 0 < result.certificate.lower_bound <= result.certificate.primal < solved.certificate.primal


def test_warm_start_is_never_lost(solved):
    again = train(X, Y, BETA, warm_start=solved.network)
    assert again.certificate.primal <= solved.certificate.primal * (1 + 1e-6)
    assert len(again.history) <= len(solved.history)


@pytest.mark.parametrize("kind", ["integer ties", "rank one", "zero rows"])
def test_degenerate_data_end_with_a_verified_bound(kind):
    data = X.copy()
    if kind == "integer ties":
        data = np.round(data)
    elif kind == "rank one":
        data = np.outer(X[:, 0], np.arange(1.0, 6.0))
    else:
        data[::2] = 0.0
    result = train(data, Y, 0.1 * rho_smoothly(data, Y), max_time=3.0)
    assert result.certificate.starts > 0
    assert 0 < result.certificate.lower_bound <= result.certificate.primal


def test_memory_grows_with_rows_not_with_their_square():
    rng = np.random.default_rng(0)
    large, y = np.tile(X, (8, 1)) + 0.01 * rng.standard_normal((40_000, 5)), np.tile(Y, 8)
    top = rho_smoothly(large, y, starts=100)
    tracemalloc.start()
    try:
        train(large, y, top / 10, tol=0.1, max_time=5.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * large.nbytes  # 64 MB; n×n booleans would take 1,600


@pytest.mark.slow
def test_kin40k_at_a_tenth_of_beta_max(data_folder):
    table = np.genfromtxt(data_folder / "uci" / "kin40k" / "data.csv.gz", delimiter=",")
    X_kin, y_kin = Scaler.fit(table[:, :-1]).transform(table[:, :-1]), table[:, -1]
    y_kin = (y_kin - y_kin.mean()) / y_kin.std()
    top = rho_smoothly(X_kin, y_kin)
    assert top == pytest.approx(2043.67, rel=1e-4)
    result = train(X_kin, y_kin, top / 10, tol=1e-3)
    assert result.status is Status.CONVERGED
    assert result.certificate.primal <= 11648.5
    assert result.certificate.starts >= 4000
