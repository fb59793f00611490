"""Global training with many rows and columns: agreement with the form on cells, limits, invariances."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from convexnn import Network, Status, TrainResult, beta_max, certify
from convexnn.certificate import make_certificate
from convexnn.data import Scaler, read_cifar10
from convexnn.training._wide_axes import principal_axes
from convexnn.training._wide_masses import nonnegative
from convexnn.training._wide_slide import make_metric, slide
from convexnn.training._wide_smoothed import Tied, pull
from convexnn.training._wide_sphere import ascend, exact_values
from convexnn.training.loop import make_task, run, start_state
from convexnn.training.many_columns import has_many_columns, train_many_columns

GAUSS = np.random.default_rng(5)
SPREAD = np.arange(1, 351) ** -0.8
ROTATION = ortho_group.rvs(350, random_state=1)
X_WIDE = np.hstack([GAUSS.standard_normal((400, 350)) * SPREAD @ ROTATION, np.ones((400, 1))])
PLANTED = np.maximum(X_WIDE[:, :350] @ ROTATION.T[:, :3], 0.0) @ np.array([1.0, -1.0, 0.7])
Y_REAL = PLANTED + 0.1 * GAUSS.standard_normal(400)
Y_SIGN = np.where(np.median(Y_REAL) < Y_REAL, 1.0, -1.0)
BETA = 8.0


def train(X, y, beta, *, loss="squared", tol=1e-3, max_time=None, seed=0, warm_start=None, progress=None):
    """This form of training whatever the rule says, with the certificate of its own verification."""
    task = make_task(X, y, beta, loss, tol, max_time, seed, is_large=True)
    history = []

    def record(best):
        row = {"iteration": len(history), "primal": best.primal, "bound": best.bound}
        history.append(row)
        if progress is not None:
            progress(row)

    best, status = train_many_columns(task, record, warm_start)
    network = best.network(X)
    primal = network.objective(X, y, beta, loss)
    assert primal == pytest.approx(best.primal, rel=1e-9)
    certificate = make_certificate(primal, best.nu, best.rho, y, beta, loss, "estimated", best.starts, 0.0)
    return TrainResult(network, certificate, history, status)


@pytest.fixture(scope="module")
def solved():
    """The problem above, trained to a small gap."""
    return train(X_WIDE, Y_REAL, BETA, tol=2e-3)


def test_the_rule_asks_for_many_rows_and_columns_and_a_smooth_loss():
    assert has_many_columns(X_WIDE, "squared")
    assert not has_many_columns(X_WIDE[:300], "squared")
    assert not has_many_columns(X_WIDE[:, :300], "logistic")
    assert not has_many_columns(X_WIDE, "hinge")


def test_it_agrees_with_the_form_on_cells_within_the_gaps(solved):
    task = make_task(X_WIDE, Y_REAL, BETA, "squared", 2e-3, 30.0, 0)
    state = start_state(task, solved.network)
    run(task, state, lambda _: None)
    assert solved.status is Status.CONVERGED
    assert solved.certificate.relative_gap <= 2e-3
    assert solved.certificate.lower_bound <= state.best.primal * (1 + 1e-9)
    assert state.best.bound <= solved.certificate.primal * (1 + 1e-9)
    assert solved.certificate.primal == pytest.approx(state.best.primal, rel=2e-3)


def test_the_objective_on_the_original_data_is_the_reported_primal(solved):
    objective = solved.network.objective(X_WIDE, Y_REAL, BETA)
    assert objective == pytest.approx(solved.certificate.primal, rel=1e-12)
    assert objective <= solved.history[-1]["primal"] * (1 + 1e-9)  # merging cells at the end may lower it
    turned = X_WIDE @ ortho_group.rvs(351, random_state=2)
    again = train(turned, Y_REAL, BETA, tol=2e-3)
    assert again.certificate.primal == pytest.approx(objective, rel=4e-3)
    assert again.certificate.lower_bound <= objective


def test_a_stranger_finds_no_larger_rho(solved):
    fresh = certify(
        solved.network, X_WIDE, Y_REAL, BETA, nu=solved.certificate.nu, certificate="estimated", starts=300
    )
    assert fresh.lower_bound >= solved.certificate.lower_bound * (1 - 2e-3)
    assert solved.certificate.kind == "estimated"
    assert solved.certificate.starts > 500


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_other_losses_close_their_gap(loss):
    result = train(X_WIDE, Y_SIGN, 6.0, loss=loss, tol=1e-2)
    assert result.status is Status.CONVERGED
    assert 0 < result.certificate.relative_gap <= 1e-2
    assert result.network.n_neurons > 0


def test_zero_network_above_beta_max():
    top = beta_max(X_WIDE, Y_REAL, starts=100)
    above = train(X_WIDE, Y_REAL, 1.01 * top)
    assert above.status is Status.ZERO
    assert above.network.n_neurons == 0
    assert above.certificate.relative_gap == pytest.approx(0.0, abs=1e-9)
    below = train(X_WIDE, Y_REAL, 0.9 * top, tol=1e-2)
    assert below.network.n_neurons > 0


def test_same_seed_gives_the_same_bits():
    first, second = (train(X_WIDE, Y_REAL, 15.0, tol=1e-2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.network.U, second.network.U)
    np.testing.assert_array_equal(first.certificate.nu, second.certificate.nu)


def test_time_limit_returns_the_best_so_far_with_its_certificate():
    result = train(X_WIDE, Y_REAL, 1.0, tol=1e-9, max_time=1.0)
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.primal < 0.5 * np.sum(Y_REAL**2)
    assert 0 < result.certificate.lower_bound <= result.certificate.primal
    assert result.certificate.starts > 0


@pytest.mark.parametrize("when", [0, 1])
def test_interruption_returns_the_best_so_far_with_its_certificate(when):
    def stop(row):
        if row["iteration"] == when:
            raise KeyboardInterrupt

    result = train(X_WIDE, Y_REAL, BETA, tol=1e-9, progress=stop)
    assert result.status is Status.INTERRUPTED
    assert len(result.history) == when + 1
    assert result.network.objective(X_WIDE, Y_REAL, BETA) == pytest.approx(result.certificate.primal)
    assert 0 <= result.certificate.lower_bound < result.certificate.primal < 0.5 * np.sum(Y_REAL**2)


def test_interruption_before_anything_is_known(monkeypatch):
    def interrupt(X):
        raise KeyboardInterrupt

    monkeypatch.setattr("convexnn.training.many_columns.principal_axes", interrupt)
    result = train(X_WIDE, Y_REAL, BETA)
    assert result.status is Status.INTERRUPTED
    assert result.network.n_neurons == 0
    assert result.certificate.lower_bound == 0.0


def test_warm_start_is_used(solved):
    again = train(X_WIDE, Y_REAL, BETA, tol=2e-3, warm_start=solved.network)
    assert again.history[0]["primal"] <= solved.certificate.primal * (1 + 1e-4)
    zero = train(X_WIDE, Y_REAL, BETA, tol=1e-2, warm_start=Network.zero(351))
    assert zero.certificate.relative_gap <= 1e-2


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (30, 30)])
def test_principal_axes_keep_products_and_lengths(shape):
    X = np.random.default_rng(0).standard_normal(shape)
    X[:, -1] = X[:, 0]
    axes = principal_axes(X)
    np.testing.assert_allclose(axes.X @ axes.X.T, X @ X.T, atol=1e-3)
    np.testing.assert_allclose(axes.Q.T @ axes.Q, np.eye(axes.Q.shape[1]), atol=1e-5)
    assert (np.diff(axes.eigenvalues) <= 1e-3).all()
    assert axes.Q.shape[1] == min(shape[0], shape[1] - 1)
    assert principal_axes(np.zeros(shape)).Q.shape[1] == 1


def test_gradients_agree_with_differences():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 6)).astype(np.float32)
    y, U = rng.standard_normal(50), rng.standard_normal((6, 4)).astype(np.float32)
    direction = rng.standard_normal((6, 4)).astype(np.float32)
    problem = Tied(X, y, np.array([1, -1, 1, -1], np.float32), 0.7, "squared", 0.5)
    step = np.float32(1e-2)
    up, down = (problem.evaluate(U + sign * step * direction)[0] for sign in (1, -1))
    slope = float(np.vdot(problem.evaluate(U)[1], direction))
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=2e-3)
    nu = rng.standard_normal(50).astype(np.float32)
    up, down = (pull(X, nu, U + sign * step * direction, 0.5)[0].sum() for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(
        float(np.vdot(pull(X, nu, U, 0.5)[1], direction)), rel=2e-3
    )


def test_sliding_never_raises_its_objective():
    rng = np.random.default_rng(2)
    axes = principal_axes(X_WIDE)
    U = rng.standard_normal((axes.X.shape[1], 8)).astype(np.float32) * 0.1
    problem = Tied(axes.X, Y_REAL, np.resize([1, -1], 8).astype(np.float32), BETA, "squared", 0.1)
    after = slide(problem, U, make_metric(problem, U, axes.eigenvalues), 20, np.inf)
    assert problem.evaluate(after)[0] < 0.9 * problem.evaluate(U)[0]


def test_ascent_ends_at_maxima_with_true_values():
    rng = np.random.default_rng(3)
    axes = principal_axes(X_WIDE)
    nu = Y_REAL - Y_REAL.mean()
    U = rng.standard_normal((axes.X.shape[1], 20)).astype(np.float32)
    U /= np.linalg.norm(U, axis=0)
    signs = np.resize([1.0, -1.0], 20)
    found = ascend(axes.X, axes.eigenvalues, nu, U, signs, BETA, ((0.1, 60, 0.0), (0.01, 60, 0.0)))
    np.testing.assert_allclose(
        exact_values(X_WIDE, nu, axes.back(found.U)) * found.signs, found.values, rtol=1e-4
    )
    assert (np.diff(found.values) <= 0).all()
    best = found.U[:, :1]
    near = best + 0.02 * rng.standard_normal((len(best), 200)).astype(np.float32) / np.sqrt(len(best))
    assert exact_values(X_WIDE, nu, axes.back(near)).max() * found.signs[0] <= found.values[0] * (1 + 1e-4)


def test_masses_satisfy_the_optimality_conditions():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((30, 50))
    G, b = A.T @ A, A.T @ rng.standard_normal(30) - 1.0
    c = nonnegative(G, b)
    slack = G @ c - b
    assert c.min() >= 0
    assert slack.min() >= -1e-5
    assert np.abs(c * slack).max() <= 1e-6
    assert not nonnegative(G, -np.ones(50)).any()


@pytest.mark.slow
def test_cifar_two_classes(data_folder):
    images, y = read_cifar10(data_folder / "cifar10")
    X = Scaler.fit(images).transform(images)
    result = train(X, y, 10.0, tol=0.05)
    assert result.status is Status.CONVERGED
    assert result.certificate.relative_gap <= 0.05
    assert result.certificate.primal <= 1680.0
