"""Sample weights are repeated rows, in every function; and the losses beyond the first four, end to end."""

import numpy as np
import pytest

from convexnn import ConvexProgram, Patterns, beta_max, certify, path, solve, train
from convexnn.descent import descend, gradient
from convexnn.losses import (
    LOSSES,
    MORE_LOSSES,
    Huber,
    Logistic,
    Poisson,
    Quantile,
    Squared,
    SquaredEpsilonInsensitive,
    Weighted,
    get_loss,
    weigh,
)
from convexnn.network import Network
from convexnn.status import Status

KNOWN = LOSSES | MORE_LOSSES
each_loss = pytest.mark.parametrize("name", KNOWN)
RNG = np.random.default_rng(5)
N = 12
X = np.c_[RNG.standard_normal((N, 2)), np.ones(N)]
REAL = np.sin(2 * X[:, 0]) + X[:, 1] + 0.5 * RNG.standard_normal(N)
COUNTS = RNG.poisson(np.exp(np.clip(REAL, -2, 2))).astype(float)
WEIGHTS = np.array([1, 2, 0, 3, 1, 1, 0, 2, 1, 4, 1, 2], dtype=float)
ROWS = np.repeat(np.arange(N), WEIGHTS.astype(int))  # the same problem with rows repeated
ALL_PATTERNS = Patterns.enumerate(X)


def targets(loss: object) -> np.ndarray:
    """Targets that the loss takes."""
    found = get_loss(loss)  # type: ignore[arg-type]
    if found.is_classification:
        return np.where(REAL > 0, 1.0, -1.0)
    return COUNTS if found.name == "poisson" else REAL


# ---- the weighted loss itself -------------------------------------------------------------------------


@each_loss
def test_a_weighted_loss_is_the_loss_of_repeated_rows(name: str) -> None:
    kept = WEIGHTS > 0
    loss, y, omega = KNOWN[name], targets(name)[kept], WEIGHTS[kept]
    weighted = Weighted(loss, omega)
    again = np.repeat(np.arange(len(y)), omega.astype(int))
    f = 0.4 * np.random.default_rng(1).standard_normal(len(y))
    assert weighted.value(f, y) == pytest.approx(loss.value(f[again], y[again]), rel=1e-13)
    nu = -weighted.gradient(f, y)
    each = (nu / omega)[again]  # of each copy
    np.testing.assert_allclose(each, -loss.gradient(f[again], y[again]), rtol=1e-13)
    assert weighted.dual_value(nu, y) == pytest.approx(loss.dual_value(each, y[again]), rel=1e-12)
    for t_max in (0.3, np.inf):
        expected = loss.best_scale(each, y[again], t_max)
        assert weighted.best_scale(nu, y, t_max) == pytest.approx(expected, rel=1e-7)
    assert weighted.value(f, y) + 0.9 * float(nu @ f) >= weighted.dual_value(0.9 * nu, y) - 1e-12


@each_loss
def test_the_weighted_conjugate_is_minus_the_weighted_dual_value(name: str) -> None:
    loss = Weighted(KNOWN[name], np.linspace(0.5, 3.0, N))
    y = targets(name)
    plain = 0.1 + 0.3 * np.random.default_rng(2).random(N)  # inside every domain, as ν/ω times the sign of y
    sign = y if loss.is_classification else np.ones(N)
    q = loss.weights * plain * (1.0 if loss.is_classification else np.where(y > 0, 1.0, -1.0))
    c = loss.conjugate(y, q, 0.5)
    assert c.value(q) == pytest.approx(-loss.dual_value(sign * q, y), rel=1e-12)
    h = 1e-6
    numerical = (c.each(q + h) - c.each(q - h)) / (2 * h)
    np.testing.assert_allclose(c.gradient(q), numerical, rtol=1e-5, atol=1e-7)
    slope = (c.gradient(q + h) - c.gradient(q - h)) / (2 * h)
    np.testing.assert_allclose(c.inverse_curvature(q), 1.0 / slope, rtol=1e-5)


