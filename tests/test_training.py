"""Global training: known optima, limits, reproducibility."""

import multiprocessing
import os

import numpy as np
import pytest

from convexnn import Network, Status, beta_max, certify, train
from convexnn.losses import LOSSES, get_loss
from convexnn.pricing import rho_estimate
from convexnn.training.row_space import row_basis

GAUSS = np.random.default_rng(3)
X_SMALL = np.hstack([GAUSS.standard_normal((40, 3)), np.ones((40, 1))]) / 2.0
Y_REAL = np.maximum(X_SMALL @ GAUSS.standard_normal((4, 3)), 0.0).sum(axis=1) - 1.0
Y_SIGN = np.where(Y_REAL > 0, 1.0, -1.0)


def small_problem(loss: str) -> tuple[np.ndarray, np.ndarray]:
    return X_SMALL, Y_SIGN if get_loss(loss).is_classification else Y_REAL


def test_five_points_reach_the_known_optimum(five_points):
    X, y = five_points
    result = train(X, y, 0.1, tol=1e-6)
    assert result.status is Status.CONVERGED
    assert result.certificate.primal == pytest.approx(0.8914472, abs=1e-6)
    assert result.certificate.lower_bound <= 0.89144725
    assert result.certificate.relative_gap <= 1e-6


def test_three_points_reach_the_known_optimum_with_one_neuron():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    result = train(X, np.array([1.0, 0.0, 0.0]), 0.1, tol=1e-7)
    assert result.certificate.primal == pytest.approx(0.1290241, abs=1e-7)
    net = result.network
    assert net.n_neurons == 1
    np.testing.assert_allclose(net.U[:, 0] * net.alpha[0], [0.86, -0.79], atol=6e-3)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_one_sample_has_the_closed_form(beta):
    result = train(np.ones((1, 1)), np.ones(1), beta, tol=1e-9)
    assert result.certificate.primal == pytest.approx(beta - beta**2 / 2, rel=1e-8)
    assert result.network.n_neurons == 1


def test_breast_cancer_at_two_betas(breast_cancer):
    X, y = breast_cancer
    for beta, value in ((10.0, 83.9441), (3.0, 52.7197)):
        result = train(X, y, beta, tol=1e-3)
        assert result.status is Status.CONVERGED
        assert result.certificate.relative_gap <= 1e-3
        assert result.certificate.starts >= 2500
        assert value * (1 - 1e-3) <= result.certificate.primal <= value * (1 + 1e-3)


@pytest.mark.slow
def test_breast_cancer_at_small_beta(breast_cancer):
    X, y = breast_cancer
    result = train(X, y, 0.1, tol=1e-3)
    assert result.certificate.relative_gap <= 1e-3
    assert result.certificate.starts >= 9000
    assert result.certificate.primal <= 6.9050
    assert result.network.n_neurons <= len(y)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fraction", [0.3, 0.03])