def test_weights_of_several_outputs_and_of_a_rescaled_loss() -> None:
    loss = Weighted(Huber(0.5), np.arange(1.0, 5.0))
    f, y = np.random.default_rng(3).standard_normal((2, 4, 2))
    columns = sum(loss.value(f[:, k], y[:, k]) for k in range(2))
    assert loss.value(f, y) == pytest.approx(columns, rel=1e-14)
    other, factor = loss.rescaled(2.0)  # type: ignore[misc]
    assert loss.value(2.0 * f, 2.0 * y) == pytest.approx(factor * other.value(f, y), rel=1e-13)


def test_weigh_and_its_way_back() -> None:
    """Weights of 1 leave no trace; a dual point goes there and back; D and ρ stay what they were."""
    assert weigh(X, REAL, Squared(), np.ones(N)).loss == "squared"
    assert weigh(X, REAL, Huber(0.5), np.ones(N)).loss == Huber(0.5)
    problem = weigh(X, REAL, "squared", WEIGHTS)
    assert problem.loss == "squared"
    nu = np.random.default_rng(4).standard_normal(len(problem.y))
    full = problem.restore(nu)
    assert not full[WEIGHTS == 0].any()
    np.testing.assert_allclose(problem.reduce(full), nu, rtol=1e-14)
    weighted = Weighted(Squared(), WEIGHTS[WEIGHTS > 0])
    expected = weighted.dual_value(full[WEIGHTS > 0], REAL[WEIGHTS > 0])
    assert get_loss("squared").dual_value(nu, problem.y) == pytest.approx(expected, rel=1e-12)
    u = np.array([0.3, -0.8, 0.5])
    assert full @ np.maximum(X @ u, 0) == pytest.approx(nu @ np.maximum(problem.X @ u, 0), rel=1e-12)
    twice = weigh(X, REAL, Weighted(Squared(), np.full(N, 2.0)), np.full(N, 3.0))
    np.testing.assert_allclose(twice.X, np.sqrt(6.0) * X, rtol=1e-15)


# ---- the whole stack ----------------------------------------------------------------------------------


@each_loss
def test_training_with_weights_is_training_with_repeated_rows(name: str) -> None:
    y = targets(name)
    top = beta_max(X, y, name, sample_weight=WEIGHTS)
    assert top == pytest.approx(beta_max(X[ROWS], y[ROWS], name), rel=1e-9)
    options = {"loss": name, "tol": 1e-6, "certificate": "exact"}
    one = train(X, y, top / 10, sample_weight=WEIGHTS, **options)  # type: ignore[arg-type]
    two = train(X[ROWS], y[ROWS], top / 10, **options)  # type: ignore[arg-type]
    assert one.status is two.status is Status.CONVERGED
    assert one.certificate.primal == pytest.approx(two.certificate.primal, rel=2e-6)
    weighted = certify(
        one.network, X, y, top / 10, name, sample_weight=WEIGHTS, nu=one.certificate.nu, rtol=1e-7
    )
    copies = np.divide(one.certificate.nu, WEIGHTS, where=WEIGHTS > 0, out=np.zeros(N))[ROWS]
    repeated = certify(one.network, X[ROWS], y[ROWS], top / 10, name, nu=copies, rtol=1e-7)
    assert weighted.kind == repeated.kind == "exact"
    assert weighted.primal == pytest.approx(repeated.primal, rel=1e-12)
    assert weighted.lower_bound == pytest.approx(repeated.lower_bound, rel=1e-6)
    assert weighted.relative_gap <= 2e-6
    assert not weighted.nu[WEIGHTS == 0].any()


@pytest.mark.parametrize(
    "loss",
    [
        Huber(0.3), Quantile(0.5), Quantile(0.9), SquaredEpsilonInsensitive(0.3), Poisson(),
        Weighted(Logistic(), 1.0 + WEIGHTS), Weighted(Quantile(0.2), 1.0 + WEIGHTS),
        Weighted(Poisson(), 1.0 + WEIGHTS),
    ],
    ids=lambda loss: f"{type(loss).__name__}-{loss.name}",
)  # fmt: skip
def test_the_optimum_of_all_patterns_is_that_of_cvxpy_and_of_training(loss) -> None:
    """p* = d* on a complete pattern set, three ways."""
    y = targets(loss)
    beta = 0.1 * beta_max(X, y, loss)
    program = ConvexProgram(X, y, ALL_PATTERNS, beta, loss)
    if loss.name == "poisson":  # Clarabel and ECOS give up on the exponential cones of some of these programs
        pytest.importorskip("scs")
    solver = "cvxpy:SCS" if loss.name == "poisson" else "cvxpy"
    own, reference = solve(program, tol=1e-7), solve(program, solver, tol=1e-6)
    assert own.status is Status.CONVERGED
    assert own.violation <= 1e-9
    assert own.primal == pytest.approx(reference.primal, rel=3e-6)
    trained = train(X, y, beta, loss=loss, tol=1e-6, certificate="exact")
    assert trained.certificate.kind == "exact"
    assert trained.certificate.relative_gap <= 1.001e-6
    assert trained.certificate.primal == pytest.approx(own.primal, rel=2e-6)
    assert trained.certificate.lower_bound <= own.primal * (1 + 1e-9)


@each_loss
def test_gated_programs_by_fista_and_ssnal(name: str) -> None:
    loss = Weighted(KNOWN[name], 1.0 + WEIGHTS)
    program = ConvexProgram(X, targets(name), Patterns.sample(X, 6), 0.5, loss, gated=True)
    own = solve(program, tol=1e-6)
    assert own.relative_gap <= 1e-6
    if loss.is_smooth:
        assert solve(program, "fista", tol=1e-6).primal == pytest.approx(own.primal, rel=2e-6)
    else:
        with pytest.raises(ValueError, match=f"smooth loss, and {name} is not"):
            solve(program, "fista")


@each_loss
def test_the_gradient_of_the_network_by_differences(name: str) -> None:
    loss = Weighted(KNOWN[name], 1.0 + WEIGHTS)
    y, rng, h = targets(name), np.random.default_rng(6), 1e-6
    U, alpha = rng.standard_normal((3, 4)), rng.standard_normal(4)
    value, gU, galpha = gradient(X, y, U, alpha, 0.7, loss)
    assert value == pytest.approx(Network(U, alpha).objective(X, y, 0.7, loss), rel=1e-12)
    for k in range(4):
        step = h * np.eye(4)[k]
        up, down = (gradient(X, y, U, alpha + s * step, 0.7, loss)[0] for s in (1, -1))
        assert galpha[k] == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-6)
        move = np.outer(np.eye(3)[k % 3], step)
        up, down = (gradient(X, y, U + s * move, alpha, 0.7, loss)[0] for s in (1, -1))
        assert gU[k % 3, k] == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_descent_with_weights(name: str, batch_size: int | None) -> None:
    """Full batches take the same steps as with repeated rows; mini-batches end near them."""
    y = targets(name)
    options = {"loss": name, "neurons": 20, "steps": 300, "dtype": "float64", "learning_rate": 0.02}
    one = descend(X, y, 0.1, sample_weight=WEIGHTS, batch_size=batch_size, **options)  # type: ignore[arg-type]
    two = descend(X[ROWS], y[ROWS], 0.1, **options)  # type: ignore[arg-type]
    primal = one.network.objective(X[ROWS], y[ROWS], 0.1, name)
    assert one.history[-1]["primal"] == pytest.approx(primal, rel=1e-12)
    expected = two.network.objective(X[ROWS], y[ROWS], 0.1, name)
    assert primal == pytest.approx(expected, rel=1e-6 if batch_size is None else 0.2)


def test_a_path_with_weights() -> None:
    found = path(X, REAL, n_betas=3, ratio=0.1, loss=Huber(0.5), sample_weight=WEIGHTS, tol=1e-4)
    again = path(X[ROWS], REAL[ROWS], n_betas=3, ratio=0.1, loss=Huber(0.5), tol=1e-4)
    np.testing.assert_allclose(found.betas, again.betas, rtol=1e-9)
    np.testing.assert_allclose(found.objectives, again.objectives, rtol=2e-4)
    assert found.networks[0].n_neurons == 0