def test_every_loss_closes_its_gap(loss, fraction):
    X, y = small_problem(loss)
    beta = fraction * beta_max(X, y, loss)
    result = train(X, y, beta, loss=loss, tol=1e-4)
    assert result.status is Status.CONVERGED
    assert 0 <= result.certificate.relative_gap <= 1e-4
    assert result.certificate.primal == pytest.approx(result.network.objective(X, y, beta, loss), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_certificate_can_be_checked_by_a_stranger(loss):
    X, y = small_problem(loss)
    beta = 0.1 * beta_max(X, y, loss)
    certificate = train(X, y, beta, loss=loss, tol=1e-3).certificate
    assert get_loss(loss).dual_value(certificate.nu, y) == pytest.approx(certificate.lower_bound, rel=1e-10)
    assert rho_estimate(X, certificate.nu, starts=3000, seed=99) <= beta * (1 + 1e-4)
    assert certificate.kind in ("estimated", "exact")


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_network_at_beta_max_and_not_below(loss):
    X, y = small_problem(loss)
    top = beta_max(X, y, loss)
    at = train(X, y, top, loss=loss)
    assert at.status is Status.ZERO
    assert at.network.n_neurons == 0
    assert 0 <= at.certificate.relative_gap <= 2e-4
    below = train(X, y, 0.98 * top, loss=loss, tol=1e-6)
    assert below.certificate.relative_gap <= 1e-6
    assert below.certificate.primal < at.certificate.primal or loss == "hinge"


def test_same_seed_gives_the_same_bits():
    first, second = (train(X_SMALL, Y_REAL, 0.2, tol=1e-4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.network.U, second.network.U)
    np.testing.assert_array_equal(first.network.alpha, second.network.alpha)
    np.testing.assert_array_equal(first.certificate.nu, second.certificate.nu)
    assert first.certificate.lower_bound == second.certificate.lower_bound


def test_different_seeds_agree_within_their_gaps():
    values = [train(X_SMALL, Y_REAL, 0.2, tol=1e-5, seed=seed).certificate for seed in range(3)]
    assert max(c.lower_bound for c in values) <= min(c.primal for c in values) * (1 + 1e-9)


def test_scaling_data_and_targets_scales_the_optimum():
    plain = train(X_SMALL, Y_REAL, 0.2, tol=1e-6).certificate.primal
    for a, b in ((1e6, 1e-3), (1e-6, 1e4)):
        scaled = train(a * X_SMALL, b * Y_REAL, 0.2 * a * b, tol=1e-6).certificate.primal
        assert scaled == pytest.approx(plain * b**2, rel=3e-6)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_unit_of_the_target_changes_nothing_for_a_quantile(intercept):
    """ℓ(af, ay) = aℓ(f, y); a is a power of two, so that even the roundings agree."""
    options = {"loss": "quantile", "intercept": intercept}
    plain = train(X_SMALL, Y_REAL, 0.1, **options)
    assert plain.status is Status.CONVERGED
    for a in (2.0**20, 2.0**-20):
        scaled = train(X_SMALL, a * Y_REAL, 0.1, **options)
        assert scaled.status is Status.CONVERGED
        assert scaled.certificate.primal == pytest.approx(a * plain.certificate.primal, rel=1e-9)


def test_history_goes_down_to_the_certificate():
    rows = []
    result = train(X_SMALL, Y_REAL, 0.2, tol=1e-5, progress=rows.append)
    assert rows == result.history
    assert [set(row) for row in rows] == [{"seconds", "iteration", "primal", "bound", "neurons"}] * len(rows)
    primal = [row["primal"] for row in rows]
    assert primal == sorted(primal, reverse=True)
    assert result.certificate.primal <= primal[-1] * (1 + 1e-9)


@pytest.mark.parametrize("is_late", [False, True])
def test_interruption_returns_the_best_so_far_with_its_certificate(is_late):
    """Also in the descent that training starts with, whose rows have no bound yet."""

    def stop(row):
        if row["bound"] > 0 or not is_late:
            raise KeyboardInterrupt

    result = train(X_SMALL, Y_REAL, 0.05, tol=1e-9, progress=stop)
    assert result.status is Status.INTERRUPTED
    assert (result.history[-1]["bound"] > 0) == is_late
    assert is_late or len(result.history) == 1
    fresh = certify(result.network, X_SMALL, Y_REAL, 0.05, nu=result.certificate.nu)
    assert result.certificate.primal == fresh.primal
    assert 0 < result.certificate.lower_bound <= fresh.primal


def test_time_limit_is_reported_and_certified(breast_cancer):
    X, y = breast_cancer
    result = train(X, y, 0.1, tol=1e-6, max_time=0.5)
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.primal < 0.5 * len(y)
    assert result.certificate.relative_gap > 1e-6
    assert result.certificate.starts > 0


def test_warm_start_is_never_lost():
    good = train(X_SMALL, Y_REAL, 0.2, tol=1e-6)
    again = train(X_SMALL, Y_REAL, 0.2, tol=1e-6, warm_start=good.network)
    assert again.certificate.primal <= good.certificate.primal * (1 + 1e-9)
    assert len(again.history) <= len(good.history)


def test_zero_network_is_a_valid_start():
    result = train(X_SMALL, Y_REAL, 0.2, tol=1e-5, warm_start=Network.zero(4))
    assert result.certificate.relative_gap <= 1e-5


def test_a_start_worse_than_zero_is_not_kept():
    bad = Network(100 * np.ones((4, 3)), 100 * np.ones(3))
    result = train(X_SMALL, Y_REAL, 0.2, tol=1e-5, warm_start=bad, max_time=1e-6)
    assert result.certificate.primal <= 0.5 * np.sum(Y_REAL**2)


@pytest.mark.parametrize("kind", ["exact", "bounded", "estimated"])
def test_the_kind_of_certificate_that_is_asked_for_comes_back(kind):
    result = train(X_SMALL, Y_REAL, 0.2, tol=1e-3, certificate=kind)
    assert result.certificate.kind == ("estimated" if kind == "estimated" else "exact")
    assert result.status is Status.CONVERGED


def test_a_proven_gap_above_the_tolerance_is_not_called_converged(breast_cancer):
    X, y = breast_cancer
    result = train(X, y, 10.0, tol=1e-3, certificate="bounded", max_time=4.0)
    assert result.certificate.kind == "bounded"
    assert result.certificate.relative_gap > 1e-3
    assert result.status is Status.UNPROVEN
    assert result.certificate.lower_bound <= 83.9441


def test_width_limit_is_kept_and_its_cost_shown():
    free = train(X_SMALL, Y_REAL, 0.02, tol=1e-4)
    narrow = train(X_SMALL, Y_REAL, 0.02, tol=1e-4, max_neurons=2)
    assert free.network.n_neurons > 2
    assert narrow.network.n_neurons <= 2
    assert narrow.status is Status.WIDTH_LIMIT
    assert narrow.certificate.primal > free.certificate.primal
    assert narrow.certificate.lower_bound <= free.certificate.primal


@pytest.mark.parametrize("kind", ["duplicates", "opposites", "zero rows", "integer ties", "rank one"])
def test_degenerate_data_converge(kind):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((30, 3))
    if kind == "duplicates":
        X[15:] = X[:15]
    elif kind == "opposites":
        X[15:] = -X[:15]
    elif kind == "zero rows":
        X[::3] = 0.0
    elif kind == "integer ties":
        X = np.round(1.5 * X)
    else:
        X = np.outer(X[:, 0], [1.0, 2.0, -1.0])
    y = rng.standard_normal(30)
    result = train(X, y, 0.05 * beta_max(X, y), tol=1e-4)
    assert result.status is Status.CONVERGED
    assert result.certificate.relative_gap <= 1e-4


@pytest.mark.parametrize(
    "kind", ["columns over twelve decades", "an outlier of 1e8", "more columns than rows"]
)
def test_badly_scaled_data_end_with_a_status(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 5)), rng.standard_normal(60)
    if kind.startswith("columns"):
        X = X * np.logspace(0, -12, 5)
    elif kind.startswith("an outlier"):
        X, y = np.vstack([X, 1e8 * X[:1]]), np.append(y, 1e8)
    else:
        X, y = rng.standard_normal((10, 50)), y[:10]
    result = train(X, y, 0.01 if len(X) < 61 else 1.0, max_time=20)
    assert result.certificate.primal == pytest.approx(result.network.objective(X, y, result.certificate.beta))
    assert 0 <= result.certificate.relative_gap <= 1e-3
    assert result.status is Status.CONVERGED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta must be a positive"),
        ({"beta": np.nan}, "beta must be a positive"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"max_time": -1.0}, "max_time must be"),
        ({"max_neurons": 0}, "max_neurons must be"),
        ({"loss": "cubed"}, "Unknown loss 'cubed'"),
        ({"loss": "hinge"}, "labels -1 and \\+1"),
        ({"y": np.zeros((40, 2, 2))}, "one row for each of the 40 rows"),
        ({"X": np.full((40, 4), np.inf)}, "X must be finite"),
        ({"warm_start": Network.zero(3)}, "warm_start must be a network of 4 features"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"X": X_SMALL, "y": Y_REAL, "beta": 0.1} | change
    X, y, beta = (arguments.pop(name) for name in ("X", "y", "beta"))
    with pytest.raises(ValueError, match=message):
        train(X, y, beta, **arguments)


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_more_columns_than_rows_is_trained_in_the_space_of_the_rows(loss: str) -> None:
    """The optimum is that of the n×n problem; network, warm start and certificate are on all columns."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((14, 60)) / 8
    y = rng.integers(0, 3, 14) if loss == "softmax" else rng.standard_normal(14)
    result = train(X, y, 0.2, loss=loss, tol=1e-5)
    narrow = np.linalg.qr(X.T)[1].T  # X = narrow Qᵀ, by another factorisation than the code's
    other = train(narrow, y, 0.2, loss=loss, tol=1e-5)
    assert result.network.n_features == 60
    assert result.certificate.primal == pytest.approx(result.network.objective(X, y, 0.2, loss), rel=1e-12)
    assert result.certificate.relative_gap <= 1e-5
    assert result.certificate.primal == pytest.approx(other.certificate.primal, rel=3e-5)
    again = train(X, y, 0.2, loss=loss, tol=1e-5, warm_start=result.network, max_time=20)
    assert again.certificate.primal <= result.certificate.primal * (1 + 1e-9)
    with pytest.raises(ValueError, match="warm_start"):
        train(
            X, y, 0.2, loss=loss, warm_start=type(result.network).zero(59, 3 if loss == "softmax" else None)
        )
    if loss == "squared":
        proven = train(X, y, 0.2, loss=loss, tol=0.5, certificate="bounded", max_time=4)
        assert proven.certificate.kind in ("bounded", "exact")


def test_the_row_space_keeps_short_rows_beside_long_ones() -> None:
    X = np.random.default_rng(0).standard_normal((14, 20)) * np.logspace(-10, 10, 14)[:, None]
    V, size = row_basis(X), np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(V.T @ V, np.eye(14), atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(X - X @ V @ V.T, axis=1) / size, 0.0, atol=1e-13)


def test_an_interrupted_proof_in_the_row_space_keeps_the_network(monkeypatch) -> None:
    def interrupted(*args, **options):
        if options["certificate"] == "exact":
            raise KeyboardInterrupt
        return certify(*args, **options)

    monkeypatch.setattr("convexnn.training.row_space.certify", interrupted)
    X, y = np.random.default_rng(1).standard_normal((5, 9)), np.arange(5.0)
    result = train(X, y, 0.1, certificate="exact")
    assert result.certificate.kind == "estimated"
    assert 0 < result.certificate.relative_gap <= 1e-3
    assert result.certificate.seconds >= result.history[-1]["seconds"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_trains_after_its_parent_did() -> None:
    """The threads of the parent do not live on in the child: it hung."""
    expected = train(X_SMALL, Y_REAL, 0.5).certificate.primal
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(train, (X_SMALL, Y_REAL, 0.5)).get(timeout=60)
    assert found.certificate.primal == expected


def test_the_network_has_at_most_n_neurons() -> None:
    """Carathéodory: an optimum needs no more neurons than rows, also where the solver holds more."""
    rng = np.random.default_rng(0)
    X, y = np.hstack([rng.standard_normal((30, 6)), np.ones((30, 1))]), rng.standard_normal(30)
    result = train(X, y, 1e-2, tol=1e-4)
    assert result.network.n_neurons <= 30
    assert result.certificate.primal == pytest.approx(result.network.objective(X, y, 1e-2), rel=1e-12)
    assert result.certificate.relative_gap <= 1e-4