@pytest.mark.parametrize("loss", ["squared", "logistic", Huber(0.5), Poisson()])
def test_weights_and_losses_of_the_form_for_images(loss, monkeypatch) -> None:
    """The form for many columns against the form for cells, on data that both take."""
    from convexnn.training import many_columns

    rng = np.random.default_rng(8)
    wide = rng.standard_normal((40, 24)) @ np.diag(0.8 ** np.arange(24.0))
    y = np.tanh(wide[:, 0]) + 0.1 * rng.standard_normal(40)
    if loss == "logistic":
        y = np.sign(y)
    elif isinstance(loss, Poisson):
        y = rng.poisson(np.exp(y)).astype(float)
    omega = rng.integers(1, 4, 40).astype(float)
    beta = 0.3 * beta_max(wide, y, loss, sample_weight=omega)
    cells = train(wide, y, beta, loss=loss, sample_weight=omega, tol=1e-4)
    monkeypatch.setattr(many_columns, "MANY", 20)
    images = train(wide, y, beta, loss=loss, sample_weight=omega, tol=1e-2, max_time=20)
    assert images.status is Status.CONVERGED
    assert cells.certificate.lower_bound <= images.certificate.primal * (1 + 1e-9)
    assert images.certificate.primal <= cells.certificate.primal * 1.011
    found = certify(images.network, wide, y, beta, loss, sample_weight=omega)
    assert found.primal == pytest.approx(images.certificate.primal, rel=1e-9)


def test_a_bounded_certificate_at_a_high_rank() -> None:
    """Beyond rank 12 the bound of a loss without a joint optimisation is that of ν itself, and valid."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((30, 15))
    y = X[:, 0] + rng.standard_normal(30)
    beta = 0.8 * beta_max(X, y, "huber")
    found = train(X, y, beta, loss="huber", tol=1e-4)
    proven = certify(found.network, X, y, beta, "huber", 2.0, certificate="bounded")
    assert proven.kind == "bounded"
    assert 0.5 * found.certificate.lower_bound < proven.lower_bound <= found.certificate.primal


@each_loss
def test_weights_that_leave_only_zero_rows_give_the_zero_network(name: str) -> None:
    data = np.vstack([X, np.zeros((1, 3))])
    result = train(data, np.append(targets(name), 1.0), 0.1, loss=name, sample_weight=np.arange(N + 1) == N)
    assert result.status is Status.ZERO
    assert result.network.n_neurons == 0
    assert result.certificate.gap == 0


# ---- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"one entry for each of the 12 rows; its shape is \(3,\)"),
        (np.where(np.arange(N) == 4, -1.0, 1.0), r"not negative; sample_weight\[4\] is -1.0"),
        (np.where(np.arange(N) == 2, np.nan, 1.0), r"must be finite.*sample_weight\[2\] is nan"),
        (np.zeros(N), "All sample weights are zero"),
        (np.where(np.arange(N) == 3, 1e300, 1.0), r"largest sample weight is 1e\+300"),
        (np.full(N, 1e-300), "largest sample weight is 1e-300"),
        (np.full(N, 1j), "must be real"),
    ],
)
def test_bad_weights_are_named(weights, message: str) -> None:
    for call in (train, certify_zero, beta_max_of):
        with pytest.raises(ValueError, match=message):
            call(X, REAL, 1.0, sample_weight=weights)


def certify_zero(X, y, beta, sample_weight):
    return certify(Network.zero(3), X, y, beta, sample_weight=sample_weight)


def beta_max_of(X, y, beta, sample_weight):
    return beta_max(X, y, sample_weight=sample_weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(X, REAL, 1.0, loss="poisson"), "targets y >= 0"),
        (lambda: Weighted(Squared(), np.array([1.0, 0.0])), "positive finite"),
        (
            lambda: ConvexProgram(X, REAL, ALL_PATTERNS, 1.0, Weighted(Squared(), np.ones(3))),
            "each of the 12",
        ),
        (lambda: solve(ConvexProgram(X, REAL, ALL_PATTERNS, 1.0, "huber"), "admm"), "squared loss"),
        (lambda: train(X, REAL, 1.0, loss=Squared), "name or an object"),  # type: ignore[arg-type]
    ],
)
def test_other_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_parts_that_take_four_losses_only_say_so() -> None:
    from convexnn.dual import solve_dual
    from convexnn.landscape import optimal_set

    with pytest.raises(ValueError, match=r"takes the losses 'squared', .* it was given 'huber'"):
        solve_dual(X, REAL, 1.0, loss="huber")
    with pytest.raises(ValueError, match="it was given Weighted"):
        optimal_set(ConvexProgram(X, REAL, ALL_PATTERNS, 1.0, Weighted(Squared(), np.full(N, 2.0))))
